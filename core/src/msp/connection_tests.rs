//! One end, and packets of a peer written by hand.

use super::*;
use crate::wire::extended::Offer;
use crate::{Rng, Sid};
use alloc::vec::Vec;

const fn ms(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn end(role: Role) -> Connection {
    let peer = Addr::new(Sid::new([2; 32]), Port::from(700));
    Connection::new(ms(0), role, Form::Plain, Port::from(600), peer, &Config::default(), &Path::new())
}

fn receive(end: &mut Connection, at: u64, packet: &'static [u8]) {
    receive_bytes(end, at, Bytes::from_static(packet));
}

fn receive_bytes(end: &mut Connection, at: u64, mut payload: Bytes) {
    let packet = Packet::parse(&mut payload, Some(&end.form)).unwrap();
    assert_eq!(end.handle_packet(ms(at), &packet, payload, usize::MAX, &mut Path::new()), Verdict::Taken);
}

/// What it sends until then, with the times in microseconds.
fn sent(end: &mut Connection, until: u64) -> Vec<(u64, Vec<u8>)> {
    let mut sent = Vec::new();
    loop {
        let due = [end.timeout(), end.transmit_at()].into_iter().flatten().min();
        let Some(now) = due.filter(|due| *due <= ms(until)) else { return sent };
        end.handle_timeout(now, &mut Path::new());
        let mut packet = Vec::new();
        if end.poll_transmit(now, &mut packet, &mut Path::new(), false) {
            sent.push((now.as_micros(), packet));
        }
        assert!(sent.len() < 1000, "spins at {now:?}");
    }
}

/// The same, of packets that are all alike: only the times, in milliseconds.
fn sent_alike(end: &mut Connection, until: u64, packet: &[u8]) -> Vec<f64> {
    let time = |(at, bytes): (u64, Vec<u8>)| {
        assert_eq!(bytes, packet);
        at as f64 / 1000.0
    };
    sent(end, until).into_iter().map(time).collect()
}

fn consume(end: &mut Connection, at: u64, count: usize) {
    for _ in 0..count {
        assert!(end.pop(ms(at)).is_some());
    }
}

const NONE: [f64; 0] = [];

#[test]
fn an_initiator_without_data_asks_less_and_less_often_until_it_gives_up() {
    let mut a = end(Role::Initiator);
    let times = sent_alike(&mut a, 9999, b"\x04\xff\xff");
    assert_eq!(times, [10.0, 260.0, 760.0, 1760.0, 3260.0, 4760.0, 6260.0, 7760.0, 9260.0]);
    assert_eq!(a.closed(), None);
    let times = sent_alike(&mut a, 60_000, b"\x08");
    assert_eq!(times, [10_000.0, 10_093.75, 10_281.25, 10_656.25]);
    assert_eq!((a.closed(), a.is_silent(), a.timeout()), (Some(CloseReason::Unreachable), true, None));
}

#[test]
fn an_end_that_was_heard_keeps_itself_alive() {
    let mut a = end(Role::Initiator);
    assert_eq!(sent_alike(&mut a, 100, b"\x04\xff\xff"), [10.0]);
    receive(&mut a, 100, b"\x00");
    assert_eq!(sent_alike(&mut a, 10_099, b"\x00\xff\xff"), [1510.0, 3010.0, 4510.0, 6010.0, 7510.0, 9010.0]);
    receive(&mut a, 10_099, b"\x00\xff\xff");
    assert_eq!(sent(&mut a, 20_098).len(), 7);
    assert_eq!(a.closed(), None);
    assert_eq!(sent_alike(&mut a, 20_099, b"\x08"), [20_099.0]);
    assert_eq!(a.closed(), Some(CloseReason::TimedOut));

    let mut b = end(Role::Listener);
    assert_eq!(sent_alike(&mut b, 3500, b"\x00\xff\xff"), [1500.0, 3000.0]);
}

#[test]
fn only_a_first_packet_without_data_is_answered_at_once() {
    let mut b = end(Role::Listener);
    receive(&mut b, 0, b"\x04\xff\xff");
    assert_eq!(sent_alike(&mut b, 50, b"\x00\xff\xff"), [0.0]);
    receive(&mut b, 50, b"\x00\xff\xff");
    assert_eq!(sent_alike(&mut b, 100, b""), NONE, "answering answers would never end");
    receive(&mut b, 100, b"\x04");
    assert_eq!(sent_alike(&mut b, 200, b"\x00\xff\xff"), [100.0], "the first answer may be lost");
    receive(&mut b, 200, b"\x04\xff\xff\x00\x00x");
    receive(&mut b, 210, b"\x04\xff\xff");
    assert_eq!(sent_alike(&mut b, 1600, b"\x02\xff\xff"), [1600.0], "nothing was consumed");

    let mut a = end(Role::Initiator);
    sent(&mut a, 20);
    receive(&mut a, 20, b"\x04\xff\xff");
    assert_eq!(sent_alike(&mut a, 1000, b""), NONE);
}

#[test]
fn acknowledgments_wait_for_company_unless_they_tell_of_loss_or_the_end() {
    let mut b = end(Role::Listener);
    receive(&mut b, 10, b"\x04\xff\xff\x00\x00a");
    consume(&mut b, 10, 1);
    assert_eq!(sent_alike(&mut b, 20, b"\x02\x00\x00"), [15.0]);
    receive(&mut b, 20, b"\x00\xff\xff\x01\x00b");
    receive(&mut b, 20, b"\x00\xff\xff\x02\x00c");
    assert_eq!(sent(&mut b, 29), [], "before it is consumed");
    consume(&mut b, 29, 2);
    assert_eq!(sent_alike(&mut b, 35, b"\x02\x02\x00"), [31.0], "two wait for more, but not as long");

    receive(&mut b, 35, b"\x00\xff\xff\x04\x00e");
    assert_eq!(sent_alike(&mut b, 40, b"\x02\x02\x00"), [35.0], "3 is missing");
    receive(&mut b, 40, b"\x00\xff\xff\x03\x00d");
    receive(&mut b, 40, b"\x00\xff\xff\x06\x00g");
    assert_eq!(sent_alike(&mut b, 50, b"\x02\x02\x00"), [40.0], "5 is missing");
    consume(&mut b, 50, 1);
    assert_eq!(sent_alike(&mut b, 60, b"\x02\x03\x00"), [50.0], "still missing");
    consume(&mut b, 60, 1);
    sent(&mut b, 65);

    receive(&mut b, 65, b"\x00\xff\xff\x00\x00a");
    receive(&mut b, 67, b"\x00\xff\xff\x00\x00a");
    assert_eq!(sent_alike(&mut b, 70, b"\x02\x04\x00"), [70.0], "copies come in groups");
    receive(&mut b, 70, b"\x00\xff\xff\x05\x00");
    assert_eq!(sent_alike(&mut b, 80, b"\x02\x05\x00"), [75.0], "an empty message consumes itself");
    receive(&mut b, 80, b"\x01\xff\xff\x07\x00");
    consume(&mut b, 80, 1);
    assert_eq!(sent_alike(&mut b, 90, b"\x02\x07\x00"), [80.0], "the end");
}

/// A sender that is about to fill its window again when a second acknowledgment comes may not notice that.
#[test]
fn a_burst_is_acknowledged_once() {
    let message = |seq| Bytes::from(alloc::vec![0, 0xff, 0xff, seq, 0, b'x']);
    let mut b = end(Role::Listener);
    for seq in 0..4 {
        receive_bytes(&mut b, 10 + u64::from(seq) / 2, message(seq));
        consume(&mut b, 10 + u64::from(seq) / 2, 1);
    }
    assert_eq!(sent_alike(&mut b, 30, b"\x02\x03\x00"), [12.0, 22.0], "and once more, as nothing came");
    for seq in 4..9 {
        receive_bytes(&mut b, 30, message(seq));
    }
    consume(&mut b, 30, 4);
    assert_eq!(sent(&mut b, 30), []);
    consume(&mut b, 30, 1);
    assert_eq!(sent_alike(&mut b, 39, b"\x02\x08\x00"), [30.0], "no more can be on their way");
    receive(&mut b, 39, b"\x00\xff\xff\x09\x00x");
    consume(&mut b, 39, 1);
    assert_eq!(sent_alike(&mut b, 1000, b"\x02\x09\x00"), [44.0], "the peer goes on");
}

/// An initiator that has sent its end at 0 and received that of the peer, in the same packet as the
/// acknowledgment, at 10 ms.
fn lingering() -> Connection {
    let mut a = end(Role::Initiator);
    a.finish();
    assert_eq!(sent(&mut a, 0), [(0, b"\x05\xff\xff\x00\x00".to_vec())]);
    receive(&mut a, 10, b"\x03\x00\x00\x00\x00");
    assert_eq!((a.closed(), a.has_heard_peer()), (Some(CloseReason::Finished), true));
    a
}

#[test]
fn the_last_acknowledgment_is_sent_six_times() {
    let mut a = lingering();
    let times = sent_alike(&mut a, 1609, b"\x02\x00\x00");
    assert_eq!(times, [10.0, 60.0, 160.0, 360.0, 760.0, 1560.0]);
    assert!(!a.is_silent());
    assert_eq!(sent_alike(&mut a, 1610, b""), NONE);
    assert!(a.is_silent());
}

#[test]
fn a_retransmission_draws_the_last_acknowledgment_for_three_more_seconds() {
    let mut a = lingering();
    sent(&mut a, 1600);
    receive(&mut a, 1600, b"\x02\x00\x00");
    assert_eq!(sent_alike(&mut a, 1600, b""), NONE, "it needs no acknowledgment");
    receive(&mut a, 1600, b"\x03\x00\x00\x00\x00");
    assert_eq!(sent_alike(&mut a, 4599, b"\x02\x00\x00"), [1605.0]);
    assert!(!a.is_silent());
    sent(&mut a, 4600);
    assert!(a.is_silent());

    let mut a = lingering();
    sent(&mut a, 10);
    receive(&mut a, 58, b"\x03\x00\x00\x00\x00");
    assert_eq!(sent_alike(&mut a, 100, b"\x02\x00\x00"), [60.0], "one is due sooner");
}

#[test]
fn an_end_whose_last_segment_carried_the_last_acknowledgment_is_silent_at_once() {
    let mut b = end(Role::Listener);
    receive(&mut b, 0, b"\x05\xff\xff\x00\x00");
    b.finish();
    assert_eq!(sent(&mut b, 0), [(0, b"\x03\x00\x00\x00\x00".to_vec())]);
    receive(&mut b, 10, b"\x02\x00\x00");
    assert_eq!((b.closed(), b.is_silent()), (Some(CloseReason::Finished), true));

    // Here only the copy carried it, and the peer may have received the original.
    let mut b = end(Role::Listener);
    receive(&mut b, 0, b"\x04\xff\xff");
    b.finish();
    assert_eq!(sent(&mut b, 100), [(0, b"\x01\xff\xff\x00\x00".to_vec())]);
    receive(&mut b, 100, b"\x05\xff\xff\x00\x00");
    let copy = (1_000_000, b"\x03\x00\x00\x00\x00".to_vec());
    assert_eq!(sent(&mut b, 1000), [(100_000, b"\x02\x00\x00".to_vec()), copy]);
    receive(&mut b, 1010, b"\x02\x00\x00");
    assert_eq!((b.closed(), b.is_silent()), (Some(CloseReason::Finished), false));
}

#[test]
fn what_a_stop_means_depends_on_how_far_the_stream_was() {
    let reason = |role, packets: &[&'static [u8]], finished: bool| {
        let mut end = end(role);
        end.send.push(Bytes::from_static(b"x"));
        if finished {
            end.finish();
        }
        sent(&mut end, 20);
        for packet in packets {
            receive(&mut end, 30, packet);
        }
        receive(&mut end, 40, b"\x08");
        assert_eq!((sent(&mut end, 60_000), end.is_silent()), (Vec::new(), true));
        end.closed().unwrap()
    };
    let (initiator, listener) = (Role::Initiator, Role::Listener);
    assert_eq!(reason(initiator, &[], false), CloseReason::Refused);
    assert_eq!(reason(initiator, &[b"\x00\xff\xff"], false), CloseReason::Refused);
    assert_eq!(reason(initiator, &[b"\x02\x00\x00"], false), CloseReason::PeerReset, "it took data");
    assert_eq!(reason(initiator, &[b"\x00\xff\xff\x00\x00y"], false), CloseReason::PeerReset, "it sent data");
    assert_eq!(reason(listener, &[], false), CloseReason::PeerReset);
    let ended = b"\x03\x00\x00\x00\x00";
    assert_eq!(reason(initiator, &[ended], true), CloseReason::Finished, "only its last answer is missing");
    assert_eq!(reason(initiator, &[ended], false), CloseReason::PeerReset);
    assert_eq!(reason(initiator, &[b"\x01\xff\xff\x00\x00"], true), CloseReason::PeerReset);
    assert_eq!(reason(initiator, &[b"\x02\x00\x00"], true), CloseReason::PeerReset);
}

#[test]
fn silence_at_the_very_end_is_no_failure() {
    let mut a = end(Role::Initiator);
    a.finish();
    sent(&mut a, 0);
    receive(&mut a, 10, b"\x01\xff\xff\x00\x00");
    sent(&mut a, 10_009);
    assert_eq!(a.closed(), None);
    sent(&mut a, 10_010);
    assert_eq!(a.closed(), Some(CloseReason::Finished));
}

#[test]
fn the_first_reason_to_end_stays() {
    let mut a = end(Role::Initiator);
    a.abort(ms(5), CloseReason::Reset);
    a.abort(ms(6), CloseReason::TimedOut);
    assert_eq!(sent_alike(&mut a, 10, b"\x08"), [5.0]);
    receive(&mut a, 10, b"\x00\xff\xff\x00\x00x");
    receive(&mut a, 11, b"\x08");
    assert_eq!((a.closed(), a.is_silent()), (Some(CloseReason::Reset), true));
}

#[test]
fn another_first_message_is_that_of_another_stream() {
    let reason = |role, packet: &'static [u8]| {
        let mut end = end(role);
        receive(&mut end, 0, b"\x04\xff\xff\x00\x00a");
        receive(&mut end, 20, packet);
        end.closed()
    };
    let restarted = Some(CloseReason::PeerRestarted);
    assert_eq!(reason(Role::Listener, b"\x04\xff\xff\x00\x00b"), restarted);
    assert_eq!(reason(Role::Initiator, b"\x04\xff\xff\x00\x00b"), restarted);
    assert_eq!(reason(Role::Initiator, b"\x00\xff\xff\x00\x00b"), restarted);
    let copies: [&[u8]; 3] = [b"\x04\xff\xff\x00\x00a", b"\x04\xff\xff\x01\x00b", b"\x00\xff\xff\x00\x00a"];
    for packet in copies {
        assert_eq!(reason(Role::Listener, packet), None, "{packet:?}");
        assert_eq!(reason(Role::Initiator, packet), None, "{packet:?}");
    }
    // Without FIRST, the peer knows of a stream that this end has accepted.
    assert_eq!(reason(Role::Listener, b"\x00\xff\xff\x00\x00b"), None);
}

#[test]
fn what_was_never_sent_is_acknowledged_only_on_another_stream() {
    let reason = |role, sent_before: u16, ack: u16| {
        let mut end = end(role);
        receive(&mut end, 0, b"\x04\xff\xff\x00\x00a");
        (0..sent_before).for_each(|_| end.send.push(Bytes::from_static(b"x")));
        sent(&mut end, 5);
        let [low, high] = ack.to_le_bytes();
        receive_bytes(&mut end, 6, Bytes::copy_from_slice(&[2, low, high]));
        end.closed()
    };
    let restarted = Some(CloseReason::PeerRestarted);
    assert_eq!(reason(Role::Listener, 0, 0xffff), None);
    assert_eq!(reason(Role::Listener, 0, 0), restarted);
    assert_eq!(reason(Role::Listener, 2, 1), None);
    assert_eq!(reason(Role::Listener, 2, 2), restarted);
    assert_eq!(reason(Role::Initiator, 2, 2), None);
}

#[test]
fn counts_segments_and_copies() {
    let mut a = end(Role::Initiator);
    a.send.push(Bytes::from_static(b"x"));
    a.send.push(Bytes::from_static(b"y"));
    sent(&mut a, 40);
    receive(&mut a, 40, b"\x02\x00\x00\x00\x00a");
    receive(&mut a, 41, b"\x02\x00\x00\x00\x00a");
    sent(&mut a, 100); // y again, and an acknowledgment
    receive(&mut a, 101, b"\x02\x01\x00");
    let expected = Stats {
        round_trip: Some(Duration::from_millis(40)),
        congestion_window: 8,
        sent: 3,
        retransmitted: 1,
        copies: 0,
        received: 2,
        duplicates: 1,
    };
    assert_eq!(a.stats(None), expected);
}

/// Packets with FIRST are of the beginning, however near their numbers are to what is awaited once they have wrapped.
#[test]
fn a_late_packet_of_the_beginning_is_not_taken_for_a_new_one() {
    for form in
        [Form::Plain, Form::of_listener(&Config::default(), Some(Offer { nonce: 7 }), &mut Rng::new([1; 32]))]
    {
        let mut b =
            Connection { form, receive: ReceiveBuffer::starting_at(Seq(65_530), 512), ..end(Role::Listener) };
        let mut packet = b"\x04\xff\xff\x00\x00old".to_vec();
        if b.form.is_tagged() {
            Offer { nonce: 7 }.mark(&mut packet);
        }
        receive_bytes(&mut b, 1, packet.into());
        assert_eq!((b.receive.bytes(), b.stats.duplicates), (0, 1), "kept as message 65,536: {:?}", b.form);
    }
}

/// An initiator whose peer has ended and has everything but our end, which was sent if `sent_end` says so.
fn almost_finished(sent_end: bool) -> Connection {
    let mut a = end(Role::Initiator);
    a.send.push(Bytes::from_static(b"a"));
    assert_eq!(sent(&mut a, 5), [(0, b"\x04\xff\xff\0\0a".to_vec())]);
    receive(&mut a, 10, b"\x02\0\0\0\0b");
    consume(&mut a, 10, 1);
    receive(&mut a, 11, b"\x03\0\0\x01\0");
    a.finish();
    if sent_end {
        let sent = sent(&mut a, 12);
        assert_eq!(sent.first().map(|(_, packet)| &packet[..]), Some(&b"\x03\x01\0\x01\0"[..]));
    }
    a
}

#[test]
fn stop_stands_for_the_last_acknowledgment_only_of_an_end_that_was_sent() {
    for (sent_end, reason) in [(true, CloseReason::Finished), (false, CloseReason::PeerReset)] {
        let mut a = almost_finished(sent_end);
        receive(&mut a, 12, b"\x08");
        assert_eq!(a.closed(), Some(reason));
    }
}

/// The reference daemon accepts a late copy of the first packet once more as soon as it has forgotten the stream.
#[test]
fn a_stream_in_place_of_one_that_lacks_the_last_acknowledgment_stands_for_it_too() {
    for (sent_end, reason) in [(true, CloseReason::Finished), (false, CloseReason::PeerRestarted)] {
        let mut a = almost_finished(sent_end);
        receive(&mut a, 12, b"\x02\0\0\0\0other");
        assert_eq!(a.closed(), Some(reason));
        assert_eq!(sent(&mut a, 13), [(12_000, b"\x08".to_vec())], "and the other stream is none");
    }
}

/// An acknowledgment would be taken for one of what the other stream has sent, and neither would ever end.
#[test]
fn an_end_that_lingers_stops_another_stream_and_answers_its_own() {
    for (packet, answer) in [
        (&b"\x03\x01\0\x01\0"[..], &b"\x02\x01\0"[..]),
        (b"\x02\0\0\0\0b", b"\x02\x01\0"),
        (b"\x02\0\0\0\0other", b"\x08"),
        (b"\x02\0\0\x02\0more", b"\x08"),
    ] {
        let mut a = end(Role::Initiator);
        a.finish();
        assert_eq!(sent(&mut a, 5), [(0, b"\x05\xff\xff\0\0".to_vec())]);
        receive(&mut a, 10, b"\x02\0\0\0\0b");
        receive(&mut a, 11, b"\x03\0\0\x01\0");
        consume(&mut a, 12, 1);
        assert_eq!(a.closed(), Some(CloseReason::Finished));
        assert!(sent(&mut a, 1000).len() <= usize::from(LAST_ACKS));
        receive(&mut a, 1000, packet);
        assert_eq!(sent(&mut a, 1005).first().map(|(_, packet)| &packet[..]), Some(answer), "{packet:?}");
        assert!(sent(&mut a, 60_000).len() <= 4 && a.is_silent());
    }
}

/// The peer's first message was acknowledged before a restart here, so it does not come again, and all else waits for it.
#[test]
fn a_gap_that_is_never_filled_ends_the_stream() {
    for (filled, closed) in [(false, Some(CloseReason::PeerRestarted)), (true, None)] {
        let mut b = end(Role::Listener);
        for n in 0..14 {
            receive(&mut b, 1500 * n, b"\x04\xff\xff\x01\0b");
            assert_eq!(b.closed(), None);
            if filled && n == 12 {
                receive(&mut b, 1500 * n, b"\x04\xff\xff\0\0a");
            }
        }
        receive(&mut b, 21_000, b"\x04\xff\xff\x02\0c");
        assert_eq!(b.closed(), closed);
    }
}

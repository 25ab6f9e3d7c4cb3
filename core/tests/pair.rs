//! Two endpoints over an unreliable link, in virtual time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use core::time::Duration;
use msp_core::Protection::{Clear, Encrypted, Signed};
use msp_core::msp::{CloseReason, Config, DatagramError, Event, SendError, StreamId};
use msp_core::testing::{Pair, Side, seed};
use msp_core::{Addr, Datagram, Port};

const MINUTE: Duration = Duration::from_secs(60);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn data(length: usize) -> Vec<u8> {
    (0..length as u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).take(length).collect()
}

/// Sends `forth` bytes from A and `back` bytes from B on one stream, both finish. Returns the pair after
/// both ends have closed and everything has been compared.
fn exchange(mut pair: Pair, forth: usize, back: usize, limit: Duration) -> Pair {
    let (forth, back) = (data(forth), data(back));
    let a = pair.connect();
    let mut offsets = [0, 0];
    let mut b = None;
    let done = pair.run_until(limit, |pair| {
        pair.feed(Side::A, a, &forth, &mut offsets[0]);
        b = b.or_else(|| pair.accepted());
        if let Some(b) = b {
            pair.feed(Side::B, b, &back, &mut offsets[1]);
        }
        pair.drain(Side::A);
        pair.drain(Side::B);
        pair.close_reason(Side::A, a).is_some() && b.is_some_and(|b| pair.close_reason(Side::B, b).is_some())
    });
    assert!(done, "not finished at {:?}", pair.now);
    let b = b.unwrap();
    assert_eq!(pair.close_reason(Side::A, a), Some(CloseReason::Finished));
    assert_eq!(pair.close_reason(Side::B, b), Some(CloseReason::Finished));
    assert!(*pair.received[1].entry(b).or_default() == forth, "what A sent");
    assert!(*pair.received[0].entry(a).or_default() == back, "what B sent");
    pair
}

/// An open stream over which one message has gone each way.
fn established(pair: &mut Pair) -> (StreamId, StreamId) {
    let a = pair.connect();
    let now = pair.now;
    pair.stream(Side::A, a).send(now, Bytes::from_static(b"hello")).unwrap();
    assert!(pair.run_until(MINUTE, |pair| pair.accepted().is_some()));
    let b = pair.accepted().unwrap();
    let now = pair.now;
    pair.stream(Side::B, b).send(now, Bytes::from_static(b"hello")).unwrap();
    assert!(pair.run_until(MINUTE, |pair| {
        pair.drain(Side::A);
        pair.drain(Side::B);
        !pair.received[0].is_empty() && !pair.received[1].is_empty()
    }));
    pair.run(ms(200));
    (a, b)
}

fn packets(pair: &Pair) -> u64 {
    pair.links.iter().map(|link| link.counts().0).sum()
}

#[test]
fn hello_takes_one_trip_and_few_packets() {
    let mut pair = Pair::new(seed(1), |link| link.delay(ms(20)));
    let a = pair.connect();
    let now = pair.now;
    pair.stream(Side::A, a).send(now, Bytes::from_static(b"hi")).unwrap();
    assert!(pair.run_until(MINUTE, |pair| {
        pair.drain(Side::B);
        !pair.received[1].is_empty()
    }));
    assert_eq!(pair.now.as_micros(), 20_000, "data rides in the first packet");
    let pair = exchange(Pair::new(seed(1), |link| link.delay(ms(20))), 5000, 5000, MINUTE);
    // As long as nothing is known of losses, the last ones are sent several times, and both ends finish at once and linger.
    assert!(packets(&pair) <= 31, "{} packets for 10 messages", packets(&pair));
}

#[test]
fn bulk_arrives_over_a_bad_link() {
    let first = seed(2);
    for (loss, n) in [0, 5, 10, 20, 30].into_iter().zip(first..) {
        let pair = Pair::new(n, |link| link.delay(ms(10)).jitter(ms(5)).loss(loss).duplicate(5).reorder(5));
        let pair = exchange(pair, 300_000, 200_000, 20 * MINUTE);
        let ratio = packets(&pair) as f64 / (500_000.0 / 1024.0);
        assert!(ratio < 5.0, "{ratio} packets per message at {loss} % loss");
    }
}

#[test]
fn window_fills_a_long_fat_link() {
    // 1 MB/s, 100 ms round trip: 100 segments are on their way.
    let pair = Pair::new(seed(3), |link| link.delay(ms(50)).rate(1_050_000, 200_000));
    let pair = exchange(pair, 5_000_000, 0, MINUTE);
    let seconds = pair.now.as_micros() as f64 / 1e6;
    assert!(seconds < 7.0, "5 s at the link's rate, took {seconds}");
    assert_eq!(pair.links[0].counts().1, 0, "and nothing overflowed");
}

#[test]
fn sequence_numbers_wrap() {
    let pair = Pair::new(seed(4), |link| link.delay(ms(1)).loss(1));
    exchange(pair, 67_000 * 1024, 0, 60 * MINUTE);
}

#[test]
fn empty_stream_opens_and_closes() {
    exchange(Pair::new(seed(5), |link| link.delay(ms(10))), 0, 0, MINUTE);
    exchange(Pair::new(seed(6), |link| link.delay(ms(10)).loss(30)), 0, 0, MINUTE);
}

#[test]
fn an_answer_that_ends_the_stream_is_an_answer_all_the_same() {
    let mut pair = Pair::new(seed(24), |link| link);
    let (a, now, mut buffer) = (pair.connect(), pair.now, Vec::new());
    pair.stream(Side::A, a).finish(now);
    let local = pair.ends[0].poll_transmit(now, &mut buffer).unwrap().from;
    // It ends as well, and acknowledges our end.
    let answer = Datagram::new(Pair::address(), local, Encrypted, Bytes::from_static(b"\x03\0\0\0\0"));
    pair.ends[0].handle_datagram(now, answer).unwrap();
    let events: Vec<Event> = core::iter::from_fn(|| pair.ends[0].poll_event()).collect();
    let closed = Event::Closed { stream: a, reason: CloseReason::Finished };
    assert_eq!(events, [Event::Connected { stream: a }, Event::PeerFinished { stream: a }, closed]);
}

#[test]
fn half_close_leaves_the_other_direction_open() {
    let mut pair = Pair::new(seed(7), |link| link.delay(ms(10)).loss(10));
    let (a, b) = established(&mut pair);
    let now = pair.now;
    pair.stream(Side::A, a).finish(now);
    assert_eq!(pair.stream(Side::A, a).send(now, Bytes::from_static(b"x")), Err(SendError::Finished));
    assert!(pair.run_until(MINUTE, |pair| pair.events[1].contains(&Event::PeerFinished { stream: b })));
    pair.run(MINUTE);
    assert!(pair.stream(Side::B, b).recv_finished());
    let (answer, mut offset) = (data(100_000), 0);
    assert!(pair.run_until(10 * MINUTE, |pair| {
        pair.feed(Side::B, b, &answer, &mut offset);
        pair.drain(Side::A);
        pair.close_reason(Side::A, a).is_some() && pair.close_reason(Side::B, b).is_some()
    }));
    assert_eq!(pair.close_reason(Side::A, a), Some(CloseReason::Finished));
    assert_eq!(pair.close_reason(Side::B, b), Some(CloseReason::Finished));
    assert_eq!(pair.received[0][&a].len(), "hello".len() + answer.len());
}

#[test]
fn a_reader_that_stops_stops_the_writer() {
    let mut pair = Pair::new(seed(8), |link| link.delay(ms(10)).loss(5));
    let (a, b) = established(&mut pair);
    let (bulk, mut offset) = (data(2_000_000), 0);
    pair.run_until(5 * MINUTE, |pair| {
        pair.feed(Side::A, a, &bulk, &mut offset);
        false
    });
    assert_eq!(offset, (256 + 64) * 1024, "what the peer keeps, and what may wait here");
    let idle = packets(&pair);
    pair.run(MINUTE);
    assert!(packets(&pair) - idle < 250, "a stalled stream is quiet");
    assert!(pair.run_until(5 * MINUTE, |pair| {
        pair.feed(Side::A, a, &bulk, &mut offset);
        pair.drain(Side::B);
        pair.received[1][&b].len() == "hello".len() + bulk.len()
    }));
    assert!(pair.received[1][&b].ends_with(&bulk));
}

#[test]
fn writable_follows_a_refusal_once() {
    let mut pair = Pair::new(seed(9), |link| link.delay(ms(10)));
    let (a, _) = established(&mut pair);
    let now = pair.now;
    let mut taken = 0;
    while pair.stream(Side::A, a).send(now, Bytes::from_static(b"x")).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, 64);
    assert_eq!(pair.stream(Side::A, a).capacity(), 0);
    pair.run_until(MINUTE, |pair| {
        pair.drain(Side::B);
        false
    });
    let writable = pair.events[0].iter().filter(|event| matches!(event, Event::Writable { .. })).count();
    assert_eq!(writable, 1);
}

#[test]
fn idle_streams_live_on_few_packets() {
    let mut pair = Pair::new(seed(10), |link| link.delay(ms(10)).loss(20));
    let (a, b) = established(&mut pair);
    let before = packets(&pair);
    pair.run(5 * MINUTE);
    assert_eq!(pair.close_reason(Side::A, a), None);
    assert_eq!(pair.close_reason(Side::B, b), None);
    assert_eq!(packets(&pair) - before, 400, "one packet each way per 1.5 s");
}

#[test]
fn silence_is_reported_at_both_ends() {
    let mut pair = Pair::new(seed(11), |link| link.delay(ms(10)));
    let (a, b) = established(&mut pair);
    pair.links.iter_mut().for_each(|link| link.set_blackout(true));
    pair.run(ms(11_000));
    assert_eq!(pair.close_reason(Side::A, a), Some(CloseReason::TimedOut));
    assert_eq!(pair.close_reason(Side::B, b), Some(CloseReason::TimedOut));
    pair.run(MINUTE);
    assert!(pair.ends.iter().all(|end| end.is_idle() && end.poll_timeout().is_none()));
}

#[test]
fn a_peer_that_is_not_there_is_unreachable_after_ten_seconds() {
    let mut pair = Pair::new(seed(12), |link| link.loss(100));
    let a = pair.connect();
    pair.run(ms(9_999));
    assert_eq!(pair.close_reason(Side::A, a), None);
    pair.run(ms(2));
    assert_eq!(pair.close_reason(Side::A, a), Some(CloseReason::Unreachable));
}

#[test]
fn a_port_where_nobody_listens_refuses_at_once() {
    let mut pair = Pair::new(seed(13), |link| link.delay(ms(10)));
    pair.ends[1].stop_listening(Pair::PORT.into());
    let a = pair.connect();
    pair.run(ms(40));
    assert_eq!(pair.close_reason(Side::A, a), Some(CloseReason::Refused));
    let nobody = Addr::new(Side::B.sid(), Port::new(0).unwrap());
    assert!(pair.ends[0].connect(pair.now, nobody).is_err());
}

#[test]
fn reset_before_any_data_is_a_refusal_later_an_abort() {
    let mut pair = Pair::new(seed(14), |link| link.delay(ms(10)));
    let a = pair.connect();
    assert!(pair.run_until(MINUTE, |pair| pair.accepted().is_some()));
    let (b, now) = (pair.accepted().unwrap(), pair.now);
    pair.stream(Side::B, b).reset(now);
    pair.run(ms(1000));
    assert_eq!(pair.close_reason(Side::A, a), Some(CloseReason::Refused));
    assert_eq!(pair.close_reason(Side::B, b), Some(CloseReason::Reset));

    let mut pair = Pair::new(seed(14), |link| link.delay(ms(10)).loss(50));
    let (a, b) = established(&mut pair);
    let now = pair.now;
    pair.stream(Side::A, a).reset(now);
    pair.run(ms(12_000));
    assert_eq!(pair.close_reason(Side::A, a), Some(CloseReason::Reset));
    assert_eq!(pair.close_reason(Side::B, b), Some(CloseReason::PeerReset));
}

#[test]
fn what_arrived_in_order_is_delivered_before_a_failure_is_reported() {
    let mut pair = Pair::new(seed(15), |link| link.delay(ms(10)));
    let (a, b) = established(&mut pair);
    let now = pair.now;
    pair.stream(Side::A, a).send(now, Bytes::from_static(b"last words")).unwrap();
    pair.run(ms(100));
    let now = pair.now;
    pair.stream(Side::A, a).reset(now);
    pair.run(ms(500));
    assert_eq!(pair.close_reason(Side::B, b), None);
    let now = pair.now;
    let refused = pair.stream(Side::B, b).send(now, Bytes::from_static(b"x"));
    assert_eq!(refused, Err(SendError::Closed(CloseReason::PeerReset)));
    pair.drain(Side::B);
    pair.step(now);
    assert_eq!(pair.close_reason(Side::B, b), Some(CloseReason::PeerReset));
    assert!(pair.received[1][&b].ends_with(b"last words"));
}

#[test]
fn a_lost_last_acknowledgment_is_no_error() {
    let first = seed(100);
    for n in first..first + 50 {
        exchange(Pair::new(n, |link| link.delay(ms(30)).loss(30)), 3000, 3000, 5 * MINUTE);
    }
}

#[test]
fn a_blackout_of_five_seconds_is_survived() {
    let mut pair = Pair::new(seed(16), |link| link.delay(ms(20)));
    let (a, b) = established(&mut pair);
    let (bulk, mut offset) = (data(1_000_000), 0);
    let mut bulk_until = |pair: &mut Pair, limit| {
        pair.run_until(limit, |pair| {
            pair.feed(Side::A, a, &bulk, &mut offset);
            pair.drain(Side::B);
            pair.received[1][&b].len() == "hello".len() + bulk.len()
        })
    };
    assert!(!bulk_until(&mut pair, ms(150)));
    pair.links.iter_mut().for_each(|link| link.set_blackout(true));
    assert!(!bulk_until(&mut pair, ms(5000)));
    pair.links.iter_mut().for_each(|link| link.set_blackout(false));
    assert!(bulk_until(&mut pair, ms(4500)), "{:?}", pair.ends[0].stream(a).map(|s| s.stats()));
}

/// That of the reference wire only, whose packets name no connection.
fn plain() -> Config {
    let mut config = Config::default();
    config.extended = false;
    config
}

#[test]
fn an_acknowledgment_of_what_was_never_sent_changes_nothing() {
    let mut pair = Pair::with_config(seed(17), &plain(), |link| link.delay(ms(10)));
    let (a, b) = established(&mut pair);
    let now = pair.now;
    pair.stream(Side::A, a).send(now, Bytes::from_static(b"precious")).unwrap();
    let peer = pair.stream(Side::B, b).peer();
    let forged = Bytes::from_static(b"\x02\xff\x00");
    pair.ends[0].handle_datagram(now, Datagram::new(Pair::address(), peer.port, Encrypted, forged)).unwrap();
    assert_eq!(pair.stream(Side::A, a).unacknowledged(), 1);
    pair.run(ms(100));
    pair.drain(Side::B);
    assert!(pair.received[1][&b].ends_with(b"precious"));
}

#[test]
fn a_restarted_peer_is_noticed() {
    let mut pair = Pair::with_config(seed(18), &plain(), |link| link.delay(ms(10)));
    let (a, b) = established(&mut pair);
    let peer = pair.stream(Side::B, b).peer();
    let deliver = |pair: &mut Pair, packet: &'static [u8]| {
        let (now, packet) = (pair.now, Bytes::from_static(packet));
        pair.ends[1].handle_datagram(now, Datagram::new(peer, Pair::PORT.into(), Encrypted, packet)).unwrap();
        pair.run(ms(100));
    };
    let now = pair.now;
    pair.stream(Side::A, a).send(now, Bytes::from_static(b"more")).unwrap();
    pair.run(ms(100));
    deliver(&mut pair, b"\x04\xff\xff\x00\x00hello");
    assert_eq!(pair.close_reason(Side::B, b), None, "a copy of the first packet is only that");
    pair.drain(Side::B);
    deliver(&mut pair, b"\x04\xff\xff\x00\x00other");
    assert_eq!(pair.close_reason(Side::B, b), Some(CloseReason::PeerRestarted));
    assert_eq!(pair.close_reason(Side::A, a), Some(CloseReason::PeerReset));
}

/// A listener that was started again may accept a stream that is being opened once more. Then it is not what it
/// was, and the initiator acknowledges what it never sent.
#[test]
fn a_listener_that_has_accepted_a_stream_twice_is_noticed() {
    let mut pair = Pair::with_config(seed(24), &plain(), |link| link.delay(ms(10)));
    let (a, b) = established(&mut pair);
    let port = pair.stream(Side::B, b).peer().port;
    for (packet, reason) in [
        (&b"\x02\x00\x00\x00\x00hello"[..], None),
        (b"\x02\x00\x00\x00\x00other", Some(CloseReason::PeerRestarted)),
    ] {
        let datagram = Datagram::new(Pair::address(), port, Encrypted, Bytes::from_static(packet));
        pair.ends[0].handle_datagram(pair.now, datagram).unwrap();
        pair.run(ms(100));
        assert_eq!(pair.close_reason(Side::A, a), reason);
    }

    pair.links[1].set_blackout(true); // A would know nothing of this stream
    let stranger = Addr::new(Side::A.sid(), 999.into());
    for (packet, reason) in [
        (&b"\x04\xff\xff\x00\x00x"[..], None),
        (b"\x02\xff\xff", None),
        (b"\x02\x00\x00", Some(CloseReason::PeerRestarted)),
    ] {
        let datagram = Datagram::new(stranger, Pair::PORT.into(), Encrypted, Bytes::from_static(packet));
        pair.ends[1].handle_datagram(pair.now, datagram).unwrap();
        pair.drain(Side::B);
        pair.run(ms(100));
        let accepted = pair.events[1].iter().rev().find_map(|event| match event {
            Event::Accepted { stream, .. } => Some(*stream),
            _ => None,
        });
        assert_eq!(pair.close_reason(Side::B, accepted.unwrap()), reason);
    }
}

#[test]
fn a_late_copy_of_the_first_packet_opens_nothing() {
    let mut pair = Pair::with_config(seed(23), &plain(), |link| link.delay(ms(10)));
    let (a, b) = established(&mut pair);
    let (now, peer) = (pair.now, pair.stream(Side::B, b).peer());
    pair.stream(Side::A, a).reset(now);
    pair.run(ms(1000));
    let deliver = |pair: &mut Pair| {
        let packet = Bytes::from_static(b"\x04\xff\xff\x00\x00hello");
        pair.ends[1].handle_datagram(pair.now, Datagram::new(peer, Pair::PORT.into(), Encrypted, packet))
    };
    assert_eq!(deliver(&mut pair), Err(DatagramError::Refused));
    pair.run(ms(10_000));
    assert_eq!(deliver(&mut pair), Ok(()), "the ports may be used again");
}

#[test]
fn stop_draws_no_stop_and_unknown_packets_draw_one_within_a_limit() {
    let mut pair = Pair::new(seed(19), |link| link);
    let (end, now, mut buffer) = (&mut pair.ends[1], pair.now, Vec::new());
    let stranger = Addr::new(Side::A.sid(), 999.into());
    let mut answers = |packet: &'static [u8], protection| {
        let _ = end.handle_datagram(
            now,
            Datagram::new(stranger, 700.into(), protection, Bytes::from_static(packet)),
        );
        core::iter::from_fn(|| end.poll_transmit(now, &mut buffer).map(|_| buffer.clone()))
            .collect::<Vec<_>>()
    };
    assert!(answers(b"\x08", Encrypted).is_empty());
    assert!(answers(b"", Encrypted).is_empty());
    assert!(answers(b"\x00\xff\xff\x00\x00x", Clear).is_empty());
    assert!(answers(b"\x00\xff\xff\x00\x00x", Signed).is_empty());
    assert_eq!(answers(b"\x00\xff\xff\x00\x00x", Encrypted), [b"\x08"]);
    assert_eq!(answers(b"\x04\xff\xff", Encrypted), [b"\x08"]);
    let flood: usize = (0..1000).map(|_| answers(b"\x00\xff\xff", Encrypted).len()).sum();
    assert!(flood < 40, "{flood} answers at one moment");
}

#[test]
fn streams_are_limited_and_share_the_link_in_turn() {
    let mut config = Config::default();
    config.max_streams = 7;
    let mut pair = Pair::with_config(seed(20), &config, |link| link.delay(ms(10)).rate(500_000, 100_000));
    let streams: Vec<StreamId> = (0..7).map(|_| pair.connect()).collect();
    assert!(pair.ends[0].connect(pair.now, Pair::address()).is_err());
    let (bulk, mut offsets) = (data(1_000_000), [0; 7]);
    pair.run_until(ms(10_000), |pair| {
        for (stream, offset) in streams.iter().zip(&mut offsets) {
            pair.feed(Side::A, *stream, &bulk, offset);
        }
        pair.drain(Side::B);
        false
    });
    let received: Vec<usize> = pair.received[1].values().map(Vec::len).collect();
    let (least, most) = (received.iter().min().unwrap(), received.iter().max().unwrap());
    assert_eq!(received.len(), 7);
    assert!(*most < least * 4, "{received:?}");
    assert!(received.iter().sum::<usize>() > 3_500_000, "{received:?}");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let transcript = |n| {
        let mut pair = Pair::new(n, |link| link.delay(ms(10)).jitter(ms(9)).loss(10).duplicate(10));
        pair.record = true;
        exchange(pair, 50_000, 50_000, 5 * MINUTE).transcript
    };
    let first = seed(21);
    assert!(transcript(first) == transcript(first));
    assert!(transcript(first) != transcript(first + 1));
}

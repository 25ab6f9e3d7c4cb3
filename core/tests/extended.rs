//! Two ends that agree on extended packets, or do not (`docs/msp-extensions.md`).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use core::num::NonZeroU32;
use core::time::Duration;
use msp_core::msp::{CloseReason, Config, DatagramError, Endpoint, Event, StreamId};
use msp_core::testing::{Pair, Side, seed};
use msp_core::wire::extended::{
    Acknowledgment, Body, Data, Offer, Range, Ranges, Repr, Settings, Tag, Timestamp, feature,
};
use msp_core::wire::msp;
use msp_core::{Addr, Datagram, Instant, Protection, Seq, Seq16};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Two ends of which each may want extended packets, with a message from A to B and an answer.
fn pair(number: u64, extended: [bool; 2]) -> (Pair, StreamId, StreamId) {
    let mut pair = Pair::new(seed(number), |link| link.delay(ms(10)));
    for (end, extended) in pair.ends.iter_mut().zip(extended) {
        let mut config = Config::default();
        config.extended = extended;
        *end = Endpoint::new(config, [number as u8 + u8::from(extended); 32]);
    }
    pair.ends[1].listen(Pair::PORT.into()).unwrap();
    pair.record = true;
    let a = pair.connect();
    send(&mut pair, Side::A, a, b"hello");
    pair.run(ms(100));
    let b = pair.accepted().unwrap();
    send(&mut pair, Side::B, b, b"answer");
    pair.run(ms(100));
    pair.drain(Side::A);
    pair.drain(Side::B);
    assert_eq!((&pair.received[1][&b][..], &pair.received[0][&a][..]), (&b"hello"[..], &b"answer"[..]));
    pair.run(ms(100));
    (pair, a, b)
}

fn send(pair: &mut Pair, side: Side, stream: StreamId, message: &'static [u8]) {
    let now = pair.now;
    pair.stream(side, stream).send(now, Bytes::from_static(message)).unwrap();
}

/// What a packet of the transcript is.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Offer(Offer),
    Plain,
    Extended(Tag),
}

fn kind(packet: &[u8]) -> Kind {
    match (Offer::parse(packet), Repr::parse(packet)) {
        (Some(offer), _) => Kind::Offer(offer),
        (None, Ok(repr)) => Kind::Extended(repr.tag),
        (None, Err(_)) => Kind::Plain,
    }
}

fn kinds(pair: &Pair, side: Side) -> Vec<Kind> {
    pair.transcript.iter().filter(|(from, _)| *from == side).map(|(_, packet)| kind(packet)).collect()
}

/// A packet to one side, as if from the other.
fn deliver(pair: &mut Pair, to: Side, port: msp_core::Port, packet: &[u8]) -> Result<(), DatagramError> {
    let (from, to_port) = match to {
        Side::A => (Pair::address(), port),
        Side::B => (Addr::new(Side::A.sid(), port), Pair::PORT.into()),
    };
    let datagram = Datagram::new(from, to_port, Protection::Encrypted, Bytes::copy_from_slice(packet));
    let result = pair.ends[to as usize].handle_datagram(pair.now, datagram);
    pair.run(ms(100));
    result
}

fn emit(repr: &Repr<'_>) -> Vec<u8> {
    let mut packet = Vec::new();
    repr.emit(&mut packet);
    packet
}

/// The first packets that are offers: one, and copies until an answer comes.
fn offers(kinds: &[Kind]) -> usize {
    kinds.iter().take_while(|kind| matches!(kind, Kind::Offer(_))).count()
}

#[test]
fn both_agree_in_the_first_packets() {
    let (mut pair, a, b) = pair(1, [true, true]);
    for (side, stream) in [(Side::B, b), (Side::A, a)] {
        send(&mut pair, side, stream, b"more");
        pair.run(ms(100));
    }
    let (client, server) = (kinds(&pair, Side::A), kinds(&pair, Side::B));
    let Kind::Extended(tag) = server[0] else { panic!("{server:?}") };
    let offers = offers(&client);
    assert!(offers > 0 && client[offers..].iter().all(|kind| *kind == Kind::Extended(tag)), "{client:?}");
    assert!(server.iter().all(|kind| *kind == Kind::Extended(tag)), "{server:?}");
    // Settings are sent until they have arrived, and then no more.
    let settings = pair
        .transcript
        .iter()
        .filter_map(|(side, packet)| Repr::parse(packet).ok().map(|repr| (*side, repr.settings.is_some())));
    let settings: Vec<_> = settings.collect();
    for side in [Side::A, Side::B] {
        let told: Vec<bool> = settings.iter().filter(|(from, _)| *from == side).map(|(_, it)| *it).collect();
        assert!(told[0] && !told[told.len() - 1] && told.is_sorted_by(|a, b| a >= b), "{side:?} {told:?}");
    }
}

#[test]
fn who_does_not_want_them_notices_nothing() {
    for (number, extended) in [(2, [true, false]), (3, [false, true]), (4, [false, false])] {
        let (pair, ..) = pair(number, extended);
        let (client, server) = (kinds(&pair, Side::A), kinds(&pair, Side::B));
        let offers = offers(&client);
        assert_eq!(offers > 0, extended[0]);
        let later = || client[offers..].iter().chain(&server);
        assert!(later().all(|kind| *kind == Kind::Plain), "{client:?} {server:?}");
        let flags = |packet: &(Side, Vec<u8>)| packet.1[0];
        let marked = pair.transcript.iter().map(flags).filter(|flags| flags & 0xf0 != 0);
        assert_eq!(marked.count(), offers);
    }
}

#[test]
fn packets_without_the_tag_change_nothing() {
    let (mut pair, a, b) = pair(5, [true, true]);
    let port = pair.stream(Side::B, b).peer().port;
    let other = Tag(NonZeroU32::MIN.saturating_add(6));
    let plain = |repr: msp::Repr<'_>| {
        let mut packet = Vec::new();
        repr.emit(&mut packet);
        packet
    };
    let foreign = [
        emit(&Repr::new(other, Body::Stop { nonce: None })),
        emit(&Repr::new(other, Body::Empty)),
        plain(msp::Repr::Stop),
        plain(msp::Repr::Ack { first: false, ack: Some(Seq16(0)) }),
        plain(msp::Repr::Data { first: false, ack: None, seq: Seq16(1), shutdown: true, payload: b"forged" }),
    ];
    for (side, packet) in [Side::A, Side::B].iter().flat_map(|side| foreign.iter().map(move |it| (*side, it)))
    {
        assert_eq!(deliver(&mut pair, side, port, packet), Err(DatagramError::UnknownStream), "{packet:?}");
    }
    assert_eq!((pair.close_reason(Side::A, a), pair.close_reason(Side::B, b)), (None, None));
    send(&mut pair, Side::A, a, b" more");
    pair.run(ms(100));
    pair.drain(Side::B);
    assert_eq!(pair.received[1][&b], b"hello more");
}

/// Ranges may span half of all numbers, so that those of such a report end before what was sent.
#[test]
fn a_report_of_what_was_never_sent_changes_nothing() {
    let (mut pair, a, b) = pair(11, [true, true]);
    let Kind::Extended(tag) = kinds(&pair, Side::B)[0] else { panic!("not extended") };
    let port = pair.stream(Side::B, b).peer().port;
    for consumed in [1, 2, 100, u32::MAX / 2 - 1] {
        let ranges = Ranges::from_iter([Range { missing: u32::MAX / 2 - 1, received: 1 }]);
        let report = Acknowledgment { consumed: Seq(consumed), window: 9, ranges };
        let packet = emit(&Repr { acknowledgment: Some((report, None)), ..Repr::new(tag, Body::Empty) });
        for to in [Side::A, Side::B] {
            assert_eq!(deliver(&mut pair, to, port, &packet), Ok(()));
        }
    }
    send(&mut pair, Side::A, a, b"more");
    pair.run(ms(100));
    pair.drain(Side::B);
    assert_eq!(pair.received[1][&b], b"hellomore");
}

#[test]
fn a_stop_with_the_tag_ends_the_stream() {
    let (mut pair, a, b) = pair(6, [true, true]);
    let port = pair.stream(Side::B, b).peer().port;
    let Some(Kind::Extended(tag)) = kinds(&pair, Side::B).pop() else { panic!("no tag") };
    assert_eq!(deliver(&mut pair, Side::A, port, &emit(&Repr::new(tag, Body::Stop { nonce: None }))), Ok(()));
    assert_eq!(pair.close_reason(Side::A, a), Some(CloseReason::PeerReset));
}

#[test]
fn a_listener_that_aborts_before_anything_else_refuses() {
    let mut pair = Pair::new(seed(11), |link| link.delay(ms(10)));
    let a = pair.connect();
    send(&mut pair, Side::A, a, b"hello");
    pair.run(ms(15));
    let (b, now) = (pair.accepted().unwrap(), pair.now);
    pair.stream(Side::B, b).reset(now);
    pair.run(ms(15));
    assert_eq!(pair.close_reason(Side::A, a), Some(CloseReason::Refused));
}

#[test]
fn a_listener_that_was_started_again_says_so_within_a_round_trip() {
    let (mut pair, a, _) = pair(7, [true, true]);
    pair.ends[1] = Endpoint::new(Config::default(), [77; 32]);
    pair.ends[1].listen(Pair::PORT.into()).unwrap();
    send(&mut pair, Side::A, a, b"more");
    pair.run(ms(25));
    assert_eq!(pair.close_reason(Side::A, a), Some(CloseReason::PeerReset));
}

/// Even if it has taken a late copy of the offer for a new connection.
#[test]
fn a_listener_that_has_accepted_an_old_offer_once_more_gives_it_up() {
    let (mut pair, a, b) = pair(8, [true, true]);
    let port = pair.stream(Side::B, b).peer().port;
    pair.ends[1] = Endpoint::new(Config::default(), [78; 32]);
    pair.ends[1].listen(Pair::PORT.into()).unwrap();
    pair.events[1].clear();
    let offer = pair.transcript[0].1.clone();
    assert_eq!(deliver(&mut pair, Side::B, port, &offer), Ok(()));
    let again = pair.accepted().unwrap();
    pair.drain(Side::B);
    pair.run(ms(100));
    assert_eq!(pair.close_reason(Side::B, again), Some(CloseReason::PeerReset), "A knows no such connection");
    send(&mut pair, Side::A, a, b"more");
    pair.run(ms(100));
    assert_eq!(pair.close_reason(Side::A, a), Some(CloseReason::PeerReset));
}

#[test]
fn a_new_initiator_with_the_same_port_takes_the_place_of_the_old_one() {
    let (mut pair, _, b) = pair(9, [true, true]);
    let port = pair.stream(Side::B, b).peer().port;
    pair.links[1].set_blackout(true); // A is another one by now
    let packet = |nonce| {
        let mut packet = b"\x04\xff\xff\0\0new".to_vec();
        Offer { nonce }.mark(&mut packet);
        packet
    };
    let Kind::Offer(old) = kind(&pair.transcript[0].1) else { panic!("no offer") };
    let _ = deliver(&mut pair, Side::B, port, &packet(old.nonce));
    assert_eq!(pair.close_reason(Side::B, b), None, "a copy");
    let _ = deliver(&mut pair, Side::B, port, &packet(old.nonce ^ 1));
    assert_eq!(pair.close_reason(Side::B, b), Some(CloseReason::PeerRestarted));
    pair.run(ms(1000));
    pair.events[1].clear();
    assert_eq!(deliver(&mut pair, Side::B, port, &packet(old.nonce ^ 1)), Ok(()));
    let new = pair.accepted().unwrap();
    pair.drain(Side::B);
    assert_eq!(pair.received[1][&new], b"new");
    assert!(pair.events[1].iter().all(|event| !matches!(event, Event::Closed { .. })));
}

/// A full message leaves no room for an acknowledgment; both are told all the same.
#[test]
fn the_largest_messages_go_both_ways_at_once() {
    let (mut pair, a, b) = pair(10, [true, true]);
    for _ in 0..20 {
        for (side, stream) in [(Side::A, a), (Side::B, b)] {
            send(&mut pair, side, stream, &[7; msp_core::msp::MAX_MESSAGE]);
        }
        pair.run(ms(50));
        pair.drain(Side::A);
        pair.drain(Side::B);
    }
    pair.run(ms(100));
    assert_eq!(pair.stream(Side::A, a).unacknowledged(), 0);
    assert_eq!(pair.stream(Side::A, a).stats().retransmitted, 0);
    assert!(pair.transcript.iter().all(|(_, packet)| packet.len() <= 1041));
}

/// What A says to a listener that understands these features, after a message that left a gap.
fn answer_to(features: u8) -> Repr<'static> {
    let now = Instant::from_millis(1000);
    let mut end = Endpoint::new(Config::default(), [12; 32]);
    let stream = end.connect(now, Pair::address()).unwrap();
    end.stream(stream).unwrap().send(now, Bytes::from_static(b"hello")).unwrap();
    let mut buffer = Vec::new();
    let port = end.poll_transmit(now, &mut buffer).unwrap().from;
    let Offer { nonce } = Offer::parse(&buffer).unwrap();
    let data = Data { seq: Seq(2), shutdown: false, part: None, payload: b"third" };
    let repr = Repr {
        settings: Some(Settings { nonce, features, max_message: 1195 }),
        time: Some(Timestamp(5)),
        ..Repr::new(Tag(NonZeroU32::MIN), Body::Data(data))
    };
    let datagram = Datagram::new(Pair::address(), port, Protection::Encrypted, emit(&repr).into());
    end.handle_datagram(now, datagram).unwrap();
    let _ = end.poll_transmit(now, &mut buffer).unwrap();
    Repr::parse(&buffer).unwrap().split().0
}

#[test]
fn each_feature_is_used_only_if_the_peer_understands_it() {
    let told = |features| {
        let (acknowledgment, echo) = answer_to(features).acknowledgment.unwrap();
        assert_eq!(acknowledgment.consumed, Seq(0).previous());
        (acknowledgment.ranges.len(), acknowledgment.window, echo.map(|echo| echo.timestamp))
    };
    assert_eq!(told(0), (0, Acknowledgment::NO_LIMIT, None));
    assert_eq!(told(feature::SELECTIVE), (1, Acknowledgment::NO_LIMIT, None));
    assert_eq!(told(feature::WINDOW), (0, 256, None));
    assert_eq!(told(feature::TIME), (0, Acknowledgment::NO_LIMIT, Some(Timestamp(5))));
    assert_eq!(told(0xff), (1, 256, Some(Timestamp(5))));
}

/// A peer that names the connection as the listener has is there: what it sends may take memory, even if nothing has
/// reached the user. Else a lost first message would cost all that comes in the next round trip.
#[test]
fn what_follows_a_lost_first_message_is_kept() {
    let (mut end, now, mut buffer) =
        (Endpoint::new(Config::default(), [14; 32]), Instant::from_millis(1000), Vec::new());
    end.listen(Pair::PORT.into()).unwrap();
    let from = Addr::new(Side::A.sid(), 700.into());
    let datagram =
        |packet: Vec<u8>| Datagram::new(from, Pair::PORT.into(), Protection::Encrypted, packet.into());
    let mut offer = b"\x04\xff\xff\x01\0second".to_vec();
    Offer { nonce: 7 }.mark(&mut offer);
    end.handle_datagram(now, datagram(offer)).unwrap();
    end.handle_timeout(now + ms(10));
    let _ = end.poll_transmit(now + ms(10), &mut buffer).unwrap();
    let tag = Repr::parse(&buffer).unwrap().tag;
    let settings = Some(Settings { nonce: 7, features: 0xff, max_message: 1387 });
    for seq in 2..30 {
        let data = Data { seq: Seq(seq), shutdown: false, part: None, payload: b"later" };
        let packet = emit(&Repr { settings, ..Repr::new(tag, Body::Data(data)) });
        end.handle_datagram(now + ms(20), datagram(packet)).unwrap();
    }
    end.handle_timeout(now + ms(30));
    let _ = end.poll_transmit(now + ms(30), &mut buffer).unwrap();
    let (acknowledgment, _) = Repr::parse(&buffer).unwrap().split().0.acknowledgment.unwrap();
    assert_eq!((acknowledgment.window, acknowledgment.highest()), (256, Seq(29)));
}

/// Both ends have said all, and the last message of A has arrived. B takes it in an outage, which ends after `length`.
/// Returns how long both took from then on.
fn end_in_an_outage(outage: [bool; 2], length: u64) -> Duration {
    let (mut pair, a, b) = pair(13, [true, true]);
    send(&mut pair, Side::A, a, b"last");
    for (side, stream) in [(Side::A, a), (Side::B, b)] {
        let now = pair.now;
        pair.stream(side, stream).finish(now);
    }
    pair.run(ms(100));
    pair.links.iter_mut().zip(outage).for_each(|(link, out)| link.set_blackout(out));
    pair.drain(Side::B);
    pair.run(ms(length));
    pair.links.iter_mut().for_each(|link| link.set_blackout(false));
    let start = pair.now;
    let reasons = |pair: &Pair| [pair.close_reason(Side::A, a), pair.close_reason(Side::B, b)];
    pair.run_until(ms(20_000), |pair| reasons(pair).iter().all(Option::is_some));
    assert_eq!(reasons(&pair), [Some(CloseReason::Finished); 2], "{outage:?} {length}");
    assert_eq!(&pair.received[1][&b][..], b"hellolast");
    let time = pair.now - start;
    pair.run(ms(5000));
    assert!(pair.ends.iter().all(Endpoint::is_idle));
    time
}

/// An end that has forgotten the stream can tell nobody any more what it has taken.
#[test]
fn an_end_that_has_all_does_not_leave_the_other_in_doubt() {
    for outage in [[false, true], [true, true]] {
        end_in_an_outage(outage, 2500);
        end_in_an_outage(outage, 6500);
    }
}

#[test]
fn the_acknowledgment_of_everything_is_repeated_soon() {
    let time = end_in_an_outage([false, true], 20);
    assert!(time < ms(250), "{time:?}");
}

/// Of many messages, with one lost, that one is sent again and no other.
#[test]
fn a_loss_costs_one_retransmission() {
    let (mut pair, a, b) = pair(13, [true, true]);
    for n in 0..40 {
        pair.links[0].set_blackout(n == 7);
        send(&mut pair, Side::A, a, b"x");
        pair.run(ms(2));
        pair.drain(Side::B);
    }
    pair.run(ms(200));
    pair.drain(Side::B);
    assert_eq!(pair.received[1][&b].len(), "hello".len() + 40);
    let stats = pair.stream(Side::A, a).stats();
    assert_eq!((stats.sent, stats.retransmitted), (1 + 40 + 1, 1));
}

//! What a hostile peer can send to an endpoint, and what that does: nothing, or no more than the limits say.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use bytes::Bytes;
use lab::{ACK, CLIENT, FIRST, Lab, PORT, SERVER, SHUTDOWN, STOP, data, forged, ms, sid};
use msp_core::Protection::{Clear, Encrypted, Signed};
use msp_core::msp::{CloseReason, Config, DatagramError, SendError, StreamId};
use msp_core::{Addr, Datagram, Port};

/// An endpoint counts this much for a message beyond its bytes.
const OVERHEAD: usize = 64;

/// Messages that a stream keeps.
const WINDOW: u16 = 256;

fn lab() -> Lab {
    let mut config = Config::default();
    config.receive_window = WINDOW;
    Lab::new(&config)
}

/// Where the `n`th enemy sends from.
fn enemy(n: u32) -> Addr {
    Addr::new(sid(1000 + n), 600.into())
}

/// A stream that an enemy has opened, and over which a message has gone.
fn used(lab: &mut Lab, from: Addr) -> StreamId {
    lab.inject(SERVER, forged(from, &data(FIRST, 0xffff, 0, b"x"))).unwrap();
    lab.inject(SERVER, forged(from, &[ACK, 0xff, 0xff])).unwrap();
    lab.last_accepted()
}

/// The port of the client, and its address.
fn client_port(lab: &mut Lab, server: StreamId) -> (Port, Addr) {
    let peer = lab.ends[SERVER].stream(server).unwrap().peer();
    (peer.port, peer)
}

/// The stream of the client still carries messages both ways.
fn assert_works(lab: &mut Lab, (client, server): (StreamId, StreamId)) {
    let before = lab.text(SERVER, server).len();
    lab.send(CLIENT, client, "still ");
    lab.send(SERVER, server, "here");
    lab.run(ms(100));
    assert!(lab.text(CLIENT, client).ends_with("here") && lab.text(SERVER, server).ends_with("still "));
    assert_eq!(lab.text(SERVER, server).len(), before + "still ".len());
    assert!(!lab.closed.contains_key(&(SERVER, server)) && !lab.closed.contains_key(&(CLIENT, client)));
}

#[test]
fn stop_from_another_address_or_in_clear_text_has_no_effect() {
    let mut lab = lab();
    let streams = lab.established();
    let (port, client) = client_port(&mut lab, streams.1);
    let stop = Bytes::from_static(&[STOP]);
    let server = Addr::new(sid(1), PORT.into());
    let attempts = [
        (SERVER, Datagram::new(Addr::new(sid(9), client.port), server.port, Encrypted, stop.clone())),
        (SERVER, Datagram::new(Addr::new(client.sid, 601.into()), server.port, Encrypted, stop.clone())),
        (SERVER, Datagram::new(client, 513.into(), Encrypted, stop.clone())),
        (SERVER, Datagram::new(client, server.port, Clear, stop.clone())),
        (SERVER, Datagram::new(client, server.port, Signed, stop.clone())),
        (CLIENT, Datagram::new(Addr::new(sid(9), server.port), port, Encrypted, stop.clone())),
        (CLIENT, Datagram::new(Addr::new(server.sid, 513.into()), port, Encrypted, stop.clone())),
        (CLIENT, Datagram::new(server, port, Clear, stop.clone())),
        (CLIENT, Datagram::new(server, port, Signed, stop)),
    ];
    for (to, datagram) in attempts {
        let error = lab.inject(to, datagram.clone()).unwrap_err();
        let encrypted = datagram.protection == Encrypted;
        let expected = if encrypted { DatagramError::UnknownStream } else { DatagramError::NotEncrypted };
        assert_eq!(error, expected, "{datagram:?}");
    }
    assert_works(&mut lab, streams);
    let stats = lab.ends.each_ref().map(|end| end.stats());
    assert_eq!(stats.map(|stats| (stats.unknown, stats.not_encrypted)), [(2, 2), (3, 2)]);
}

#[test]
fn nothing_in_clear_text_or_only_signed_opens_or_changes_a_stream() {
    let mut lab = lab();
    let streams = lab.established();
    let (_, client) = client_port(&mut lab, streams.1);
    for protection in [Clear, Signed] {
        for flags in 0..16 {
            for seq in [0, 1, 2] {
                for from in [client, enemy(1)] {
                    let packet = data(flags, 0, seq, b"forged");
                    let datagram = Datagram { protection, ..forged(from, &packet) };
                    assert_eq!(lab.inject(SERVER, datagram), Err(DatagramError::NotEncrypted));
                }
            }
        }
    }
    assert_works(&mut lab, streams);
    assert_eq!(lab.accepted.len(), 1);
}

#[test]
fn what_is_too_long_or_empty_is_malformed() {
    let mut lab = lab();
    let packet = |length: usize| data(FIRST, 0xffff, 0, &vec![b'x'; length - 5]);
    assert_eq!(lab.inject(SERVER, forged(enemy(1), &packet(1537))), Err(DatagramError::Malformed));
    assert_eq!(lab.inject(SERVER, forged(enemy(1), b"")), Err(DatagramError::Malformed));
    assert_eq!(lab.inject(SERVER, forged(enemy(1), &packet(1536))), Ok(()));
    assert_eq!((lab.text(SERVER, lab.last_accepted()).len(), lab.ends[SERVER].stats().malformed), (1531, 2));
}

#[test]
fn acknowledging_what_was_never_sent_discards_nothing() {
    let mut lab = lab();
    let from = enemy(1);
    let stream = used(&mut lab, from);
    for _ in 0..6 {
        lab.send(SERVER, stream, "secret");
    }
    lab.run(ms(5)); // all are on their way
    lab.inject(SERVER, forged(from, &[ACK, 0, 0])).unwrap();
    for ack in [6, 7, 300, 0x7ffe, 0x7fff, 0x8000, 0xfffe, 0xffff] {
        lab.inject(SERVER, forged(from, &data(ACK, ack, 9, b""))).unwrap();
        assert_eq!(lab.ends[SERVER].stream(stream).unwrap().unacknowledged(), 5, "{ack}");
    }
    lab.inject(SERVER, forged(from, &[ACK, 4, 0])).unwrap();
    assert_eq!(lab.ends[SERVER].stream(stream).unwrap().unacknowledged(), 1);
}

/// A peer whose very first acknowledgment is of what was never sent has in mind another stream, of before a
/// restart. If that is a lie, it costs the liar its stream.
#[test]
fn a_first_acknowledgment_of_what_was_never_sent_ends_the_stream() {
    let mut lab = lab();
    let from = enemy(1);
    let stream = used(&mut lab, from);
    lab.send(SERVER, stream, "secret");
    lab.run(ms(5));
    lab.inject(SERVER, forged(from, &[ACK, 1, 0])).unwrap();
    lab.run(ms(1));
    assert!(lab.ends[SERVER].stream(stream).is_none());
}

/// Acknowledging what is on its way, before it can have arrived, makes the sender believe in a short and
/// perfect path. The liar gets what it asked for as fast as its acknowledgments ask for it, loses what is lost,
/// and no more than a send window is sent for each acknowledgment.
#[test]
fn optimistic_acknowledgments_draw_at_most_a_window_each() {
    let mut lab = lab();
    let from = enemy(1);
    let stream = used(&mut lab, from);
    let window = usize::from(Config::default().send_window);
    let message = Bytes::from_static(&[7; 1024]);
    let (mut acks, mut sent_before) = (0, lab.sent[SERVER]);
    for _ in 0..2000 {
        while lab.ends[SERVER].stream(stream).unwrap().send(lab.now, message.clone()).is_ok() {}
        lab.run(ms(1));
        let mut handle = lab.ends[SERVER].stream(stream).unwrap();
        let sent = handle.stats().sent;
        let newest = (sent - handle.stats().retransmitted).wrapping_sub(1) as u16;
        assert!(handle.unacknowledged() <= window);
        assert_eq!(handle.send(lab.now, Bytes::new()), Err(SendError::Empty));
        lab.inject(SERVER, forged(from, &[&[ACK][..], &newest.to_le_bytes()].concat())).unwrap();
        acks += 1;
        assert!(lab.sent[SERVER] - sent_before <= window, "{} packets", lab.sent[SERVER] - sent_before);
        sent_before = lab.sent[SERVER];
    }
    let stats = lab.ends[SERVER].stream(stream).unwrap().stats();
    assert!(stats.sent > 10 * acks, "{} for {acks}: the attack works", stats.sent);
    assert_eq!(stats.retransmitted, 0);
}

#[test]
fn a_storm_of_duplicate_acknowledgments_draws_no_storm() {
    let mut lab = lab();
    let from = enemy(1);
    let stream = used(&mut lab, from);
    lab.inject(SERVER, forged(from, &data(ACK, 0xffff, 1, b"x"))).unwrap();
    let message = Bytes::from_static(&[7; 1024]);
    while lab.ends[SERVER].stream(stream).unwrap().send(lab.now, message.clone()).is_ok() {}
    lab.run(ms(50));
    lab.inject(SERVER, forged(from, &[ACK, 0, 0])).unwrap();
    lab.run(ms(50));
    let (sent, mut storm) = (lab.sent[SERVER], 0);
    for _ in 0..8000 {
        lab.inject(SERVER, forged(from, &[ACK, 0, 0])).unwrap();
        storm += 1;
        lab.run(core::time::Duration::from_micros(500));
    }
    let stats = lab.ends[SERVER].stream(stream).unwrap().stats();
    assert!(stats.retransmitted <= 20, "{} retransmissions in 4 s", stats.retransmitted);
    // The rest of the window, once.
    assert!(lab.sent[SERVER] - sent <= 300, "{} packets for {storm}", lab.sent[SERVER] - sent);
}

#[test]
fn a_storm_of_copies_draws_an_acknowledgment_every_five_milliseconds() {
    let mut lab = lab();
    let from = enemy(1);
    used(&mut lab, from);
    lab.run(ms(100));
    let sent = lab.sent[SERVER];
    for _ in 0..10_000 {
        lab.inject(SERVER, forged(from, &data(ACK, 0xffff, 0, b"x"))).unwrap();
        lab.run(core::time::Duration::from_micros(100));
    }
    let answers = lab.sent[SERVER] - sent;
    assert!((150..=200).contains(&answers), "{answers} in a second");
}

#[test]
fn gappy_data_takes_memory_for_what_came_only() {
    let mut lab = lab();
    let from = enemy(1);
    let stream = used(&mut lab, from);
    let window = WINDOW;
    // One segment at the largest distance that is taken, and beyond.
    for (seq, kept) in [(window, 1), (window + 1, 1), (0x8000, 1), (0x7fff, 1), (0x8001, 1), (0xffff, 1)] {
        lab.inject(SERVER, forged(from, &data(ACK, 0xffff, seq, b"x"))).unwrap();
        assert_eq!(lab.ends[SERVER].received_bytes(), kept * (1 + OVERHEAD), "after {seq}");
    }
    // Every second one.
    for seq in (2..window).step_by(2) {
        lab.inject(SERVER, forged(from, &data(ACK, 0xffff, seq, b"x"))).unwrap();
    }
    assert_eq!(lab.ends[SERVER].received_bytes(), usize::from(window / 2) * (1 + OVERHEAD));
    for seq in (1..window).step_by(2) {
        lab.inject(SERVER, forged(from, &data(ACK, 0xffff, seq, b"x"))).unwrap();
    }
    assert_eq!(lab.text(SERVER, stream).len(), usize::from(window) + 1);
    assert_eq!(lab.ends[SERVER].received_bytes(), 0);
}

#[test]
fn jumps_around_half_of_the_sequence_numbers_deliver_nothing_early_or_twice() {
    let mut lab = lab();
    let from = enemy(1);
    let stream = used(&mut lab, from);
    let mut next = 1_u16;
    let mut bring = |seq: u16, text: &[u8]| {
        lab.inject(SERVER, forged(from, &data(ACK, 0xffff, seq, text))).unwrap();
        (lab.received[&(SERVER, stream)].len(), lab.ends[SERVER].received_bytes())
    };
    let mut count = 1;
    for place in [2, 0x7e01, 0x8001, 0xfe01, 0xffff, 0x7fff] {
        while next != place {
            count += 1;
            assert_eq!(bring(next, b"x"), (count, 0));
            next = next.wrapping_add(1);
        }
        for jump in [256, 257, 0x7ffe, 0x7fff, 0x8000, 0x8001, 0xfe00, 0xffff] {
            assert_eq!(bring(next.wrapping_add(jump), b"jump"), (count, 0), "{jump} from {next}");
        }
        assert_eq!(bring(next.wrapping_add(255), b""), (count, OVERHEAD), "the last in the window");
        for _ in 0..256 {
            count += usize::from(next != place.wrapping_add(255));
            bring(next, b"x");
            next = next.wrapping_add(1);
        }
        assert_eq!(bring(place, b"again"), (count, 0));
    }
}

#[test]
fn shutdown_at_odd_places_ends_the_stream_where_it_says_and_nowhere_else() {
    let at = |seqs: &[(u8, u16, &'static str)]| {
        let mut lab = lab();
        let from = enemy(1);
        let stream = used(&mut lab, from);
        for (flags, seq, text) in seqs {
            lab.inject(SERVER, forged(from, &data(ACK | flags, 0xffff, *seq, text.as_bytes()))).unwrap();
        }
        let finished = lab.ends[SERVER].stream(stream).unwrap().recv_finished();
        (lab.text(SERVER, stream), finished, lab.ends[SERVER].received_bytes())
    };
    let text = |text: &str| text.to_owned();
    assert_eq!(at(&[(SHUTDOWN, 0, "again")]), (text("x"), false, 0), "on a copy of what was consumed");
    assert_eq!(at(&[(SHUTDOWN, 1, "end"), (0, 2, "after")]), (text("xend"), true, 0));
    assert_eq!(at(&[(0, 3, "after"), (SHUTDOWN, 2, "c"), (0, 1, "b")]), (text("xbc"), true, 0));
    assert_eq!(at(&[(SHUTDOWN, 3, "d"), (SHUTDOWN, 2, "c"), (0, 1, "b")]), (text("xbc"), true, 0));
    assert_eq!(at(&[(SHUTDOWN, 2, "c"), (SHUTDOWN, 3, "d"), (0, 1, "b")]), (text("xbc"), true, 0));
    assert_eq!(at(&[(0, 2, "c"), (SHUTDOWN, 2, "C"), (0, 1, "b")]), (text("xbc"), false, 0), "on a copy");
    assert_eq!(at(&[(SHUTDOWN, 0x8000, ""), (0, 1, "b")]), (text("xb"), false, 0));
    assert_eq!(at(&[(SHUTDOWN, 257, ""), (0, 1, "b")]), (text("xb"), false, 0), "beyond the window");
    assert_eq!(at(&[(SHUTDOWN, 1, ""), (SHUTDOWN, 1, ""), (SHUTDOWN, 2, "")]), (text("x"), true, 0));
    assert_eq!(at(&[(0, 1, ""), (0, 2, ""), (SHUTDOWN, 3, "")]), (text("x"), true, 0));
}

#[test]
fn a_stream_that_opens_and_shuts_down_at_once_is_one_stream() {
    let mut lab = lab();
    let from = enemy(1);
    for _ in 0..3 {
        lab.inject(SERVER, forged(from, &data(FIRST | SHUTDOWN, 0xffff, 0, b"all"))).unwrap();
    }
    let stream = lab.last_accepted();
    assert_eq!((lab.text(SERVER, stream), lab.accepted.len()), ("all".to_owned(), 1));
    assert!(lab.ends[SERVER].stream(stream).unwrap().recv_finished());
    lab.run(ms(9_999));
    assert!(lab.closed.is_empty());
    lab.run(ms(1));
    assert_eq!(lab.closed[&(SERVER, stream)], CloseReason::TimedOut);
}

#[test]
fn a_peer_that_never_reads_stops_only_its_own_stream() {
    let mut config = Config::default();
    config.send_memory = 100 * (1024 + OVERHEAD);
    let mut lab = Lab::new(&config);
    let streams = lab.established();
    let message = Bytes::from_static(&[7; 1024]);
    let (mut now, mut kept) = (lab.now, 0);
    for n in 0..20 {
        let stream = used(&mut lab, enemy(n));
        now = lab.now;
        while lab.ends[SERVER].stream(stream).unwrap().send(now, message.clone()).is_ok() {
            kept += 1;
        }
        assert_eq!(lab.ends[SERVER].stream(stream).unwrap().capacity(), 0);
        lab.run(ms(10));
    }
    assert_eq!(kept, 64 + 36 + 18 * 8, "two had it all, each of the others has eight");
    assert_works(&mut lab, streams);
    let mut honest = lab.ends[SERVER].stream(streams.1).unwrap();
    assert_eq!(honest.capacity(), 8);
    for _ in 0..8 {
        honest.send(now, message.clone()).unwrap();
    }
    assert_eq!(honest.send(now, message), Err(SendError::WouldBlock));
    lab.run(ms(200));
    let received = &lab.received[&(CLIENT, streams.0)];
    assert_eq!(received.len(), "welcomehere".len() + 8 * 1024);
    assert_eq!(lab.ends[SERVER].stream(streams.1).unwrap().capacity(), 8);
}

#[test]
fn one_byte_messages_are_counted_with_what_they_take() {
    let mut config = Config::default();
    (config.send_memory, config.receive_memory) = (100_000, 100_000);
    let mut lab = Lab::new(&config);
    let from = enemy(1);
    used(&mut lab, from);
    lab.reads[SERVER] = false;
    // One peer gets at most half of the memory: then there is less left than it has.
    for seq in 1..2000_u16 {
        lab.inject(SERVER, forged(from, &data(ACK, 0xffff, seq, b"x"))).unwrap();
    }
    let most = 256 * (1 + OVERHEAD);
    assert_eq!(lab.ends[SERVER].received_bytes(), most, "the window");
    for n in 1..10 {
        let from = Addr::new(from.sid, (700 + n as u16).into());
        lab.reads[SERVER] = true;
        lab.inject(SERVER, forged(from, &data(FIRST, 0xffff, 0, b"x"))).unwrap();
        lab.reads[SERVER] = false;
        for seq in 1..2000_u16 {
            lab.inject(SERVER, forged(from, &data(ACK, 0xffff, seq, b"x"))).unwrap();
        }
    }
    let kept = lab.ends[SERVER].received_bytes();
    assert!(kept <= 50_000 + 9 * 8 * (1 + OVERHEAD), "{kept}");
}

//! What a client of a daemon asks, and what it makes of answers that are late, wrong, or made up.

mod socket;

use msp_core::mdp::BindError;
use msp_core::wire::client::{ANY, Message, Payload, Qos, ReplyKind, Request, Ttl};
use msp_core::{Addr, DaemonConfig, DaemonEvent, Port, Protection, SendDatagramError, Sid};
use socket::{ALL, Alone, P, Q, SID, bind, bound, close, emitted, ms, refused, reply};

const UP: DaemonEvent = DaemonEvent::Up { sid: SID };
const PEER: Addr = Addr::new(Sid::new([9; 32]), P);
const NOWHERE: Addr = Addr::new(ANY, Port::ANY);

#[allow(clippy::unwrap_used, reason = "a test may stop where it stands")]
fn message(from: Port, payload: &[u8]) -> Request<'_> {
    let message = Message {
        local: Addr::new(SID, from),
        remote: PEER,
        protection: Protection::Encrypted,
        qos: Qos::Default,
        ttl: Ttl::DEFAULT,
        repairs: false,
        payload: Payload::new(payload).unwrap(),
    };
    Request::Send { message, bind: false }
}

fn data(port: Port, from: Addr, payload: &[u8]) -> Vec<u8> {
    reply(port, from, ReplyKind::Data { protection: Protection::Encrypted, payload })
}

#[test]
fn nothing_is_said_before_there_is_something_to_say() {
    let mut alone = Alone::new(DaemonConfig::default());
    assert_eq!((alone.daemon.poll_timeout(), alone.daemon.sid()), (None, None));
    alone.expect(&[]);
    alone.pass(ms(60_000));
    alone.expect(&[]);
}

#[test]
fn what_an_earlier_process_left_is_released_first_and_then_one_port_bound_at_a_time() {
    let mut alone = Alone::new(DaemonConfig::default());
    alone.daemon.bind(alone.now, Q).unwrap();
    alone.daemon.bind(alone.now, P).unwrap();
    alone.daemon.bind(alone.now, Q).unwrap();
    assert_eq!(alone.daemon.poll_timeout(), Some(alone.now));
    alone.expect(&[ALL, bind(P)]);
    assert_eq!(alone.daemon.poll_timeout(), Some(alone.now + ms(250)));
    alone.daemon.handle_packet(alone.now, &bound(P));
    assert_eq!(alone.events(), [UP, DaemonEvent::Bound { port: P }]);
    alone.expect(&[bind(Q)]);
    alone.daemon.handle_packet(alone.now, &bound(Q));
    assert_eq!(alone.events(), [DaemonEvent::Bound { port: Q }]);
    alone.expect(&[]);
    assert_eq!(alone.skip(), ms(5000));
    alone.expect(&[bind(P)]);
}

#[test]
fn swapped_answers_are_not_mistaken() {
    let mut alone = Alone::new(DaemonConfig::default());
    alone.daemon.bind(alone.now, P).unwrap();
    alone.daemon.bind(alone.now, Q).unwrap();
    alone.expect(&[ALL, bind(P)]);
    alone.daemon.handle_packet(alone.now, &bound(Q));
    alone.daemon.handle_packet(alone.now, &refused(Q));
    assert_eq!(alone.daemon.stats().unexpected, 2);
    assert!(!alone.daemon.is_bound(P) && !alone.daemon.is_bound(Q));
    assert_eq!((alone.events(), alone.daemon.sid()), (vec![], None));
    alone.daemon.handle_packet(alone.now, &bound(P));
    alone.expect(&[bind(Q)]);
    alone.daemon.handle_packet(alone.now, &refused(P));
    assert!(alone.daemon.is_bound(P), "that was not asked again");
    alone.daemon.handle_packet(alone.now, &bound(Q));
    assert!(alone.daemon.is_bound(P) && alone.daemon.is_bound(Q));
}

#[test]
fn a_question_without_an_answer_is_asked_again_and_then_the_daemon_is_silent() {
    let mut alone = Alone::new(DaemonConfig::default());
    alone.daemon.bind(alone.now, P).unwrap();
    alone.expect(&[ALL, bind(P)]);
    alone.pass(ms(249));
    alone.expect(&[]);
    alone.pass(ms(1));
    alone.expect(&[bind(P)]);
    assert_eq!(alone.skip(), ms(500));
    alone.expect(&[bind(P)]);
    assert_eq!(alone.events(), []);
    assert_eq!(alone.skip(), ms(1000));
    assert_eq!(alone.events(), [DaemonEvent::Silent]);
    alone.expect(&[ALL, bind(P)]);
    for wait in [2000, 4000, 4000] {
        assert_eq!(alone.skip(), ms(wait));
        alone.expect(&[bind(P)]);
    }
    assert_eq!((alone.events(), alone.daemon.stats().losses), (vec![], 1));
    alone.daemon.handle_packet(alone.now, &bound(P));
    assert_eq!(alone.events(), [UP, DaemonEvent::Bound { port: P }]);
    alone.expect(&[]);
    assert_eq!(alone.skip(), ms(5000));
    alone.expect(&[bind(P)]);
    assert_eq!(alone.skip(), ms(250), "and all is forgotten");
}

#[test]
fn a_daemon_that_says_anything_is_not_silent() {
    let mut alone = Alone::bound(&[P]);
    alone.skip();
    alone.expect(&[bind(P)]);
    for round in 0..10 {
        assert_eq!(alone.skip(), ms(if round == 0 { 250 } else { 500 }));
        alone.expect(&[bind(P)]);
        alone.daemon.handle_packet(alone.now, &data(P, PEER, b"x"));
        assert!(alone.daemon.poll_datagram().is_some());
        assert!(alone.daemon.is_bound(P));
    }
    assert_eq!(alone.events(), []);
    for _ in 0..3 {
        alone.skip();
        assert_eq!(alone.sent().last(), Some(&emitted(&bind(P))));
    }
    assert_eq!(alone.events(), [DaemonEvent::Silent]);
    assert!(!alone.daemon.is_bound(P));
}

#[test]
fn nobody_there_is_reported_once_and_asked_for_less_and_less_often() {
    let mut alone = Alone::bound(&[P]);
    alone.send(P, b"1");
    alone.send(P, b"2");
    alone.expect(&[message(P, b"1"), message(P, b"2")]);
    // Both found nobody, which counts once.
    alone.daemon.handle_unreachable(alone.now);
    alone.daemon.handle_unreachable(alone.now);
    assert_eq!(alone.events(), [DaemonEvent::Absent]);
    for wait in [250, 500, 1000, 2000, 4000, 4000] {
        alone.expect(&[]);
        assert_eq!(alone.skip(), ms(wait));
        alone.expect(&[ALL, bind(P)]);
        alone.daemon.handle_unreachable(alone.now);
    }
    assert_eq!((alone.events(), alone.daemon.stats().losses), (vec![], 7));
    alone.skip();
    alone.expect(&[ALL, bind(P)]);
    alone.daemon.handle_packet(alone.now, &bound(P));
    assert_eq!(alone.events(), [UP, DaemonEvent::Bound { port: P }]);
    alone.daemon.handle_unreachable(alone.now);
    assert_eq!((alone.events(), alone.skip()), (vec![DaemonEvent::Absent], ms(250)));
}

#[test]
fn a_refused_datagram_ends_nothing_and_leads_to_one_question() {
    let mut alone = Alone::bound(&[P, Q]);
    for _ in 0..100 {
        alone.daemon.handle_packet(alone.now, &reply(P, PEER, ReplyKind::Refused));
    }
    assert_eq!(alone.skip(), ms(250));
    alone.expect(&[bind(P)]);
    alone.daemon.handle_packet(alone.now, &bound(P));
    alone.expect(&[]);
    alone.daemon.handle_packet(alone.now, &reply(Port::from(300), PEER, ReplyKind::Refused));
    alone.expect(&[]);
    assert_eq!((alone.events(), alone.daemon.stats().refused), (vec![], 101));
    assert!(alone.daemon.has_room(P) && alone.daemon.has_room(Q));
}

#[test]
fn a_port_that_is_lost_to_another_program_is_not_sent_from() {
    let mut alone = Alone::bound(&[P]);
    alone.skip();
    alone.expect(&[bind(P)]);
    alone.daemon.handle_packet(alone.now, &refused(P));
    assert!(!alone.daemon.is_bound(P));
    assert_eq!((alone.events(), alone.skip()), (vec![], ms(250)));
    alone.expect(&[bind(P)]);
    alone.daemon.handle_packet(alone.now, &refused(P));
    assert_eq!(alone.events(), [DaemonEvent::Refused { port: P }]);
    assert_eq!(alone.skip(), ms(500));
    alone.expect(&[bind(P)]);
    alone.daemon.handle_packet(alone.now, &bound(P));
    assert_eq!(alone.events(), [DaemonEvent::Bound { port: P }]);
}

#[test]
fn what_cannot_be_sent_is_refused_with_the_reason() {
    let mut alone = Alone::bound(&[P]);
    let now = alone.now;
    let mut send = |from, to, protection, payload: &[u8]| {
        alone.daemon.send(now, from, to, protection, payload).unwrap_err()
    };
    let (encrypted, clear) = (Protection::Encrypted, Protection::Clear);
    let (max, invalid) = (DaemonConfig::MAX_PAYLOAD_LEN, SendDatagramError::InvalidDestination);
    assert_eq!(send(P, PEER, encrypted, b""), SendDatagramError::Empty);
    assert_eq!(send(P, PEER, clear, &vec![0; max + 1]), SendDatagramError::TooLarge { max });
    assert_eq!(send(Q, PEER, encrypted, b"x"), SendDatagramError::NotBound);
    assert_eq!(send(P, Addr::new(PEER.sid, Port::ANY), encrypted, b"x"), invalid);
    assert_eq!(send(P, Addr::new(Sid::BROADCAST, Q), encrypted, b"x"), invalid);
    assert_eq!(send(P, Addr::new(Sid::BROADCAST, Port::ANY), clear, b"x"), invalid);
    assert_eq!(send(P, Addr::new(ANY, Q), clear, b"x"), invalid);
    assert!(SendDatagramError::NotBound.to_string().contains("not bound"));
    alone.expect(&[]);
    for protection in [Protection::Signed, clear] {
        alone.daemon.send(now, P, Addr::new(Sid::BROADCAST, Q), protection, b"x").unwrap();
    }
    alone.send(P, &vec![0; max]);
    assert_eq!(alone.sent().len(), 3);
}

#[test]
fn what_cannot_be_bound_is_refused_with_the_reason() {
    let mut config = DaemonConfig::default();
    config.max_ports = 2;
    let mut alone = Alone::new(config);
    assert_eq!(alone.daemon.bind(alone.now, Port::ANY), Err(BindError::Reserved(Port::ANY)));
    for (port, result) in [(P, Ok(())), (Q, Ok(())), (300.into(), Err(BindError::TooMany)), (P, Ok(()))] {
        assert_eq!(alone.daemon.bind(alone.now, port), result);
    }
    alone.sent();
    // Until the daemon is told, the port counts.
    alone.daemon.release(alone.now, Q);
    assert_eq!(alone.daemon.bind(alone.now, 300.into()), Err(BindError::TooMany));
    assert_eq!(alone.daemon.bind(alone.now, Q), Ok(()));
    alone.daemon.release(alone.now, Q);
    alone.expect(&[close(Q)]);
    assert_eq!(alone.daemon.bind(alone.now, 300.into()), Ok(()));
    alone.daemon.shutdown(alone.now);
    assert_eq!(alone.daemon.bind(alone.now, P), Err(BindError::Closed));
}

#[test]
fn nothing_is_sent_from_a_port_before_it_is_bound() {
    let mut alone = Alone::new(DaemonConfig::default());
    alone.daemon.bind(alone.now, P).unwrap();
    let send = |alone: &mut Alone| alone.daemon.send(alone.now, P, PEER, Protection::Encrypted, b"x");
    assert_eq!(send(&mut alone), Err(SendDatagramError::WouldBlock));
    alone.expect(&[ALL, bind(P)]);
    assert_eq!(send(&mut alone), Err(SendDatagramError::WouldBlock));
    alone.daemon.handle_packet(alone.now, &bound(P));
    assert_eq!(send(&mut alone), Ok(()));
    alone.expect(&[message(P, b"x")]);
}

#[test]
fn a_full_queue_has_room_again_after_transmission() {
    let mut alone = Alone::bound(&[P, Q]);
    // Releases take no place of data.
    alone.daemon.release(alone.now, Q);
    for number in 0..64 {
        assert!(alone.daemon.has_room(P));
        alone.send(P, &[number]);
    }
    assert!(!alone.daemon.has_room(P));
    let result = alone.daemon.send(alone.now, P, PEER, Protection::Encrypted, b"x");
    assert_eq!(result, Err(SendDatagramError::WouldBlock));
    // Three of a burst of eight went to bind the ports.
    assert_eq!(alone.sent().len(), 5);
    assert_eq!(alone.skip(), ms(5));
    alone.send(P, b"x");
    assert_eq!(alone.sent().len(), 8);
}

#[test]
fn a_port_is_released_after_what_was_sent_from_it() {
    let mut alone = Alone::bound(&[P, Q]);
    alone.send(P, b"last words");
    alone.daemon.release(alone.now, P);
    alone.daemon.release(alone.now, P);
    alone.send(Q, b"more");
    assert!(!alone.daemon.is_bound(P));
    alone.expect(&[message(P, b"last words"), close(P), message(Q, b"more")]);
    // The daemon need not hear of a change of mind.
    alone.daemon.release(alone.now, Q);
    alone.daemon.bind(alone.now, Q).unwrap();
    alone.daemon.bind(alone.now, P).unwrap();
    alone.pass(ms(5));
    alone.expect(&[bind(P)]);
    alone.daemon.handle_packet(alone.now, &bound(P));
    alone.expect(&[bind(Q)]);
}

#[test]
fn a_port_that_was_never_asked_for_is_not_released() {
    let mut alone = Alone::new(DaemonConfig::default());
    alone.daemon.bind(alone.now, P).unwrap();
    alone.daemon.release(alone.now, P);
    assert_eq!(alone.daemon.poll_timeout(), None);
    alone.expect(&[]);
}

#[test]
fn a_daemon_that_keeps_a_port_which_was_released_is_told_again() {
    let mut alone = Alone::bound(&[P, Q]);
    alone.daemon.release(alone.now, P);
    alone.expect(&[close(P)]);
    for _ in 0..3 {
        alone.daemon.handle_packet(alone.now, &data(P, PEER, b"x"));
    }
    assert_eq!(alone.daemon.poll_datagram(), None);
    alone.expect(&[close(P)]);
    alone.daemon.handle_packet(alone.now, &refused(P));
    alone.expect(&[]);
    assert_eq!(alone.daemon.stats().unexpected, 4);
    alone.daemon.handle_packet(alone.now, &data(Port::ANY, PEER, b"x"));
    alone.expect(&[]);
}

#[test]
fn releases_that_a_daemon_provokes_are_few() {
    let mut config = DaemonConfig::default();
    config.max_ports = 3;
    let mut alone = Alone::new(config);
    alone.daemon.bind(alone.now, P).unwrap();
    alone.sent();
    alone.daemon.handle_packet(alone.now, &bound(P));
    for port in 300..400_u16 {
        alone.daemon.handle_packet(alone.now, &data(port.into(), PEER, b"x"));
    }
    alone.expect(&[close(300.into()), close(301.into())]);
}

#[test]
fn a_lost_daemon_is_told_nothing_about_what_it_has_forgotten() {
    let mut alone = Alone::bound(&[P, Q]);
    alone.send(P, b"lost");
    alone.daemon.release(alone.now, P);
    alone.daemon.handle_unreachable(alone.now);
    alone.daemon.handle_packet(alone.now, &data(P, PEER, b"late"));
    alone.daemon.handle_packet(alone.now, &data(Q, PEER, b"still good"));
    assert_eq!(alone.daemon.poll_datagram().unwrap().payload, b"still good"[..]);
    assert_eq!(alone.daemon.stats().datagrams_expired, 1, "a release is no datagram");
    alone.events();
    alone.skip();
    alone.expect(&[ALL, bind(Q)]);
}

#[test]
fn at_the_end_what_waits_is_sent_and_everything_released() {
    let mut alone = Alone::bound(&[P, Q]);
    alone.send(P, b"last words");
    alone.daemon.release(alone.now, Q);
    alone.daemon.shutdown(alone.now);
    alone.daemon.shutdown(alone.now);
    assert!(!alone.daemon.is_closed());
    assert_eq!(alone.daemon.poll_timeout(), Some(alone.now));
    let result = alone.daemon.send(alone.now, P, PEER, Protection::Encrypted, b"x");
    assert_eq!(result, Err(SendDatagramError::NotBound));
    alone.expect(&[message(P, b"last words"), ALL]);
    assert!(alone.daemon.is_closed());
    alone.daemon.handle_packet(alone.now, &data(P, PEER, b"late"));
    assert_eq!((alone.daemon.poll_datagram(), alone.daemon.poll_timeout()), (None, None));
    alone.pass(ms(60_000));
    alone.daemon.shutdown(alone.now);
    alone.expect(&[]);
}

#[test]
fn the_end_does_not_wait_for_a_daemon_that_has_nothing_to_forget() {
    let mut alone = Alone::new(DaemonConfig::default());
    alone.daemon.bind(alone.now, P).unwrap();
    alone.daemon.shutdown(alone.now);
    assert!(alone.daemon.is_closed());

    let mut alone = Alone::bound(&[P]);
    alone.daemon.handle_unreachable(alone.now);
    alone.events();
    alone.daemon.shutdown(alone.now);
    assert!(alone.daemon.is_closed());
    alone.expect(&[]);

    let mut alone = Alone::bound(&[P]);
    alone.send(P, b"last words");
    alone.daemon.shutdown(alone.now);
    alone.daemon.handle_unreachable(alone.now);
    assert!(alone.daemon.is_closed());
    alone.expect(&[]);
    assert_eq!((alone.daemon.poll_timeout(), alone.events()), (None, vec![]));
}

#[test]
fn a_flood_fills_no_memory() {
    let mut alone = Alone::bound(&[P]);
    for number in 0..1000_u32 {
        alone.daemon.handle_packet(alone.now, &data(P, PEER, &number.to_le_bytes()));
    }
    let taken = std::iter::from_fn(|| alone.daemon.poll_datagram());
    let taken: Vec<_> = taken.map(|datagram| datagram.payload).collect();
    let expected: Vec<_> = (0..256_u32).map(|number| number.to_le_bytes().to_vec()).collect();
    assert_eq!(taken, expected);
    let stats = alone.daemon.stats();
    assert_eq!((stats.datagrams_received, stats.datagrams_dropped), (1000, 744));

    let mut alone = Alone::new(DaemonConfig::default());
    for _ in 0..300 {
        alone.daemon.bind(alone.now, P).unwrap();
        alone.sent();
        alone.daemon.handle_packet(alone.now, &bound(P));
        alone.daemon.release(alone.now, P);
        alone.pass(ms(5));
    }
    assert_eq!(alone.events().len(), 256);
}

#[test]
fn what_makes_no_sense_changes_counters_only() {
    let mut alone = Alone::bound(&[P]);
    alone.skip();
    alone.expect(&[bind(P)]);
    let stats = *alone.daemon.stats();
    let mut reserved = bound(P);
    reserved[..32].fill(0);
    let mut all = bound(P);
    all[..32].fill(0xff);
    let made_up = Addr::new(Sid::BROADCAST, Q);
    let malformed = [
        b"".to_vec(),
        vec![0; 74],
        reserved,
        all,
        data(P, PEER, b""),
        data(P, made_up, b"x"),
        data(P, NOWHERE, b"x"),
        vec![0xff; 200],
    ];
    for packet in &malformed {
        alone.daemon.handle_packet(alone.now, packet);
    }
    let mut other = data(P, PEER, b"x");
    other[..32].fill(7);
    let unexpected = [other, reply(P, NOWHERE, ReplyKind::Done), refused(Q), bound(Q)];
    for packet in &unexpected {
        alone.daemon.handle_packet(alone.now, packet);
    }
    let mut expected = stats;
    expected.malformed += malformed.len() as u64;
    expected.unexpected += unexpected.len() as u64;
    assert_eq!(*alone.daemon.stats(), expected);
    assert_eq!((alone.events(), alone.daemon.poll_datagram()), (vec![], None));
    alone.expect(&[]);
    assert!(alone.daemon.is_bound(P));
}

#[test]
fn time_that_goes_back_counts_as_the_latest() {
    let mut alone = Alone::bound(&[P]);
    let now = alone.now;
    alone.pass(ms(4999));
    alone.now = now;
    alone.expect(&[]);
    assert_eq!(alone.daemon.poll_timeout(), Some(now + ms(5000)));
    alone.send(P, b"x");
    assert_eq!(alone.daemon.poll_timeout(), Some(now + ms(4999)));
    alone.expect(&[message(P, b"x")]);
    alone.pass(ms(5000));
    alone.pass(ms(0));
    alone.expect(&[bind(P)]);
}

#[test]
fn an_event_or_a_datagram_that_waits_is_due() {
    let mut alone = Alone::bound(&[P]);
    assert!(alone.daemon.poll_timeout() > Some(alone.now));
    alone.daemon.handle_packet(alone.now, &data(P, PEER, b"x"));
    assert_eq!(alone.daemon.poll_timeout(), Some(alone.now));
    assert!(alone.daemon.poll_datagram().is_some());
    assert!(alone.daemon.poll_timeout() > Some(alone.now));
    alone.daemon.handle_unreachable(alone.now);
    assert_eq!(alone.daemon.poll_timeout(), Some(alone.now));
    assert_eq!(alone.events(), [DaemonEvent::Absent]);
    assert_eq!(alone.daemon.poll_timeout(), Some(alone.now + ms(250)));
}

#[test]
fn what_is_received_puts_the_next_question_off() {
    let mut alone = Alone::bound(&[P]);
    for _ in 0..3 {
        alone.pass(ms(4000));
        alone.daemon.handle_packet(alone.now, &data(P, PEER, b"x"));
        assert!(alone.daemon.poll_datagram().is_some());
        alone.expect(&[]);
    }
    assert_eq!(alone.skip(), ms(5000));
    alone.expect(&[bind(P)]);
}

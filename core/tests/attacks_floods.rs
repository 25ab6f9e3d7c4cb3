//! Peers that want more than their share: what they get, and what honest ones still have.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use bytes::Bytes;
use core::time::Duration;
use lab::{ACK, CLIENT, FIRST, Lab, PORT, SERVER, SHUTDOWN, STOP, data, forged, ms, sid};
use msp_core::msp::{CloseReason, Config, DatagramError, Endpoint, Event, Limit, StreamId};
use msp_core::{Addr, Instant, Rng, Sid};

const SECOND: Duration = ms(1000);

/// The `port`th stream of the `n`th enemy.
fn enemy(n: u32, port: u16) -> Addr {
    Addr::new(sid(1000 + n), (600 + port).into())
}

/// An opening without data.
fn bare(from: Addr) -> msp_core::Datagram {
    forged(from, &[FIRST, 0xff, 0xff])
}

fn opening(from: Addr, text: &[u8]) -> msp_core::Datagram {
    forged(from, &data(FIRST, 0xffff, 0, text))
}

fn lab() -> Lab {
    Lab::new(&Config::default())
}

/// What a stream of the client carries to the server while `attack` happens `count` times.
fn goodput(
    lab: &mut Lab,
    client: StreamId,
    count: u32,
    interval: Duration,
    mut attack: impl FnMut(&mut Lab, u32),
) -> usize {
    let message = Bytes::from_static(&[b'x'; 1024]);
    // Of the stream with the most, which is that one.
    let total = |lab: &Lab| lab.received.values().map(Vec::len).max().unwrap_or(0);
    let before = total(lab);
    lab.repeat(count, interval, |lab, n| {
        while lab.ends[CLIENT].stream(client).unwrap().send(lab.now, message.clone()).is_ok() {}
        attack(lab, n);
    });
    total(lab) - before
}

#[test]
fn a_flood_of_openings_from_one_peer_leaves_room_for_others() {
    let mut lab = lab();
    let (client, server) = lab.established();
    let mut results = std::collections::BTreeMap::new();
    for n in 0..20_000 {
        *results.entry(format!("{:?}", lab.inject(SERVER, bare(enemy(1, n))))).or_insert(0) += 1;
        if n % 10 == 0 {
            lab.run(ms(1));
        }
    }
    // 100 at once and 100 a second, for two seconds; of these, half-open ones at once.
    assert_eq!(results["Ok(())"], 128);
    let stats = lab.ends[SERVER].stats();
    assert_eq!((stats.over_streams_per_peer > 0, stats.over_new_streams_per_peer > 0), (true, true));
    assert_eq!((stats.over_streams, stats.over_new_streams, stats.over_half_open), (0, 0, 0));
    let others = lab.connect(&["hello"]);
    lab.run(ms(100));
    assert_eq!(lab.text(SERVER, lab.last_accepted()), "hello");
    lab.send(CLIENT, client, "hello");
    lab.run(ms(100));
    assert_eq!(lab.text(SERVER, server), "hellohello");
    assert!(!lab.closed.contains_key(&(CLIENT, others)));
    lab.run(10 * SECOND);
    let ended = |why| lab.closed.values().filter(|reason| **reason == why).count();
    assert_eq!((ended(CloseReason::TimedOut), ended(CloseReason::Displaced)), (127, 1));
}

#[test]
fn a_flood_of_openings_from_100_000_peers_leaves_those_who_are_there_their_goodput() {
    let mut config = Config::default();
    config.send_window = 16;
    let mut quiet = Lab::new(&config);
    let (client, _) = quiet.established();
    let alone = 10 * goodput(&mut quiet, client, 10_000, ms(1), |_, _| {});
    let mut lab = Lab::new(&config);
    let (client, _) = lab.established();
    let mut newcomers = Vec::new();
    let flooded = goodput(&mut lab, client, 100_000, ms(1), |lab, n| {
        let _ = lab.ends[SERVER].handle_datagram(lab.now, opening(enemy(n, 0), b"x"));
        // Who uses a stream opens another one whenever it likes.
        if n % 5000 == 100 {
            newcomers.push(lab.connect(&["hello"]));
        }
    });
    assert!(flooded * 10 >= alone * 8, "{flooded} bytes instead of {alone}");
    assert_eq!(newcomers.len(), 20);
    for newcomer in newcomers {
        assert_eq!(lab.ends[CLIENT].stream(newcomer).unwrap().unacknowledged(), 0, "{newcomer:?}");
    }
    let stats = lab.ends[SERVER].stats();
    assert_eq!(stats.accepted + stats.over_new_streams + stats.over_streams, 100_021);
    assert!(stats.over_new_streams >= 79_000, "{stats:?}");
}

/// Of those of whom nothing is known, nobody can tell who is honest. They get in as fast as the rate allows,
/// and an honest one tries until it does, or for ten seconds.
#[test]
fn strangers_still_get_in_while_others_open_500_streams_a_second() {
    let mut lab = lab();
    let mut rng = Rng::new([1; 32]);
    let mut honest: Vec<(Sid, Endpoint)> = Vec::new();
    let mut buffer = Vec::new();
    lab.repeat(10_000, ms(1), |lab, n| {
        let _ = lab.ends[SERVER].handle_datagram(lab.now, bare(enemy(n, 0)));
        lab.run(Duration::from_micros(rng.below(2000)));
        if n % 250 == 100 && n < 5_000 {
            // Each has a SID of its own.
            let mut stranger = Endpoint::new(Config::default(), [n as u8; 32]);
            let stream = stranger.connect(lab.now, Addr::new(sid(1), PORT.into())).unwrap();
            stranger.stream(stream).unwrap().send(lab.now, Bytes::from_static(b"hello")).unwrap();
            honest.push((sid(500 + n / 250), stranger));
        }
        for (own, stranger) in &mut honest {
            stranger.handle_timeout(lab.now);
            while let Some(outgoing) = stranger.poll_transmit(lab.now, &mut buffer) {
                let from = Addr::new(*own, outgoing.from);
                let _ = lab.ends[SERVER].handle_datagram(lab.now, forged(from, &buffer));
            }
            while stranger.poll_event().is_some() {}
        }
    });
    let heard = lab.accepted.iter().map(|(_, peer)| peer.sid);
    let heard = heard.filter(|peer| honest.iter().any(|(own, _)| own == peer));
    let heard: std::collections::BTreeSet<_> = heard.collect();
    assert!(heard.len() >= 14, "{} of {}", heard.len(), honest.len());
}

#[test]
fn a_half_open_stream_makes_room_for_a_newcomer_and_says_so() {
    let mut config = Config::default();
    config.max_half_open = 4;
    let mut lab = Lab::new(&config);
    for (n, port) in [(1, 0), (2, 0), (2, 1), (1, 1)] {
        lab.inject(SERVER, bare(enemy(n, port))).unwrap();
    }
    lab.run(ms(100));
    let sent = lab.sent[SERVER];
    // The oldest of those with the most.
    assert_eq!(lab.inject(SERVER, bare(enemy(3, 0))), Ok(()));
    let ids: Vec<StreamId> = lab.accepted.iter().map(|(id, _)| *id).collect();
    assert_eq!(
        lab.closed.clone().into_iter().collect::<Vec<_>>(),
        [((SERVER, ids[0]), CloseReason::Displaced)]
    );
    assert_eq!((lab.sent[SERVER] - sent, lab.limits.clone()), (2, vec![(Limit::HalfOpen, enemy(1, 0))]));
    // Who has as many as anyone gets no more.
    assert_eq!(lab.inject(SERVER, bare(enemy(2, 2))), Err(DatagramError::Refused));
    assert_eq!(lab.inject(SERVER, bare(enemy(4, 0))), Ok(()));
    assert_eq!(lab.closed[&(SERVER, ids[1])], CloseReason::Displaced);
    // Now each has one, and only a stranger to all displaces one.
    assert_eq!(lab.inject(SERVER, bare(enemy(3, 1))), Err(DatagramError::Refused));
    assert_eq!(lab.inject(SERVER, bare(enemy(5, 0))), Ok(()));
    assert_eq!((lab.closed.len(), lab.closed[&(SERVER, ids[2])]), (3, CloseReason::Displaced));
    // One that is used is displaced by nobody, and makes room for a half-open one.
    lab.inject(SERVER, forged(enemy(1, 1), &data(ACK, 0xffff, 0, b"x"))).unwrap();
    assert_eq!(lab.inject(SERVER, bare(enemy(3, 1))), Ok(()));
    assert_eq!((lab.closed.len(), lab.ends[SERVER].stats().over_half_open), (3, 5));
}

#[test]
fn what_a_half_open_stream_has_received_is_not_given_to_the_user_once_it_is_displaced() {
    let mut config = Config::default();
    config.max_half_open = 1;
    let mut lab = Lab::new(&config);
    lab.reads[SERVER] = false;
    lab.inject(SERVER, opening(enemy(1, 0), b"x")).unwrap();
    let first = lab.last_accepted();
    assert!(lab.ends[SERVER].received_bytes() > 0);
    lab.inject(SERVER, bare(enemy(2, 0))).unwrap();
    assert!(lab.ends[SERVER].stream(first).is_none());
    assert_eq!(
        (lab.closed[&(SERVER, first)], lab.ends[SERVER].received_bytes()),
        (CloseReason::Displaced, 0)
    );
}

#[test]
fn streams_without_data_end_after_ten_seconds_of_silence() {
    let mut lab = lab();
    for port in 0..100 {
        lab.inject(SERVER, bare(enemy(1, port))).unwrap();
    }
    lab.run(ms(9_999));
    assert_eq!(lab.closed.len(), 0);
    lab.run(ms(1));
    assert_eq!(lab.closed.len(), 100);
    assert!(lab.closed.values().all(|reason| *reason == CloseReason::TimedOut));
    assert!(lab.sent[SERVER] <= 100 * 8, "{} packets", lab.sent[SERVER]);
}

#[test]
fn streams_that_are_only_kept_alive_are_limited_per_peer() {
    let mut lab = lab();
    let mut open = Vec::new();
    for round in 0..60 {
        for port in 0..200 {
            let _ = lab.inject(SERVER, bare(enemy(1, port)));
        }
        open = lab.accepted.iter().map(|(_, peer)| *peer).collect();
        for peer in &open {
            lab.inject(SERVER, forged(*peer, &[0, 0xff, 0xff])).unwrap();
        }
        lab.run(SECOND);
        assert!(open.len() <= 128, "{} in round {round}", open.len());
    }
    assert_eq!((open.len(), lab.closed.len()), (128, 0));
    let stranger = lab.connect(&["hello"]);
    lab.run(ms(100));
    assert_eq!(lab.text(SERVER, lab.last_accepted()), "hello");
    assert!(lab.ends[CLIENT].stream(stranger).is_some());
}

#[test]
fn a_peer_that_fills_the_memory_leaves_others_their_goodput() {
    let mut config = Config::default();
    config.send_window = 64;
    let mut quiet = Lab::new(&config);
    let (client, _) = quiet.established();
    let alone = goodput(&mut quiet, client, 2000, ms(5), |_, _| {});

    let mut lab = Lab::new(&config);
    let (client, _) = lab.established();
    for port in 0..100 {
        lab.inject(SERVER, opening(enemy(1, port), b"x")).unwrap();
        for seq in 2..600_u16 {
            let gappy = data(ACK, 0xffff, seq, &[b'y'; 1000]);
            lab.inject(SERVER, forged(enemy(1, port), &gappy)).unwrap();
        }
    }
    let kept = lab.ends[SERVER].received_bytes();
    // Half of what there is, and what is guaranteed: segments 2 to 8 of each.
    let half = Config::default().receive_memory / 2;
    assert!((half..half + 100 * 7 * 1064).contains(&kept), "{kept}");
    let attacked = goodput(&mut lab, client, 2000, ms(5), |lab, n| {
        let from = enemy(1, (n % 100) as u16);
        let _ = lab.ends[SERVER].handle_datagram(lab.now, forged(from, &[ACK, 0xff, 0xff]));
    });
    assert!(attacked * 10 >= alone * 8, "{attacked} bytes instead of {alone}");
}

#[test]
fn a_peer_that_opens_and_ends_streams_fast_is_not_stopped_by_those_that_have_ended() {
    let mut config = Config::default();
    config.max_streams = 16;
    let mut lab = Lab::new(&config);
    for port in 0..500 {
        let from = enemy(1, port);
        lab.inject(SERVER, forged(from, &data(FIRST | SHUTDOWN, 0xffff, 0, b"x"))).unwrap();
        lab.finish(SERVER, lab.last_accepted());
        lab.run(ms(10));
        lab.inject(SERVER, forged(from, &[ACK, 0, 0])).unwrap();
        assert_eq!(lab.closed[&(SERVER, lab.last_accepted())], CloseReason::Finished);
        lab.run(ms(10));
    }
    assert_eq!(lab.ends[SERVER].stats().accepted, 500);
}

/// Otherwise a peer whose data nobody reads could take any number of places, one after the other.
#[test]
fn a_stream_that_has_ended_counts_for_its_peer_until_it_is_read() {
    let mut config = Config::default();
    config.max_streams_per_peer = 3;
    let mut lab = Lab::new(&config);
    lab.reads[SERVER] = false;
    for port in 0..10 {
        let taken = lab.inject(SERVER, opening(enemy(1, port), b"x")).is_ok();
        assert_eq!(taken, port < 3);
        let _ = lab.inject(SERVER, forged(enemy(1, port), &[STOP]));
    }
    assert!(lab.closed.is_empty());
    lab.reads[SERVER] = true;
    lab.run(ms(1));
    assert_eq!(lab.closed.values().copied().collect::<Vec<_>>(), [CloseReason::PeerReset; 3]);
    assert_eq!(lab.inject(SERVER, bare(enemy(1, 20))), Ok(()));
}

#[test]
fn all_places_are_taken_in_the_end_but_not_by_strangers() {
    let mut config = Config::default();
    (config.max_streams, config.max_half_open) = (16, 99);
    let mut lab = Lab::new(&config);
    let (client, _) = lab.established();
    for n in 0..20 {
        let _ = lab.inject(SERVER, bare(enemy(n, 0)));
    }
    assert_eq!((lab.accepted.len(), lab.ends[SERVER].stats().over_streams), (14, 7));
    let more = [lab.connect(&["a"]), lab.connect(&["b"]), lab.connect(&["c"])];
    lab.run(ms(200));
    assert_eq!((lab.accepted.len(), lab.closed.len()), (16, 1));
    assert_eq!(lab.closed[&(CLIENT, more[2])], CloseReason::Refused);
    assert!(lab.ends[CLIENT].stream(client).is_some());
    // Nor is there a place for one's own.
    assert!(lab.ends[SERVER].connect(lab.now, enemy(0, 0)).is_err());
    assert_eq!(lab.limits.iter().map(|(limit, _)| *limit).collect::<Vec<_>>(), [Limit::Streams]);
}

#[test]
fn each_limit_is_reported_once_in_ten_seconds() {
    let mut config = Config::default();
    config.max_streams_per_peer = 0;
    let mut lab = Lab::new(&config);
    let mut reports = Vec::new();
    for n in 0..300 {
        assert_eq!(lab.inject(SERVER, bare(enemy(n, 0))), Err(DatagramError::Refused));
        reports.push(lab.limits.len());
        lab.run(ms(100));
    }
    assert_eq!(
        (reports[0], reports[99], reports[100], reports[199], reports[200], reports[299]),
        (1, 1, 2, 2, 3, 3)
    );
    assert_eq!(lab.limits[1], (Limit::StreamsPerPeer, enemy(100, 0)));
    assert_eq!(lab.ends[SERVER].stats().over_streams_per_peer, 300);
}

#[test]
fn too_many_at_once_are_ignored_and_let_in_when_they_try_again() {
    let mut config = Config::default();
    (config.new_streams, config.new_streams_per_peer) = (4, 1);
    let mut lab = Lab::new(&config);
    assert_eq!(lab.inject(SERVER, bare(enemy(1, 0))), Ok(()));
    let sent = lab.sent[SERVER];
    assert_eq!(lab.inject(SERVER, bare(enemy(1, 1))), Err(DatagramError::TooSoon));
    assert_eq!(lab.inject(SERVER, bare(enemy(2, 0))), Ok(()));
    assert_eq!(lab.inject(SERVER, bare(enemy(3, 0))), Err(DatagramError::TooSoon));
    assert_eq!(lab.sent[SERVER] - sent, 1, "the answer to the second");
    lab.run(SECOND);
    assert_eq!(lab.inject(SERVER, bare(enemy(1, 1))), Ok(()));
    assert_eq!(lab.inject(SERVER, bare(enemy(3, 0))), Ok(()));
    let limits: Vec<Limit> = lab.limits.iter().map(|(limit, _)| *limit).collect();
    assert_eq!(limits, [Limit::NewStreamsPerPeer, Limit::NewStreams]);
}

/// Without fingerprints the ports of a stream that has ended open none for ten seconds, however many others
/// end meanwhile.
#[test]
fn a_flood_does_not_make_the_server_forget_streams_that_have_ended_just_now() {
    let mut lab = lab();
    lab.inject(SERVER, opening(enemy(0, 0), b"x")).unwrap();
    lab.inject(SERVER, forged(enemy(0, 0), &[STOP])).unwrap();
    lab.run(ms(1));
    let mut n = 0;
    for _ in 0..1999 {
        n += 1;
        let _ = lab.inject(SERVER, opening(enemy(n, 0), b"x"));
        let _ = lab.inject(SERVER, forged(enemy(n, 0), &[STOP]));
        lab.run(ms(5));
    }
    assert!(lab.accepted.len() >= 2000 - 1, "{}", lab.accepted.len());
    assert_eq!(lab.inject(SERVER, opening(enemy(0, 0), b"x")), Err(DatagramError::Refused));
    lab.run(ms(10));
    assert_eq!(lab.inject(SERVER, opening(enemy(0, 0), b"x")), Ok(()));
}

/// A user who takes no events gets no new streams in the end.
#[test]
fn events_that_nobody_takes_are_bounded() {
    let mut config = Config::default();
    config.max_streams = 8;
    let mut endpoint = Endpoint::new(config, [1; 32]);
    endpoint.listen(PORT.into()).unwrap();
    let mut now = Instant::from_millis(1000);
    let mut accepted = 0;
    for n in 0..5000 {
        let from = enemy(n, 0);
        accepted += usize::from(endpoint.handle_datagram(now, bare(from)).is_ok());
        let _ = endpoint.handle_datagram(now, forged(from, &[STOP]));
        now += ms(20);
        endpoint.handle_timeout(now);
    }
    let events = core::iter::from_fn(|| endpoint.poll_event()).count();
    assert!((8..=48 + 6).contains(&events), "{events} events for {accepted} streams");
    assert_eq!(endpoint.handle_datagram(now, bare(enemy(9999, 0))), Ok(()), "and then goes on");
}

#[test]
fn writable_is_queued_once_however_often_it_is_true() {
    let mut config = Config::default();
    config.send_window = 1;
    config.extended = false; // so that acknowledgments can be forged
    let mut lab = Lab::new(&config);
    let (client, _) = lab.established();
    let end = &mut lab.ends[CLIENT];
    for seq in 1..1000_u16 {
        let message = Bytes::from_static(b"x");
        end.stream(client).unwrap().send(lab.now, message.clone()).unwrap();
        end.stream(client).unwrap().send(lab.now, message).unwrap_err();
        while end.poll_transmit(lab.now, &mut Vec::new()).is_some() {}
        let port = lab.recorded[0].1.from.port;
        let ack = [&[ACK][..], &seq.to_le_bytes()].concat();
        let ack = msp_core::Datagram { to: port, ..forged(Addr::new(sid(1), PORT.into()), &ack) };
        lab.now += ms(20);
        end.handle_datagram(lab.now, ack).unwrap();
        end.handle_timeout(lab.now);
        assert_eq!(end.stream(client).unwrap().unacknowledged(), 0, "{seq}");
    }
    let events: Vec<Event> = core::iter::from_fn(|| end.poll_event()).collect();
    assert_eq!(events, [Event::Writable { stream: client }]);
}

#[test]
fn writable_follows_when_others_leave_memory() {
    let mut config = Config::default();
    config.send_memory = 16 * (1024 + 64);
    config.large_messages = false; // so that the last one has room
    let mut lab = Lab::new(&config);
    let (first, _) = lab.established();
    let second = lab.connect(&["hello"]);
    lab.run(ms(200));
    let message = Bytes::from_static(&[7; 1024]);
    let fill = |lab: &mut Lab, id| {
        let mut count = 0;
        while lab.ends[CLIENT].stream(id).unwrap().send(lab.now, message.clone()).is_ok() {
            count += 1;
        }
        count
    };
    assert_eq!((fill(&mut lab, first), fill(&mut lab, second)), (16, 8));
    lab.run(ms(25));
    assert!(lab.ends[CLIENT].stream(first).unwrap().capacity() > 0);
    // The user of the second stream hears of it only by the event.
    let refused = lab.writable.iter().filter(|(end, id)| (*end, *id) == (CLIENT, second)).count();
    assert_eq!(refused, 1, "{:?}", lab.writable);
    assert_eq!(lab.writable.iter().filter(|(end, id)| (*end, *id) == (CLIENT, first)).count(), 1);
    assert!(fill(&mut lab, second) > 0);
}

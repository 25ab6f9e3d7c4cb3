//! What two tunnels back to back carry, in virtual time.

mod tunnels;

use msp_core::msp::{Config, Limit};
use msp_core::testing::{CLIENT, Dial, SERVER, Socket, TunnelPair, pattern};
use msp_core::tunnel::{Action, CloseKind, EndReason, Outcome, Tunnel, TunnelConfig, TunnelEvent};
use msp_core::{Addr, Host, Identity, Instant, Node, NodeConfig, Port, Sid};
use tunnels::{
    MINUTE, assert_carried, bad, limits_reached, ms, once, opened, outcomes, reasons, run, sending,
};

#[test]
fn carries_both_ways_at_once_over_a_bad_link() {
    for seed in 0..4 {
        let mut pair =
            TunnelPair::new(seed, [once(), once()], bad).dial(|_| Dial::Open(sending(pattern(2, 300_000))));
        pair.open(sending(pattern(1, 200_000))).unwrap();
        run(&mut pair, 10 * MINUTE);
        assert_carried(&pair);
        assert!(pair.ends[CLIENT].stopped_accepting);
        let closed = pair.now;
        assert_eq!(outcomes(&mut pair), [Some(Outcome::Clean); 2]);
        assert!(pair.now - closed < ms(3500), "ended after {:?}", pair.now - closed);
        for end in [CLIENT, SERVER] {
            let other = pair.ends[1 - end].sockets.values().next().unwrap().input.len() as u64;
            let own = pair.ends[end].sockets.values().next().unwrap().input.len() as u64;
            assert!(pair.ends[end].events.iter().any(|event| matches!(
                event,
                TunnelEvent::Closed { received, sent, .. } if (*received, *sent) == (other, own)
            )));
        }
    }
}

#[test]
fn carries_fifty_links_at_once() {
    let size = |n: usize| [0, 1, 1023, 1024, 1025, 5_000, 20_000, 60_000][n % 8] + n;
    let mut pair = TunnelPair::new(5, Default::default(), bad)
        .dial(move |n| Dial::Open(sending(pattern(1000 + n as u64, size(n / 8)))));
    for n in 0..50 {
        pair.open(sending(pattern(n as u64, size(n)))).unwrap();
    }
    run(&mut pair, 10 * MINUTE);
    assert_eq!(opened(&pair), 50);
    assert_carried(&pair);
    assert_eq!(outcomes(&mut pair), [None; 2]);
}

#[test]
fn half_closes_in_either_direction() {
    for (first, second) in [(CLIENT, SERVER), (SERVER, CLIENT)] {
        let mut pair = TunnelPair::new(6, [once(), once()], bad).dial(|_| Dial::Open(Socket::waiting()));
        pair.open(Socket::waiting()).unwrap();
        assert!(pair.run_until(MINUTE, |pair| opened(pair) == 1));
        pair.socket(first, 0).input = pattern(1, 3_000);
        pair.socket(first, 0).finish = true;
        assert!(pair.run_until(MINUTE, |pair| pair.socket(second, 0).ended));
        assert!(pair.socket(second, 0).received == pattern(1, 3_000));
        pair.run(MINUTE); // the other half stays open for as long as it is wanted
        pair.socket(second, 0).input = pattern(2, 50_000);
        assert!(pair.run_until(MINUTE, |pair| pair.socket(first, 0).received.len() == 50_000));
        assert!(!pair.socket(first, 0).ended);
        pair.socket(second, 0).finish = true;
        run(&mut pair, MINUTE);
        assert_carried(&pair);
        assert_eq!(outcomes(&mut pair), [Some(Outcome::Clean); 2]);
    }
}

#[test]
fn the_listening_end_can_speak_first() {
    let mut pair = TunnelPair::new(7, [once(), once()], bad)
        .dial(|_| Dial::Open(Socket::waiting().sending(pattern(1, 100))));
    pair.open(Socket::waiting()).unwrap();
    assert!(pair.run_until(MINUTE, |pair| pair.socket(CLIENT, 0).received.len() == 100));
}

#[test]
fn a_slow_reader_stops_the_writer() {
    let mut pair = TunnelPair::new(8, Default::default(), bad)
        .dial(|_| Dial::Open(sending(pattern(2, 3_000_000)).reading(50_000)));
    pair.open(sending(pattern(1, 3_000_000)).reading(70_000)).unwrap();
    pair.run(MINUTE);
    for end in [CLIENT, SERVER] {
        let (read, received) = (pair.socket(end, 0).read, pair.socket(1 - end, 0).received.len());
        assert_eq!(received, pair.socket(1 - end, 0).room.unwrap());
        // What the other end keeps, what may wait here, and a part of a message.
        assert!(read - received < (2048 + 65) * 1387, "{} bytes on the way", read - received);
    }
    for end in [CLIENT, SERVER] {
        pair.socket(end, 0).room = None;
    }
    run(&mut pair, MINUTE);
    assert_carried(&pair);
}

/// What it reads ahead of what it can send, a keystroke on the same connection would have to wait for.
#[test]
fn no_more_than_16_messages_wait_before_they_are_sent() {
    let mut streams = Config::default();
    streams.large_messages = false; // so that all are of the same size
    let mut pair = TunnelPair::with_streams(9, [once(), once()], &streams, |link| {
        link.rate(100_000, 1 << 20).delay(ms(20))
    })
    .dial(|_| Dial::Open(Socket::waiting()));
    pair.open(Socket::waiting().sending(pattern(1, 2_000_000))).unwrap();
    let mut most = 0;
    while pair.socket(CLIENT, 0).read < 2_000_000 && pair.step(Instant::from_millis(60_000)) {
        let link = *pair.ends[CLIENT].sockets.keys().next().unwrap();
        let sent = pair.ends[CLIENT].tunnel.stats(link).map_or(0, |stats| stats.sent - stats.retransmitted);
        most = most.max(pair.socket(CLIENT, 0).read as u64 - 1024 * sent);
    }
    println!("{most} bytes");
    assert!((8 << 10..=16 << 10).contains(&most), "{most}");
}

#[test]
fn links_share_the_memory_for_sending() {
    let mut streams = Config::default();
    streams.send_memory = 1 << 20;
    let config = [TunnelConfig::default(), TunnelConfig::default()];
    let mut pair = TunnelPair::with_streams(9, config, &streams, |link| link.delay(ms(1)))
        .dial(|_| Dial::Open(Socket::waiting().reading(0)));
    for n in 0..40 {
        pair.open(sending(pattern(n, 300_000))).unwrap();
    }
    pair.run(MINUTE / 4);
    let read: usize = pair.ends[CLIENT].sockets.values().map(|socket| socket.read).sum();
    // A share is 25 whole messages; what the first links took before the others came is theirs, and those that
    // came last get eight.
    assert!((900 << 10..(1 << 20) + 40 * 8 * 1024).contains(&read), "{read} bytes kept");
}

#[test]
fn the_smallest_memory_carries_everything() {
    let mut streams = Config::default();
    streams.send_memory = 0;
    let mut pair = TunnelPair::with_streams(28, [once(), once()], &streams, bad)
        .dial(|_| Dial::Open(sending(pattern(2, 50_000))));
    pair.open(sending(pattern(1, 50_000))).unwrap();
    run(&mut pair, MINUTE);
    assert_carried(&pair);
}

#[test]
fn a_small_window_loses_no_part_of_a_message() {
    let mut streams = Config::default();
    streams.send_window = 2;
    let mut pair = TunnelPair::with_streams(30, [once(), once()], &streams, bad)
        .dial(|_| Dial::Open(sending(pattern(2, 20_000)).in_pieces(300)));
    pair.open(sending(pattern(1, 50_000)).in_pieces(1500)).unwrap();
    run(&mut pair, MINUTE);
    assert_carried(&pair);
}

#[test]
fn tiny_pieces_become_full_messages_when_the_peer_is_slow() {
    let mut pair = TunnelPair::new(10, [once(), once()], |link| link.delay(ms(50)))
        .dial(|_| Dial::Open(Socket::waiting().finishing()));
    let link = pair.open(sending(pattern(1, 40_000)).in_pieces(1)).unwrap();
    let mut messages = 0;
    pair.run_until(MINUTE, |pair| {
        let tunnel = &mut pair.ends[CLIENT].tunnel;
        messages = tunnel.stats(link).map_or(messages, |stats| stats.sent);
        pair.socket(CLIENT, 0).closed.is_some()
    });
    run(&mut pair, MINUTE);
    assert_carried(&pair);
    // Those that fill the first congestion window, and hardly more than full ones after it.
    assert!((40..30 + 2 * 40).contains(&messages), "{messages} messages");
}

#[test]
fn links_are_limited_at_both_ends() {
    let mut config = TunnelConfig::default();
    config.max_links = 3;
    let mut pair = TunnelPair::new(19, [TunnelConfig::default(), config.clone()], |link| link.delay(ms(5)))
        .dial(|_| Dial::Open(Socket::waiting()));
    for n in 0..5 {
        pair.open(sending(pattern(n, 10))).unwrap();
    }
    pair.run(ms(5000));
    assert_eq!(reasons(&pair, CLIENT), [EndReason::Refused; 2]);
    assert_eq!((opened(&pair), limits_reached(&pair, SERVER)), (3, 1));
    pair.socket(SERVER, 0).finish = true;
    pair.run(ms(5000));
    assert_eq!(reasons(&pair, SERVER), [EndReason::Finished]);
    for _ in 0..2 {
        pair.open(Socket::waiting()).unwrap();
        pair.run(ms(5000));
    }
    assert_eq!((opened(&pair), limits_reached(&pair, SERVER)), (4, 2));

    let mut pair = TunnelPair::new(20, [config, TunnelConfig::default()], |link| link.delay(ms(5)))
        .dial(|_| Dial::Open(Socket::waiting().finishing()));
    for _ in 0..3 {
        assert!(pair.ends[CLIENT].tunnel.can_accept());
        pair.open(Socket::waiting()).unwrap();
    }
    assert!(!pair.ends[CLIENT].tunnel.can_accept());
    assert_eq!(pair.open(Socket::waiting()), None);
    pair.run(ms(1000));
    assert_eq!(limits_reached(&pair, CLIENT), 1);
    pair.socket(CLIENT, 0).finish = true;
    assert!(pair.run_until(MINUTE, |pair| pair.ends[CLIENT].tunnel.can_accept()));
}

#[test]
fn half_open_links_are_limited() {
    let mut streams = Config::default();
    streams.max_half_open = 2;
    let config = [TunnelConfig::default(), TunnelConfig::default()];
    let mut pair =
        TunnelPair::with_streams(21, config, &streams, |link| link.delay(ms(5))).dial(|_| Dial::Hold);
    for length in [10, 0, 10] {
        pair.open(sending(pattern(1, length))).unwrap();
    }
    pair.run(ms(1000));
    assert_eq!(reasons(&pair, CLIENT), [EndReason::Refused]);
    let limits = |event: &&TunnelEvent| matches!(event, TunnelEvent::PeerLimited { .. });
    let [TunnelEvent::PeerLimited { limit: Limit::HalfOpen, .. }] =
        pair.ends[SERVER].events.iter().filter(limits).collect::<Vec<_>>()[..]
    else {
        panic!("{:?}", pair.ends[SERVER].events)
    };
    assert_eq!(pair.ends[SERVER].held.len(), 2);
    for link in pair.ends[SERVER].held.clone() {
        pair.open_held(link, Socket::waiting().finishing());
    }
    pair.run(ms(2000));
    assert_eq!(reasons(&pair, SERVER), [EndReason::Finished; 2]);
    pair.open(sending(pattern(3, 10))).unwrap();
    pair.run(ms(100));
    assert_eq!(pair.ends[SERVER].held.len(), 1);
}

#[test]
fn an_idle_tunnel_is_quiet() {
    let mut pair = TunnelPair::new(25, Default::default(), |link| link.delay(ms(20)))
        .dial(|_| Dial::Open(Socket::waiting()));
    pair.open(Socket::waiting()).unwrap();
    pair.run(MINUTE);
    let before = pair.links.each_ref().map(|link| link.counts().0);
    pair.run(MINUTE);
    let sent = pair.links.each_ref().map(|link| link.counts().0);
    // A keep-alive every 1.5 s and its acknowledgment, and twice a second the announcements of the node.
    assert!((0..2).all(|end| sent[end] - before[end] <= 2 * 40 + 130), "{sent:?} after {before:?}");
}

#[test]
fn events_that_nobody_takes_are_dropped() {
    let mut pair = TunnelPair::new(29, Default::default(), |link| link);
    let tunnel = &mut pair.ends[CLIENT].tunnel;
    for _ in 0..200 {
        let link = tunnel.local_accepted(pair.now).unwrap();
        tunnel.local_failed(pair.now, link);
        assert_eq!(tunnel.poll_action(), Some(Action::Close(link, CloseKind::Abort)));
    }
    let mut events = core::iter::from_fn(|| tunnel.poll_event());
    assert!(matches!(events.next(), Some(TunnelEvent::Opened { .. })));
    assert_eq!(events.count(), 255);
}

#[test]
fn addresses_that_belong_to_nobody_are_refused() {
    let host = || {
        let node = Node::new(NodeConfig::default(), Identity::from_seed([1; 32]), [2; 32], Instant::ZERO);
        Host::new(node, Config::default(), [3; 32])
    };
    let remote = Addr::new(Identity::from_seed([4; 32]).sid(), Port::from(0));
    assert!(Tunnel::connect(host(), remote, once()).is_err());
    let nobody = Addr::new(Sid::new([0; 32]), Port::from(4000));
    assert!(Tunnel::connect(host(), nobody, once()).is_err());
    assert!(Tunnel::listen(host(), Port::ECHO, once()).is_err());
}

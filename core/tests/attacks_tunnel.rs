//! What a hostile peer can do to a tunnel: dial targets, send bytes to them, keep links.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use msp_core::InterfaceId;
use msp_core::msp::{Config, Limit};
use msp_core::testing::{CLIENT, Dial, SERVER, Socket, TunnelPair, pattern};
use msp_core::tunnel::{CloseKind, EndReason, Outcome, TunnelConfig, TunnelEvent};

const MINUTE: Duration = Duration::from_secs(60);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn pair(streams: &Config, dial: impl FnMut(usize) -> Dial + 'static) -> TunnelPair {
    let config = [TunnelConfig::default(), TunnelConfig::default()];
    TunnelPair::with_streams(1, config, streams, |link| link.delay(ms(5))).dial(dial)
}

/// Runs for `time` and keeps every packet that arrives, with its sender.
fn record(pair: &mut TunnelPair, time: Duration) -> Vec<(usize, Vec<u8>)> {
    let (end, mut packets) = (pair.now + time, Vec::new());
    loop {
        pair.settle();
        let next = pair.links.iter().filter_map(|link| link.next_arrival()).min();
        if next.is_none_or(|at| at > pair.now) {
            let until = next.unwrap_or(end).min(end);
            // Up to the packet, not past it.
            if pair.step(until - Duration::from_micros(1)) {
                continue;
            }
            pair.now = pair.now.max(until);
            if pair.now >= end {
                return packets;
            }
        }
        for from in [CLIENT, SERVER] {
            while let Some(packet) = pair.links[from].pop(pair.now) {
                inject(pair, from, &packet);
                packets.push((from, packet));
            }
        }
    }
}

/// Brings a packet in the name of an end to the other.
fn inject(pair: &mut TunnelPair, from: usize, packet: &[u8]) {
    let address = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1 + from as u8), 4110));
    pair.ends[1 - from].tunnel.handle_packet(pair.now, InterfaceId(0), address, packet);
}

/// Dials so far.
fn dials(pair: &TunnelPair) -> usize {
    pair.ends[SERVER].sockets.len()
}

/// A whole connection, recorded, and 20 seconds after it.
fn recorded() -> (TunnelPair, Vec<(usize, Vec<u8>)>) {
    let answer = || Dial::Open(Socket::waiting().sending(pattern(2, 3000)).finishing());
    let mut pair = pair(&Config::default(), move |_| answer());
    pair.open(Socket::waiting().sending(pattern(1, 5000)).finishing()).unwrap();
    let packets = record(&mut pair, ms(3000));
    assert_eq!(pair.socket(SERVER, 0).received, pattern(1, 5000));
    assert_eq!(pair.socket(CLIENT, 0).closed, Some(CloseKind::Clean));
    assert!(packets.len() > 10, "{} packets", packets.len());
    (pair, packets)
}

#[test]
fn a_recorded_connection_played_again_dials_nothing() {
    for later in [ms(0), ms(5000), ms(20_000), 10 * MINUTE] {
        let (mut pair, packets) = recorded();
        pair.run(later);
        for (from, packet) in &packets {
            inject(&mut pair, *from, packet);
            pair.run(ms(1));
        }
        // And the whole of it once more, in one go.
        for (from, packet) in &packets {
            inject(&mut pair, *from, packet);
        }
        pair.run(ms(30_000));
        assert_eq!(dials(&pair), 1, "{later:?} later");
        assert_eq!(pair.socket(SERVER, 0).received.len(), 5000);
    }
}

#[test]
fn a_recorded_connection_played_within_another_changes_nothing() {
    let (mut pair, packets) = recorded();
    pair.open(Socket::waiting().sending(pattern(3, 5000))).unwrap();
    for (from, packet) in &packets {
        inject(&mut pair, *from, packet);
        pair.run(ms(3));
    }
    pair.socket(CLIENT, 1).finish = true;
    pair.run(ms(3000));
    assert_eq!(dials(&pair), 2);
    assert_eq!(pair.socket(SERVER, 1).received, pattern(3, 5000));
    assert_eq!(pair.socket(CLIENT, 1).received, pattern(2, 3000));
    assert_eq!(pair.socket(CLIENT, 1).closed, Some(CloseKind::Clean));
}

/// Both ends share one key, so what one has sealed opens at the one who has sealed it, too.
#[test]
fn packets_sent_back_to_their_sender_do_nothing() {
    let (mut pair, packets) = recorded();
    pair.open(Socket::waiting().sending(pattern(3, 5000))).unwrap();
    for (from, packet) in &packets {
        inject(&mut pair, 1 - *from, packet);
        pair.run(ms(3));
    }
    pair.socket(CLIENT, 1).finish = true;
    pair.run(ms(3000));
    assert_eq!((dials(&pair), pair.socket(SERVER, 1).received.clone()), (2, pattern(3, 5000)));
}

#[test]
fn a_peer_dials_no_faster_than_its_rate() {
    let mut streams = Config::default();
    (streams.new_streams, streams.new_streams_per_peer) = (200, 10);
    let mut pair = pair(&streams, |_| Dial::Refuse);
    for _ in 0..100 {
        pair.open(Socket::waiting().sending(pattern(1, 1))).unwrap();
    }
    pair.run(ms(500));
    assert!((10..=15).contains(&dials(&pair)), "{} dials in half a second", dials(&pair));
    // The others have not failed: they try again, and get in as fast as they may, for ten seconds.
    let before = dials(&pair);
    pair.run(ms(9000));
    assert!((40..=100).contains(&(dials(&pair) - before)), "{} more", dials(&pair) - before);
    let limits = pair.ends[SERVER].events.iter().filter_map(|event| match event {
        TunnelEvent::PeerLimited { limit, .. } => Some(*limit),
        _ => None,
    });
    assert_eq!(limits.collect::<Vec<_>>(), [Limit::NewStreamsPerPeer]);
}

#[test]
fn dials_that_do_not_end_are_limited() {
    let mut streams = Config::default();
    streams.max_half_open = 5;
    let mut pair = pair(&streams, |_| Dial::Hold);
    for _ in 0..50 {
        pair.open(Socket::waiting().sending(pattern(1, 10))).unwrap();
    }
    pair.run(ms(9000));
    assert_eq!((pair.ends[SERVER].held.len(), dials(&pair)), (5, 5));
    let refused =
        |event: &&TunnelEvent| matches!(event, TunnelEvent::Closed { reason: EndReason::Refused, .. });
    assert_eq!(pair.ends[CLIENT].events.iter().filter(refused).count(), 45);
}

#[test]
fn a_peer_has_no_more_links_than_it_may_and_those_work() {
    let mut streams = Config::default();
    streams.max_streams_per_peer = 3;
    let mut pair = pair(&streams, |_| Dial::Open(Socket::waiting().sending(pattern(2, 2000))));
    for n in 0..10 {
        pair.open(Socket::waiting().sending(pattern(n, 2000))).unwrap();
    }
    pair.run(MINUTE);
    assert_eq!(dials(&pair), 3);
    for n in 0..3 {
        assert_eq!(pair.socket(SERVER, n).received.len(), 2000);
        pair.socket(SERVER, n).finish = true;
        pair.socket(CLIENT, n).finish = true;
    }
    pair.run(ms(100));
    // Their places are free at once.
    for n in 0..3 {
        pair.open(Socket::waiting().sending(pattern(n, 2000)).finishing()).unwrap();
    }
    pair.run(MINUTE);
    assert_eq!(dials(&pair), 6);
}

/// The program behind the tunnel reads nothing, and the peer sends what it can on every link.
#[test]
fn a_target_that_never_reads_costs_a_bounded_amount() {
    let mut streams = Config::default();
    streams.receive_memory = 200_000;
    let mut pair = pair(&streams, |_| Dial::Open(Socket::waiting().reading(1)));
    for n in 0..60 {
        pair.open(Socket::waiting().sending(pattern(n, 300_000))).unwrap();
    }
    pair.run(MINUTE);
    let read: usize = pair.ends[CLIENT].sockets.values().map(|socket| socket.read).sum();
    assert!(read < Config::default().send_memory + 60 * 9 * 1024, "{read} bytes taken");
    assert_eq!(dials(&pair), 60);
    for socket in pair.ends[SERVER].sockets.values_mut() {
        socket.room = None;
    }
    assert!(pair.run_until(5 * MINUTE, |pair| {
        pair.ends[SERVER].sockets.values().all(|socket| socket.received.len() == 300_000)
    }));
}

#[test]
fn once_takes_one_link_whatever_comes() {
    let mut config = TunnelConfig::default();
    config.once = true;
    let mut pair = TunnelPair::new(7, [TunnelConfig::default(), config], |link| link.delay(ms(5)))
        .dial(|_| Dial::Open(Socket::waiting().finishing()));
    for n in 0..20 {
        pair.open(Socket::waiting().sending(pattern(n, 100)).finishing()).unwrap();
    }
    pair.run(MINUTE);
    assert_eq!((dials(&pair), pair.ends[SERVER].outcome), (1, Some(Outcome::Clean)));
}

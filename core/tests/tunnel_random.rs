//! Random sequences of everything that can happen to two tunnels, against the little that must hold.
//!
//! `MSP_TEST_SEED=n` runs one sequence.

use core::time::Duration;
use msp_core::mdp::InterfaceId;
use msp_core::msp::Config;
use msp_core::testing::{CLIENT, Dial, Link, SERVER, Socket, TunnelPair, pattern, seed};
use msp_core::tunnel::{CloseKind, LinkId, TunnelConfig};
use msp_core::{Instant, Rng};

const SEQUENCES: u64 = 40;
const OPERATIONS: usize = 60;

#[test]
fn whatever_happens_nothing_is_lost_in_silence() {
    (0..SEQUENCES).for_each(|n| run(seed(n)));
}

fn run(seed: u64) {
    let mut rng = Rng::new([seed as u8; 32]);
    let mut configs = [TunnelConfig::default(), TunnelConfig::default()];
    for config in &mut configs {
        config.max_links = 1 + rng.below(6) as usize;
    }
    let mut streams = Config::default();
    streams.max_half_open = 1 + rng.below(4) as usize;
    let (delay, loss) = (rng.below(100), rng.below(20));
    let link = |link: Link| link.delay(Duration::from_millis(delay)).loss(loss).reorder(10).duplicate(5);
    let mut server_rng = Rng::new([!seed as u8; 32]);
    let mut pair =
        TunnelPair::with_streams(seed, configs, &streams, link).dial(move |n| match server_rng.below(8) {
            0 => Dial::Refuse,
            1 => Dial::Hold,
            _ => Dial::Open(program(&mut server_rng, SERVER, n)),
        });
    let mut opened = 0;
    let mut calm = true;
    for _ in 0..OPERATIONS {
        calm &= operate(&mut pair, &mut rng, &mut opened, loss);
        check(&pair);
    }
    // Everything heals: what is left comes to its end.
    for link in &mut pair.links {
        link.set_blackout(false);
        link.set_loss(0);
    }
    for link in pair.ends[SERVER].held.clone() {
        pair.open_held(link, Socket::waiting());
    }
    for end in &mut pair.ends {
        for socket in end.sockets.values_mut() {
            (socket.room, socket.finish) = (None, true);
        }
    }
    pair.dial = Box::new(|_| Dial::Open(Socket::waiting().finishing()));
    let closed = pair.run_until(Duration::from_secs(300), |pair| {
        pair.ends.iter().all(|end| end.sockets.values().all(|socket| socket.closed.is_some()))
    });
    assert!(closed, "links remain at {:?}", pair.now);
    check(&pair);
    if calm {
        assert!(pair.ends.iter().all(|end| end.outcome.is_none()));
    }
}

/// A program whose input begins with what tells it apart from all others.
fn program(rng: &mut Rng, end: usize, n: usize) -> Socket {
    let length = 64 + [0, 1_000, 20_000, 300_000][rng.below(4) as usize];
    let socket = Socket::waiting().sending(pattern((1000 * end + n) as u64, length));
    let socket = if rng.below(2) == 0 { socket.finishing() } else { socket };
    let socket = if rng.below(3) == 0 { socket.in_pieces(1 + rng.below(2000) as usize) } else { socket };
    if rng.below(3) == 0 { socket.reading(rng.below(30_000) as usize) } else { socket }
}

/// Does one random thing. Returns whether it was harmless to the tunnels as a whole.
fn operate(pair: &mut TunnelPair, rng: &mut Rng, opened: &mut usize, loss: u64) -> bool {
    let end = rng.below(2) as usize;
    let count = pair.ends[end].sockets.len() as u64;
    let chosen = rng.below(count.max(1)) as usize;
    match rng.below(16) {
        0..=2 => {
            let program = program(rng, CLIENT, *opened);
            *opened += usize::from(pair.open(program).is_some());
        }
        3..=5 => {
            let time = [1, 30, 500, 5_000][rng.below(4) as usize];
            pair.run(Duration::from_millis(rng.below(time) + 1));
        }
        6 if count > 0 => pair.socket(end, chosen).finish = true,
        7 if count > 0 => {
            let room = rng.below(100_000) as usize;
            pair.socket(end, chosen).room = (room > 50_000).then_some(room);
        }
        8 if count > 0 => pair.fail(end, chosen),
        9 => {
            if let Some(link) = pair.ends[SERVER].held.first().copied() {
                let program = program(rng, SERVER, 500 + link.get() as usize);
                pair.open_held(link, program);
            }
        }
        10 => pair.links[end].set_loss([0, loss, 50, 100][rng.below(4) as usize]),
        11 => pair.links.iter_mut().for_each(|link| link.set_loss(loss)),
        12 => {
            let packet = pattern(rng.below(1 << 20), rng.below(1300) as usize);
            let from = ([127, 0, 0, 1], 9).into();
            pair.ends[end].tunnel.handle_packet(pair.now, InterfaceId(0), from, &packet);
        }
        13 => {
            // Time that goes back, and calls that come at no time.
            let tunnel = &mut pair.ends[end].tunnel;
            tunnel.handle_timeout(Instant::ZERO);
            tunnel.handle_timeout(pair.now);
        }
        14 => nonsense(pair, end),
        15 if rng.below(20) == 0 => {
            pair.ends[end].tunnel.shutdown(pair.now);
            return false;
        }
        _ => {}
    }
    true
}

/// Calls about links that are closed or were never there.
fn nonsense(pair: &mut TunnelPair, end: usize) {
    let [client, server] = &pair.ends;
    let links = client.sockets.keys().chain(server.sockets.keys());
    let open = |link: &LinkId| pair.ends[end].sockets.get(link).is_some_and(|socket| socket.closed.is_none());
    let links: Vec<LinkId> = links.filter(|link| !open(link)).copied().collect();
    let (now, tunnel) = (pair.now, &mut pair.ends[end].tunnel);
    for link in links {
        tunnel.local_opened(now, link);
        tunnel.local_eof(now, link);
        assert_eq!(tunnel.read_budget(link), 0);
        assert_eq!(tunnel.local_data(now, link, b"nonsense"), 0);
        assert_eq!(tunnel.output(link).count(), 0);
        tunnel.consume(now, link, 1);
        tunnel.local_failed(now, link);
    }
}

/// What is received is a prefix of what a program at the other end has sent; all of it, if it was closed as
/// complete.
fn check(pair: &TunnelPair) {
    for end in [CLIENT, SERVER] {
        for socket in pair.ends[end].sockets.values() {
            let complete = socket.ended || socket.closed == Some(CloseKind::Clean);
            let mut origins = pair.ends[1 - end].sockets.values().filter(|origin| {
                origin.input[..origin.read].starts_with(&socket.received)
                    && (!complete || (origin.finish && origin.input.len() == socket.received.len()))
            });
            let untouched = socket.received.is_empty() && !complete;
            assert!(untouched || origins.next().is_some(), "{} bytes from nowhere", socket.received.len());
        }
    }
}

//! What tests of two tunnels back to back have in common.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use core::time::Duration;
use msp_core::testing::{CLIENT, Link, SERVER, Socket, TunnelPair};
use msp_core::tunnel::{CloseKind, EndReason, Outcome, TunnelConfig, TunnelEvent};

pub const MINUTE: Duration = Duration::from_secs(60);

pub fn once() -> TunnelConfig {
    let mut config = TunnelConfig::default();
    config.once = true;
    config
}

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A link that delays, and loses, reorders and duplicates one packet in ten.
pub fn bad(link: Link) -> Link {
    link.delay(ms(10)).jitter(ms(2)).loss(10).reorder(10).duplicate(5)
}

/// Runs until every link of both ends is closed and there has been one.
pub fn run(pair: &mut TunnelPair, limit: Duration) {
    let done = pair.run_until(limit, |pair| {
        pair.ends
            .iter()
            .all(|end| !end.sockets.is_empty() && end.sockets.values().all(|socket| socket.closed.is_some()))
    });
    assert!(done, "not all closed by {:?}", pair.now);
}

/// What the sockets of an end have sent, in sorted order, and what they have received.
pub fn traffic(pair: &TunnelPair, end: usize) -> [Vec<Vec<u8>>; 2] {
    let sockets = || pair.ends[end].sockets.values();
    let mut sent: Vec<_> = sockets().map(|socket| socket.input.clone()).collect();
    let mut received: Vec<_> = sockets().map(|socket| socket.received.clone()).collect();
    sent.sort();
    received.sort();
    [sent, received]
}

/// Every byte of every link has arrived, in both directions, and every link was closed as TCP would.
pub fn assert_carried(pair: &TunnelPair) {
    let ([client_sent, client_received], [server_sent, server_received]) =
        (traffic(pair, CLIENT), traffic(pair, SERVER));
    assert!(client_sent == server_received, "from client to server");
    assert!(server_sent == client_received, "from server to client");
    for socket in pair.ends.iter().flat_map(|end| end.sockets.values()) {
        assert_eq!(socket.closed, Some(CloseKind::Clean));
    }
}

/// A program that sends this and its end of file.
pub fn sending(input: Vec<u8>) -> Socket {
    Socket::waiting().sending(input).finishing()
}

pub fn outcomes(pair: &mut TunnelPair) -> [Option<Outcome>; 2] {
    pair.run_until(MINUTE, |pair| pair.ends.iter().all(|end| end.outcome.is_some()));
    pair.ends.each_ref().map(|end| end.outcome)
}

/// Why the links of an end have ended, in that order.
pub fn reasons(pair: &TunnelPair, end: usize) -> Vec<EndReason> {
    let reason = |event: &TunnelEvent| match event {
        TunnelEvent::Closed { reason, .. } => Some(*reason),
        _ => None,
    };
    pair.ends[end].events.iter().filter_map(reason).collect()
}

pub fn limits_reached(pair: &TunnelPair, end: usize) -> usize {
    let events = pair.ends[end].events.iter();
    events.filter(|event| matches!(event, TunnelEvent::LimitReached { .. })).count()
}

pub fn opened(pair: &TunnelPair) -> usize {
    pair.ends[SERVER].sockets.len()
}

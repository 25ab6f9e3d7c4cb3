//! What an endpoint tells of its streams, in virtual time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use core::time::Duration;
use msp_core::msp::{Config, Endpoint, StreamState, StreamStatus};
use msp_core::testing::{Pair, Side, seed};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn status(pair: &Pair, side: Side) -> StreamStatus {
    let all: Vec<_> = pair.ends[side as usize].statuses(pair.now).collect();
    assert_eq!(all.len(), 1);
    all[0]
}

fn send(pair: &mut Pair, side: Side, message: &'static [u8]) {
    let (now, id) = (pair.now, status(pair, side).stream);
    pair.stream(side, id).send(now, Bytes::from_static(message)).unwrap();
}

fn states(pair: &Pair) -> [StreamState; 2] {
    [Side::A, Side::B].map(|side| status(pair, side).state)
}

/// Both ends of our kind, or not.
fn pair(number: u64, extended: bool, loss: u64) -> Pair {
    let mut config = Config::default();
    config.extended = extended;
    Pair::with_config(seed(number), &config, |link| link.delay(ms(10)).rate(125_000, 20_000).loss(loss))
}

#[test]
fn states_are_those_of_half_closed_streams() {
    let mut pair = pair(1, true, 0);
    let a = pair.connect();
    let first = status(&pair, Side::A);
    assert_eq!((first.state, first.is_initiator, first.is_extended), (StreamState::Connecting, true, false));
    assert_eq!(first.peer, Pair::address());
    send(&mut pair, Side::A, b"hello");
    pair.run(ms(100));
    assert_eq!(states(&pair), [StreamState::Open; 2]);
    let [at_a, at_b] = [Side::A, Side::B].map(|side| status(&pair, side));
    assert!(at_a.is_extended && at_b.is_extended && !at_b.is_initiator);
    assert_eq!((at_b.peer.sid, at_b.peer.port, at_b.port), (Side::A.sid(), at_a.port, Pair::PORT.into()));
    let now = pair.now;
    pair.stream(Side::A, a).finish(now);
    pair.drain(Side::B);
    pair.run(ms(100));
    assert_eq!(states(&pair), [StreamState::Finished, StreamState::PeerFinished]);
    // What was not consumed keeps the stream: the end waits behind it.
    send(&mut pair, Side::B, b"bye");
    let b = status(&pair, Side::B).stream;
    let now = pair.now;
    pair.stream(Side::B, b).finish(now);
    pair.run(ms(100));
    assert_eq!(states(&pair), [StreamState::Finished, StreamState::Closing]);
    pair.drain(Side::A);
    pair.run(ms(10_000));
    assert!(pair.ends.iter().all(|end| end.statuses(pair.now).next().is_none()));
}

#[test]
fn bytes_are_queued_then_acknowledged_and_unread_then_received() {
    for extended in [true, false] {
        let mut pair = pair(2, extended, 0);
        pair.connect();
        send(&mut pair, Side::A, &[1; 1000]);
        send(&mut pair, Side::A, &[2; 500]);
        let counts = |pair: &Pair, side| {
            let StreamStatus { sent, unacknowledged, unread, received, .. } = status(pair, side);
            (sent, unacknowledged, unread, received)
        };
        assert_eq!(counts(&pair, Side::A), (0, 1500, 0, 0));
        pair.run(ms(300));
        assert_eq!(counts(&pair, Side::B), (0, 0, 1500, 0));
        // A peer of another kind acknowledges what is consumed.
        assert_eq!(counts(&pair, Side::A), if extended { (1500, 0, 0, 0) } else { (0, 1500, 0, 0) });
        let (now, b) = (pair.now, status(&pair, Side::B).stream);
        pair.stream(Side::B, b).read(now, &mut [0; 300]);
        assert_eq!(counts(&pair, Side::B), (0, 0, 1200, 0));
        pair.drain(Side::B);
        assert_eq!(counts(&pair, Side::B), (0, 0, 0, 1500));
        pair.run(ms(300));
        assert_eq!(counts(&pair, Side::A), (1500, 0, 0, 0));
        let round_trip = status(&pair, Side::A).stats.round_trip.unwrap();
        // The peer took its time to consume.
        assert!((ms(20)..ms(400)).contains(&round_trip), "{round_trip:?}");
    }
}

/// Keeps A sending for so long, and returns its status and that of B.
fn bulk(mut pair: Pair, time: Duration) -> [StreamStatus; 2] {
    let a = pair.connect();
    let mut offset = 0;
    let data = vec![7; 100_000_000];
    pair.run_until(time, |pair| {
        pair.feed(Side::A, a, &data, &mut offset);
        pair.drain(Side::B);
        false
    });
    [Side::A, Side::B].map(|side| status(&pair, side))
}

#[test]
fn rates_and_losses_are_those_of_the_way() {
    let [a, b] = bulk(pair(3, true, 10), Duration::from_secs(10));
    // A tenth of a link of 1 Mbit/s is lost, and some of it carries headers; by chance, less for a while.
    for rate in [a.send_rate, b.receive_rate, b.received / 10] {
        assert!((70_000..125_000).contains(&rate), "{rate}");
    }
    assert_eq!((a.receive_rate, b.send_rate, a.received, b.sent), (0, 0, 0, 0));
    assert!(a.sent >= b.received - 100_000 && a.unacknowledged > 0);
    let loss = a.loss.unwrap();
    assert!((30_000..200_000).contains(&loss), "{loss} in a million");
    let capacity = a.capacity.unwrap();
    assert!((90_000..150_000).contains(&capacity), "{capacity}");
    assert!(a.stats.retransmitted > 0);
}

#[test]
fn where_the_peer_does_not_tell_loss_is_not_known() {
    let [a, b] = bulk(pair(4, false, 10), Duration::from_secs(5));
    assert_eq!((a.loss, a.capacity, a.is_extended, b.is_extended), (None, None, false, false));
    assert!(a.send_rate > 0 && a.stats.retransmitted > 0 && b.receive_rate > 0);
}

#[test]
fn rates_end_with_the_traffic_without_a_timer() {
    let mut pair = pair(5, true, 0);
    pair.connect();
    send(&mut pair, Side::A, &[1; 1000]);
    pair.run(ms(100));
    let rate = status(&pair, Side::A).send_rate;
    assert_eq!(rate, 1000);
    let timers = pair.ends.each_ref().map(Endpoint::poll_timeout);
    assert_eq!(status(&pair, Side::B).receive_rate, 0, "nothing was consumed");
    assert_eq!(pair.ends.each_ref().map(Endpoint::poll_timeout), timers);
    pair.run(ms(2000));
    assert_eq!(status(&pair, Side::A).send_rate, 0);
}

//! What streams do while nothing comes back from their peer, and when something does again
//! (`docs/msp-extensions.md` section 4).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use core::time::Duration;
use msp_core::msp::{CloseReason, StreamId};
use msp_core::testing::{Pair, Side, seed};
use msp_core::wire::extended::{Body, Repr};

const STREAMS: usize = 20;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Streams from A to B with two messages each on their way, none of which arrives, nor anything else for 4 s.
fn silence(number: u64) -> (Pair, Vec<StreamId>) {
    let mut pair = Pair::new(seed(number), |link| link.delay(ms(20)));
    let streams: Vec<StreamId> = (0..STREAMS).map(|_| pair.connect()).collect();
    let send = |pair: &mut Pair, count: usize| {
        for (stream, _) in streams.iter().flat_map(|stream| (0..count).map(move |n| (stream, n))) {
            let now = pair.now;
            pair.stream(Side::A, *stream).send(now, Bytes::from_static(&[7; 500])).unwrap();
        }
    };
    for _ in 0..2 {
        send(&mut pair, 1);
        let drain = |pair: &mut Pair| {
            pair.drain(Side::B);
            false
        };
        pair.run_until(ms(200), drain);
    }
    pair.links.iter_mut().for_each(|link| link.set_blackout(true));
    send(&mut pair, 2);
    pair.run(ms(4000));
    pair.record = true;
    (pair, streams)
}

/// What A has sent since the last time.
fn sent(pair: &mut Pair) -> Vec<Vec<u8>> {
    let of_a = |(side, packet): (Side, Vec<u8>)| (side == Side::A).then_some(packet);
    pair.transcript.drain(..).filter_map(of_a).collect()
}

fn is_question(packet: &[u8]) -> bool {
    Repr::parse(packet).is_ok_and(|repr| repr.prompt && repr.time.is_some() && repr.body == Body::Empty)
}

fn delivered(pair: &Pair) -> Vec<usize> {
    pair.received[1].values().map(Vec::len).collect()
}

#[test]
fn one_stream_asks_for_all_and_all_go_on_at_the_first_answer() {
    let (mut pair, _) = silence(61);
    pair.run(ms(2000));
    let packets = sent(&mut pair);
    let bytes: usize = packets.iter().map(Vec::len).sum();
    assert!(packets.iter().all(|packet| is_question(packet)), "{packets:?}");
    assert_eq!((packets.len(), bytes), (8, 8 * 8));
    pair.links.iter_mut().for_each(|link| link.set_blackout(false));
    // A question, its answer, the first segment of each stream, and what it shows to be lost.
    let all = [4 * 500; STREAMS];
    let done = pair.run_until(ms(250 + 40 + 40 + 40 + 20), |pair| {
        pair.drain(Side::B);
        delivered(pair) == all
    });
    assert!(done, "{:?}", delivered(&pair));
}

/// Of two streams, each the only one that is left, one at least was not the one that asked.
#[test]
fn another_stream_asks_when_the_one_that_did_has_ended() {
    for left in [0, STREAMS - 1] {
        let (mut pair, mut streams) = silence(62);
        streams.remove(left);
        for stream in streams {
            let now = pair.now;
            pair.stream(Side::A, stream).reset(now);
        }
        pair.run(ms(1600));
        sent(&mut pair);
        pair.run(ms(1000));
        let questions = sent(&mut pair).iter().filter(|packet| is_question(packet)).count();
        assert_eq!(questions, 4, "stream {left} is left");
    }
}

#[test]
fn a_peer_that_is_gone_is_not_asked_for_ever() {
    let (mut pair, streams) = silence(63);
    pair.run(ms(20_000));
    for stream in streams {
        assert_eq!(pair.close_reason(Side::A, stream), Some(CloseReason::TimedOut));
    }
    sent(&mut pair);
    pair.run(ms(20_000));
    assert_eq!(sent(&mut pair), Vec::<Vec<u8>>::new());
}

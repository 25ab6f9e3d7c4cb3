//! Any sequence of operations, over any network: what is delivered is what was sent, and every stream ends.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test may read its environment")]

use bytes::Bytes;
use core::time::Duration;
use msp_core::msp::{CloseReason, Config, SendError, StreamId};
use msp_core::testing::{Pair, Side, seed};
use quickcheck::{Arbitrary, Gen};

/// One thing that a user, the network or time does. Every operation is legal at any time.
#[derive(Debug, Clone, Copy)]
enum Op {
    Send(Side, u16),
    Receive(Side, u8),
    Finish(Side),
    Reset(Side),
    Advance(u16),
    Timeout(Side),
    Loss(u8),
    Blackout(Side, bool),
}

#[derive(Debug, Clone)]
struct Ops(Vec<Op>);

impl Arbitrary for Ops {
    fn arbitrary(g: &mut Gen) -> Self {
        let side = |g: &mut Gen| if bool::arbitrary(g) { Side::A } else { Side::B };
        let op = |g: &mut Gen| match u8::arbitrary(g) {
            0..100 => Op::Send(side(g), u16::arbitrary(g)),
            100..150 => Op::Receive(side(g), u8::arbitrary(g)),
            150..210 => Op::Advance(u16::arbitrary(g) >> (u8::arbitrary(g) % 16)),
            210..225 => Op::Loss(u8::arbitrary(g) % 60),
            225..240 => Op::Timeout(side(g)),
            240..250 => Op::Blackout(side(g), bool::arbitrary(g)),
            250..253 => Op::Finish(side(g)),
            253.. => Op::Reset(side(g)),
        };
        Self((0..g.size()).map(|_| op(g)).collect())
    }

    fn shrink(&self) -> Box<dyn Iterator<Item = Self>> {
        let whole = self.0.clone();
        let half = whole.len() / 2;
        let halves = [whole[half..].to_vec(), whole[..half].to_vec()].into_iter();
        let without = (0..whole.len()).map(move |n| {
            let mut rest = whole.clone();
            rest.remove(n);
            rest
        });
        Box::new(halves.filter(move |_| half > 0).chain(without).map(Self))
    }
}

/// What one side has sent, and what of the other side's messages it has received.
#[derive(Default)]
struct Model {
    sent: Vec<Bytes>,
    received: usize,
    finished: bool,
}

struct World {
    pair: Pair,
    models: [Model; 2],
    streams: [Option<StreamId>; 2],
    reset: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let shape = |link: msp_core::testing::Link| {
            link.delay(Duration::from_millis(seed % 70)).jitter(Duration::from_millis(seed % 31)).duplicate(3)
        };
        let mut config = Config::default();
        config.send_window = 1 + (seed % 40) as u16;
        config.receive_window = 1 + (seed % 50) as u16;
        let mut pair = Pair::with_config(seed, &config, shape);
        let stream = pair.connect();
        Self { pair, models: Default::default(), streams: [Some(stream), None], reset: false }
    }

    fn apply(&mut self, op: Op) {
        let now = self.pair.now;
        self.streams[1] = self.streams[1].or_else(|| self.pair.accepted());
        match op {
            Op::Send(side, length) => self.send(side, usize::from(length % 1100)),
            Op::Receive(side, count) => self.receive(side, count.into()),
            Op::Finish(side) => self.finish(side),
            Op::Reset(side) => {
                if let Some(mut stream) = self.streams[side as usize].and_then(|id| self.pair.open(side, id))
                {
                    stream.reset(now);
                    self.reset = true;
                }
            }
            Op::Advance(millis) => self.pair.run(Duration::from_millis(millis.into())),
            Op::Timeout(side) => self.pair.ends[side as usize].handle_timeout(now),
            Op::Loss(percent) => self.pair.links.iter_mut().for_each(|link| link.set_loss(percent.into())),
            Op::Blackout(side, on) => self.pair.links[side as usize].set_blackout(on),
        }
    }

    fn send(&mut self, side: Side, length: usize) {
        let now = self.pair.now;
        let Some(mut stream) = self.streams[side as usize].and_then(|id| self.pair.open(side, id)) else {
            return;
        };
        let model = &mut self.models[side as usize];
        let number = model.sent.len() as u32;
        let message: Bytes = number.to_le_bytes().into_iter().cycle().take(length).collect();
        match stream.send(now, message.clone()) {
            Ok(()) => model.sent.push(message),
            Err(SendError::Empty) => assert_eq!(length, 0),
            Err(SendError::TooLarge { max }) => assert!(length > max),
            Err(SendError::WouldBlock) => assert_eq!(stream.capacity(), 0),
            Err(SendError::Finished) => assert!(model.finished),
            Err(_) => {}
        }
    }

    fn receive(&mut self, side: Side, count: usize) {
        for _ in 0..count {
            let now = self.pair.now;
            let Some(mut stream) = self.streams[side as usize].and_then(|id| self.pair.open(side, id)) else {
                return;
            };
            let Some(message) = stream.recv(now) else { return };
            let received = self.models[side as usize].received;
            self.models[side as usize].received += 1;
            let sent = &self.models[side.other() as usize].sent;
            assert_eq!(Some(&message), sent.get(received), "message {received} from {:?}", side.other());
        }
    }

    fn finish(&mut self, side: Side) {
        let now = self.pair.now;
        if let Some(mut stream) = self.streams[side as usize].and_then(|id| self.pair.open(side, id)) {
            stream.finish(now);
            self.models[side as usize].finished = true;
        }
    }

    /// Heals the network, finishes both ends, and checks how it all ended.
    fn conclude(mut self) {
        self.pair.links.iter_mut().for_each(|link| {
            link.set_loss(0);
            link.set_blackout(false);
        });
        for _ in 0..600 {
            self.streams[1] = self.streams[1].or_else(|| self.pair.accepted());
            for side in [Side::A, Side::B] {
                self.finish(side);
                self.receive(side, usize::MAX);
            }
            self.pair.run(Duration::from_millis(100));
        }
        let reason = |side: Side| {
            self.streams[side as usize]
                .map(|id| self.pair.close_reason(side, id).expect("an end after a minute"))
        };
        let reasons = [reason(Side::A), reason(Side::B)];
        let [a, b] = &self.models;
        match reasons {
            [Some(CloseReason::Finished), Some(CloseReason::Finished)] => {
                assert_eq!((a.received, b.received), (b.sent.len(), a.sent.len()));
            }
            // One end may know that all is well when the other is cut off before it does.
            [Some(CloseReason::Finished), Some(_)] => assert_eq!(a.received, b.sent.len()),
            [_, Some(CloseReason::Finished)] => assert_eq!(b.received, a.sent.len()),
            [_, None] => assert_eq!((a.received, b.received), (0, 0)),
            _ => {}
        }
        assert!(self.pair.ends.iter().all(|end| end.is_idle() && end.received_bytes() == 0), "{reasons:?}");
        assert!(self.pair.ends.iter().all(|end| end.poll_timeout().is_none()));
    }
}

fn holds(seed: u64, ops: &[Op]) {
    let mut world = World::new(seed);
    for op in ops {
        world.apply(*op);
    }
    world.conclude();
}

#[test]
fn whatever_happens_messages_arrive_in_order_once_and_every_stream_ends() {
    let first = seed(1);
    let count = std::env::var("QUICKCHECK_TESTS").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    for n in first..first + count {
        let ops = Ops::arbitrary(&mut Gen::from_size_and_seed(60, n));
        if std::panic::catch_unwind(|| holds(n, &ops.0)).is_err() {
            let mut least = ops;
            while let Some(less) =
                least.shrink().find(|less| std::panic::catch_unwind(|| holds(n, &less.0)).is_err())
            {
                least = less;
            }
            panic!("seed {n}: {:?}", least.0);
        }
    }
}

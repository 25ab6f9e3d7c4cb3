//! Small messages beside bulk transfers, where packets wait in their streams for a slow link.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use core::time::Duration;
use msp_core::msp::{Config, Endpoint, Event, StreamId};
use msp_core::testing::seed;
use msp_core::{Addr, Datagram, Instant, Port, Protection, Rng, Sid};
use std::collections::VecDeque;

const SIDS: [Sid; 2] = [Sid::new([0xa; 32]), Sid::new([0xb; 32])];
const PORT: u16 = 600;
/// A full packet takes a millisecond.
const BYTES_PER_SLOT: usize = 1100;
/// One way, in slots of a millisecond.
const DELAY: u64 = 20;

/// Two endpoints with a link that takes a packet from the first when the one before has left.
struct Slow {
    now: Instant,
    ends: [Endpoint; 2],
    /// Packets on their way to each end.
    wire: [VecDeque<(Instant, Datagram)>; 2],
    /// When the link is free again.
    free: Instant,
    /// Local ports of the packets that it has taken.
    taken: Vec<Port>,
    /// Messages that the second end has read: when, and how long they were.
    read: Vec<(Instant, usize)>,
}

impl Slow {
    fn new() -> Self {
        let mut ends = [1, 2].map(|seed| Endpoint::new(Config::default(), [seed; 32]));
        ends[1].listen(PORT.into()).unwrap();
        let now = Instant::from_millis(1000);
        Self { now, ends, wire: Default::default(), free: now, taken: Vec::new(), read: Vec::new() }
    }

    fn connect(&mut self) -> StreamId {
        self.ends[0].connect(self.now, Addr::new(SIDS[1], PORT.into())).unwrap()
    }

    fn send(&mut self, id: StreamId, length: usize) -> bool {
        let now = self.now;
        self.ends[0].stream(id).unwrap().send(now, Bytes::from(vec![1; length])).is_ok()
    }

    fn transmit(&mut self, from: usize) -> Option<usize> {
        let mut buffer = Vec::new();
        let outgoing = self.ends[from].poll_transmit(self.now, &mut buffer)?;
        let length = buffer.len();
        let source = Addr::new(SIDS[from], outgoing.from);
        let datagram = Datagram::new(source, outgoing.to.port, Protection::Encrypted, Bytes::from(buffer));
        self.wire[1 - from].push_back((self.now + Duration::from_millis(DELAY), datagram));
        if from == 0 {
            self.taken.push(outgoing.from);
        }
        Some(length)
    }

    fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            for end in 0..2 {
                while self.wire[end].front().is_some_and(|(at, _)| *at <= self.now) {
                    let (_, datagram) = self.wire[end].pop_front().unwrap();
                    let _ = self.ends[end].handle_datagram(self.now, datagram);
                }
                self.ends[end].handle_timeout(self.now);
                while let Some(event) = self.ends[end].poll_event() {
                    let Event::Readable { stream } = event else { continue };
                    while let Some(message) =
                        self.ends[end].stream(stream).and_then(|mut it| it.recv(self.now))
                    {
                        self.read.push((self.now, message.len()));
                    }
                }
            }
            while self.transmit(1).is_some() {}
            while self.free <= self.now {
                let Some(length) = self.transmit(0) else { break };
                self.free =
                    self.free.max(self.now) + Duration::from_micros((1000 * length / BYTES_PER_SLOT) as u64);
            }
            self.now += Duration::from_millis(1);
        }
    }
}

/// How many packets of others went out between a small message and its packet, each time, and how long the messages
/// took, both in ascending order.
fn beside(bulk_streams: usize, seed: u64) -> (Vec<usize>, Vec<Duration>) {
    let mut slow = Slow::new();
    let bulk: Vec<_> = (0..bulk_streams).map(|_| slow.connect()).collect();
    let thin = slow.connect();
    assert!(slow.send(thin, 64));
    slow.run(1);
    let port = slow.taken[0];
    let mut random = Rng::new([seed as u8; 32]);
    let (mut waits, mut delays) = (Vec::new(), Vec::new());
    let mut pause = 3000;
    for round in 0..201 {
        for _ in 0..pause {
            bulk.iter().for_each(|id| while slow.send(*id, 1024) {});
            slow.run(1);
        }
        pause = 50 + random.below(200);
        if round == 0 {
            continue; // the windows of all have grown
        }
        let (sent, first) = (slow.now, slow.taken.len());
        slow.read.clear();
        assert!(slow.send(thin, 64));
        for _ in 0..2000 {
            slow.run(1);
            if let Some((at, _)) = slow.read.iter().find(|(_, length)| *length == 64) {
                delays.push(*at - sent);
                break;
            }
        }
        waits.push(slow.taken[first..].iter().take_while(|it| **it != port).count());
    }
    assert_eq!(delays.len(), 200);
    waits.sort_unstable();
    delays.sort_unstable();
    (waits, delays)
}

#[test]
fn a_small_message_waits_for_no_bulk_stream_but_for_the_packet_before_it() {
    let seed = seed(7);
    for bulk_streams in [1, 5, 20] {
        let (waits, delays) = beside(bulk_streams, seed);
        println!(
            "beside {bulk_streams}: waits for {} packets at 99 %, {} at most; delivered after {:?} at 99 %, {:?} at most",
            waits[197], waits[199], delays[197], delays[199]
        );
        assert!(waits[199] <= 3, "{waits:?}");
        assert!(delays[197] <= Duration::from_millis(DELAY + 4), "{delays:?}");
    }
}

//! Idle streams: what 10,000 cost that have carried data, in memory, packets and calls, and that they live and end as
//! others do.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use core::time::Duration;
use msp_core::msp::{Config, Endpoint, Event, StreamId};
use msp_core::testing::seed;
use msp_core::{Addr, Datagram, Instant, Protection, Rng, Sid};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::VecDeque;

thread_local!(static LIVE: Cell<isize> = const { Cell::new(0) });

struct Counting;

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.set(LIVE.get() + layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get() - layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const STREAMS: usize = 10_000;
const SIDS: [Sid; 2] = [Sid::new([0xa; 32]), Sid::new([0xb; 32])];
const PORT: u16 = 600;
const DELAY: Duration = Duration::from_millis(20);
const SECOND: Duration = Duration::from_secs(1);

/// Two endpoints in virtual time, and what they have done.
struct Pair {
    now: Instant,
    /// `None` for one that was taken away.
    ends: [Option<Endpoint>; 2],
    /// Packets on their way to each end.
    wire: [VecDeque<(Instant, Datagram)>; 2],
    accepted: Vec<StreamId>,
    closed: [usize; 2],
    /// Packets in a hundred of each end that are lost.
    loss: [u64; 2],
    rng: Rng,
    /// Whether the ends read.
    reads: bool,
    received: [usize; 2],
    packets: [usize; 2],
    bytes: [usize; 2],
    timeouts: [usize; 2],
}

impl Pair {
    fn new(extended: bool) -> Self {
        let mut config = Config::default();
        config.extended = extended;
        Self::with_config(config)
    }

    fn with_config(mut config: Config) -> Self {
        (config.max_streams, config.max_streams_per_peer, config.max_half_open) =
            (2 * STREAMS, 2 * STREAMS, 2 * STREAMS);
        (config.new_streams, config.new_streams_per_peer) = (1_000_000, 1_000_000);
        config.send_memory = 64 << 20;
        let mut pair = Self {
            now: Instant::from_millis(1000),
            ends: [1, 2].map(|seed| Some(Endpoint::new(config.clone(), [seed; 32]))),
            wire: Default::default(),
            accepted: Vec::new(),
            closed: [0; 2],
            loss: [0; 2],
            rng: Rng::new([7; 32]),
            reads: true,
            received: [0; 2],
            packets: [0; 2],
            bytes: [0; 2],
            timeouts: [0; 2],
        };
        pair.end(1).listen(PORT.into()).unwrap();
        pair
    }

    fn end(&mut self, end: usize) -> &mut Endpoint {
        self.ends[end].as_mut().unwrap()
    }

    /// Everything that happens until then.
    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            (0..2).for_each(|end| self.drain(end));
            let timers = self.ends.iter().flatten().filter_map(Endpoint::poll_timeout);
            let arrivals = self.wire.iter().filter_map(|wire| Some(wire.front()?.0));
            let Some(next) = timers.chain(arrivals).min().filter(|next| *next <= until) else { break };
            assert!(next > self.now, "something was left undone");
            self.now = next;
            for end in 0..2 {
                while self.wire[end].front().is_some_and(|(at, _)| *at <= next) {
                    let (_, datagram) = self.wire[end].pop_front().unwrap();
                    let Some(endpoint) = &mut self.ends[end] else { continue };
                    let _ = endpoint.handle_datagram(next, datagram);
                }
                let Some(endpoint) = &mut self.ends[end] else { continue };
                if endpoint.poll_timeout().is_some_and(|at| at <= next) {
                    self.timeouts[end] += 1;
                    endpoint.handle_timeout(next);
                }
            }
        }
        self.now = until;
    }

    fn drain(&mut self, end: usize) {
        let Some(endpoint) = &mut self.ends[end] else { return };
        let mut buffer = Vec::new();
        loop {
            while let Some(event) = endpoint.poll_event() {
                match event {
                    Event::Readable { stream } if self.reads => {
                        while endpoint.stream(stream).is_some_and(|mut it| it.recv(self.now).is_some()) {
                            self.received[end] += 1;
                        }
                    }
                    Event::Accepted { stream, .. } => self.accepted.push(stream),
                    Event::Closed { .. } => self.closed[end] += 1,
                    _ => {}
                }
            }
            let Some(outgoing) = endpoint.poll_transmit(self.now, &mut buffer) else { break };
            let source = Addr::new(SIDS[end], outgoing.from);
            let payload = Bytes::copy_from_slice(&buffer);
            let datagram = Datagram::new(source, outgoing.to.port, Protection::Encrypted, payload);
            self.packets[end] += 1;
            self.bytes[end] += buffer.len();
            if self.rng.below(100) < self.loss[end] {
                continue;
            }
            self.wire[1 - end].push_back((self.now + DELAY, datagram));
        }
    }

    fn send(&mut self, end: usize, id: StreamId, count: usize) {
        let now = self.now;
        for _ in 0..count {
            let mut stream = self.end(end).stream(id).unwrap();
            stream.send(now, Bytes::from(vec![1; 1000])).unwrap();
        }
    }

    /// Streams over which 10 messages have gone each way, at different times.
    fn open(&mut self, count: usize) -> Vec<StreamId> {
        let remote = Addr::new(SIDS[1], PORT.into());
        let mut ids = Vec::new();
        for n in 0..count {
            let id = {
                let now = self.now;
                self.end(0).connect(now, remote).unwrap()
            };
            self.send(0, id, 10);
            ids.push(id);
            if n % 100 == 99 {
                self.run(Duration::from_millis(50));
            }
        }
        self.run(SECOND);
        assert_eq!(self.accepted.len(), count);
        for n in 0..count {
            self.send(1, self.accepted[n], 10);
            if n % 100 == 99 {
                self.run(Duration::from_millis(50));
            }
        }
        self.run(30 * SECOND);
        ids
    }
}

fn live() -> isize {
    LIVE.get()
}

#[test]
fn an_idle_stream_takes_at_most_4_kilobytes() {
    for extended in [true, false] {
        let mut pair = Pair::new(extended);
        pair.open(STREAMS);
        for end in 0..2 {
            let before = live();
            pair.ends[end] = None;
            let each = (before - live()) as usize / STREAMS;
            println!("extended {extended}, end {end}: {each} bytes for a stream");
            assert!(each <= 4096);
        }
    }
}

/// Packets and bytes that each end sends in a second, and calls of `handle_timeout`.
fn costs(extended: bool) -> [[usize; 2]; 3] {
    let mut pair = Pair::new(extended);
    pair.open(STREAMS);
    (pair.packets, pair.bytes, pair.timeouts) = Default::default();
    pair.run(30 * SECOND);
    assert_eq!(pair.closed, [0, 0]);
    let costs = [pair.packets, pair.bytes, pair.timeouts].map(|counts| counts.map(|count| count / 30));
    let [packets, bytes, timeouts] = &costs;
    println!(
        "extended {extended}, each end a second: {packets:?} packets, {bytes:?} bytes, {timeouts:?} timeouts handled"
    );
    costs
}

#[test]
fn idle_streams_share_their_signs_of_life() {
    let [packets, _, timeouts] = costs(true);
    let least = STREAMS * 2 / 3 / 128;
    assert!(packets.iter().all(|count| *count <= least + 2), "{packets:?}");
    assert!(timeouts.iter().all(|count| *count <= 3 * least), "{timeouts:?}");
}

#[test]
fn a_reference_peer_gets_signs_of_life_of_every_stream() {
    let [packets, ..] = costs(false);
    assert_eq!(packets, [STREAMS * 2 / 3; 2]);
}

#[test]
fn they_live_on_where_30_percent_of_all_packets_are_lost() {
    let mut pair = Pair::new(true);
    pair.rng = Rng::new([seed(1) as u8; 32]);
    pair.open(300);
    pair.loss = [30, 30];
    pair.packets = [0, 0];
    pair.run(600 * SECOND);
    println!("{:?} packets in 10 minutes", pair.packets);
    assert_eq!(pair.closed, [0, 0]);
    assert!(pair.packets.iter().all(|count| *count < 600 * 300 / 10), "{:?}", pair.packets);
}

#[test]
fn a_peer_that_is_gone_is_noticed_after_the_idle_timeout() {
    for gone in 0..2 {
        let mut pair = Pair::new(true);
        pair.open(300);
        pair.ends[gone] = None;
        pair.run(8 * SECOND);
        assert_eq!(pair.closed, [0, 0]);
        pair.run(3 * SECOND);
        assert_eq!(pair.closed[1 - gone], 300);
    }
}

#[test]
fn a_listener_that_was_started_again_says_so() {
    let mut pair = Pair::new(true);
    pair.open(20);
    pair.ends[1] = Some(Endpoint::new(Config::default(), [9; 32]));
    pair.run(2 * SECOND);
    assert_eq!(pair.closed[0], 20);
}

/// It lacks an acknowledgment that it cannot ask for: its peer has consumed everything, and has said so in vain.
#[test]
fn a_sender_that_was_left_behind_a_closed_window_goes_on() {
    let mut config = Config::default();
    config.receive_window = 8;
    let mut pair = Pair::with_config(config);
    let ids = pair.open(2);
    pair.reads = false;
    for _ in 0..3 {
        pair.send(1, pair.accepted[0], 8);
        pair.run(SECOND);
    }
    (pair.loss[0], pair.reads) = (100, true);
    let now = pair.now;
    while pair.end(0).stream(ids[0]).is_some_and(|mut it| it.recv(now).is_some()) {
        pair.received[0] += 1;
    }
    pair.run(4 * SECOND);
    pair.loss[0] = 0;
    let before = pair.received[0];
    pair.run(4 * SECOND);
    assert_eq!(pair.received[0] - before, 16);
    assert_eq!(pair.closed, [0, 0]);
}

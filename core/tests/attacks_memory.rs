//! What an endpoint keeps stays below `Config::max_memory`, whatever peers send and the user does. A counting
//! allocator says so.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use bytes::Bytes;
use core::time::Duration;
use lab::{ACK, FIRST, PORT, STOP, data, forged, sid};
use msp_core::msp::{Config, Endpoint, Event, StreamId};
use msp_core::{Addr, Datagram, Fingerprint, Instant};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

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

fn live() -> usize {
    usize::try_from(LIVE.get()).unwrap_or(0)
}

fn enemy(n: u32, port: u16) -> Addr {
    Addr::new(sid(1000 + n), (600 + port).into())
}

/// An endpoint, and what this thread had allocated before.
struct Victim {
    endpoint: Endpoint,
    bound: usize,
    before: usize,
    now: Instant,
    sealed: u64,
    most: usize,
}

impl Victim {
    fn new(config: &Config) -> Self {
        let (before, bound) = (live(), config.max_memory());
        let mut endpoint = Endpoint::new(config.clone(), [1; 32]);
        endpoint.listen(PORT.into()).unwrap();
        Self { endpoint, bound, before, now: Instant::from_millis(1000), sealed: 0, most: 0 }
    }

    fn bring(&mut self, from: Addr, packet: &[u8]) -> bool {
        self.sealed += 1;
        let fingerprint = Some(Fingerprint(self.sealed));
        let datagram = Datagram { fingerprint, ..forged(from, packet) };
        let taken = self.endpoint.handle_datagram(self.now, datagram).is_ok();
        self.check();
        taken
    }

    fn check(&mut self) {
        let kept = live() - self.before;
        self.most = self.most.max(kept);
        assert!(kept <= self.bound, "{kept} bytes, of {}", self.bound);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.endpoint.handle_timeout(self.now);
    }

    fn transmit(&mut self) {
        let mut buffer = Vec::new();
        while self.endpoint.poll_transmit(self.now, &mut buffer).is_some() {}
    }
}

#[test]
fn what_peers_and_the_user_can_fill_stays_below_the_stated_bound() {
    let mut config = Config::default();
    (config.max_streams, config.max_half_open, config.replay_memory) = (32, 32, 500);
    (config.send_memory, config.receive_memory) = (300_000, 300_000);
    (config.send_window, config.receive_window) = (63, 256);
    let mut victim = Victim::new(&config);
    // Openings from as many peers as there may be to remember, and no peer twice.
    let mut open: Vec<(StreamId, Addr)> = Vec::new();
    for n in 0..3000 {
        victim.bring(enemy(n, 0), &[FIRST, 0xff, 0xff]);
        victim.pass(Duration::from_millis(10));
        while let Some(event) = victim.endpoint.poll_event() {
            match event {
                Event::Accepted { stream, peer, .. } => open.push((stream, peer)),
                Event::Closed { stream, .. } => open.retain(|(id, _)| *id != stream),
                _ => {}
            }
        }
    }
    victim.transmit();
    assert!(
        (26..=28).contains(&open.len()),
        "seven eighths, but for those that have just ended: {}",
        open.len()
    );
    // All are used from here on. Short messages first, which are consumed, then as much as is taken.
    for (stream, peer) in &open {
        let now = victim.now;
        victim.bring(*peer, &data(ACK, 0xffff, 0, b"x"));
        victim.endpoint.stream(*stream).into_iter().for_each(|mut it| drop(it.recv(now)));
        for seq in 1..=256 {
            victim.bring(*peer, &data(ACK, 0xffff, seq, b"y"));
        }
        while victim.endpoint.stream(*stream).is_some_and(|mut it| it.recv(now).is_some()) {}
        for length in [1, 1024] {
            let message = Bytes::from(vec![7; length]);
            let send = |victim: &mut Victim| {
                victim.endpoint.stream(*stream).is_some_and(|mut it| it.send(now, message.slice(..)).is_ok())
            };
            while send(&mut victim) {
                victim.check();
            }
        }
    }
    for length in [0, 1, 1531] {
        for (_, peer) in &open {
            for seq in (0..300).rev() {
                victim.bring(*peer, &data(ACK, 0xffff, 258 + seq, &vec![b'z'; length]));
            }
        }
    }
    for (_, peer) in &open {
        victim.bring(*peer, &[STOP]);
    }
    assert!(victim.most > victim.bound / 4, "{} of {}: the bound says something", victim.most, victim.bound);
}

#[test]
fn a_flood_from_100_000_peers_leaves_memory_flat() {
    let config = Config::default();
    let mut victim = Victim::new(&config);
    let mut after = Vec::new();
    for n in 0..100_000 {
        victim.bring(enemy(n, 0), &data(FIRST, 0xffff, 0, b"hello"));
        victim.pass(Duration::from_micros(500));
        victim.transmit();
        if n % 3 == 0 {
            while victim.endpoint.poll_event().is_some() {}
        }
        if n % 20_000 == 19_999 {
            after.push(victim.most);
        }
    }
    let (half, end) = (after[2], after[4]);
    assert!(end <= half + 64 * 1024, "{after:?}");
    assert!(end < 4 << 20, "{end} bytes");
}

#[test]
fn the_bound_follows_the_configuration() {
    let config = Config::default();
    let bound = config.max_memory();
    assert_eq!(bound, 109_680_640);
    let with = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        config.max_memory()
    };
    assert_eq!(with(|it| it.send_memory += 1000) - bound, 1000);
    assert_eq!(with(|it| it.receive_memory += 1000) - bound, 1000);
    assert_eq!(with(|it| it.replay_memory += 10) - bound, 2240);
    let streams = with(|it| it.max_streams += 1) - bound;
    assert_eq!(streams, (bound - (12 << 20) - 8192 * 224 - (64 << 10)) / 256);
    assert_eq!(with(|it| it.receive_window = 513), with(|it| it.receive_window = 1024));
    assert!(with(|it| it.receive_window = 512) < with(|it| it.receive_window = 513));
    assert_eq!(with(|it| it.send_window = 255), bound - 256 * (2048 - 256) * 128);
    assert_eq!(with(|it| it.max_streams = usize::MAX), usize::MAX);
}

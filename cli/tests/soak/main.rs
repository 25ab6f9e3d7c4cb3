//! The program under load for a long time, over a bad link: every byte is right, and neither memory nor file
//! descriptors grow.
//!
//! ```text
//! MSP_TEST_SOAK_SECONDS=3600 cargo test --release -p msp-cli --test soak -- --ignored --nocapture
//! ```
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod job;
mod load;

use common::{DEADLINE, Program, connect_forward, listen, seed};
use load::{Load, MOST};
use msp_mio::relay::{Relay, RelayConfig};
use rustix::process::Signal;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

/// How long it runs without `MSP_TEST_SOAK_SECONDS`.
const SECONDS: u64 = 20 * 60;
/// Lines of the table, at least, and the longest time from one to the next.
const LINES: u32 = 12;
const INTERVAL: Duration = Duration::from_secs(10);
/// In every third interval. It is much shorter than the time that a stream waits for its peer.
const BLACKOUT: Duration = Duration::from_secs(2);

/// What both programs, the listener first, have of the machine.
#[derive(Debug, Clone, Copy)]
struct Usage {
    /// In kB.
    resident: [u64; 2],
    descriptors: [usize; 2],
}

impl Usage {
    fn of(ends: [&Program; 2]) -> Self {
        Self { resident: ends.map(Program::resident), descriptors: ends.map(Program::descriptors) }
    }
}

#[test]
#[ignore = "takes 20 minutes"]
fn memory_and_descriptors_stay_flat_under_mixed_load() {
    let seed = seed();
    let failures = channel();
    let (listener, place) = listen(&format!("--forward={} 80", job::serve(failures.0.clone())));
    let mut config = RelayConfig::new(10, seed);
    (config.reorder, config.duplicate, config.delay) = (5, 3, Duration::from_millis(2));
    let relay = Relay::start(place.udp, config).unwrap();
    let (connector, entrance) = connect_forward(&place.at(relay.address()));
    let ends = [&listener, &connector];
    // This one is open all the time. It also shows that both programs have opened whatever they need.
    let idle = job::open_idle(entrance).unwrap();
    let before = Usage::of(ends);

    let (start, duration) = (Instant::now(), duration());
    let interval = INTERVAL.min(duration / LINES);
    let blackout = BLACKOUT.min(interval / 2);
    let mut load = Load::start(entrance, seed, start + duration, failures);
    let mut usages = Vec::new();
    eprintln!("seconds  streams     MB   lost   kB resident at both ends   descriptors");
    while start.elapsed() < duration {
        relay.set_blackout(usages.len() % 3 == 2);
        load.watch(blackout);
        relay.set_blackout(false);
        load.watch(interval - blackout);
        let usage = Usage::of(ends);
        report(start, &load, &relay, usage);
        usages.push(usage);
    }
    load.join();
    let after = left(ends, before.descriptors);
    report(start, &load, &relay, after);
    drop(idle);
    left(ends, before.descriptors.map(|count| count - 1));
    connector.signal(Signal::TERM);
    connector.succeeded();
    listener.signal(Signal::TERM);
    listener.succeeded();
    load.watch(Duration::ZERO);

    // What a program has taken from the system, it keeps for later use; that it takes no more is what counts.
    let (warm_up, later) = usages.split_at(usages.len() / 4);
    for end in 0..2 {
        let peak = |usages: &[Usage]| usages.iter().map(|usage| usage.resident[end]).max().unwrap();
        let (early, late) = (peak(warm_up), peak(later));
        assert!(late <= early + early / 4 + 1024, "memory grows: {early} kB, later {late} kB");
        assert!(after.resident[end] <= early + 1024, "{early} kB, {} at the end", after.resident[end]);
        let most = usages.iter().map(|usage| usage.descriptors[end]).max().unwrap();
        assert!(most <= before.descriptors[end] + 2 * MOST, "{most} descriptors for {MOST} connections");
    }
}

fn duration() -> Duration {
    let given = std::env::var("MSP_TEST_SOAK_SECONDS").ok().map(|text| text.parse().unwrap());
    Duration::from_secs(given.unwrap_or(SECONDS))
}

fn report(start: Instant, load: &Load, relay: &Relay, usage: Usage) {
    let (seconds, (streams, bytes), link) = (start.elapsed().as_secs(), load.done(), relay.stats());
    let (megabytes, lost) = (bytes / 1_000_000, 100 * link.lost / (link.passed + link.lost).max(1));
    let Usage { resident: [a, b], descriptors: [c, d] } = usage;
    eprintln!("{seconds:7}  {streams:7} {megabytes:6} {lost:4} %   {a:12} {b:12}   {c:5} {d:5}");
}

/// Waits until connections have left both programs, so that there are just these descriptors.
fn left(ends: [&Program; 2], descriptors: [usize; 2]) -> Usage {
    let start = Instant::now();
    loop {
        let usage = Usage::of(ends);
        if usage.descriptors == descriptors {
            return usage;
        }
        assert!(start.elapsed() < DEADLINE, "descriptors {descriptors:?} are expected: {usage:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

//! Echoes between two nodes over simulated links, in virtual time.

use msp_core::mdp::{Ping, PingConfig, PingEvent, PingSummary};
use msp_core::testing::{Link, seed};
use msp_core::{Identity, Instant, InterfaceConfig, InterfaceId, Node, NodeConfig, Sid, Uplink};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

const INTERFACE: InterfaceId = InterfaceId(0);
const DELAY: Duration = Duration::from_millis(20);

/// One that asks, one that answers, and a link each way.
struct Net {
    now: Instant,
    ping: Ping,
    asker: Uplink,
    echo: Node,
    there: Link,
    back: Link,
    events: Vec<PingEvent>,
    /// Everything that the one who asks has sent.
    sent: Vec<u8>,
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 4110))
}

fn random(number: u8, seed: u64) -> [u8; 32] {
    let mut bytes = [number; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes
}

fn node(number: u8, seed: u64) -> Node {
    let identity = Identity::from_seed([number; 32]);
    let mut node = Node::new(NodeConfig::default(), identity, random(number, seed), Instant::ZERO);
    node.add_interface(InterfaceConfig::unicast());
    node
}

fn echo_sid() -> Sid {
    Identity::from_seed([2; 32]).sid()
}

impl Net {
    fn new(seed: u64, config: PingConfig, shape: impl Fn(Link) -> Link) -> Self {
        let (mut asker, echo) = (node(1, seed), node(2, seed));
        asker.add_peer(INTERFACE, address(2));
        Self {
            now: Instant::ZERO,
            ping: Ping::new(config, echo_sid(), random(3, seed), Instant::ZERO),
            asker: asker.into(),
            echo,
            there: shape(Link::new(2 * seed)),
            back: shape(Link::new(2 * seed + 1)),
            events: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// Takes all that is ready, and checks that nothing is left.
    fn drain(&mut self) {
        let mut buffer = Vec::new();
        self.asker.handle_timeout(self.now);
        self.ping.update(self.now, &mut self.asker);
        self.echo.handle_timeout(self.now);
        while self.asker.poll_transmit(self.now, &mut buffer).is_some() {
            self.sent.extend_from_slice(&buffer);
            self.there.push(self.now, buffer.clone());
        }
        while self.echo.poll_transmit(self.now, &mut buffer).is_some() {
            self.back.push(self.now, buffer.clone());
        }
        while self.echo.poll_event().is_some() {}
        self.events.extend(std::iter::from_fn(|| self.ping.poll_event()));
        let due = self.ping.poll_timeout().into_iter().chain(self.asker.poll_timeout()).min();
        assert!(due.is_none_or(|at| at > self.now), "spins at {:?}", self.now);
    }

    /// Goes on for at most this long, or until the end.
    fn run(&mut self, limit: Duration) {
        let end = self.now + limit;
        loop {
            self.drain();
            if self.summary().is_some() {
                return;
            }
            let timers = [self.ping.poll_timeout(), self.asker.poll_timeout(), self.echo.poll_timeout()];
            let arrivals = [self.there.next_arrival(), self.back.next_arrival()];
            let next = timers.into_iter().chain(arrivals).flatten().min().unwrap_or(end);
            self.now = self.now.max(next.min(end));
            if next > end {
                return;
            }
            while let Some(packet) = self.there.pop(self.now) {
                self.echo.handle_packet(self.now, INTERFACE, address(1), &packet);
            }
            while let Some(packet) = self.back.pop(self.now) {
                self.asker.handle_packet(self.now, INTERFACE, address(2), &packet);
                self.ping.update(self.now, &mut self.asker);
            }
        }
    }

    fn summary(&self) -> Option<PingSummary> {
        match self.events.last() {
            Some(PingEvent::Done(summary)) => Some(*summary),
            _ => None,
        }
    }

    fn replies(&self) -> Vec<u32> {
        let reply = |event: &PingEvent| match event {
            PingEvent::Reply { sequence, .. } => Some(*sequence),
            _ => None,
        };
        self.events.iter().filter_map(reply).collect()
    }

    fn lost(&self) -> Vec<u32> {
        let lost = |event: &PingEvent| match event {
            PingEvent::Lost { sequence } => Some(*sequence),
            _ => None,
        };
        self.events.iter().filter_map(lost).collect()
    }
}

fn minute() -> Duration {
    Duration::from_secs(60)
}

#[test]
fn a_clean_link_answers_every_request_in_two_delays() {
    let mut net = Net::new(seed(1), PingConfig::default(), |link| link.delay(DELAY));
    net.run(minute());
    let mut times = PingSummary::default();
    (times.sent, times.received) = (5, 5);
    (times.min, times.average, times.max) = (2 * DELAY, 2 * DELAY, 2 * DELAY);
    assert_eq!(net.summary(), Some(times));
    assert_eq!(net.replies(), [1, 2, 3, 4, 5]);
    assert_eq!(net.events[0], PingEvent::Reachable);
    assert_eq!(net.events.len(), 7);
    assert!(net.now < Instant::from_millis(5500), "{:?}", net.now);
}

/// Each hop repeats what it lost, so almost all come back; what does not is reported, and nothing twice.
#[test]
fn a_bad_link_costs_time_and_every_request_is_accounted_for() {
    let mut config = PingConfig::default();
    config.count = Some(30);
    config.interval = Duration::from_millis(200);
    let shape = |link: Link| link.delay(DELAY).jitter(DELAY).loss(30).duplicate(10).reorder(10);
    let first = seed(1);
    let mut received = 0;
    for seed in first..first + 20 {
        let mut net = Net::new(seed, config, shape);
        net.run(minute());
        let summary = net.summary().expect("an end");
        let (replies, lost) = (net.replies(), net.lost());
        assert_eq!(summary.sent, 30, "seed {seed}");
        assert_eq!(summary.received as usize, replies.len(), "seed {seed}");
        let all: BTreeSet<_> = replies.iter().chain(&lost).copied().collect();
        assert!(all.len() == replies.len() + lost.len() && all.into_iter().eq(1..=30), "seed {seed}");
        assert!(summary.min >= DELAY && summary.min <= summary.average && summary.average <= summary.max);
        received += summary.received;
    }
    assert!(received > 20 * 30 * 9 / 10, "{received} of 600");
}

#[test]
fn requests_to_nobody_are_lost_one_by_one() {
    let mut net = Net::new(seed(1), PingConfig::default(), |link| link.loss(100));
    net.run(minute());
    let mut unanswered = PingSummary::default();
    unanswered.sent = 5;
    assert_eq!(net.summary(), Some(unanswered));
    assert_eq!(net.lost(), [1, 2, 3, 4, 5]);
    // 5 s of search, the last request after 4 s, its time-out after 5 s.
    assert_eq!(net.now, Instant::from_millis(14_000));
}

#[test]
fn a_blackout_loses_what_falls_into_it_and_no_more() {
    let mut config = PingConfig::default();
    config.count = Some(60);
    let mut net = Net::new(seed(1), config, |link| link.delay(DELAY));
    net.run(Duration::from_millis(10_500));
    assert!(net.lost().is_empty() && net.replies().len() > 9);
    for link in [&mut net.there, &mut net.back] {
        link.set_blackout(true);
    }
    net.run(Duration::from_secs(10));
    for link in [&mut net.there, &mut net.back] {
        link.set_blackout(false);
    }
    net.run(2 * minute());
    assert!(net.lost().iter().all(|sequence| (11..=30).contains(sequence)), "{:?}", net.lost());
    assert!((5..=15).contains(&net.lost().len()), "{:?}", net.lost());
    assert_eq!(net.replies().last(), Some(&60));
}

#[test]
fn stopping_ends_at_once() {
    let mut config = PingConfig::default();
    config.count = None;
    let mut net = Net::new(seed(1), config, |link| link.delay(DELAY));
    net.run(minute());
    assert_eq!(net.summary(), None);
    assert!(net.replies().len() >= 59);
    net.ping.stop();
    net.drain();
    let summary = net.summary().expect("an end");
    assert_eq!(summary.received as usize, net.replies().len());
    net.ping.stop();
    net.drain();
    assert_eq!(net.events.iter().filter(|event| matches!(event, PingEvent::Done(_))).count(), 1);
}

#[test]
fn the_same_seed_sends_the_same_bytes() {
    let run = |seed| {
        let mut net = Net::new(seed, PingConfig::default(), |link| link.delay(DELAY).loss(20));
        net.run(minute());
        (net.sent, net.events)
    };
    let seed = seed(1);
    assert_eq!(run(seed), run(seed));
    assert_ne!(run(seed).0, run(seed + 1).0);
}

#[test]
fn early_and_repeated_calls_and_time_that_goes_back_change_nothing() {
    let mut net = Net::new(seed(1), PingConfig::default(), |link| link.delay(DELAY));
    net.run(Duration::from_millis(1500));
    let (before, deadline) = (net.ping.summary(), net.ping.poll_timeout());
    for now in [net.now, Instant::ZERO, net.now] {
        net.asker.handle_timeout(now);
        net.ping.update(now, &mut net.asker);
        assert_eq!(net.asker.poll_transmit(now, &mut Vec::new()), None);
        assert_eq!(net.ping.poll_event(), None);
    }
    assert_eq!((net.ping.summary(), net.ping.poll_timeout()), (before, deadline));
}

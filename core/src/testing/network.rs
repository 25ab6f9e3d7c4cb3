//! Any number of stations and the links between them, in virtual time.

use super::Link;
use super::agenda::Agenda;
use super::stations::Stations;
use crate::{Instant, Rng};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

/// Rounds in which something may happen without time passing, before it counts as a spin.
const MAX_ROUNDS: usize = 100_000;
/// Stations that are looked at in each step although nothing happens to them, one after the other: they must have
/// nothing to say.
const WATCHED: usize = 2;

/// Whom a packet goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    /// Every station that a link leads to.
    Everyone,
    /// This one, if a link leads there.
    Station(usize),
}

/// Something that stands in a [`Network`]: a layer of the core with the programs that use it.
///
/// The network drives it as any event loop would, and at every step checks what the contract says about
/// timers.
pub trait Station {
    /// A packet came from the station of this index.
    fn handle_packet(&mut self, now: Instant, from: usize, packet: &[u8]);

    /// Does what is due.
    fn handle_timeout(&mut self, now: Instant);

    /// When something is due.
    fn poll_timeout(&self) -> Option<Instant>;

    /// The next packet to send.
    fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Receiver>;

    /// Takes the next of what the layer has to say, and notes it. Returns whether there was anything.
    fn poll_report(&mut self) -> bool;

    /// Lets the programs act. Returns whether they did anything.
    fn act(&mut self, _now: Instant) -> bool {
        false
    }

    /// When the programs want to act next.
    fn act_at(&self) -> Option<Instant> {
        None
    }
}

/// Stations joined by links. Time advances exactly to the next event, never in ticks.
///
/// A step costs what the stations cost to which something happens, not what all do, so that there may be hundreds.
#[derive(Debug)]
pub struct Network<S> {
    /// The time.
    pub now: Instant,
    /// The stations, by index.
    pub stations: Stations<S>,
    /// A sum over all packets that were sent, when, and by whom.
    pub transcript: u64,
    /// The packets themselves, by whom and to whom, while this is not `None`.
    pub recorded: Option<Vec<(usize, Receiver, Vec<u8>)>>,
    links: BTreeMap<(usize, usize), Link>,
    /// When something is due at a station, and when something arrives over a link.
    timers: Agenda<usize>,
    arrivals: Agenda<(usize, usize)>,
    /// Someone was given the links and may have changed them.
    links_changed: bool,
    /// Who is watched next.
    watched: usize,
    rng: Rng,
    buffer: Vec<u8>,
}

impl<S: Station> Network<S> {
    /// A network without stations.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            // Not the origin, so that a time of 0 shows.
            now: Instant::from_millis(10_000),
            stations: Stations::default(),
            transcript: 0,
            recorded: None,
            links: BTreeMap::new(),
            timers: Agenda::default(),
            arrivals: Agenda::default(),
            links_changed: false,
            watched: 0,
            rng: super::rng(seed),
            buffer: Vec::new(),
        }
    }

    /// Adds a station; gives its index.
    pub fn place(&mut self, station: S) -> usize {
        self.stations.push(station)
    }

    /// A link from `from` to `to`, in place of the one that there was.
    pub fn join_one_way(&mut self, from: usize, to: usize, shape: impl FnOnce(Link) -> Link) {
        let seed = self.rng.below(u64::MAX);
        self.links.insert((from, to), shape(Link::new(seed)));
        self.arrivals.set((from, to), None);
    }

    /// Takes the link from `from` to `to` away, with what is on it.
    pub fn part_one_way(&mut self, from: usize, to: usize) {
        self.links.remove(&(from, to));
        self.arrivals.set((from, to), None);
    }

    /// Takes the links between both away.
    pub fn part(&mut self, a: usize, b: usize) {
        self.part_one_way(a, b);
        self.part_one_way(b, a);
    }

    /// Whether a link leads from `from` to `to`.
    #[must_use]
    pub fn is_joined(&self, from: usize, to: usize) -> bool {
        self.links.contains_key(&(from, to))
    }

    /// The same link both ways.
    pub fn join(&mut self, a: usize, b: usize, shape: impl Fn(Link) -> Link) {
        self.join_one_way(a, b, &shape);
        self.join_one_way(b, a, &shape);
    }

    /// Joins all stations with each other, as a radio channel does: a broadcast domain.
    pub fn join_all(&mut self, shape: impl Fn(Link) -> Link) {
        for b in 1..self.stations.len() {
            (0..b).for_each(|a| self.join(a, b, &shape));
        }
    }

    /// The link from `from` to `to`; a perfect one if they were not joined.
    pub fn link(&mut self, from: usize, to: usize) -> &mut Link {
        self.links_changed = true;
        self.links.entry((from, to)).or_insert_with(|| Link::new(0))
    }

    /// All links.
    pub fn links(&mut self) -> impl Iterator<Item = &mut Link> {
        self.links_changed = true;
        self.links.values_mut()
    }

    /// A seed for something that is part of the network.
    pub fn seed(&mut self) -> [u8; 32] {
        self.rng.bytes()
    }

    /// Lets everything happen that can without time passing, then goes to the next event. Returns false when
    /// there is none up to `until`, and stays there.
    ///
    /// # Panics
    ///
    /// If a station breaks the contract about timers.
    pub fn step(&mut self, until: Instant) -> bool {
        self.settle();
        if core::mem::take(&mut self.links_changed) {
            self.arrivals =
                self.links.iter().filter_map(|(ends, link)| Some((link.next_arrival()?, *ends))).collect();
        }
        let next = self.timers.next().into_iter().chain(self.arrivals.next()).min();
        let Some(next) = next.filter(|next| *next <= until) else {
            self.now = self.now.max(until);
            return false;
        };
        self.now = self.now.max(next);
        for (from, to) in self.arrivals.take(self.now) {
            let Some(link) = self.links.get_mut(&(from, to)) else { continue };
            while let Some(packet) = link.pop(self.now) {
                self.stations[to].handle_packet(self.now, from, &packet);
            }
            self.arrivals.set((from, to), link.next_arrival());
        }
        for index in self.timers.take(self.now) {
            self.stations.touch(index);
        }
        true
    }

    /// Runs until `done`, which may change things, for at most `limit`. Returns whether it came to that.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.settle();
            if done(self) {
                return true;
            }
            if !self.step(end) {
                return done(self);
            }
        }
    }

    /// Lets `time` pass.
    pub fn run(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Sends a packet in the name of `from`, as someone on the way can.
    pub fn send(&mut self, from: usize, to: Receiver, packet: &[u8]) {
        let is_meant = |index: usize| to == Receiver::Everyone || to == Receiver::Station(index);
        let of_sender = (from, 0)..=(from, usize::MAX);
        for (ends, link) in self.links.range_mut(of_sender).filter(|((_, index), _)| is_meant(*index)) {
            link.push(self.now, packet.to_vec());
            self.arrivals.set(*ends, link.next_arrival());
        }
    }

    /// Takes all that those stations have to give to which something happened, and that some others have, which
    /// must be nothing.
    fn settle(&mut self) {
        for _ in 0..WATCHED.min(self.stations.len()) {
            self.watched = (self.watched + 1) % self.stations.len();
            self.stations.touch(self.watched);
        }
        while let Some(index) = self.stations.next_touched() {
            let due = self.drain(index);
            let act_at = self.stations.quietly(index).act_at();
            self.timers.set(index, due.into_iter().chain(act_at).min());
        }
    }

    /// Takes all that a station has to give, until it comes to rest. Gives when something is due there.
    fn drain(&mut self, index: usize) -> Option<Instant> {
        let now = self.now;
        let is_due = |due: Option<Instant>| due.is_some_and(|at| at <= now);
        let mut due = self.stations.quietly(index).poll_timeout();
        for _ in 0..MAX_ROUNDS {
            let station = self.stations.quietly(index);
            if is_due(due) {
                station.handle_timeout(self.now);
                due = station.poll_timeout();
            }
            let mut buffer = core::mem::take(&mut self.buffer);
            let transmit = station.poll_transmit(self.now, &mut buffer);
            let something = station.poll_report() | transmit.is_some();
            assert!(
                is_due(due) || !something,
                "lost wake-up of station {index} at {:?}: {transmit:?}",
                self.now
            );
            let acted = station.act(self.now);
            due = station.poll_timeout();
            if let Some(to) = transmit {
                self.note(index, to, &buffer);
                self.send(index, to, &buffer);
            }
            self.buffer = buffer;
            if !something && !acted {
                assert!(!is_due(due), "station {index} spins at {:?}", self.now);
                return due;
            }
        }
        unreachable!("station {index} does not come to rest at {:?}", self.now);
    }

    fn note(&mut self, from: usize, to: Receiver, packet: &[u8]) {
        for byte in packet.iter().chain(&self.now.as_micros().to_le_bytes()).chain(&[from as u8]) {
            self.transcript = (self.transcript ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if let Some(recorded) = &mut self.recorded {
            recorded.push((from, to, packet.to_vec()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a packet at each of these times, the next one last, but wakes up for the last of them only.
    struct Sleeper(Vec<Instant>);

    impl Station for Sleeper {
        fn handle_packet(&mut self, _now: Instant, _from: usize, _packet: &[u8]) {}

        fn handle_timeout(&mut self, _now: Instant) {}

        fn poll_timeout(&self) -> Option<Instant> {
            self.0.first().copied()
        }

        fn poll_transmit(&mut self, now: Instant, _buffer: &mut Vec<u8>) -> Option<Receiver> {
            self.0.pop_if(|at| *at <= now).map(|_| Receiver::Everyone)
        }

        fn poll_report(&mut self) -> bool {
            false
        }
    }

    #[test]
    fn packets_go_where_links_lead() {
        let mut network = Network::new(1);
        let start = network.now;
        for times in [Vec::from([start]), Vec::new(), Vec::new()] {
            network.place(Sleeper(times));
        }
        network.join(0, 1, |link| link.delay(Duration::from_millis(1)));
        network.join(0, 2, |link| link);
        network.part_one_way(0, 2);
        network.run(Duration::from_millis(2));
        let packets = network.links().map(|link| link.counts().0).sum::<u64>();
        assert_eq!((packets, network.is_joined(0, 2), network.is_joined(2, 0)), (1, false, true));
        // What is done to a station from outside is seen.
        let now = network.now;
        network.stations[2].0.push(now);
        network.run(Duration::from_millis(2));
        assert_eq!(network.link(2, 0).counts().0, 1);
    }

    #[test]
    #[should_panic(expected = "lost wake-up of station 0")]
    fn who_sleeps_too_long_is_found_out_while_others_are_awake() {
        let mut network = Network::new(1);
        (0..20).for_each(|_| _ = network.place(Sleeper(Vec::new())));
        let (second, soon) = (Duration::from_secs(1), Duration::from_millis(10));
        network.stations[0].0 = Vec::from([network.now + second, network.now + soon]);
        for _ in 0..20 {
            let now = network.now;
            network.stations[1].0.push(now + soon);
            network.run(soon);
        }
    }
}

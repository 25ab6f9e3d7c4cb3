//! Any number of stations and the links between them, in virtual time.

use super::Link;
use crate::{Instant, Rng};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

/// Rounds in which something may happen without time passing, before it counts as a spin.
const MAX_ROUNDS: usize = 100_000;

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
#[derive(Debug)]
pub struct Network<S> {
    /// The time.
    pub now: Instant,
    /// The stations, by index.
    pub stations: Vec<S>,
    /// A sum over all packets that were sent, when, and by whom.
    pub transcript: u64,
    /// The packets themselves, by whom and to whom, while this is not `None`.
    pub recorded: Option<Vec<(usize, Receiver, Vec<u8>)>>,
    links: BTreeMap<(usize, usize), Link>,
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
            stations: Vec::new(),
            transcript: 0,
            recorded: None,
            links: BTreeMap::new(),
            rng: super::rng(seed),
            buffer: Vec::new(),
        }
    }

    /// Adds a station; gives its index.
    pub fn place(&mut self, station: S) -> usize {
        self.stations.push(station);
        self.stations.len() - 1
    }

    /// A link from `from` to `to`, in place of the one that there was.
    pub fn join_one_way(&mut self, from: usize, to: usize, shape: impl FnOnce(Link) -> Link) {
        let seed = self.rng.below(u64::MAX);
        self.links.insert((from, to), shape(Link::new(seed)));
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
        self.links.entry((from, to)).or_insert_with(|| Link::new(0))
    }

    /// All links.
    pub fn links(&mut self) -> impl Iterator<Item = &mut Link> {
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
        (0..self.stations.len()).for_each(|index| self.settle(index));
        let timers = self.stations.iter().flat_map(|station| [station.poll_timeout(), station.act_at()]);
        let arrivals = self.links.values().map(Link::next_arrival);
        let Some(next) = timers.chain(arrivals).flatten().min().filter(|next| *next <= until) else {
            self.now = self.now.max(until);
            return false;
        };
        self.now = self.now.max(next);
        for ((from, to), link) in &mut self.links {
            while let Some(packet) = link.pop(self.now) {
                self.stations[*to].handle_packet(self.now, *from, &packet);
            }
        }
        true
    }

    /// Runs until `done`, which may change things, for at most `limit`. Returns whether it came to that.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            (0..self.stations.len()).for_each(|index| self.settle(index));
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
        let links = self.links.iter_mut().filter(|((source, index), _)| *source == from && is_meant(*index));
        links.for_each(|(_, link)| link.push(self.now, packet.to_vec()));
    }

    /// Takes all that a station has to give, until it comes to rest.
    fn settle(&mut self, index: usize) {
        for _ in 0..MAX_ROUNDS {
            if self.is_due(index) {
                self.stations[index].handle_timeout(self.now);
            }
            let mut buffer = core::mem::take(&mut self.buffer);
            let due = self.is_due(index);
            let station = &mut self.stations[index];
            let transmit = station.poll_transmit(self.now, &mut buffer);
            let something = station.poll_report() | transmit.is_some();
            assert!(due || !something, "lost wake-up of station {index} at {:?}: {transmit:?}", self.now);
            let acted = station.act(self.now);
            if let Some(to) = transmit {
                self.note(index, to, &buffer);
                self.send(index, to, &buffer);
            }
            self.buffer = buffer;
            if !something && !acted {
                assert!(!self.is_due(index), "station {index} spins at {:?}", self.now);
                return;
            }
        }
        unreachable!("station {index} does not come to rest at {:?}", self.now);
    }

    fn is_due(&self, index: usize) -> bool {
        self.stations[index].poll_timeout().is_some_and(|at| at <= self.now)
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

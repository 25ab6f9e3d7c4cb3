//! Nodes and the links between them, in virtual time.

use super::Link;
use crate::{
    Datagram, Destination, Identity, Instant, InterfaceConfig, InterfaceId, Node, NodeConfig, NodeEvent, Rng,
};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

/// A node, its address, and what came out of it.
#[derive(Debug)]
pub struct Station {
    /// The node, with one interface.
    pub node: Node,
    /// Where its packets come from.
    pub address: SocketAddr,
    /// The datagrams that it received.
    pub datagrams: Vec<Datagram>,
    /// What it reported.
    pub events: Vec<NodeEvent>,
}

/// Stations joined by links. Time advances exactly to the next event; each step checks that the nodes keep
/// the contract on time-outs.
#[derive(Debug)]
pub struct Mesh {
    /// The current time.
    pub now: Instant,
    /// The stations, by index.
    pub stations: Vec<Station>,
    /// Packets in a hundred in which one bit is flipped.
    pub corruption: u64,
    /// A sum over all packets that were sent, when, and by whom.
    pub transcript: u64,
    /// The packets that were sent, by whom and whereto, while this is not `None`.
    pub recorded: Option<Vec<(usize, Destination, Vec<u8>)>>,
    links: BTreeMap<(usize, usize), Link>,
    rng: Rng,
    /// Nodes made so far, so that each gets other random numbers.
    made: u8,
    buffer: Vec<u8>,
}

/// The interface of every station.
const INTERFACE: InterfaceId = InterfaceId(0);

impl Mesh {
    /// A mesh without stations.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self {
            // Not the origin, so that a time of 0 shows.
            now: Instant::from_millis(10_000),
            stations: Vec::new(),
            corruption: 0,
            transcript: 0,
            recorded: None,
            links: BTreeMap::new(),
            rng: Rng::new(bytes),
            made: 0,
            buffer: Vec::new(),
        }
    }

    /// Adds a station with an identity from its index; gives the index.
    pub fn add(&mut self, config: NodeConfig, broadcast: bool) -> usize {
        let index = self.stations.len();
        let node = self.make(index, config, broadcast);
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, index as u8 + 1)), 4110);
        self.stations.push(Station { node, address, datagrams: Vec::new(), events: Vec::new() });
        index
    }

    /// Starts the station's node anew: the same identity, nothing remembered. What it had received stays.
    pub fn restart(&mut self, index: usize, config: NodeConfig, broadcast: bool) {
        self.stations[index].node = self.make(index, config, broadcast);
    }

    fn make(&mut self, index: usize, config: NodeConfig, broadcast: bool) -> Node {
        self.made += 1;
        let mut seed: [u8; 32] = self.rng.bytes();
        seed[31] = self.made;
        let mut node = Node::new(config, Identity::from_seed([index as u8 + 1; 32]), seed, self.now);
        node.add_interface(InterfaceConfig { broadcast });
        node
    }

    /// Joins two stations by a link each way.
    pub fn join(&mut self, a: usize, b: usize, link: impl Fn(u64) -> Link) {
        for pair in [(a, b), (b, a)] {
            let seed = self.rng.below(u64::MAX);
            self.links.insert(pair, link(seed));
        }
    }

    /// Makes `b` a configured peer of `a`.
    pub fn configure(&mut self, a: usize, b: usize) {
        let address = self.stations[b].address;
        self.stations[a].node.add_peer(INTERFACE, address);
    }

    /// The link from `a` to `b`; a perfect one if they were not joined.
    pub fn link(&mut self, a: usize, b: usize) -> &mut Link {
        self.links.entry((a, b)).or_insert_with(|| Link::new(0))
    }

    /// Lets time pass until `done`, at most for `limit`. Gives whether it is.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.drain();
            if done(self) {
                return true;
            }
            self.drain();
            let timeouts = self.stations.iter().filter_map(|station| station.node.poll_timeout());
            let arrivals = self.links.values().filter_map(Link::next_arrival);
            let Some(next) = timeouts.chain(arrivals).min().filter(|next| *next <= end) else {
                self.now = end;
                return false;
            };
            self.now = self.now.max(next);
            self.deliver();
            for station in &mut self.stations {
                if station.node.poll_timeout().is_some_and(|at| at <= self.now) {
                    station.node.handle_timeout(self.now);
                }
            }
        }
    }

    /// Lets `time` pass.
    pub fn run(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    fn deliver(&mut self) {
        for ((from, to), link) in &mut self.links {
            let from = self.stations[*from].address;
            while let Some(packet) = link.pop(self.now) {
                self.stations[*to].node.handle_packet(self.now, INTERFACE, from, &packet);
            }
        }
    }

    fn drain(&mut self) {
        for index in 0..self.stations.len() {
            let mut idle = false;
            for _ in 0..100_000 {
                let station = &mut self.stations[index];
                let due = station.node.poll_timeout().is_some_and(|at| at <= self.now);
                let transmit = station.node.poll_transmit(self.now, &mut self.buffer);
                let datagram = station.node.poll_datagram();
                let event = station.node.poll_event();
                idle = transmit.is_none() && datagram.is_none() && event.is_none();
                assert!(due || idle, "lost wake-up at {:?}: {transmit:?} {datagram:?} {event:?}", self.now);
                station.datagrams.extend(datagram);
                station.events.extend(event);
                match transmit {
                    Some(transmit) => self.send(index, transmit.to),
                    None if idle => break,
                    None => {}
                }
            }
            assert!(idle, "station {index} does not come to rest at {:?}", self.now);
            let timeout = self.stations[index].node.poll_timeout();
            assert!(timeout.is_none_or(|at| at > self.now), "station {index} spins at {:?}", self.now);
        }
    }

    fn send(&mut self, from: usize, to: Destination) {
        if let Some(recorded) = &mut self.recorded {
            recorded.push((from, to, self.buffer.clone()));
        }
        assert!(self.buffer.len() <= 1200, "a packet of {} bytes", self.buffer.len());
        for byte in self.buffer.iter().chain(&self.now.as_micros().to_le_bytes()).chain(&[from as u8]) {
            self.transcript = (self.transcript ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        for ((source, index), link) in &mut self.links {
            let address = self.stations[*index].address;
            if *source == from && (to == Destination::Broadcast || to == Destination::Unicast(address)) {
                let mut packet = self.buffer.clone();
                if self.corruption > 0 && self.rng.below(100) < self.corruption {
                    let bit = self.rng.below(8 * packet.len() as u64) as usize;
                    packet[bit / 8] ^= 1 << (bit % 8);
                }
                link.push(self.now, packet);
            }
        }
    }
}

//! Networks of nodes alone, without streams.

use super::network::{Network, Receiver, Station};
use super::stack::{address, receiver};
use super::{Link, Topology};
use crate::{Datagram, Identity, Instant, InterfaceConfig, InterfaceId, Node, NodeConfig, NodeEvent, Sid};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

/// The interface of every station.
const INTERFACE: InterfaceId = InterfaceId(0);

/// Nodes joined by links.
pub type Mesh = Network<NodeStation>;

/// A node, its address, and what came out of it.
#[derive(Debug)]
pub struct NodeStation {
    /// The node, with one interface.
    pub node: Node,
    /// Where its packets come from.
    pub address: SocketAddr,
    /// The datagrams that it received.
    pub datagrams: Vec<Datagram>,
    /// What it reported.
    pub events: Vec<NodeEvent>,
    /// Packets that it has sent, and their bytes.
    pub sent: [u64; 2],
    /// How long its socket takes for each byte of a packet before it takes the next one, and when it does so.
    pub per_byte: Duration,
    free: Instant,
}

impl Mesh {
    /// Adds a node with an identity from its index; gives the index.
    pub fn add(&mut self, config: NodeConfig, broadcast: bool) -> usize {
        let index = self.stations.len();
        let node = self.make(index, config, broadcast);
        let (datagrams, events) = (Vec::new(), Vec::new());
        let (per_byte, free, sent) = (Duration::ZERO, self.now, [0; 2]);
        self.place(NodeStation { node, address: address(index), datagrams, events, sent, per_byte, free })
    }

    /// Nodes that find each other by broadcast, linked like this.
    #[must_use]
    pub fn of(seed: u64, topology: &Topology, shape: impl Fn(Link) -> Link) -> Self {
        let mut mesh = Self::new(seed);
        (0..topology.size).for_each(|_| _ = mesh.add(NodeConfig::default(), true));
        topology.join(&mut mesh, shape);
        mesh
    }

    /// How many pairs of nodes there are of which the first has a way to the second.
    #[must_use]
    pub fn acquainted(&self) -> usize {
        let sids: Vec<Sid> = self.stations.iter().map(|station| station.node.sid()).collect();
        let knows = |station: &NodeStation| sids.iter().filter(|sid| station.node.is_reachable(sid)).count();
        self.stations.iter().map(knows).sum()
    }

    /// Starts the station's node anew: the same identity, nothing remembered. What it had received stays.
    pub fn restart(&mut self, index: usize, config: NodeConfig, broadcast: bool) {
        self.stations[index].node = self.make(index, config, broadcast);
    }

    /// Makes `b` a configured peer of `a`.
    pub fn configure(&mut self, a: usize, b: usize) {
        let address = self.stations[b].address;
        self.stations[a].node.add_peer(INTERFACE, address);
    }

    fn make(&mut self, index: usize, config: NodeConfig, broadcast: bool) -> Node {
        let number = index as u16 + 1;
        let mut bytes = [number as u8; 32];
        bytes[1] ^= (number >> 8) as u8;
        let mut node = Node::new(config, Identity::from_seed(bytes), self.seed(), self.now);
        node.add_interface(InterfaceConfig { broadcast });
        node
    }
}

impl Station for NodeStation {
    fn handle_packet(&mut self, now: Instant, from: usize, packet: &[u8]) {
        self.node.handle_packet(now, INTERFACE, address(from), packet);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.node.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.node.poll_timeout().map(|at| at.max(self.free))
    }

    fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Receiver> {
        if now < self.free {
            return None;
        }
        let to = self.node.poll_transmit(now, buffer)?.to;
        self.free = now + self.per_byte * buffer.len() as u32;
        self.sent = [self.sent[0] + 1, self.sent[1] + buffer.len() as u64];
        assert!(buffer.len() <= 1200, "a packet of {} bytes", buffer.len());
        Some(receiver(to))
    }

    fn poll_report(&mut self) -> bool {
        let (datagram, event) = (self.node.poll_datagram(), self.node.poll_event());
        let something = datagram.is_some() || event.is_some();
        self.datagrams.extend(datagram);
        self.events.extend(event);
        something
    }
}

//! One end of a trial: a host or a node with the reference's streams, and perhaps a flow of another kind.

use super::cubic::{self, Acknowledger, Cubic};
use super::talk::{Role, Talk};
use crate::mdp::HopRepair;
use crate::msp::{Config, Event, StreamId};
use crate::testing::PORT;
use crate::testing::network::{Receiver, Station};
use crate::testing::stack::{Kind, Stack, Streams, address};
use crate::{Addr, Host, Identity, Instant, InterfaceConfig, Node, NodeConfig, Port, Rng, Sid};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// A station of a trial.
#[derive(Debug)]
pub struct Terminal {
    /// Programs, by their stream.
    pub talks: BTreeMap<StreamId, Talk>,
    /// A flow beside them that starts here.
    pub cross: Option<Cubic>,
    acknowledger: Acknowledger,
    stack: Stack,
    /// How many packets of each length were sent.
    lengths: BTreeMap<usize, u64>,
}

impl Terminal {
    /// A node that was told the addresses of `peers`, with streams above that listen.
    pub(super) fn new(peers: impl Iterator<Item = usize>, kind: Kind, rng: &mut Rng, now: Instant) -> Self {
        let identity = Identity::from_seed(rng.bytes());
        let mut node = Node::new(NodeConfig::default(), identity, rng.bytes(), now);
        if kind == Kind::Reference {
            node.set_hop_repair(HopRepair::Reference);
        }
        let interface = node.add_interface(InterfaceConfig::unicast());
        peers.for_each(|peer| node.add_peer(interface, address(peer)));
        let mut stack = match kind {
            Kind::Ours => Stack::Host(Host::new(node, Config::default(), rng.bytes())),
            Kind::Reference => Stack::ReferenceHost(node, crate::testing::Reference::new()),
        };
        match stack.streams() {
            Streams::Ours(endpoint) => assert_eq!(endpoint.listen(Port::from(PORT)), Ok(())),
            Streams::Reference(reference) => reference.listen(Port::from(PORT)),
        }
        Self {
            talks: BTreeMap::new(),
            cross: None,
            acknowledger: Acknowledger::default(),
            stack,
            lengths: BTreeMap::new(),
        }
    }

    /// Its address.
    #[must_use]
    pub fn sid(&self) -> Sid {
        self.stack.sid()
    }

    /// Whether the node of that address and this one hear each other.
    pub fn hears(&mut self, other: &Sid) -> bool {
        self.stack.node().is_some_and(|node| node.is_reachable(other))
    }

    /// Whether it repairs hops from now on.
    pub fn set_hop_repair(&mut self, repair: bool) {
        let repair = if repair { HopRepair::Prompt } else { HopRepair::None };
        self.stack.node().into_iter().for_each(|node| node.set_hop_repair(repair));
    }

    /// Opens a stream to `remote` for a program.
    ///
    /// # Panics
    ///
    /// If there are too many.
    pub fn open(&mut self, now: Instant, remote: Sid, role: Role) -> StreamId {
        let id = self.stack.streams().connect(now, Addr::new(remote, Port::from(PORT)));
        let id = id.unwrap_or_else(|| unreachable!("too many streams"));
        self.talks.insert(id, Talk::new(role));
        id
    }

    /// Its streams.
    pub const fn streams(&mut self) -> Streams<'_> {
        self.stack.streams()
    }

    /// The most frequent length of packets that were sent.
    #[must_use]
    pub fn usual_length(&self) -> u64 {
        self.lengths.iter().max_by_key(|(_, count)| **count).map_or(0, |(length, _)| *length as u64)
    }

    /// Bytes that each stream that was accepted here has received, in their order, and when the last of them came.
    pub fn received(&self) -> impl Iterator<Item = (u64, Instant)> {
        self.talks.values().filter_map(|talk| match talk.role {
            Role::Serve { received, latest, .. } => Some((received, latest)),
            Role::Bulk { .. } | Role::Ask { .. } => None,
        })
    }
}

impl Station for Terminal {
    fn handle_packet(&mut self, now: Instant, from: usize, packet: &[u8]) {
        if !cubic::handle_packet(now, packet, self.cross.as_mut(), &mut self.acknowledger) {
            self.stack.handle_packet(now, from, packet);
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.stack.handle_timeout(now);
        self.cross.iter_mut().for_each(|cross| cross.handle_timeout(now));
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.acknowledger.has_ack() {
            return Some(Instant::ZERO);
        }
        let cross = self.cross.as_ref().map(Cubic::poll_timeout);
        self.stack.poll_timeout().into_iter().chain(cross).min()
    }

    fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Receiver> {
        let is_cross = self.acknowledger.poll_transmit(buffer)
            || self.cross.as_mut().is_some_and(|cross| cross.poll_transmit(now, buffer));
        if is_cross {
            return Some(Receiver::Everyone);
        }
        let number = 0; // for stacks without a node
        let receiver = self.stack.poll_transmit(now, number, buffer)?;
        *self.lengths.entry(buffer.len()).or_default() += 1;
        Some(receiver)
    }

    fn poll_report(&mut self) -> bool {
        let Some(event) = self.stack.streams().poll_event() else {
            return self.stack.poll_node_event();
        };
        match event {
            Event::Accepted { stream, .. } => {
                self.talks.insert(stream, Talk::new(Role::serving(Instant::ZERO)));
            }
            Event::Connected { stream }
            | Event::Readable { stream }
            | Event::Writable { stream }
            | Event::PeerFinished { stream }
            | Event::Closed { stream, .. } => {
                self.talks.get_mut(&stream).into_iter().for_each(|talk| talk.note(event));
            }
            Event::LimitReached { .. } => {}
        }
        true
    }

    fn act(&mut self, now: Instant) -> bool {
        let mut acted = false;
        for (id, talk) in &mut self.talks {
            acted |= talk.act(now, &mut self.stack.streams(), *id);
        }
        acted
    }

    fn act_at(&self) -> Option<Instant> {
        self.talks.values().filter_map(Talk::act_at).min()
    }
}

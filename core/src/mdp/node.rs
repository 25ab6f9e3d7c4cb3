//! The node: what it is made of, and what its owner can ask of it.

use super::config::{InterfaceConfig, NodeConfig, NodeStats};
use super::contact::Held;
use super::datagram::Datagram;
use super::directory::Directory;
use super::keys::{Keys, Quota, Throttle};
use super::neighbour::{Neighbour, Standing};
use super::relay::{Floods, Places};
use super::routing::Routing;
use super::transmit::FrameCounter;
use super::{Identity, Nonces, Service};
use crate::{Instant, Port, Rng, Sid};
use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

/// Packets that wait outside of the neighbours' queues.
const MAX_LOOSE: usize = 32;
/// Events that wait to be taken.
const MAX_EVENTS: usize = 256;

/// One of the interfaces of a [`Node`], numbered from 0 in the order in which they were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId(pub u8);

/// Whom a packet goes to. The list is complete, so that a driver can match all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// Everyone on the interface's network.
    Broadcast,
    /// This address.
    Unicast(SocketAddr),
    /// The daemon that the program is a client of; see [`Instance`](super::Instance) for its socket.
    Daemon,
}

/// A packet to send. Its bytes are in the buffer that was given to [`Node::poll_transmit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct Transmit {
    /// Where to send it from.
    pub interface: InterfaceId,
    /// Where to send it to.
    pub to: Destination,
}

impl Transmit {
    /// One that comes from elsewhere, as in tests of what sends.
    pub const fn new(interface: InterfaceId, to: Destination) -> Self {
        Self { interface, to }
    }
}

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeEvent {
    /// This neighbour and this node hear each other.
    NeighbourUp {
        /// The neighbour.
        sid: Sid,
        /// The interface on which it is reached.
        interface: InterfaceId,
        /// Where it is heard from.
        address: SocketAddr,
    },
    /// This neighbour no longer says that it hears this node.
    NeighbourDown {
        /// The neighbour.
        sid: Sid,
    },
}

/// One UDP socket.
#[derive(Debug)]
pub(super) struct Interface {
    name: String,
    pub(super) broadcast: bool,
    /// The number of the last broadcast packet; `None` while they carry none.
    pub(super) number: Option<u64>,
    pub(super) tick_at: Instant,
    /// Broadcasts since there was a neighbour.
    pub(super) searches: u8,
    /// What the tick that is due says.
    pub(super) messages: Vec<Vec<u8>>,
}

/// A configured address.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) interface: InterfaceId,
    pub(super) address: SocketAddr,
    pub(super) tick_at: Instant,
}

/// A packet that is ready to send and belongs to no neighbour.
#[derive(Debug)]
pub(super) struct Loose {
    pub(super) transmit: Transmit,
    pub(super) packet: Vec<u8>,
}

/// An MDP node, without sockets and clock.
///
/// Its owner brings packets to [`Node::handle_packet`], sends what [`Node::poll_transmit`] gives, and
/// calls [`Node::handle_timeout`] at the time that [`Node::poll_timeout`] asks for. Each takes the
/// current time; a time before one that was seen already counts as that one. After any call, all
/// `poll_` methods may have something new.
///
/// ```
/// # use msp_core::{Addr, Identity, Instant, InterfaceConfig, Node, NodeConfig, Port, Protection};
/// # use core::net::SocketAddr;
/// let mut now = Instant::ZERO;
/// let mut alice = Node::new(NodeConfig::default(), Identity::from_seed([1; 32]), [3; 32], now);
/// let mut bob = Node::new(NodeConfig::default(), Identity::from_seed([2; 32]), [4; 32], now);
/// let interface = alice.add_interface(InterfaceConfig::unicast());
/// bob.add_interface(InterfaceConfig::unicast());
/// let (a, b): (SocketAddr, SocketAddr) = ("10.0.0.1:4110".parse()?, "10.0.0.2:4110".parse()?);
/// alice.add_peer(interface, b);
///
/// let port = Port::from(512);
/// alice.send(now, port, Addr::new(bob.sid(), port), Protection::Encrypted, b"hello")?;
/// let mut buffer = Vec::new();
/// let received = loop {
///     while alice.poll_transmit(now, &mut buffer).is_some() {
///         bob.handle_packet(now, interface, a, &buffer);
///     }
///     while bob.poll_transmit(now, &mut buffer).is_some() {
///         alice.handle_packet(now, interface, b, &buffer);
///     }
///     if let Some(datagram) = bob.poll_datagram() {
///         break datagram;
///     }
///     now = alice.poll_timeout().into_iter().chain(bob.poll_timeout()).min().unwrap_or(now);
///     alice.handle_timeout(now);
///     bob.handle_timeout(now);
/// };
/// assert_eq!(received.from, Addr::new(alice.sid(), port));
/// assert_eq!(received.payload, &b"hello"[..]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Node {
    pub(super) config: NodeConfig,
    pub(super) identity: Identity,
    pub(super) nonces: Nonces,
    /// The latest time that was seen.
    pub(super) now: Instant,
    /// Before this, nothing is too old.
    expire_at: Instant,
    pub(super) interfaces: Vec<Interface>,
    pub(super) peers: Vec<Peer>,
    /// In boxes: a map has space for eleven where there may be one.
    pub(super) neighbours: BTreeMap<Sid, Box<Neighbour>>,
    /// The neighbour that was served last.
    pub(super) served: Option<Sid>,
    pub(super) directory: Directory,
    pub(super) keys: Keys,
    pub(super) frame_counter: FrameCounter,
    pub(super) loose: VecDeque<Loose>,
    pub(super) held: Held,
    pub(super) datagrams: VecDeque<Datagram>,
    pub(super) events: VecDeque<NodeEvent>,
    pub(super) asked: Throttle,
    pub(super) explained: Throttle,
    /// Signatures that may be checked, and signing keys that may be mapped to SIDs.
    pub(super) signatures: Quota,
    /// Answers that the built-in services may give, whoever asks.
    pub(super) answers: Quota,
    /// What those who look for services are told.
    pub(super) service: Option<Service>,
    /// Ports of services of this node that are others' now.
    pub(super) claimed: BTreeSet<Port>,
    /// Until when explanations are believed.
    pub(super) curious_until: Instant,
    /// Broadcasts that were passed around and came here.
    pub(super) floods: Floods,
    pub(super) routing: Routing,
    /// For frames that are passed on.
    pub(super) places: Places,
    /// Space for a payload that is being opened.
    pub(super) plaintext: Vec<u8>,
    /// Space for a message that is being written.
    pub(super) message: Vec<u8>,
    /// The prefixes in the packet being read that mean nothing.
    pub(super) question: Vec<u8>,
    pub(super) stats: NodeStats,
}

impl Node {
    /// Interfaces that a packet can name (`spec/30` section 2).
    pub const MAX_INTERFACES: usize = 16;

    /// A node that is `identity`. `seed` is 32 bytes that nobody can guess, and others at each start.
    #[must_use]
    pub fn new(config: NodeConfig, identity: Identity, seed: [u8; 32], now: Instant) -> Self {
        let config = config.clamped();
        let mut rng = Rng::new(seed);
        Self {
            directory: Directory::new(config.max_subscribers),
            routing: Routing::new(identity.sid(), config.max_subscribers, now),
            places: Places::new(config.relay_queue),
            keys: Keys::new(config.max_neighbours),
            answers: Quota::new(Duration::from_secs(1), config.answer_rate.saturating_mul(4)),
            config,
            identity,
            nonces: Nonces::new(&mut rng),
            now,
            expire_at: now,
            interfaces: Vec::new(),
            peers: Vec::new(),
            neighbours: BTreeMap::new(),
            served: None,
            frame_counter: FrameCounter::new(256 + rng.below(256)),
            loose: VecDeque::new(),
            held: Held::default(),
            datagrams: VecDeque::new(),
            events: VecDeque::new(),
            asked: Throttle::new(Duration::from_millis(100)),
            explained: Throttle::new(Duration::from_millis(500)),
            signatures: Quota::DEAR,
            service: None,
            claimed: BTreeSet::new(),
            curious_until: now,
            floods: Floods::default(),
            plaintext: Vec::new(),
            message: Vec::new(),
            question: Vec::new(),
            stats: NodeStats::default(),
        }
    }

    /// The address of this node.
    #[must_use]
    pub fn sid(&self) -> Sid {
        self.identity.sid()
    }

    /// Adds an interface. There are at most [`Node::MAX_INTERFACES`]: a further call adds nothing and gives the last.
    pub fn add_interface(&mut self, config: InterfaceConfig) -> InterfaceId {
        if self.interfaces.len() < Self::MAX_INTERFACES {
            self.interfaces.push(Interface {
                name: format!("udp{}", self.interfaces.len()),
                broadcast: config.broadcast,
                number: None,
                tick_at: self.now,
                searches: 0,
                messages: Vec::new(),
            });
        }
        InterfaceId(self.interfaces.len() as u8 - 1)
    }

    /// What people, and the clients of this node, are told that an interface is called, such as `wlan0`.
    pub fn name_interface(&mut self, interface: InterfaceId, name: &str) {
        if let Some(interface) = self.interfaces.get_mut(usize::from(interface.0)) {
            name.clone_into(&mut interface.name);
        }
    }

    /// What an interface is called: `udp` and its number, unless it was [named](Node::name_interface). Empty if there is
    /// none with this number.
    #[must_use]
    pub fn interface_name(&self, interface: InterfaceId) -> &str {
        self.interfaces.get(usize::from(interface.0)).map_or("", |interface| &interface.name)
    }

    /// Looks for a neighbour at this address from now on. Adding it again, or to an interface that does
    /// not exist, changes nothing.
    pub fn add_peer(&mut self, interface: InterfaceId, address: SocketAddr) {
        if usize::from(interface.0) < self.interfaces.len() && !self.is_peer(interface, address) {
            self.peers.push(Peer { interface, address, tick_at: self.now });
        }
    }

    /// The next received datagram.
    pub fn poll_datagram(&mut self) -> Option<Datagram> {
        self.datagrams.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<NodeEvent> {
        self.events.pop_front()
    }

    /// Tells that time has passed. Early or repeated calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        self.expire();
        self.update_routes();
    }

    /// When to call [`Node::handle_timeout`] and then the other `poll_` methods; `None` if there is
    /// nothing to wait for but packets.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !(self.loose.is_empty() && self.datagrams.is_empty() && self.events.is_empty()) {
            return Some(self.now);
        }
        let broadcasts = self.interfaces.iter().filter(|interface| interface.broadcast);
        let ticks = broadcasts.map(|interface| interface.tick_at);
        let peers = self.peers.iter().map(|peer| peer.tick_at);
        let neighbours = self.neighbours.values().map(|neighbour| neighbour.deadline(self.config.expiry));
        let held = [self.held.until(self.config.frame_lifetime), self.held.hurry_at()];
        let routing = [self.routing.update_at(), self.routing.announce_at()];
        let others = held.into_iter().chain(routing).flatten();
        ticks.chain(peers).chain(neighbours).chain(others).min().map(|at| at.max(self.now))
    }

    /// See [`NodeConfig::hop_repair`].
    #[cfg(feature = "testing")]
    pub(crate) const fn set_hop_repair(&mut self, repair: super::HopRepair) {
        self.config.hop_repair = repair;
    }

    /// What was counted.
    #[must_use]
    pub const fn stats(&self) -> &NodeStats {
        &self.stats
    }

    /// Whether `sid` is a neighbour that hears this node, or such a neighbour says that it leads there.
    #[must_use]
    pub fn is_reachable(&self, sid: &Sid) -> bool {
        self.next_hop_known(sid)
            .is_some_and(|hop| self.neighbours.get(&hop).is_some_and(|neighbour| neighbour.is_up(self.now)))
    }

    /// All nodes that are reachable now, in order.
    pub(super) fn reachable(&self) -> Vec<Sid> {
        let known = self.neighbours.keys().copied().chain(self.routing.reached());
        let known = known.chain(self.directory.matching(&[]));
        let mut reachable = Vec::new();
        for sid in known.filter(|sid| self.is_reachable(sid)) {
            if let Err(place) = reachable.binary_search(&sid) {
                reachable.insert(place, sid);
            }
        }
        reachable
    }

    pub(super) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    pub(super) fn push_event(&mut self, event: NodeEvent) {
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        }
    }

    pub(super) fn loose_has_room(&self) -> bool {
        self.loose.len() < MAX_LOOSE / 2
    }

    pub(super) fn push_loose(&mut self, loose: Loose) {
        if self.loose.len() < MAX_LOOSE {
            self.loose.push_back(loose);
        }
    }

    /// Looks for new ways if something has changed, and tells others if there are any for whom that matters: with one
    /// neighbour, nobody reaches anyone through us.
    pub(super) fn update_routes(&mut self) {
        let up = self.routing.links();
        let telling = up > 0 && self.config.relay && (up > 1 || self.routing.is_telling);
        self.routing.update(self.now);
        self.routing.set_telling(self.now, telling);
    }

    pub(super) fn is_peer(&self, interface: InterfaceId, address: SocketAddr) -> bool {
        self.peers.iter().any(|peer| (peer.interface, peer.address) == (interface, address))
    }

    /// Forgets what is too old.
    pub(super) fn expire(&mut self) {
        if self.now < self.expire_at {
            return;
        }
        let Self { now, ref config, ref mut neighbours, ref mut directory, ref mut routing, .. } = *self;
        let mut down: Vec<Sid> = Vec::new();
        neighbours.retain(|sid, neighbour| {
            let silent = neighbour.silent_at(config.expiry) <= now;
            if neighbour.goes_down(now) {
                down.push(*sid);
                routing.set_link(now, *sid, None);
            }
            if silent {
                routing.forget_neighbour(sid);
            }
            if silent && neighbour.standing > Standing::Heard {
                // It may come back with its SID abbreviated.
                directory.learn(now, *sid);
            }
            !silent
        });
        for sid in down {
            self.directory.forget_neighbour(&sid);
            self.push_event(NodeEvent::NeighbourDown { sid });
        }
        self.stats.datagrams_expired += self.held.expire(now, self.config.frame_lifetime);
        // Nothing that is here now expires before this, and nothing that comes.
        let neighbours = self.neighbours.values().map(|neighbour| neighbour.expire_at(self.config.expiry));
        let newcomers = now + self.config.expiry.min(self.config.frame_lifetime);
        self.expire_at =
            neighbours.chain(self.held.until(self.config.frame_lifetime)).fold(newcomers, Instant::min);
    }

    /// The neighbour to which frames for `to` go. Without a better idea that is the only one there is.
    pub(super) fn next_hop(&self, to: &Sid) -> Option<Sid> {
        let only = || {
            let mut up = self.neighbours.values().filter(|neighbour| neighbour.is_up(self.now));
            up.next().filter(|_| up.next().is_none()).map(|neighbour| neighbour.sid)
        };
        self.next_hop_known(to).or_else(only)
    }

    /// The neighbour that is `to` or leads there. One that does not hear us serves only if none does.
    fn next_hop_known(&self, to: &Sid) -> Option<Sid> {
        let is_up = |sid: &Sid| self.neighbours.get(sid).is_some_and(|neighbour| neighbour.is_up(self.now));
        let way = self.routing.way(to).map(|way| way.next_hop).filter(is_up);
        if let Some(next_hop) = way.or(Some(*to).filter(is_up)) {
            return Some(next_hop);
        }
        let route = self.directory.route(self.now, to).filter(|hop| self.neighbours.contains_key(hop));
        route.or(Some(*to).filter(|to| self.neighbours.contains_key(to)))
    }
}

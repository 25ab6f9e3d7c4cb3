//! The programs on this machine that use a node as others use a daemon.

mod commands;
mod config;
mod inbox;
mod name;
mod status;

pub use config::{ClientsConfig, ClientsStats};
pub use name::ClientName;
pub use status::ClientStatus;

use super::routing::MAX_HOPS;
use super::{Datagram, Node, Repair, SendDatagramError};
use crate::wire::client::{
    ANY, BIND, CLOSE, Header, Payload, Qos, REPAIRS, Reply, ReplyKind, Ttl, protection,
};
use crate::wire::mdp::Protection;
use crate::wire::overlay::Hops;
use crate::{Addr, Instant, Port, Sid};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::ops::Bound;
use core::time::Duration;
use inbox::Inbox;
use smallvec::SmallVec;

/// The first port that is given to who asks for any, less one, and how many there are (`spec/20` section 5).
const FIRST_PORT: u32 = 256;
const FREE_PORTS: u32 = 32_768;
/// Answers that may wait for a client beside datagrams: the whole table of routes, and some.
const MAX_ANSWERS: usize = 1024;
/// Destinations that are known to be slow.
const MAX_SLOW: usize = 16;
/// Nothing waits for a slow destination for so long.
const SLOW_TIME: Duration = Duration::from_secs(1);

/// The server of the MDP client socket (`spec/20`), over a [`Node`]: what a [`Daemon`](super::Daemon) is the client of.
///
/// Programs are known by the names of their sockets. They take ports of the node, and exchange datagrams with others on
/// the mesh and with each other. Whoever drives the node also owns the socket:
///
/// - a datagram that comes in on it goes to [`Clients::handle_request`], as long as [`Clients::takes_requests`]: when
///   not, it is to wait in the socket, because the queue towards its destination may be full;
/// - [`Clients::update`] is called when a packet has come in at the node or a time has come, as [`Clients::poll_timeout`]
///   says. It takes every datagram and is the only one to do so;
/// - what [`Clients::poll_transmit`] gives goes to the client that it names. If that has no room,
///   [`Clients::handle_full`] takes it back; if nobody is there, [`Clients::handle_unreachable`] is to be told.
///
/// Nothing that a client sends does more than to be refused. A port belongs to the first that asks for it, but for that
/// of service discovery, which all can have: each is asked. Ports of services of the node are the client's, too, except
/// those without which it is no node, key mapping and link state.
#[derive(Debug)]
pub struct Clients {
    config: ClientsConfig,
    /// The address of the node.
    sid: Sid,
    /// The latest time that was seen.
    now: Instant,
    clients: BTreeMap<ClientName, Inbox>,
    ports: BTreeMap<Port, Owners>,
    /// The last port that was chosen here.
    last_port: u32,
    /// The client that was served last.
    served: Option<ClientName>,
    /// The request for which there was no room.
    waiting: Option<Waiting>,
    /// Destinations that had no room for too long, and until when they count as slow.
    slow: VecDeque<(Sid, Instant)>,
    stats: ClientsStats,
}

/// More than one only at [`Port::DISCOVERY`].
type Owners = SmallVec<[ClientName; 1]>;

#[derive(Debug)]
struct Waiting {
    client: ClientName,
    datagram: Vec<u8>,
    to: Addr,
    until: Instant,
}

/// What becomes of a datagram that a client sends.
enum Fate {
    Sent,
    /// There may be room later.
    Full,
    Lost,
    Refused,
}

impl Clients {
    /// No clients yet, of the node that is `sid`.
    #[must_use]
    pub fn new(config: ClientsConfig, sid: Sid, now: Instant) -> Self {
        Self {
            config,
            sid,
            now,
            clients: BTreeMap::new(),
            ports: BTreeMap::new(),
            last_port: FIRST_PORT,
            served: None,
            waiting: None,
            slow: VecDeque::new(),
            stats: ClientsStats::default(),
        }
    }

    /// Whether requests are taken. While they are not, those that come all the same may be lost.
    #[must_use]
    pub const fn takes_requests(&self) -> bool {
        self.waiting.is_none()
    }

    /// A datagram came from the socket with the name `from`.
    pub fn handle_request(&mut self, now: Instant, node: &mut Node, from: &[u8], datagram: &[u8]) {
        self.advance(now);
        let Ok(mut header) = Header::parse(datagram) else {
            self.stats.malformed += 1;
            return;
        };
        let Some(client) = self.admit(from) else { return };
        let (bind, close) = (header.flags & BIND != 0, header.flags & CLOSE != 0);
        if close && header.local.port == Port::ANY {
            return self.release_all(node, &client);
        }
        if header.local.sid == ANY {
            header.local.sid = self.sid;
        }
        if bind && header.local.port == Port::ANY {
            header.local.port = self.free_port();
        }
        let port = header.local.port;
        if header.local.sid != self.sid || (bind && !self.bind(node, &client, port)) {
            return self.refuse(&client, &header);
        }
        if bind {
            self.answer(&client, &header, ReplyKind::Bound);
        }
        if header.remote.sid == ANY {
            self.command(node, &client, &header);
        } else if self.owns(&client, port) {
            self.take(node, &client, &header);
        } else {
            self.refuse(&client, &header);
        }
        if close {
            self.release(node, &client, port);
        }
    }

    /// The client had no room for this datagram, which [`Clients::poll_transmit`] gave last.
    pub fn handle_full(&mut self, now: Instant, client: &ClientName, datagram: &[u8]) {
        self.advance(now);
        if let Some(inbox) = self.clients.get_mut(client) {
            self.stats.datagrams_dropped += inbox.give_back(self.now, datagram.to_vec()) as u64;
        }
    }

    /// Nobody has a socket of this name any more: its ports are free.
    pub fn handle_unreachable(&mut self, node: &mut Node, client: &ClientName) {
        self.release_all(node, client);
        self.stats.gone += u64::from(self.clients.remove(client).is_some());
    }

    /// Takes what has come in at the node, and does what is due. Early or repeated calls do nothing.
    pub fn update(&mut self, now: Instant, node: &mut Node) {
        self.advance(now);
        while let Some(datagram) = node.poll_datagram() {
            self.deliver(&datagram);
        }
        self.retry(node);
    }

    /// The next datagram for a client, in `buffer`, which is cleared first. It counts as sent unless it is given back.
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<ClientName> {
        self.advance(now);
        buffer.clear();
        let now = self.now;
        let is_ready = |inbox: &Inbox| inbox.ready_at().is_some_and(|at| at <= now);
        let next = |start: Bound<&ClientName>| {
            let mut clients = self.clients.range::<ClientName, _>((start, Bound::Unbounded));
            clients.find(|(_, inbox)| is_ready(inbox)).map(|(client, _)| client.clone())
        };
        let after = self.served.as_ref().and_then(|served| next(Bound::Excluded(served)));
        let client = after.or_else(|| next(Bound::Unbounded))?;
        *buffer = self.clients.get_mut(&client)?.pop()?;
        self.served = Some(client.clone());
        Some(client)
    }

    /// When to call [`Clients::update`] and then [`Clients::poll_transmit`], besides whenever `node` asks for something.
    #[must_use]
    pub fn poll_timeout(&self, node: &Node) -> Option<Instant> {
        let ready = self.clients.values().filter_map(Inbox::ready_at);
        let waiting = self.waiting.as_ref().map(|waiting| {
            let Addr { sid, port } = waiting.to;
            let has_room = if sid == self.sid { self.has_room_at(port) } else { node.has_room(sid) };
            if has_room { self.now } else { waiting.until }
        });
        ready.chain(waiting).min().map(|at| at.max(self.now))
    }

    /// What was counted.
    #[must_use]
    pub const fn stats(&self) -> &ClientsStats {
        &self.stats
    }

    /// Programs that have ports.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clients.values().filter(|inbox| !inbox.ports.is_empty()).count()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All ports that programs have, and whose they are.
    #[cfg(feature = "testing")]
    pub(crate) fn owned(&self) -> impl Iterator<Item = (Port, &ClientName)> {
        self.ports.iter().flat_map(|(port, owners)| owners.iter().map(|owner| (*port, owner)))
    }

    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// The client of this name, if there is room for one more.
    fn admit(&mut self, name: &[u8]) -> Option<ClientName> {
        let known = self.clients.get_key_value(name).map(|(client, _)| client.clone());
        let Some(client) = known.or_else(|| ClientName::new(name)) else {
            self.stats.malformed += 1;
            return None;
        };
        if !self.clients.contains_key(&client) && self.clients.len() >= self.config.max_clients.max(1) {
            let idle = self.clients.iter().filter(|(_, inbox)| inbox.is_idle());
            let Some(oldest) = idle.min_by_key(|(_, inbox)| inbox.heard).map(|(client, _)| client.clone())
            else {
                self.remind_oldest();
                self.stats.refused += 1;
                return None;
            };
            self.clients.remove(&oldest);
        }
        let inbox = self.clients.entry(client.clone()).or_insert_with(|| Inbox::new(self.now));
        inbox.heard = self.now;
        Some(client)
    }

    fn owns(&self, client: &ClientName, port: Port) -> bool {
        self.clients.get(client).is_some_and(|inbox| inbox.ports.contains(&port))
    }

    /// A port that nobody has.
    fn free_port(&mut self) -> Port {
        for _ in 0..FREE_PORTS {
            self.last_port = FIRST_PORT + (self.last_port - FIRST_PORT + 1) % FREE_PORTS;
            match Port::new(self.last_port) {
                Some(port) if !self.ports.contains_key(&port) => return port,
                _ => {}
            }
        }
        Port::ANY
    }

    /// Gives a port to a client. False if it cannot have it.
    fn bind(&mut self, node: &mut Node, client: &ClientName, port: Port) -> bool {
        if self.owns(client, port) {
            return true;
        }
        if let Some(owner) = self.ports.get(&port).and_then(|owners| owners.first())
            && port != Port::DISCOVERY
        {
            let owner = owner.clone();
            self.remind(&owner, port);
            return false;
        }
        let bound: usize = self.clients.values().map(|inbox| inbox.ports.len()).sum();
        let is_nodes = matches!(port, Port::ANY | Port::KEY_MAPPING | Port::LINK_STATE);
        if bound >= self.config.max_ports {
            self.remind_oldest();
            return false;
        }
        let Some(inbox) = self.clients.get_mut(client).filter(|_| !is_nodes) else { return false };
        inbox.ports.insert(port);
        self.ports.entry(port).or_default().push(client.clone());
        node.claim(port, true);
        true
    }

    fn release(&mut self, node: &mut Node, client: &ClientName, port: Port) {
        if let Some(inbox) = self.clients.get_mut(client) {
            inbox.ports.remove(&port);
        }
        if let Some(owners) = self.ports.get_mut(&port) {
            owners.retain(|owner| owner != client);
            if owners.is_empty() {
                self.ports.remove(&port);
                node.claim(port, false);
            }
        }
    }

    fn release_all(&mut self, node: &mut Node, client: &ClientName) {
        let ports = self.clients.get_mut(client).map(|inbox| core::mem::take(&mut inbox.ports));
        ports.into_iter().flatten().for_each(|port| self.release(node, client, port));
    }

    /// Sends a datagram of a client, or keeps it until there is room.
    fn take(&mut self, node: &mut Node, client: &ClientName, header: &Header<'_>) {
        let to = header.remote;
        match self.send(node, header) {
            Fate::Sent => self.count_sent(client),
            Fate::Full if self.waiting.is_none() && !self.is_slow(&to.sid) => {
                let mut datagram = Vec::new();
                header.emit(&mut datagram);
                let (client, until) = (client.clone(), self.now + self.config.patience);
                self.waiting = Some(Waiting { client, datagram, to, until });
            }
            Fate::Full | Fate::Lost => self.stats.datagrams_expired += 1,
            Fate::Refused => self.refuse(client, header),
        }
    }

    /// Tries again to send what waits.
    fn retry(&mut self, node: &mut Node) {
        let Some(waiting) = self.waiting.take() else { return };
        let Ok(header) = Header::parse(&waiting.datagram) else { return };
        match self.send(node, &header) {
            Fate::Sent => self.count_sent(&waiting.client),
            Fate::Full if self.now < waiting.until => self.waiting = Some(waiting),
            Fate::Full => {
                self.stats.datagrams_expired += 1;
                self.slow.truncate(MAX_SLOW - 1);
                self.slow.push_front((waiting.to.sid, self.now + SLOW_TIME));
            }
            Fate::Lost | Fate::Refused => self.stats.datagrams_expired += 1,
        }
    }

    fn count_sent(&mut self, client: &ClientName) {
        self.stats.datagrams_sent += 1;
        if let Some(inbox) = self.clients.get_mut(client) {
            inbox.sent += 1;
        }
    }

    fn is_slow(&self, sid: &Sid) -> bool {
        self.slow.iter().any(|(slow, until)| slow == sid && self.now < *until)
    }

    fn send(&mut self, node: &mut Node, header: &Header<'_>) -> Fate {
        let Header { local, remote, flags, qos, ttl, payload } = *header;
        let repair = if flags & REPAIRS == 0 { Repair::Hop } else { Repair::Sender };
        let valid = Qos::new(qos).zip(Ttl::new(ttl)).zip(protection(flags & !(BIND | CLOSE | REPAIRS)).ok());
        let Some(((qos, ttl), protection)) = valid else { return Fate::Refused };
        if remote.sid == self.sid && remote.port == Port::TRACE && !self.ports.contains_key(&Port::TRACE) {
            node.start_trace(self.now, local.port, payload);
            return Fate::Sent;
        }
        if remote.sid == self.sid {
            return self.send_here(header, protection);
        }
        let manner = (repair, hops(qos, ttl));
        let fate = match node.send_with(self.now, local.port, remote, protection, payload, manner) {
            Ok(()) => Fate::Sent,
            Err(SendDatagramError::WouldBlock) => Fate::Full,
            Err(SendDatagramError::NoRoute) => Fate::Lost,
            // It finds out by itself.
            Err(SendDatagramError::TooLarge { .. }) if repair == Repair::Sender => Fate::Lost,
            Err(_) => Fate::Refused,
        };
        if remote.sid == Sid::BROADCAST && matches!(fate, Fate::Sent | Fate::Lost) {
            // Those here are meant as well, also where there is nobody else.
            let Header { qos, ttl, .. } = *header;
            let kind = ReplyKind::Data { protection, payload };
            self.hand_over(&Reply { local: remote, remote: local, kind, qos, ttl });
        }
        fate
    }

    /// Sends a datagram to the node itself, which never goes on the air.
    fn send_here(&mut self, header: &Header<'_>, protection: Protection) -> Fate {
        let Header { local, remote, payload, .. } = *header;
        if SendDatagramError::check(remote, protection, payload, Payload::MAX_LONG_LEN).is_err() {
            return Fate::Refused;
        }
        let (from, to) = match self.ports.get(&remote.port) {
            Some(_) => (local, remote),
            // The echo service is asked and answers at once.
            None if remote.port == Port::ECHO && local.port != Port::ECHO => (remote, local),
            None => {
                self.stats.unbound += 1;
                return Fate::Sent;
            }
        };
        if !self.has_room_at(to.port) {
            return if to == remote { Fate::Full } else { Fate::Lost };
        }
        let Header { qos, ttl, .. } = *header;
        self.hand_over(&Reply {
            local: to,
            remote: from,
            kind: ReplyKind::Data { protection, payload },
            qos,
            ttl,
        });
        Fate::Sent
    }

    /// Hands a datagram that came in at the node to those who have its port.
    fn deliver(&mut self, datagram: &Datagram) {
        let Datagram { from, to, protection, broadcast, ref payload, .. } = *datagram;
        let sid = if broadcast { Sid::BROADCAST } else { self.sid };
        let kind = ReplyKind::Data { protection, payload };
        self.hand_over(&Reply { local: Addr::new(sid, to), remote: from, kind, qos: 0, ttl: 0 });
    }

    fn has_room_at(&self, port: Port) -> bool {
        let mut owners = self.ports.get(&port).into_iter().flatten();
        owners.all(|owner| self.clients.get(owner).is_none_or(|inbox| inbox.len() < self.config.queue))
    }

    /// Puts a datagram into the queue of everyone who has its port.
    fn hand_over(&mut self, reply: &Reply<'_>) {
        let Self { ports, clients, stats, config, .. } = self;
        let Some(owners) = ports.get(&reply.local.port) else {
            stats.unbound += 1;
            return;
        };
        for owner in owners {
            let inbox = clients.get_mut(owner).filter(|inbox| inbox.len() < config.queue);
            let Some(inbox) = inbox else {
                stats.datagrams_dropped += 1;
                continue;
            };
            let mut datagram = Vec::with_capacity(reply.buffer_len());
            reply.emit(&mut datagram);
            inbox.push(datagram);
            inbox.received += 1;
            stats.datagrams_received += 1;
        }
    }

    /// Reminds the client that has ports and was neither heard nor reminded for the longest time: it may be gone, and the
    /// one for which there is no room asks again. In the end each has had its turn.
    fn remind_oldest(&mut self) {
        let owners = self.clients.iter_mut().filter(|(_, inbox)| !inbox.ports.is_empty());
        let Some((oldest, inbox)) = owners.min_by_key(|(_, inbox)| inbox.heard) else { return };
        inbox.heard = self.now;
        let (oldest, port) = (oldest.clone(), inbox.ports.first().copied().unwrap_or(Port::ANY));
        self.remind(&oldest, port);
    }

    /// Tells the owner of a port that it is its own. If nobody is there, that shows.
    fn remind(&mut self, owner: &ClientName, port: Port) {
        let (local, remote) = (Addr::new(self.sid, port), Addr::new(ANY, Port::ANY));
        self.push(owner, &Reply { local, remote, kind: ReplyKind::Bound, qos: 0, ttl: 0 });
    }

    fn refuse(&mut self, client: &ClientName, header: &Header<'_>) {
        self.stats.refused += 1;
        self.answer(client, header, ReplyKind::Refused);
    }

    fn answer(&mut self, client: &ClientName, header: &Header<'_>, kind: ReplyKind<'_>) {
        let Header { local, remote, qos, ttl, .. } = *header;
        self.push(client, &Reply { local, remote, kind, qos, ttl });
    }

    /// Puts an answer into the queue of a client.
    fn push(&mut self, client: &ClientName, reply: &Reply<'_>) {
        let room = self.config.queue + MAX_ANSWERS;
        if let Some(inbox) = self.clients.get_mut(client).filter(|inbox| inbox.len() < room) {
            let mut datagram = Vec::with_capacity(reply.buffer_len());
            reply.emit(&mut datagram);
            inbox.push(datagram);
        }
    }
}

/// How far a client wants a datagram to go, and in which class (`spec/30` section 3).
fn hops(qos: Qos, ttl: Ttl) -> Hops {
    let class = if qos == Qos::Default { Qos::Ordinary } else { qos } as u8;
    let ttl = if ttl == Ttl::DEFAULT { MAX_HOPS } else { ttl.get() };
    Hops((class & 3) << 5 | ttl)
}

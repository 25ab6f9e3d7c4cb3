//! The server of a node's local socket, with programs that send it anything.

use super::Input;
use super::node::address;
use crate::mdp::{ClientName, Clients, ClientsConfig};
use crate::wire::client::{ANY, BIND, CLOSE, Header, Reply, ReplyKind};
use crate::wire::mdp;
use crate::wire::overlay::{Packet, Route};
use crate::{Addr, Identity, Instant, InterfaceConfig, InterfaceId, Node, NodeConfig, Port, Protection, Sid};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

const INTERFACE: InterfaceId = InterfaceId(0);
/// Neither the node nor its neighbour.
const OTHER: Sid = Sid::new([9; 32]);
/// The programs are known by these letters.
const PROGRAMS: core::ops::Range<u8> = b'a'..b'g';
const NEWCOMER: u8 = b'z';
/// More than this in answer to one request is no answer.
const MANY: usize = 10_000;
/// Answers that may wait for a program beside datagrams.
const MAX_ANSWERS: usize = 1024;

/// A node with one neighbour, and programs that bind, send, release, fall silent, take nothing and are gone, or send
/// what no program should: nothing panics, ports have the owners that they should have and no more than may be, what is
/// said to a program can be read and is about a port that it has, queues are bounded, timers neither spin nor oversleep,
/// and a newcomer is served as soon as those that are gone have been found to be.
///
/// # Panics
///
/// When it is not so.
pub fn clients(input: &[u8]) {
    let mut input = Input(input);
    let mut state = State::new();
    for _ in 0..4 {
        state.settle();
        state.now += Duration::from_millis(250);
    }
    assert!(state.node.is_reachable(&state.peer.sid()));
    while state.step(&mut input).is_some() {
        state.check();
    }
    state.heal();
}

type Owned = BTreeSet<(Port, u8)>;

struct State {
    clients: Clients,
    node: Node,
    /// Its neighbour.
    peer: Node,
    now: Instant,
    /// What a program was given last.
    last: Option<(ClientName, Vec<u8>)>,
    /// Who had which ports at any time since nothing waited for anyone.
    lately: Owned,
    /// Programs whose sockets are full.
    deaf: BTreeSet<u8>,
    /// Programs that are not there any more.
    gone: BTreeSet<u8>,
    /// Nothing passes between the nodes.
    cut: bool,
}

/// Small limits, so that an input can reach them.
fn config() -> ClientsConfig {
    ClientsConfig { max_clients: 3, max_ports: 5, queue: 4, ..ClientsConfig::default() }
}

impl State {
    fn new() -> Self {
        let small = NodeConfig { send_queue: 4, receive_queue: 4, ..NodeConfig::default() };
        let [node, peer] = [(1, small), (2, NodeConfig::default())].map(|(number, config)| {
            let identity = Identity::from_seed([number; 32]);
            let mut node = Node::new(config, identity, [number; 32], Instant::ZERO);
            node.add_interface(InterfaceConfig::broadcast());
            node
        });
        let clients = Clients::new(config(), node.sid(), Instant::ZERO);
        Self {
            clients,
            node,
            peer,
            now: Instant::ZERO,
            last: None,
            lately: Owned::new(),
            deaf: BTreeSet::new(),
            gone: BTreeSet::new(),
            cut: false,
        }
    }

    /// Does the next operation of `input`.
    fn step(&mut self, input: &mut Input<'_>) -> Option<()> {
        let operation = input.u8()?;
        // The upper bits choose which program does it, and what else there is to choose.
        let choice = operation >> 4;
        let who = PROGRAMS.start + choice % (PROGRAMS.end - PROGRAMS.start);
        match operation & 0x0f {
            0 if choice == 15 => self.ask(&[7; ClientName::MAX_LEN + 1], input.slice()?),
            0 if choice == 14 => self.ask(&[], input.slice()?),
            0 => self.ask(&[who], input.slice()?),
            kind @ 1..6 => {
                let request = self.request(kind, input)?;
                self.ask(&[who], &request);
            }
            6 => _ = self.transmit_one(choice),
            7 => self.settle(),
            8 => _ = self.deaf.remove(&who) || self.deaf.insert(who),
            9 => self.end(who),
            10 => {
                let to = Addr::new(self.node.sid(), port(input.u8()?));
                let (to, protection) = match choice & 3 {
                    0 => (to, Protection::Clear),
                    1 => (to, Protection::Signed),
                    2 => (Addr::new(Sid::BROADCAST, to.port), Protection::Clear),
                    _ => (to, Protection::Encrypted),
                };
                let _ = self.peer.send(self.now, port(input.u8()?), to, protection, input.slice()?);
                self.exchange();
            }
            11 => self.exchange(),
            12 => self.cut = choice & 1 != 0,
            13 => self.pass(Duration::from_micros(u64::from(input.u8()?) << choice) * 100),
            14 => self.pass(self.due().map_or(Duration::ZERO, |at| at.since(self.now))),
            _ => {
                let earlier = self.now - Duration::from_millis(input.u8()?.into());
                match &self.last {
                    // Perhaps once more, or much too late.
                    Some((client, datagram)) if choice & 1 != 0 => {
                        self.clients.handle_full(earlier, client, datagram);
                    }
                    _ => self.clients.update(earlier, &mut self.node),
                }
            }
        }
        Some(())
    }

    /// A request that makes sense to some degree.
    fn request(&self, kind: u8, input: &mut Input<'_>) -> Option<Vec<u8>> {
        let (me, peer) = (self.node.sid(), self.peer.sid());
        let sids = usize::from(input.u8()?);
        let local = [ANY, ANY, ANY, me, me, OTHER, Sid::BROADCAST, peer][sids & 7];
        let remote = [ANY, ANY, me, me, peer, peer, Sid::BROADCAST, OTHER][sids >> 3 & 7];
        let (local, remote) = (Addr::new(local, port(input.u8()?)), Addr::new(remote, port(input.u8()?)));
        let (flags, rest) = match kind {
            1 => (BIND, 0),
            2 => (CLOSE, 0),
            3 => (0, 0),
            4 => (0x03, 0),
            _ => (input.u8()?, input.u8()?),
        };
        let payload = alloc::vec![7; 6 * usize::from(input.u8()?)];
        let mut datagram = Vec::new();
        Header { local, remote, flags, qos: rest & 7, ttl: rest >> 3, payload: &payload }.emit(&mut datagram);
        Some(datagram)
    }

    /// A program sends a request, and ports change hands only as it wants.
    fn ask(&mut self, name: &[u8], datagram: &[u8]) {
        let before = self.owned();
        let &[who] = name else {
            let malformed = self.clients.stats().malformed;
            self.clients.handle_request(self.now, &mut self.node, name, datagram);
            assert_eq!((self.owned(), self.clients.stats().malformed), (before, malformed + 1));
            return;
        };
        self.gone.remove(&who);
        self.clients.handle_request(self.now, &mut self.node, name, datagram);
        let after = self.owned();
        self.lately.extend(&after);
        let Ok(Header { local, flags, .. }) = Header::parse(datagram) else {
            return assert_eq!(after, before, "nothing was asked for");
        };
        let (bind, close) = (flags & BIND != 0, flags & CLOSE != 0);
        let is_own = local.sid == ANY || local.sid == self.node.sid();
        if bind && close {
            // It may have had it for a moment.
            self.lately.insert((local.port, who));
        }
        for &(port, owner) in after.difference(&before) {
            let meant = if local.port == Port::ANY { port.get() > 256 } else { port == local.port };
            assert!(bind && is_own && meant && owner == who, "{port} is given to {owner}");
            let shared = port == Port::DISCOVERY || before.iter().all(|(other, _)| *other != port);
            assert!(shared && after.len() == before.len() + 1, "{port} was another's");
        }
        for &(port, owner) in before.difference(&after) {
            let meant = local.port == Port::ANY || port == local.port;
            assert!(close && meant && owner == who, "{port} is taken from {owner}");
        }
        let kept = after.iter().any(|(port, owner)| {
            *owner == who && (local.port == Port::ANY || (is_own && *port == local.port))
        });
        assert!(!(close && kept), "a port is not given back");
        let is_free = before.iter().all(|(port, _)| *port != local.port);
        let is_known = before.iter().any(|(_, owner)| *owner == who);
        if bind && !close && is_own && is_free && is_known && may_have(local.port) {
            let expected = before.len() < config().max_ports;
            assert_eq!(after.contains(&(local.port, who)), expected, "{} of {who}", local.port);
        }
    }

    /// Takes what waits for a program; `None` if there is nothing. It may turn out that there is no room for it, or that
    /// nobody is there.
    fn transmit_one(&mut self, choice: u8) -> Option<u8> {
        let mut buffer = Vec::from(*b"anything");
        let client = self.clients.poll_transmit(self.now, &mut buffer)?;
        let &[who] = client.as_bytes() else { unreachable!("a stranger") };
        if self.gone.contains(&who) || choice == 15 {
            self.end(who);
        } else if self.deaf.contains(&who) || choice >= 12 {
            self.clients.handle_full(self.now, &client, &buffer);
        } else {
            self.read(who, &buffer);
        }
        self.last = Some((client, buffer));
        Some(who)
    }

    /// What a program is told.
    fn read(&self, who: u8, datagram: &[u8]) {
        let Ok(reply) = Reply::parse(datagram) else { unreachable!("{datagram:02x?}") };
        let Reply { local, remote, kind, .. } = reply;
        let has = self.lately.contains(&(local.port, who));
        match kind {
            ReplyKind::Data { .. } if remote.sid == ANY => assert_eq!(local.sid, self.node.sid()),
            ReplyKind::Data { protection, payload } => {
                assert!(has && !payload.is_empty() && !remote.sid.is_reserved(), "{reply:?}");
                let to_all = local.sid == Sid::BROADCAST && protection != Protection::Encrypted;
                assert!(to_all || local.sid == self.node.sid(), "{reply:?}");
            }
            ReplyKind::Bound => assert!(has && local.sid == self.node.sid(), "{reply:?}"),
            ReplyKind::Done | ReplyKind::Refused => {}
        }
    }

    /// A program ends.
    fn end(&mut self, who: u8) {
        let Some(client) = ClientName::new(&[who]) else { return };
        self.clients.handle_unreachable(&mut self.node, &client);
        self.lately.retain(|(_, owner)| *owner != who);
    }

    /// Lets everything pass that passes now: to programs, and between the nodes.
    fn settle(&mut self) {
        let mut taken = 0;
        for round in 0.. {
            self.exchange();
            self.clients.update(self.now, &mut self.node);
            while let Some(who) = self.transmit_one(0) {
                taken += 1;
                let most = (config().queue + MAX_ANSWERS) * (config().max_clients + round);
                assert!(taken <= most, "{taken} datagrams, the last for {who}");
            }
            if self.due().is_none_or(|at| at > self.now) {
                break;
            }
            assert!(round < MANY, "spins at {:?}", self.now);
        }
        if self.clients.poll_timeout(&self.node).is_none() {
            self.lately = self.owned();
        }
    }

    /// Lets packets pass between the nodes. The programs are asked first whether they take what has come in.
    fn exchange(&mut self) {
        let Self { ref mut node, ref mut peer, now, cut, .. } = *self;
        let mut packet = Vec::new();
        for round in 0.. {
            let mut moved = false;
            node.handle_timeout(now);
            peer.handle_timeout(now);
            while node.poll_transmit(now, &mut packet).is_some() {
                check_packet(&packet);
                moved = true;
                if !cut {
                    peer.handle_packet(now, INTERFACE, address(1), &packet);
                }
            }
            while peer.poll_transmit(now, &mut packet).is_some() {
                moved = true;
                if !cut {
                    node.handle_packet(now, INTERFACE, address(2), &packet);
                }
            }
            while node.poll_event().is_some() || peer.poll_event().is_some() {}
            if !moved {
                return;
            }
            assert!(round < MANY, "the nodes do not come to rest");
        }
    }

    /// Lets time pass. Before the time that was asked for, there is nothing to do.
    fn pass(&mut self, time: Duration) {
        self.settle();
        let due = self.due();
        self.now += time;
        self.node.handle_timeout(self.now);
        self.clients.update(self.now, &mut self.node);
        if due.is_none_or(|due| self.now < due) {
            let mut buffer = Vec::new();
            assert_eq!(self.clients.poll_transmit(self.now, &mut buffer), None, "should be due: {due:?}");
            assert_eq!(self.node.poll_transmit(self.now, &mut buffer), None, "should be due: {due:?}");
        }
    }

    /// When there is something to do.
    fn due(&self) -> Option<Instant> {
        self.clients.poll_timeout(&self.node).into_iter().chain(self.node.poll_timeout()).min()
    }

    /// Who has which ports.
    fn owned(&self) -> Owned {
        self.clients
            .owned()
            .map(|(port, owner)| {
                let &[who] = owner.as_bytes() else { unreachable!("a stranger") };
                (port, who)
            })
            .collect()
    }

    fn check(&self) {
        let owned = self.owned();
        assert!(owned.len() <= config().max_ports, "{owned:?}");
        let owners: BTreeSet<u8> = owned.iter().map(|(_, owner)| *owner).collect();
        assert_eq!(self.clients.len(), owners.len());
        assert!(owners.len() <= config().max_clients, "{owned:?}");
        for (port, owner) in &owned {
            assert!(may_have(*port), "{port} is the node's");
            let another = owned.iter().any(|it| it.0 == *port && it.1 != *owner);
            assert!(!another || *port == Port::DISCOVERY, "{port} has two owners");
        }
    }

    /// All programs are gone, and another one comes.
    fn heal(&mut self) {
        self.cut = false;
        self.deaf.clear();
        self.gone = PROGRAMS.collect();
        self.run(Duration::from_secs(4));
        let me = Addr::new(self.node.sid(), Port::MAX);
        let nowhere = Addr::new(ANY, Port::ANY);
        // Each time, one that is gone is found to be.
        let found = (0..=config().max_clients).any(|_| {
            self.tell(me, nowhere, BIND, &[]);
            self.run(Duration::from_secs(1));
            self.owned().contains(&(me.port, NEWCOMER))
        });
        assert!(found, "a newcomer has no place: {:?}", self.clients);
        PROGRAMS.for_each(|who| self.end(who));
        assert_eq!(self.owned(), Owned::from([(me.port, NEWCOMER)]));
        for to in [self.node.sid(), self.peer.sid()] {
            let received = self.clients.stats().datagrams_received;
            self.tell(me, Addr::new(to, Port::ECHO), 0, b"?");
            self.run(Duration::from_secs(2));
            assert_eq!(self.clients.stats().datagrams_received, received + 1, "no echo of {to}");
        }
        self.tell(nowhere, nowhere, CLOSE, &[]);
        self.run(Duration::from_secs(2));
        assert!(self.clients.is_empty() && self.clients.takes_requests());
        assert_eq!(self.clients.poll_timeout(&self.node), None);
    }

    fn tell(&mut self, local: Addr, remote: Addr, flags: u8, payload: &[u8]) {
        let mut datagram = Vec::new();
        Header { local, remote, flags, qos: 0, ttl: 0, payload }.emit(&mut datagram);
        self.ask(&[NEWCOMER], &datagram);
    }

    /// Goes from one thing that is to be done to the next for so long.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..MANY {
            self.settle();
            self.check();
            while self.peer.poll_datagram().is_some() {}
            let next = self.due().into_iter().chain(self.peer.poll_timeout()).min();
            match next.filter(|at| *at < end) {
                Some(next) => self.now = next.max(self.now),
                None => return self.now = end,
            }
        }
        unreachable!("it does not come to rest");
    }
}

/// What a program has the node send reads back, and harms no reference daemon (`spec/80` section 4).
fn check_packet(packet: &[u8]) {
    let Ok(packet) = Packet::parse(packet) else { unreachable!("{packet:02x?}") };
    for frame in packet.frames() {
        let Ok(frame) = frame else { unreachable!("{packet:?}") };
        let broadcast = matches!(frame.route, Route::Neighbours | Route::Flood { .. });
        assert!(!broadcast || frame.protection != Some(Protection::Encrypted), "it aborts the daemon");
        if frame.legacy_type.is_none() && frame.protection == Some(Protection::Clear) {
            let Ok(datagram) = mdp::Repr::parse(frame.payload) else { unreachable!("{frame:?}") };
            assert!(!datagram.payload.is_empty(), "no data aborts the daemon");
            assert!(!broadcast || datagram.destination != Port::KEY_MAPPING, "so does key mapping for all");
        }
    }
}

/// A program can have it.
fn may_have(port: Port) -> bool {
    !matches!(port, Port::ANY | Port::KEY_MAPPING | Port::LINK_STATE)
}

/// Those of services, and some that are chosen here or by programs.
fn port(number: u8) -> Port {
    let number = u32::from(number);
    Port::new(if number < 32 { number } else { 224 + number }).unwrap_or(Port::ANY)
}

//! Two tunnels back to back, in virtual time.
#![allow(clippy::expect_used, reason = "the caller is a test")]

use super::Link;
use crate::mdp::{Identity, InterfaceConfig, InterfaceId, Node, NodeConfig};
use crate::msp::Config;
use crate::tunnel::{Action, CloseKind, LinkId, Outcome, Tunnel, TunnelConfig, TunnelEvent};
use crate::{Addr, Host, Instant, Port, Rng, Sid};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

/// The connecting end in [`TunnelPair::ends`].
pub const CLIENT: usize = 0;
/// The listening end in [`TunnelPair::ends`].
pub const SERVER: usize = 1;

/// Rounds in which something may move without time passing, before it counts as a spin.
const MAX_ROUNDS: usize = 100_000;

/// Bytes that differ from place to place and from `key` to `key`.
#[must_use]
pub fn pattern(key: u64, length: usize) -> Vec<u8> {
    let mut state = (key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    core::iter::repeat_with(next).take(length).collect()
}

/// A simulated TCP connection on the local side of a tunnel, with the program behind it.
#[derive(Debug, Clone, Default)]
pub struct Socket {
    /// What the program sends.
    pub input: Vec<u8>,
    /// How much of it the tunnel has read.
    pub read: usize,
    /// The program closes its sending direction after the input.
    pub finish: bool,
    /// At most so many bytes are read at once; 0 for no limit.
    pub piece: usize,
    /// What the program has received.
    pub received: Vec<u8>,
    /// The program reads no more than this in all, `None` for no limit.
    pub room: Option<usize>,
    /// The program saw the end of file.
    pub ended: bool,
    /// The tunnel has closed it.
    pub closed: Option<CloseKind>,
    opened: bool,
    eof_told: bool,
}

impl Socket {
    /// A program that sends nothing for now, and reads everything.
    #[must_use]
    pub fn waiting() -> Self {
        Self::default()
    }

    /// The program sends `input`, and does not end.
    #[must_use]
    pub fn sending(mut self, input: Vec<u8>) -> Self {
        self.input = input;
        self
    }

    /// The program closes its sending direction after its input.
    #[must_use]
    pub fn finishing(mut self) -> Self {
        self.finish = true;
        self
    }

    /// At most `piece` bytes are read at once.
    #[must_use]
    pub fn in_pieces(mut self, piece: usize) -> Self {
        self.piece = piece;
        self
    }

    /// The program reads no more than this in all.
    #[must_use]
    pub fn reading(mut self, room: usize) -> Self {
        self.room = Some(room);
        self
    }

    /// Bytes that the program still takes.
    fn space(&self) -> usize {
        self.room.map_or(usize::MAX, |room| room.saturating_sub(self.received.len()))
    }
}

/// How the listening end answers [`Action::Dial`].
#[derive(Debug)]
pub enum Dial {
    /// It opens.
    Open(Socket),
    /// The target refuses.
    Refuse,
    /// Nothing happens, until the test says so.
    Hold,
}

/// One end: a tunnel, and what its driver knows.
#[derive(Debug)]
pub struct End {
    /// The tunnel.
    pub tunnel: Tunnel,
    /// Its links, those that were closed included.
    pub sockets: BTreeMap<LinkId, Socket>,
    /// What it has reported.
    pub events: Vec<TunnelEvent>,
    /// How it has ended.
    pub outcome: Option<Outcome>,
    /// It said that it accepts no more.
    pub stopped_accepting: bool,
    /// Links that wait for their dial: [`Dial::Hold`].
    pub held: Vec<LinkId>,
    /// While true, the driver neither sends nor receives anything: its program is gone.
    pub dead: bool,
}

/// Two tunnels with a link each way.
pub struct TunnelPair {
    /// The time.
    pub now: Instant,
    /// [`CLIENT`] and [`SERVER`].
    pub ends: [End; 2],
    /// What each end sends goes through its link.
    pub links: [Link; 2],
    /// How the listening end answers its dials, by their number.
    pub dial: Box<dyn FnMut(usize) -> Dial>,
    dials: usize,
}

impl core::fmt::Debug for TunnelPair {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TunnelPair").field("now", &self.now).field("ends", &self.ends).finish_non_exhaustive()
    }
}

impl TunnelPair {
    /// A connecting and a listening tunnel, which know each other's UDP address, and `link` both ways.
    ///
    /// # Panics
    ///
    /// If the tunnels cannot be made.
    #[must_use]
    pub fn new(seed: u64, config: [TunnelConfig; 2], link: impl Fn(Link) -> Link) -> Self {
        Self::with_streams(seed, config, &Config::default(), link)
    }

    /// The same with settings for the streams.
    ///
    /// # Panics
    ///
    /// If the tunnels cannot be made.
    #[must_use]
    pub fn with_streams(
        seed: u64,
        config: [TunnelConfig; 2],
        streams: &Config,
        link: impl Fn(Link) -> Link,
    ) -> Self {
        let port = Port::from(4000);
        let [client_config, server_config] = config;
        let server = host(seed, SERVER, streams);
        let remote = Addr::new(server.1, port);
        let client =
            Tunnel::connect(host(seed, CLIENT, streams).0, remote, client_config).expect("a valid address");
        let server = Tunnel::listen(server.0, port, server_config).expect("a free port");
        Self {
            now: Instant::from_millis(1),
            ends: [client, server].map(|tunnel| End {
                tunnel,
                sockets: BTreeMap::new(),
                events: Vec::new(),
                outcome: None,
                stopped_accepting: false,
                held: Vec::new(),
                dead: false,
            }),
            links: [CLIENT, SERVER].map(|end| link(Link::new(2 * seed + end as u64))),
            dial: Box::new(|_| Dial::Open(Socket::waiting().finishing())),
            dials: 0,
        }
    }

    /// The same with the answer to dials.
    #[must_use]
    pub fn dial(mut self, dial: impl FnMut(usize) -> Dial + 'static) -> Self {
        self.dial = Box::new(dial);
        self
    }

    /// A program connects to the connecting end.
    ///
    /// # Panics
    ///
    /// If a link has the name of another.
    pub fn open(&mut self, mut socket: Socket) -> Option<LinkId> {
        let end = &mut self.ends[CLIENT];
        let link = end.tunnel.local_accepted(self.now)?;
        socket.opened = true;
        assert!(end.sockets.insert(link, socket).is_none(), "link {link} twice");
        Some(link)
    }

    /// The dial of a held link succeeds.
    pub fn open_held(&mut self, link: LinkId, mut socket: Socket) {
        let end = &mut self.ends[SERVER];
        end.held.retain(|held| *held != link);
        socket.opened = true;
        end.sockets.insert(link, socket);
        end.tunnel.local_opened(self.now, link);
    }

    /// The local connection of the `n`th socket of an end breaks.
    pub fn fail(&mut self, end: usize, n: usize) {
        let link = self.ends[end].sockets.keys().nth(n).copied();
        link.into_iter().for_each(|link| self.ends[end].tunnel.local_failed(self.now, link));
    }

    /// The `n`th socket of an end.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    pub fn socket(&mut self, end: usize, n: usize) -> &mut Socket {
        self.ends[end].sockets.values_mut().nth(n).expect("a socket")
    }

    /// Lets everything move that can without time passing.
    ///
    /// # Panics
    ///
    /// If the tunnels break their contract.
    pub fn settle(&mut self) {
        for end in [CLIENT, SERVER] {
            self.drain(end);
            if self.is_due(end) {
                self.ends[end].tunnel.handle_timeout(self.now);
                self.drain(end);
                assert!(
                    !self.is_due(end),
                    "still due after handle_timeout and a full drain at {:?}",
                    self.now
                );
            }
        }
    }

    /// Settles, then goes to the next thing that happens, not later than `end`. False if nothing will.
    pub fn step(&mut self, end: Instant) -> bool {
        self.settle();
        let timers = self.ends.iter().filter(|end| !end.dead).filter_map(|end| end.tunnel.poll_timeout());
        let arrivals = self.links.iter().filter_map(Link::next_arrival);
        let Some(next) = timers.chain(arrivals).min().filter(|next| *next <= end) else {
            self.now = self.now.max(end);
            return false;
        };
        self.now = self.now.max(next);
        for from in [CLIENT, SERVER] {
            while let Some(packet) = self.links[from].pop(self.now) {
                let to = &mut self.ends[1 - from];
                if !to.dead {
                    to.tunnel.handle_packet(self.now, InterfaceId(0), address(from), &packet);
                }
            }
        }
        for end in &mut self.ends {
            if !end.dead && end.tunnel.poll_timeout().is_some_and(|at| at <= self.now) {
                end.tunnel.handle_timeout(self.now);
            }
        }
        true
    }

    fn is_due(&self, end: usize) -> bool {
        !self.ends[end].dead && self.ends[end].tunnel.poll_timeout().is_some_and(|at| at <= self.now)
    }

    fn drain(&mut self, end: usize) {
        let mut rounds = 0;
        while self.drive(end) {
            rounds += 1;
            assert!(rounds < MAX_ROUNDS, "spin at {:?}", self.now);
        }
    }

    /// Runs until `done`, for at most `limit`. Returns whether it came to that.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.settle();
            if done(self) {
                return true;
            }
            if !self.step(end) {
                self.settle();
                return done(self);
            }
        }
    }

    /// Runs for this long.
    pub fn run(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// One round of the driver of an end. Returns whether anything moved.
    fn drive(&mut self, index: usize) -> bool {
        if self.ends[index].dead {
            return false;
        }
        // Whatever is ready makes the timeout due: a driver that only sleeps does not miss it.
        let (now, due) = (self.now, self.is_due(index));
        let mut moved = self.act(index);
        let mut buffer = Vec::new();
        while self.ends[index].tunnel.poll_transmit(now, &mut buffer).is_some() {
            self.links[index].push(now, buffer.clone());
            self.act(index); // at once: an end that comes too early loses the packets that follow
            moved = true;
        }
        let end = &mut self.ends[index];
        while let Some(event) = end.tunnel.poll_event() {
            end.events.push(event);
            moved = true;
        }
        assert!(due || !moved, "something was ready at {now:?} without being due");
        for (link, socket) in &mut end.sockets {
            if socket.opened && socket.closed.is_none() {
                moved |= pump(&mut end.tunnel, now, *link, socket);
            } else {
                assert_eq!((end.tunnel.output(*link).count(), end.tunnel.read_budget(*link)), (0, 0));
            }
        }
        moved
    }

    /// Does what the tunnel of an end wants done. Returns whether there was anything.
    fn act(&mut self, index: usize) -> bool {
        let (now, end) = (self.now, &mut self.ends[index]);
        let mut moved = false;
        while let Some(action) = end.tunnel.poll_action() {
            moved = true;
            assert_eq!(end.outcome, None, "{action:?} after the end");
            match action {
                Action::Dial(link) => {
                    assert!(!end.sockets.contains_key(&link) && index == SERVER);
                    self.dials += 1;
                    match (self.dial)(self.dials - 1) {
                        Dial::Open(mut socket) => {
                            socket.opened = true;
                            end.sockets.insert(link, socket);
                            end.tunnel.local_opened(now, link);
                        }
                        Dial::Refuse => {
                            end.sockets.insert(link, Socket::default());
                            end.tunnel.local_failed(now, link);
                        }
                        Dial::Hold => {
                            end.sockets.insert(link, Socket::default());
                            end.held.push(link);
                        }
                    }
                }
                Action::ShutdownWrite(link) => {
                    let socket = end.sockets.get_mut(&link).expect("a known link");
                    assert!(socket.opened && !socket.ended && socket.closed.is_none());
                    socket.ended = true;
                }
                Action::Close(link, kind) => {
                    let socket = end.sockets.get_mut(&link).expect("a known link");
                    assert_eq!(socket.closed, None, "link {link} closed twice");
                    socket.closed = Some(kind);
                    end.held.retain(|held| *held != link);
                }
                Action::StopAccepting => end.stopped_accepting = true,
                Action::Finished(outcome) => end.outcome = Some(outcome),
            }
        }
        moved
    }
}

/// Moves what can be moved between a link and its socket. Returns whether anything did.
fn pump(tunnel: &mut Tunnel, now: Instant, link: LinkId, socket: &mut Socket) -> bool {
    let mut moved = false;
    let (space, before) = (socket.space(), socket.received.len());
    for slice in tunnel.output(link) {
        assert!(!slice.is_empty() && !socket.ended, "output after the end");
        let left = space - (socket.received.len() - before);
        if left == 0 {
            break;
        }
        socket.received.extend_from_slice(&slice[..slice.len().min(left)]);
    }
    let written = socket.received.len() - before;
    if written > 0 {
        tunnel.consume(now, link, written);
        moved = true;
    }
    if socket.ended {
        tunnel.consume(now, link, 1); // more than there is
    }
    let limit = if socket.piece == 0 { usize::MAX } else { socket.piece };
    loop {
        let left = &socket.input[socket.read..];
        let length = tunnel.read_budget(link).min(limit).min(left.len());
        if length == 0 {
            break;
        }
        assert_eq!(tunnel.local_data(now, link, &left[..length]), length);
        socket.read += length;
        moved = true;
    }
    if socket.finish && !socket.eof_told && socket.read == socket.input.len() {
        tunnel.local_eof(now, link);
        socket.eof_told = true;
        moved = true;
    }
    assert!(!socket.eof_told || tunnel.read_budget(link) == 0, "more is wanted after the end");
    moved
}

fn address(end: usize) -> SocketAddr {
    (Ipv4Addr::new(10, 0, 0, 1 + end as u8), 4110).into()
}

fn host(seed: u64, end: usize, streams: &Config) -> (Host, Sid) {
    let mut bytes = [end as u8 + 2; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = Rng::new(bytes);
    let identity = Identity::from_seed(rng.bytes());
    let mut node = Node::new(NodeConfig::default(), identity, rng.bytes(), Instant::ZERO);
    let interface = node.add_interface(InterfaceConfig::unicast());
    node.add_peer(interface, address(1 - end));
    let sid = node.sid();
    (Host::new(node, streams.clone(), rng.bytes()), sid)
}

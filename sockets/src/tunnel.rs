//! A tunnel with its sockets, but for waiting.

use crate::handle::Handle;
use crate::local::{Local, LocalError};
use crate::report::Report;
use crate::show::{Carried, answer};
use crate::socket::{LAST_TURNS, Socket};
use crate::status::{MAX_ASKERS, StatusSocket};
use crate::stdio::StdioLink;
use crate::tcp::{ACCEPTS_PER_TURN, Acceptor, TcpLink};
use log::Level;
use msp_core::msp::{ConnectError, Limit, ListenError};
use msp_core::tunnel::{self, Action, LinkId, Outcome, TunnelConfig, TunnelEvent};
use msp_core::{Addr, Host, Instant, Port};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::iter;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// Bytes read from a TCP connection at once.
const READ_BUFFER: usize = 64 * 1024;

/// A target that cannot be reached is worth a line no more often than this.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Where the streams go that peers open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A TCP connection for each, to the first of these addresses that answers.
    Tcp(Vec<SocketAddr>),
    /// The first one to standard input and output, and then no more.
    Stdio,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Tcp(addresses) = self else { return f.write_str("standard input and output") };
        for (index, address) in addresses.iter().enumerate() {
            write!(f, "{}{address}", if index > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

/// Where the streams come from that are opened to a peer.
#[derive(Debug)]
pub enum Source {
    /// One for each TCP connection that is accepted here.
    Tcp(TcpListener),
    /// One for standard input and output.
    Stdio,
}

/// Why a tunnel cannot run, or a question to other nodes broke off.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The MSP port cannot be listened on.
    Listen(ListenError),
    /// The peer's address is impossible.
    Connect(ConnectError),
    /// The system lacks something, or failed in what everything depends on.
    Io(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(error) => error.fmt(f),
            Self::Connect(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What a tunnel waits for beside its [`Socket`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A socket of the node, by its place among them.
    Socket(u8),
    /// Its TCP listener.
    Acceptor,
    /// Where it is asked about itself.
    Questions,
    /// One that asks, of at most [`Part::ASKERS`].
    Asker(u8),
    /// The local side of a link.
    Link(LinkId),
}

impl Part {
    /// Those that ask are numbered below this.
    pub const ASKERS: u8 = MAX_ASKERS as u8;
}

/// What a part is ready for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Readiness {
    /// It can be read, or an error or an end waits to be read.
    pub readable: bool,
    /// The same for writing.
    pub writable: bool,
    /// The system says that it has an error.
    pub failed: bool,
}

/// What has changed about what is to be waited for.
#[derive(Debug)]
pub enum Watch {
    /// This is to be waited for from now on, for reading and, if it [waits for room](Handle::waits_for_room), for
    /// writing. What was waited for as this part before is gone.
    Begin(Part, Handle),
    /// This part is gone.
    End(Part),
}

/// A tunnel with its sockets, driven in turns like a [`Socket`]. Whoever waits for them asks
/// [`Tunnel::poll_watch`] after every turn what to wait for.
#[derive(Debug)]
#[must_use = "nothing happens until it is driven"]
pub struct Tunnel {
    tunnel: tunnel::Tunnel,
    socket: Socket,
    target: Target,
    links: BTreeMap<LinkId, Box<Local>>,
    acceptor: Option<Acceptor>,
    watches: VecDeque<Watch>,
    buffer: Vec<u8>,
    /// Only one link is carried, and its end is the outcome: the caller's to report.
    once: bool,
    /// When it was last said that the target cannot be reached.
    unreachable: Option<Instant>,
    /// How it has ended, and the turns that are left to send its last packets.
    ended: Option<(Outcome, usize)>,
    /// When the last turn was, and whether it did anything: then there may be more to do.
    turn: (Instant, bool),
    limit_name: fn(Limit) -> &'static str,
    status: Option<StatusSocket>,
}

impl Tunnel {
    /// A tunnel that carries the streams that peers open to `port`. With [`TunnelConfig::once`] it ends with
    /// the first; with [`Target::Stdio`] that is implied, and standard output is closed when the peer has
    /// finished.
    ///
    /// # Errors
    ///
    /// If the port cannot be listened on.
    pub fn listen(
        host: Host,
        socket: Socket,
        port: Port,
        target: Target,
        mut config: TunnelConfig,
    ) -> Result<Self, Error> {
        config.once |= target == Target::Stdio;
        let once = config.once;
        let tunnel = tunnel::Tunnel::listen(host, port, config).map_err(Error::Listen)?;
        Ok(Self::new(tunnel, socket, target, once))
    }

    /// A tunnel that opens a stream to `remote` for every connection of `source`. With
    /// [`TunnelConfig::once`] it ends with the first; with [`Source::Stdio`] that is implied, and standard
    /// output is closed when the peer has finished.
    ///
    /// # Errors
    ///
    /// If `remote` cannot be anybody's address, or the system lacks something.
    pub fn connect(
        host: Host,
        socket: Socket,
        remote: Addr,
        source: Source,
        mut config: TunnelConfig,
    ) -> Result<Self, Error> {
        config.once |= matches!(source, Source::Stdio);
        let once = config.once;
        let tunnel = tunnel::Tunnel::connect(host, remote, config).map_err(Error::Connect)?;
        let mut tunnel = Self::new(tunnel, socket, Target::Stdio, once);
        match source {
            Source::Tcp(listener) => tunnel.accept_from(listener)?,
            Source::Stdio => tunnel.take_stdio(),
        }
        Ok(tunnel)
    }

    fn new(tunnel: tunnel::Tunnel, socket: Socket, target: Target, once: bool) -> Self {
        Self {
            turn: (socket.now(), true),
            watches: (0..)
                .zip(socket.handles())
                .map(|(place, it)| Watch::Begin(Part::Socket(place), it))
                .collect(),
            tunnel,
            socket,
            target,
            links: BTreeMap::new(),
            acceptor: None,
            buffer: vec![0; READ_BUFFER],
            once,
            unreachable: None,
            ended: None,
            limit_name: |_| "the configuration",
            status: None,
        }
    }

    /// Answers from now on what it is asked about itself.
    pub fn answer_at(&mut self, status: StatusSocket) {
        self.status = Some(status);
        self.watch();
    }

    /// Warnings that a limit was hit call what sets it by this name.
    pub fn name_limits(&mut self, name: fn(Limit) -> &'static str) {
        self.limit_name = name;
    }

    /// What has changed about what is to be waited for.
    pub fn poll_watch(&mut self) -> Option<Watch> {
        self.watches.pop_front()
    }

    /// Remembers that a part is ready; the work is done in the next turn. Unknown parts are no matter.
    pub fn ready(&mut self, part: Part, readiness: Readiness) {
        match part {
            Part::Socket(_) => self.socket.ready(readiness.readable, readiness.writable),
            Part::Acceptor => self.acceptor.iter_mut().for_each(Acceptor::ready),
            Part::Questions | Part::Asker(_) => {
                self.status.iter_mut().for_each(|status| status.ready(part, readiness));
            }
            Part::Link(id) => {
                if let Some(local) = self.links.get_mut(&id) {
                    local.ready(readiness);
                }
            }
        }
    }

    /// Whether a part waits until it can be read, and until it can be written, after a turn that moved nothing. To
    /// those that wait in another way than to be told of every change.
    #[must_use]
    pub fn wanted(&self, part: Part) -> (bool, bool) {
        match part {
            Part::Socket(_) => (true, self.socket.waits_for_room()),
            Part::Acceptor => (self.acceptor.as_ref().is_some_and(|it| !it.is_readable()), false),
            Part::Questions | Part::Asker(_) => {
                self.status.as_ref().map_or((false, false), |status| status.wanted(part))
            }
            Part::Link(id) => self.links.get(&id).map_or((false, false), |local| local.wanted()),
        }
    }

    /// A part cannot be waited for.
    pub fn unwatched(&mut self, part: Part, error: io::Error) {
        if let Part::Link(id) = part {
            self.fail(self.socket.now(), id, &LocalError::Broken(error));
        } else if let Some(status) = &mut self.status {
            status.unwatched(part);
        }
    }

    /// Does a bounded share of everything that can be done now.
    pub fn turn(&mut self) {
        let Self { tunnel, socket, .. } = self;
        let now = socket.now();
        let received = socket.receive(&mut |incoming| tunnel.handle_incoming(now, incoming));
        tunnel.handle_timeout(now);
        let acted = self.take_actions(now);
        let moved = self.move_bytes(now);
        let accepted = self.accept(now);
        let told = self.tell(now);
        self.watch();
        let Self { tunnel, socket, .. } = self;
        let sent = socket.transmit(now, &mut |buffer| tunnel.poll_transmit(now, buffer));
        self.turn = (now, received || acted || moved || accepted || told || sent);
        if let Some((_, turns)) = &mut self.ended {
            *turns = turns.saturating_sub(1);
        }
    }

    /// How long to wait for events before the next [turn](Tunnel::turn).
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        let acceptor = self.acceptor.as_ref().and_then(Acceptor::deadline);
        let deadline = self.tunnel.poll_timeout().into_iter().chain(acceptor).min();
        let (now, progress) = self.turn;
        self.socket.timeout_after(now, progress, deadline)
    }

    /// What has happened, oldest first. It is logged as well, as soon as it is taken.
    pub fn poll_event(&mut self) -> Option<TunnelEvent> {
        let report =
            Report { stdio: self.target == Target::Stdio, once: self.once, limit_name: self.limit_name };
        self.tunnel.poll_event().inspect(|event| report.log(event))
    }

    /// How it has ended, once its last packets are on their way.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        let (outcome, turns) = self.ended?;
        let (_, progress) = self.turn;
        let done = !progress && !self.socket.is_blocked() && self.tunnel.poll_timeout().is_none();
        (done || turns == 0).then_some(outcome)
    }

    /// Ends it: the peers are told, and then there is an [outcome](Tunnel::outcome). The second time, it ends at
    /// once.
    pub fn shutdown(&mut self) {
        self.tunnel.shutdown(self.socket.now());
        self.turn.1 = true;
    }

    fn accept_from(&mut self, listener: TcpListener) -> io::Result<()> {
        let acceptor = Acceptor::new(listener)?;
        self.watches.push_back(Watch::Begin(Part::Acceptor, acceptor.handle()));
        self.acceptor = Some(acceptor);
        Ok(())
    }

    fn take_stdio(&mut self) {
        let now = self.socket.now();
        if let Some(id) = self.tunnel.local_accepted(now) {
            self.open(now, id, |_| StdioLink::open(id).map(Local::Stdio).map_err(LocalError::Broken));
        }
    }

    /// Has what is new waited for.
    fn watch(&mut self) {
        for (id, local) in &mut self.links {
            self.watches.extend(local.take_new().map(|handle| Watch::Begin(Part::Link(*id), handle)));
        }
        let status = self.status.iter_mut();
        self.watches.extend(status.flat_map(|status| iter::from_fn(|| status.poll_watch())));
    }

    /// Answers those who ask.
    fn tell(&mut self, now: Instant) -> bool {
        let Self { tunnel, socket, status, .. } = self;
        let Some(status) = status else { return false };
        status.turn(&mut |about, question| {
            let streams = tunnel.statuses(now).collect();
            answer(about, question, tunnel.uplink(), &socket.local_addrs(), Carried::Streams(streams))
        })
    }

    fn take_actions(&mut self, now: Instant) -> bool {
        let mut progress = false;
        while let Some(action) = self.tunnel.poll_action() {
            progress = true;
            match action {
                Action::Dial(id) => {
                    self.open(now, id, |tunnel| tunnel.dial(now, id).map_err(LocalError::Unreachable));
                }
                Action::ShutdownWrite(id) => {
                    if let Some(local) = self.links.get_mut(&id) {
                        local.shutdown_write();
                    }
                }
                Action::Close(id, kind) => {
                    if let Some(local) = self.links.remove(&id) {
                        local.close(kind);
                    }
                    self.watches.push_back(Watch::End(Part::Link(id)));
                }
                Action::StopAccepting => {
                    self.acceptor = None;
                    self.watches.push_back(Watch::End(Part::Acceptor));
                }
                Action::Finished(outcome) => {
                    log::debug!("{:?}", self.socket);
                    self.ended = Some((outcome, LAST_TURNS));
                }
                _ => {}
            }
        }
        progress
    }

    fn dial(&mut self, now: Instant, id: LinkId) -> io::Result<Local> {
        match &self.target {
            Target::Tcp(targets) => Ok(Local::Tcp(TcpLink::connect(id, targets)?)),
            Target::Stdio => {
                let link = StdioLink::open(id)?;
                self.tunnel.local_opened(now, id);
                Ok(Local::Stdio(link))
            }
        }
    }

    /// Adds the local side of a link, or tells the tunnel that there is none.
    fn open(&mut self, now: Instant, id: LinkId, open: impl FnOnce(&mut Self) -> Result<Local, LocalError>) {
        match open(self) {
            Ok(local) => {
                self.links.insert(id, Box::new(local));
            }
            Err(error) => self.fail(now, id, &error),
        }
    }

    fn move_bytes(&mut self, now: Instant) -> bool {
        let Self { tunnel, links, buffer, .. } = self;
        let (mut progress, mut failed) = (false, Vec::new());
        for local in links.values_mut() {
            match local.turn(tunnel, now, buffer) {
                Ok(moved) => progress |= moved,
                Err(error) => failed.push((local.id(), error)),
            }
        }
        progress |= !failed.is_empty();
        failed.iter().for_each(|(id, error)| self.fail(now, *id, error));
        progress
    }

    /// The local side of a link has failed; only here is it known why.
    fn fail(&mut self, now: Instant, id: LinkId, error: &LocalError) {
        match error {
            LocalError::Unreachable(error) => {
                let due = self.unreachable.is_none_or(|at| now >= at + REPORT_INTERVAL);
                if due {
                    self.unreachable = Some(now);
                }
                let level = if due { Level::Warn } else { Level::Info };
                log::log!(level, "link {id}: cannot connect to {}: {error}", self.target);
            }
            LocalError::Broken(error) => {
                // The end of the only link is the end of the program, whose last line does not say why.
                let level = if self.once { Level::Warn } else { Level::Info };
                log::log!(level, "link {id}: {error}");
            }
        }
        self.tunnel.local_failed(now, id);
    }

    fn accept(&mut self, now: Instant) -> bool {
        let mut progress = false;
        for _ in 0..ACCEPTS_PER_TURN {
            let acceptor = self.acceptor.as_mut().filter(|_| self.tunnel.can_accept());
            let Some(stream) = acceptor.and_then(|acceptor| acceptor.accept(now)) else { break };
            progress = true;
            let Some(id) = self.tunnel.local_accepted(now) else { continue };
            self.open(now, id, |_| TcpLink::accepted(id, stream).map(Local::Tcp).map_err(LocalError::Broken));
        }
        progress
    }
}

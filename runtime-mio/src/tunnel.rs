//! A tunnel with its sockets, in anybody's loop.

use crate::local::{Local, LocalError};
use crate::node::Node;
use crate::runtime::Error;
use crate::socket::ready;
use crate::stdio::StdioLink;
use crate::tcp::{ACCEPTS_PER_TURN, Acceptor, TcpLink};
use log::Level;
use mio::event::Event;
use mio::{Registry, Token};
use msp_core::msp::Limit;
use msp_core::tunnel::{self, Action, EndReason, LinkId, Outcome, TunnelConfig, TunnelEvent};
use msp_core::{Addr, Instant, Port};
use msp_sockets::{LAST_TURNS, Socket, log_uplink};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use std::{fmt, io};

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

impl Node {
    /// A tunnel that carries the streams that peers open to `port`. With [`TunnelConfig::once`] it ends with
    /// the first; with [`Target::Stdio`] that is implied, and standard output is closed when the peer has
    /// finished.
    ///
    /// # Errors
    ///
    /// If the port cannot be listened on.
    pub fn listen(self, port: Port, target: Target, mut config: TunnelConfig) -> Result<Tunnel, Error> {
        config.once |= target == Target::Stdio;
        let once = config.once;
        let tunnel = tunnel::Tunnel::listen(self.host, port, config).map_err(Error::Listen)?;
        Ok(Tunnel::new(tunnel, (self.socket, self.token, self.registry), target, once))
    }

    /// A tunnel that opens a stream to `remote` for every connection of `source`. With
    /// [`TunnelConfig::once`] it ends with the first; with [`Source::Stdio`] that is implied, and standard
    /// output is closed when the peer has finished.
    ///
    /// # Errors
    ///
    /// If `remote` cannot be anybody's address, or the system lacks something.
    pub fn connect(self, remote: Addr, source: Source, mut config: TunnelConfig) -> Result<Tunnel, Error> {
        config.once |= matches!(source, Source::Stdio);
        let once = config.once;
        let tunnel = tunnel::Tunnel::connect(self.host, remote, config).map_err(Error::Connect)?;
        let mut tunnel = Tunnel::new(tunnel, (self.socket, self.token, self.registry), Target::Stdio, once);
        match source {
            Source::Tcp(listener) => tunnel.listen(listener)?,
            Source::Stdio => tunnel.take_stdio(),
        }
        Ok(tunnel)
    }
}

/// A tunnel inside the caller's [`mio::Poll`], beside whatever else waits there. [`Node::listen`] and
/// [`Node::connect`] make it.
///
/// Its loop is that of a [`Node`], until there is an [outcome](Tunnel::outcome). It takes the token of the node that
/// it was made of and those above it: they are counted up with every TCP connection, and none is used again. So the
/// caller's own tokens are below, and a second tunnel in the same poll begins far above the first.
#[derive(Debug)]
#[must_use = "nothing happens until it is driven"]
pub struct Tunnel {
    tunnel: tunnel::Tunnel,
    socket: Socket,
    token: Token,
    registry: Registry,
    target: Target,
    links: BTreeMap<Token, Local>,
    acceptor: Option<Acceptor>,
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
}

impl Tunnel {
    fn new(
        tunnel: tunnel::Tunnel,
        (socket, token, registry): (Socket, Token, Registry),
        target: Target,
        once: bool,
    ) -> Self {
        Self {
            turn: (socket.now(), true),
            tunnel,
            socket,
            token,
            registry,
            target,
            links: BTreeMap::new(),
            acceptor: None,
            buffer: vec![0; READ_BUFFER],
            once,
            unreachable: None,
            ended: None,
            limit_name: |_| "the configuration",
        }
    }

    /// Warnings that a limit was hit call what sets it by this name.
    pub fn name_limits(&mut self, name: fn(Limit) -> &'static str) {
        self.limit_name = name;
    }

    /// Remembers what an event says; the work is done in the next [turn](Tunnel::turn). False if the event is not
    /// about this tunnel, or about a connection that has ended.
    pub fn handle_event(&mut self, event: &Event) -> bool {
        if ready(&mut self.socket, self.token, event) {
            return true;
        }
        if event.token() == self.acceptor_token() {
            self.acceptor.iter_mut().for_each(Acceptor::ready);
            return true;
        }
        let local = self.links.get_mut(&event.token());
        local.map(|local| local.ready(event)).is_some()
    }

    /// Does a bounded share of everything that can be done now.
    pub fn turn(&mut self) {
        let Self { tunnel, socket, .. } = self;
        let now = socket.now();
        let received = socket.receive(|incoming| tunnel.handle_incoming(now, incoming));
        tunnel.handle_timeout(now);
        let acted = self.take_actions(now);
        let moved = self.move_bytes(now);
        let accepted = self.accept(now);
        let Self { tunnel, socket, .. } = self;
        let sent = socket.transmit(now, |buffer| tunnel.poll_transmit(now, buffer));
        self.turn = (now, received || acted || moved || accepted || sent);
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
        self.tunnel.poll_event().inspect(|event| self.log(event))
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

    fn listen(&mut self, listener: TcpListener) -> io::Result<()> {
        self.acceptor = Some(Acceptor::new(&self.registry, self.acceptor_token(), listener)?);
        Ok(())
    }

    fn take_stdio(&mut self) {
        let now = self.socket.now();
        if let Some(id) = self.tunnel.local_accepted(now) {
            self.open(now, id, |tunnel, token| {
                let link = StdioLink::open(&tunnel.registry, token, id).map_err(LocalError::Broken)?;
                Ok(Local::Stdio(link))
            });
        }
    }

    fn acceptor_token(&self) -> Token {
        Token(self.token.0.wrapping_add(1))
    }

    /// Links are numbered in the order in which they begin, and no machine lives to see them wrap.
    fn token_of(&self, id: LinkId) -> Token {
        Token(self.acceptor_token().0.wrapping_add(1).wrapping_add(id.get() as usize))
    }

    fn take_actions(&mut self, now: Instant) -> bool {
        let mut progress = false;
        while let Some(action) = self.tunnel.poll_action() {
            progress = true;
            match action {
                Action::Dial(id) => self.open(now, id, |tunnel, token| {
                    tunnel.dial(now, id, token).map_err(LocalError::Unreachable)
                }),
                Action::ShutdownWrite(id) => {
                    if let Some(local) = self.links.get_mut(&self.token_of(id)) {
                        local.shutdown_write();
                    }
                }
                Action::Close(id, kind) => {
                    if let Some(local) = self.links.remove(&self.token_of(id)) {
                        local.close(kind);
                    }
                }
                Action::StopAccepting => self.acceptor = None,
                Action::Finished(outcome) => {
                    log::debug!("{:?}", self.socket);
                    self.ended = Some((outcome, LAST_TURNS));
                }
                _ => {}
            }
        }
        progress
    }

    fn dial(&mut self, now: Instant, id: LinkId, token: Token) -> io::Result<Local> {
        match &self.target {
            Target::Tcp(targets) => Ok(Local::Tcp(TcpLink::connect(&self.registry, token, id, targets)?)),
            Target::Stdio => {
                let link = StdioLink::open(&self.registry, token, id)?;
                self.tunnel.local_opened(now, id);
                Ok(Local::Stdio(link))
            }
        }
    }

    /// Adds the local side of a link, or tells the tunnel that there is none.
    fn open(
        &mut self,
        now: Instant,
        id: LinkId,
        open: impl FnOnce(&mut Self, Token) -> Result<Local, LocalError>,
    ) {
        let token = self.token_of(id);
        match open(self, token) {
            Ok(local) => {
                self.links.insert(token, local);
            }
            Err(error) => self.fail(now, id, &error),
        }
    }

    fn move_bytes(&mut self, now: Instant) -> bool {
        let Self { tunnel, registry, links, buffer, .. } = self;
        let (mut progress, mut failed) = (false, Vec::new());
        for local in links.values_mut() {
            match local.turn(registry, tunnel, now, buffer) {
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
            self.open(now, id, |tunnel, token| {
                let link =
                    TcpLink::accepted(&tunnel.registry, token, id, stream).map_err(LocalError::Broken)?;
                Ok(Local::Tcp(link))
            });
        }
        progress
    }

    fn log(&self, event: &TunnelEvent) {
        match event {
            TunnelEvent::Opened { link, peer } => log::info!("link {link}: open, peer {peer}"),
            TunnelEvent::Closed { link, peer, reason, received, sent } => {
                // What was opened by strangers and has carried nothing is not worth a line each.
                let is_idle = self.target != Target::Stdio && *received == 0;
                let expected = self.once || *reason == EndReason::Finished || is_idle;
                let level = if expected { Level::Info } else { Level::Warn };
                log::log!(
                    level,
                    "link {link}: {reason}; peer {peer}, {received} bytes received, {sent} sent"
                );
            }
            TunnelEvent::LimitReached { peer } => {
                let name = (self.limit_name)(Limit::Streams);
                log::warn!("too many connections: one with {peer} was not carried; {name} allows no more");
            }
            TunnelEvent::PeerLimited { limit, peer } => {
                let name = (self.limit_name)(*limit);
                log::warn!("{limit}: {peer} was held off; {name} allows no more");
            }
            TunnelEvent::Uplink(event) => log_uplink(event),
            _ => {}
        }
    }
}

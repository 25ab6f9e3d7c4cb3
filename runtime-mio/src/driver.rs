//! The loop that drives a tunnel.

use crate::local::Local;
use crate::runtime::{Error, Runtime, random};
use crate::stdio::StdioLink;
use crate::tcp::{ACCEPTS_PER_TURN, Acceptor, TcpLink};
use crate::wires::{ACCEPTOR, FIRST_LINK, LAST_TURNS, Wires};
use mio::Token;
use msp_core::mdp::{DaemonEvent, NodeEvent, UplinkEvent};
use msp_core::msp::Limit;
use msp_core::tunnel::{Action, EndReason, LinkId, Outcome, Tunnel, TunnelConfig, TunnelEvent};
use msp_core::{Addr, Host, Instant, Port};
use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Bytes read from a TCP connection at once.
const READ_BUFFER: usize = 64 * 1024;

/// Where the streams go that peers open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A TCP connection for each, to the first of these addresses that answers.
    Tcp(Vec<SocketAddr>),
    /// The first one to standard input and output, and then no more.
    Stdio,
}

/// Where the streams come from that are opened to a peer.
#[derive(Debug)]
pub enum Source {
    /// One for each TCP connection that is accepted here.
    Tcp(TcpListener),
    /// One for standard input and output.
    Stdio,
}

impl Runtime {
    /// A tunnel that carries the streams that peers open to `port`. With [`TunnelConfig::once`] it ends with
    /// the first; with [`Target::Stdio`] that is implied, and standard output is closed when the peer has
    /// finished.
    ///
    /// # Errors
    ///
    /// If the port cannot be listened on, or the system has no random numbers.
    pub fn listen(self, port: Port, target: Target, mut config: TunnelConfig) -> Result<Driver, Error> {
        config.once |= target == Target::Stdio;
        let once = config.once;
        let (host, wires) = self.into_host()?;
        let tunnel = Tunnel::listen(host, port, config).map_err(Error::Listen)?;
        Ok(Driver::new(wires, tunnel, target, once))
    }

    /// A tunnel that opens a stream to `remote` for every connection of `source`. With
    /// [`TunnelConfig::once`] it ends with the first; with [`Source::Stdio`] that is implied, and standard
    /// output is closed when the peer has finished.
    ///
    /// # Errors
    ///
    /// If `remote` cannot be anybody's address, or the system lacks something.
    pub fn connect(self, remote: Addr, source: Source, mut config: TunnelConfig) -> Result<Driver, Error> {
        config.once |= matches!(source, Source::Stdio);
        let once = config.once;
        let (host, wires) = self.into_host()?;
        let tunnel = Tunnel::connect(host, remote, config).map_err(Error::Connect)?;
        let mut driver = Driver::new(wires, tunnel, Target::Stdio, once);
        match source {
            Source::Tcp(listener) => driver.listen(listener)?,
            Source::Stdio => driver.take_stdio(),
        }
        Ok(driver)
    }

    fn into_host(self) -> io::Result<(Host, Wires)> {
        Ok((Host::new(self.uplink, self.streams, random()?), self.wires))
    }
}

/// A tunnel that is ready to [run](Driver::run).
#[derive(Debug)]
#[must_use = "nothing happens until it runs"]
pub struct Driver {
    wires: Wires,
    tunnel: Tunnel,
    target: Target,
    links: BTreeMap<Token, Local>,
    acceptor: Option<Acceptor>,
    buffer: Vec<u8>,
    /// Only one link is carried, and its end is the outcome: the caller's to report.
    once: bool,
    outcome: Option<Outcome>,
    limit_name: fn(Limit) -> &'static str,
}

impl Driver {
    fn new(wires: Wires, tunnel: Tunnel, target: Target, once: bool) -> Self {
        let (links, buffer) = (BTreeMap::new(), vec![0; READ_BUFFER]);
        let limit_name = |_| "the configuration";
        Self { wires, tunnel, target, links, acceptor: None, buffer, once, outcome: None, limit_name }
    }

    /// Warnings that a limit was hit call what sets it by this name.
    pub fn name_limits(mut self, name: fn(Limit) -> &'static str) -> Self {
        self.limit_name = name;
        self
    }

    fn listen(&mut self, listener: TcpListener) -> io::Result<()> {
        self.acceptor = Some(Acceptor::new(self.wires.poll.registry(), ACCEPTOR, listener)?);
        Ok(())
    }

    fn take_stdio(&mut self) {
        let now = self.wires.now();
        if let Some(id) = self.tunnel.local_accepted(now) {
            self.open(now, id, |driver| Ok(Local::Stdio(StdioLink::open(id, &driver.wires.waker)?)));
        }
    }

    /// Carries bytes until the tunnel ends or is [stopped](crate::Stopper).
    ///
    /// # Errors
    ///
    /// If the system fails in what everything depends on. What befalls a stream is no error here.
    pub fn run(self) -> io::Result<Outcome> {
        self.run_with(|_| ())
    }

    /// The same, and `on_event` is told what happens.
    ///
    /// # Errors
    ///
    /// As for [`Driver::run`].
    pub fn run_with(mut self, mut on_event: impl FnMut(&TunnelEvent)) -> io::Result<Outcome> {
        let mut events = Wires::events();
        loop {
            let now = self.wires.now();
            let progress = self.turn(now, &mut on_event);
            if let Some(outcome) = self.outcome {
                self.send_rest(&mut events, &mut on_event)?;
                return Ok(outcome);
            }
            let deadline = self.deadline();
            self.wires.wait(&mut events, now, progress, deadline)?;
            for event in &events {
                match event.token() {
                    ACCEPTOR => self.acceptor.iter_mut().for_each(Acceptor::ready),
                    token => {
                        if let Some(local) = self.links.get_mut(&token) {
                            local.ready(event);
                        }
                    }
                }
            }
        }
    }

    /// Does a bounded share of everything that can be done now. True if anything was done.
    fn turn(&mut self, now: Instant, on_event: &mut impl FnMut(&TunnelEvent)) -> bool {
        if self.wires.take_stop() {
            self.tunnel.shutdown(now);
        }
        let Self { wires, tunnel, .. } = self;
        let received = wires.receive(|incoming| tunnel.handle_incoming(now, incoming));
        if tunnel.poll_timeout().is_some_and(|at| at <= now) {
            tunnel.handle_timeout(now);
        }
        let acted = self.take_actions(now);
        let moved = self.move_bytes(now);
        let accepted = self.accept(now);
        let sent = self.transmit(now);
        let reported = self.report(on_event);
        received || acted || moved || accepted || sent || reported
    }

    fn take_actions(&mut self, now: Instant) -> bool {
        let mut progress = false;
        while let Some(action) = self.tunnel.poll_action() {
            progress = true;
            match action {
                Action::Dial(id) => self.open(now, id, |driver| driver.dial(now, id)),
                Action::ShutdownWrite(id) => {
                    if let Some(local) = self.links.get_mut(&token_of(id)) {
                        local.shutdown_write();
                    }
                }
                Action::Close(id, kind) => {
                    if let Some(local) = self.links.remove(&token_of(id)) {
                        local.close(kind);
                    }
                }
                Action::StopAccepting => self.acceptor = None,
                Action::Finished(outcome) => self.outcome = Some(outcome),
                _ => {}
            }
        }
        progress
    }

    fn dial(&mut self, now: Instant, id: LinkId) -> io::Result<Local> {
        match &self.target {
            Target::Tcp(targets) => {
                let registry = self.wires.poll.registry();
                Ok(Local::Tcp(TcpLink::connect(registry, token_of(id), id, targets)?))
            }
            Target::Stdio => {
                let link = StdioLink::open(id, &self.wires.waker)?;
                self.tunnel.local_opened(now, id);
                Ok(Local::Stdio(link))
            }
        }
    }

    /// Adds the local side of a link, or tells the tunnel that there is none.
    fn open(&mut self, now: Instant, id: LinkId, open: impl FnOnce(&mut Self) -> io::Result<Local>) {
        match open(self) {
            Ok(local) => {
                self.links.insert(token_of(id), local);
            }
            Err(error) => {
                log::warn!("link {id}: {error}");
                self.tunnel.local_failed(now, id);
            }
        }
    }

    fn move_bytes(&mut self, now: Instant) -> bool {
        let Self { wires, tunnel, links, buffer, .. } = self;
        let registry = wires.poll.registry();
        let mut progress = false;
        for local in links.values_mut() {
            progress |= local.turn(registry, tunnel, now, buffer);
        }
        progress
    }

    fn accept(&mut self, now: Instant) -> bool {
        let mut progress = false;
        for _ in 0..ACCEPTS_PER_TURN {
            let acceptor = self.acceptor.as_mut().filter(|_| self.tunnel.can_accept());
            let Some(stream) = acceptor.and_then(|acceptor| acceptor.accept(now)) else { break };
            progress = true;
            let Some(id) = self.tunnel.local_accepted(now) else { continue };
            self.open(now, id, |driver| {
                let registry = driver.wires.poll.registry();
                Ok(Local::Tcp(TcpLink::accepted(registry, token_of(id), id, stream)?))
            });
        }
        progress
    }

    fn transmit(&mut self, now: Instant) -> bool {
        let Self { wires, tunnel, .. } = self;
        wires.transmit(now, |buffer| tunnel.poll_transmit(now, buffer))
    }

    fn report(&mut self, on_event: &mut impl FnMut(&TunnelEvent)) -> bool {
        let mut progress = false;
        while let Some(event) = self.tunnel.poll_event() {
            progress = true;
            self.log(&event);
            on_event(&event);
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
                let level = if expected { log::Level::Info } else { log::Level::Warn };
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

    /// When the next turn is due if nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let acceptor = self.acceptor.as_ref().and_then(Acceptor::deadline);
        self.tunnel.poll_timeout().into_iter().chain(acceptor).min()
    }

    /// Hands the packets to the kernel that it has not taken yet.
    fn send_rest(
        &mut self,
        events: &mut mio::Events,
        on_event: &mut impl FnMut(&TunnelEvent),
    ) -> io::Result<()> {
        for _ in 0..LAST_TURNS {
            let now = self.wires.now();
            let progress = self.transmit(now);
            let deadline = self.tunnel.poll_timeout();
            if !progress && !self.wires.is_blocked() && deadline.is_none() {
                break;
            }
            self.wires.wait(events, now, progress, deadline)?;
        }
        self.report(on_event);
        log::debug!("{:?}", self.wires);
        Ok(())
    }
}

/// Links are numbered in the order in which they begin, and no machine lives to see them wrap.
fn token_of(id: LinkId) -> Token {
    Token(FIRST_LINK.saturating_add(id.get() as usize))
}

fn log_uplink(event: &UplinkEvent) {
    match event {
        UplinkEvent::Node(NodeEvent::NeighbourUp { sid, address, .. }) => {
            log::info!("neighbour {sid} at UDP {address}");
        }
        UplinkEvent::Node(NodeEvent::NeighbourDown { sid }) => log::info!("neighbour {sid} is gone"),
        UplinkEvent::Node(_) => {}
        UplinkEvent::Daemon(event @ (DaemonEvent::Up { .. } | DaemonEvent::Bound { .. })) => {
            log::info!("{event}");
        }
        UplinkEvent::Daemon(event) => log::warn!("{event}"),
    }
}

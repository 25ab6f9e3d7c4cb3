//! The way out of this process, whichever it is.

use crate::clients::instance;
use crate::clock::Clock;
use crate::config::{BindError, Config};
use crate::daemon::{DaemonSocket, Sent};
use crate::handle::Handle;
use crate::plugs::Plugs;
use crate::run::RunDirectory;
use crate::udp::Udp;
use msp_core::mdp::{Daemon, DaemonConfig, Incoming, Instance, Node, NodeConfig, Transmit};
use msp_core::{Host, Identity, Instant, Port, msp};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Turns to hand the last packets to the kernel or a daemon.
pub const LAST_TURNS: usize = 100;
/// The shortest sleep after a turn that moved nothing, so that no mistake can turn into a busy loop.
const MIN_SLEEP: Duration = Duration::from_millis(1);

/// A node with this identity, bound and knowing its peers, but silent until it is driven.
///
/// # Errors
///
/// If a UDP address cannot be bound, or a peer is of another IP version than all of them.
pub fn bind(identity: Identity, config: &Config) -> Result<(Host, Socket), BindError> {
    let random = || random().map_err(|source| BindError { address: config.udp, source });
    let clock = Clock::start();
    let now = clock.now();
    let mut node = Node::new(NodeConfig::default(), identity, random()?, now);
    let plugs = Plugs::bind(config, now, &mut node)?;
    let host = Host::new(node, config.streams.clone(), random()?);
    Ok((host, Socket { kind: Kind::Udp(Box::new(plugs)), clock, unreachable: false }))
}

/// A client of the daemon of `instance`, which has a node and an identity of its own. `port` is the MDP port to
/// listen on, if there is one: it names the socket, so that what an earlier client has left behind at the
/// daemon is taken over. The daemon need not run yet.
///
/// # Errors
///
/// [`AddrInUse`](io::ErrorKind::AddrInUse) if another program listens on this port through this daemon; otherwise what the
/// system lacks.
pub fn attach(instance: &Instance, port: Option<Port>, streams: msp::Config) -> io::Result<(Host, Socket)> {
    let socket = DaemonSocket::bind(instance, port)?;
    join(socket, DaemonConfig::for_streams(streams.max_streams), streams)
}

/// A client of the node that runs in this directory, as [`attach`] makes one of a daemon. The node need not run yet.
///
/// # Errors
///
/// As for [`attach`]; or if the path of the directory is not absolute, or too long.
pub fn attach_to_node(
    directory: &RunDirectory,
    port: Option<Port>,
    streams: msp::Config,
) -> io::Result<(Host, Socket)> {
    let socket = DaemonSocket::bind_to_node(&instance(directory)?, port)?;
    join(socket, DaemonConfig::for_node(streams.max_streams), streams)
}

fn join(socket: DaemonSocket, config: DaemonConfig, streams: msp::Config) -> io::Result<(Host, Socket)> {
    let clock = Clock::start();
    let host = Host::new(Daemon::new(config, clock.now()), streams, random()?);
    Ok((host, Socket { kind: Kind::Daemon(socket), clock, unreachable: false }))
}

/// Random bytes from the operating system, such as the seed of a new [`Identity`].
///
/// # Errors
///
/// If the system has none to give.
pub fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

/// What moves packets, with the clock.
#[derive(Debug)]
pub struct Socket {
    kind: Kind,
    clock: Clock,
    /// No daemon was there to take what was sent.
    unreachable: bool,
}

#[derive(Debug)]
enum Kind {
    /// To other nodes, over our interfaces.
    Udp(Box<Plugs>),
    /// To a daemon.
    Daemon(DaemonSocket),
}

impl Socket {
    /// What to wait for, all of it as for one.
    #[must_use]
    pub fn handles(&self) -> Vec<Handle> {
        match &self.kind {
            Kind::Udp(plugs) => plugs.handles(),
            Kind::Daemon(daemon) => vec![Handle::Daemon(Arc::clone(daemon.socket()))],
        }
    }

    /// The time that is now.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The clock that all that goes through it is timed by.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// The UDP address of the first interface. `None` at a daemon.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addrs().first().copied()
    }

    /// The UDP addresses of all interfaces. None at a daemon.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        match &self.kind {
            Kind::Udp(plugs) => plugs.local_addrs(),
            Kind::Daemon(_) => Vec::new(),
        }
    }

    /// Remembers that it is ready; the work is done in the next turn.
    pub fn ready(&mut self, readable: bool, writable: bool) {
        match &mut self.kind {
            Kind::Udp(plugs) => plugs.ready(readable, writable),
            Kind::Daemon(daemon) => daemon.ready(readable),
        }
    }

    /// Hands over what has come in, or a share of it. True if there was anything.
    pub fn receive(&mut self, handle: &mut dyn FnMut(Incoming<'_>)) -> bool {
        if std::mem::take(&mut self.unreachable) {
            handle(Incoming::Unreachable);
        }
        match &mut self.kind {
            Kind::Udp(plugs) => plugs.receive(handle),
            Kind::Daemon(daemon) => daemon.receive(&mut |packet| handle(Incoming::Reply(packet))),
        }
    }

    /// Sends what `poll` has, or a share of it. True if anything was sent, and there may be more to do.
    pub fn transmit(&mut self, now: Instant, poll: &mut dyn FnMut(&mut Vec<u8>) -> Option<Transmit>) -> bool {
        match &mut self.kind {
            Kind::Udp(plugs) => plugs.transmit(now, poll),
            Kind::Daemon(daemon) => {
                let sent = daemon.transmit(now, poll);
                self.unreachable |= sent == Sent::Unreachable;
                sent != Sent::Nothing
            }
        }
    }

    /// Whether packets wait for the kernel to take them.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        match &self.kind {
            Kind::Udp(plugs) => plugs.is_blocked(),
            Kind::Daemon(daemon) => daemon.retry_at().is_some(),
        }
    }

    /// Whether the kernel will tell when it takes packets again. Of a local socket it does not know.
    #[must_use]
    pub fn waits_for_room(&self) -> bool {
        matches!(&self.kind, Kind::Udp(plugs) if plugs.is_blocked())
    }

    /// How long to sleep when the next thing to do is due at `deadline`.
    #[must_use]
    pub fn timeout(&self, deadline: Option<Instant>) -> Option<Duration> {
        let left = |at: Instant| at.since(self.now());
        // While there is more to send, something is due; it has to wait for the kernel.
        match &self.kind {
            Kind::Udp(plugs) if plugs.is_blocked() => {
                Some(deadline.map_or(Udp::RETRY, left).clamp(MIN_SLEEP, Udp::RETRY))
            }
            Kind::Daemon(daemon) => daemon.retry_at().or(deadline).map(left),
            Kind::Udp(..) => deadline.map(left),
        }
    }

    /// The same after a turn at `now` that did all there was to do, or else made some progress.
    #[must_use]
    pub fn timeout_after(&self, now: Instant, progress: bool, deadline: Option<Instant>) -> Option<Duration> {
        if progress {
            return Some(Duration::ZERO);
        }
        let overdue = deadline.is_some_and(|at| at <= now) && !self.is_blocked();
        self.timeout(deadline).map(|left| if overdue { left.max(MIN_SLEEP) } else { left })
    }
}

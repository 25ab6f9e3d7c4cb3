//! What is below the streams, with its socket.

use crate::clock::Clock;
use crate::daemon::DaemonSocket;
use crate::udp::Udp;
use crate::wires::{SIGNALS, Socket, Wires};
use mio::Waker;
use msp_core::mdp::{Daemon, DaemonConfig, Instance, InterfaceConfig, Node, NodeConfig, Service, Uplink};
use msp_core::msp::{self, ConnectError, ListenError};
use msp_core::{Identity, Port, Sid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The UDP port of a Serval node.
pub const DEFAULT_PORT: u16 = 4110;

/// Where a node lives.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The UDP address to bind. Port 0 takes any free port. Default `0.0.0.0:4110`.
    pub udp: SocketAddr,
    /// Whether to look for neighbours by broadcast in the IPv4 networks of [`Config::udp`]. Broadcasts go
    /// to the port of `udp`, or to [`DEFAULT_PORT`] if that is 0. Default true.
    pub broadcast: bool,
    /// Nodes to reach by unicast. Default none.
    pub peers: Vec<SocketAddr>,
}

impl Default for Config {
    fn default() -> Self {
        Self { udp: (Ipv4Addr::UNSPECIFIED, DEFAULT_PORT).into(), broadcast: true, peers: Vec::new() }
    }
}

/// A node on a UDP socket, or a client of a daemon, ready to do one thing.
#[derive(Debug)]
pub struct Runtime {
    pub(crate) uplink: Uplink,
    pub(crate) streams: msp::Config,
    pub(crate) wires: Wires,
}

impl Runtime {
    /// A node with this identity, bound and knowing its peers, but silent until it is told what to do.
    ///
    /// # Errors
    ///
    /// If the UDP address cannot be bound, or a peer is of the other IP version.
    pub fn bind(identity: Identity, config: &Config) -> Result<Self, BindError> {
        let fail = |source| BindError { address: config.udp, source };
        if let Some(peer) = config.peers.iter().find(|peer| peer.is_ipv4() != config.udp.is_ipv4()) {
            let text = format!("the peer {peer} cannot be reached from it, which is of another IP version");
            return Err(fail(io::Error::new(ErrorKind::InvalidInput, text)));
        }
        let port = if config.udp.port() == 0 { DEFAULT_PORT } else { config.udp.port() };
        let udp = Udp::bind(config.udp, config.broadcast.then_some(port)).map_err(fail)?;
        let clock = Clock::start();
        let seed = random().map_err(fail)?;
        let mut node = Node::new(NodeConfig::default(), identity, seed, clock.now());
        let interface = node.add_interface(InterfaceConfig { broadcast: config.broadcast });
        for peer in &config.peers {
            node.add_peer(interface, *peer);
        }
        let wires = Wires::new(Socket::Udp(udp, interface), clock).map_err(fail)?;
        Ok(Self { uplink: node.into(), streams: msp::Config::default(), wires })
    }

    /// A client of the daemon of `instance`, which has a node and an identity of its own. `port` is the MDP port to
    /// listen on, if there is one: it names the socket, so that what an earlier client has left behind at the
    /// daemon is taken over. The daemon need not run yet.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AddrInUse`] if another program listens on this port through this daemon; otherwise what the
    /// system lacks.
    pub fn attach(instance: &Instance, port: Option<Port>) -> io::Result<Self> {
        let socket = DaemonSocket::bind(instance, port)?;
        let clock = Clock::start();
        let daemon = Daemon::new(DaemonConfig::default(), clock.now());
        let wires = Wires::new(Socket::Daemon(socket), clock)?;
        Ok(Self { uplink: daemon.into(), streams: msp::Config::default(), wires })
    }

    /// Sets the limits of its streams.
    pub fn set_streams(&mut self, streams: msp::Config) {
        self.streams = streams;
    }

    /// Answers those who look for `service`, as long as it can be reached.
    pub fn set_service(&mut self, service: Service) {
        self.uplink.set_service(self.wires.now(), Some(service));
    }

    /// The address on the mesh; that of a daemon is known later.
    #[must_use]
    pub fn sid(&self) -> Option<Sid> {
        self.uplink.sid()
    }

    /// The UDP address that is bound, with the port that the system chose if it was asked to. `None` for a client
    /// of a daemon.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.wires.socket {
            Socket::Udp(udp, _) => Some(udp.local_addr()),
            Socket::Daemon(_) => None,
        }
    }

    /// A handle that ends the run from another thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper { asked: Arc::clone(&self.wires.stops_asked), waker: Arc::clone(&self.wires.waker) }
    }

    /// Has SIGINT, SIGTERM and SIGHUP end the run as a [`Stopper`] does, in this whole process. Those that
    /// are ignored, as `nohup` has it, stay so.
    ///
    /// # Errors
    ///
    /// If the handlers cannot be installed.
    pub fn stop_on_signals(&mut self) -> io::Result<()> {
        let ignored = ignored_signals();
        let taken = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|number| ignored >> (number - 1) & 1 == 0);
        let mut signals = Signals::new(taken)?;
        self.wires.poll.registry().register(&mut signals, SIGNALS, mio::Interest::READABLE)?;
        self.wires.signals = Some(signals);
        Ok(())
    }
}

/// Ends the run of a [`Runtime`] from another thread.
#[derive(Debug, Clone)]
pub struct Stopper {
    asked: Arc<AtomicU32>,
    waker: Arc<Waker>,
}

impl Stopper {
    /// Asks the runtime to tell its peers and end. The second time, it ends at once.
    pub fn stop(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.waker.wake() {
            log::error!("cannot wake the loop to stop it: {error}");
        }
    }
}

/// Why a [`Runtime`] could not be made.
#[derive(Debug)]
pub struct BindError {
    /// The UDP address that was to be bound.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot bind UDP address {}: {}", self.address, self.source)
    }
}

impl std::error::Error for BindError {}

/// Why a tunnel cannot run, or a ping broke off.
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

/// The signals that this process ignores, signal 1 in the lowest bit. None where the system has no such
/// file.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
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

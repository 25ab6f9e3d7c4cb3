//! A node on a UDP socket.

use crate::clock::Clock;
use crate::udp::Udp;
use mio::{Events, Poll, Token, Waker};
use msp_core::mdp::{InterfaceConfig, InterfaceId, Node, NodeConfig, Service};
use msp_core::msp::{self, ConnectError, ListenError};
use msp_core::{Identity, Instant, Sid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The UDP port of a Serval node.
pub const DEFAULT_PORT: u16 = 4110;

pub(crate) const UDP: Token = Token(0);
pub(crate) const ACCEPTOR: Token = Token(1);
const WAKER: Token = Token(2);
const SIGNALS: Token = Token(3);
/// Tokens of links count from here.
pub(crate) const FIRST_LINK: usize = 4;

/// Events taken from the kernel at once.
const EVENTS: usize = 256;
/// The shortest sleep of a turn that moved nothing, so that no mistake can turn into a busy loop. It is
/// also what mio rounds to.
const MIN_SLEEP: Duration = Duration::from_millis(1);
/// How long to wait for the kernel to take UDP packets before trying again unasked.
const BLOCKED_SLEEP: Duration = Duration::from_millis(10);

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

/// A node on a UDP socket, ready to do one thing.
#[derive(Debug)]
pub struct Runtime {
    pub(crate) node: Node,
    pub(crate) streams: msp::Config,
    pub(crate) wires: Wires,
}

/// Everything of a runtime but the protocols: what waits and what moves packets.
pub(crate) struct Wires {
    pub(crate) poll: Poll,
    pub(crate) udp: Udp,
    pub(crate) interface: InterfaceId,
    pub(crate) waker: Arc<Waker>,
    clock: Clock,
    stops_asked: Arc<AtomicU32>,
    stops_taken: u32,
    signals: Option<Signals>,
}

impl fmt::Debug for Wires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wires").field("udp", &self.udp).finish_non_exhaustive()
    }
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
        let wires = Wires::new(udp, interface, clock).map_err(fail)?;
        Ok(Self { node, streams: msp::Config::default(), wires })
    }

    /// Sets the limits of its streams.
    pub fn set_streams(&mut self, streams: msp::Config) {
        self.streams = streams;
    }

    /// Answers those who look for `service`, as long as it can be reached.
    pub fn set_service(&mut self, service: Service) {
        self.node.set_service(Some(service));
    }

    /// The address of the node on the mesh.
    #[must_use]
    pub fn sid(&self) -> Sid {
        self.node.sid()
    }

    /// The UDP address that is bound, with the port that the system chose if it was asked to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.wires.udp.local_addr()
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

impl Wires {
    fn new(mut udp: Udp, interface: InterfaceId, clock: Clock) -> io::Result<Self> {
        let poll = Poll::new()?;
        udp.register(poll.registry(), UDP)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let stops_asked = Arc::new(AtomicU32::new(0));
        Ok(Self { poll, udp, interface, waker, clock, stops_asked, stops_taken: 0, signals: None })
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(crate) fn events() -> Events {
        Events::with_capacity(EVENTS)
    }

    /// Waits for events until `deadline`, or takes only those that are there if `progress` says that the
    /// turn at `now` moved something and there may be more to do. Events of the UDP socket and the signals
    /// are taken care of.
    pub(crate) fn wait(
        &mut self,
        events: &mut Events,
        now: Instant,
        progress: bool,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        let timeout = if progress { Some(Duration::ZERO) } else { self.sleep(now, deadline) };
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
            Err(error) => return Err(error),
        }
        if self.udp.is_blocked() && events.is_empty() {
            self.udp.retry();
        }
        for event in events.iter() {
            match event.token() {
                UDP => self.udp.ready(event),
                SIGNALS => {
                    let signals = self.signals.iter_mut().flat_map(Signals::pending).count();
                    self.stops_asked.fetch_add(u32::try_from(signals).unwrap_or(1), Ordering::Relaxed);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn sleep(&self, now: Instant, deadline: Option<Instant>) -> Option<Duration> {
        if self.udp.is_blocked() {
            // The stack has more to send and says so; it has to wait for the kernel.
            let wanted = deadline.map_or(BLOCKED_SLEEP, |at| at.since(now));
            return Some(wanted.clamp(MIN_SLEEP, BLOCKED_SLEEP));
        }
        let deadline = deadline?;
        let left = deadline.since(self.clock.now());
        Some(if deadline <= now { left.max(MIN_SLEEP) } else { left })
    }

    /// Whether there was another request to stop.
    pub(crate) fn take_stop(&mut self) -> bool {
        let stop = self.stops_asked.load(Ordering::Relaxed) != self.stops_taken;
        self.stops_taken = self.stops_taken.wrapping_add(stop.into());
        stop
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

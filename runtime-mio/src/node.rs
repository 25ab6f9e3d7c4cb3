//! A node with streams, in anybody's loop.

use crate::socket::register;
use mio::event::Event;
use mio::{Registry, Token};
use msp_core::mdp::Instance;
use msp_core::{Host, Identity, Instant, Port, Sid, msp};
use msp_sockets::{BindError, Config, RunDirectory, Socket, log_uplink};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Streams over a UDP socket or a daemon, inside the caller's [`mio::Poll`] beside whatever else waits there.
///
/// It takes one token, and the caller has a loop like this:
///
/// ```no_run
/// # use msp_core::{Identity, msp::Event};
/// # use msp_mio::{Config, Node};
/// use mio::{Events, Poll, Token};
///
/// # fn main() -> std::io::Result<()> {
/// # let identity = Identity::from_seed(msp_mio::random()?);
/// let mut poll = Poll::new()?;
/// let mut events = Events::with_capacity(64);
/// # let bind = || -> Result<Node, msp_mio::BindError> {
/// let mut node = Node::bind(identity, &Config::default(), poll.registry(), Token(0))?;
/// # Ok(node) };
/// # let mut node = bind().map_err(|error| error.source)?;
/// loop {
///     node.turn();
///     while let Some(event) = node.host().poll_event() {
///         // Receive from streams, send, open others: see `Host::endpoint`.
///     }
///     msp_mio::poll(&mut poll, &mut events, node.timeout())?;
///     for event in &events {
///         if !node.handle_event(event) {
///             // It is about something else.
///         }
///     }
/// }
/// # }
/// ```
///
/// What is done with streams is sent in the next turn, so there has to be one after everything, and
/// [`Node::timeout`] is only asked after that. [`Poll::poll`](mio::Poll::poll) will do as well, but is up to a
/// millisecond late, which slows fast streams down: see [`poll`](crate::poll). All of it is edge-triggered and does a bounded share of the work in
/// every turn.
#[derive(Debug)]
pub struct Node {
    pub(crate) host: Host,
    pub(crate) socket: Socket,
    pub(crate) token: Token,
    pub(crate) registry: Registry,
    /// The last turn moved something: there may be more to do.
    busy: bool,
}

impl Node {
    /// A node with this identity, bound and knowing its peers. Its socket is registered as `token`.
    ///
    /// # Errors
    ///
    /// If the UDP address cannot be bound, or a peer is of the other IP version.
    pub fn bind(
        identity: Identity,
        config: &Config,
        registry: &Registry,
        token: Token,
    ) -> Result<Self, BindError> {
        let (host, socket) = msp_sockets::bind(identity, config)?;
        Self::new(host, socket, registry, token).map_err(|source| BindError { address: config.udp, source })
    }

    /// A client of the daemon of `instance`, which has a node and an identity of its own. `port` is the MDP port to
    /// listen on, if there is one: it names the socket, so that what an earlier client has left behind at the
    /// daemon is taken over. The daemon need not run yet. Its socket is registered as `token`.
    ///
    /// # Errors
    ///
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) if another program listens on this port through this daemon; otherwise what the
    /// system lacks.
    pub fn attach(
        instance: &Instance,
        port: Option<Port>,
        streams: msp::Config,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let (host, socket) = msp_sockets::attach(instance, port, streams)?;
        Self::new(host, socket, registry, token)
    }

    /// The same for the node that runs in this directory and serves others, see [`Runtime::serve`](crate::Runtime::serve).
    ///
    /// # Errors
    ///
    /// As for [`Node::attach`]; or if the path of the directory is not absolute, or too long.
    pub fn attach_to_node(
        directory: &RunDirectory,
        port: Option<Port>,
        streams: msp::Config,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let (host, socket) = msp_sockets::attach_to_node(directory, port, streams)?;
        Self::new(host, socket, registry, token)
    }

    fn new(host: Host, socket: Socket, registry: &Registry, token: Token) -> io::Result<Self> {
        // All by the same token: when one is ready, the next turn sees to each.
        socket.handles().iter().try_for_each(|handle| register(registry, token, handle))?;
        Ok(Self { host, socket, token, registry: registry.try_clone()?, busy: true })
    }

    /// Its streams, what happens to them, and what is below.
    pub const fn host(&mut self) -> &mut Host {
        &mut self.host
    }

    /// The time that calls of streams are to be told.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.socket.now()
    }

    /// Its address on the mesh; that of a daemon is known later.
    #[must_use]
    pub fn sid(&self) -> Option<Sid> {
        self.host.sid()
    }

    /// The UDP address that is bound, with the port that the system chose if it was asked to. `None` for a client
    /// of a daemon.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.socket.local_addr()
    }

    /// The UDP addresses of all interfaces, that of [`Node::local_addr`] first.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.socket.local_addrs()
    }

    /// Remembers what an event says; the work is done in the next [turn](Node::turn). False if the event is not
    /// about this node.
    pub fn handle_event(&mut self, event: &Event) -> bool {
        let is_ours = event.token() == self.token;
        if is_ours {
            self.socket.ready(event.is_readable(), event.is_writable());
        }
        is_ours
    }

    /// Receives, does what is due, and sends: a bounded share of each. What happens below the streams is logged.
    pub fn turn(&mut self) {
        let Self { host, socket, .. } = self;
        let now = socket.now();
        let received = socket.receive(&mut |incoming| host.handle_incoming(now, incoming));
        host.handle_timeout(now);
        let sent = socket.transmit(now, &mut |buffer| host.poll_transmit(now, buffer));
        // They would have the loop take turns until they are taken.
        while let Some(event) = host.poll_uplink_event() {
            log_uplink(&event);
        }
        self.busy = received || sent;
    }

    /// How long to wait for events before the next [turn](Node::turn). Zero while there is something to do, also
    /// for the caller: as long as events wait to be taken from [`Node::host`].
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        if self.busy { Some(Duration::ZERO) } else { self.socket.timeout(self.host.poll_timeout()) }
    }
}

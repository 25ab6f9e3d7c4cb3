//! The way onto the mesh, whichever it is.

use super::Repair;
use super::{
    BindError, Daemon, DaemonEvent, Datagram, Destination, InterfaceId, Node, NodeEvent, SendDatagramError,
    Service, Transmit,
};
use crate::wire::mdp::Protection;
use crate::wire::overlay::Hops;
use crate::wire::trace;
use crate::{Addr, Instant, Port, Sid};
use alloc::vec::Vec;
use core::net::SocketAddr;

/// What carries datagrams: a node of one's own, or a daemon that runs already. What is above need not know which.
///
/// ```text
///   Uplink::Node     Incoming::Packet <- UDP sockets,         Transmit to an address or to everyone
///   Uplink::Daemon   Incoming::Reply  <- the daemon's socket, Transmit to Destination::Daemon
/// ```
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one in a program, and it is not moved about")]
pub enum Uplink {
    /// A node of one's own.
    Node(Node),
    /// A client of a daemon.
    Daemon(Daemon),
}

/// What has come to an [`Uplink`] from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// To a node: a packet.
    Packet {
        /// The interface that it came in on.
        interface: InterfaceId,
        /// Who sent it.
        from: SocketAddr,
        /// All of it.
        bytes: &'a [u8],
    },
    /// To a client of a daemon: a datagram that came from the daemon's address on its socket.
    Reply(&'a [u8]),
    /// To a client of a daemon: nobody was there to take a packet, see [`Daemon::handle_unreachable`].
    Unreachable,
}

/// What has happened below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UplinkEvent {
    /// To the node.
    Node(NodeEvent),
    /// To the connection with the daemon.
    Daemon(DaemonEvent),
}

impl From<Node> for Uplink {
    fn from(node: Node) -> Self {
        Self::Node(node)
    }
}

impl From<Daemon> for Uplink {
    fn from(daemon: Daemon) -> Self {
        Self::Daemon(daemon)
    }
}

impl Uplink {
    /// The node, if it is one.
    pub const fn node(&mut self) -> Option<&mut Node> {
        match self {
            Self::Node(node) => Some(node),
            Self::Daemon(_) => None,
        }
    }

    /// The address that datagrams come from. That of a daemon is known once a port was bound, see
    /// [`Daemon::sid`].
    #[must_use]
    pub fn sid(&self) -> Option<Sid> {
        match self {
            Self::Node(node) => Some(node.sid()),
            Self::Daemon(daemon) => daemon.sid(),
        }
    }

    /// Takes a port, which a daemon has to be asked for, see [`Daemon::bind`]. A node has all ports.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    pub fn bind(&mut self, now: Instant, port: Port) -> Result<(), BindError> {
        match self {
            Self::Node(_) => Ok(()),
            Self::Daemon(daemon) => daemon.bind(now, port),
        }
    }

    /// Gives a port back, see [`Daemon::release`].
    pub fn release(&mut self, now: Instant, port: Port) {
        if let Self::Daemon(daemon) = self {
            daemon.release(now, port);
        }
    }

    /// Answers those who look for `service` from now on, or nobody any more. Queries, which come to
    /// [`Port::DISCOVERY`], are datagrams like others without a service.
    pub fn set_service(&mut self, now: Instant, service: Option<Service>) {
        match self {
            Self::Node(node) => node.set_service(service),
            Self::Daemon(daemon) => daemon.set_service(now, service),
        }
    }

    /// Whether a datagram from `from` to `to` would leave at once, as far as is known: there is a way to that
    /// node, or the daemon, which knows of ways, has given us the port.
    #[must_use]
    pub fn is_ready(&self, from: Port, to: &Sid) -> bool {
        match self {
            Self::Node(node) => node.is_reachable(to),
            Self::Daemon(daemon) => daemon.is_bound(from),
        }
    }

    /// Whether [`Uplink::send`] is not to wait: there is room for a datagram, or it is lost anyway.
    #[must_use]
    pub fn has_room(&self, from: Port, to: Sid) -> bool {
        match self {
            Self::Node(node) => node.has_room(to),
            Self::Daemon(daemon) => daemon.has_room(from) || !daemon.wants(from),
        }
    }

    /// Whether losses on the way to a node are repaired below, whoever sends what gets lost.
    pub(crate) fn repairs(&self, to: &Sid) -> bool {
        match self {
            Self::Node(node) => node.next_hop(to).is_some_and(|next_hop| next_hop != *to),
            Self::Daemon(_) => true,
        }
    }

    /// Sends a datagram, see [`Node::send`] and [`Daemon::send`].
    ///
    /// # Errors
    ///
    /// See [`SendDatagramError`]; nothing was sent then.
    pub fn send(
        &mut self,
        now: Instant,
        from: Port,
        to: Addr,
        protection: Protection,
        payload: &[u8],
    ) -> Result<(), SendDatagramError> {
        self.send_with(now, from, to, protection, payload, Repair::Hop)
    }

    /// The same, with a sender that may repair losses itself.
    pub(crate) fn send_with(
        &mut self,
        now: Instant,
        from: Port,
        to: Addr,
        protection: Protection,
        payload: &[u8],
        repair: Repair,
    ) -> Result<(), SendDatagramError> {
        match self {
            Self::Node(node) => node.send_with(now, from, to, protection, payload, (repair, Hops::DEFAULT)),
            Self::Daemon(daemon) => daemon.send_with(now, from, to, protection, payload, repair),
        }
    }

    /// Asks for the way to `target`: the answer comes to the port `from`.
    pub(super) fn trace(&mut self, now: Instant, from: Port, target: Sid) -> Result<(), SendDatagramError> {
        let own = self.sid().ok_or(SendDatagramError::NotBound)?;
        let mut request = Vec::new();
        trace::Repr { origin: own, target, passed: Vec::new() }.emit(&mut request);
        match self {
            Self::Node(node) => {
                node.start_trace(now, from, &request);
                Ok(())
            }
            Self::Daemon(daemon) => {
                let to = Addr::new(own, Port::TRACE);
                daemon.send(now, from, to, Protection::Encrypted, &request)
            }
        }
    }

    /// Takes what has come in. What is for the other kind of uplink is nothing to this one.
    pub fn handle_incoming(&mut self, now: Instant, incoming: Incoming<'_>) {
        match (self, incoming) {
            (Self::Node(node), Incoming::Packet { interface, from, bytes }) => {
                node.handle_packet(now, interface, from, bytes);
            }
            (Self::Daemon(daemon), Incoming::Reply(reply)) => daemon.handle_packet(now, reply),
            (Self::Daemon(daemon), Incoming::Unreachable) => daemon.handle_unreachable(now),
            (Self::Node(_), Incoming::Reply(_) | Incoming::Unreachable)
            | (Self::Daemon(_), Incoming::Packet { .. }) => {}
        }
    }

    /// Takes a packet, see [`Uplink::handle_incoming`].
    pub fn handle_packet(&mut self, now: Instant, interface: InterfaceId, from: SocketAddr, packet: &[u8]) {
        self.handle_incoming(now, Incoming::Packet { interface, from, bytes: packet });
    }

    /// Does what is due. Early or twice, it does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Node(node) => node.handle_timeout(now),
            Self::Daemon(daemon) => daemon.handle_timeout(now),
        }
    }

    /// The next packet to send, `None` when there is none. `buffer` is cleared first. What is returned counts
    /// as sent: not sending it is packet loss.
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Transmit> {
        match self {
            Self::Node(node) => node.poll_transmit(now, buffer),
            Self::Daemon(daemon) => {
                let to_daemon = Transmit { interface: InterfaceId(0), to: Destination::Daemon };
                daemon.poll_transmit(now, buffer).then_some(to_daemon)
            }
        }
    }

    /// The next received datagram.
    pub fn poll_datagram(&mut self) -> Option<Datagram> {
        match self {
            Self::Node(node) => node.poll_datagram(),
            Self::Daemon(daemon) => daemon.poll_datagram(),
        }
    }

    /// What has happened, oldest first.
    pub fn poll_event(&mut self) -> Option<UplinkEvent> {
        match self {
            Self::Node(node) => node.poll_event().map(UplinkEvent::Node),
            Self::Daemon(daemon) => daemon.poll_event().map(UplinkEvent::Daemon),
        }
    }

    /// When to call [`Uplink::handle_timeout`] and then the `poll_` methods.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Node(node) => node.poll_timeout(),
            Self::Daemon(daemon) => daemon.poll_timeout(),
        }
    }

    /// Ends it: a daemon is given what waits, and all ports back. See [`Uplink::is_closed`].
    pub fn shutdown(&mut self, now: Instant) {
        if let Self::Daemon(daemon) = self {
            daemon.shutdown(now);
        }
    }

    /// Whether nothing more is to be sent after [`Uplink::shutdown`]. A node has nothing to say then.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Node(_) => true,
            Self::Daemon(daemon) => daemon.is_closed(),
        }
    }
}

#[cfg(test)]
#[path = "uplink_tests.rs"]
mod tests;

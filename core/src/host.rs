//! Streams over an embedded MDP node, as one object.

use crate::mdp::{InterfaceId, Node, NodeEvent, Transmit};
use crate::msp::{Endpoint, Event};
use crate::{Instant, Protection, Sid};
use alloc::vec::Vec;
use core::net::SocketAddr;

/// An [`Endpoint`] on a [`Node`]: packets of interfaces on one side, streams on the other.
///
/// Streams are asked for packets only while the node has room for them: a segment that waits in its stream
/// still takes the latest acknowledgment along, one that waits in the node does not.
#[derive(Debug)]
pub struct Host {
    node: Node,
    endpoint: Endpoint,
    /// The datagram on its way from the endpoint to the node, kept for its memory.
    datagram: Vec<u8>,
}

impl Host {
    /// A host with the address of `node`. `seed` must come from a random source, or from a test's seed, and
    /// must not be that of the node.
    #[must_use]
    pub fn new(node: Node, config: crate::msp::Config, seed: [u8; 32]) -> Self {
        let endpoint = Endpoint::new(config, node.sid(), seed);
        Self { node, endpoint, datagram: Vec::new() }
    }

    /// Its address.
    #[must_use]
    pub fn sid(&self) -> Sid {
        self.node.sid()
    }

    /// Its streams.
    pub const fn endpoint(&mut self) -> &mut Endpoint {
        &mut self.endpoint
    }

    /// Its node.
    pub const fn node(&mut self) -> &mut Node {
        &mut self.node
    }

    /// Takes a packet that came from `from` on `interface`.
    pub fn handle_packet(&mut self, now: Instant, interface: InterfaceId, from: SocketAddr, packet: &[u8]) {
        self.node.handle_packet(now, interface, from, packet);
        self.deliver(now);
    }

    /// Does what is due. Early or twice, it does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.node.handle_timeout(now);
        self.deliver(now);
        self.endpoint.handle_timeout(now);
    }

    /// The next packet to send, `None` when there is none. `buffer` is cleared first. What is returned counts
    /// as sent: not sending it is packet loss.
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Transmit> {
        let Self { node, endpoint, datagram } = self;
        while let Some(outgoing) = endpoint.poll_transmit_if(now, datagram, |sid| node.has_room(*sid)) {
            // What the node cannot send is lost, as anything may be; the stream sends it again.
            let _ = node.send(now, outgoing.from, outgoing.to, Protection::Encrypted, datagram);
        }
        node.poll_transmit(now, buffer)
    }

    /// What has happened to streams, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.endpoint.poll_event()
    }

    /// What has happened to the node, oldest first.
    pub fn poll_node_event(&mut self) -> Option<NodeEvent> {
        self.node.poll_event()
    }

    /// When to call [`Host::handle_timeout`]; the last time seen while there is something to take.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let ready = self.endpoint.has_events() || self.endpoint.has_transmit(|sid| self.node.has_room(*sid));
        let endpoint = if ready { Some(self.endpoint.now()) } else { self.endpoint.next_timer() };
        [self.node.poll_timeout(), endpoint].into_iter().flatten().min()
    }

    /// Whether anything would be lost by ending now: a stream, or its last words.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.endpoint.is_idle()
    }

    /// Passes on what has arrived for ports that are not the node's own.
    fn deliver(&mut self, now: Instant) {
        while let Some(datagram) = self.node.poll_datagram() {
            // Why one is ignored is for counters only.
            let _ = self.endpoint.handle_datagram(now, datagram);
        }
    }
}

//! Streams over the way onto the mesh, as one object.

use crate::mdp::{Incoming, InterfaceId, Repair, SendDatagramError, Transmit, Uplink, UplinkEvent};
use crate::msp::{Endpoint, Event, Room};
use crate::{Instant, Port, Protection, Sid};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

/// An [`Endpoint`] on an [`Uplink`]: packets on one side, streams on the other.
///
/// Streams are asked for packets only while there is room for them below: a segment that waits in its stream
/// still takes the latest acknowledgment along, one that waits below does not. The ports of listeners and streams
/// are bound below as long as they are in use.
#[derive(Debug)]
pub struct Host {
    uplink: Uplink,
    endpoint: Endpoint,
    /// The ports of the endpoint that a daemon was asked for.
    ports: BTreeSet<Port>,
    /// The datagram on its way down, kept for its memory.
    datagram: Vec<u8>,
}

impl Host {
    /// A program that ends waits no longer than this for [`Host::is_idle`]: by then, peers that can hear have been
    /// told of aborts, and have got the acknowledgments of what they sent again.
    pub const LINGER: Duration = Duration::from_secs(4);

    /// A host with the address of `uplink`: a [`Node`](crate::Node) or a [`Daemon`](crate::Daemon). `seed` must
    /// come from a random source, or from a test's seed, and must not be that of the node. Through a daemon, there
    /// are no more streams than it has ports for, see [`DaemonConfig::for_streams`](crate::DaemonConfig::for_streams).
    #[must_use]
    pub fn new(uplink: impl Into<Uplink>, mut config: crate::msp::Config, seed: [u8; 32]) -> Self {
        let uplink = uplink.into();
        if let Uplink::Daemon(daemon) = &uplink {
            config.max_streams = config.max_streams.min(daemon.max_streams());
            config.large_messages &= daemon.carries_large();
        }
        let endpoint = Endpoint::new(config, seed);
        Self { uplink, endpoint, ports: BTreeSet::new(), datagram: Vec::new() }
    }

    /// Its address, see [`Uplink::sid`].
    #[must_use]
    pub fn sid(&self) -> Option<Sid> {
        self.uplink.sid()
    }

    /// Its streams.
    pub const fn endpoint(&mut self) -> &mut Endpoint {
        &mut self.endpoint
    }

    /// What is below.
    pub const fn uplink(&mut self) -> &mut Uplink {
        &mut self.uplink
    }

    /// Takes what has come in, see [`Uplink::handle_incoming`].
    pub fn handle_incoming(&mut self, now: Instant, incoming: Incoming<'_>) {
        self.uplink.handle_incoming(now, incoming);
        self.deliver(now);
    }

    /// Takes a packet that came from `from` on `interface`: the usual thing to come in at a node.
    pub fn handle_packet(&mut self, now: Instant, interface: InterfaceId, from: SocketAddr, packet: &[u8]) {
        self.handle_incoming(now, Incoming::Packet { interface, from, bytes: packet });
    }

    /// Does what is due. Early or twice, it does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.uplink.handle_timeout(now);
        self.deliver(now);
        self.endpoint.handle_timeout(now);
        self.bind(now);
    }

    /// The next packet to send, `None` when there is none. `buffer` is cleared first. What is returned counts
    /// as sent: not sending it is packet loss.
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Transmit> {
        loop {
            self.bind(now);
            let Self { uplink, endpoint, datagram, .. } = self;
            while let Some(outgoing) =
                endpoint.poll_transmit_if(now, datagram, |from, to| room(uplink, from, to))
            {
                // What is not taken below is lost, as anything may be; the stream sends it again.
                let repair = if outgoing.repairs { Repair::Sender } else { Repair::Hop };
                endpoint.set_repaired(&outgoing.to.sid, uplink.repairs(&outgoing.to.sid));
                let encrypted = Protection::Encrypted;
                let sent = uplink.send_with(now, outgoing.from, outgoing.to, encrypted, datagram, repair);
                if let Err(SendDatagramError::TooLarge { .. }) = sent {
                    endpoint.handle_too_large(now, &outgoing.to.sid);
                }
            }
            // A stream may have ended with its last packet.
            self.bind(now);
            let transmit = self.uplink.poll_transmit(now, buffer);
            // What was given up below, since it has waited for too long, has made room for more.
            if transmit.is_some() || !self.endpoint.has_transmit(|from, to| room(&self.uplink, from, to)) {
                return transmit;
            }
        }
    }

    /// What has happened to streams, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.endpoint.poll_event()
    }

    /// What has happened below, oldest first.
    pub fn poll_uplink_event(&mut self) -> Option<UplinkEvent> {
        self.uplink.poll_event()
    }

    /// When to call [`Host::handle_timeout`]; the last time seen while there is something to take.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let room = |from, to| room(&self.uplink, from, to);
        let endpoint = &self.endpoint;
        let ready = endpoint.has_events() || self.must_bind() || endpoint.has_transmit(room);
        let endpoint = if ready { Some(endpoint.now()) } else { endpoint.next_timer() };
        [self.uplink.poll_timeout(), endpoint].into_iter().flatten().min()
    }

    /// Whether anything would be lost by ending now: a stream, or its last words.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.endpoint.is_idle()
    }

    /// When the last words to a daemon are due, after [`Uplink::shutdown`] and whatever streams still want.
    pub(crate) fn last_words_at(&self) -> Option<Instant> {
        self.uplink.poll_timeout().filter(|_| !self.uplink.is_closed())
    }

    /// Passes on what has arrived for streams.
    fn deliver(&mut self, now: Instant) {
        while let Some(datagram) = self.uplink.poll_datagram() {
            // Why one is ignored is for counters only.
            let _ = self.endpoint.handle_datagram(now, datagram);
        }
    }

    /// Whether ports are to be taken or given back. A node has them all.
    const fn must_bind(&self) -> bool {
        matches!(self.uplink, Uplink::Daemon(_)) && self.endpoint.has_changed_ports()
    }

    /// Takes the ports below that streams need, and gives back those that they need no more.
    fn bind(&mut self, now: Instant) {
        if !self.must_bind() {
            return;
        }
        let Self { uplink, endpoint, ports, .. } = self;
        let mut wanted = endpoint.changed_ports();
        for port in ports.difference(&wanted) {
            uplink.release(now, *port);
        }
        // There are ports for all streams. Where more listeners have taken them, it is tried again with the next change.
        wanted.retain(|port| ports.contains(port) || uplink.bind(now, *port).is_ok());
        *ports = wanted;
    }
}

/// Whether `uplink` takes a datagram. A node has the same for all ports, a daemon the same for all peers.
fn room(uplink: &Uplink, from: Port, to: Sid) -> Room {
    match uplink {
        _ if uplink.has_room(from, to) => Room::Free,
        Uplink::Node(_) => Room::NoneToPeer,
        Uplink::Daemon(_) => Room::NoneFromPort,
    }
}

//! The protocol of a [`Party`](super::Party): streams, ours or the reference's, on a node or bare.

use super::network::Receiver;
use super::party::PORT;
use super::reference::Reference;
use crate::mdp::{Destination, HopRepair, Identity, InterfaceConfig, InterfaceId, Node, NodeConfig, Uplink};
use crate::msp::{Config, Endpoint, Event, MAX_MESSAGE, StreamId};
use crate::{Addr, Datagram, Fingerprint, Host, Instant, Port, Protection, Sid};
use alloc::vec::Vec;
use bytes::Bytes;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Whose MSP it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The one of this crate.
    Ours,
    /// The model of the reference daemon's.
    Reference,
}

/// Streams and what is below them.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there are few, and they stay where they are")]
pub enum Stack {
    /// Our streams, straight on the links.
    Endpoint(Endpoint, Sid),
    /// The reference's streams, straight on the links.
    Reference(Reference, Sid),
    /// Our streams on a node.
    Host(Host),
    /// The reference's streams on a node.
    ReferenceHost(Node, Reference),
}

/// The streams of a [`Stack`].
#[derive(Debug)]
pub enum Streams<'a> {
    /// Of this crate.
    Ours(&'a mut Endpoint),
    /// Of the model of the reference daemon.
    Reference(&'a mut Reference),
}

const INTERFACE: InterfaceId = InterfaceId(0);
/// Before a datagram that goes straight over a link: the first bytes of both SIDs, both ports, a number, and a
/// checksum over all that.
const HEADER_LEN: usize = 2 + 2 + 4 + 4 + 8 + 8;

impl Stack {
    /// A stack that listens on [`PORT`]. `index` is that of the party, `names` are those of its identity and of its
    /// start.
    pub(super) fn new(
        kind: Kind,
        has_node: bool,
        config: &Config,
        (index, names): (usize, [u8; 2]),
        now: Instant,
    ) -> Self {
        let [identity, start] = names;
        let [low, high] = (index as u16).to_le_bytes();
        let seed = |purpose: u8| {
            let mut seed = [purpose; 32];
            seed[..3].copy_from_slice(&[low, identity, start]);
            seed[3] ^= high;
            seed
        };
        let port = Port::from(PORT);
        let sid = bare_sid(low, identity);
        let node = || {
            let mut bytes = [0x77; 32];
            bytes[..2].copy_from_slice(&[low, identity]);
            bytes[2] ^= high;
            let mut node = Node::new(NodeConfig::default(), Identity::from_seed(bytes), seed(1), now);
            if kind == Kind::Reference {
                node.set_hop_repair(HopRepair::Reference);
            }
            node.add_interface(InterfaceConfig::broadcast());
            node
        };
        let mut stack = match (kind, has_node) {
            (Kind::Ours, false) => Self::Endpoint(Endpoint::new(config.clone(), seed(2)), sid),
            (Kind::Ours, true) => Self::Host(Host::new(node(), config.clone(), seed(2))),
            (Kind::Reference, false) => Self::Reference(Reference::new(), sid),
            (Kind::Reference, true) => Self::ReferenceHost(node(), Reference::new()),
        };
        match stack.streams() {
            Streams::Ours(endpoint) => assert_eq!(endpoint.listen(port), Ok(())),
            Streams::Reference(reference) => reference.listen(port),
        }
        stack
    }

    /// Its address.
    #[must_use]
    pub fn sid(&self) -> Sid {
        match self {
            Self::Endpoint(_, sid) | Self::Reference(_, sid) => *sid,
            Self::Host(host) => host.sid().unwrap_or(Sid::BROADCAST),
            Self::ReferenceHost(node, _) => node.sid(),
        }
    }

    /// Its streams.
    pub const fn streams(&mut self) -> Streams<'_> {
        match self {
            Self::Endpoint(endpoint, _) => Streams::Ours(endpoint),
            Self::Host(host) => Streams::Ours(host.endpoint()),
            Self::Reference(reference, _) | Self::ReferenceHost(_, reference) => {
                Streams::Reference(reference)
            }
        }
    }

    /// Its node.
    pub fn node(&mut self) -> Option<&mut Node> {
        match self {
            Self::Host(host) => Some(node_of(host)),
            Self::ReferenceHost(node, _) => Some(node),
            Self::Endpoint(..) | Self::Reference(..) => None,
        }
    }

    pub(super) fn handle_packet(&mut self, now: Instant, from: usize, packet: &[u8]) {
        match self {
            Self::Host(host) => host.handle_packet(now, INTERFACE, address(from), packet),
            Self::ReferenceHost(node, reference) => {
                node.handle_packet(now, INTERFACE, address(from), packet);
                while let Some(datagram) = node.poll_datagram() {
                    reference.handle_datagram(now, datagram.from, datagram.to, &datagram.payload);
                }
            }
            Self::Endpoint(endpoint, sid) => {
                let Some(datagram) = unwrap(*sid, packet) else { return };
                // What it makes of the packet is for counters only.
                let _ = endpoint.handle_datagram(now, datagram);
            }
            Self::Reference(reference, sid) => {
                let Some(datagram) = unwrap(*sid, packet) else { return };
                reference.handle_datagram(now, datagram.from, datagram.to, &datagram.payload);
            }
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Host(host) => host.handle_timeout(now),
            Self::Endpoint(endpoint, _) => endpoint.handle_timeout(now),
            Self::Reference(reference, _) => reference.handle_timeout(now),
            Self::ReferenceHost(node, reference) => {
                node.handle_timeout(now);
                reference.handle_timeout(now);
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Host(host) => host.poll_timeout(),
            Self::Endpoint(endpoint, _) => endpoint.poll_timeout(),
            Self::Reference(reference, _) => reference.poll_timeout(),
            Self::ReferenceHost(node, reference) => {
                [node.poll_timeout(), reference.poll_timeout()].into_iter().flatten().min()
            }
        }
    }

    /// The next packet. `number` is not that of any packet before.
    pub(super) fn poll_transmit(
        &mut self,
        now: Instant,
        number: u64,
        buffer: &mut Vec<u8>,
    ) -> Option<Receiver> {
        let sid = self.sid();
        let (from, to) = match self {
            Self::Host(host) => return host.poll_transmit(now, buffer).map(|it| receiver(it.to)),
            Self::ReferenceHost(node, reference) => {
                while let Some((from, to)) = reference.poll_transmit(now, buffer) {
                    // What the node does not take is lost, as datagrams of the reference's clients are.
                    let _ = node.send(now, from, to, Protection::Encrypted, buffer);
                }
                return node.poll_transmit(now, buffer).map(|it| receiver(it.to));
            }
            Self::Endpoint(endpoint, _) => {
                endpoint.poll_transmit(now, buffer).map(|outgoing| (outgoing.from, outgoing.to))?
            }
            Self::Reference(reference, _) => reference.poll_transmit(now, buffer)?,
        };
        // A shorter packet that opens a stream aborts the reference's listener (`spec/80` section 4).
        assert!(buffer.len() >= 3 || *buffer == [8], "never to be sent: {buffer:02x?}");
        wrap([Addr::new(sid, from), to], number, buffer);
        Some(Receiver::Station(usize::from(to.sid.as_bytes()[0] - BARE)))
    }

    pub(super) fn poll_node_event(&mut self) -> bool {
        self.node().is_some_and(|node| node.poll_event().is_some())
    }
}

impl Streams<'_> {
    pub(super) fn connect(&mut self, now: Instant, remote: Addr) -> Option<StreamId> {
        match self {
            Self::Ours(endpoint) => endpoint.connect(now, remote).ok(),
            Self::Reference(reference) => Some(reference.connect(now, remote)),
        }
    }

    pub(super) fn send(&mut self, now: Instant, id: StreamId, message: Bytes) -> bool {
        match self {
            Self::Ours(endpoint) => {
                endpoint.stream(id).is_some_and(|mut it| it.send_bytes(now, message).is_ok())
            }
            Self::Reference(reference) => reference.send(id, message),
        }
    }

    /// The longest message to send.
    pub(super) fn max_message(&mut self, id: StreamId) -> usize {
        match self {
            Self::Ours(endpoint) => endpoint.stream(id).map_or(MAX_MESSAGE, |stream| stream.max_message()),
            Self::Reference(_) => MAX_MESSAGE,
        }
    }

    /// Segments of a stream that were copied.
    pub(super) fn copies(&mut self, id: StreamId) -> Option<u64> {
        match self {
            Self::Ours(endpoint) => endpoint.stream(id).map(|stream| stream.stats().copies),
            Self::Reference(_) => None,
        }
    }

    pub(super) fn recv(&mut self, now: Instant, id: StreamId) -> Option<Bytes> {
        match self {
            Self::Ours(endpoint) => endpoint.stream(id)?.recv(now),
            Self::Reference(reference) => reference.recv(id),
        }
    }

    pub(super) fn finish(&mut self, now: Instant, id: StreamId) {
        match self {
            Self::Ours(endpoint) => {
                endpoint.stream(id).into_iter().for_each(|mut stream| stream.finish(now));
            }
            Self::Reference(reference) => reference.finish(id),
        }
    }

    /// Aborts a stream.
    pub fn reset(&mut self, now: Instant, id: StreamId) {
        match self {
            Self::Ours(endpoint) => {
                endpoint.stream(id).into_iter().for_each(|mut stream| stream.reset(now));
            }
            Self::Reference(reference) => reference.reset(id),
        }
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        match self {
            Self::Ours(endpoint) => endpoint.poll_event(),
            Self::Reference(reference) => reference.poll_event(),
        }
    }

    /// Whether no stream exists any more.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        match self {
            Self::Ours(endpoint) => endpoint.is_idle() && endpoint.received_bytes() == 0,
            Self::Reference(reference) => reference.is_idle(),
        }
    }
}

/// The node of a host that has one.
///
/// # Panics
///
/// If it is a daemon's client instead.
pub fn node_of(host: &mut Host) -> &mut Node {
    match host.uplink() {
        Uplink::Node(node) => node,
        Uplink::Daemon(_) => unreachable!("it has no node"),
    }
}

/// The first byte of the SID of party 0 without a node.
const BARE: u8 = 0x40;

fn bare_sid(index: u8, identity: u8) -> Sid {
    let mut bytes = [0x55; 32];
    bytes[..2].copy_from_slice(&[BARE + index, identity]);
    Sid::new(bytes)
}

/// The addresses of stations are 10.0.0.1, 10.0.0.2 and so on.
const NETWORK: u32 = 10 << 24;

pub(super) fn address(index: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(NETWORK + index as u32 + 1)), 4110)
}

/// Who that is. An address of nobody is that of a station that does not exist.
pub(super) fn receiver(destination: Destination) -> Receiver {
    match destination {
        Destination::Unicast(SocketAddr::V4(to)) if to.port() == 4110 => {
            Receiver::Station((to.ip().to_bits() as usize).wrapping_sub(NETWORK as usize + 1))
        }
        Destination::Unicast(_) => Receiver::Station(usize::MAX),
        Destination::Broadcast => Receiver::Everyone,
        Destination::Daemon => unreachable!("there is none"),
    }
}

/// Makes a packet of a datagram. The checksum stands for authentication: what is damaged does not arrive. The
/// number stands for the nonce: what is sent again is another packet.
fn wrap([from, to]: [Addr; 2], number: u64, datagram: &mut Vec<u8>) {
    let mut header = Vec::with_capacity(HEADER_LEN);
    header.extend_from_slice(&from.sid.as_bytes()[..2]);
    header.extend_from_slice(&to.sid.as_bytes()[..2]);
    header.extend_from_slice(&from.port.get().to_le_bytes());
    header.extend_from_slice(&to.port.get().to_le_bytes());
    header.extend_from_slice(&number.to_le_bytes());
    let sum = checksum(&header, datagram);
    header.extend_from_slice(&sum.to_le_bytes());
    datagram.splice(..0, header);
}

/// The datagram in a packet for `own`.
fn unwrap(own: Sid, packet: &[u8]) -> Option<Datagram> {
    let (header, payload) = packet.split_first_chunk::<HEADER_LEN>()?;
    let (names, sum) = header.split_last_chunk::<8>()?;
    let sum = u64::from_le_bytes(*sum);
    if sum != checksum(names, payload) || names[2..4] != own.as_bytes()[..2] {
        return None;
    }
    let port = |at: usize| Port::new(u32::from_le_bytes(*names[at..].first_chunk()?));
    let from = Addr::new(bare_sid(names[0].checked_sub(BARE)?, names[1]), port(4)?);
    let datagram = Datagram::new(from, port(8)?, Protection::Encrypted, Bytes::copy_from_slice(payload));
    Some(Datagram { fingerprint: Some(Fingerprint(sum)), ..datagram })
}

fn checksum(header: &[u8], payload: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    header.iter().chain(payload).fold(0xcbf2_9ce4_8422_2325, step)
}

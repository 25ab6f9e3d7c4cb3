//! Datagrams of this node's own: sealed, and queued towards their destination.

use super::config::MAX_PACKET;
use super::datagram::SendDatagramError;
use super::node::Node;
use super::outbox::Frame;
use super::{Repair, SharedKey, Transport};
use crate::wire::mdp::{self, Protection};
use crate::wire::overlay::{FORBIDDEN_PAYLOAD_LEN, Hops};
use crate::{Addr, Instant, Port, Sid};
use alloc::vec::Vec;

/// Bytes before the payload of the longest frame: the packet's header with a whole SID, interface and
/// sequence number, then a frame for a node further away with whole SIDs.
const MAX_HEADERS: usize = 38 + 71;
/// The same of a packet with one frame for the neighbour itself, which knows this node.
const NEIGHBOUR_HEADERS: usize = 12 + 11;
/// The signature after a signed datagram.
pub(super) const SIGNATURE_LEN: usize = 64;

impl Node {
    /// Sends a datagram from `from` here to `to`. It is encrypted to the destination, signed, or neither. One to
    /// [`Sid::BROADCAST`], which is not encrypted, goes to every node.
    ///
    /// Without a way to the destination it waits up to [`NodeConfig::frame_lifetime`](super::NodeConfig::frame_lifetime) for one. `Ok` means
    /// that it will be sent, not that it arrives.
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
        self.send_with(now, from, to, protection, payload, (Repair::Hop, Hops::DEFAULT))
    }

    /// The same, with a sender that may repair losses itself, and says how far and in which class it goes.
    pub(super) fn send_with(
        &mut self,
        now: Instant,
        from: Port,
        to: Addr,
        protection: Protection,
        payload: &[u8],
        (repair, hops): (Repair, Hops),
    ) -> Result<(), SendDatagramError> {
        self.advance(now);
        let repr = mdp::Repr { destination: to.port, source: from, payload };
        let overhead = repr.buffer_len() - payload.len()
            + match protection {
                Protection::Encrypted => SharedKey::OVERHEAD,
                Protection::Signed => SIGNATURE_LEN,
                Protection::Clear => 0,
            };
        let next_hop = self.next_hop(&to.sid);
        let is_direct = next_hop == Some(to.sid) && self.is_reachable(&to.sid);
        let once = repair == Repair::Sender && is_direct;
        // Whoever repairs losses is of our kind and knows that its neighbour is.
        let max = if once && self.has_short_way(&to.sid) {
            MAX_PACKET - NEIGHBOUR_HEADERS - overhead
        } else {
            (self.config.mtu - MAX_HEADERS).min(FORBIDDEN_PAYLOAD_LEN - 1) - overhead
        };
        SendDatagramError::check(to, protection, payload, max)?;
        if to.sid == self.sid() {
            return Err(SendDatagramError::InvalidDestination);
        }
        if to.sid == Sid::BROADCAST {
            return self.send_to_all(protection, hops, &repr);
        }
        if !self.queue_has_room(next_hop) {
            return Err(if next_hop.is_some() {
                SendDatagramError::WouldBlock
            } else {
                SendDatagramError::NoRoute
            });
        }
        let payload =
            self.protect(&to.sid, protection, &repr).ok_or(SendDatagramError::InvalidDestination)?;
        let frame = Frame { once, hops, ..Frame::new(self.now, to.sid, protection, payload) };
        match next_hop.and_then(|sid| self.neighbours.get_mut(&sid)) {
            Some(neighbour) => neighbour.outbox.push(frame),
            None => {
                // It may abbreviate its SID when it turns up.
                self.directory.learn(self.now, to.sid);
                self.held.push(self.now, frame);
            }
        }
        self.stats.datagrams_sent += 1;
        Ok(())
    }

    /// Whether [`Node::send`] to `to` has room. If not, there is after [`Node::poll_transmit`].
    #[must_use]
    pub fn has_room(&self, to: Sid) -> bool {
        if to == Sid::BROADCAST { self.loose_has_room() } else { self.queue_has_room(self.next_hop(&to)) }
    }

    /// Sends a datagram to every node, as far as it goes.
    fn send_to_all(
        &mut self,
        protection: Protection,
        hops: Hops,
        repr: &mdp::Repr<'_>,
    ) -> Result<(), SendDatagramError> {
        if !self.neighbours.values().any(|neighbour| neighbour.is_up(self.now)) {
            return Err(SendDatagramError::NoRoute);
        }
        if !self.loose_has_room() {
            return Err(SendDatagramError::WouldBlock);
        }
        let payload = self.protect(&Sid::BROADCAST, protection, repr);
        let payload = payload.ok_or(SendDatagramError::InvalidDestination)?;
        let id = self.nonces.number();
        self.flood(None, None, (id, hops), protection, &payload);
        self.stats.datagrams_sent += 1;
        Ok(())
    }

    /// Whether what goes to this neighbour reaches nobody else, in packets with [`NEIGHBOUR_HEADERS`].
    fn has_short_way(&self, sid: &Sid) -> bool {
        let Some(neighbour) = self.neighbours.get(sid).filter(|it| it.knows_us(self.now)) else {
            return false;
        };
        let path = neighbour.path(self.now, self.config.expiry);
        path.is_some_and(|(_, transport, _)| transport == Transport::Unicast)
    }

    fn queue_has_room(&self, next_hop: Option<Sid>) -> bool {
        match next_hop.and_then(|sid| self.neighbours.get(&sid)) {
            Some(neighbour) => neighbour.outbox.has_room(None, None, self.config.send_queue),
            None => self.held.has_room(),
        }
    }

    /// The payload of the frame for a datagram; `None` if nobody can have the destination's SID.
    fn protect(&mut self, to: &Sid, protection: Protection, repr: &mdp::Repr<'_>) -> Option<Vec<u8>> {
        match protection {
            Protection::Encrypted => {
                let mut payload = Vec::with_capacity(SharedKey::OVERHEAD + repr.buffer_len());
                payload.resize(SharedKey::OVERHEAD, 0);
                repr.emit(&mut payload);
                let nonce = self.nonces.generate();
                self.keys.get(&self.identity, to)?.seal(&nonce, &mut payload);
                Some(payload)
            }
            Protection::Signed => {
                let mut payload = Vec::with_capacity(repr.buffer_len() + SIGNATURE_LEN);
                repr.emit(&mut payload);
                let signature = self.identity.sign_datagram(&payload);
                payload.extend_from_slice(&signature);
                Some(payload)
            }
            Protection::Clear => {
                let mut payload = Vec::with_capacity(repr.buffer_len());
                repr.emit(&mut payload);
                Some(payload)
            }
        }
    }
}

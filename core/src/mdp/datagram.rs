//! What a node hands to the layer above, and why it does not take something from it.

use crate::wire::mdp::Protection;
use crate::{Addr, Port, Sid};
use bytes::Bytes;
use core::fmt;

/// A received datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Who sent it. Anyone can claim this unless it was encrypted or signed.
    pub from: Addr,
    /// The port that it is for.
    pub to: Port,
    /// How it was protected.
    pub protection: Protection,
    /// Sent to every node, not to this one.
    pub broadcast: bool,
    /// Its data, never empty.
    pub payload: Bytes,
    /// Tells the sealed packet that it came in from all others, if the layer below knows it.
    pub fingerprint: Option<Fingerprint>,
}

impl Datagram {
    /// A datagram for one node, without fingerprint, as from a daemon that does the encryption.
    #[must_use]
    pub const fn new(from: Addr, to: Port, protection: Protection, payload: Bytes) -> Self {
        Self { from, to, protection, broadcast: false, payload, fingerprint: None }
    }
}

/// A part of the authenticator of a sealed packet (`spec/40` section 3.1).
///
/// An exact copy of the packet has the same one. Nobody without the key can make another packet that opens
/// and has it, and a sender that seals the same data again gets another one, because its nonce differs. Who
/// has the key can make two with the same, so compare only those of one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub u64);

/// Why a datagram was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendDatagramError {
    /// The queue towards the destination is full; try again after
    /// [`Node::poll_transmit`](super::Node::poll_transmit). From a daemon's client: its queue is full, or the
    /// port is not bound yet.
    WouldBlock,
    /// The port that it is to come from was not taken with [`Daemon::bind`](super::Daemon::bind).
    NotBound,
    /// No neighbour leads to the destination, and too many datagrams wait for one already.
    NoRoute,
    /// The payload has more bytes than this.
    TooLarge {
        /// The most that can be sent.
        max: usize,
    },
    /// The payload is empty, which is never sent: it aborts the reference daemon (`spec/80` section 4).
    Empty,
    /// No datagram can go to this destination: it is port 0, a SID that no identity has, or this node itself, which
    /// a daemon's client can send to. Nothing encrypted, and no key mapping, can go to everyone.
    InvalidDestination,
}

impl SendDatagramError {
    /// Refuses what can be sent by nobody. `max` is the length of the longest payload.
    pub(super) fn check(to: Addr, protection: Protection, payload: &[u8], max: usize) -> Result<(), Self> {
        // Nobody has the key to an encrypted broadcast, and key mapping for all aborts the daemon (`spec/40` section 4).
        let is_to_all =
            to.sid == Sid::BROADCAST && protection != Protection::Encrypted && to.port != Port::KEY_MAPPING;
        if payload.is_empty() {
            Err(Self::Empty)
        } else if payload.len() > max {
            Err(Self::TooLarge { max })
        } else if to.port == Port::ANY || (to.sid.is_reserved() && !is_to_all) {
            Err(Self::InvalidDestination)
        } else {
            Ok(())
        }
    }
}

impl fmt::Display for SendDatagramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WouldBlock => f.write_str("the queue towards the destination is full"),
            Self::NotBound => f.write_str("the port that the datagram is to come from is not bound"),
            Self::NoRoute => f.write_str("no neighbour leads to the destination"),
            Self::TooLarge { max } => write!(f, "a datagram holds at most {max} bytes"),
            Self::Empty => f.write_str("a datagram without data cannot be sent"),
            Self::InvalidDestination => f.write_str("the destination is this node, or nobody's address"),
        }
    }
}

impl core::error::Error for SendDatagramError {}

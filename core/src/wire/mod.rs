//! Every byte format of the protocol: parsing and emitting, nothing else.
//!
//! Each format has a `Repr` that owns or borrows the meaning of a packet, with `parse`, `emit` and
//! `buffer_len`. Parsers are total: any bytes give a value or a [`DecodeError`]. What `emit` writes,
//! `parse` reads back.
//!
//! How a message of a stream lies in what a UDP socket sends:
//!
//! ```text
//! UDP payload = overlay packet   header, then frames                         overlay, address
//!   frame                        from whom, to whom; payload:                overlay, address
//!     protection                 nonce and authenticator, or a signature     mdp::SharedKey, Identity
//!       datagram                 ports; payload:                             mdp
//!         port 1                 key mapping                                 mdp
//!         port 2                 link state                                  linkstate, address
//!         port 8                 trace                                       trace
//!         a stream's ports       flags, numbers; the message                 msp, extended, roll
//! ```
//!
//! On the local socket of a daemon, which adds the rest by itself, a stream's packet has one header: client. What it tells of routes: routes.

pub mod address;
pub mod client;
pub mod extended;
pub mod linkstate;
pub mod mdp;
pub mod msp;
pub mod overlay;
pub mod roll;
pub mod routes;
pub mod trace;

use core::fmt;

/// Why bytes are not a packet of the expected format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end before the format does.
    Truncated,
    /// A field holds a value that the format does not allow.
    Invalid,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "packet too short",
            Self::Invalid => "packet holds an invalid value",
        })
    }
}

impl core::error::Error for DecodeError {}

/// A checked cursor over received bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.0 = tail;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }
}

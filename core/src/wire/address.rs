//! Addresses inside overlay packets, whole or abbreviated (`spec/30` section 4).
//!
//! One qualifier byte, then the data that it announces:
//!
//! ```text
//! 00..1f  that many first bytes of a SID      fc  the sender, on point-to-point links
//! 20      a whole SID                         fd  the receiver, on point-to-point links
//! 21..fa  invalid                             fe  the address that was resolved last
//! fb      an Ed25519 signing key              ff  the sender of the packet
//! ```

use super::{DecodeError, Reader};
use crate::Sid;
use alloc::vec::Vec;

const WHOLE: u8 = 0x20;
const SIGNING_KEY: u8 = 0xfb;
const POINT_TO_POINT_SENDER: u8 = 0xfc;
const POINT_TO_POINT_RECEIVER: u8 = 0xfd;
const PREVIOUS: u8 = 0xfe;
const SENDER: u8 = 0xff;

/// An address as a packet writes it. What it stands for depends on the packet so far, which
/// [`Context`] remembers, and on the addresses that the reader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address<'a> {
    /// The first bytes of a SID, at most 31. No bytes at all is readable but names nobody.
    Prefix(&'a [u8]),
    /// A whole SID.
    Whole(Sid),
    /// The Ed25519 signing key of a combined identity, from which the SID follows (`spec/40` section 1).
    SigningKey([u8; 32]),
    /// The sender, on a link configured as point-to-point.
    PointToPointSender,
    /// The receiver, on a link configured as point-to-point.
    PointToPointReceiver,
    /// The address in this packet that was resolved last.
    Previous,
    /// The sender of the packet, or the source of the message that holds the address.
    Sender,
}

impl<'a> Address<'a> {
    /// Reads one address from the start of `bytes`; gives it and the bytes after it.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Invalid`] for a qualifier without a meaning, which makes the rest of the packet
    /// unreadable; [`DecodeError::Truncated`] if the data ends too early.
    pub fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let mut reader = Reader::new(bytes);
        let address = Self::read(&mut reader)?;
        Ok((address, reader.rest()))
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            length @ ..WHOLE => Self::Prefix(reader.take(length.into())?),
            WHOLE => Self::Whole(Sid::new(reader.array()?)),
            SIGNING_KEY => Self::SigningKey(reader.array()?),
            POINT_TO_POINT_SENDER => Self::PointToPointSender,
            POINT_TO_POINT_RECEIVER => Self::PointToPointReceiver,
            PREVIOUS => Self::Previous,
            SENDER => Self::Sender,
            _ => return Err(DecodeError::Invalid),
        })
    }

    /// Appends the address to `buffer`. Of a prefix, the first 31 bytes are written.
    pub fn emit(&self, buffer: &mut Vec<u8>) {
        let (qualifier, data): (u8, &[u8]) = match self {
            Self::Prefix(bytes) => {
                let bytes = shortened(bytes);
                (bytes.len() as u8, bytes)
            }
            Self::Whole(sid) => (WHOLE, sid.as_bytes()),
            Self::SigningKey(key) => (SIGNING_KEY, key),
            Self::PointToPointSender => (POINT_TO_POINT_SENDER, &[]),
            Self::PointToPointReceiver => (POINT_TO_POINT_RECEIVER, &[]),
            Self::Previous => (PREVIOUS, &[]),
            Self::Sender => (SENDER, &[]),
        };
        buffer.push(qualifier);
        buffer.extend_from_slice(data);
    }

    /// Bytes that [`Address::emit`] appends.
    #[must_use]
    pub fn buffer_len(&self) -> usize {
        1 + match self {
            Self::Prefix(bytes) => shortened(bytes).len(),
            Self::Whole(_) | Self::SigningKey(_) => Sid::LEN,
            Self::PointToPointSender | Self::PointToPointReceiver | Self::Previous | Self::Sender => 0,
        }
    }
}

fn shortened(prefix: &[u8]) -> &[u8] {
    &prefix[..prefix.len().min(Sid::LEN - 1)]
}

/// What the addresses of one packet, or of one message inside it, refer to.
///
/// It runs on from the packet's header through all its frames. An address that cannot be resolved
/// changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    sender: Sid,
    previous: Sid,
}

impl Context {
    /// After the header, whose sender is `sender`.
    #[must_use]
    pub const fn new(sender: Sid) -> Self {
        Self { sender, previous: sender }
    }

    /// The address that `address` stands for, and remembers it. `lookup` resolves a prefix or a signing
    /// key among the addresses that the reader knows; it is asked for nothing else.
    ///
    /// Point-to-point addresses resolve to nothing: there is no such link over UDP.
    pub fn resolve(
        &mut self,
        address: Address<'_>,
        lookup: impl FnOnce(Address<'_>) -> Option<Sid>,
    ) -> Option<Sid> {
        let sid = match address {
            Address::Whole(sid) => sid,
            Address::Sender => self.sender,
            Address::Previous => self.previous,
            Address::Prefix(_) | Address::SigningKey(_) => lookup(address)?,
            Address::PointToPointSender | Address::PointToPointReceiver => return None,
        };
        self.previous = sid;
        Some(sid)
    }

    /// The shortest way to write `sid` here, and remembers it. `prefix` is how many of its first bytes
    /// identify it to every reader, if any do.
    pub fn abbreviate<'a>(&mut self, sid: &'a Sid, prefix: Option<usize>) -> Address<'a> {
        let address = if *sid == self.sender {
            Address::Sender
        } else if *sid == self.previous {
            Address::Previous
        } else {
            match prefix.and_then(|length| sid.as_bytes().get(..length)) {
                Some(prefix) if prefix.len() < Sid::LEN => Address::Prefix(prefix),
                _ => Address::Whole(*sid),
            }
        };
        self.previous = *sid;
        address
    }
}

/// The items of a please-explain frame (`spec/30` section 5), up to the first that has no meaning there:
/// a prefix asks, a whole SID or a signing key answers, [`Address::PointToPointReceiver`] asks for the
/// other end of a point-to-point link.
pub fn explain_items(payload: &[u8]) -> impl Iterator<Item = Address<'_>> {
    let mut reader = Reader::new(payload);
    core::iter::from_fn(move || Address::read(&mut reader).ok()).take_while(|address| match address {
        Address::Prefix(prefix) => !prefix.is_empty(),
        Address::Whole(_) | Address::SigningKey(_) | Address::PointToPointReceiver => true,
        Address::PointToPointSender | Address::Previous | Address::Sender => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sid(first: u8) -> Sid {
        let mut bytes = [0x55; 32];
        bytes[0] = first;
        Sid::new(bytes)
    }

    #[test]
    fn every_qualifier_reads_and_writes_the_same_or_is_refused() {
        for qualifier in 0..=0xff {
            let mut bytes = [0x55; 40];
            bytes[0] = qualifier;
            let parsed = Address::parse(&bytes);
            if (0x21..=0xfa).contains(&qualifier) {
                assert_eq!(parsed, Err(DecodeError::Invalid));
                continue;
            }
            let (address, rest) = parsed.unwrap();
            let mut emitted = Vec::new();
            address.emit(&mut emitted);
            assert_eq!(emitted, bytes[..bytes.len() - rest.len()]);
            assert_eq!(address.buffer_len(), emitted.len());
            let truncated = Address::parse(&bytes[..emitted.len() - 1]);
            assert_eq!(truncated, Err(DecodeError::Truncated), "qualifier {qualifier:#x}");
        }
        let mut emitted = Vec::new();
        Address::Prefix(&[7; 40]).emit(&mut emitted);
        assert_eq!(Address::parse(&emitted), Ok((Address::Prefix(&[7; 31]), &[][..])));
    }

    #[test]
    fn context_follows_the_resolved_addresses() {
        let (a, b, c) = (sid(0xa), sid(0xb), sid(0xc));
        let mut context = Context::new(a);
        assert_eq!(context.resolve(Address::Previous, |_| None), Some(a), "starts with the sender");
        assert_eq!(context.resolve(Address::Whole(b), |_| None), Some(b));
        assert_eq!(context.resolve(Address::Prefix(&[0xc]), |_| None), None);
        assert_eq!(context.resolve(Address::PointToPointReceiver, |_| Some(c)), None);
        assert_eq!(context.resolve(Address::Previous, |_| None), Some(b), "unresolved ones do not count");
        assert_eq!(context.resolve(Address::SigningKey([1; 32]), |_| Some(c)), Some(c));
        assert_eq!(context.resolve(Address::Previous, |_| None), Some(c));
        assert_eq!(context.resolve(Address::Sender, |_| None), Some(a));
        assert_eq!(context.resolve(Address::Previous, |_| None), Some(a));
    }

    #[test]
    fn what_is_abbreviated_resolves_to_the_same() {
        let all = [sid(1), sid(2), sid(3), sid(1), sid(3), sid(3), sid(2)];
        for length in [None, Some(1), Some(6), Some(31), Some(32), Some(99)] {
            let (mut writer, mut reader) = (Context::new(sid(1)), Context::new(sid(1)));
            for sid in &all {
                let address = writer.abbreviate(sid, length);
                let lookup = |address: Address<'_>| match address {
                    Address::Prefix(prefix) => {
                        all.iter().find(|sid| sid.as_bytes().starts_with(prefix)).copied()
                    }
                    _ => None,
                };
                assert_eq!(reader.resolve(address, lookup), Some(*sid), "{address:?}");
            }
            assert_eq!(writer, reader);
        }
    }

    #[test]
    fn explain_items_end_at_what_has_no_meaning() {
        let bytes = [0x02, 0xab, 0x37, 0xfd, 0x01, 0x92, 0xff, 0x01, 0x11];
        let items: Vec<_> = explain_items(&bytes).collect();
        let expected =
            [Address::Prefix(&[0xab, 0x37]), Address::PointToPointReceiver, Address::Prefix(&[0x92])];
        assert_eq!(items, expected);
        assert_eq!(explain_items(&[0x00, 0x01, 0x11]).count(), 0);
        assert_eq!(explain_items(&[0x20, 0x01, 0x11]).count(), 0);
    }
}

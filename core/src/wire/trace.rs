//! The nodes that a trace has passed (`spec/60` section 3).
//!
//! ```text
//! 0x20, origin (32) | 0x20, target (32) | 0x20, node (32) | ...
//! ```

use super::DecodeError;
use crate::Sid;
use alloc::vec::Vec;

/// How an address begins that is a whole SID.
const WHOLE: u8 = 0x20;
const ENTRY_LEN: usize = 1 + Sid::LEN;

/// A trace on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repr {
    /// Who wants to know.
    pub origin: Sid,
    /// To where.
    pub target: Sid,
    /// Who was passed, the origin first, and again on the way back.
    pub passed: Vec<Sid>,
}

impl Repr {
    /// So many fit in a datagram that every path carries, with the origin and the target.
    pub const MAX_PASSED: usize = 1024 / ENTRY_LEN - 2;

    /// Reads a trace.
    ///
    /// # Errors
    ///
    /// If it is none, is cut short, has passed too many, or names what can be nobody's SID.
    pub fn parse(payload: &[u8]) -> Result<Self, DecodeError> {
        let (entries, rest) = payload.as_chunks::<ENTRY_LEN>();
        if !rest.is_empty() || entries.len() > 2 + Self::MAX_PASSED {
            return Err(DecodeError::Invalid);
        }
        let mut sids = entries.iter().map(|entry| {
            let sid = entry[1..].try_into().map(Sid::new).ok();
            sid.filter(|sid| entry[0] == WHOLE && !sid.is_reserved()).ok_or(DecodeError::Invalid)
        });
        let mut next = || sids.next().unwrap_or(Err(DecodeError::Truncated));
        let (origin, target) = (next()?, next()?);
        Ok(Self { origin, target, passed: sids.collect::<Result<_, _>>()? })
    }

    /// Bytes that [`Repr::emit`] appends.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        (2 + self.passed.len()) * ENTRY_LEN
    }

    /// Appends it.
    pub fn emit(&self, buffer: &mut Vec<u8>) {
        for sid in [&self.origin, &self.target].into_iter().chain(&self.passed) {
            buffer.push(WHOLE);
            buffer.extend_from_slice(sid.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repr(passed: usize) -> Repr {
        let sid = |n| Sid::new([n; 32]);
        Repr { origin: sid(1), target: sid(2), passed: (0..passed).map(|n| sid(n as u8 + 3)).collect() }
    }

    fn emitted(repr: &Repr) -> Vec<u8> {
        let mut buffer = Vec::new();
        repr.emit(&mut buffer);
        buffer
    }

    #[test]
    fn reads_what_it_writes() {
        for passed in [0, 1, Repr::MAX_PASSED] {
            let repr = repr(passed);
            let bytes = emitted(&repr);
            assert_eq!((bytes.len(), bytes[0], bytes[33]), (repr.buffer_len(), 0x20, 0x20));
            assert_eq!(Repr::parse(&bytes), Ok(repr));
        }
        assert!(repr(Repr::MAX_PASSED).buffer_len() <= 1024);
    }

    #[test]
    fn refuses_what_is_none() {
        let bytes = emitted(&repr(1));
        for length in 0..bytes.len() {
            assert_eq!(Repr::parse(&bytes[..length]).is_ok(), length == 66, "{length}");
        }
        for (index, value) in [(0, 0x1f), (33, 0x21), (66, 6)] {
            let mut damaged = bytes.clone();
            damaged[index] = value;
            assert!(Repr::parse(&damaged).is_err());
        }
        let nobody = Repr { target: Sid::BROADCAST, ..repr(0) };
        assert!(Repr::parse(&emitted(&nobody)).is_err());
        assert!(Repr::parse(&emitted(&repr(Repr::MAX_PASSED + 1))).is_err());
    }
}

//! Lists of idle connections between two ends, as one sign of life for all of them (`docs/msp-extensions.md`
//! section 7).
//!
//! ```text
//! flags (1) | initiator's port (4), tag (4) | ...
//! ```

use super::extended::Tag;
use super::{DecodeError, Reader};
use crate::Port;
use alloc::vec::Vec;
use core::num::NonZeroU32;

const EXTENDED: u8 = 0x10;
const ROLL: u8 = 0x20;
const ANSWER: u8 = 0x40;

/// Who lists connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Their initiator, which asks for an answer.
    Call,
    /// Their listener, of those that exist.
    Answer,
}

/// A connection that is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its port at the initiator.
    pub port: Port,
    /// Its tag.
    pub tag: Tag,
}

/// A roll: 1 to [`Repr::MAX_ENTRIES`] connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repr {
    /// Who lists them.
    pub kind: Kind,
    /// The connections.
    pub entries: Vec<Entry>,
}

impl Repr {
    /// So many fit in a packet that every path carries.
    pub const MAX_ENTRIES: usize = 128;
    const ENTRY_LEN: usize = 8;

    /// Reads a roll.
    ///
    /// # Errors
    ///
    /// If it is none, is cut short, or lists too many.
    pub fn parse(packet: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(packet);
        let kind = match reader.u8()? {
            flags if flags == EXTENDED | ROLL => Kind::Call,
            flags if flags == EXTENDED | ROLL | ANSWER => Kind::Answer,
            _ => return Err(DecodeError::Invalid),
        };
        let count = reader.rest().len() / Self::ENTRY_LEN;
        if !(1..=Self::MAX_ENTRIES).contains(&count) {
            return Err(DecodeError::Invalid);
        }
        let mut entries = Vec::with_capacity(count);
        while !reader.is_empty() {
            let port = Port::new(u32::from_le_bytes(reader.array()?)).filter(|port| *port != Port::ANY);
            let port = port.ok_or(DecodeError::Invalid)?;
            let tag = NonZeroU32::new(u32::from_le_bytes(reader.array()?)).ok_or(DecodeError::Invalid)?;
            entries.push(Entry { port, tag: Tag(tag) });
        }
        Ok(Self { kind, entries })
    }

    /// Appends the roll to `buffer`.
    pub fn emit(&self, buffer: &mut Vec<u8>) {
        buffer.push(match self.kind {
            Kind::Call => EXTENDED | ROLL,
            Kind::Answer => EXTENDED | ROLL | ANSWER,
        });
        for Entry { port, tag } in &self.entries {
            buffer.extend_from_slice(&port.get().to_le_bytes());
            buffer.extend_from_slice(&tag.0.get().to_le_bytes());
        }
    }

    /// Bytes that [`Repr::emit`] appends.
    #[must_use]
    pub fn buffer_len(&self) -> usize {
        1 + self.entries.len() * Self::ENTRY_LEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::extended;

    fn entry(port: u16, tag: u32) -> Entry {
        Entry { port: port.into(), tag: Tag(NonZeroU32::new(tag).unwrap()) }
    }

    /// The examples of the specification.
    const CALL: &str = "30 d2 04 00 00 0d 0c 0b 0a d3 04 00 00 0e 0c 0b 0a";
    const ANSWER: &str = "70 d2 04 00 00 0d 0c 0b 0a";

    fn bytes(text: &str) -> Vec<u8> {
        assert!(include_str!("../../../docs/msp-extensions.md").contains(text));
        text.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    #[test]
    fn the_examples_of_the_specification_read_and_write_the_same() {
        let entries = [entry(1234, 0x0a0b_0c0d), entry(1235, 0x0a0b_0c0e)];
        for (text, kind, entries) in [(CALL, Kind::Call, &entries[..]), (ANSWER, Kind::Answer, &entries[..1])]
        {
            let (bytes, repr) = (bytes(text), Repr { kind, entries: entries.to_vec() });
            assert_eq!(Repr::parse(&bytes).as_ref(), Ok(&repr));
            let mut emitted = Vec::new();
            repr.emit(&mut emitted);
            assert_eq!((emitted, repr.buffer_len()), (bytes.clone(), bytes.len()));
            assert!(extended::Repr::parse(&bytes).is_err(), "it is no packet of one connection");
        }
    }

    #[test]
    fn other_bytes_are_none() {
        let whole = bytes(CALL);
        for length in (0..whole.len()).filter(|length| *length != 9) {
            assert!(Repr::parse(&whole[..length]).is_err(), "{length}");
        }
        for (index, byte) in [(0, 0x10), (0, 0x31), (0, 0x60), (0, 0xf0)] {
            let mut changed = whole.clone();
            changed[index] = byte;
            assert!(Repr::parse(&changed).is_err());
        }
        for field in [1..5, 5..9] {
            let mut changed = whole.clone();
            changed[field].fill(0);
            assert_eq!(Repr::parse(&changed), Err(DecodeError::Invalid), "no port and no tag is 0");
        }
        let most = Repr { kind: Kind::Call, entries: [entry(1, 1)].repeat(Repr::MAX_ENTRIES) };
        let mut packet = Vec::new();
        most.emit(&mut packet);
        assert_eq!((Repr::parse(&packet).as_ref(), packet.len()), (Ok(&most), 1025));
        packet.extend_from_within(1..9);
        assert_eq!(Repr::parse(&packet), Err(DecodeError::Invalid));
    }
}

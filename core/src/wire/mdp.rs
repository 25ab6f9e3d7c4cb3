//! MDP datagrams: ports and data (`spec/40` section 2), and the messages of key mapping (section 4).
//!
//! The ports are not in the frame header: they are the start of what is encrypted.

use super::{DecodeError, Reader};
use crate::Port;
use alloc::vec::Vec;

/// How a datagram is protected between the two identities (`spec/40` section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Encrypted and authenticated: only the source can have written it, only the destination reads it.
    Encrypted,
    /// Readable by all, and signed by the source.
    Signed,
    /// Readable by all, and from anyone.
    Clear,
}

/// One datagram, as it is before encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr<'a> {
    /// Where it goes.
    pub destination: Port,
    /// Where it comes from; all 32 bits are possible on the wire, but nothing can answer above
    /// [`Port::MAX`].
    pub source: Port,
    /// The data.
    pub payload: &'a [u8],
}

impl<'a> Repr<'a> {
    /// Bytes that the ports need at most.
    pub const MAX_HEADER_LEN: usize = 10;

    /// Reads a datagram.
    ///
    /// # Errors
    ///
    /// If the ports are cut off, too large, or not in their shortest form.
    pub fn parse(plaintext: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(plaintext);
        let number = parse_varint(&mut reader)?;
        let destination = Port::new(number >> 1).ok_or(DecodeError::Invalid)?;
        let source = if number & 1 == 1 {
            destination
        } else {
            Port::new(parse_varint(&mut reader)?).ok_or(DecodeError::Invalid)?
        };
        Ok(Self { destination, source, payload: reader.rest() })
    }

    /// Appends the datagram to `buffer`.
    pub fn emit(&self, buffer: &mut Vec<u8>) {
        if self.source == self.destination {
            emit_varint(self.destination.get() << 1 | 1, buffer);
        } else {
            emit_varint(self.destination.get() << 1, buffer);
            emit_varint(self.source.get(), buffer);
        }
        buffer.extend_from_slice(self.payload);
    }

    /// Bytes that [`Repr::emit`] appends.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        let destination = varint_len(self.destination.get() << 1);
        let same = self.source.get() == self.destination.get();
        destination + if same { 0 } else { varint_len(self.source.get()) } + self.payload.len()
    }
}

/// A message of the key mapping service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyMapping<'a> {
    /// "Send me your signing key."
    Request,
    /// A signing key, and its signature over the SID of the one who answers.
    Answer {
        /// The Ed25519 public key.
        signing_key: &'a [u8; 32],
        /// The signature over the 32 bytes of the SID.
        signature: &'a [u8; 64],
    },
    /// Of a kind that a leaf ignores: the hand-over of identities.
    Other,
}

impl<'a> KeyMapping<'a> {
    const KIND: u8 = 0x02;

    /// Reads a message.
    ///
    /// # Errors
    ///
    /// If it is empty, or an answer of the wrong length.
    pub fn parse(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let (kind, rest) = payload.split_first().ok_or(DecodeError::Truncated)?;
        if *kind != Self::KIND {
            return Ok(Self::Other);
        }
        if rest.is_empty() {
            return Ok(Self::Request);
        }
        let (signing_key, rest) = rest.split_first_chunk().ok_or(DecodeError::Truncated)?;
        let signature = rest.try_into().map_err(|_| DecodeError::Invalid)?;
        Ok(Self::Answer { signing_key, signature })
    }

    /// Appends the message to `buffer`; nothing for [`KeyMapping::Other`].
    pub fn emit(&self, buffer: &mut Vec<u8>) {
        match self {
            Self::Request => buffer.push(Self::KIND),
            Self::Answer { signing_key, signature } => {
                buffer.push(Self::KIND);
                buffer.extend_from_slice(*signing_key);
                buffer.extend_from_slice(*signature);
            }
            Self::Other => {}
        }
    }

    /// Bytes that [`KeyMapping::emit`] appends.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        match self {
            Self::Request => 1,
            Self::Answer { .. } => 1 + 32 + 64,
            Self::Other => 0,
        }
    }
}

/// Base 128, least significant group first, bit 7 says that more follows; at most 32 bits, shortest form.
pub(super) fn parse_varint(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    let mut value = 0_u32;
    for shift in (0..32).step_by(7) {
        let byte = reader.u8()?;
        let group = u32::from(byte & 0x7f);
        if group << shift >> shift != group || (byte == 0 && shift > 0) {
            return Err(DecodeError::Invalid);
        }
        value |= group << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(DecodeError::Invalid)
}

pub(super) fn emit_varint(mut value: u32, buffer: &mut Vec<u8>) {
    while value > 0x7f {
        buffer.push(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}

pub(super) const fn varint_len(value: u32) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        0x20_0000..0x1000_0000 => 4,
        _ => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(number: u32) -> Port {
        Port::new(number).unwrap()
    }

    /// The table of `spec/40` section 2, and the limits.
    #[test]
    fn ports_read_and_write_the_same() {
        let examples: [(u32, u32, &[u8]); 9] = [
            (2, 2, &[0x05]),
            (7, 6, &[0x0e, 0x06]),
            (7, 1000, &[0x0e, 0xe8, 0x07]),
            (1, 1, &[0x03]),
            (512, 257, &[0x80, 0x08, 0x81, 0x02]),
            (512, 512, &[0x81, 0x08]),
            (0, 0, &[0x01]),
            (0, 1, &[0x00, 0x01]),
            (0x7fff_ffff, 0x7fff_ffff, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ];
        for (destination, source, bytes) in examples {
            let repr = Repr { destination: port(destination), source: port(source), payload: b"x" };
            let mut plaintext = Vec::new();
            repr.emit(&mut plaintext);
            assert_eq!(plaintext, [bytes, b"x"].concat());
            assert_eq!(plaintext.len(), repr.buffer_len());
            assert_eq!(Repr::parse(&plaintext), Ok(repr));
        }
    }

    #[test]
    fn broken_ports_are_refused() {
        let refused: [&[u8]; 6] = [
            b"",
            b"\x80",
            b"\x0e",
            b"\x0e\xff\xff\xff\xff\x0f", // a source port of 32 bits
            b"\x81\x80\x80\x80\x10",     // more than 32 bits
            b"\x81\x00",                 // not the shortest form
        ];
        for bytes in refused {
            assert!(Repr::parse(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn key_mapping_reads_and_writes_the_same() {
        let answer = KeyMapping::Answer { signing_key: &[3; 32], signature: &[4; 64] };
        for message in [KeyMapping::Request, answer] {
            let mut bytes = Vec::new();
            message.emit(&mut bytes);
            assert_eq!(bytes.len(), message.buffer_len());
            assert_eq!(KeyMapping::parse(&bytes), Ok(message));
        }
        assert_eq!(KeyMapping::parse(b"\xf0"), Ok(KeyMapping::Other));
        assert!(KeyMapping::parse(b"").is_err());
        assert!(KeyMapping::parse(&[2; 98]).is_err());
    }
}

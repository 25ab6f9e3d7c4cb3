//! MSP packets (`spec/10` A.1).
//!
//! ```text
//! flags (1) | acknowledgment (2) | sequence number (2) | payload
//! ```
//!
//! Integers are little-endian. Three shapes are sent: one byte (abort), three bytes (acknowledgment
//! only), five bytes and more (data).

use super::{DecodeError, Reader};
use crate::seq::Seq16;
use alloc::vec::Vec;

/// The sender's last data packet.
const SHUTDOWN: u8 = 0x01;
/// The acknowledgment field is valid.
const ACK: u8 = 0x02;
/// The sender has not heard from the receiver yet.
const FIRST: u8 = 0x04;
/// The connection does not exist at the sender.
const STOP: u8 = 0x08;

/// What the acknowledgment field holds when it is not valid.
const NO_ACK: Seq16 = Seq16(0xffff);

/// One MSP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repr<'a> {
    /// STOP: the connection does not exist (any more) at the sender.
    Stop,
    /// A packet of one or two bytes, which tells only that the sender lives. Never sent: it aborts the
    /// reference listener (`spec/80` section 4).
    Bare {
        /// The sender has not heard from the receiver yet.
        first: bool,
    },
    /// An acknowledgment without data; also the keep-alive.
    Ack {
        /// The sender has not heard from the receiver yet.
        first: bool,
        /// The last packet that was received in order and consumed; `None` before any data came.
        ack: Option<Seq16>,
    },
    /// One message.
    Data {
        /// The sender has not heard from the receiver yet.
        first: bool,
        /// As in [`Repr::Ack`].
        ack: Option<Seq16>,
        /// The place of this message in the sender's stream.
        seq: Seq16,
        /// Nothing follows this message.
        shutdown: bool,
        /// The message; may be empty, and delivers nothing then.
        payload: &'a [u8],
    },
}

impl<'a> Repr<'a> {
    /// Bytes before the payload of a data packet.
    pub const DATA_HEADER_LEN: usize = 5;

    /// Reads a packet. Reserved flags are ignored, as the reference daemon does.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`] if there are no bytes at all; everything else means something.
    pub fn parse(packet: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(packet);
        let flags = reader.u8()?;
        if flags & STOP != 0 {
            return Ok(Self::Stop);
        }
        let first = flags & FIRST != 0;
        let Ok(ack) = reader.array() else { return Ok(Self::Bare { first }) };
        let ack = (flags & ACK != 0).then_some(Seq16(u16::from_le_bytes(ack)));
        let Ok(seq) = reader.array() else { return Ok(Self::Ack { first, ack }) };
        Ok(Self::Data {
            first,
            ack,
            seq: Seq16(u16::from_le_bytes(seq)),
            shutdown: flags & SHUTDOWN != 0,
            payload: reader.rest(),
        })
    }

    /// Whether the sender has not heard from the receiver yet, so that the packet may open a stream.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        match *self {
            Self::Stop => false,
            Self::Bare { first } | Self::Ack { first, .. } | Self::Data { first, .. } => first,
        }
    }

    /// The same packet with an empty payload, which borrows nothing.
    #[must_use]
    pub const fn without_payload(self) -> Repr<'static> {
        match self {
            Self::Stop => Repr::Stop,
            Self::Bare { first } => Repr::Bare { first },
            Self::Ack { first, ack } => Repr::Ack { first, ack },
            Self::Data { first, ack, seq, shutdown, .. } => {
                Repr::Data { first, ack, seq, shutdown, payload: &[] }
            }
        }
    }

    /// Appends the packet to `buffer`.
    pub fn emit(&self, buffer: &mut Vec<u8>) {
        let flag = |set: bool, mask: u8| if set { mask } else { 0 };
        match *self {
            Self::Stop => buffer.push(STOP),
            Self::Bare { first } => buffer.push(flag(first, FIRST)),
            Self::Ack { first, ack } => {
                buffer.push(flag(first, FIRST) | flag(ack.is_some(), ACK));
                buffer.extend_from_slice(&ack.unwrap_or(NO_ACK).0.to_le_bytes());
            }
            Self::Data { first, ack, seq, shutdown, payload } => {
                buffer.push(flag(first, FIRST) | flag(ack.is_some(), ACK) | flag(shutdown, SHUTDOWN));
                buffer.extend_from_slice(&ack.unwrap_or(NO_ACK).0.to_le_bytes());
                buffer.extend_from_slice(&seq.0.to_le_bytes());
                buffer.extend_from_slice(payload);
            }
        }
    }

    /// Bytes that [`Repr::emit`] appends.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        match self {
            Self::Stop | Self::Bare { .. } => 1,
            Self::Ack { .. } => 3,
            Self::Data { payload, .. } => Self::DATA_HEADER_LEN + payload.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of `spec/10` part C.
    #[test]
    fn recorded_packets_read_and_write_the_same() {
        let (first, shutdown) = (true, true);
        let data = |first, ack: Option<u16>, seq, shutdown, payload| Repr::Data {
            first,
            ack: ack.map(Seq16),
            seq: Seq16(seq),
            shutdown,
            payload,
        };
        let examples: &[(&[u8], Repr<'_>)] = &[
            (b"\x08", Repr::Stop),
            (b"\x04\xff\xff", Repr::Ack { first, ack: None }),
            (b"\x00\xff\xff", Repr::Ack { first: false, ack: None }),
            (b"\x02\x00\x00", Repr::Ack { first: false, ack: Some(Seq16(0)) }),
            (b"\x04\xff\xff\x00\x00hi\n", data(first, None, 0, false, b"hi\n")),
            (b"\x02\x00\x00\x00\x00reply\n", data(false, Some(0), 0, false, b"reply\n")),
            (b"\x03\x00\x00\x01\x00bye\n", data(false, Some(0), 1, shutdown, b"bye\n")),
            (b"\x03\x01\x00\x01\x00", data(false, Some(1), 1, shutdown, b"")),
            (b"\x05\xff\xff\x00\x00", data(first, None, 0, shutdown, b"")),
            (b"\x02\x34\x12\xcd\xab", data(false, Some(0x1234), 0xabcd, false, b"")),
        ];
        for (bytes, repr) in examples {
            assert_eq!(Repr::parse(bytes).as_ref(), Ok(repr));
            let mut emitted = Vec::new();
            repr.emit(&mut emitted);
            assert_eq!(emitted, *bytes);
            assert_eq!(repr.buffer_len(), bytes.len());
        }
    }

    #[test]
    fn odd_packets_are_read_as_the_reference_daemon_reads_them() {
        assert_eq!(Repr::parse(b""), Err(DecodeError::Truncated));
        assert_eq!(Repr::parse(b"\x0f\x00\x00\x00\x00x"), Ok(Repr::Stop));
        assert_eq!(Repr::parse(b"\x04"), Ok(Repr::Bare { first: true }));
        assert_eq!(Repr::parse(b"\x02\x00"), Ok(Repr::Bare { first: false }));
        let ack = Repr::Ack { first: false, ack: Some(Seq16(1)) };
        assert_eq!(Repr::parse(b"\xf3\x01\x00\x09"), Ok(ack), "four bytes, reserved flags");
    }
}

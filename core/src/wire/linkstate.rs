//! Link-state records: who hears whom (`spec/50` section 2).
//!
//! A message on port 2 holds records back to back:
//!
//! ```text
//! length (1) | flags (1) | receiver | version (1) | transmitter? | interface (1)?
//! | ack sequence (1) and mask (4)? | drop rate (1)? | unknown fields
//! ```
//!
//! The length counts the whole record, so that fields of the future can be skipped.

use super::address::Address;
use super::{DecodeError, Reader};
use alloc::vec::Vec;

const HAS_INTERFACE: u8 = 0x01;
const NO_PATH: u8 = 0x02;
const BROADCAST: u8 = 0x04;
const UNICAST: u8 = 0x08;
const HAS_ACK: u8 = 0x10;
const HAS_DROP: u8 = 0x20;

/// One record: `receiver` hears `transmitter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repr<'a> {
    /// The node that hears.
    pub receiver: Address<'a>,
    /// Counts the changes of this link.
    pub version: u8,
    /// The node that is heard, `None` if there is no path to the receiver.
    pub transmitter: Option<Address<'a>>,
    /// The interface of the transmitter that is heard.
    pub interface: Option<u8>,
    /// The transmitter is heard by broadcast.
    pub broadcast: bool,
    /// The transmitter is heard by unicast, and that is preferred.
    pub unicast: bool,
    /// Which of the transmitter's packets arrived.
    pub ack: Option<Ack>,
    /// How many packets in 15 are lost, 32 if there is no path.
    pub drop_rate: Option<u8>,
}

/// The packets of one stream that were received last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The newest sequence number.
    pub sequence: u8,
    /// Bit `k`: the packet `k + 1` before that arrived, too.
    pub mask: u32,
}

impl<'a> Repr<'a> {
    /// A record with nothing but these two.
    #[must_use]
    pub const fn new(receiver: Address<'a>, transmitter: Option<Address<'a>>) -> Self {
        Self {
            receiver,
            version: 1,
            transmitter,
            interface: None,
            broadcast: false,
            unicast: false,
            ack: None,
            drop_rate: None,
        }
    }

    /// The records of a message in order. A record that does not make sense is an error; the next one
    /// is found by its length. A length that leads nowhere ends the message.
    pub fn parse_all(message: &'a [u8]) -> impl Iterator<Item = Result<Self, DecodeError>> {
        let mut reader = Reader::new(message);
        core::iter::from_fn(move || {
            let length = reader.u8().ok()?.checked_sub(1)?;
            match reader.take(length.into()) {
                Ok(record) => Some(Self::parse(record)),
                Err(error) => {
                    reader = Reader::new(&[]);
                    Some(Err(error))
                }
            }
        })
    }

    fn parse(record: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(record);
        let flags = reader.u8()?;
        let has = |mask| flags & mask != 0;
        let receiver = Address::read(&mut reader)?;
        let version = reader.u8()?;
        let transmitter = if has(NO_PATH) { None } else { Some(Address::read(&mut reader)?) };
        let interface = if has(HAS_INTERFACE) { Some(reader.u8()?) } else { None };
        let ack = if has(HAS_ACK) {
            Some(Ack { sequence: reader.u8()?, mask: u32::from_be_bytes(reader.array()?) })
        } else {
            None
        };
        let drop_rate = if has(HAS_DROP) { Some(reader.u8()?) } else { None };
        Ok(Self {
            receiver,
            version,
            transmitter,
            interface,
            broadcast: has(BROADCAST),
            unicast: has(UNICAST),
            ack,
            drop_rate,
        })
    }

    /// Appends the record to `buffer`.
    pub fn emit(&self, buffer: &mut Vec<u8>) {
        let flag = |set: bool, mask: u8| if set { mask } else { 0 };
        // Two whole addresses and every field are 78 bytes.
        buffer.push(self.buffer_len() as u8);
        buffer.push(
            flag(self.interface.is_some(), HAS_INTERFACE)
                | flag(self.transmitter.is_none(), NO_PATH)
                | flag(self.broadcast, BROADCAST)
                | flag(self.unicast, UNICAST)
                | flag(self.ack.is_some(), HAS_ACK)
                | flag(self.drop_rate.is_some(), HAS_DROP),
        );
        self.receiver.emit(buffer);
        buffer.push(self.version);
        if let Some(transmitter) = self.transmitter {
            transmitter.emit(buffer);
        }
        buffer.extend(self.interface);
        if let Some(Ack { sequence, mask }) = self.ack {
            buffer.push(sequence);
            buffer.extend_from_slice(&mask.to_be_bytes());
        }
        buffer.extend(self.drop_rate);
    }

    /// Bytes that [`Repr::emit`] appends.
    #[must_use]
    pub fn buffer_len(&self) -> usize {
        3 + self.receiver.buffer_len()
            + self.transmitter.map_or(0, |transmitter| transmitter.buffer_len())
            + usize::from(self.interface.is_some())
            + if self.ack.is_some() { 5 } else { 0 }
            + usize::from(self.drop_rate.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sid;

    const N: Sid = Sid::new([0x92; 32]);

    fn records(message: &[u8]) -> Vec<Result<Repr<'_>, DecodeError>> {
        Repr::parse_all(message).collect()
    }

    /// The examples of `spec/50` section 4.
    #[test]
    fn recorded_records_read_and_write_the_same() {
        let (sender, prefix) = (Address::Sender, |bytes| Address::Prefix(bytes));
        let hears = Repr { interface: Some(0), ..Repr::new(sender, Some(prefix(&[0x92]))) };
        let ack = Some(Ack { sequence: 6, mask: 0x1f });
        let examples: &[(&[u8], Repr<'_>)] = &[
            (b"\x07\x09\xff\x01\x01\x92\x00", Repr { unicast: true, ..hears }),
            (
                b"\x0c\x15\xff\x01\x01\x47\x00\x06\x00\x00\x00\x1f",
                Repr { transmitter: Some(prefix(&[0x47])), broadcast: true, ack, ..hears },
            ),
            (
                b"\x08\x20\x02\x47\x01\x02\xff\x00",
                Repr { version: 2, drop_rate: Some(0), ..Repr::new(prefix(&[0x47, 0x01]), Some(sender)) },
            ),
            (
                b"\x07\x22\x02\xab\x37\xff\x20",
                Repr { version: 0xff, drop_rate: Some(32), ..Repr::new(prefix(&[0xab, 0x37]), None) },
            ),
        ];
        let mut all = Vec::new();
        for (bytes, repr) in examples {
            assert_eq!(records(bytes), [Ok(*repr)]);
            let mut emitted = Vec::new();
            repr.emit(&mut emitted);
            assert_eq!(emitted, *bytes);
            assert_eq!(repr.buffer_len(), bytes.len());
            all.extend_from_slice(bytes);
        }
        assert_eq!(records(&all).len(), 4);
    }

    /// The message of `spec/50` section 10.2.
    #[test]
    fn announcement_of_a_leaf_has_two_records_of_38_bytes() {
        let (me, whole) = (Address::Sender, Address::Whole(N));
        let hears = Repr { interface: Some(0), unicast: true, ..Repr::new(me, Some(whole)) };
        let uses = Repr { drop_rate: Some(0), ..Repr::new(whole, Some(me)) };
        let mut message = Vec::new();
        hears.emit(&mut message);
        uses.emit(&mut message);
        assert_eq!(message.len(), 76);
        assert_eq!(message[..6], [0x26, 0x09, 0xff, 0x01, 0x20, 0x92]);
        assert_eq!(message[37..41], [0x00, 0x26, 0x20, 0x20]);
        assert_eq!(message[72..], [0x92, 0x01, 0xff, 0x00]);
        assert_eq!(records(&message), [Ok(hears), Ok(uses)]);
    }

    #[test]
    fn unknown_fields_and_broken_records_are_skipped_by_their_length() {
        let future = b"\x09\x09\xff\x01\x01\x92\x00\xaa\xbb";
        let broken = b"\x04\x09\x21\x00";
        let mut message = future.to_vec();
        message.extend_from_slice(broken);
        message.extend_from_slice(&future[..]);
        message.extend_from_slice(b"\x00\x07\x09");
        let parsed = records(&message);
        assert_eq!(parsed.len(), 3, "a length of 0 ends the message");
        assert!(parsed[0].is_ok() && parsed[0] == parsed[2]);
        assert_eq!(parsed[1], Err(DecodeError::Invalid));
        assert_eq!(records(b"\x09\x09\xff"), [Err(DecodeError::Truncated)]);
        assert_eq!(records(b"\x01\x01"), [Err(DecodeError::Truncated); 2]);
        assert_eq!(records(b""), []);
    }
}

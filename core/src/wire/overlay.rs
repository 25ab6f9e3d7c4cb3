//! Overlay packets and their frames: what one node transmits to its neighbours (`spec/30`).
//!
//! ```text
//! packet  version (1) | encapsulation (1) | sender | flags (1) | interface (1)? | sequence (1)? | frame*
//! frame   flags (1) | source? | broadcast id (8)? | destination? | next hop? | TTL and QoS (1)?
//!         | legacy type (1)? | sequence (1)? | length (2)? | payload
//! ```
//!
//! Integers are big-endian. [`Packet::parse`] reads the header, [`Packet::frames`] goes through the
//! frames; both borrow from the packet.

use super::address::Address;
use super::mdp::Protection;
use super::{DecodeError, Reader};
use alloc::vec::Vec;

/// The type of a frame that holds a please-explain list (`spec/30` section 5).
pub const PLEASE_EXPLAIN: u8 = 0x60;

/// A frame with a payload this long makes the reference daemon abort (`spec/30` section 9).
pub const FORBIDDEN_PAYLOAD_LEN: usize = 1200;

const PACKET_UNICAST: u8 = 0x01;
const PACKET_INTERFACE: u8 = 0x02;
const PACKET_SEQUENCE: u8 = 0x04;

const SENDER_SAME: u8 = 0x01;
const BROADCAST: u8 = 0x02;
const ONE_HOP: u8 = 0x04;
const CIPHERED: u8 = 0x10;
const SIGNED: u8 = 0x20;
const ACK_SOON: u8 = 0x40;
const LEGACY_TYPE: u8 = 0x80;

/// How many frames a packet holds, and with that whether a frame tells its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encapsulation {
    /// Any number of frames, each with its length.
    Multiple,
    /// One frame, which ends where the packet does.
    Single,
}

/// The start of a packet (`spec/30` section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Whether frames carry a sequence number: version 1. The other version is 0.
    pub sequenced_frames: bool,
    /// How many frames follow.
    pub encapsulation: Encapsulation,
    /// The node that transmits.
    pub sender: Address<'a>,
    /// Sent to one neighbour, not to all.
    pub unicast: bool,
    /// The sender's interface, 0 if absent.
    pub interface: Option<u8>,
    /// Counts the packets of this kind from this sender; absent until the receiver was heard to acknowledge.
    pub sequence: Option<u8>,
}

impl<'a> Header<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let sequenced_frames = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(DecodeError::Invalid),
        };
        let encapsulation = match reader.u8()? {
            1 => Encapsulation::Multiple,
            2 => Encapsulation::Single,
            _ => return Err(DecodeError::Invalid),
        };
        let sender = Address::read(reader)?;
        let flags = reader.u8()?;
        let mut optional = |mask| if flags & mask == 0 { Ok(None) } else { reader.u8().map(Some) };
        Ok(Self {
            sequenced_frames,
            encapsulation,
            sender,
            unicast: flags & PACKET_UNICAST != 0,
            interface: optional(PACKET_INTERFACE)?,
            sequence: optional(PACKET_SEQUENCE)?,
        })
    }

    /// Appends the header to `buffer`.
    pub fn emit(&self, buffer: &mut Vec<u8>) {
        buffer.push(self.sequenced_frames.into());
        buffer.push(match self.encapsulation {
            Encapsulation::Multiple => 1,
            Encapsulation::Single => 2,
        });
        self.sender.emit(buffer);
        buffer.push(
            flag(self.unicast, PACKET_UNICAST)
                | flag(self.interface.is_some(), PACKET_INTERFACE)
                | flag(self.sequence.is_some(), PACKET_SEQUENCE),
        );
        buffer.extend(self.interface);
        buffer.extend(self.sequence);
    }

    /// Bytes that [`Header::emit`] appends.
    #[must_use]
    pub fn buffer_len(&self) -> usize {
        3 + self.sender.buffer_len()
            + usize::from(self.interface.is_some())
            + usize::from(self.sequence.is_some())
    }
}

/// A received packet whose header is sound. The frames may still not be.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    header: Header<'a>,
    frames: Reader<'a>,
}

impl<'a> Packet<'a> {
    /// Reads the header of a packet.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if the header is cut short or of an unknown version, encapsulation or address.
    pub fn parse(packet: &'a [u8]) -> Result<Self, DecodeError> {
        let mut frames = Reader::new(packet);
        Ok(Self { header: Header::read(&mut frames)?, frames })
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &Header<'a> {
        &self.header
    }

    /// The frames in order. After an error there is nothing more, since nobody knows where the next
    /// frame would start.
    pub fn frames(&self) -> impl Iterator<Item = Result<Frame<'a>, DecodeError>> + use<'a> {
        let Self { header, mut frames } = *self;
        core::iter::from_fn(move || {
            if frames.is_empty() {
                return None;
            }
            let frame = Frame::read(&mut frames, header.sequenced_frames, header.encapsulation);
            if frame.is_err() {
                frames = Reader::new(&[]);
            }
            Some(frame)
        })
    }
}

/// Where a frame is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route<'a> {
    /// To whoever hears it.
    Neighbours,
    /// To every node, passed on while it has hops left.
    Flood {
        /// Random, so that each node passes it on once.
        id: [u8; 8],
        /// Remaining hops and class of service.
        hops: Hops,
    },
    /// To a node that hears the transmission itself.
    Neighbour {
        /// That node.
        destination: Address<'a>,
    },
    /// To a node further away.
    Via {
        /// The node that it is for.
        destination: Address<'a>,
        /// The node that is to pass it on.
        next_hop: Address<'a>,
        /// Remaining hops and class of service.
        hops: Hops,
    },
}

/// Remaining hops (five bits) and class of service (two bits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hops(pub u8);

impl Hops {
    /// As far as a frame can go, in the class of ordinary traffic. It is what the reference daemon writes
    /// by default.
    pub const DEFAULT: Self = Self(0x7f);
}

/// One frame (`spec/30` section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The node that made the frame, `None` if that is the sender of the packet.
    pub source: Option<Address<'a>>,
    /// Where it goes.
    pub route: Route<'a>,
    /// How the payload is protected; `None` stands for a combination that is not allowed and never sent.
    pub protection: Option<Protection>,
    /// The sender keeps the frame until it is acknowledged and asks for that to be soon.
    pub ack_soon: bool,
    /// The type of a frame that is no MDP datagram.
    pub legacy_type: Option<u8>,
    /// Counts the frames that the sender transmits, the same in a retransmission. Present in packets of
    /// version 1.
    pub sequence: Option<u8>,
    /// What it carries.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    fn read(
        reader: &mut Reader<'a>,
        sequenced: bool,
        encapsulation: Encapsulation,
    ) -> Result<Self, DecodeError> {
        let flags = reader.u8()?;
        let has = |mask| flags & mask != 0;
        let source = if has(SENDER_SAME) { None } else { Some(Address::read(reader)?) };
        let route = match (has(BROADCAST), has(ONE_HOP)) {
            (true, true) => Route::Neighbours,
            (true, false) => Route::Flood { id: reader.array()?, hops: Hops(reader.u8()?) },
            (false, true) => Route::Neighbour { destination: Address::read(reader)? },
            (false, false) => Route::Via {
                destination: Address::read(reader)?,
                next_hop: Address::read(reader)?,
                hops: Hops(reader.u8()?),
            },
        };
        let protection = match (has(CIPHERED), has(SIGNED)) {
            (true, true) => Some(Protection::Encrypted),
            (false, true) => Some(Protection::Signed),
            (false, false) => Some(Protection::Clear),
            (true, false) => None,
        };
        let legacy_type = if has(LEGACY_TYPE) { Some(reader.u8()?) } else { None };
        let sequence = if sequenced { Some(reader.u8()?) } else { None };
        let payload = match encapsulation {
            Encapsulation::Multiple => {
                let length = u16::from_be_bytes(reader.array()?);
                reader.take(length.into())?
            }
            Encapsulation::Single => reader.take(reader.rest().len())?,
        };
        Ok(Self { source, route, protection, ack_soon: has(ACK_SOON), legacy_type, sequence, payload })
    }

    /// Appends the frame to `buffer`, for a packet with `encapsulation`. A payload is at most 65535
    /// bytes; what is beyond that is not written.
    pub fn emit(&self, encapsulation: Encapsulation, buffer: &mut Vec<u8>) {
        let (broadcast, one_hop) = match self.route {
            Route::Neighbours => (true, true),
            Route::Flood { .. } => (true, false),
            Route::Neighbour { .. } => (false, true),
            Route::Via { .. } => (false, false),
        };
        let protection = match self.protection {
            Some(Protection::Encrypted) => CIPHERED | SIGNED,
            Some(Protection::Signed) => SIGNED,
            Some(Protection::Clear) => 0,
            None => CIPHERED,
        };
        buffer.push(
            flag(self.source.is_none(), SENDER_SAME)
                | flag(broadcast, BROADCAST)
                | flag(one_hop, ONE_HOP)
                | protection
                | flag(self.ack_soon, ACK_SOON)
                | flag(self.legacy_type.is_some(), LEGACY_TYPE),
        );
        if let Some(source) = self.source {
            source.emit(buffer);
        }
        match self.route {
            Route::Neighbours => {}
            Route::Flood { id, hops } => {
                buffer.extend_from_slice(&id);
                buffer.push(hops.0);
            }
            Route::Neighbour { destination } => destination.emit(buffer),
            Route::Via { destination, next_hop, hops } => {
                destination.emit(buffer);
                next_hop.emit(buffer);
                buffer.push(hops.0);
            }
        }
        buffer.extend(self.legacy_type);
        buffer.extend(self.sequence);
        let length = u16::try_from(self.payload.len()).unwrap_or(u16::MAX);
        if encapsulation == Encapsulation::Multiple {
            buffer.extend_from_slice(&length.to_be_bytes());
        }
        buffer.extend_from_slice(&self.payload[..length.into()]);
    }

    /// Bytes that [`Frame::emit`] appends.
    #[must_use]
    pub fn buffer_len(&self, encapsulation: Encapsulation) -> usize {
        let route = match self.route {
            Route::Neighbours => 0,
            Route::Flood { .. } => 9,
            Route::Neighbour { destination } => destination.buffer_len(),
            Route::Via { destination, next_hop, .. } => destination.buffer_len() + next_hop.buffer_len() + 1,
        };
        let length = match encapsulation {
            Encapsulation::Multiple => 2,
            Encapsulation::Single => 0,
        };
        1 + self.source.map_or(0, |source| source.buffer_len())
            + route
            + usize::from(self.legacy_type.is_some())
            + usize::from(self.sequence.is_some())
            + length
            + self.payload.len().min(u16::MAX.into())
    }
}

const fn flag(set: bool, mask: u8) -> u8 {
    if set { mask } else { 0 }
}

#[cfg(test)]
#[path = "overlay_tests.rs"]
mod tests;

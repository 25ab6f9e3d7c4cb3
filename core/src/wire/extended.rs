//! Extended MSP packets, between two endpoints that have agreed on them (`docs/msp-extensions.md`).
//!
//! ```text
//! flags (1) | tag (4) | blocks present (1) | settings, time, acknowledgment, echo, part, data
//! ```

use super::mdp::{emit_varint, parse_varint, varint_len};
use super::{DecodeError, Reader};
use crate::Seq;
use alloc::vec::Vec;
use core::num::NonZeroU32;
use smallvec::SmallVec;

/// The sender's last data packet.
const SHUTDOWN: u8 = 0x01;
/// The connection with this tag does not exist at the sender.
const STOP: u8 = 0x08;
/// Set in every extended packet, and in offers.
const EXTENDED: u8 = 0x10;
/// Of the reference wire, in offers only.
const FIRST: u8 = 0x04;

const SETTINGS: u8 = 0x01;
const TIME: u8 = 0x02;
const ACKNOWLEDGMENT: u8 = 0x04;
const ECHO: u8 = 0x08;
const PART: u8 = 0x10;
const PROBE: u8 = 0x20;
const DATA: u8 = 0x40;
const PROMPT: u8 = 0x80;

/// What every packet of a connection carries, drawn at random by the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag(pub NonZeroU32);

/// What an end understands, in [`Settings::features`]. Others are 0, and ignored.
pub mod feature {
    /// Acknowledgments have ranges.
    pub const SELECTIVE: u8 = 0x01;
    /// Acknowledgments have a window.
    pub const WINDOW: u8 = 0x02;
    /// There are time and echo blocks.
    pub const TIME: u8 = 0x04;
    /// There are messages of more than 1024 bytes, parts and probes.
    pub const LARGE: u8 = 0x08;
    /// Idle connections are listed in [rolls](crate::wire::roll).
    pub const ROLLS: u8 = 0x10;
}

/// What an initiator puts into packets of the reference wire that have FIRST and no acknowledgment, as all of its packets
/// before it has heard the peer: it offers to speak in extended packets. A reference daemon ignores it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Random, the same in all offers of a connection.
    pub nonce: u16,
}

impl Offer {
    /// The offer in a packet of the reference wire.
    #[must_use]
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let (flags, nonce) =
            packet.split_first().and_then(|(flags, rest)| Some((flags, rest.first_chunk()?)))?;
        let offers = flags & !SHUTDOWN == FIRST | EXTENDED;
        offers.then_some(Self { nonce: u16::from_le_bytes(*nonce) })
    }

    /// Puts the offer into a packet of the reference wire that can hold one.
    pub fn mark(self, packet: &mut [u8]) {
        if let Some((flags, rest)) = packet.split_first_mut()
            && *flags & !SHUTDOWN == FIRST
            && let Some(nonce) = rest.first_chunk_mut()
        {
            *flags |= EXTENDED;
            *nonce = self.nonce.to_le_bytes();
        }
    }
}

/// What an end tells about itself until it knows that the other has received it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The number in the initiator's offer.
    pub nonce: u16,
    /// Bits of [`feature`].
    pub features: u8,
    /// Bytes in the longest message that it takes.
    pub max_message: u16,
}

/// Units of 100 microseconds since a moment of the sender's own; it wraps after 6.5 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp(pub u16);

/// What has arrived at a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgment {
    /// The last message that was consumed in order; the one before 0 before any.
    pub consumed: Seq,
    /// Messages after `consumed` that are kept if they arrive; [`Acknowledgment::NO_LIMIT`] for any number.
    pub window: u16,
    /// What has arrived beyond `consumed`, ascending.
    pub ranges: Ranges,
}

/// At most [`Acknowledgment::MAX_RANGES`], so that they allocate nothing.
pub type Ranges = SmallVec<[Range; Acknowledgment::MAX_RANGES]>;

impl Acknowledgment {
    /// A window that limits nothing.
    pub const NO_LIMIT: u16 = u16::MAX;
    /// Ranges in one packet.
    pub const MAX_RANGES: usize = 16;

    /// The last message that it tells of.
    #[must_use]
    pub fn highest(&self) -> Seq {
        self.consumed + self.ranges.iter().map(|range| range.missing + range.received).sum::<u32>()
    }

    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let consumed = Seq(u32::from_le_bytes(reader.array()?));
        let window = u16::from_le_bytes(reader.array()?);
        let count = usize::from(reader.u8()?);
        if count > Self::MAX_RANGES {
            return Err(DecodeError::Invalid);
        }
        let mut ranges = Ranges::new();
        let mut total = 0_u32;
        for index in 0..count {
            let range = Range { missing: parse_varint(reader)?, received: parse_varint(reader)? };
            let sum = total.checked_add(range.missing).and_then(|sum| sum.checked_add(range.received));
            total = sum.filter(|sum| *sum <= Range::MAX_SUM).ok_or(DecodeError::Invalid)?;
            if range.received == 0 || (range.missing == 0 && index > 0) {
                return Err(DecodeError::Invalid);
            }
            ranges.push(range);
        }
        Ok(Self { consumed, window, ranges })
    }

    fn emit(&self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(&self.consumed.0.to_le_bytes());
        buffer.extend_from_slice(&self.window.to_le_bytes());
        buffer.push(self.ranges.len().min(Self::MAX_RANGES) as u8);
        for range in self.ranges.iter().take(Self::MAX_RANGES) {
            emit_varint(range.missing, buffer);
            emit_varint(range.received, buffer);
        }
    }

    fn buffer_len(&self) -> usize {
        let ranges = self.ranges.iter().take(Self::MAX_RANGES);
        7 + ranges.map(|range| varint_len(range.missing) + varint_len(range.received)).sum::<usize>()
    }
}

/// Messages that have arrived one after another, counted from the end of the range before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// So many are not reported; 0 only in the first range.
    pub missing: u32,
    /// Then so many have arrived, at least 1.
    pub received: u32,
}

impl Range {
    /// The numbers of a connection that can be told apart at any time are half of all.
    const MAX_SUM: u32 = u32::MAX / 2;
}

/// Which packet an acknowledgment is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    /// That packet's.
    pub timestamp: Timestamp,
    /// For how long it was held, in the units of a [`Timestamp`]; 255 for anything longer.
    pub held: u8,
}

/// Which part of a message a data packet has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Where it begins.
    pub offset: u16,
    /// Bytes in the whole message.
    pub length: u16,
}

/// A message, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data<'a> {
    /// The place of the message in the sender's stream.
    pub seq: Seq,
    /// Nothing follows this message.
    pub shutdown: bool,
    /// The part of it that this is; `None` for all of it.
    pub part: Option<Part>,
    /// The bytes.
    pub payload: &'a [u8],
}

/// What follows the blocks that every packet may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// The connection does not exist (any more) at the sender. There are no blocks.
    Stop {
        /// The number in the initiator's offer, from a listener whose settings may not have arrived.
        nonce: Option<u16>,
    },
    /// Nothing.
    Empty,
    /// A message.
    Data(Data<'a>),
    /// So many bytes that say nothing.
    Probe(usize),
}

/// One extended packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repr<'a> {
    /// That of the connection.
    pub tag: Tag,
    /// About the sender, until it is known to have arrived.
    pub settings: Option<Settings>,
    /// When it was sent.
    pub time: Option<Timestamp>,
    /// What has arrived at the sender.
    pub acknowledgment: Option<(Acknowledgment, Option<Echo>)>,
    /// The receiver is asked to acknowledge at once.
    pub prompt: bool,
    /// The rest.
    pub body: Body<'a>,
}

impl<'a> Repr<'a> {
    /// A packet without blocks.
    #[must_use]
    pub const fn new(tag: Tag, body: Body<'a>) -> Self {
        Self { tag, settings: None, time: None, acknowledgment: None, prompt: false, body }
    }

    /// The same packet with an empty message, which borrows nothing, and how many bytes the message has.
    #[must_use]
    pub fn split(self) -> (Repr<'static>, usize) {
        let Self { tag, settings, time, acknowledgment, prompt, body } = self;
        let (body, length) = match body {
            Body::Stop { nonce } => (Body::Stop { nonce }, 0),
            Body::Empty => (Body::Empty, 0),
            Body::Probe(padding) => (Body::Probe(padding), 0),
            Body::Data(Data { seq, shutdown, part, payload }) => {
                (Body::Data(Data { seq, shutdown, part, payload: &[] }), payload.len())
            }
        };
        (Repr { tag, settings, time, acknowledgment, prompt, body }, length)
    }

    /// Reads a packet.
    ///
    /// # Errors
    ///
    /// If it is not an extended packet, cut short, or its blocks contradict each other.
    pub fn parse(packet: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(packet);
        let flags = reader.u8()?;
        if flags & !(SHUTDOWN | STOP) != EXTENDED {
            return Err(DecodeError::Invalid);
        }
        let tag = NonZeroU32::new(u32::from_le_bytes(reader.array()?)).ok_or(DecodeError::Invalid)?;
        if flags & STOP != 0 {
            let nonce = reader.array().ok().map(u16::from_le_bytes);
            return Ok(Self::new(Tag(tag), Body::Stop { nonce }));
        }
        let blocks = reader.u8()?;
        let has = |block: u8| blocks & block != 0;
        let shutdown = flags & SHUTDOWN != 0;
        let lonely = has(ECHO) && !has(ACKNOWLEDGMENT) || (has(PART) || shutdown) && !has(DATA);
        if lonely || has(PROBE) && has(DATA) {
            return Err(DecodeError::Invalid);
        }
        let settings = has(SETTINGS).then(|| Settings::parse(&mut reader)).transpose()?;
        let time = has(TIME).then(|| Timestamp::parse(&mut reader)).transpose()?;
        let acknowledgment = has(ACKNOWLEDGMENT).then(|| Acknowledgment::parse(&mut reader)).transpose()?;
        let echo = has(ECHO).then(|| Echo::parse(&mut reader)).transpose()?;
        let part = has(PART).then(|| Part::parse(&mut reader)).transpose()?;
        let body = if has(DATA) {
            let seq = Seq(u32::from_le_bytes(reader.array()?));
            let data = Data { seq, shutdown, part, payload: reader.rest() };
            if part.is_some_and(|part| !part.holds(data.payload.len())) {
                return Err(DecodeError::Invalid);
            }
            Body::Data(data)
        } else if has(PROBE) {
            Body::Probe(reader.rest().len())
        } else {
            Body::Empty
        };
        let acknowledgment = acknowledgment.map(|acknowledgment| (acknowledgment, echo));
        Ok(Self { tag: Tag(tag), settings, time, acknowledgment, prompt: has(PROMPT), body })
    }

    /// Appends the packet to `buffer`.
    pub fn emit(&self, buffer: &mut Vec<u8>) {
        let Self { tag, settings, time, acknowledgment, prompt, body } = self;
        if let Body::Stop { nonce } = body {
            buffer.push(EXTENDED | STOP);
            buffer.extend_from_slice(&tag.0.get().to_le_bytes());
            buffer.extend(nonce.iter().flat_map(|nonce| nonce.to_le_bytes()));
            return;
        }
        let flag = |set: bool, mask: u8| if set { mask } else { 0 };
        let (data, probe) = match body {
            Body::Stop { .. } | Body::Empty => (None, None),
            Body::Data(data) => (Some(data), None),
            Body::Probe(padding) => (None, Some(*padding)),
        };
        let part = data.and_then(|data| data.part);
        let echo = acknowledgment.as_ref().and_then(|(_, echo)| *echo);
        buffer.push(EXTENDED | flag(data.is_some_and(|data| data.shutdown), SHUTDOWN));
        buffer.extend_from_slice(&tag.0.get().to_le_bytes());
        buffer.push(
            flag(settings.is_some(), SETTINGS)
                | flag(time.is_some(), TIME)
                | flag(acknowledgment.is_some(), ACKNOWLEDGMENT)
                | flag(echo.is_some(), ECHO)
                | flag(part.is_some(), PART)
                | flag(probe.is_some(), PROBE)
                | flag(data.is_some(), DATA)
                | flag(*prompt, PROMPT),
        );
        if let Some(Settings { nonce, features, max_message }) = settings {
            buffer.extend_from_slice(&nonce.to_le_bytes());
            buffer.push(*features);
            buffer.extend_from_slice(&max_message.to_le_bytes());
        }
        if let Some(Timestamp(time)) = time {
            buffer.extend_from_slice(&time.to_le_bytes());
        }
        if let Some((acknowledgment, _)) = acknowledgment {
            acknowledgment.emit(buffer);
        }
        if let Some(Echo { timestamp, held }) = echo {
            buffer.extend_from_slice(&timestamp.0.to_le_bytes());
            buffer.push(held);
        }
        if let Some(Part { offset, length }) = part {
            buffer.extend_from_slice(&offset.to_le_bytes());
            buffer.extend_from_slice(&length.to_le_bytes());
        }
        if let Some(data) = data {
            buffer.extend_from_slice(&data.seq.0.to_le_bytes());
            buffer.extend_from_slice(data.payload);
        }
        buffer.resize(buffer.len() + probe.unwrap_or(0), 0);
    }

    /// Bytes that [`Repr::emit`] appends.
    #[must_use]
    pub fn buffer_len(&self) -> usize {
        let Self { settings, time, acknowledgment, body, .. } = self;
        let optional = |present: bool, length: usize| if present { length } else { 0 };
        let acknowledgment = acknowledgment
            .as_ref()
            .map_or(0, |(acknowledgment, echo)| acknowledgment.buffer_len() + optional(echo.is_some(), 3));
        let body = match body {
            Body::Stop { nonce } => return 5 + optional(nonce.is_some(), 2),
            Body::Empty => 0,
            Body::Data(data) => 4 + data.payload.len() + optional(data.part.is_some(), 4),
            Body::Probe(padding) => *padding,
        };
        6 + optional(settings.is_some(), 5) + optional(time.is_some(), 2) + acknowledgment + body
    }
}

impl Settings {
    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let nonce = u16::from_le_bytes(reader.array()?);
        let features = reader.u8()?;
        Ok(Self { nonce, features, max_message: u16::from_le_bytes(reader.array()?) })
    }
}

impl Timestamp {
    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().map(|bytes| Self(u16::from_le_bytes(bytes)))
    }
}

impl Echo {
    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { timestamp: Timestamp::parse(reader)?, held: reader.u8()? })
    }
}

impl Part {
    fn parse(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let offset = u16::from_le_bytes(reader.array()?);
        Ok(Self { offset, length: u16::from_le_bytes(reader.array()?) })
    }

    /// Whether `count` bytes are a part of such a message, and not nothing.
    fn holds(self, count: usize) -> bool {
        count > 0 && usize::from(self.offset) + count <= usize::from(self.length)
    }
}

#[cfg(test)]
#[path = "extended_tests.rs"]
mod tests;

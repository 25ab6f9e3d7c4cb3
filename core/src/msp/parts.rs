//! Large messages that go in two parts, where the way no longer carries them whole
//! (`docs/msp-extensions.md` section 6).

use super::MAX_MESSAGE;
use super::carriage::LARGE_MESSAGE;
use super::receive::{Insertion, MESSAGE_OVERHEAD, ReceiveBuffer};
use super::send::{Outgoing, SendBuffer};
use crate::wire::extended::Part;
use crate::{Instant, Seq};
use alloc::vec::Vec;
use bytes::Bytes;

/// A message that was lost so often goes in parts, whatever else arrives.
const MAX_WHOLE: u32 = 6;
/// Parts that wait for their other half. Both are sent one after the other, so these are few; for more, the oldest is
/// forgotten, and comes again with the other.
pub(super) const MAX_KEPT: usize = 8;

/// The second part of a message, the first of which was just sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    seq: Seq,
    /// It asks for an acknowledgment.
    prompt: bool,
    retransmission: bool,
}

impl SendBuffer {
    /// The next packet: the second part of the message before, or what [`SendBuffer::next`] gives, whole if it is
    /// short or the way `is_large`, and the first part of it if not.
    pub(crate) fn next_packet(&mut self, now: Instant, is_large: bool) -> Option<Outgoing<'_>> {
        if let Some((index, tail)) = self.pending_tail() {
            self.tail = None;
            self.selective.iter_mut().for_each(|selective| selective.last_sent = now);
            let segment = self.segments.get_mut(index)?;
            segment.sent_at = now;
            let Tail { seq, prompt, retransmission } = tail;
            let at = segment.payload.len().div_ceil(2);
            let part = Some(Part { offset: at as u16, length: segment.payload.len() as u16 });
            let payload = segment.payload.get(at..)?;
            return Some(Outgoing { seq, payload, part, shutdown: false, retransmission, prompt });
        }
        // Nothing at all arrives, which may be for the size.
        let is_alarmed = self.is_alarmed();
        let Outgoing { seq, shutdown, retransmission, prompt, .. } = self.next(now)?;
        let index = usize::try_from(seq - self.base).ok()?;
        let segment = self.segments.get_mut(index)?;
        let length = segment.payload.len();
        segment.whole =
            length <= MAX_MESSAGE || (is_large && !is_alarmed && segment.transmissions <= MAX_WHOLE);
        if segment.whole {
            let payload = &segment.payload;
            return Some(Outgoing { seq, payload, part: None, shutdown, retransmission, prompt });
        }
        self.tail = Some(Tail { seq, prompt, retransmission });
        let part = Some(Part { offset: 0, length: length as u16 });
        let payload = segment.payload.get(..length.div_ceil(2))?;
        Some(Outgoing { seq, payload, part, shutdown, retransmission, prompt: false })
    }

    /// The second part to send now, and the place of its message, unless it has become pointless.
    pub(super) fn pending_tail(&self) -> Option<(usize, Tail)> {
        let tail = self.tail?;
        let index = usize::try_from(tail.seq - self.base).ok()?;
        let segment = self.segments.get(index)?;
        (!segment.received && !segment.lost).then_some((index, tail))
    }
}

/// A part that has arrived without the other.
#[derive(Debug)]
pub(super) struct Kept {
    seq: Seq,
    part: Part,
    payload: Bytes,
}

impl Kept {
    fn bytes(&self) -> usize {
        self.payload.len() + MESSAGE_OVERHEAD
    }

    /// The whole message, if this is the rest of it.
    fn join(&self, part: Part, payload: &[u8]) -> Option<Bytes> {
        let (first, second) = if part.offset == 0 {
            (payload, &self.payload[..])
        } else if self.part.offset == 0 {
            (&self.payload[..], payload)
        } else {
            return None;
        };
        let fits = part.length == self.part.length && first.len() + second.len() == part.length.into();
        fits.then(|| Vec::from_iter(first.iter().chain(second).copied()).into())
    }
}

impl ReceiveBuffer {
    /// Takes a part of a segment, which is kept until the other one comes.
    pub(crate) fn insert_part(
        &mut self,
        seq: Seq,
        part: Part,
        payload: Bytes,
        shutdown: bool,
        memory: usize,
    ) -> Insertion {
        let length = usize::from(part.length);
        let is_half = part.offset == 0 || usize::from(part.offset) + payload.len() == length;
        if !is_half || length > LARGE_MESSAGE {
            return Insertion::Dropped;
        } else if payload.len() == length {
            return self.insert(seq, payload, shutdown, memory);
        }
        if let Some(other) = self.parts.iter().find(|kept| kept.seq == seq) {
            // The same once more, or one that contradicts what is there, is ignored.
            return match other.join(part, &payload) {
                Some(message) => {
                    self.forget_parts(|it| it == seq);
                    self.insert(seq, message, shutdown, memory)
                }
                None => Insertion::Part,
            };
        }
        let kept = Kept { seq, part, payload };
        if let Some(refusal) = self.refusal(seq, kept.bytes(), memory) {
            return refusal;
        }
        if self.parts.len() == MAX_KEPT
            && let Some(oldest) = self.parts.pop_front()
        {
            self.bytes -= oldest.bytes();
        }
        self.bytes += kept.bytes();
        self.parts.push_back(kept);
        Insertion::Part
    }

    /// Forgets the parts of these messages.
    pub(super) fn forget_parts(&mut self, is_old: impl Fn(Seq) -> bool) {
        let bytes = &mut self.bytes;
        self.parts.retain(|kept| {
            let old = is_old(kept.seq);
            *bytes -= if old { kept.bytes() } else { 0 };
            !old
        });
    }
}

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;

//! The sending half of a connection: what is queued, on its way, and lost. How losses are found is in `cumulative.rs` and
//! `selective.rs`.

use super::MAX_MESSAGE;
use super::carriage::LARGE_MESSAGE;
use super::copies::Copies;
use super::cumulative::Cumulative;
use super::parts::Tail;
use super::paths::Path;
use super::receive::MESSAGE_OVERHEAD;
use super::selective::{Asking, Selective};
use crate::path::{RoundTrip, Sent};
use crate::wire::extended::{Acknowledgment, Part};
use crate::{Instant, Seq};
use alloc::collections::VecDeque;
use bytes::Bytes;
use core::time::Duration;

/// Messages that a stream may queue even when the memory that all streams share is used up.
const GUARANTEED: usize = 8;
/// Messages that may wait to be sent: what is more urgent does not come behind more than these.
const MAX_UNSENT: usize = 64;

/// Bytes that a buffer with this window keeps at most, without those that count as memory of all streams.
pub(super) fn max_bytes(window: usize) -> usize {
    // Its array, which has room for the end of the stream, too, has grown in powers of two.
    (window + 1).next_power_of_two() * size_of::<Segment>() + GUARANTEED * (LARGE_MESSAGE + MESSAGE_OVERHEAD)
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) payload: Bytes,
    pub(super) shutdown: bool,
    /// When it was first sent, and whether copies of that were.
    pub(super) first_sent: Instant,
    pub(super) copied: bool,
    /// When it was last sent, and how often.
    pub(super) sent_at: Instant,
    pub(super) transmissions: u32,
    pub(super) lost: bool,
    /// The peer has reported it.
    pub(super) received: bool,
    /// It was not sent in parts.
    pub(super) whole: bool,
    /// What the way is told of its fate.
    pub(super) on_its_way: Option<Sent>,
}

impl Segment {
    /// It was sent in one large packet.
    pub(super) fn is_large(&self) -> bool {
        self.whole && self.payload.len() > MAX_MESSAGE
    }
}

/// Segments from the first unacknowledged one to the last one queued.
#[derive(Debug)]
pub(crate) struct SendBuffer {
    pub(super) segments: VecDeque<Segment>,
    /// Bytes of messages kept, with what they take beyond their own.
    pub(super) bytes: usize,
    /// The number of the first segment in the buffer.
    pub(super) base: Seq,
    /// How many of them have been sent at least once.
    pub(super) sent: usize,
    /// How many of the sent ones are marked lost.
    pub(super) lost: usize,
    /// What is to follow the packet that was sent last.
    pub(super) tail: Option<Tail>,
    /// If the peer reports what has arrived; if not, `cumulative` counts.
    pub(super) selective: Option<Selective>,
    pub(super) copies: Copies,
    /// Each hop repairs its losses, which makes segments late that are not lost.
    pub(super) is_repaired: bool,
    /// The peer tells which packet it acknowledges, even if there was no segment in it.
    pub(super) has_echoes: bool,
    pub(super) cumulative: Cumulative,
    /// When the retransmission timer was last restarted.
    pub(super) timer_start: Instant,
    finished: bool,
    /// The end of the stream is sent only when everything before it has been acknowledged.
    holds_shutdown: bool,
}

/// What a cumulative acknowledgment brought.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// Segments that left the buffer.
    pub(crate) count: usize,
    /// A round trip, from segments that were sent once (Karn's rule) and waited for no other.
    pub(crate) round_trip: Option<Duration>,
    /// The round trip was not longer than this: the last of them was sent once, but may have waited.
    pub(crate) at_most: Option<Duration>,
}

/// A loss that begins a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    None,
    /// Repeated acknowledgments told of it.
    Fast,
    /// The retransmission timeout ran out.
    Timeout,
}

/// Whether a segment can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// There is none.
    Idle,
    /// There is one, but the congestion window is used up.
    Limited,
    /// There is one.
    Ready,
}

/// A segment to put on the wire.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) seq: Seq,
    pub(crate) payload: &'a [u8],
    pub(crate) part: Option<Part>,
    pub(crate) shutdown: bool,
    pub(crate) retransmission: bool,
    /// The peer is asked to acknowledge it at once.
    pub(crate) prompt: bool,
}

impl SendBuffer {
    pub(crate) const fn new() -> Self {
        Self {
            segments: VecDeque::new(),
            bytes: 0,
            base: Seq(0),
            sent: 0,
            lost: 0,
            tail: None,
            selective: None,
            copies: Copies::NONE,
            is_repaired: false,
            has_echoes: false,
            cumulative: Cumulative::NEW,
            timer_start: Instant::ZERO,
            finished: false,
            holds_shutdown: false,
        }
    }

    /// One whose first segment has another number, so that a test need not send 65,536 segments.
    #[cfg(feature = "testing")]
    pub(crate) fn starting_at(base: Seq) -> Self {
        Self { base, ..Self::new() }
    }

    /// Whether the peer reports what has arrived.
    pub(crate) const fn has_reports(&self) -> bool {
        self.selective.is_some()
    }

    /// Whether the next packet is a probe, or the rest of a message, which does not wait for what else is on its way.
    pub(crate) fn is_probing(&self) -> bool {
        let prompts = self.selective.as_ref().is_some_and(|it| it.asking == Asking::Segment);
        (self.lost > 0 && prompts) || self.pending_tail().is_some()
    }

    /// Segments queued or unacknowledged.
    pub(crate) fn len(&self) -> usize {
        self.segments.len()
    }

    /// Bytes of messages kept, with what they take beyond their own.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of messages that the peer has not told that it has.
    pub(crate) fn payload_bytes(&self) -> usize {
        self.bytes - self.len() * MESSAGE_OVERHEAD
    }

    /// Messages of up to `longest` bytes that may be queued now, of the `window` that fit in all. `memory` is what all
    /// streams together may still keep.
    pub(crate) fn capacity(&self, window: usize, longest: usize, memory: usize) -> usize {
        let guaranteed = GUARANTEED.saturating_sub(self.len());
        let affordable = memory / (longest + MESSAGE_OVERHEAD);
        let queue = MAX_UNSENT.saturating_sub(self.unsent());
        window.saturating_sub(self.len()).min(queue).min(affordable.max(guaranteed))
    }

    /// Segments that have never been sent.
    pub(crate) fn unsent(&self) -> usize {
        self.segments.len() - self.sent
    }

    /// The first unacknowledged segment.
    pub(crate) const fn base(&self) -> Seq {
        self.base
    }

    pub(crate) const fn is_finished(&self) -> bool {
        self.finished
    }

    /// Everything was acknowledged, the end of the stream included.
    pub(crate) fn is_complete(&self) -> bool {
        self.finished && self.segments.is_empty()
    }

    /// Only the end of the stream is unacknowledged; every message has arrived.
    pub(crate) fn lacks_only_shutdown(&self) -> bool {
        self.finished && self.segments.len() <= 1
    }

    pub(crate) fn push(&mut self, payload: Bytes) {
        self.push_segment(payload, false);
    }

    /// Queues the end of the stream. It is a segment of its own: if the peer forgets the connection when it
    /// has received it, no message is in doubt (`spec/10` A.6).
    pub(crate) fn finish(&mut self) {
        if !self.finished {
            self.finished = true;
            self.push_segment(Bytes::new(), true);
        }
    }

    /// Gives memory back that has not been used for a while.
    pub(crate) fn shrink(&mut self) {
        if self.segments.is_empty() {
            self.segments = VecDeque::new();
        }
    }

    /// The peer has finished, and may forget the connection as soon as it receives our end. It is not to be
    /// sent, unless it was, while there is doubt about a message before it.
    pub(crate) const fn hold_shutdown(&mut self) {
        self.holds_shutdown = true;
    }

    /// Whether `ack` may come after those before it: neither old, nor of what was never sent.
    pub(crate) fn may_follow(&self, ack: Seq) -> bool {
        usize::try_from(ack - self.base.previous()).is_ok_and(|count| count <= self.sent)
    }

    /// When [`SendBuffer::on_timeout`] has something to do.
    pub(crate) fn timeout(&self, round_trip: &RoundTrip) -> Option<Instant> {
        if self.has_reports() {
            self.reported_timeout(round_trip)
        } else {
            self.unreported_timeout(round_trip)
        }
    }

    /// Marks what is taken for lost by `now`.
    pub(crate) fn on_timeout(&mut self, now: Instant, round_trip: &RoundTrip, path: &mut Path) -> Loss {
        if self.has_reports() {
            self.on_reported_timeout(now, round_trip, path)
        } else {
            self.on_unreported_timeout(now, round_trip)
        }
    }

    /// Whether there is a segment to send within `window`.
    pub(crate) fn readiness(&self, window: usize) -> Readiness {
        if self.lost > 0 || self.pending_tail().is_some() {
            Readiness::Ready
        } else if self.sent == self.segments.len() || self.is_shutdown_held() || self.is_beyond_window() {
            Readiness::Idle
        } else if self.in_flight() < window {
            Readiness::Ready
        } else {
            Readiness::Limited
        }
    }

    /// The next segment to send, now counted as sent: the first lost one, else the first new one. The caller
    /// has asked [`SendBuffer::readiness`].
    pub(crate) fn next(&mut self, now: Instant) -> Option<Outgoing<'_>> {
        let index =
            if self.lost > 0 { self.segments.iter().position(|segment| segment.lost)? } else { self.sent };
        let seq = self.base + index as u32;
        // While the first segment is known to be lost, the timer does not run.
        if index == 0 {
            self.timer_start = now;
        }
        let segment = self.segments.get_mut(index)?;
        let retransmission = segment.lost;
        if retransmission {
            segment.lost = false;
            self.lost -= 1;
        } else {
            self.sent += 1;
        }
        if segment.transmissions == 0 {
            segment.first_sent = now;
        }
        segment.sent_at = now;
        self.copies.restart(now);
        segment.transmissions = segment.transmissions.saturating_add(1);
        let prompt = self.selective.as_mut().is_some_and(|selective| {
            selective.last_sent = now;
            core::mem::replace(&mut selective.asking, Asking::Nothing) == Asking::Segment
        });
        let (payload, shutdown) = (&segment.payload, segment.shutdown);
        Some(Outgoing { prompt, seq, payload, part: None, shutdown, retransmission })
    }

    /// The segment `seq`, which has just been sent, takes place on the way to the peer. Gives what did before.
    pub(crate) fn note_sent(&mut self, seq: Seq, sent: Sent) -> Option<Sent> {
        let index = usize::try_from(seq - self.base).ok()?;
        self.segments.get_mut(index)?.on_its_way.replace(sent)
    }

    /// Bytes that the way to the peer has been told of, and not yet of their fate.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn bytes_on_their_way(&self) -> u64 {
        self.segments.iter().filter_map(|segment| segment.on_its_way).map(|sent| sent.bytes()).sum()
    }

    /// Nobody will tell what became of what is on its way. Gives how many bytes that is.
    pub(crate) fn leave_way(&mut self) -> u64 {
        let sent = self.segments.iter_mut().filter_map(|segment| segment.on_its_way.take());
        sent.map(|sent| sent.bytes()).sum()
    }

    /// The newest segment that was sent.
    pub(crate) fn newest(&self) -> Seq {
        (self.base + self.sent as u32).previous()
    }

    /// Segments that are probably on their way.
    pub(crate) fn in_flight(&self) -> usize {
        let arrived =
            self.selective.as_ref().map_or(self.cumulative.arrived_beyond, |selective| selective.received);
        self.sent.saturating_sub(self.lost + arrived)
    }

    /// Whether the peer would not keep the next new segment.
    fn is_beyond_window(&self) -> bool {
        let window = self.selective.as_ref().map_or(Acknowledgment::NO_LIMIT, |selective| selective.window);
        window != Acknowledgment::NO_LIMIT && self.sent >= window.into()
    }

    /// Whether the next new segment is the end of the stream, and has to wait.
    fn is_shutdown_held(&self) -> bool {
        let is_next = self.finished && self.sent + 1 == self.segments.len();
        self.holds_shutdown && is_next && self.sent > 0
    }

    fn push_segment(&mut self, payload: Bytes, shutdown: bool) {
        let sent_at = Instant::ZERO;
        self.bytes += payload.len() + MESSAGE_OVERHEAD;
        self.segments.push_back(Segment {
            payload,
            shutdown,
            first_sent: sent_at,
            copied: false,
            sent_at,
            transmissions: 0,
            lost: false,
            received: false,
            whole: true,
            on_its_way: None,
        });
    }
}

#[cfg(test)]
#[path = "send_tests.rs"]
mod tests;

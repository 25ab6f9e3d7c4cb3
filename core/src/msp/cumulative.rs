//! Loss detection with cumulative acknowledgments.
//!
//! MSP acknowledges cumulatively and not selectively, so the first unacknowledged segment is the only one
//! whose fate the peer tells. It is taken for lost
//!
//! * when packets of the peer keep acknowledging only what comes before it, a round trip and a reordering
//!   window after it was last sent (the time rule of RACK, RFC 8985, on the only evidence there is), or
//! * when the retransmission timeout runs out (RFC 6298).
//!
//! After a timeout, the segments behind it are resent in growing groups (go-back-N with slow start), because
//! a blackout usually took them all.

use super::ack_timer::ACK_DELAY;
use super::receive::MESSAGE_OVERHEAD;
use super::send::{Acknowledged, Loss, Segment, SendBuffer};
use crate::path::RoundTrip;
use crate::{Instant, Seq};
use core::time::Duration;

/// Reordering window: this fraction of the round-trip time, times a multiplier that grows when segments
/// were resent in vain.
const REORDERING_FRACTION: u32 = 4;
const MAX_REORDERING: u32 = 8;
/// Transmissions after which a segment that is lost alone is no longer blamed on the link.
const MAX_LOST_AGAIN: u32 = 6;

/// What the acknowledgments of a peer tell that does not report what has arrived.
#[derive(Debug)]
pub(super) struct Cumulative {
    /// Segments beyond the first one that have arrived, as far as repeated acknowledgments tell.
    pub(super) arrived_beyond: usize,
    /// Whether the peer has repeated its acknowledgment since the first segment became the first.
    repeated: bool,
    recovery: Recovery,
    reordering: u32,
}

impl Cumulative {
    pub(super) const NEW: Self =
        Self { arrived_beyond: 0, repeated: false, recovery: Recovery::None, reordering: 1 };
}

/// What happens after loss until everything that was on its way then is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recovery {
    /// Nothing is known to be lost.
    None,
    /// Repeated acknowledgments told of a loss when `end` was the newest segment. An acknowledgment before
    /// `end` uncovers the next loss (NewReno, RFC 6582).
    Fast { end: Seq },
    /// The timeout ran out when `end` was the newest segment; each further acknowledgment up to it lets
    /// `group` more segments be resent.
    Timeout { end: Seq, group: usize },
}

impl SendBuffer {
    /// Takes the acknowledgment of everything up to `ack`. `repeats` says that the packet may have been sent
    /// because a later segment arrived: it carried no data.
    pub(crate) fn on_ack(
        &mut self,
        now: Instant,
        ack: Seq,
        repeats: bool,
        round_trip: &RoundTrip,
    ) -> Acknowledged {
        if !self.may_follow(ack) {
            return Acknowledged::default();
        }
        let count = (ack - self.base.previous()) as usize;
        if count == 0 {
            if self.sent > 0 {
                self.cumulative.repeated = true;
                if repeats {
                    self.cumulative.arrived_beyond = (self.cumulative.arrived_beyond + 1).min(self.sent - 1);
                }
            }
            return Acknowledged::default();
        }
        let waited = self.cumulative.repeated;
        self.detect_spurious(now, round_trip);
        let (mut once, mut sample) = (true, None);
        for segment in self.segments.drain(..count) {
            self.bytes -= segment.payload.len() + MESSAGE_OVERHEAD;
            self.lost -= usize::from(segment.lost);
            once &= segment.transmissions == 1;
            sample = (segment.transmissions == 1).then(|| now - segment.sent_at);
        }
        self.base = self.base + count as u32;
        self.sent -= count;
        // Those behind the first one were among the arrived, now they are acknowledged.
        self.cumulative.arrived_beyond =
            self.cumulative.arrived_beyond.saturating_sub(count - 1).min(self.sent.saturating_sub(1));
        self.cumulative.repeated = self.cumulative.arrived_beyond > 0;
        self.timer_start = now;
        self.continue_recovery(now, ack, round_trip);
        Acknowledged { count, round_trip: sample.filter(|_| once && !waited), at_most: sample }
    }

    /// When [`SendBuffer::on_unreported_timeout`] has something to do.
    pub(super) fn unreported_timeout(&self, round_trip: &RoundTrip) -> Option<Instant> {
        let first = self.segments.front().filter(|first| self.sent > 0 && !first.lost)?;
        let timeout = self.timer_start + self.retransmission_timeout(round_trip);
        let early = self.cumulative.repeated.then(|| first.sent_at + self.loss_delay(first, round_trip));
        Some(early.map_or(timeout, |early| early.min(timeout)))
    }

    /// Marks what is taken for lost by `now`.
    pub(super) fn on_unreported_timeout(&mut self, now: Instant, round_trip: &RoundTrip) -> Loss {
        let Some(first) = self.segments.front().filter(|first| self.sent > 0 && !first.lost) else {
            return Loss::None;
        };
        if now >= self.timer_start + self.retransmission_timeout(round_trip) {
            // The path works, only this one was lost again. If it seems to be lost time after time, the peer's
            // application does not read: it repeats its acknowledgment just the same.
            let lost_again = self.cumulative.arrived_beyond > 0 && first.transmissions < MAX_LOST_AGAIN;
            self.timer_start = now;
            self.mark_lost(1, now);
            if lost_again {
                // The losses behind it belong to this one.
                if self.cumulative.recovery == Recovery::None {
                    self.cumulative.recovery = Recovery::Fast { end: self.newest() };
                }
                return Loss::Fast;
            }
            self.cumulative.recovery = Recovery::Timeout { end: self.newest(), group: 1 };
            return Loss::Timeout;
        }
        if self.cumulative.repeated && now >= first.sent_at + self.loss_delay(first, round_trip) {
            self.mark_lost(1, now);
            self.timer_start = now;
            if self.cumulative.recovery == Recovery::None {
                self.cumulative.recovery = Recovery::Fast { end: self.newest() };
                return Loss::Fast;
            }
        }
        Loss::None
    }

    /// How long nothing is acknowledged before the first segment is sent again. Nothing is known of a way at first, but
    /// that copies do no harm on it; then it is less.
    fn retransmission_timeout(&self, round_trip: &RoundTrip) -> Duration {
        let is_new = round_trip.smoothed().is_none() && self.copies.are_made();
        round_trip.timeout() / if is_new { 4 } else { 1 }
    }

    /// How long after its last transmission the first segment is taken for lost when the peer repeats its
    /// acknowledgment. Each further transmission doubles it: a peer whose application does not read repeats
    /// acknowledgments too.
    fn loss_delay(&self, first: &Segment, round_trip: &RoundTrip) -> Duration {
        let Some(smoothed) = round_trip.smoothed() else { return round_trip.timeout() };
        let window = (smoothed * self.cumulative.reordering / REORDERING_FRACTION)
            .max(round_trip.variation() * 2)
            .max(ACK_DELAY);
        let doublings = first.transmissions.saturating_sub(1).min(8);
        (smoothed + window).saturating_mul(1 << doublings).min(round_trip.timeout())
    }

    /// Marks the first `count` sent segments lost, as far as they were not sent only just now.
    fn mark_lost(&mut self, count: usize, sent_before: Instant) {
        for segment in self.segments.iter_mut().take(count.min(self.sent)) {
            if !segment.lost && segment.sent_at <= sent_before {
                segment.lost = true;
                self.lost += 1;
            }
        }
    }

    /// A retransmission that is acknowledged sooner than the path allows was in vain: the original was only
    /// late. Such a path gets a wider reordering window.
    fn detect_spurious(&mut self, now: Instant, round_trip: &RoundTrip) {
        let (Some(first), Some(minimum)) = (self.segments.front(), round_trip.minimum()) else { return };
        if first.transmissions > 1 && now - first.sent_at < minimum / 2 {
            self.cumulative.reordering = (self.cumulative.reordering * 2).min(MAX_REORDERING);
        }
    }

    fn continue_recovery(&mut self, now: Instant, ack: Seq, round_trip: &RoundTrip) {
        match self.cumulative.recovery {
            Recovery::Fast { end } if ack.is_before(end) => self.cumulative.repeated = true,
            Recovery::Timeout { end, group } if ack.is_before(end) => {
                let group = group.saturating_mul(2);
                self.cumulative.recovery = Recovery::Timeout { end, group };
                let count = group.min((end - ack).max(0) as usize);
                self.mark_lost(count, now - round_trip.smoothed().unwrap_or_default());
            }
            _ => self.cumulative.recovery = Recovery::None,
        }
    }
}

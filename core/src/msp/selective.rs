//! Loss detection with selective acknowledgments: the peer tells what has arrived, and when it was sent.
//!
//! A segment is lost when a packet that was sent a reordering window later has arrived, and a round trip with that
//! window has passed (RACK, RFC 8985). When nothing comes back at all, the oldest segment is sent again as a probe,
//! whose acknowledgment shows the state of the rest (tail loss probe, there, and RFC 9002 section 6.2).

use super::ack_timer::ACK_DELAY;
use super::paths::{Path, QUESTION_INTERVAL};
use super::receive::MESSAGE_OVERHEAD;
use super::send::{Acknowledged, Loss, Segment, SendBuffer};
use crate::path::RoundTrip;
use crate::wire::extended::Acknowledgment;
use crate::{Instant, Seq};
use bytes::Bytes;
use core::time::Duration;

/// The reordering window is this fraction of the smallest round trip, times a multiplier that grows when segments were
/// resent in vain (RFC 8985 section 6.2).
const REORDERING_FRACTION: u32 = 4;
const MAX_REORDERING: u32 = 8;
/// A shorter one is below what timers and delayed acknowledgments let see.
const MIN_REORDERING: Duration = Duration::from_millis(1);
/// The least variation of the round trip that a probe waits for.
const MIN_VARIATION: Duration = Duration::from_millis(1);
/// Probes in a row that say nothing against the path: each may have been lost like any packet.
const INNOCENT_PROBES: u32 = 2;
/// The longest time between two probes of a stream that sends segments as such, or leaves probing to another one, as for
/// the retransmission timeout.
const MAX_PROBE_INTERVAL: Duration = Duration::from_millis(1500);
/// A message of so many bytes is sent instead of a question.
const SMALL: usize = 128;

/// A packet of ours that has arrived.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Echo {
    /// When it was sent, to [`Echo::RESOLUTION`], rounded down.
    pub(crate) sent_at: Instant,
    /// For how long the peer has held its report.
    pub(crate) held: Duration,
}

impl Echo {
    pub(crate) const RESOLUTION: Duration = Duration::from_micros(100);
    /// It was held for this long, or longer.
    pub(crate) const LONGEST_HELD: Duration = Duration::from_micros(25_500);
}

#[derive(Debug)]
pub(super) struct Selective {
    /// Segments that have arrived and are not consumed.
    pub(super) received: usize,
    /// Messages after the last consumed one that the peer keeps.
    pub(super) window: u16,
    /// When the latest packet of all that have arrived was sent.
    latest: Option<Instant>,
    /// How long its way took.
    latest_round_trip: Option<Duration>,
    /// The highest segment that has arrived.
    highest: Option<Seq>,
    /// When anything was last sent.
    pub(super) last_sent: Instant,
    /// Probes since anything arrived.
    probes: u32,
    reordering: u32,
    /// Losses up to this segment belong to one that was reported.
    recovery_end: Option<Seq>,
    /// What asks for an acknowledgment next.
    pub(super) asking: Asking,
    /// When a question was last sent.
    pub(super) asked: Instant,
    /// Another stream asks whether the path works.
    waits: bool,
    /// Nothing has arrived since probes have remained without an answer.
    is_alarmed: bool,
}

/// What asks the peer for an acknowledgment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    Nothing,
    /// The next segment.
    Segment,
    /// A packet with nothing else, see [`Path::takes_question`].
    Question,
}

impl SendBuffer {
    /// The peer tells from now on what has arrived.
    pub(crate) fn use_reports(&mut self) {
        if self.selective.is_some() {
            return;
        }
        let last_sent = self.segments.iter().take(self.sent).map(|segment| segment.sent_at).max();
        self.selective = Some(Selective {
            received: 0,
            window: Acknowledgment::NO_LIMIT,
            latest: None,
            latest_round_trip: None,
            highest: None,
            last_sent: last_sent.unwrap_or_default(),
            probes: 0,
            reordering: 0,
            recovery_end: None,
            asking: Asking::Nothing,
            asked: Instant::ZERO,
            waits: false,
            is_alarmed: false,
        });
    }

    /// Takes what the peer says, and about which packet. A report may be older than what is known: nothing in it is
    /// taken back.
    pub(crate) fn on_report(
        &mut self,
        now: Instant,
        report: &Acknowledgment,
        echo: Option<Echo>,
        path: &mut Path,
    ) -> Acknowledged {
        let newest = self.newest();
        let Some(selective) = &mut self.selective else { return Acknowledged::default() };
        // The ranges may span half of all numbers, and so lead from beyond the newest to before it.
        if newest.is_before(report.consumed) || newest.is_before(report.highest()) {
            return Acknowledged::default(); // of what was never sent
        }
        // One of a packet that was never sent tells nothing.
        let echo = echo.filter(|echo| echo.sent_at <= selective.last_sent.max(selective.asked));
        let sent_at = echo.map(|echo| echo.sent_at);
        let mut arrived = Arrived { selective, path, sample: None, count: 0, spurious: false };
        let consumed = usize::try_from(report.consumed - self.base.previous()).unwrap_or(0);
        for segment in self.segments.drain(..consumed) {
            self.lost -= usize::from(segment.lost);
            self.bytes -= segment.payload.len() + MESSAGE_OVERHEAD;
            if segment.received {
                arrived.selective.received -= 1;
            } else {
                arrived.note(now, &segment, sent_at);
            }
        }
        self.base = self.base + consumed as u32;
        self.sent -= consumed;
        if report.consumed - self.base.previous() == 0 {
            arrived.selective.window = report.window;
        }
        let mut end = report.consumed.next();
        for range in &report.ranges {
            let start = end + range.missing;
            end = start + range.received;
            let first = usize::try_from(start - self.base).unwrap_or(0);
            let after = usize::try_from(end - self.base).unwrap_or(0).min(self.sent);
            for segment in self.segments.range_mut(first.min(after)..after) {
                if !segment.received {
                    arrived.note(now, segment, sent_at);
                    segment.on_its_way = None;
                    segment.received = true;
                    arrived.selective.received += 1;
                    self.lost -= usize::from(core::mem::take(&mut segment.lost));
                    // It will not be sent again.
                    self.bytes -= segment.payload.len();
                    segment.payload = Bytes::new();
                }
            }
        }
        let Arrived { selective, count, sample, spurious, path } = arrived;
        let highest = end.previous();
        selective.highest =
            Some(selective.highest.map_or(highest, |it| if it.is_before(highest) { highest } else { it }));
        let round_trip = echo.map_or(sample, |echo| {
            // One that was held for longer than it can say tells nothing of the way.
            let path = (now - echo.sent_at).saturating_sub(echo.held);
            (echo.held < Echo::LONGEST_HELD).then_some(path)
        });
        let arrived_at = sent_at.or(sample.map(|sample| now - sample));
        if arrived_at > selective.latest {
            (selective.latest, selective.latest_round_trip) = (arrived_at, round_trip);
            (selective.probes, selective.waits) = (0, false);
            path.on_alive();
        }
        if count == 0 {
            return Acknowledged::default();
        }
        (selective.probes, selective.waits, selective.is_alarmed) = (0, false, false);
        if spurious {
            selective.reordering = (selective.reordering * 2).clamp(1, MAX_REORDERING);
        }
        self.timer_start = now;
        // Without an echo, one of a single message or of a gap may have been held.
        let has_gap = report.ranges.iter().any(|range| range.missing > 0);
        let held = echo.map_or((count > 1 && !has_gap).then_some(Duration::ZERO), |echo| Some(echo.held));
        path.on_acknowledged(now, round_trip, held);
        Acknowledged { count, round_trip, at_most: round_trip }
    }

    /// The peer has reported the end of the stream as received, and not as consumed.
    pub(super) fn has_end_arrived(&self) -> bool {
        self.segments.back().is_some_and(|last| last.shutdown && last.received)
    }

    /// Whether nothing has arrived since probes have remained without an answer.
    pub(super) fn is_alarmed(&self) -> bool {
        self.selective.as_ref().is_some_and(|selective| selective.is_alarmed)
    }

    /// Whether another stream asks whether the path works, and this one is told.
    pub(super) fn waits(&self) -> bool {
        self.selective.as_ref().is_some_and(|selective| selective.waits)
    }

    /// Another stream has found out that the path works again.
    pub(super) fn rouse(&mut self, now: Instant, path: &mut Path) {
        if let Some(selective) = &mut self.selective
            && selective.probes > INNOCENT_PROBES
        {
            (selective.probes, selective.waits) = (0, false);
            self.timer_start = now;
            self.resend_first(path);
        }
    }

    /// The first segment that may be on its way is to be sent again.
    fn resend_first(&mut self, path: &mut Path) {
        let mut sent = self.segments.iter_mut().take(self.sent);
        if let Some(segment) = sent.find(|segment| !segment.received && !segment.lost) {
            segment.lost = true;
            self.lost += 1;
            segment.on_its_way.take().into_iter().for_each(|sent| path.rate.on_forgotten(sent.bytes()));
        }
    }

    /// When [`SendBuffer::on_timeout`] has something to do.
    pub(super) fn reported_timeout(&self, round_trip: &RoundTrip) -> Option<Instant> {
        let selective = self.selective.as_ref()?;
        if self.in_flight() == 0 {
            return None;
        }
        let overtaking = selective.overtaking(round_trip, self.is_repaired);
        let sent = (0..).map(|index| self.base + index).zip(self.segments.iter().take(self.sent));
        let overtaken = sent.filter_map(|(seq, segment)| overtaking?.lost_at(seq, segment));
        let reordering = overtaken.min();
        // What is lost leaves when the way is open: what is on its way may keep it closed.
        let probe = selective.probe_at(self.timer_start, round_trip, self.has_echoes);
        Some(reordering.map_or(probe, |at| at.min(probe)))
    }

    /// Marks what is taken for lost by `now`.
    pub(super) fn on_reported_timeout(
        &mut self,
        now: Instant,
        round_trip: &RoundTrip,
        path: &mut Path,
    ) -> Loss {
        let newest = self.newest();
        let overtaking =
            self.selective.as_ref().and_then(|selective| selective.overtaking(round_trip, self.is_repaired));
        let mut last_lost = None;
        for (seq, segment) in
            (0..).map(|index| self.base + index).zip(self.segments.iter_mut().take(self.sent))
        {
            let lost_at = overtaking.and_then(|overtaking| overtaking.lost_at(seq, segment));
            if lost_at.is_some_and(|at| at <= now) {
                segment.lost = true;
                self.lost += 1;
                last_lost = Some(seq);
                segment.on_its_way.take().into_iter().for_each(|sent| path.rate.on_answered(sent, true));
                if segment.is_large() {
                    path.carriage.on_lost(now, segment.sent_at);
                }
            }
        }
        let in_flight = self.in_flight();
        let Some(selective) = &mut self.selective else { return Loss::None };
        if let Some(last_lost) = last_lost {
            if selective.recovery_end.is_some_and(|end| !end.is_before(last_lost)) {
                return Loss::None;
            }
            selective.recovery_end = Some(newest);
            return Loss::Fast;
        }
        if in_flight == 0 || now < selective.probe_at(self.timer_start, round_trip, self.has_echoes) {
            return Loss::None;
        }
        self.timer_start = now; // the next one may be as soon after this one as it was after the last packet
        selective.probes += 1;
        if selective.probes <= INNOCENT_PROBES {
            selective.asking = Asking::Segment;
            self.resend_first(path);
            return Loss::None;
        }
        selective.is_alarmed = true;
        selective.waits = !path.takes_question(now, &mut selective.asked);
        if selective.waits {
            return Loss::Timeout;
        }
        let first = self.segments.iter().take(self.sent).find(|segment| !segment.received && !segment.lost);
        if self.has_echoes && first.is_some_and(|first| first.payload.len() > SMALL) {
            selective.asking = Asking::Question;
        } else {
            selective.asking = Asking::Segment;
            self.resend_first(path);
        }
        Loss::Timeout
    }
}

impl Selective {
    /// Nothing has come back, and probes were sent.
    pub(super) const fn is_silent(&self) -> bool {
        self.probes > 0
    }

    /// What was sent before this and has not arrived was overtaken.
    fn overtaking(&self, round_trip: &RoundTrip, is_repaired: bool) -> Option<Overtaking> {
        let (smoothed, minimum) = (round_trip.smoothed()?, round_trip.minimum()?);
        let mut window = (minimum * self.reordering / REORDERING_FRACTION).max(MIN_REORDERING);
        if is_repaired {
            window = window.max(smoothed * 2 + round_trip.variation() * 4);
        }
        Some(Overtaking {
            sent_at: self.latest?,
            highest: self.highest?,
            patience: self.latest_round_trip.unwrap_or(smoothed) + window,
        })
    }

    fn probe_at(&self, timer_start: Instant, round_trip: &RoundTrip, has_echoes: bool) -> Instant {
        let interval = round_trip.smoothed().map_or_else(
            || round_trip.timeout(),
            |smoothed| smoothed + (round_trip.variation() * 4).max(MIN_VARIATION) + ACK_DELAY,
        );
        let asks = self.probes > INNOCENT_PROBES && has_echoes && !self.waits;
        let most = if asks { QUESTION_INTERVAL } else { MAX_PROBE_INTERVAL.max(interval) };
        let backed_off = interval.saturating_mul(1 << self.probes.saturating_sub(1).min(8));
        self.last_sent.max(timer_start) + backed_off.min(most)
    }
}

/// The latest packet that has arrived, as far as it tells of the loss of others.
#[derive(Debug, Clone, Copy)]
struct Overtaking {
    sent_at: Instant,
    highest: Seq,
    /// How long after it was sent a segment that was overtaken is lost.
    patience: Duration,
}

impl Overtaking {
    fn lost_at(self, seq: Seq, segment: &Segment) -> Option<Instant> {
        let first = segment.sent_at < self.sent_at;
        let overtaken = first || (segment.sent_at == self.sent_at && seq.is_before(self.highest));
        (overtaken && !segment.lost && !segment.received).then(|| segment.sent_at + self.patience)
    }
}

/// What a report brings.
struct Arrived<'a> {
    selective: &'a mut Selective,
    path: &'a mut Path,
    sample: Option<Duration>,
    count: usize,
    spurious: bool,
}

impl Arrived<'_> {
    /// A segment has arrived.
    fn note(&mut self, now: Instant, segment: &Segment, echoed: Option<Instant>) {
        let Segment { sent_at, first_sent, copied, transmissions, .. } = *segment;
        // Which of several transmissions brought it is known if nothing else has come.
        let first_lost = echoed.filter(|_| self.count == 0).map(|at| at > first_sent);
        let lost = match transmissions {
            1 if copied => first_lost,
            1 => Some(false),
            _ => Some(first_lost.unwrap_or(true)),
        };
        lost.into_iter().for_each(|lost| self.path.note_fate(lost));
        segment.on_its_way.into_iter().for_each(|sent| self.path.rate.on_answered(sent, false));
        if segment.is_large() {
            self.path.carriage.on_arrived(sent_at);
        } else if !segment.whole {
            self.path.carriage.on_parts_arrived(now, sent_at);
        }
        self.count += 1;
        if transmissions == 1 {
            let sample = now - sent_at;
            self.sample = Some(self.sample.map_or(sample, |least| least.min(sample)));
        }
        // The retransmission was sent after the packet that has brought it.
        self.spurious |=
            transmissions > 1 && echoed.is_some_and(|echoed| echoed + Echo::RESOLUTION <= sent_at);
    }
}

#[cfg(test)]
#[path = "selective_tests.rs"]
mod tests;

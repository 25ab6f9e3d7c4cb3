//! How many segments may be on their way: the congestion window.
//!
//! On the links this is made for, a lost packet says nothing about congestion. A queue that grows does:
//! the window follows the round-trip time, not the loss. Once per round (the time in which every segment
//! that was on its way has been answered) the smallest round trip of the round is compared with the
//! smallest known. The smallest, because a segment that some hop had to repeat is late without any queue.

use crate::{Instant, Seq};
use core::time::Duration;

/// Segments a new connection may send at once, and what a timeout leaves: the burst that the reference
/// daemon's local socket takes (`spec/10` A.10).
const MIN_WINDOW: usize = 8;
/// A queue shorter than this is not seen through timer granularity and delayed acknowledgments.
const MIN_QUEUE_DELAY: Duration = Duration::from_millis(3);

/// The congestion window, in segments.
#[derive(Debug)]
pub(crate) struct Congestion {
    window: usize,
    limit: usize,
    /// Below this the window grows with every acknowledgment (slow start), above it once per round.
    threshold: usize,
    /// The retransmission timeout has run out since data was last acknowledged.
    timed_out: bool,
    /// The latest round trips, in turn.
    recent: [Duration; 4],
    samples: usize,
    /// The round ends when this segment is acknowledged.
    round_end: Seq,
    /// The smallest round trip of this round, and the smallest upper bound of one.
    round_minimum: Option<Duration>,
    round_at_most: Option<Duration>,
    /// The window was used up at some time in this round.
    limited: bool,
}

impl Congestion {
    pub(crate) const fn new(limit: usize) -> Self {
        let window = if limit < MIN_WINDOW { limit } else { MIN_WINDOW };
        Self {
            window,
            limit,
            threshold: usize::MAX,
            timed_out: false,
            recent: [Duration::MAX; 4],
            samples: 0,
            round_end: Seq(0),
            round_minimum: None,
            round_at_most: None,
            limited: false,
        }
    }

    pub(crate) const fn window(&self) -> usize {
        self.window
    }

    /// A segment could not be sent for lack of window.
    pub(crate) const fn on_limited(&mut self) {
        self.limited = true;
    }

    pub(crate) fn on_sample(&mut self, sample: Duration) {
        self.round_minimum = Some(self.round_minimum.map_or(sample, |minimum| minimum.min(sample)));
        self.recent[self.samples % self.recent.len()] = sample;
        self.samples += 1;
    }

    /// A round trip was not longer than `bound`. On a lossy path many segments wait for others, so that bounds
    /// are all there is; a short one shows that there is no queue, a long one shows nothing.
    pub(crate) fn on_sample_at_most(&mut self, bound: Duration) {
        self.round_at_most = Some(self.round_at_most.map_or(bound, |least| least.min(bound)));
    }

    /// `count` segments up to `acknowledged` were acknowledged; `newest` is the last one sent so far. After a
    /// round without a sample, returns the best bound for one.
    pub(crate) fn on_acknowledged(
        &mut self,
        count: usize,
        acknowledged: Seq,
        newest: Seq,
        path_minimum: Option<Duration>,
    ) -> Option<Duration> {
        let path_minimum = path_minimum?;
        self.timed_out = false;
        if self.window < self.threshold {
            // Within a round the queue grows as fast as the window: the latest samples show it, not the
            // smallest of the round.
            if self.samples >= 4 && self.recent.iter().all(|sample| is_queueing(*sample, path_minimum)) {
                self.threshold = 0;
            } else if self.limited {
                self.grow(count);
            }
        }
        if acknowledged.is_before(self.round_end) {
            return None;
        }
        // Without a sample nothing is known, and nothing changes.
        let is_free = self.round_at_most.is_some_and(|bound| !is_queueing(bound, path_minimum));
        if is_free {
            if self.limited && self.window >= self.threshold {
                self.grow((self.window / 8).max(1));
            }
        } else if self.round_minimum.is_some_and(|minimum| is_queueing(minimum, path_minimum)) {
            self.shrink(8);
        }
        self.round_end = newest;
        self.limited = false;
        let (sample, bound) = (self.round_minimum.take(), self.round_at_most.take());
        bound.filter(|_| sample.is_none())
    }

    /// Segments were lost. On a path whose latest round trips show a queue, by overflow.
    pub(crate) fn on_loss(&mut self, smoothed: Option<Duration>, path_minimum: Option<Duration>) {
        if let (Some(smoothed), Some(minimum)) = (smoothed, path_minimum)
            && smoothed > minimum + (minimum / 2).max(MIN_QUEUE_DELAY / 2)
        {
            self.shrink(4);
            self.threshold = 0;
        }
    }

    /// The retransmission timeout ran out: nothing is known about the path any more.
    pub(crate) fn on_timeout(&mut self) {
        let half = (self.window / 2).max(MIN_WINDOW.min(self.limit));
        if !core::mem::replace(&mut self.timed_out, true) {
            self.threshold = half;
        }
        self.window = half;
    }

    /// By one part in `parts`.
    fn shrink(&mut self, parts: usize) {
        self.window = (self.window - self.window / parts).max(MIN_WINDOW.min(self.limit));
    }

    fn grow(&mut self, count: usize) {
        self.window = (self.window + count).min(self.limit);
    }
}

/// Whether a round trip of this length says that a queue has formed.
fn is_queueing(round_trip: Duration, path_minimum: Duration) -> bool {
    round_trip > path_minimum + (path_minimum / 2).max(MIN_QUEUE_DELAY)
}

/// Spaces segments so that a window does not leave as one burst.
#[derive(Debug, Default)]
pub(crate) struct Pacer {
    /// When the segments sent so far would all have left at the paced rate.
    drained: Instant,
    interval: Duration,
}

impl Pacer {
    /// Segments that may leave back to back: a longer burst overflows the socket queue in front of an
    /// application of the reference daemon (`spec/10` A.10).
    const BURST: u32 = 8;
    /// On a path so short that a window would leave at once, the queues of sockets are short too.
    const MIN_INTERVAL: Duration = Duration::from_micros(20);

    /// Paces at 1.25 windows per round trip, so that the window and not the pacer is the limit.
    pub(crate) fn set_rate(&mut self, window: usize, round_trip: Option<Duration>) {
        let window = u32::try_from(window).unwrap_or(u32::MAX).max(1);
        let paced = |time: Duration| (time / window * 4 / 5).max(Self::MIN_INTERVAL);
        self.interval = round_trip.map_or(Duration::ZERO, paced);
    }

    pub(crate) fn on_sent(&mut self, now: Instant) {
        self.drained = self.drained.max(now) + self.interval;
    }

    /// When the next segment may leave.
    pub(crate) fn next(&self) -> Instant {
        self.drained - self.interval * (Self::BURST - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// One round: the whole window is sent, used up and acknowledged with this round trip.
    fn round(congestion: &mut Congestion, seq: &mut Seq, round_trip: Duration, path: Duration) {
        let count = congestion.window();
        congestion.on_limited();
        (0..4).for_each(|_| congestion.on_sample(round_trip));
        congestion.on_sample_at_most(round_trip);
        *seq = *seq + count as u16;
        congestion.on_acknowledged(count, *seq, *seq, Some(path));
    }

    #[test]
    fn doubles_until_a_queue_shows_then_keeps_it_short() {
        let (mut congestion, mut seq) = (Congestion::new(256), Seq(0));
        assert_eq!(congestion.window(), 8);
        round(&mut congestion, &mut seq, ms(40), ms(40));
        round(&mut congestion, &mut seq, ms(50), ms(40));
        assert_eq!(congestion.window(), 32);
        round(&mut congestion, &mut seq, ms(70), ms(40));
        assert_eq!(congestion.window(), 28);
        round(&mut congestion, &mut seq, ms(50), ms(40));
        assert_eq!(congestion.window(), 31, "no slow start any more");
        for _ in 0..1000 {
            round(&mut congestion, &mut seq, ms(40), ms(40));
        }
        assert_eq!(congestion.window(), 256);
        congestion.on_timeout();
        assert_eq!(congestion.window(), 128);
    }

    #[test]
    fn does_not_grow_while_unused() {
        let mut congestion = Congestion::new(256);
        for n in 0..100 {
            congestion.on_sample(ms(40));
            congestion.on_acknowledged(1, Seq(n), Seq(n), Some(ms(40)));
        }
        assert_eq!(congestion.window(), 8);
    }

    #[test]
    fn paces_after_a_burst_of_eight() {
        let mut pacer = Pacer::default();
        let now = Instant::from_millis(1000);
        pacer.set_rate(10, Some(ms(100)));
        let mut sent = 0;
        while pacer.next() <= now {
            pacer.on_sent(now);
            sent += 1;
        }
        assert_eq!(sent, 8);
        assert_eq!(pacer.next(), now + ms(8));
    }
}

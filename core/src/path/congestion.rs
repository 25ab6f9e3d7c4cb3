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

    const fn us(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    /// One round: the whole window is sent, used up and acknowledged with this round trip.
    fn round(congestion: &mut Congestion, seq: &mut Seq, round_trip: Duration, path: Duration) {
        let count = congestion.window();
        congestion.on_limited();
        (0..4).for_each(|_| congestion.on_sample(round_trip));
        congestion.on_sample_at_most(round_trip);
        *seq = *seq + count as u32;
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

    /// A window that has grown to `window` by slow start on a path of 40 ms.
    fn grown(window: usize) -> (Congestion, Seq) {
        let (mut congestion, mut seq) = (Congestion::new(window), Seq(0));
        while congestion.window() < window {
            round(&mut congestion, &mut seq, ms(40), ms(40));
        }
        (congestion, seq)
    }

    #[test]
    fn a_queue_is_half_the_path_or_three_milliseconds() {
        for (path, free) in [(40_000, 60_000), (2000, 5000)].map(|(a, b)| (us(a), us(b))) {
            let (mut congestion, mut seq) = grown(64);
            round(&mut congestion, &mut seq, free, path);
            assert_eq!(congestion.window(), 64);
            round(&mut congestion, &mut seq, free + us(1), path);
            assert_eq!(congestion.window(), 56);
        }
    }

    #[test]
    fn four_samples_of_a_queue_end_slow_start_within_the_round() {
        let path = Some(ms(40));
        let mut congestion = Congestion::new(256);
        congestion.on_limited();
        let mut windows = [0; 6];
        for (n, window) in (1..).zip(&mut windows) {
            congestion.on_sample(if n == 1 { ms(40) } else { ms(61) });
            congestion.on_acknowledged(1, Seq(n), Seq(100), path);
            congestion.on_limited();
            *window = congestion.window();
        }
        assert_eq!(windows, [9, 10, 11, 12, 12, 12], "from the fifth on all four are late");
    }

    #[test]
    fn loss_shrinks_the_window_only_where_there_is_a_queue() {
        for (path, free) in [(40_000, 60_000), (1000, 2500)].map(|(a, b)| (us(a), us(b))) {
            let (mut congestion, mut seq) = grown(64);
            congestion.limit = 256;
            congestion.on_loss(Some(free), Some(path));
            congestion.on_loss(None, Some(path));
            assert_eq!(congestion.window(), 64);
            congestion.on_loss(Some(free + us(1)), Some(path));
            assert_eq!(congestion.window(), 48);
            round(&mut congestion, &mut seq, path, path);
            assert_eq!(congestion.window(), 54, "no slow start any more");
        }
    }

    #[test]
    fn timeouts_halve_the_window_and_slow_start_leads_back_to_the_first_half() {
        let (mut congestion, mut seq) = grown(128);
        let windows = [(); 5].map(|()| {
            congestion.on_timeout();
            congestion.window()
        });
        assert_eq!(windows, [64, 32, 16, 8, 8]);
        let windows = [(); 5].map(|()| {
            round(&mut congestion, &mut seq, ms(40), ms(40));
            congestion.window()
        });
        assert_eq!(windows, [16, 32, 72, 81, 91], "from 64 on by an eighth");
        congestion.on_timeout();
        assert_eq!(congestion.window(), 45);
        round(&mut congestion, &mut seq, ms(40), ms(40));
        assert_eq!(congestion.window(), 50, "that is the threshold now");
    }

    #[test]
    fn a_small_limit_stays_the_window() {
        let (mut congestion, mut seq) = (Congestion::new(4), Seq(0));
        congestion.on_timeout();
        round(&mut congestion, &mut seq, ms(90), ms(40));
        assert_eq!(congestion.window(), 4);
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

    #[test]
    fn paces_short_paths_too_and_unknown_ones_not_at_all() {
        let mut pacer = Pacer::default();
        let now = Instant::from_millis(1000);
        pacer.set_rate(1000, None);
        pacer.on_sent(now);
        assert_eq!(pacer.next(), now);
        pacer.set_rate(1000, Some(ms(1)));
        (0..8).for_each(|_| pacer.on_sent(now));
        assert_eq!(pacer.next(), now + us(20));
    }
}

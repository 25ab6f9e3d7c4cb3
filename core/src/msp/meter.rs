//! How much has passed, and how fast it passes now.

use crate::Instant;
use core::time::Duration;

/// The rate is that of so much time, in microseconds.
const PERIOD: u64 = 1_000_000;

/// Counts bytes, in periods of a second: the rate is that of the current one and of what the one before still has of
/// the last second. No timer drives it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Meter {
    total: u64,
    /// The current period, when it began, and the one right before it.
    begin: Instant,
    current: u64,
    previous: u64,
}

impl Meter {
    /// So many bytes have passed.
    pub(super) fn count(&mut self, now: Instant, bytes: usize) {
        self.advance(now);
        self.current += bytes as u64;
        self.total += bytes as u64;
    }

    /// Bytes that have passed.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// Bytes a second by `now`.
    pub(super) fn rate(mut self, now: Instant) -> u64 {
        self.advance(now);
        let rest = PERIOD - micros(now - self.begin);
        self.current + (u128::from(self.previous) * u128::from(rest) / u128::from(PERIOD)) as u64
    }

    fn advance(&mut self, now: Instant) {
        let age = micros(now - self.begin);
        if age >= PERIOD {
            let follows = age < 2 * PERIOD;
            self.previous = if follows { self.current } else { 0 };
            self.current = 0;
            self.begin = if follows { self.begin + Duration::from_micros(PERIOD) } else { now };
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(5000 + millis)
    }

    /// 100 bytes every 10 ms, as long as told.
    fn fed(millis: u64) -> Meter {
        let mut meter = Meter::default();
        (0..millis / 10).for_each(|n| meter.count(at(10 * n), 100));
        meter
    }

    #[test]
    fn the_rate_is_that_of_the_last_second() {
        assert_eq!(fed(500).rate(at(500)), 5000);
        for millis in [1000, 1500, 2500, 9990] {
            let rate = fed(millis).rate(at(millis));
            assert!((9900..=10_000).contains(&rate), "{rate} after {millis} ms");
        }
        assert_eq!(fed(9990).total(), 99_900);
    }

    #[test]
    fn what_has_ended_fades_within_two_seconds() {
        let meter = fed(1000);
        assert_eq!(
            [0, 500, 1000, 1001, 60_000].map(|later| meter.rate(at(1000 + later))),
            [10_000, 5000, 0, 0, 0]
        );
    }

    #[test]
    fn a_burst_after_a_silence_counts_at_once() {
        let mut meter = fed(1000);
        meter.count(at(60_500), 700);
        assert_eq!(meter.rate(at(60_500)), 700);
        assert_eq!(meter.rate(at(0)), 700, "time never goes back");
    }
}

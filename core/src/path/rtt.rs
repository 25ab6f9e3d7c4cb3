//! Round-trip time and the retransmission timeout (RFC 6298).

use crate::Instant;
use core::time::Duration;

/// Before the first sample (RFC 6298 section 2.1).
const INITIAL_TIMEOUT: Duration = Duration::from_secs(1);
/// Below this a late acknowledgment is taken for a loss. RFC 6298 asks for 1 s; Linux uses this.
const MIN_TIMEOUT: Duration = Duration::from_millis(200);
/// What the measured timeout may reach.
const MAX_TIMEOUT: Duration = Duration::from_secs(10);
/// What back-off may reach unless the measured timeout is longer: the fixed timer of the reference daemon
/// (`spec/10` A.7). One packet per 1.5 s burdens no link, and finds out soon that a blackout is over.
const MAX_BACK_OFF: Duration = Duration::from_millis(1500);
/// How long the smallest round trip is remembered: a route may change.
const MINIMUM_LIFE: Duration = Duration::from_secs(10);

/// What has been learned about the time from a packet to its acknowledgment.
#[derive(Debug, Clone)]
pub(crate) struct RoundTrip {
    smoothed: Option<Duration>,
    variation: Duration,
    /// The smallest sample of the previous and of the current period.
    minimum: [Duration; 2],
    period_start: Instant,
    back_off: u32,
}

impl RoundTrip {
    pub(crate) const fn new() -> Self {
        Self {
            smoothed: None,
            variation: Duration::ZERO,
            minimum: [Duration::MAX; 2],
            period_start: Instant::ZERO,
            back_off: 0,
        }
    }

    /// Takes a sample. It must be from a segment that was sent only once (Karn's rule).
    pub(crate) fn sample(&mut self, now: Instant, sample: Duration) {
        if let Some(smoothed) = self.smoothed {
            self.variation = (self.variation * 3 + smoothed.abs_diff(sample)) / 4;
            self.smoothed = Some((smoothed * 7 + sample) / 8);
        } else {
            self.variation = sample / 2;
            self.smoothed = Some(sample);
        }
        if now - self.period_start > MINIMUM_LIFE {
            self.period_start = now;
            self.minimum = [self.minimum[1], sample];
        }
        self.minimum[1] = self.minimum[1].min(sample);
        self.back_off = 0;
    }

    /// The round trip was not longer than this. It may have been much shorter, so nothing is forgotten for it.
    pub(crate) fn sample_at_most(&mut self, bound: Duration) {
        self.minimum[1] = self.minimum[1].min(bound);
    }

    /// Doubles the timeout after it ran out, until data is acknowledged.
    pub(crate) const fn back_off(&mut self) {
        self.back_off = self.back_off.saturating_add(1);
    }

    /// Data was acknowledged: the path works.
    pub(crate) const fn end_back_off(&mut self) {
        self.back_off = 0;
    }

    pub(crate) const fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    pub(crate) const fn variation(&self) -> Duration {
        self.variation
    }

    /// The smallest round trip of the last 10 to 20 s.
    pub(crate) fn minimum(&self) -> Option<Duration> {
        self.smoothed.map(|_| self.minimum[0].min(self.minimum[1]))
    }

    /// The retransmission timeout, back-off included.
    pub(crate) fn timeout(&self) -> Duration {
        let base = match self.smoothed {
            Some(smoothed) => (smoothed + self.variation * 4).clamp(MIN_TIMEOUT, MAX_TIMEOUT),
            None => INITIAL_TIMEOUT,
        };
        base.saturating_mul(1 << self.back_off.min(8)).min(MAX_BACK_OFF).max(base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn timeout_follows_rfc_6298() {
        let mut rtt = RoundTrip::new();
        assert_eq!(rtt.timeout(), ms(1000));
        rtt.sample(Instant::ZERO, ms(100));
        assert_eq!(rtt.timeout(), ms(100 + 4 * 50));
        rtt.sample(Instant::ZERO, ms(180));
        assert_eq!(rtt.smoothed(), Some(ms(110)));
        assert_eq!(rtt.variation(), Duration::from_micros(57_500));
        assert_eq!(rtt.timeout(), ms(340));
        for _ in 0..200 {
            rtt.sample(Instant::ZERO, ms(1));
        }
        assert_eq!(rtt.timeout(), MIN_TIMEOUT);
        rtt.sample(Instant::ZERO, ms(60_000));
        assert_eq!(rtt.timeout(), MAX_TIMEOUT);
    }

    #[test]
    fn back_off_doubles_to_a_limit_and_ends_with_an_acknowledgment() {
        let mut rtt = RoundTrip::new();
        rtt.sample(Instant::ZERO, ms(10));
        let mut seen = [Duration::ZERO; 5];
        for timeout in &mut seen {
            *timeout = rtt.timeout();
            rtt.back_off();
        }
        assert_eq!(seen, [ms(200), ms(400), ms(800), ms(1500), ms(1500)]);
        rtt.end_back_off();
        assert_eq!(rtt.timeout(), ms(200));
        for _ in 0..100 {
            rtt.sample(Instant::ZERO, ms(3000));
            rtt.back_off();
        }
        assert!(rtt.timeout() >= ms(3000), "never below the measured timeout");
    }

    #[test]
    fn the_minimum_is_that_of_at_least_ten_seconds() {
        let mut rtt = RoundTrip::new();
        for (second, millis) in [(0, 5), (10, 50), (20, 50), (30, 50)] {
            rtt.sample(Instant::from_millis(1000 * second), ms(millis));
            assert_eq!(rtt.minimum(), Some(ms(5)), "after {second} s");
        }
        rtt.sample(Instant::from_millis(30_001), ms(50));
        assert_eq!(rtt.minimum(), Some(ms(50)));
    }

    #[test]
    fn minimum_forgets() {
        let mut rtt = RoundTrip::new();
        rtt.sample(Instant::from_millis(11_000), ms(5));
        rtt.sample(Instant::from_millis(12_000), ms(50));
        assert_eq!(rtt.minimum(), Some(ms(5)));
        rtt.sample(Instant::from_millis(22_000), ms(50));
        assert_eq!(rtt.minimum(), Some(ms(5)));
        rtt.sample(Instant::from_millis(33_000), ms(50));
        assert_eq!(rtt.minimum(), Some(ms(50)));
    }
}

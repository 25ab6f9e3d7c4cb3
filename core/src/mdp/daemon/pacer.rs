//! Keeps bursts short.

use crate::Instant;
use alloc::collections::VecDeque;
use core::time::Duration;

/// Lets at most so many datagrams pass within any interval of a length.
#[derive(Debug)]
pub(super) struct Pacer {
    interval: Duration,
    burst: usize,
    /// When the last ones passed, oldest first, at most `burst`.
    passed: VecDeque<Instant>,
}

impl Pacer {
    pub(super) fn new(burst: usize, interval: Duration) -> Self {
        Self { interval, burst, passed: VecDeque::with_capacity(burst) }
    }

    /// When the next may pass.
    pub(super) fn ready_at(&self) -> Instant {
        match self.passed.front() {
            Some(first) if self.passed.len() >= self.burst => *first + self.interval,
            _ => Instant::ZERO,
        }
    }

    /// One passes now.
    pub(super) fn pass(&mut self, now: Instant) {
        if self.passed.len() >= self.burst {
            self.passed.pop_front();
        }
        self.passed.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_interval_sees_more_than_a_burst() {
        let at = Instant::from_millis;
        let mut pacer = Pacer::new(3, Duration::from_millis(5));
        for now in [100, 102, 103] {
            assert_eq!(pacer.ready_at(), at(0));
            pacer.pass(at(now));
        }
        assert_eq!(pacer.ready_at(), at(105));
        pacer.pass(at(105));
        assert_eq!(pacer.ready_at(), at(107));
        pacer.pass(at(200));
        assert_eq!(pacer.ready_at(), at(108));
    }
}

//! How much a link to a neighbour loses, as the neighbour reports it (`spec/50` section 3).

use crate::Instant;
use crate::wire::linkstate::Ack;
use core::time::Duration;

/// Losses of that many packets in 15 count as none.
const IGNORED: u8 = 3;
/// A report that is not further from what was believed changes nothing, since everyone would be told of it.
const SPREAD: u8 = 3;
/// Nor does one that comes sooner after the last change, at first, and at most: for a link that goes on changing, this
/// doubles each time.
const PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(32);
/// What lasts for so many pauses is no going on.
const CALM: u32 = 4;
/// A link that loses much counts as silent after so many times the usual time at most.
const MAX_PATIENCE: u32 = 4;
/// An acknowledgment covers 15 packets, which even ticks are by then; before that, what was never sent is missing.
const NEW: Duration = Duration::from_secs(10);

/// Of 15 packets, how many count as lost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loss {
    missed: u8,
    since: Instant,
    changed: Option<Instant>,
    pause: Duration,
}

impl Loss {
    /// Of a link that is there from now on.
    pub(super) const fn new(now: Instant) -> Self {
        Self { missed: 0, since: now, changed: None, pause: PAUSE }
    }

    pub(super) const fn value(&self) -> u8 {
        significant(self.missed)
    }

    /// The neighbour acknowledges packets, and may say itself how many it missed.
    pub(super) fn report(&mut self, now: Instant, ack: Option<Ack>, missed: Option<u8>) {
        let counted = || ack.filter(|_| now - self.since >= NEW).map_or(0, |ack| missing(ack, 15));
        let missed = missed.unwrap_or_else(counted).min(15);
        let lasts = |pause: Duration| self.changed.is_none_or(|changed| now - changed >= pause);
        if lasts(self.pause) && self.missed.abs_diff(missed) >= SPREAD {
            self.pause = if lasts(self.pause * CALM) { PAUSE } else { MAX_PAUSE.min(self.pause * 2) };
            (self.missed, self.changed) = (missed, Some(now));
        }
    }
}

/// How many of the `window` packets before the newest are missing, of 15 at most.
pub(super) fn missing(ack: Ack, window: u8) -> u8 {
    let window = window.min(15);
    window - (ack.mask & ((1 << window) - 1)).count_ones() as u8
}

/// How long a link may be silent that is usually heard within `expiry`: the same share of silences is longer where more is
/// lost.
pub(super) fn patience(expiry: Duration, loss: u8) -> Duration {
    let left = u32::from(15 - significant(loss.min(15)));
    (expiry * 15)
        .checked_div(left)
        .map_or(expiry * MAX_PATIENCE, |patience| patience.min(expiry * MAX_PATIENCE))
}

/// What counts.
pub(super) const fn significant(missing: u8) -> u8 {
    if missing <= IGNORED { 0 } else { missing }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACK: Ack = Ack { sequence: 9, mask: 0b110 };

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn what_is_missing_is_counted_in_the_window() {
        let counts = [0, 1, 2, 3, 6, 15, 40].map(|window| missing(ACK, window));
        assert_eq!(counts, [0, 1, 1, 1, 4, 13, 13]);
        assert_eq!([0, 3, 4, 15].map(significant), [0, 0, 4, 15]);
    }

    #[test]
    fn a_new_link_loses_nothing_unless_the_neighbour_says_so() {
        let mut loss = Loss::new(at(0));
        loss.report(at(9_999), Some(ACK), None);
        assert_eq!(loss.value(), 0);
        loss.report(at(10_000), Some(ACK), None);
        assert_eq!(loss.value(), 13);
        let mut loss = Loss::new(at(0));
        loss.report(at(1), Some(ACK), Some(32));
        assert_eq!(loss.value(), 15);
    }

    #[test]
    fn small_and_quick_changes_are_none() {
        let mut loss = Loss::new(at(0));
        let values =
            [(0, 6), (999, 12), (1000, 8), (1000, 9), (2999, 0), (3000, 3)].map(|(millis, missed)| {
                loss.report(at(millis), None, Some(missed));
                loss.value()
            });
        assert_eq!(values, [6, 6, 6, 9, 9, 0]);
    }

    #[test]
    fn what_is_told_of_a_link_that_goes_on_changing_changes_less_and_less_often() {
        let (mut loss, mut changes, mut before) = (Loss::new(at(0)), std::vec::Vec::new(), 0);
        let mut report = |loss: &mut Loss, millis: u64, missed| {
            loss.report(at(millis), None, Some(missed));
            if core::mem::replace(&mut before, loss.value()) != loss.value() {
                changes.push(millis / 1000);
            }
        };
        for second in 0..200 {
            let missed = if loss.value() == 0 { 8 } else { 0 };
            report(&mut loss, second * 1000, missed);
        }
        report(&mut loss, 400_000, 15);
        report(&mut loss, 401_000, 7);
        assert_eq!(changes, [0, 1, 3, 7, 15, 31, 63, 95, 127, 159, 191, 400, 401]);
    }

    #[test]
    fn a_link_that_loses_more_may_be_silent_longer() {
        let patience =
            [0, 3, 5, 10, 12, 15, 32].map(|loss| patience(Duration::from_secs(2), loss).as_millis());
        assert_eq!(patience, [2000, 2000, 3000, 6000, 8000, 8000, 8000]);
    }
}

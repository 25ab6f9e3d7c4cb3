//! Which sequence numbers were received.

use crate::Instant;
use crate::wire::linkstate::Ack;
use core::time::Duration;

/// After this long without a new number, an old one is not a duplicate but a peer that restarted and
/// counts anew. Peers give a packet up after 1 s.
const STALE: Duration = Duration::from_millis(1200);

/// Numbers that a stream has at most skipped if the one after a leap is followed by one this near.
const NEAR: u8 = 16;

/// Losses are counted among so many numbers, as chance makes much of few.
const WINDOW: u8 = 30;
/// Before so many, all others count as received.
const LEAST_WINDOW: u8 = 8;

/// The last 64 of a stream of 8-bit sequence numbers (`spec/30` sections 2 and 3). A number that is not
/// among them, older or newer, is new.
///
/// One that lies 64 to 127 back is either late, or the stream has leapt ahead. Which one shows when the next
/// packet comes; until then it changes nothing, since a single late one must not make all that came since look
/// new.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct History {
    newest: u8,
    /// Bit `k`: the number `newest - k` was received. 0: none was.
    received: u64,
    /// How many numbers before the newest can have been received.
    span: u8,
    /// The last number, if it was so far off, and when it came.
    astray: Option<(u8, Instant)>,
    /// When a number was new last.
    accepted: Instant,
}

impl History {
    /// Whether `sequence` was received before.
    pub(super) fn is_duplicate(&self, now: Instant, sequence: u8) -> bool {
        let behind = self.newest.wrapping_sub(sequence);
        let received = behind < 64 && self.received >> behind & 1 != 0;
        (received || self.astray.is_some_and(|(astray, _)| astray == sequence)) && !self.is_stale(now)
    }

    /// Notes that `sequence` was received; gives how many numbers before it were skipped.
    pub(super) fn record(&mut self, now: Instant, sequence: u8) -> u8 {
        let behind = self.newest.wrapping_sub(sequence);
        let restarted = behind < 128 && self.is_stale(now);
        let astray = self.astray.take();
        let mut skipped = 0;
        if self.received == 0 || restarted {
            (self.newest, self.received, self.span) = (sequence, 1, 0);
        } else if behind < 64 {
            self.received |= 1 << behind;
            self.span = self.span.max(behind);
        } else if behind < 128 {
            let earlier = astray.filter(|(_, at)| *at < now);
            let ahead = earlier.map_or(0, |(astray, _)| sequence.wrapping_sub(astray));
            if !(1..=NEAR).contains(&ahead) {
                self.astray = Some((sequence, now));
                return 0;
            }
            (self.newest, self.received, self.span) = (sequence, 1 | 1 << ahead, ahead);
        } else {
            let ahead = behind.wrapping_neg();
            skipped = ahead - 1;
            self.received = self.received.checked_shl(ahead.into()).unwrap_or(0) | 1;
            self.newest = sequence;
            self.span = self.span.saturating_add(ahead).min(64);
        }
        self.accepted = self.accepted.max(now);
        skipped
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        (self.received, self.astray) = (0, None);
    }

    /// What to acknowledge, `None` if nothing was received.
    pub(super) fn ack(&self) -> Option<Ack> {
        (self.received != 0).then_some(Ack { sequence: self.newest, mask: (self.received >> 1) as u32 })
    }

    /// Of 15, how many are missing, among the last ones before the newest and since the first; `None`: none was received.
    pub(super) fn missing(&self) -> Option<u8> {
        let window = self.span.min(WINDOW);
        let received = (self.received >> 1 & ((1 << window) - 1)).count_ones() as u16;
        let (missing, all) = (u16::from(window) - received, u16::from(window.max(LEAST_WINDOW)));
        (self.received != 0).then_some(((missing * 15 + all / 2) / all) as u8)
    }

    /// The same of those before, as far as they are remembered; `None` if nothing of them was received.
    pub(super) fn older_ack(&self) -> Option<Ack> {
        // One acknowledgment tells of 33 numbers. What is not among the 64 would seem to be missing.
        let behind = (self.received as u32).checked_ilog2()?;
        let mask = (self.received >> (behind + 1)) as u32;
        let tells = mask.checked_shr(32 - behind).unwrap_or(0) != 0;
        tells.then(|| Ack { sequence: self.newest.wrapping_sub(behind as u8), mask })
    }

    fn is_stale(&self, now: Instant) -> bool {
        now - self.accepted > STALE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_millis(10);

    fn history(sequences: &[u8]) -> History {
        let mut history = History::default();
        for &sequence in sequences {
            history.record(NOW, sequence);
        }
        history
    }

    #[test]
    fn acknowledges_what_came() {
        assert_eq!(history(&[]).ack(), None);
        assert_eq!(history(&[1, 2, 3, 4, 5, 6]).ack(), Some(Ack { sequence: 6, mask: 0x1f }));
        assert_eq!(history(&[254, 0, 1]).ack(), Some(Ack { sequence: 1, mask: 0b101 }));
        assert_eq!(history(&[3, 1]).ack(), Some(Ack { sequence: 3, mask: 0b10 }));
        assert_eq!(history(&[10, 100]).ack(), Some(Ack { sequence: 100, mask: 0 }), "a leap clears");
    }

    #[test]
    fn acknowledges_again_what_one_acknowledgment_does_not_hold() {
        assert_eq!(history(&[]).older_ack(), None);
        assert_eq!(history(&[60, 92]).older_ack(), None);
        assert_eq!(history(&[59, 92]).older_ack(), None, "there is no number near enough");
        let all: alloc::vec::Vec<u8> = (20..=100).filter(|n| *n != 69 && *n != 60).collect();
        assert_eq!(history(&all).older_ack(), Some(Ack { sequence: 70, mask: 0xffff_fdfe }));
    }

    #[test]
    fn tells_duplicates_from_numbers_that_are_new_late_or_far_away() {
        let history = history(&[100, 102, 103]);
        let duplicates: std::vec::Vec<u8> =
            (0..=255).filter(|&sequence| history.is_duplicate(NOW, sequence)).collect();
        assert_eq!(duplicates, [100, 102, 103]);
        assert!(!History::default().is_duplicate(NOW, 0));
    }

    #[test]
    fn one_late_number_changes_nothing_and_two_are_a_leap() {
        let mut history = history(&[100, 101, 102]);
        assert!(!history.is_duplicate(NOW, 20));
        history.record(NOW, 20);
        assert!(history.is_duplicate(NOW, 20) && history.is_duplicate(NOW, 101));
        history.record(NOW, 103);
        history.record(NOW, 21);
        assert_eq!(history.ack(), Some(Ack { sequence: 103, mask: 0b111 }), "both were late");
        history.record(NOW, 23);
        assert_eq!(history.ack(), Some(Ack { sequence: 103, mask: 0b111 }), "both were in one packet");
        history.record(NOW + Duration::from_micros(1), 25);
        assert_eq!(history.ack(), Some(Ack { sequence: 25, mask: 0b10 }), "one after the other");
        assert!(!history.is_duplicate(NOW, 101));
    }

    #[test]
    fn counts_what_was_skipped() {
        let mut history = History::default();
        let skipped = [5, 6, 9, 7, 73, 72, 120].map(|sequence| history.record(NOW, sequence));
        assert_eq!(skipped, [0, 0, 2, 0, 63, 0, 46]);
    }

    #[test]
    fn after_silence_half_of_the_numbers_are_ahead_and_the_others_a_new_start() {
        let later = NOW + STALE + Duration::from_micros(1);
        let skipped = [101, 227, 228, 229, 99].map(|sequence| history(&[100]).record(later, sequence));
        assert_eq!(skipped, [0, 126, 127, 0, 0]);
    }

    #[test]
    fn what_is_missing_counts_from_the_first() {
        let missing = |sequences: &[u8]| history(sequences).missing();
        assert_eq!(missing(&[]), None);
        assert_eq!(missing(&[7]), Some(0));
        assert_eq!(missing(&[7, 8, 10]), Some(2), "1 in 8");
        assert_eq!(missing(&[7, 9, 11, 13, 15, 17]), Some(8), "5 in 10");
        assert_eq!(missing(&[7, 100]), Some(15));
        assert_eq!(missing(&[7, 6, 5, 3]), Some(2), "late ones, too");
    }

    #[test]
    fn a_peer_that_counts_anew_after_silence_is_heard() {
        let mut history = history(&[100, 101]);
        let later = NOW + STALE;
        assert!(history.is_duplicate(later, 100));
        let later = later + Duration::from_micros(1);
        assert!(!history.is_duplicate(later, 100));
        history.record(later, 100);
        assert_eq!(history.ack(), Some(Ack { sequence: 100, mask: 0 }));
        assert!(!history.is_duplicate(later, 101));
    }
}

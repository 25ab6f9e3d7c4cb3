//! Whether the way to a peer carries large messages (`docs/msp-extensions.md` section 6, RFC 8899).

use super::MAX_MESSAGE;
use crate::Instant;
use core::time::Duration;

/// Bytes in the longest message that is sent where the way carries it: with all headers, the longest ports included,
/// it makes a UDP payload of 1472 bytes.
pub(crate) const LARGE_MESSAGE: usize = 1387;
/// The packet with such a message and without an acknowledgment, and so that of a probe.
pub(crate) const LARGE_PACKET: usize = 12 + LARGE_MESSAGE;

/// Probes without an answer that say the way does not carry them. RFC 8899 has three; where 30 % of packets are lost,
/// these and their answers would be lost together in one of eight cases.
const MAX_PROBES: u8 = 8;
/// Then it is tried again after this long.
const PAUSE: Duration = Duration::from_secs(60);
/// The same if the layer below refuses a probe, which costs nothing: perhaps it does not know the way yet.
const REFUSED: Duration = Duration::from_millis(100);
/// So many large messages lost, while what was sent later and is smaller arrives, mean that the way has changed.
const MAX_LOST: u8 = 4;

/// What is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carriage {
    /// Nothing large is sent but probes, `sent` so far, the next one not before `next`.
    Small { sent: u8, next: Instant },
    /// Large messages are sent. The latest one of those that have arrived was sent at `arrived`, and `lost` later ones
    /// are lost.
    Large { arrived: Instant, lost: u8 },
}

impl Carriage {
    pub(crate) const fn new() -> Self {
        Self::Small { sent: 0, next: Instant::ZERO }
    }

    pub(crate) const fn is_large(self) -> bool {
        matches!(self, Self::Large { .. })
    }

    /// The longest message to send.
    pub(super) const fn max_message(self) -> usize {
        if self.is_large() { LARGE_MESSAGE } else { MAX_MESSAGE }
    }

    pub(super) fn wants_probe(self, now: Instant) -> bool {
        matches!(self, Self::Small { next, .. } if next <= now)
    }

    /// A probe leaves, which is lost if it has no answer after `timeout`.
    pub(super) fn on_probe(&mut self, now: Instant, timeout: Duration) {
        if let Self::Small { sent, next } = self {
            let is_last = *sent + 1 >= MAX_PROBES;
            (*sent, *next) = if is_last { (0, now + PAUSE) } else { (*sent + 1, now + timeout) };
        }
    }

    /// A probe has arrived.
    pub(super) fn on_answer(&mut self, now: Instant) {
        if !self.is_large() {
            *self = Self::Large { arrived: now, lost: 0 };
        }
    }

    /// A large message that was sent whole has arrived.
    pub(super) fn on_arrived(&mut self, sent_at: Instant) {
        if let Self::Large { arrived, lost } = self
            && *arrived < sent_at
        {
            (*arrived, *lost) = (sent_at, 0);
        }
    }

    /// One was lost, and a packet that was sent later was not.
    pub(super) fn on_lost(&mut self, now: Instant, sent_at: Instant) {
        if let Self::Large { arrived, lost } = self
            && *arrived < sent_at
        {
            *lost += 1;
            if *lost >= MAX_LOST {
                *self = Self::Small { sent: 0, next: now };
            }
        }
    }

    /// One that went in parts, since nothing had arrived, has arrived. That it was lost before as a whole, three times
    /// in a row, counts as two.
    pub(super) fn on_parts_arrived(&mut self, now: Instant, sent_at: Instant) {
        (0..2).for_each(|_| self.on_lost(now, sent_at));
    }

    /// The layer below has no way for it.
    pub(super) fn on_refused(&mut self, now: Instant) {
        *self = Self::Small { sent: 0, next: now + REFUSED };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn eight_probes_without_an_answer_are_enough_for_a_minute() {
        let mut carriage = Carriage::new();
        let timeout = Duration::from_millis(100);
        for n in 0..8 {
            assert!(carriage.wants_probe(ms(100 * n)));
            carriage.on_probe(ms(100 * n), timeout);
            assert!(!carriage.wants_probe(ms(100 * n + 99)));
        }
        assert!(!carriage.wants_probe(ms(60_699)) && carriage.wants_probe(ms(60_700)));
        assert_eq!(carriage.max_message(), 1024);
        carriage.on_answer(ms(60_800));
        assert_eq!((carriage.max_message(), carriage.wants_probe(ms(99_000))), (LARGE_MESSAGE, false));
    }

    #[test]
    fn losses_count_only_if_nothing_as_large_has_arrived_since() {
        let mut carriage = Carriage::new();
        carriage.on_answer(ms(0));
        for at in 1..100 {
            carriage.on_lost(ms(1000), ms(at));
            if at % 3 == 0 {
                carriage.on_arrived(ms(at));
            }
        }
        assert!(carriage.is_large());
        carriage.on_arrived(ms(200));
        (150..190).for_each(|at| carriage.on_lost(ms(1000), ms(at)));
        (201..204).for_each(|at| carriage.on_lost(ms(1000), ms(at)));
        assert!(carriage.is_large(), "one burst, and three");
        carriage.on_lost(ms(1000), ms(204));
        assert!(!carriage.is_large() && carriage.wants_probe(ms(1000)));
    }

    #[test]
    fn parts_that_arrive_when_nothing_else_does_tell_that_the_way_is_narrower() {
        let mut carriage = Carriage::new();
        carriage.on_answer(ms(100));
        carriage.on_parts_arrived(ms(150), ms(99));
        assert!(carriage.is_large(), "they were sent before it was known to be wide");
        carriage.on_parts_arrived(ms(150), ms(101));
        assert!(carriage.is_large(), "all of them may have been lost by chance");
        carriage.on_parts_arrived(ms(150), ms(102));
        assert!(!carriage.is_large() && carriage.wants_probe(ms(150)));
    }

    #[test]
    fn what_is_refused_below_is_not_tried_again_at_once() {
        let mut carriage = Carriage::new();
        carriage.on_answer(ms(0));
        carriage.on_refused(ms(10));
        assert_eq!(carriage.max_message(), 1024);
        assert!(!carriage.wants_probe(ms(109)) && carriage.wants_probe(ms(110)));
    }
}

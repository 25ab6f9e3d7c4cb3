//! When to acknowledge.

use crate::Instant;
use core::time::Duration;

/// A single message is acknowledged after this long, so that an answer can carry the
/// acknowledgment and neighbours in time share one. The reference daemon takes as long (`spec/10` A.4).
pub(super) const ACK_DELAY: Duration = Duration::from_millis(5);
/// The acknowledgment of a message that was known is repeated after this long: a thin stream sends several copies of
/// each, and some of them arrive after the acknowledgment was sent.
pub(super) const COPY_ACK_DELAY: Duration = Duration::from_millis(20);
/// Two or more are acknowledged this long after the second, with what else has come of their burst. A receiver may
/// do so (RFC 9000, section 13.2.2), a radio that cannot send and receive at once is spared packets, and the
/// reference daemon's tunnel needs it: each acknowledgment has it fill its window of five again, and one that comes
/// while it does goes unnoticed, for up to a second if it leaves nothing to acknowledge.
const BURST_DELAY: Duration = Duration::from_millis(2);
/// So many are acknowledged at once. It is all that the reference daemon has on its way (`spec/10` A.10), and a sender
/// of ours that is fast need not wait for the end of a burst.
const MAX_UNACKNOWLEDGED: u32 = 5;
/// The acknowledgment of a burst is repeated once, after this long without data. It may have been all that the
/// reference daemon waits for: that does nothing about one that was lost for 1500 ms (`spec/10` A.7), and the repair of
/// a hop takes several times as long as this.
const REPEAT_DELAY: Duration = Duration::from_millis(10);

/// The acknowledgment that is due next, and what it is for.
#[derive(Debug)]
pub(super) struct AckTimer {
    due: Option<Instant>,
    /// When the last one is sent once more.
    repeat: Option<Instant>,
    /// Messages to acknowledge.
    news: u32,
}

impl AckTimer {
    pub(super) const fn new(due: Option<Instant>) -> Self {
        Self { due, repeat: None, news: 0 }
    }

    /// When one is to be sent.
    pub(super) fn at(&self) -> Option<Instant> {
        self.due.into_iter().chain(self.repeat).min()
    }

    pub(super) const fn is_unset(&self) -> bool {
        self.due.is_none()
    }

    /// Whether there is a message to acknowledge.
    pub(super) const fn has_news(&self) -> bool {
        self.news > 0
    }

    /// One is to be sent at this time at the latest.
    pub(super) fn by(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// The peer goes on.
    pub(super) const fn on_data(&mut self) {
        self.repeat = None;
    }

    /// There is one message more to acknowledge. `at_once`: more than the pace of the peer depends on that.
    pub(super) fn on_news(&mut self, now: Instant, at_once: bool) {
        self.news += 1;
        self.by(match self.news {
            1 if !at_once => now + ACK_DELAY,
            2..MAX_UNACKNOWLEDGED if !at_once => now + BURST_DELAY,
            _ => now,
        });
    }

    /// One was sent. `is_slow`: the peer is one that waits long for another.
    pub(super) fn sent(&mut self, now: Instant, is_slow: bool) {
        self.repeat = (is_slow && self.news > 1).then(|| now + REPEAT_DELAY);
        (self.due, self.news) = (None, 0);
    }
}

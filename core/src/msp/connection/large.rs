//! How a connection finds out whether the way carries large messages (`docs/msp-extensions.md` section 6).

use super::{Connection, OVERHEAD};
use crate::Instant;
use crate::msp::MAX_MESSAGE;
use crate::msp::carriage::LARGE_MESSAGE;
use crate::msp::paths::Path;
use alloc::vec::Vec;

/// Messages that wait to be sent on a stream that large ones would be of use to.
const MIN_UNSENT: usize = 4;

impl Connection {
    /// The longest message that may be queued. Where the way does not carry such, it goes in parts.
    pub(crate) const fn max_message(&self) -> usize {
        if self.form.has_large() { LARGE_MESSAGE } else { MAX_MESSAGE }
    }

    /// Whether a probe is to be sent before the next message.
    pub(super) fn wants_probe(&self, now: Instant, path: &Path) -> bool {
        self.form.has_large()
            && self.acknowledged
            && self.send.unsent() >= MIN_UNSENT
            && path.carriage.wants_probe(now)
    }

    /// Sends one. Its loss says nothing of congestion.
    pub(super) fn transmit_probe(&mut self, now: Instant, buffer: &mut Vec<u8>, path: &mut Path) {
        self.form.emit_probe(buffer);
        let sent = path.rate.on_sent(now, buffer.len() + OVERHEAD, true);
        path.rate.on_forgotten(sent.bytes());
        path.carriage.on_probe(now, self.round_trip.timeout());
    }
}

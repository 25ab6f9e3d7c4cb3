//! What waits to tell peers that there is no such connection.

use super::endpoint::Outgoing;
use super::form::Refusal;
use crate::{Addr, Instant, Port};
use alloc::collections::VecDeque;
use core::time::Duration;

/// Refusals that may wait to be sent.
const MAX_WAITING: usize = 64;
/// They are sent at most this often, after a burst of [`BURST`], so that nobody can use them to flood a third
/// party.
const INTERVAL: Duration = Duration::from_millis(10);
const BURST: u32 = 32;

/// Refusals, oldest first.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    waiting: VecDeque<Waiting>,
    /// When those so far would all have left at the limited rate.
    drained: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// By then the peer has given up by itself.
    until: Instant,
    outgoing: Outgoing,
    refusal: Refusal,
}

impl Refusals {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds one that is good until then. False if there are too many.
    pub(super) fn push(
        &mut self,
        now: Instant,
        until: Instant,
        outgoing: Outgoing,
        refusal: Refusal,
    ) -> bool {
        let fits = self.waiting.len() < MAX_WAITING && self.drained < now + INTERVAL * BURST;
        if fits {
            self.drained = self.drained.max(now) + INTERVAL;
            self.waiting.push_back(Waiting { until, outgoing, refusal });
        }
        fits
    }

    /// The next to send, to whom.
    pub(super) fn front(&self) -> Option<Outgoing> {
        self.waiting.front().map(|waiting| waiting.outgoing)
    }

    pub(super) fn pop(&mut self) -> Option<(Outgoing, Refusal)> {
        self.waiting.pop_front().map(|waiting| (waiting.outgoing, waiting.refusal))
    }

    /// The two have a connection now, which a refusal of an earlier one must not end.
    pub(super) fn forget(&mut self, local: Port, peer: Addr) {
        self.waiting.retain(|waiting| (waiting.outgoing.from, waiting.outgoing.to) != (local, peer));
    }

    /// When [`Refusals::expire`] has something to do.
    pub(super) fn expires_at(&self) -> Option<Instant> {
        self.waiting.front().map(|waiting| waiting.until)
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.waiting.retain(|waiting| waiting.until > now);
    }
}

//! How an idle connection is kept alive: by packets of its own, or in rolls (`docs/msp-extensions.md` section 7).

use super::{Connection, Role, Wire};
use crate::Instant;
use crate::msp::form::Content;
use crate::wire::extended::Tag;
use core::time::Duration;

/// What was said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Something that matters.
    Busy,
    /// A sign of life.
    Idle,
    /// Nothing by itself: it was in a roll.
    Listed,
}

impl Connection {
    /// When it may be in a call instead of sending a sign of life.
    pub(crate) fn call_at(&self) -> Option<Instant> {
        let may_be = self.role == Role::Initiator
            && self.wire == Wire::Open
            && self.rest != Rest::Busy
            && self.is_calm()
            && self.form.has_rolls();
        may_be.then(|| self.last_sent + self.keep_alive())
    }

    /// It is in a call that is sent.
    pub(crate) fn call(&mut self, now: Instant) {
        self.list(now);
    }

    /// Whether a call, or an answer, with this tag is about it.
    pub(crate) fn is_listed_as(&self, is_call: bool, tag: Tag) -> bool {
        let listener_is_asked = is_call == (self.role == Role::Listener);
        listener_is_asked && self.wire == Wire::Open && self.form.tag() == Some(tag)
    }

    /// It was in a call of the peer. Whether it is to be in the answer.
    pub(crate) fn on_call(&mut self, now: Instant) -> bool {
        (self.heard, self.is_called) = (Some(now), true);
        // Otherwise the peer is to tell again what it has received, which a roll does not.
        let is_calm = self.is_calm();
        if is_calm {
            self.list(now);
        }
        is_calm
    }

    /// It was in an answer of the peer.
    pub(crate) const fn on_answer(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// A packet of its own has come.
    pub(super) fn wake(&mut self, now: Instant, content: Content) {
        match content {
            Content::Data { .. } => self.rest = Rest::Busy,
            // The peer does not rest, and may lack the last acknowledgment.
            _ if self.rest == Rest::Listed => self.acknowledgment.by(now),
            _ => {}
        }
    }

    /// A packet of its own is to be sent now.
    pub(super) fn note_sending(&mut self, now: Instant) {
        let is_due = self.last_sent + self.keep_alive() <= now;
        self.is_prompted = false;
        self.last_acks = if self.repeats_last_ack() { self.last_acks.saturating_add(1) } else { 0 };
        self.rest = if is_due && self.is_calm() { Rest::Idle } else { Rest::Busy };
        if is_due {
            self.shrink();
        }
    }

    /// Whether it repairs the loss of what it sends now, so that no hop need do so. It does not where all depends on
    /// it: whether the peer lives is asked and answered rarely.
    pub(crate) fn repairs(&self, now: Instant) -> bool {
        let is_asking = self.last_sent + self.keep_alive() <= now;
        self.send.has_reports() && !is_asking && !self.is_prompted
    }

    /// How long nothing is sent, once the peer was heard.
    pub(super) fn resting_keep_alive(&self) -> Duration {
        let is_listed = self.rest == Rest::Listed && self.is_calm();
        match self.role {
            Role::Listener if is_listed => self.idle_timeout / 2,
            // The call, or the packet that comes in its place, is to be first.
            Role::Listener if self.is_called => self.keep_alive * 4 / 3,
            // A call or its answer is lost more often than a packet. It is time to hurry when one was.
            Role::Initiator if is_listed && self.heard < Some(self.last_sent - self.keep_alive) => {
                self.keep_alive / 4
            }
            _ => self.keep_alive,
        }
    }

    fn list(&mut self, now: Instant) {
        self.rest = Rest::Listed;
        self.last_sent = now;
        self.shrink();
    }

    /// There is nothing to send, to acknowledge or to consume.
    fn is_calm(&self) -> bool {
        self.send.len() == 0 && self.receive.bytes() == 0 && self.acknowledgment.at().is_none()
    }

    fn shrink(&mut self) {
        self.send.shrink();
        self.receive.shrink();
    }
}

//! Which packets are of a connection, when nothing in them names it.

use super::{Connection, Role};
use crate::msp::form::{Content, Incoming};
use crate::{Instant, Seq};
use bytes::Bytes;

/// Where a packet comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// The peer, who lives.
    Peer,
    /// It takes back an acknowledgment, or acknowledges what was never sent: it is old, or from a peer that has
    /// restarted and taken up the connection from a late packet of its beginning. If it told that the peer lives, the
    /// two would keep each other alive for ever and never agree.
    Doubtful,
    /// One end was started again, and the two speak of different streams between the same ports (`spec/10` A.5).
    AnotherStream,
}

impl Connection {
    /// Where a packet comes from, as far as it tells.
    pub(super) fn origin(&self, packet: &Incoming<'_>, payload: &Bytes) -> Origin {
        if self.form.is_tagged() {
            return Origin::Peer;
        }
        if self.begins_anew(packet, payload) {
            return Origin::AnotherStream;
        }
        let is_new = self.role == Role::Listener && !self.acknowledged;
        match packet.ack {
            Some(ack) if self.send.may_follow(ack) => Origin::Peer,
            // What was never sent on this stream, the peer has received on an earlier one.
            Some(ack) if is_new && self.send.newest().is_before(ack) => Origin::AnotherStream,
            // All packets after the first data acknowledge something (`spec/10` A.3).
            None if packet.content == Content::Bare || self.send.base() == Seq(0) => Origin::Peer,
            _ => Origin::Doubtful,
        }
    }

    /// Whether the peer goes on behind a gap that it does not fill: it repeats all that was not acknowledged, so an end
    /// that was here before a restart has acknowledged what is missing (`spec/10` A.7). Neither end would ever finish.
    pub(super) fn leaves_out_what_was_before(&self, now: Instant) -> bool {
        let waits = self.receive.has_hole() && !self.receive.is_readable();
        !self.form.is_tagged() && waits && now - self.gap_since >= self.idle_timeout * 2
    }

    /// Whether the peer has opened a new stream, or has accepted a late copy of our first packet once more: its first
    /// message is not the one that has come.
    pub(super) fn begins_anew(&self, packet: &Incoming<'_>, payload: &Bytes) -> bool {
        let is_first_message = matches!(packet.content, Content::Data { seq: Seq(0), .. });
        let may_be = !self.form.is_tagged() && (packet.first || self.role == Role::Initiator);
        is_first_message && may_be && self.first_message.differs_from(payload)
    }
}

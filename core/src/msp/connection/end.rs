//! How a connection ends, and what is still said then.

use super::{Connection, Role};
use crate::msp::event::CloseReason;
use crate::msp::send::SendBuffer;
use crate::{Instant, Seq};
use core::time::Duration;

/// How often the last packet of a connection, which nothing acknowledges, is sent in all, each time after
/// twice the time. At 30 % loss, one peer in 1,400 gets no acknowledgment, and one in 120 no STOP, of
/// which its next packet tells it.
pub(super) const LAST_ACKS: u8 = 6;
pub(super) const LAST_STOPS: u8 = 4;
/// How long a finished connection still acknowledges retransmissions: until it has sent its last packets, and
/// [`LINGER`] from the last retransmission on.
pub(super) const LINGER: Duration = Duration::from_secs(3);

/// What the connection does on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    Open,
    /// Finished; the peer may still lack the acknowledgment of its last segment.
    Lingering {
        until: Instant,
        sent: u8,
        next: Instant,
    },
    /// Aborted; the peer is told a few times, if nothing below keeps it from that until it gives up by itself.
    Stopping {
        until: Instant,
        sent: u8,
        next: Instant,
    },
    Silent,
}

impl Connection {
    /// Ends this direction after what is queued.
    pub(crate) fn finish(&mut self) {
        if self.closed.is_none() {
            self.send.finish();
        }
    }

    /// Ends the connection here, and says so to the peer if it may still believe in it.
    pub(crate) fn abort(&mut self, now: Instant, reason: CloseReason) {
        if self.closed.is_some() {
            return;
        }
        self.close(reason);
        self.wire = self.stopping(now);
    }

    /// Tells the peer that there is no such connection.
    pub(super) fn stopping(&self, now: Instant) -> Wire {
        Wire::Stopping { until: now + self.idle_timeout, sent: 0, next: now }
    }

    /// Ends the connection without a word.
    pub(crate) fn drop_silently(&mut self, reason: CloseReason) {
        if self.closed.is_none() {
            self.close(reason);
        }
        self.wire = Wire::Silent;
    }

    pub(super) fn on_stop(&mut self) {
        if self.closed.is_none() {
            let untouched = self.send.base() == Seq(0) && !self.received_data;
            self.close(if self.lacks_only_last_ack() {
                CloseReason::Finished
            } else if untouched && self.role == Role::Initiator {
                CloseReason::Refused
            } else {
                CloseReason::PeerReset
            });
        }
        self.wire = Wire::Silent;
    }

    /// Both directions have finished, and only the acknowledgment of our end is missing. A peer that says
    /// then that it knows no such connection has received everything (`spec/10` A.6).
    pub(super) fn lacks_only_last_ack(&self) -> bool {
        self.receive.is_finished() && self.send.lacks_only_shutdown() && self.send.unsent() == 0
    }

    /// The reference daemon forgets a connection as soon as both ends have finished, its own is acknowledged,
    /// and it has acknowledged ours, once (`spec/10` A.6); an end of ours does a few seconds later. If that gets lost,
    /// it would be in doubt whether our last messages have arrived. So its end is acknowledged last of all, unless it
    /// was already: an acknowledgment is never taken back.
    pub(super) fn withholds_last_ack(&self) -> bool {
        let all_arrived = self.send.lacks_only_shutdown();
        !self.acknowledged_end && self.receive.is_finished() && self.send.is_finished() && !all_arrived
    }

    /// The peer has our end and withholds its acknowledgment. It may lack that of its last messages, of which nothing else
    /// would tell it again soon.
    pub(super) fn repeats_last_ack(&self) -> bool {
        self.lacks_only_last_ack() && self.send.has_end_arrived()
    }

    pub(super) fn check_finished(&mut self, now: Instant) {
        if self.closed.is_some() || !self.send.is_complete() || !self.receive.is_finished() {
            return;
        }
        self.close(CloseReason::Finished);
        self.wire = if self.shutdown_carried_last_ack {
            Wire::Silent
        } else {
            let until = now + self.last_packet_interval(LAST_ACKS - 1);
            Wire::Lingering { until, sent: 0, next: now }
        };
    }

    pub(super) fn close(&mut self, reason: CloseReason) {
        self.closed = Some(reason);
        self.abandoned += self.send.leave_way();
        self.send = SendBuffer::new();
        self.receive.truncate();
    }

    /// The time from one last packet to the next: 50 ms at first if the path is short.
    pub(super) fn last_packet_interval(&self, sent: u8) -> Duration {
        (self.round_trip.timeout() / 4).min(LINGER / 32) * (1 << sent.min(LAST_ACKS))
    }
}

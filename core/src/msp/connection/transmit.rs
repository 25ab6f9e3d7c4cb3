//! What a connection sends, and when.

use super::end::{LAST_ACKS, LAST_STOPS, Wire};
use super::{Connection, OVERHEAD, Role};
use crate::Instant;
use crate::msp::form::Form;
use crate::msp::paths::Path;
use crate::msp::send::Readiness;
use crate::wire::extended::{Acknowledgment, Part};
use alloc::vec::Vec;

impl Connection {
    /// Whether there is a segment to send as soon as the way to the peer is open.
    pub(crate) fn wants_turn(&self) -> bool {
        self.wire == Wire::Open
            && self.send.has_reports()
            && self.send.readiness(usize::MAX) == Readiness::Ready
    }

    /// When [`Connection::poll_transmit`] has something to send that does not wait for a turn.
    pub(crate) fn transmit_at(&self) -> Option<Instant> {
        match self.wire {
            Wire::Open => {
                let data = if self.send.has_reports() {
                    self.send.is_probing().then_some(self.last_sent)
                } else {
                    let ready = self.send.readiness(self.congestion.window()) == Readiness::Ready;
                    ready.then(|| self.pacer.next())
                };
                let keep_alive = Some(self.last_sent + self.keep_alive());
                let extra = [self.send.copy_at(), self.send.question_at()];
                let due = [data, self.acknowledgment.at(), keep_alive];
                due.into_iter().chain(extra).flatten().min()
            }
            Wire::Lingering { sent, next, .. } => (sent < LAST_ACKS).then_some(next),
            Wire::Stopping { next, .. } => Some(next),
            Wire::Silent => None,
        }
    }

    /// Appends one packet to `buffer`, if there is one to send. `more`: streams wait until the way is open.
    pub(crate) fn poll_transmit(
        &mut self,
        now: Instant,
        buffer: &mut Vec<u8>,
        path: &mut Path,
        more: bool,
    ) -> bool {
        let has_turn = self.wants_turn() && path.is_open(now);
        self.has_copied = false;
        let copies = self.wire == Wire::Open && !has_turn && !self.send.is_probing();
        if copies && self.send.copy_at().is_some_and(|at| at <= now) && self.transmit_copy(now, buffer, path)
        {
            return true;
        }
        if copies
            && self.send.question_at().is_some_and(|at| at <= now)
            && self.transmit_question(now, buffer, path)
        {
            return true;
        }
        if !has_turn && self.transmit_at().is_none_or(|at| at > now) {
            return false;
        }
        let first = self.role == Role::Initiator && self.heard.is_none();
        let received = self.received();
        let ends = self.receive.is_finished() && !self.withholds_last_ack();
        match self.wire {
            Wire::Open => {
                self.note_sending(now);
                self.last_sent = now;
                self.probes += u32::from(self.heard.is_none());
                let sends_data = if self.send.has_reports() {
                    has_turn || self.send.is_probing()
                } else {
                    let ready = self.send.readiness(self.congestion.window()) == Readiness::Ready;
                    ready && self.pacer.next() <= now
                };
                if sends_data && has_turn && self.wants_probe(now, path) {
                    self.transmit_probe(now, buffer, path);
                    return true;
                }
                let acknowledged = if sends_data && !self.form.owes_answer() {
                    self.transmit_data(now, first, received, buffer, path, more)
                } else {
                    self.form.emit(now, first, received, None, buffer)
                };
                if acknowledged {
                    self.acknowledged_end |= ends;
                    self.acknowledgment.sent(now, matches!(self.form, Form::Plain));
                }
            }
            Wire::Lingering { until, sent, .. } => {
                let next = now + self.last_packet_interval(sent);
                self.wire = Wire::Lingering { until, sent: sent + 1, next };
                self.acknowledged_end |= ends;
                self.form.emit(now, first, received, None, buffer);
            }
            Wire::Stopping { until, sent, .. } => {
                let next = now + self.last_packet_interval(sent);
                let sent = sent + 1;
                let goes_on = sent < LAST_STOPS;
                self.wire = if goes_on { Wire::Stopping { until, sent, next } } else { Wire::Silent };
                self.form.refusal().emit(buffer);
            }
            Wire::Silent => return false,
        }
        true
    }

    fn transmit_data(
        &mut self,
        now: Instant,
        first: bool,
        received: Option<Acknowledgment>,
        buffer: &mut Vec<u8>,
        path: &mut Path,
        more: bool,
    ) -> bool {
        let all_received = self.receive.is_finished() && !self.withholds_last_ack();
        let is_large = path.carriage.is_large();
        let Some(segment) = self.send.next_packet(now, is_large) else { return false };
        if segment.shutdown && !segment.retransmission {
            self.shutdown_carried_last_ack = all_received;
        }
        self.stats.sent += 1;
        self.stats.retransmitted += u64::from(segment.retransmission);
        let (seq, part) = (segment.seq, segment.part);
        let acknowledged = self.form.emit(now, first, received, Some(segment), buffer);
        if !matches!(self.form, Form::Plain) {
            // The way is told of a message once, with all packets that it takes.
            let packets = match part {
                None => 1,
                Some(Part { offset: 0, .. }) => 2,
                Some(_) => return acknowledged,
            };
            let more = more || self.send.readiness(usize::MAX) == Readiness::Ready;
            let sent = path.rate.on_sent(now, packets * (buffer.len() + OVERHEAD), more);
            let before = self.send.note_sent(seq, sent);
            before.into_iter().for_each(|sent| path.rate.on_forgotten(sent.bytes()));
        }
        if self.send.has_reports() {
            return acknowledged;
        }
        self.pacer.on_sent(now);
        if self.send.readiness(self.congestion.window()) == Readiness::Limited {
            self.congestion.on_limited();
        }
        acknowledged
    }

    /// Appends a packet to `buffer` that does but ask what has arrived, unless there were too many.
    fn transmit_question(&mut self, now: Instant, buffer: &mut Vec<u8>, path: &mut Path) -> bool {
        let start = buffer.len();
        self.form.emit_question(now, buffer);
        if self.send.note_question(now) && !path.takes_copy(now, buffer.len() - start + OVERHEAD) {
            buffer.truncate(start);
            return false;
        }
        path.on_question(now);
        self.last_sent = now;
        true
    }

    /// Appends a copy to `buffer`, unless there were too many.
    fn transmit_copy(&mut self, now: Instant, buffer: &mut Vec<u8>, path: &mut Path) -> bool {
        let received = self.received();
        let ends = self.receive.is_finished() && !self.withholds_last_ack();
        let Some(segment) = self.send.next_copy(now) else { return false };
        if !path.takes_copy(now, segment.payload.len() + OVERHEAD) {
            return false;
        }
        self.stats.copies += 1;
        self.has_copied = true;
        self.last_sent = now;
        let first = self.role == Role::Initiator && self.heard.is_none();
        if self.form.emit(now, first, received, Some(segment), buffer) {
            self.acknowledged_end |= ends;
            self.acknowledgment.sent(now, false);
        }
        true
    }
}

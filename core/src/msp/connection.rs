//! One MSP connection, as both ends of it behave (`spec/10`).

mod end;
mod large;
mod origin;
mod rest;
mod transmit;

use super::ack_timer::{ACK_DELAY, AckTimer, COPY_ACK_DELAY};
use super::config::Config;
use super::event::CloseReason;
use super::first_message::FirstMessage;
use super::form::{Content, Form, Incoming, Packet, Verdict};
use super::meter::Meter;
use super::paths::Path;
use super::receive::{Insertion, ReceiveBuffer};
use super::send::{Acknowledged, Loss, SendBuffer};
use super::stats::Stats;
use crate::path::{Congestion, Pacer, RoundTrip};
use crate::wire::extended::{Acknowledgment, Part, Range, Ranges};
use crate::{Addr, Instant, Port, Seq};
use bytes::Bytes;
use core::time::Duration;
use end::{LAST_ACKS, LINGER, Wire};
use origin::Origin;
use rest::Rest;

/// Segments on their way to a peer that does not report what has arrived: it tells of their losses one by one.
const MAX_UNREPORTED: usize = 256;
/// Of so many messages every second one is acknowledged at once: a new sender learns from them how fast the way is.
const FIRST_FLIGHT: u64 = 16;
/// What the layers below add to a packet, about: UDP, IPv4, a frame of a node, encryption.
const OVERHEAD: usize = 90;
/// An initiator without data makes itself known after this long (`spec/10` A.5), then again after
/// [`PROBE_INTERVAL`] doubled each time.
const PROBE_DELAY: Duration = Duration::from_millis(10);
const PROBE_INTERVAL: Duration = Duration::from_millis(250);

/// Who opened the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Initiator,
    Listener,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) local: Port,
    pub(crate) peer: Addr,
    pub(crate) role: Role,
    pub(crate) form: Form,
    wire: Wire,
    closed: Option<CloseReason>,
    pub(crate) send: SendBuffer,
    pub(crate) receive: ReceiveBuffer,
    round_trip: RoundTrip,
    congestion: Congestion,
    pacer: Pacer,
    send_window: usize,
    keep_alive: Duration,
    idle_timeout: Duration,
    created: Instant,
    heard: Option<Instant>,
    last_sent: Instant,
    rest: Rest,
    /// The peer calls the roll.
    is_called: bool,
    /// The peer has asked for an acknowledgment.
    is_prompted: bool,
    /// Packets sent before the peer was heard.
    probes: u32,
    /// A data packet was received, so the acknowledgment field means something (`spec/10` A.3).
    received_data: bool,
    acknowledgment: AckTimer,
    /// The peer's end was acknowledged.
    acknowledged_end: bool,
    /// Packets sent since only the end is left, which the peer has and does not acknowledge.
    last_acks: u8,
    /// The shutdown segment, when first sent, carried the acknowledgment of the peer's last segment.
    shutdown_carried_last_ack: bool,
    /// The peer's first message, and whether the peer has stopped setting FIRST.
    first_message: FirstMessage,
    peer_has_heard: bool,
    /// When something came last that was not behind the same gap.
    gap_since: Instant,
    /// A message was consumed here, one of ours was acknowledged.
    consumed: bool,
    acknowledged: bool,
    pub(crate) stats: Stats,
    /// Bytes of messages that the peer has acknowledged, and of those that were consumed.
    pub(super) outbound: Meter,
    pub(super) inbound: Meter,
    /// What the streams of the peer might still keep when the last packet came.
    memory: usize,
    /// Bytes on their way whose fate does not matter any more.
    pub(super) abandoned: u64,
    /// The last packet was a copy.
    pub(super) has_copied: bool,
}

impl Connection {
    pub(crate) fn new(
        now: Instant,
        role: Role,
        form: Form,
        local: Port,
        peer: Addr,
        config: &Config,
        path: &Path,
    ) -> Self {
        let send_window = usize::from(config.send_window);
        let mut send = SendBuffer::new();
        if form.is_tagged() {
            send.use_reports();
        }
        if !matches!(form, Form::Plain) {
            // A reference peer does not mind copies of the first packets, either, if they are not late.
            send.set_copied(path.copied_round_trip());
        }
        Self {
            local,
            peer,
            role,
            form,
            wire: Wire::Open,
            closed: None,
            send,
            receive: ReceiveBuffer::new(usize::from(config.receive_window)),
            round_trip: path.round_trip.clone(),
            congestion: Congestion::new(send_window.min(MAX_UNREPORTED)),
            pacer: Pacer::default(),
            send_window,
            keep_alive: config.keep_alive,
            idle_timeout: config.idle_timeout,
            created: now,
            heard: None,
            last_sent: now,
            rest: Rest::Busy,
            is_called: false,
            is_prompted: false,
            probes: 0,
            received_data: false,
            acknowledgment: AckTimer::new((role == Role::Initiator).then(|| now + PROBE_DELAY)),
            acknowledged_end: false,
            last_acks: 0,
            shutdown_carried_last_ack: false,
            first_message: FirstMessage::default(),
            peer_has_heard: false,
            gap_since: now,
            consumed: false,
            acknowledged: false,
            stats: Stats::default(),
            outbound: Meter::default(),
            inbound: Meter::default(),
            memory: 0,
            abandoned: 0,
            has_copied: false,
        }
    }

    /// Why the connection has ended, once it has.
    pub(crate) const fn closed(&self) -> Option<CloseReason> {
        self.closed
    }

    /// Nothing is left to be said or heard on the wire.
    pub(crate) fn is_silent(&self) -> bool {
        self.wire == Wire::Silent
    }

    pub(crate) const fn has_heard_peer(&self) -> bool {
        self.heard.is_some()
    }

    /// A message has gone over it, and the peer hears what is sent to it.
    pub(crate) const fn is_used(&self) -> bool {
        (self.consumed || self.acknowledged) && self.peer_has_heard
    }

    /// Messages that can be queued now. `memory` is what all streams together may still keep.
    pub(crate) fn capacity(&self, memory: usize) -> usize {
        let open = self.closed.is_none() && !self.send.is_finished();
        if open { self.send.capacity(self.send_window, self.max_message(), memory) } else { 0 }
    }

    pub(crate) fn stats(&self, path: Option<&Path>) -> Stats {
        let round_trip = self.round_trip.smoothed();
        let path = path.filter(|_| self.send.has_reports());
        let congestion_window = path.map_or(self.congestion.window(), Path::window);
        Stats { round_trip, congestion_window, ..self.stats }
    }

    /// Takes a packet of the peer. `payload` is its message; `memory` is what the streams of the peer may still keep.
    /// One that is not of this connection changes nothing.
    pub(crate) fn handle_packet(
        &mut self,
        now: Instant,
        packet: &Packet,
        payload: Bytes,
        memory: usize,
        path: &mut Path,
    ) -> Verdict {
        let verdict = self.form.on_packet(now, self.role, packet);
        match self.form {
            Form::Extended(_) => self.send.use_reports(),
            // The offer was not taken: nobody will tell what became of the first packets.
            Form::Plain if self.heard.is_none() => self.abandoned += self.send.leave_way(),
            _ => {}
        }
        match verdict {
            Verdict::Taken => {
                let packet = packet.expand(now, &self.send, &self.receive);
                self.take(now, &packet, payload, memory, path);
            }
            Verdict::Superseded => self.abort(now, CloseReason::PeerRestarted),
            Verdict::Foreign => {}
        }
        verdict
    }

    /// Whether messages of the peer may take memory that others could use. Those of one that may not be there, and whose
    /// packets were recorded and are sent again, may not: they do not name the connection as this end has.
    fn may_keep(&self) -> bool {
        let is_there = self.peer_has_heard && self.form.is_tagged();
        self.role == Role::Initiator || is_there || self.is_used()
    }

    fn take(&mut self, now: Instant, packet: &Incoming<'_>, payload: Bytes, memory: usize, path: &mut Path) {
        match (packet.content, self.wire) {
            (_, Wire::Silent) => return,
            (Content::Stop, _) => return self.on_stop(),
            (_, Wire::Stopping { .. }) => return,
            (Content::Data { seq, .. }, Wire::Lingering { sent, next, .. }) => {
                self.wire = if self.begins_anew(packet, &payload) || self.receive.ack().is_before(seq) {
                    self.stopping(now)
                } else {
                    // The peer did not get the last acknowledgment, and may not get this one.
                    let (until, next) = (now + LINGER, next.min(now + ACK_DELAY));
                    Wire::Lingering { until, sent: sent.min(LAST_ACKS - 1), next }
                };
                return;
            }
            (_, Wire::Lingering { .. }) => return,
            (_, Wire::Open) => {}
        }
        match self.origin(packet, &payload) {
            Origin::Peer => self.heard = Some(now),
            Origin::Doubtful => {}
            // The reference daemon does so as soon as it has forgotten a stream whose last acknowledgment it has sent once.
            Origin::AnotherStream if self.lacks_only_last_ack() => {
                return self.abort(now, CloseReason::Finished);
            }
            Origin::AnotherStream => return self.abort(now, CloseReason::PeerRestarted),
        }
        self.wake(now, packet.content);
        self.peer_has_heard |= !packet.first;
        self.memory = if self.may_keep() { memory } else { 0 };
        let has_data = matches!(packet.content, Content::Data { .. });
        let unacknowledged = self.send.payload_bytes();
        if let Some((report, echo)) = packet.report.filter(|_| self.form.is_tagged()) {
            let withheld = self.withholds_last_ack();
            let acknowledged = self.send.on_report(now, report, echo, path);
            self.on_acknowledged(now, acknowledged, report.highest(), withheld);
        } else if let Some(ack) = packet.ack {
            let withheld = self.withholds_last_ack();
            let acknowledged = self.send.on_ack(now, ack, !has_data, &self.round_trip);
            self.on_acknowledged(now, acknowledged, ack, withheld);
        }
        self.outbound.count(now, unacknowledged.saturating_sub(self.send.payload_bytes()));
        if let Content::Data { seq, shutdown, part } = packet.content {
            let insertion = self.on_data(now, seq, part, payload, shutdown);
            if matches!(insertion, Insertion::InOrder | Insertion::OutOfOrder) {
                self.form.on_news(now, packet.time);
            }
            if self.leaves_out_what_was_before(now) {
                return self.abort(now, CloseReason::PeerRestarted);
            }
        }
        if packet.probed {
            path.carriage.on_answer(now);
        }
        if packet.prompt {
            self.is_prompted = true;
            self.acknowledgment.by(now);
        }
        // The answer to a FIRST without data (`spec/10` A.5).
        let is_new = self.role == Role::Listener && !self.received_data;
        if packet.first && is_new && self.acknowledgment.is_unset() {
            self.acknowledgment.by(now);
        }
        self.check_finished(now);
        self.handle_timeout(now, path); // an acknowledgment may show a loss that is due already
        self.send.set_copied(path.copied_round_trip().filter(|_| self.form.is_tagged()));
        self.send.is_repaired = path.is_repaired;
        self.send.has_echoes = self.form.has_echoes();
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, path: &mut Path) {
        match self.wire {
            Wire::Open if now >= self.idle_deadline() => {
                let reason = if self.lacks_only_last_ack() {
                    CloseReason::Finished
                } else if self.heard.is_some() {
                    CloseReason::TimedOut
                } else {
                    CloseReason::Unreachable
                };
                self.abort(now, reason);
            }
            Wire::Open => {
                match self.send.on_timeout(now, &self.round_trip, path) {
                    Loss::None => return,
                    Loss::Fast => {
                        let (smoothed, minimum) = (self.round_trip.smoothed(), self.round_trip.minimum());
                        self.congestion.on_loss(smoothed, minimum);
                    }
                    Loss::Timeout => {
                        self.round_trip.back_off();
                        self.congestion.on_timeout();
                    }
                }
                self.set_pace();
            }
            Wire::Lingering { until, .. } | Wire::Stopping { until, .. } if now >= until => {
                self.wire = Wire::Silent;
            }
            _ => {}
        }
    }

    /// When [`Connection::handle_timeout`] has something to do.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        match self.wire {
            Wire::Open => {
                let idle = self.idle_deadline();
                Some(self.send.timeout(&self.round_trip).map_or(idle, |at| at.min(idle)))
            }
            Wire::Lingering { until, .. } | Wire::Stopping { until, .. } => Some(until),
            Wire::Silent => None,
        }
    }

    /// Consumes the next message, which acknowledges it.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Bytes> {
        let message = self.receive.pop()?;
        self.consumed = true;
        self.inbound.count(now, message.len());
        self.on_consumed(now);
        self.check_finished(now);
        Some(message)
    }

    /// Takes what an acknowledgment has brought, of segments up to `highest`.
    fn on_acknowledged(&mut self, now: Instant, acknowledged: Acknowledged, highest: Seq, withheld: bool) {
        if withheld && !self.withholds_last_ack() {
            self.acknowledgment.by(now);
        }
        if acknowledged.count == 0 {
            return;
        }
        self.acknowledged = true;
        self.round_trip.end_back_off();
        if let Some(sample) = acknowledged.round_trip {
            self.round_trip.sample(now, sample);
            self.congestion.on_sample(sample);
        }
        if self.send.has_reports() {
            return;
        }
        if let Some(bound) = acknowledged.at_most {
            self.round_trip.sample_at_most(bound);
            self.congestion.on_sample_at_most(bound);
        }
        let (newest, minimum) = (self.send.newest(), self.round_trip.minimum());
        if let Some(bound) = self.congestion.on_acknowledged(acknowledged.count, highest, newest, minimum) {
            // A long bound tells how long the repair of a loss took, or for how long a reader paused. A timeout
            // learned from that would be longer with every loss.
            let most = minimum.unwrap_or_default() * 4 + Duration::from_millis(20);
            self.round_trip.sample(now, bound.min(most));
        }
        self.set_pace();
    }

    fn on_data(
        &mut self,
        now: Instant,
        seq: Seq,
        part: Option<Part>,
        payload: Bytes,
        shutdown: bool,
    ) -> Insertion {
        self.stats.received += 1;
        self.received_data = true;
        self.acknowledgment.on_data();
        let ack = self.receive.ack();
        self.first_message.note(seq, &payload);
        let had_hole = self.receive.has_hole();
        let insertion = match part {
            Some(part) => self.receive.insert_part(seq, part, payload, shutdown, self.memory),
            None => self.receive.insert(seq, payload, shutdown, self.memory),
        };
        match insertion {
            // A reference peer is told of what is consumed, and no sooner.
            // A gap is told of at once, but not each packet after it: the peer goes by when they were sent.
            Insertion::InOrder | Insertion::OutOfOrder if self.form.is_tagged() => {
                let is_pair = self.stats.received <= FIRST_FLIGHT && self.acknowledgment.has_news();
                self.acknowledgment.on_news(now, is_pair || self.receive.has_hole() != had_hole);
            }
            Insertion::InOrder | Insertion::Part => {}
            // At once, since it tells the peer of the loss.
            Insertion::OutOfOrder => self.acknowledgment.by(now),
            // The acknowledgment may have been lost; but copies come in groups.
            Insertion::Duplicate | Insertion::Dropped => {
                self.stats.duplicates += 1;
                let delay = if self.form.is_tagged() { COPY_ACK_DELAY } else { ACK_DELAY };
                self.acknowledgment.by(now + delay);
            }
        }
        if !had_hole || self.receive.ack() != ack || self.receive.is_readable() {
            self.gap_since = now;
        }
        if self.receive.ack() != ack {
            self.on_consumed(now); // an empty message or the shutdown, consumed by themselves
        }
        insertion
    }

    /// The acknowledgment to send. Before there is data, only extended packets say that there was none.
    fn received(&self) -> Option<Acknowledgment> {
        if !self.received_data && !self.form.is_tagged() {
            return None;
        }
        let (ack, withheld) = (self.receive.ack(), self.withholds_last_ack());
        let consumed = if withheld { ack.previous() } else { ack };
        if !self.form.is_tagged() {
            let (window, ranges) = (Acknowledgment::NO_LIMIT, Ranges::new());
            return Some(Acknowledgment { consumed, window, ranges });
        }
        let window = u16::try_from(self.receive.window(self.memory)).unwrap_or(Acknowledgment::NO_LIMIT);
        let mut ranges = self.receive.ranges();
        ranges.extend(withheld.then_some(Range { missing: 0, received: 1 }));
        Some(Acknowledgment { consumed, window, ranges })
    }

    fn on_consumed(&mut self, now: Instant) {
        if self.receive.is_finished() {
            self.send.hold_shutdown();
            self.acknowledgment.by(now);
        } else if self.form.is_tagged() {
            self.acknowledgment.by(now + ACK_DELAY); // the window has opened
        } else {
            self.on_news(now);
        }
    }

    /// There is one message more to acknowledge.
    fn on_news(&mut self, now: Instant) {
        self.acknowledgment.on_news(now, self.receive.has_hole());
    }

    fn idle_deadline(&self) -> Instant {
        self.heard.unwrap_or(self.created) + self.idle_timeout
    }

    fn keep_alive(&self) -> Duration {
        if self.repeats_last_ack() {
            return self.last_packet_interval(self.last_acks).min(self.keep_alive);
        }
        if self.send.waits() {
            return self.idle_timeout; // a stream that asks whether the peer is there does so for all
        }
        if self.heard.is_some() || self.role == Role::Listener || self.probes == 0 {
            return self.resting_keep_alive();
        }
        PROBE_INTERVAL.saturating_mul(1 << (self.probes - 1).min(8)).min(self.keep_alive)
    }

    fn set_pace(&mut self) {
        self.pacer.set_rate(self.congestion.window(), self.round_trip.minimum());
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;

//! A model of the reference daemon's MSP, as the peer that ours has to live with (`spec/10` B).
//!
//! It is slow where that is: five messages on their way, 1500 ms before a retransmission, no acknowledgment of
//! what it has already, none when its user consumes late, and no lingering after the end. It knows no limit on
//! what it receives. What it does not model is the reference's crashes.

use crate::msp::{CloseReason, Event, StreamId};
use crate::wire::msp::Repr;
use crate::{Addr, Instant, Port, Seq16};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

/// A message is refused when more than this many are unacknowledged (`spec/10` A.10).
const WINDOW: usize = 4;
/// Retransmission and keep-alive alike (`spec/10` A.7, A.8).
const INTERVAL: Duration = Duration::from_millis(1500);
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an initiator waits for data before it makes itself known.
const FIRST_DELAY: Duration = Duration::from_millis(10);
/// How long its user takes to hand over a message. Meanwhile nothing that arrives is looked at (observed).
const SEND_TIME: Duration = Duration::from_micros(50);
/// Its user is told of a change, and this long after it was told last (`spec/10` B).
const REMINDER: Duration = Duration::from_secs(1);
/// The clock of the reference counts milliseconds, and it acts when one has passed.
const CLOCK: Duration = Duration::from_millis(1);

/// All MSP streams of a node that behaves as the reference daemon does. The verbs are those of
/// [`Endpoint`](crate::msp::Endpoint).
#[derive(Debug, Default)]
pub struct Reference {
    now: Instant,
    listeners: BTreeSet<Port>,
    streams: BTreeMap<StreamId, Connection>,
    index: BTreeMap<(Port, Addr), StreamId>,
    events: VecDeque<Event>,
    /// Answers to packets of no stream.
    stops: VecDeque<(Port, Addr)>,
    next_id: u64,
    next_port: u32,
}

#[derive(Debug)]
struct Connection {
    local: Port,
    peer: Addr,
    initiator: bool,
    heard: bool,
    received_data: bool,
    /// Sent and unacknowledged, or not sent yet.
    queue: VecDeque<Outgoing>,
    next_seq: Seq16,
    shut_down: bool,
    /// Received and not consumed, by distance from `expected`.
    received: BTreeMap<u16, (Bytes, bool)>,
    expected: Seq16,
    peer_shut_down: bool,
    /// The last acknowledgment that was sent.
    last_ack: Option<Seq16>,
    acknowledge_at: Instant,
    times_out_at: Instant,
    /// The user was refused.
    blocked: bool,
    /// The user is at work until then, and what it was told last, and when.
    busy_until: Instant,
    told_writable: bool,
    told_at: Instant,
    closed: Option<CloseReason>,
    /// A STOP has to be sent.
    stop: bool,
}

#[derive(Debug)]
struct Outgoing {
    seq: Seq16,
    payload: Bytes,
    shutdown: bool,
    /// When it is handed over.
    ready: Instant,
    sent: Option<Instant>,
}

impl Reference {
    /// A node without streams.
    #[must_use]
    pub fn new() -> Self {
        Self { next_port: 256, ..Self::default() }
    }

    /// Accepts streams to `port`.
    pub fn listen(&mut self, port: Port) {
        self.listeners.insert(port);
    }

    /// Opens a stream, from port 257 on (`spec/20` section 5).
    pub fn connect(&mut self, now: Instant, remote: Addr) -> StreamId {
        self.advance(now);
        self.next_port += 1;
        self.open(Port::new(self.next_port).unwrap_or(remote.port), remote, true)
    }

    /// Queues a message; `false` if it is refused. Once there is room for two, [`Event::Writable`] follows.
    pub fn send(&mut self, id: StreamId, message: Bytes) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else { return false };
        let open = stream.closed.is_none() && !stream.shut_down;
        if !open || stream.queue.len() > WINDOW {
            if open && !stream.blocked {
                (stream.blocked, stream.told_at) = (true, self.now);
            }
            return false;
        }
        stream.busy_until = stream.busy_until.max(self.now) + SEND_TIME;
        stream.push(message, false);
        true
    }

    /// Consumes the next message. Nobody is told.
    pub fn recv(&mut self, id: StreamId) -> Option<Bytes> {
        let message = self.streams.get_mut(&id)?.consume()?;
        self.settle(id);
        Some(message)
    }

    /// Ends this direction: the last message says so if it was not sent yet, else an empty one does.
    pub fn finish(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id).filter(|it| it.closed.is_none() && !it.shut_down) else {
            return;
        };
        match stream.queue.back_mut().filter(|last| last.sent.is_none()) {
            Some(last) => last.shutdown = true,
            None => stream.push(Bytes::new(), true),
        }
        stream.shut_down = true;
        self.settle(id);
    }

    /// Aborts a stream: one STOP, and everything is forgotten.
    pub fn reset(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id).filter(|it| it.closed.is_none()) {
            stream.close(CloseReason::Reset);
            stream.received.clear();
            stream.stop = true;
        }
    }

    /// Takes a datagram.
    pub fn handle_datagram(&mut self, now: Instant, from: Addr, to: Port, payload: &[u8]) {
        self.advance(now);
        let Ok(packet) = Repr::parse(payload) else { return };
        let id = match (self.index.get(&(to, from)), packet) {
            (Some(id), _) => *id,
            (None, Repr::Stop) => return,
            (None, Repr::Bare { first } | Repr::Ack { first, .. } | Repr::Data { first, .. }) => {
                if first && self.listeners.contains(&to) {
                    let id = self.open(to, from, false);
                    self.events.push_back(Event::Accepted { stream: id, peer: from, port: to });
                    id
                } else {
                    // Nothing answers on a port that nobody has bound (`spec/10` A.5).
                    if self.listeners.contains(&to) || self.index.keys().any(|(port, _)| *port == to) {
                        self.stops.push_back((to, from));
                    }
                    return;
                }
            }
        };
        if let Some(stream) = self.streams.get_mut(&id) {
            let was = (stream.heard, stream.consumable(), stream.peer_shut_down);
            stream.handle(self.now, packet);
            if !was.0 && stream.initiator && stream.heard {
                self.events.push_back(Event::Connected { stream: id });
            }
            if stream.consumable() > was.1 || stream.peer_shut_down && !was.2 {
                self.events.push_back(Event::Readable { stream: id });
            }
        }
        self.settle(id);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        for id in self.streams.keys().copied().collect::<Vec<_>>() {
            if let Some(stream) = self.streams.get_mut(&id)
                && stream.closed.is_none()
                && self.now >= stream.times_out_at
            {
                let reason = if stream.heard { CloseReason::TimedOut } else { CloseReason::Unreachable };
                stream.close(reason);
            }
            self.settle(id);
        }
    }

    /// The next packet, with the port that it is from and where it goes.
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<(Port, Addr)> {
        self.advance(now);
        buffer.clear();
        if let Some(stop) = self.stops.pop_front() {
            Repr::Stop.emit(buffer);
            return Some(stop);
        }
        let now = self.now;
        let (id, stream) =
            self.streams.iter_mut().find(|(_, it)| it.transmit_at().is_some_and(|at| at <= now))?;
        let (id, outgoing) = (*id, (stream.local, stream.peer));
        stream.transmit(now, buffer);
        self.settle(id);
        Some(outgoing)
    }

    /// What has happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When something is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.events.is_empty() || !self.stops.is_empty() {
            return Some(self.now);
        }
        let timers = self.streams.values().flat_map(|stream| [stream.transmit_at(), stream.timeout()]);
        timers.flatten().min().map(|at| at.max(self.now))
    }

    /// Whether no stream exists.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    fn open(&mut self, local: Port, peer: Addr, initiator: bool) -> StreamId {
        let id = StreamId(self.next_id);
        self.next_id += 1;
        let connection = Connection {
            local,
            peer,
            initiator,
            heard: false,
            received_data: false,
            queue: VecDeque::new(),
            next_seq: Seq16(0),
            shut_down: false,
            received: BTreeMap::new(),
            expected: Seq16(0),
            peer_shut_down: false,
            last_ack: None,
            acknowledge_at: self.now + FIRST_DELAY,
            times_out_at: self.now + IDLE_TIMEOUT,
            blocked: false,
            busy_until: self.now,
            told_writable: true,
            told_at: self.now,
            closed: None,
            stop: false,
        };
        self.streams.insert(id, connection);
        self.index.insert((local, peer), id);
        id
    }

    /// Ends a stream that has come to its end, and forgets it.
    fn settle(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if stream.tell(self.now) {
            self.events.push_back(Event::Writable { stream: id });
        }
        stream.check_finished();
        // What had arrived in order is delivered before the end is reported.
        if let Some(reason) = stream.closed
            && stream.consumable() == 0
            && !stream.stop
        {
            self.index.remove(&(stream.local, stream.peer));
            self.streams.remove(&id);
            self.events.push_back(Event::Closed { stream: id, reason });
        }
    }
}

impl Outgoing {
    fn transmit_at(&self) -> Instant {
        self.sent.map_or(self.ready, |sent| sent + INTERVAL + CLOCK)
    }
}

impl Connection {
    fn push(&mut self, payload: Bytes, shutdown: bool) {
        let (seq, ready) = (self.next_seq, self.busy_until);
        self.queue.push_back(Outgoing { seq, payload, shutdown, ready, sent: None });
        self.next_seq = self.next_seq.next();
    }

    fn handle(&mut self, now: Instant, packet: Repr<'_>) {
        if self.closed.is_some() {
            return;
        }
        self.times_out_at = now + IDLE_TIMEOUT;
        let first_heard = !core::mem::replace(&mut self.heard, true);
        match packet {
            Repr::Stop => {
                let refused = self.initiator && !self.received_data && self.next_seq != Seq16(0);
                self.close(if refused { CloseReason::Refused } else { CloseReason::PeerReset });
            }
            Repr::Bare { .. } => {}
            Repr::Ack { ack, .. } => {
                if first_heard && !self.initiator {
                    self.acknowledge_at = now + CLOCK;
                }
                self.acknowledge(ack);
            }
            Repr::Data { ack, seq, shutdown, payload, .. } => {
                self.received_data = true;
                self.acknowledge(ack);
                let distance = seq - self.expected;
                let known = self.received.contains_key(&(distance as u16));
                if distance >= 0 && !known && !self.peer_shut_down {
                    self.received.insert(distance as u16, (Bytes::copy_from_slice(payload), shutdown));
                    self.acknowledge_at = now + CLOCK;
                    self.skip_empty();
                }
            }
        }
    }

    /// No upper bound is checked: what was never sent is acknowledged, too (`spec/10` A.3).
    fn acknowledge(&mut self, ack: Option<Seq16>) {
        let Some(ack) = ack else { return };
        self.queue.retain(|outgoing| outgoing.seq - ack > 0);
    }

    /// Messages that can be consumed.
    fn consumable(&self) -> usize {
        (0..).take_while(|n| self.received.contains_key(n)).count()
    }

    fn consume(&mut self) -> Option<Bytes> {
        let (payload, shutdown) = self.received.remove(&0)?;
        self.expected = self.expected.next();
        self.received =
            core::mem::take(&mut self.received).into_iter().map(|(n, it)| (n.wrapping_sub(1), it)).collect();
        if shutdown {
            self.peer_shut_down = true;
            self.received.clear();
        }
        self.skip_empty();
        Some(payload)
    }

    /// An empty message delivers nothing.
    fn skip_empty(&mut self) {
        if self.received.get(&0).is_some_and(|(payload, _)| payload.is_empty()) {
            self.consume();
        }
    }

    fn transmit_at(&self) -> Option<Instant> {
        if self.stop {
            return Some(Instant::ZERO);
        }
        if self.closed.is_some() {
            return None;
        }
        let data = self.queue.iter().map(Outgoing::transmit_at);
        data.min().map_or(Some(self.acknowledge_at), |at| Some(at.min(self.acknowledge_at)))
    }

    fn timeout(&self) -> Option<Instant> {
        let told = self.tell_at();
        self.closed.is_none().then(|| told.map_or(self.times_out_at, |at| at.min(self.times_out_at)))
    }

    fn is_writable(&self) -> bool {
        self.queue.len() < WINDOW
    }

    /// When the user is to be told something.
    fn tell_at(&self) -> Option<Instant> {
        let changed = (self.is_writable() != self.told_writable).then_some(self.busy_until);
        changed.or_else(|| self.blocked.then_some(self.busy_until.max(self.told_at + REMINDER)))
    }

    /// Whether the user is told now that it can write. It learns of changes only: a window that it has filled, and
    /// that was opened again before this was looked at, stays shut until the reminder.
    fn tell(&mut self, now: Instant) -> bool {
        if self.closed.is_some() || self.tell_at().is_none_or(|at| now < at) {
            return false;
        }
        (self.told_writable, self.told_at) = (self.is_writable(), now);
        let open = self.blocked && self.queue.len() <= WINDOW;
        self.blocked &= !open;
        open
    }

    fn transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) {
        if core::mem::take(&mut self.stop) {
            return Repr::Stop.emit(buffer);
        }
        let first = self.initiator && !self.heard;
        let ack = self.received_data.then(|| self.expected.previous());
        self.last_ack = ack;
        self.acknowledge_at = now + INTERVAL;
        let due = |it: &&mut Outgoing| it.transmit_at() <= now;
        match self.queue.iter_mut().find(due) {
            Some(outgoing) => {
                outgoing.sent = Some(now);
                let (seq, shutdown, payload) = (outgoing.seq, outgoing.shutdown, &outgoing.payload[..]);
                Repr::Data { first, ack, seq, shutdown, payload }.emit(buffer);
            }
            None => Repr::Ack { first, ack }.emit(buffer),
        }
    }

    /// The three conditions of `spec/10` A.6.
    fn check_finished(&mut self) {
        let told = self.last_ack == Some(self.expected.previous());
        let done = self.shut_down && self.peer_shut_down && self.queue.is_empty() && self.received.is_empty();
        if self.closed.is_none() && done && told {
            self.closed = Some(CloseReason::Finished);
        }
    }

    /// Only what can be consumed at once is left.
    fn close(&mut self, reason: CloseReason) {
        self.closed = Some(reason);
        self.queue.clear();
        let consumable = self.consumable();
        self.received.retain(|n, _| usize::from(*n) < consumable);
    }
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;

//! Which stream is due when, and what is to be reported about it.

use super::carriage::LARGE_MESSAGE;
use super::connection::Connection;
use super::event::Event;
use super::paths::Paths;
use super::peers::Peers;
use super::receive::MESSAGE_OVERHEAD;
use super::stream::StreamId;
use super::turns::{Room, Turn, Turns};
use crate::{Addr, Instant, Sid};
use alloc::collections::{BTreeSet, VecDeque};

/// A connection with what the endpoint has noted about it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) connection: Connection,
    /// A send was refused since the last [`Event::Writable`].
    pub(super) wants_to_write: bool,
    /// Bytes of the first message that were [read](super::Stream::read).
    pub(super) read: usize,
    /// The user wants to hear no more than that it has closed.
    pub(super) abandoned: bool,
    /// [`Event::Closed`] was queued: the user knows the stream no more.
    pub(super) reported: bool,
    connected: bool,
    peer_finished: bool,
    /// An [`Event::Readable`] is queued.
    readable: bool,
    /// The first message that has not been announced.
    announced: usize,
    /// An [`Event::Writable`] is queued.
    writable: bool,
    /// It is not half-open any more, or was opened here.
    pub(super) used: bool,
    /// What is in [`Schedule`] for it.
    timer: Option<Instant>,
    turn: Option<Turn>,
    paced: Option<Turn>,
    call: Option<Instant>,
    live: bool,
    waits_for_memory: Option<u64>,
    received: usize,
    sending: usize,
    /// Bytes that it has sent, as [`Turns`] counts them; at once, and when the way was open.
    sent: u64,
    sent_paced: u64,
}

impl Slot {
    pub(super) const fn new(connection: Connection, accepted: bool) -> Self {
        Self {
            connection,
            wants_to_write: false,
            read: 0,
            abandoned: false,
            reported: false,
            connected: accepted,
            peer_finished: false,
            readable: false,
            announced: 0,
            writable: false,
            used: !accepted,
            timer: None,
            turn: None,
            paced: None,
            call: None,
            live: true,
            waits_for_memory: None,
            received: 0,
            sending: 0,
            sent: 0,
            sent_paced: 0,
        }
    }

    /// Nothing refers to it any more.
    pub(super) fn is_dead(&self) -> bool {
        self.reported && self.connection.is_silent()
    }
}

/// Timers, streams with something to send, events, and what all streams have together.
#[derive(Debug)]
pub(super) struct Schedule {
    /// The last time seen.
    pub(super) now: Instant,
    timers: BTreeSet<(Instant, StreamId)>,
    /// Streams that have something to send now, and those with segments that wait until the way to their peer is open.
    turns: Turns,
    paced: Turns,
    /// Streams that may be in a call, by the other end and when they are due.
    calls: BTreeSet<(Addr, Instant, StreamId)>,
    events: VecDeque<Event>,
    /// Bytes of received messages that all streams keep.
    pub(super) received: usize,
    /// Bytes of messages to send that all streams keep, and how many there may be.
    sending: usize,
    send_memory: usize,
    /// Streams that wait until that is less, in the order of their numbers.
    waiting: VecDeque<(u64, StreamId)>,
    next_number: u64,
    pub(super) peers: Peers,
    pub(super) paths: Paths,
}

impl Schedule {
    /// What is kept for each stream beside its messages.
    pub(super) const STREAM_BYTES: usize = 3072;
    /// Events that are queued for one stream at most: one of each kind.
    const EVENTS: usize = 6;

    pub(super) fn new(send_memory: usize) -> Self {
        Self {
            now: Instant::ZERO,
            timers: BTreeSet::new(),
            turns: Turns::default(),
            paced: Turns::default(),
            calls: BTreeSet::new(),
            events: VecDeque::new(),
            received: 0,
            sending: 0,
            send_memory,
            waiting: VecDeque::new(),
            next_number: 0,
            peers: Peers::default(),
            paths: Paths::default(),
        }
    }

    /// Takes `now`, which never goes back.
    pub(super) fn advance(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    /// Notes everything that has changed about a stream. Called after each change.
    pub(super) fn settle(&mut self, id: StreamId, slot: &mut Slot) {
        self.account(slot);
        self.report(id, slot);
        self.count(slot);
        let transmit = slot.connection.transmit_at();
        let ready = transmit.is_some_and(|at| at <= self.now);
        if ready && slot.turn.is_none() {
            slot.turn = Some(self.turns.push(slot.connection.peer.sid, id, slot.sent));
        }
        let abandoned = core::mem::take(&mut slot.connection.abandoned);
        if abandoned > 0
            && let Some(path) = self.paths.get_mut(&slot.connection.peer.sid)
        {
            path.rate.on_forgotten(abandoned);
        }
        if slot.connection.wants_turn() && slot.paced.is_none() {
            slot.paced = Some(self.paced.push(slot.connection.peer.sid, id, slot.sent_paced));
        }
        let (call, peer) = (slot.connection.call_at(), slot.connection.peer);
        if call != slot.call {
            self.calls.extend(call.map(|at| (peer, at, id)));
            if let Some(old) = core::mem::replace(&mut slot.call, call) {
                self.calls.remove(&(peer, old, id));
            }
        }
        let timer = if slot.is_dead() {
            Some(self.now) // to be removed
        } else {
            let later = transmit.filter(|_| !ready);
            [slot.connection.timeout(), later].into_iter().flatten().min()
        };
        if timer != slot.timer {
            self.timers.extend(timer.map(|at| (at, id)));
            if let Some(old) = core::mem::replace(&mut slot.timer, timer) {
                self.timers.remove(&(old, id));
            }
        }
    }

    pub(super) fn push_event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    pub(super) fn pop_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The user has taken an event of this stream, and is told of what happens after it.
    pub(super) fn event_taken(slot: &mut Slot, event: Event) {
        match event {
            Event::Readable { .. } => slot.readable = false,
            Event::Writable { .. } => slot.writable = false,
            _ => {}
        }
    }

    /// Whether the queue is as long as `streams` streams can make it: the user does not take events.
    pub(super) fn is_overfull(&self, streams: usize) -> bool {
        self.events.len() >= streams.saturating_mul(Self::EVENTS)
    }

    /// Bytes of messages to send that all streams together may still keep.
    pub(super) const fn send_memory_left(&self) -> usize {
        self.send_memory.saturating_sub(self.sending)
    }

    /// Messages that can be queued now.
    pub(super) fn capacity(&self, connection: &Connection) -> usize {
        connection.capacity(self.send_memory_left())
    }

    /// A send was refused: [`Event::Writable`] is to follow.
    pub(super) fn refuse_send(&mut self, id: StreamId, slot: &mut Slot) {
        slot.wants_to_write = true;
        self.settle(id, slot);
    }

    /// The next stream that waits for memory, once there is some.
    pub(super) fn pop_waiting(&mut self) -> Option<StreamId> {
        if self.is_memory_awaited() { self.waiting.pop_front().map(|(_, id)| id) } else { None }
    }

    /// The stream is to be told now that it can send, if it can.
    pub(super) fn waiting_taken(&mut self, id: StreamId, slot: &mut Slot) {
        slot.waits_for_memory = None;
        self.settle(id, slot);
    }

    fn is_memory_awaited(&self) -> bool {
        !self.waiting.is_empty() && self.send_memory_left() >= LARGE_MESSAGE + MESSAGE_OVERHEAD
    }

    /// The next stream in turn that has something to send, and room for it.
    pub(super) fn next_ready(&self, room: impl Fn(StreamId) -> Room) -> Option<StreamId> {
        let open = |peer: &Sid| self.paths.get(peer).is_some_and(|path| path.is_open(self.now));
        self.turns.next(|_| true, &room).or_else(|| self.paced.next(open, &room))
    }

    /// When the next way opens on which streams wait, unless it is open.
    pub(super) fn next_open(&self) -> Option<Instant> {
        let paths = self.paced.peers().filter_map(|peer| self.paths.get(peer));
        paths.filter_map(|path| path.opens_at()).filter(|at| *at > self.now).min()
    }

    /// Whether streams wait until the way to this peer is open.
    pub(super) fn is_awaited(&self, peer: &Sid) -> bool {
        self.paced.has(peer)
    }

    /// It is the turn of a stream, which sends then. Gives what it has sent in such turns, for the caller to add to and
    /// to settle the stream.
    pub(super) fn take_turn<'a>(&mut self, slot: &'a mut Slot) -> (&'a mut Connection, &'a mut u64) {
        let Slot { connection, turn, paced, sent, sent_paced, .. } = slot;
        let peer = connection.peer.sid;
        if let Some(turn) = turn.take() {
            *sent = self.turns.take(peer, turn);
            (connection, sent)
        } else if let Some(turn) = paced.take() {
            *sent_paced = self.paced.take(peer, turn);
            (connection, sent_paced)
        } else {
            (connection, sent)
        }
    }

    /// Streams to this peer that may be in a call and are due by then, those that have waited longest first.
    pub(super) fn idle_until(&self, peer: Addr, until: Instant) -> impl Iterator<Item = StreamId> {
        let range = (peer, Instant::ZERO, StreamId(0))..=(peer, until, StreamId(u64::MAX));
        self.calls.range(range).map(|(_, _, id)| *id)
    }

    /// A stream whose timer is due.
    pub(super) fn due(&self) -> Option<StreamId> {
        self.timers.first().filter(|(at, _)| *at <= self.now).map(|(_, id)| *id)
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty() || self.is_memory_awaited()
    }

    /// Forgets a stream.
    pub(super) fn remove(&mut self, id: StreamId, slot: &Slot) {
        self.received -= slot.received;
        self.sending -= slot.sending;
        self.peers.on_received(&slot.connection.peer.sid, slot.received, 0);
        if let Some(number) = slot.waits_for_memory {
            let place = self.waiting.binary_search_by_key(&number, |(number, _)| *number);
            place.ok().map(|place| self.waiting.remove(place));
        }
        if let Some(at) = slot.timer {
            self.timers.remove(&(at, id));
        }
        if let Some(at) = slot.call {
            self.calls.remove(&(slot.connection.peer, at, id));
        }
        if let Some(turn) = slot.turn {
            self.turns.remove(slot.connection.peer.sid, turn);
        }
        if let Some(turn) = slot.paced {
            self.paced.remove(slot.connection.peer.sid, turn);
        }
        self.paths.leave(self.now, &slot.connection.peer.sid);
    }

    /// Brings the sums up to date.
    fn account(&mut self, slot: &mut Slot) {
        let Slot { connection, .. } = slot;
        let peer = &connection.peer.sid;
        let (received, sending) = (connection.receive.bytes(), connection.send.bytes());
        if received != slot.received {
            self.peers.on_received(peer, slot.received, received);
            self.received = self.received + received - slot.received;
            slot.received = received;
        }
        self.sending = self.sending + sending - slot.sending;
        slot.sending = sending;
    }

    /// Counts the stream for its peer until the user knows that it has ended: what nobody has read yet still
    /// takes a place.
    fn count(&mut self, slot: &mut Slot) {
        let peer = &slot.connection.peer.sid;
        if !slot.used && (slot.connection.is_used() || slot.reported) {
            slot.used = true;
            self.peers.on_used(peer);
        }
        if slot.live && slot.reported {
            slot.live = false;
            self.peers.on_closed(self.now, peer);
        }
    }

    fn report(&mut self, stream: StreamId, slot: &mut Slot) {
        if slot.reported {
            return;
        }
        let Slot { connection, .. } = slot;
        let in_order = connection.receive.in_order();
        if !slot.connected && connection.has_heard_peer() {
            slot.connected = true;
            self.events.push_back(Event::Connected { stream });
        }
        if in_order > slot.announced && !slot.readable && !slot.abandoned {
            slot.readable = true;
            self.events.push_back(Event::Readable { stream });
        }
        slot.announced = in_order;
        if !slot.peer_finished && connection.receive.is_complete() {
            slot.peer_finished = true;
            self.events.push_back(Event::PeerFinished { stream });
        }
        if slot.wants_to_write && !slot.writable {
            // Messages that wait to be read put off the report that it has failed, which a writer must not wait for.
            let failed_unread = connection.closed().is_some() && connection.receive.is_readable();
            if connection.capacity(self.send_memory_left()) > 0 || failed_unread {
                slot.wants_to_write = false;
                slot.writable = true;
                self.events.push_back(Event::Writable { stream });
            } else if connection.capacity(usize::MAX) > 0 && slot.waits_for_memory.is_none() {
                slot.waits_for_memory = Some(self.next_number);
                self.waiting.push_back((self.next_number, stream));
                self.next_number += 1;
            }
        }
        if let Some(reason) = connection.closed()
            && (slot.abandoned || !connection.receive.is_readable())
        {
            slot.reported = true;
            self.events.push_back(Event::Closed { stream, reason });
        }
    }
}

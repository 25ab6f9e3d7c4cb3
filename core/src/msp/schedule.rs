//! Which stream is due when, and what is to be reported about it.

use super::connection::Connection;
use super::event::Event;
use super::stream::StreamId;
use crate::Instant;
use alloc::collections::{BTreeSet, VecDeque};

/// A connection with what the endpoint has noted about it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) connection: Connection,
    /// A send was refused since the last [`Event::Writable`].
    pub(super) wants_to_write: bool,
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
    /// What is in [`Schedule::timers`], [`Schedule::ready`] and [`Schedule::received`] for it.
    timer: Option<Instant>,
    ready: bool,
    accounted: usize,
}

impl Slot {
    pub(super) const fn new(connection: Connection, connected: bool) -> Self {
        Self {
            connection,
            wants_to_write: false,
            abandoned: false,
            reported: false,
            connected,
            peer_finished: false,
            readable: false,
            announced: 0,
            timer: None,
            ready: false,
            accounted: 0,
        }
    }

    /// Nothing refers to it any more.
    pub(super) fn is_dead(&self) -> bool {
        self.reported && self.connection.is_silent()
    }
}

/// Timers, streams with something to send, and events.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// The last time seen.
    pub(super) now: Instant,
    timers: BTreeSet<(Instant, StreamId)>,
    /// Streams that have something to send now, in turn.
    ready: VecDeque<StreamId>,
    events: VecDeque<Event>,
    /// Bytes of received messages that all streams keep.
    pub(super) received: usize,
}

impl Schedule {
    /// Takes `now`, which never goes back.
    pub(super) fn advance(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    /// Notes everything that has changed about a stream. Called after each change.
    pub(super) fn settle(&mut self, id: StreamId, slot: &mut Slot) {
        self.report(id, slot);
        self.received = self.received + slot.connection.receive.bytes() - slot.accounted;
        slot.accounted = slot.connection.receive.bytes();
        let transmit = slot.connection.transmit_at();
        let ready = transmit.is_some_and(|at| at <= self.now);
        if ready && !slot.ready {
            self.ready.push_back(id);
            slot.ready = true;
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

    /// The user is told of what becomes readable after this.
    pub(super) fn readable_taken(slot: &mut Slot) {
        slot.readable = false;
    }

    /// The next stream in turn that has something to send. The caller settles it when it has sent.
    pub(super) fn pop_ready(&mut self) -> Option<StreamId> {
        self.ready.pop_front()
    }

    /// The stream is not in turn any more.
    pub(super) fn ready_taken(slot: &mut Slot) {
        slot.ready = false;
    }

    /// Puts a stream that could not send back, in last place.
    pub(super) fn push_ready(&mut self, id: StreamId) {
        self.ready.push_back(id);
    }

    pub(super) fn ready(&self) -> impl ExactSizeIterator<Item = StreamId> {
        self.ready.iter().copied()
    }

    /// A stream whose timer is due.
    pub(super) fn due(&self) -> Option<StreamId> {
        self.timers.first().filter(|(at, _)| *at <= self.now).map(|(_, id)| *id)
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Forgets a stream.
    pub(super) fn remove(&mut self, id: StreamId, slot: &Slot) {
        self.received -= slot.accounted;
        if let Some(at) = slot.timer {
            self.timers.remove(&(at, id));
        }
        if slot.ready {
            self.ready.retain(|ready| *ready != id);
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
        if slot.wants_to_write && connection.capacity() > 0 && connection.closed().is_none() {
            slot.wants_to_write = false;
            self.events.push_back(Event::Writable { stream });
        }
        if let Some(reason) = connection.closed()
            && (slot.abandoned || !connection.receive.is_readable())
        {
            slot.reported = true;
            self.events.push_back(Event::Closed { stream, reason });
        }
    }
}

//! All streams of one node.

use super::admission::{ENDED_EACH, Ended, EndpointStats};
use super::config::Config;
use super::connection::{Connection, Role};
use super::event::{CloseReason, ConnectError, DatagramError, Event, ListenError};
use super::form::{Form, MAX_PACKET_SENT, Packet, Verdict};
use super::receive::MAX_PACKET;
use super::refusals::Refusals;
use super::replay::Replays;
use super::roll_call::Answers;
use super::schedule::{Schedule, Slot};
use super::stream::{Stream, StreamId};
use super::turns::Room;
use crate::wire::roll;
use crate::{Addr, Datagram, Instant, Port, Protection, Rng, Sid};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

/// Ports up to this one belong to services of the node (`spec/60` section 1).
const LAST_SERVICE_PORT: u32 = 18;
/// Ports that streams opened here start from. The first is random, so that a node that restarts does not meet its
/// old connections (`spec/10` A.5), and each is a random step after the last, so that none comes again before
/// all peers have forgotten it. Random ones would: of 100,000 streams, some tens would meet an earlier one.
const EPHEMERAL_PORTS: core::ops::Range<u32> = 1 << 14..1 << 27;
const MAX_PORT_STEP: u64 = 64;

/// A datagram to be sent, encrypted; its bytes are in the buffer given to [`Endpoint::poll_transmit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct Outgoing {
    /// The port it comes from.
    pub from: Port,
    /// Where it goes.
    pub to: Addr,
    /// The stream knows soon of a loss on the way, and sends what was lost again.
    pub repairs: bool,
}

/// All MSP streams of one node: a state machine without clock, sockets or randomness of its own.
///
/// Feed it with [`handle_datagram`](Self::handle_datagram) and [`handle_timeout`](Self::handle_timeout);
/// after that and after every call of a [`Stream`], take from [`poll_transmit`](Self::poll_transmit) and
/// [`poll_event`](Self::poll_event) until they are empty, then sleep until
/// [`poll_timeout`](Self::poll_timeout).
#[derive(Debug)]
pub struct Endpoint {
    pub(super) config: Config,
    pub(super) rng: Rng,
    /// The port of the last stream that was opened here, above the first of [`EPHEMERAL_PORTS`].
    last_port: u32,
    pub(super) listeners: BTreeSet<Port>,
    /// See [`Endpoint::has_changed_ports`].
    ports_changed: bool,
    pub(super) slots: BTreeMap<StreamId, Box<Slot>>,
    pub(super) index: BTreeMap<(Port, Addr), StreamId>,
    pub(super) schedule: Schedule,
    /// Streams that were accepted and have ended lately, the latest first.
    pub(super) ended: VecDeque<Ended>,
    replays: Replays,
    pub(super) refusals: Refusals,
    pub(super) answers: Answers,
    pub(super) stats: EndpointStats,
    /// When each limit was last reported.
    pub(super) reported: [Option<Instant>; 5],
    next_id: u64,
}

impl Endpoint {
    /// An endpoint without streams. `seed` must come from a random source, or from a test's seed.
    #[must_use]
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        let config = config.clamped();
        let mut rng = Rng::new(seed);
        let ports = u64::from(EPHEMERAL_PORTS.end - EPHEMERAL_PORTS.start);
        Self {
            replays: Replays::new(config.replay_memory),
            schedule: Schedule::new(config.send_memory),
            config,
            last_port: rng.below(ports) as u32,
            rng,
            listeners: BTreeSet::new(),
            ports_changed: false,
            slots: BTreeMap::new(),
            index: BTreeMap::new(),
            ended: VecDeque::new(),
            refusals: Refusals::default(),
            answers: Answers::default(),
            stats: EndpointStats::default(),
            reported: [None; 5],
            next_id: 0,
        }
    }

    /// Accepts streams to `port` from now on; each is reported by [`Event::Accepted`].
    ///
    /// # Errors
    ///
    /// If the port is listened on already or belongs to the node.
    pub fn listen(&mut self, port: Port) -> Result<(), ListenError> {
        if port.get() <= LAST_SERVICE_PORT {
            Err(ListenError::Reserved(port))
        } else if self.listeners.insert(port) {
            self.ports_changed = true;
            Ok(())
        } else {
            Err(ListenError::InUse(port))
        }
    }

    /// Accepts no further streams to `port`. Those that exist go on.
    pub fn stop_listening(&mut self, port: Port) {
        self.listeners.remove(&port);
        self.ports_changed = true;
    }

    /// Opens a stream. Messages can be sent at once, the peer's first answer is reported by
    /// [`Event::Connected`].
    ///
    /// # Errors
    ///
    /// If there are too many streams, or `remote` cannot be anybody's address.
    pub fn connect(&mut self, now: Instant, remote: Addr) -> Result<StreamId, ConnectError> {
        let now = self.schedule.advance(now);
        if remote.is_reserved() {
            return Err(ConnectError::InvalidAddress(remote));
        }
        let room = self.make_room();
        let Some(local) = self.ephemeral_port(remote).filter(|_| room) else {
            return Err(ConnectError::TooManyStreams);
        };
        self.schedule.peers.on_connected(remote.sid);
        self.stats.connected += 1;
        let form = Form::of_initiator(&self.config, &mut self.rng);
        Ok(self.open(now, Role::Initiator, form, local, remote))
    }

    /// The stream of this name, unless it has ended.
    #[must_use]
    pub fn stream(&mut self, id: StreamId) -> Option<Stream<'_>> {
        let slot = self.slots.get_mut(&id).filter(|slot| !slot.reported)?;
        Some(Stream { id, slot, schedule: &mut self.schedule })
    }

    /// Resets every stream and accepts none any more.
    pub fn reset_all(&mut self, now: Instant) {
        let now = self.schedule.advance(now);
        self.listeners.clear();
        self.ports_changed = true;
        for (id, slot) in &mut self.slots {
            slot.connection.abort(now, CloseReason::Reset);
            slot.abandoned = true;
            self.schedule.settle(*id, slot);
        }
    }

    /// Whether no stream exists, not even one that only waits for retransmissions of the peer. A program
    /// that ends earlier leaves peers in doubt whether their last message has arrived.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.slots.is_empty() && self.refusals.is_empty()
    }

    /// What it has counted.
    #[must_use]
    pub const fn stats(&self) -> EndpointStats {
        self.stats
    }

    /// Its configuration, every field within its range.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Bytes of received messages that wait to be consumed or for earlier ones, of all streams together,
    /// counted as for [`Config::receive_memory`].
    #[must_use]
    pub const fn received_bytes(&self) -> usize {
        self.schedule.received
    }

    /// Takes a datagram that came for this node.
    ///
    /// # Errors
    ///
    /// Tells why it was ignored, for counters and logs.
    pub fn handle_datagram(&mut self, now: Instant, datagram: Datagram) -> Result<(), DatagramError> {
        let now = self.schedule.advance(now);
        let Datagram { from, to, protection, mut payload, fingerprint, .. } = datagram;
        if protection != Protection::Encrypted {
            self.stats.not_encrypted += 1;
            return Err(DatagramError::NotEncrypted);
        }
        let found = self.index.get(&(to, from)).copied();
        let form = found.and_then(|id| self.slots.get(&id)).map(|slot| &slot.connection.form);
        if !matches!(form, Some(Form::Plain))
            && let Ok(roll) = roll::Repr::parse(&payload)
        {
            return self.on_roll(now, from, to, &roll);
        }
        let packet = if payload.len() <= MAX_PACKET { Packet::parse(&mut payload, form).ok() } else { None };
        let Some(packet) = packet else {
            self.stats.malformed += 1;
            return Err(DatagramError::Malformed);
        };
        let known = fingerprint.filter(|_| packet.opening().is_some());
        if known.is_some_and(|fingerprint| self.replays.contains(&from.sid, fingerprint)) {
            self.stats.replayed += 1;
            return Err(DatagramError::Replayed);
        }
        let id = match found {
            Some(id) => Ok(id),
            None => self.accept(now, from, to, &packet),
        };
        if let Some(fingerprint) = known {
            self.replays.insert(from.sid, fingerprint, id.is_ok());
        }
        let id = id?;
        let Some(slot) = self.slots.get_mut(&id) else { return Err(DatagramError::UnknownStream) };
        // So that a peer has no more than is left free.
        let free = self.config.receive_memory.saturating_sub(self.schedule.received);
        let memory = free.saturating_sub(self.schedule.peers.received(&from.sid)) / 2;
        let Some(path) = self.schedule.paths.get_mut(&from.sid) else {
            return Err(DatagramError::UnknownStream);
        };
        let verdict = slot.connection.handle_packet(now, &packet, payload, memory, path);
        let rouses = core::mem::take(&mut path.rouses);
        self.schedule.settle(id, slot);
        if rouses {
            self.rouse(now, &from.sid);
        }
        self.remove_if_dead(id);
        if verdict != Verdict::Foreign {
            return Ok(());
        }
        self.stats.unknown += 1;
        if let Some(refusal) = packet.refusal() {
            self.refuse(now, Outgoing { from: to, to: from, repairs: false }, refusal);
        }
        Err(DatagramError::UnknownStream)
    }

    /// Does what is due. Early or twice, it does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.schedule.advance(now);
        self.refusals.expire(now);
        while let Some(id) = self.schedule.due() {
            let Some(slot) = self.slots.get_mut(&id) else { return };
            let Some(path) = self.schedule.paths.get_mut(&slot.connection.peer.sid) else { return };
            slot.connection.handle_timeout(now, path);
            self.schedule.settle(id, slot);
            self.remove_if_dead(id);
        }
    }

    /// The next datagram to send, `None` when there is none. `buffer` is cleared first. What is returned
    /// counts as sent: not sending it is packet loss.
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Outgoing> {
        self.poll_transmit_if(now, buffer, |_, _| Room::Free)
    }

    /// The layer below has refused a packet to this peer for its length. It is lost; what follows is shorter.
    pub(crate) fn handle_too_large(&mut self, now: Instant, peer: &Sid) {
        let now = self.schedule.advance(now);
        self.schedule.paths.get_mut(peer).into_iter().for_each(|path| path.carriage.on_refused(now));
    }

    /// Whether the hops to this peer repair what they lose.
    pub(crate) fn set_repaired(&mut self, peer: &Sid, is_repaired: bool) {
        self.schedule.paths.get_mut(peer).into_iter().for_each(|path| path.is_repaired = is_repaired);
    }

    /// The ports that it listens on and that its streams have.
    pub(crate) fn changed_ports(&mut self) -> BTreeSet<Port> {
        self.ports_changed = false;
        let mut ports = self.listeners.clone();
        ports.extend(self.slots.values().map(|slot| slot.connection.local));
        ports
    }

    /// Whether [`Endpoint::changed_ports`] may have others to tell than the last time.
    pub(crate) const fn has_changed_ports(&self) -> bool {
        self.ports_changed
    }

    /// Like [`Endpoint::poll_transmit`], only where there is room from the local port to the peer.
    pub(crate) fn poll_transmit_if(
        &mut self,
        now: Instant,
        buffer: &mut Vec<u8>,
        room: impl Fn(Port, Sid) -> Room,
    ) -> Option<Outgoing> {
        buffer.clear();
        let now = self.schedule.advance(now);
        if self.refuses(&room)
            && let Some((outgoing, refusal)) = self.refusals.pop()
        {
            refusal.emit(buffer);
            return Some(outgoing);
        }
        if self.answers(&room)
            && let Some((outgoing, answer)) = self.answers.pop()
        {
            answer.emit(buffer);
            return Some(outgoing);
        }
        while let Some(id) = self.next_ready(&room) {
            if let Some(outgoing) = self.call_roll(now, id, buffer) {
                return Some(outgoing);
            }
            let Some(slot) = self.slots.get_mut(&id) else { break };
            let (connection, count) = self.schedule.take_turn(slot);
            let (from, to) = (connection.local, connection.peer);
            let repairs = connection.repairs(now);
            let more = self.schedule.is_awaited(&to.sid);
            let Some(path) = self.schedule.paths.get_mut(&to.sid) else { break };
            let sent = connection.poll_transmit(now, buffer, path, more);
            *count += buffer.len() as u64;
            let repairs = repairs || connection.has_copied || buffer.len() > MAX_PACKET_SENT;
            let outgoing = Outgoing { from, to, repairs };
            self.schedule.settle(id, slot);
            self.remove_if_dead(id);
            if sent {
                return Some(outgoing);
            }
        }
        None
    }

    /// What has happened, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.schedule.pop_event() {
                if let Event::Readable { stream } | Event::Writable { stream } = event
                    && let Some(slot) = self.slots.get_mut(&stream)
                {
                    Schedule::event_taken(slot, event);
                }
                return Some(event);
            }
            let id = self.schedule.pop_waiting()?;
            if let Some(slot) = self.slots.get_mut(&id) {
                self.schedule.waiting_taken(id, slot);
            }
        }
    }

    /// When to call [`Endpoint::handle_timeout`]; the last time seen while there is something to take.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.has_events() || self.has_transmit(|_, _| Room::Free) {
            return Some(self.now());
        }
        self.next_timer()
    }

    /// The last time seen.
    pub(crate) const fn now(&self) -> Instant {
        self.schedule.now
    }

    pub(crate) fn has_events(&self) -> bool {
        self.schedule.has_events()
    }

    /// When the next timer is due, whatever waits to be taken.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        let open = self.schedule.next_open();
        [self.schedule.next_timer(), self.refusals.expires_at(), open].into_iter().flatten().min()
    }

    /// Whether [`Endpoint::poll_transmit_if`] would return something.
    pub(crate) fn has_transmit(&self, room: impl Fn(Port, Sid) -> Room) -> bool {
        self.refuses(&room) || self.answers(&room) || self.next_ready(&room).is_some()
    }

    /// The stream whose turn it is.
    fn next_ready(&self, room: impl Fn(Port, Sid) -> Room) -> Option<StreamId> {
        self.schedule.next_ready(|id| {
            let connection = self.slots.get(&id).map(|slot| &slot.connection);
            connection.map_or(Room::Free, |connection| room(connection.local, connection.peer.sid))
        })
    }

    /// Whether a refusal can be sent.
    fn refuses(&self, room: impl Fn(Port, Sid) -> Room) -> bool {
        self.refusals.front().is_some_and(|refusal| room(refusal.from, refusal.to.sid).is_free())
    }

    /// Whether an answer to a call can be sent.
    fn answers(&self, room: impl Fn(Port, Sid) -> Room) -> bool {
        self.answers.front().is_some_and(|answer| room(answer.from, answer.to.sid).is_free())
    }

    pub(super) fn open(&mut self, now: Instant, role: Role, form: Form, local: Port, peer: Addr) -> StreamId {
        let id = StreamId(self.next_id);
        self.next_id += 1;
        let path = self.schedule.paths.enter(peer.sid);
        let connection = Connection::new(now, role, form, local, peer, &self.config, path);
        let mut slot = Box::new(Slot::new(connection, role == Role::Listener));
        self.schedule.settle(id, &mut slot);
        self.slots.insert(id, slot);
        self.index.insert((local, peer), id);
        self.refusals.forget(local, peer);
        self.ports_changed = true;
        id
    }

    pub(super) fn remove_if_dead(&mut self, id: StreamId) {
        if let Some(slot) = self.slots.get(&id)
            && slot.is_dead()
        {
            self.schedule.remove(id, slot);
            let (local, peer) = (slot.connection.local, slot.connection.peer);
            if slot.connection.role == Role::Listener {
                self.ended.truncate(self.config.max_streams.saturating_mul(ENDED_EACH));
                let offer = slot.connection.form.offer();
                self.ended.push_front(Ended { at: self.schedule.now, local, peer, offer });
            }
            self.index.remove(&(local, peer));
            self.slots.remove(&id);
            self.ports_changed = true;
        }
    }

    /// The way to this peer works again: streams that have waited for that go on.
    fn rouse(&mut self, now: Instant, peer: &Sid) {
        for (id, slot) in self.slots.iter_mut().filter(|(_, slot)| slot.connection.peer.sid == *peer) {
            let Some(path) = self.schedule.paths.get_mut(peer) else { return };
            slot.connection.send.rouse(now, path);
            self.schedule.settle(*id, slot);
        }
    }

    fn ephemeral_port(&mut self, remote: Addr) -> Option<Port> {
        let count = EPHEMERAL_PORTS.end - EPHEMERAL_PORTS.start;
        (0..16).find_map(|_| {
            self.last_port = (self.last_port + 1 + self.rng.below(MAX_PORT_STEP) as u32) % count;
            let port = Port::new(EPHEMERAL_PORTS.start + self.last_port)?;
            let free = !self.index.contains_key(&(port, remote)) && !self.listeners.contains(&port);
            free.then_some(port)
        })
    }
}

#[cfg(test)]
#[path = "endpoint_tests.rs"]
mod tests;

//! Telling neighbours which nodes this one reaches, and how (`spec/50` section 4).
//!
//! What has changed is told after 5 ms, and twice more soon, since broadcasts get lost; all else every 5 s. A node that is
//! reached no longer is told of until nobody can remember it, and then forgotten.

use super::node::{Destination, Loose, Node, Transmit};
use super::outbox::Frame;
use super::relay::MANY;
use super::routing::{Index, Link, Routing, Way};
use super::transmit::{PREFIX_LEN, Writer};
use super::{InterfaceId, linkstate};
use crate::wire::address::Context;
use crate::wire::linkstate::Repr;
use crate::wire::mdp::Protection;
use crate::wire::overlay::Hops;
use crate::{Instant, Sid};
use alloc::vec::Vec;
use core::time::Duration;

/// A change waits so long for others, and so long passes between two messages.
const PROMPT: Duration = Duration::from_millis(5);
/// A change is told again after this long.
const AGAIN: Duration = Duration::from_millis(300);
/// So often.
const REPEATS: u8 = 2;
/// A change that nobody waits for is told after this long, and any other once more: by then there has been a tick that it
/// goes along with.
const TRIFLE: Duration = Duration::from_millis(500);
/// After so many changes of one way, those that follow wait for this long since the last was told, each for twice as long
/// up to 16 times, until it has been quiet for a while.
const RESTLESS: u8 = 6;
const RESTLESS_PAUSE: Duration = Duration::from_millis(250);
/// Everything is told again after this long.
const REFRESH: Duration = Duration::from_secs(5);
/// Everything is told to newcomers at most this often.
const MIN_FULL: Duration = Duration::from_secs(1);
/// How often it is told that a node is not reached any more.
const FAREWELLS: u8 = 5;
/// Records in one message take at most this many bytes.
pub(super) const MAX_MESSAGE: usize = 400;
/// A loss that is not told: there is no way.
const NO_WAY_LOSS: u8 = 32;
/// The class of management of the mesh (`spec/50` section 2).
const URGENT: Hops = Hops(0x21);
/// Messages that go along with one tick; the others go with the next. And those that go together without one, which fit
/// into a packet.
const MESSAGES_PER_TICK: u32 = 6;
const MESSAGES_PER_PACKET: u32 = 2;

/// What is to be announced of a node.
#[derive(Debug, Default)]
pub(super) struct Telling {
    due: Option<Instant>,
    /// So many times it is told again soon.
    again: u8,
    /// Somebody may wait for it.
    news: bool,
    /// With its whole SID, which others may not know.
    whole: bool,
    /// Counts the changes of the link to a neighbour.
    version: u8,
    /// When it was told last.
    told: Option<Instant>,
    /// How often the way has changed lately.
    changes: u8,
}

impl Telling {
    /// There is nothing to be told any more.
    pub(super) const fn is_over(&self) -> bool {
        self.due.is_none()
    }

    fn hasten(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

impl Routing {
    /// Whether there is anyone to tell. The first is told everything.
    pub(super) fn set_telling(&mut self, now: Instant, telling: bool) {
        if telling && !self.is_telling {
            self.is_telling = true;
            self.tell_all(now);
        } else if !telling && self.is_telling {
            (self.is_telling, self.tell_at) = (false, None);
            for entry in self.entries.iter_mut().flatten() {
                entry.telling.due = None;
            }
        }
    }

    /// Tells everything that there is: there is a new neighbour.
    pub(super) fn tell_all(&mut self, now: Instant) {
        if !self.is_telling {
            return;
        }
        let at = self.told_all.map_or(now, |told| now.max(told + MIN_FULL)) + PROMPT;
        self.told_all = Some(at);
        for entry in self.entries.iter_mut().flatten().filter(|entry| entry.way.is_some()) {
            entry.telling.hasten(at);
            (entry.telling.whole, entry.telling.news, entry.telling.again) = (true, true, REPEATS);
        }
        self.tell_by(at);
    }

    /// Tells of this node again, and of those that are reached over it: somebody does not know whom our records mean.
    pub(super) fn retell(&mut self, now: Instant, sid: &Sid) {
        let at = now + PROMPT;
        let Some(index) = self.index_of(sid) else { return };
        for (place, entry) in self.entries.iter_mut().enumerate() {
            let Some(entry) = entry.as_mut().filter(|entry| !entry.telling.is_over()) else { continue };
            let is_over_it = entry.way.is_some_and(|way| way.last.transmitter == index);
            entry.telling.whole |= place == index.place();
            if place == index.place() || is_over_it {
                entry.telling.hasten(at);
            }
        }
        self.tell_by(at);
    }

    /// The way to a node is not the `old` one any more.
    pub(super) fn note_change(&mut self, now: Instant, place: usize, old: Option<Way<Index>>) {
        let goes_on = old.is_some_and(|old| self.goes_on(place, old));
        let Some(Some(entry)) = self.entries.get_mut(place) else { return };
        let last = |way: Way<Index>| way.last;
        if entry.way.map(last) == old.map(last) {
            return;
        }
        let telling = &mut entry.telling;
        if entry.way.is_some_and(|way| way.last.transmitter == Index::OWN) {
            telling.version = telling.version.wrapping_add(1).max(1);
        }
        if !self.is_telling {
            return;
        }
        let before = |way: Way<Index>| way.last.transmitter;
        if goes_on {
            // Nobody waits to hear that a link has become a little better, or that there is a better one.
            let at = now + TRIFLE;
            telling.hasten(at);
            if entry.way.map(before) != old.map(before) {
                telling.again = telling.again.max(REPEATS);
            }
            self.tell_by(at);
            return;
        }
        telling.whole |= old.is_none();
        telling.news = true;
        telling.again = if entry.way.is_some() { REPEATS } else { FAREWELLS - 1 };
        telling.changes = telling.changes.saturating_add(1);
        let pause = RESTLESS_PAUSE * (1 << telling.changes.saturating_sub(RESTLESS).min(4));
        let restless = telling.told.filter(|_| telling.changes > RESTLESS).map(|told| told + pause);
        let at = restless.unwrap_or(now).max(now + PROMPT);
        telling.due = Some(at);
        self.tell_by(at);
    }

    /// Whether frames to a node that was reached in the `old` way are as well off as before, and those who know that way can
    /// make sense of it: it begins as it did, or would still be good.
    fn goes_on(&self, place: usize, old: Way<Index>) -> bool {
        let way = |index: Index| self.entry(index).and_then(|entry| entry.way);
        let is_reached = |index: Index| index == Index::OWN || way(index).is_some();
        let way = way(Index::at(place));
        is_reached(old.last.transmitter)
            && way.is_some_and(|way| way.next_hop == old.next_hop || self.still_leads(place, old))
    }

    fn tell_by(&mut self, at: Instant) {
        self.tell_at = Some(self.tell_at.map_or(at, |due| due.min(at)));
    }

    /// When there is something to announce.
    pub(super) fn announce_at(&self) -> Option<Instant> {
        self.tell_at.map(|at| at.max(self.quiet_until))
    }

    /// Appends the records that are due until `horizon`, as many as fit into one message. Gives whether
    /// something among them is told for the first time; `None`: there are none. What is then told so that losses are
    /// `repaired` need not be told again soon.
    pub(super) fn announce(
        &mut self,
        now: Instant,
        horizon: Instant,
        repaired: bool,
        buffer: &mut Vec<u8>,
    ) -> Option<bool> {
        let start = buffer.len();
        let mut context = Context::new(self.own);
        let count = self.entries.len();
        let mut news = false;
        for _ in 0..count {
            self.cursor %= count;
            let place = self.cursor;
            let Some(Some(entry)) = self.entries.get(place) else {
                self.cursor += 1;
                continue;
            };
            let telling = &entry.telling;
            if place == 0 || telling.due.is_none_or(|due| due > horizon) {
                self.cursor += 1;
                continue;
            }
            let mut next = context;
            let sid = entry.sid;
            let receiver = next.abbreviate(&sid, (!telling.whole).then_some(PREFIX_LEN));
            let transmitter = entry.way.and_then(|way| self.entry(way.last.transmitter));
            let record = match (entry.way, transmitter) {
                (Some(way), Some(transmitter)) => {
                    let Link { transmitter: before, version, loss } = way.last;
                    let version = if before == Index::OWN { telling.version } else { version };
                    // Who does not know it yet could make nothing of the record, which may come before the one of it.
                    let short = (!transmitter.telling.whole).then_some(PREFIX_LEN);
                    let written = next.abbreviate(&transmitter.sid, short);
                    Repr { version, drop_rate: Some(loss), ..Repr::new(receiver, Some(written)) }
                }
                _ => Repr { version: 0xff, drop_rate: Some(NO_WAY_LOSS), ..Repr::new(receiver, None) },
            };
            if buffer.len() - start + record.buffer_len() > MAX_MESSAGE {
                break;
            }
            record.emit(buffer);
            context = next;
            news |= telling.news;
            self.told(now, place, repaired);
            self.cursor += 1;
        }
        self.quiet_until = now + PROMPT;
        self.tell_at = self.entries.iter().flatten().filter_map(|entry| entry.telling.due).min();
        (buffer.len() > start).then_some(news)
    }

    /// The node in this place was told of.
    fn told(&mut self, now: Instant, place: usize, repaired: bool) {
        let Some(Some(entry)) = self.entries.get_mut(place) else { return };
        let telling = &mut entry.telling;
        let news = core::mem::take(&mut telling.news);
        if news && repaired && entry.way.is_some() {
            telling.again = 1;
        }
        telling.whole &= telling.again > 0;
        let is_reached = entry.way.is_some();
        let soon = if is_reached { 1 } else { FAREWELLS - REPEATS };
        let pause = match telling.again {
            again if again < soon => REFRESH,
            _ if news => AGAIN,
            _ => TRIFLE,
        };
        let over = !is_reached && telling.again == 0;
        if telling.again == 0 {
            telling.changes /= 2;
        }
        telling.told = Some(now);
        telling.again = telling.again.saturating_sub(1);
        telling.due = (!over).then_some(now + pause);
    }
}

impl Node {
    /// What is new of routes, or old enough to be told again with the next tick.
    pub(super) fn tree_packet(&mut self, buffer: &mut Vec<u8>) -> Option<Transmit> {
        let Self { now, .. } = *self;
        let at = self.routing.announce_at()?;
        let ticks = self.interfaces.iter().any(|it| it.broadcast && it.tick_at <= now);
        let horizon = if ticks { now + self.config.tick } else { now };
        if at > horizon || self.routing.quiet_until > now {
            return None;
        }
        let repaired = self.audible(|_| true, MANY).is_empty();
        let mut messages: Vec<(Vec<u8>, bool)> = Vec::new();
        for _ in 0..if ticks { MESSAGES_PER_TICK } else { MESSAGES_PER_PACKET } {
            let mut message = Vec::new();
            linkstate::begin(&mut message);
            let Some(news) = self.routing.announce(now, horizon, repaired, &mut message) else { break };
            messages.push((message, news));
        }
        if !ticks {
            self.routing.quiet_until = now + PROMPT * messages.len() as u32;
        }
        for news in [true, false] {
            let messages = messages.extract_if(.., |it| it.1 == news).map(|it| it.0);
            self.tell_neighbours(messages.collect(), news);
        }
        self.loose_packet(buffer)
    }

    /// Sends messages to everyone on the interface, as many in a packet as fit.
    pub(super) fn broadcast(&mut self, interface: InterfaceId, messages: impl IntoIterator<Item = Vec<u8>>) {
        let (own, mtu) = (self.sid(), self.config.mtu);
        let mut messages = messages.into_iter().peekable();
        while messages.peek().is_some() {
            let mut packet = self.broadcast_header(interface);
            let (counter, routing) = (&mut self.frame_counter, &self.routing);
            let mut writer = Writer::new(own, own, mtu, routing, counter, &mut packet);
            while messages.next_if(|message| writer.control(true, None, message)).is_some() {}
            if writer.is_empty() {
                return;
            }
            self.push_loose(Loose { transmit: Transmit { interface, to: Destination::Broadcast }, packet });
        }
    }

    /// Sends a message to all neighbours: once on each interface, and to each that does not hear that. With `news`, a
    /// few are each told so that losses are repaired.
    fn tell_neighbours(&mut self, messages: Vec<Vec<u8>>, news: bool) {
        if messages.is_empty() {
            return;
        }
        let told = self.audible(|_| true, if news { MANY } else { 1 });
        for &interface in &told {
            let ticking =
                self.interfaces.get_mut(usize::from(interface.0)).filter(|it| it.tick_at <= self.now);
            match ticking {
                Some(interface) => interface.messages.extend_from_slice(&messages),
                None => self.broadcast(interface, messages.iter().cloned()),
            }
        }
        let Self { now, ref config, ref mut neighbours, ref interfaces, ref mut places, .. } = *self;
        for neighbour in neighbours.values_mut().filter(|it| it.is_up(now)) {
            let heard_on = neighbour.hears_broadcasts(now, config.expiry, interfaces);
            if heard_on.is_some_and(|interface| told.contains(&interface)) {
                continue;
            }
            for message in &messages {
                if neighbour.outbox.has_room(None, None, config.send_queue) {
                    let place = if news { places.take(None) } else { None };
                    let frame = Frame::new(now, neighbour.sid, Protection::Clear, message.clone());
                    let frame = Frame { once: place.is_none(), hops: URGENT, _place: place, ..frame };
                    neighbour.outbox.push(frame);
                }
            }
        }
    }
}

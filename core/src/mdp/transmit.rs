//! Packets that go out: ticks, announcements, and frames from the queues, as many in a packet as fit
//! (`spec/30` section 7).

use super::config::MAX_PACKET;
use super::explain::whole_header;
use super::hop_repair::HopRepair;
use super::neighbour::Neighbour;
use super::node::{Destination, Interface, Loose, Node, Transmit};
use super::outbox::{Frame, PacketNumber, Slot};
use super::report::Announcement;
use super::routing::Routing;
use super::{Transport, linkstate};
use crate::wire::address::{Address, Context};
use crate::wire::mdp::Protection;
use crate::wire::overlay::{self, Encapsulation, PLEASE_EXPLAIN, Route};
use crate::{Instant, Sid};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Bound;

/// Bytes of a SID that tell it from every other one in practice.
pub(super) const PREFIX_LEN: usize = 6;
/// Neighbours may remember the last 64 frames of an earlier run and drop those that happen to be numbered the
/// same (`spec/30` section 3). The first announcements leave them behind by skipping this many numbers each.
/// One leap would do, too, but after that a late copy from before it would pass for new.
const SKIPPED: u64 = 24;
const SKIPPING_ANNOUNCEMENTS: u8 = 3;

impl Node {
    /// The next packet to send, written to `buffer`, which is cleared first. `None`: nothing now. A packet
    /// handed out counts as sent.
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Transmit> {
        self.advance(now);
        buffer.clear();
        let transmit = self
            .loose_packet(buffer)
            .or_else(|| self.tree_packet(buffer))
            .or_else(|| self.introduction(buffer))
            .or_else(|| self.neighbour_packet(buffer))?;
        self.stats.packets_sent += 1;
        Some(transmit)
    }

    pub(super) fn loose_packet(&mut self, buffer: &mut Vec<u8>) -> Option<Transmit> {
        let Loose { transmit, packet } = self.loose.pop_front()?;
        buffer.extend_from_slice(&packet);
        Some(transmit)
    }

    fn neighbour_packet(&mut self, buffer: &mut Vec<u8>) -> Option<Transmit> {
        // Each neighbour is looked at once: one that has nothing to say after all must not hold us up.
        for _ in 0..self.neighbours.len() {
            let sid = self.next_ready()?;
            self.served = Some(sid);
            if let Some(transmit) = self.fill(sid, buffer) {
                return Some(transmit);
            }
        }
        None
    }

    /// The next neighbour, in turn, to which there is something to send.
    fn next_ready(&mut self) -> Option<Sid> {
        let Self { now, served, ref config, ref frame_counter, ref mut stats, ref mut neighbours, .. } =
            *self;
        let next_frame = frame_counter.next;
        let mut ready = |(sid, neighbour): (&Sid, &mut Box<Neighbour>)| {
            stats.datagrams_expired += neighbour.outbox.expire(now, config.frame_lifetime, next_frame);
            if config.hop_repair == HopRepair::None {
                neighbour.outbox.forget_sent();
            }
            neighbour.is_ready(now).then_some(*sid)
        };
        let served = served.map_or(Bound::Unbounded, Bound::Excluded);
        let after = neighbours.range_mut((served, Bound::Unbounded)).find_map(&mut ready);
        after.or_else(|| neighbours.iter_mut().find_map(ready))
    }

    /// Writes a packet to the neighbour `sid`.
    fn fill(&mut self, sid: Sid, buffer: &mut Vec<u8>) -> Option<Transmit> {
        let (own, now, expiry) = (self.sid(), self.now, self.config.expiry);
        let neighbour = self.neighbours.get_mut(&sid)?;
        let (id, transport, address) = neighbour.path(now, expiry)?;
        let interface = self.interfaces.get_mut(usize::from(id.0))?;
        let (number, to) = match transport {
            Transport::Unicast => (neighbour.count_unicast(now), Destination::Unicast(address)),
            Transport::Broadcast => (interface.count_broadcast(), Destination::Broadcast),
        };
        let mut header = whole_header(&self.identity, id, to, number);
        if neighbour.knows_us(now) && neighbour.explain.is_empty() {
            header.sender = Address::Prefix(&own.as_bytes()[..PREFIX_LEN]);
        }
        header.emit(buffer);
        let start = buffer.len();
        let up = neighbour.is_up(now);
        // The copy to everyone may have a number where this has none.
        let mtu = self.config.mtu - usize::from(!up);
        let mut writer = Writer::new(own, sid, mtu, &self.routing, &mut self.frame_counter, buffer);
        if up {
            writer.prefix = Some(PREFIX_LEN);
            if transport == Transport::Unicast {
                writer.largest = MAX_PACKET;
            }
        }
        let announcement = neighbour.along(now);
        if let Some(announcement) = announcement
            && let Some(report) = neighbour.announce(now, &self.config, announcement)
        {
            linkstate::begin(&mut self.message);
            let way = self.routing.way(&sid).filter(|way| way.hops > 1);
            let detour = way.map(|way| way.last.transmitter);
            let beyond = self.routing.beyond(&sid).filter(|_| up).map(|(beyond, _)| beyond);
            // Others who hear that would take us for a relay.
            let overheard = !self.config.relay && (!up || transport == Transport::Broadcast);
            let tells = announcement == Announcement::Whole && !overheard;
            let uses = tells.then_some(linkstate::Use { detour, beyond });
            linkstate::emit(writer.written(), &report, uses.as_ref(), &mut self.message);
            // Before the neighbour hears us it cannot be told that this is for it, only everyone.
            writer.control(!up, None, &self.message);
        }
        if !neighbour.explain.is_empty() && writer.control(false, Some(PLEASE_EXPLAIN), &neighbour.explain) {
            neighbour.explain.clear();
        }
        let packet = number.map(|number| PacketNumber { transport, number });
        while let Some(slot) = neighbour.outbox.next(now) {
            let Some((frame, sent_as)) = neighbour.outbox.get(slot) else { break };
            let Some(number) = writer.datagram(frame, sent_as) else {
                if writer.is_empty() && slot == Slot::Unsent {
                    // It is too long for the way that there is now.
                    neighbour.outbox.drop_next();
                    self.stats.datagrams_expired += 1;
                    continue;
                }
                break;
            };
            neighbour.outbox.sent(now, slot, number, packet);
            let again = u64::from(slot != Slot::Unsent);
            self.stats.retransmissions += again;
            neighbour.retransmissions += again;
        }
        if buffer.len() == start {
            return None;
        }
        if !up && interface.broadcast && to != Destination::Broadcast {
            // Whether the neighbour receives unicast is not known yet.
            let to = Destination::Broadcast;
            let mut packet = Vec::with_capacity(buffer.len());
            whole_header(&self.identity, id, to, interface.count_broadcast()).emit(&mut packet);
            packet.extend_from_slice(&buffer[start..]);
            self.push_loose(Loose { transmit: Transmit { interface: id, to }, packet });
        } else if announcement == Some(Announcement::Whole) && to == Destination::Broadcast {
            // It asks for broadcasts as long as it has heard nothing else.
            let to = Destination::Unicast(address);
            let mut packet = Vec::new();
            whole_header(&self.identity, id, to, neighbour.count_unicast(now)).emit(&mut packet);
            self.push_loose(Loose { transmit: Transmit { interface: id, to }, packet });
        }
        Some(Transmit { interface: id, to })
    }
}

impl Interface {
    /// The number for the next broadcast packet, `None` if it goes without.
    pub(super) fn count_broadcast(&mut self) -> Option<u64> {
        let number = self.number.as_mut()?;
        *number += 1;
        Some(*number)
    }
}

/// Numbers the frames of this node. The lower 8 bits are on the wire.
#[derive(Debug)]
pub(super) struct FrameCounter {
    next: u64,
    /// Announcements that skip numbers.
    skipping: u8,
}

impl FrameCounter {
    pub(super) const fn new(first: u64) -> Self {
        Self { next: first, skipping: SKIPPING_ANNOUNCEMENTS }
    }

    /// The number of a frame to be sent for the first time.
    pub(super) const fn count(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// The number of a frame that holds no datagram of a user.
    pub(super) const fn count_announcement(&mut self) -> u64 {
        let number = self.count();
        if self.skipping > 0 {
            self.skipping -= 1;
            self.next += SKIPPED;
        }
        number
    }
}

/// Appends frames to a packet while they fit.
pub(super) struct Writer<'a> {
    buffer: &'a mut Vec<u8>,
    context: Context,
    /// Whom it is for.
    pub(super) neighbour: Sid,
    /// How far the neighbour's own SID is abbreviated.
    prefix: Option<usize>,
    /// Where the frames begin.
    start: usize,
    mtu: usize,
    /// What a packet may have whose only frame is sent once.
    largest: usize,
    counter: &'a mut FrameCounter,
    routing: &'a Routing,
}

impl<'a> Writer<'a> {
    /// Writes behind the header in `buffer`, to a neighbour that may not know us.
    pub(super) const fn new(
        own: Sid,
        neighbour: Sid,
        mtu: usize,
        routing: &'a Routing,
        counter: &'a mut FrameCounter,
        buffer: &'a mut Vec<u8>,
    ) -> Self {
        let (context, start) = (Context::new(own), buffer.len());
        Self { buffer, context, neighbour, prefix: None, start, mtu, largest: mtu, counter, routing }
    }

    /// The neighbour's address inside a message.
    fn written(&self) -> Address<'_> {
        match self.prefix {
            Some(length) => Address::Prefix(&self.neighbour.as_bytes()[..length]),
            None => Address::Whole(self.neighbour),
        }
    }

    /// Bytes of the packet so far.
    pub(super) const fn len(&self) -> usize {
        self.buffer.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.buffer.len() == self.start
    }

    /// A frame that is sent once, to the neighbour or to everyone. `false`: there is no space for it.
    pub(super) fn control(&mut self, everyone: bool, legacy_type: Option<u8>, payload: &[u8]) -> bool {
        let (neighbour, mut context) = (self.neighbour, self.context);
        let route = if everyone {
            Route::Neighbours
        } else {
            Route::Neighbour { destination: context.abbreviate(&neighbour, self.prefix) }
        };
        let frame = overlay::Frame {
            source: None,
            route,
            protection: Some(Protection::Clear),
            ack_soon: false,
            legacy_type,
            sequence: None,
            payload,
        };
        self.write(frame, None, self.mtu, context).is_some()
    }

    /// A frame from the queue, which has a number if it was sent before. Gives its number; `None`: there
    /// is no space for it.
    pub(super) fn datagram(&mut self, frame: &Frame, number: Option<u64>) -> Option<u64> {
        let (neighbour, mut context) = (self.neighbour, self.context);
        let once = frame.once;
        let known = |sid: &Sid| self.routing.is_known_to(&neighbour, sid).then_some(PREFIX_LEN);
        let source = frame.source.as_ref().map(|source| context.abbreviate(source, known(source)));
        let route = if let Some(id) = frame.flood {
            Route::Flood { id, hops: frame.hops }
        } else if frame.destination == neighbour {
            Route::Neighbour { destination: context.abbreviate(&neighbour, self.prefix) }
        } else {
            Route::Via {
                destination: context.abbreviate(&frame.destination, known(&frame.destination)),
                next_hop: context.abbreviate(&neighbour, self.prefix),
                hops: frame.hops,
            }
        };
        let frame = overlay::Frame {
            source,
            route,
            protection: Some(frame.protection),
            ack_soon: !once,
            legacy_type: None,
            sequence: None,
            payload: &frame.payload,
        };
        let limit = if once && self.is_empty() { self.largest } else { self.mtu };
        self.write(frame, number, limit, context)
    }

    fn write(
        &mut self,
        frame: overlay::Frame<'_>,
        number: Option<u64>,
        limit: usize,
        context: Context,
    ) -> Option<u64> {
        let sequence_len = 1;
        let length = frame.buffer_len(Encapsulation::Multiple) + sequence_len;
        if self.buffer.len() + length > limit {
            return None;
        }
        let number = match number {
            Some(number) => number,
            None if frame.protection != Some(Protection::Clear) || frame.ack_soon => self.counter.count(),
            None => self.counter.count_announcement(),
        };
        overlay::Frame { sequence: Some(number as u8), ..frame }.emit(Encapsulation::Multiple, self.buffer);
        self.context = context;
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_three_announcements_leap_over_what_may_be_remembered_of_an_earlier_run() {
        let mut counter = FrameCounter::new(300);
        assert_eq!(counter.count(), 300, "what a user sends does not");
        let numbers = [(); 5].map(|()| counter.count_announcement());
        assert_eq!(numbers, [301, 326, 351, 376, 377]);
        assert_eq!(counter.count(), 378);
    }
}

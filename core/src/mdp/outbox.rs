//! Frames on their way to one neighbour, and their retransmission (`spec/50` section 6).
//!
//! The neighbour acknowledges packets, not frames: a frame is delivered when the packet in which it was
//! sent last is. It is sent again, in a new packet, as soon as packets sent later were acknowledged and its
//! own was not. When nothing is heard for longer than round trips take, the first few are sent again, whose
//! acknowledgment tells of the rest. That goes on for a second; what is older is left to the layers above.
//!
//! A lone frame has no packets behind it that would show its loss. Where packets get lost, the last few are copied while
//! nothing can have come back yet, so that a loss takes a part of a round trip, on this hop. Other frames come first, and
//! copies have little of the way.
//!
//! A receiver knows only the last frames by their numbers. One that has fallen behind them is sent under a
//! new number, if it is known to be lost.

use super::Transport;
use super::hop_repair::{HopRepair, ReferenceHop};
use super::queue::Queue;
use super::relay::Place;
use crate::path::{Loss, RoundTrip};
use crate::wire::linkstate::Ack;
use crate::wire::mdp::Protection;
use crate::wire::overlay::Hops;
use crate::{Instant, Sid};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::time::Duration;

/// A frame keeps its number while it is among this many last ones. A receiver tells 64 apart by their sequence
/// numbers (`spec/30` section 3); the rest is for reordering on the way, after which an older frame would
/// look new.
const HISTORY: u64 = 48;
/// Packets that can be on their way before their numbers on the wire, of 8 bits, become ambiguous.
const MAX_BEHIND: u64 = 240;
/// Packets of which one acknowledgment tells.
const COVERED: u64 = 33;
/// Frames that can wait for their acknowledgment; the oldest is given up for a new one.
const MAX_IN_FLIGHT: usize = 512;
/// Frames that are sent with each announcement to a neighbour that may not hear us: fewer than a receiver tells
/// apart, as they go out in several ways at once.
const MAX_UNCONFIRMED: usize = 32;
/// A packet is lost when one sent this much later was acknowledged and it was not, or any later one and a quarter more
/// than a round trip has passed.
const REORDERING: u64 = 3;
/// Resend delay before there is a measurement. The reference daemon takes up to 333 ms for an acknowledgment until it has
/// measurements of its own.
const INITIAL_RESEND_DELAY: Duration = Duration::from_millis(100);
/// So many frames come again although nobody says that they are lost: their acknowledgment tells of the others.
const MAX_PROBES: usize = 4;
/// The least that the resend delay is above the smoothed round-trip time: acknowledgments are delayed.
const MIN_VARIATION: Duration = Duration::from_millis(20);
/// The resend delay doubles with each attempt, this often at most.
const MAX_BACKOFF: u8 = 5;
/// A frame is sent again this often at most, whatever acknowledgments say: anyone can forge them.
const MAX_ATTEMPTS: u8 = 32;

/// Copies of a frame before something can have come back, spread over a round trip, and the least time between them.
const MAX_COPIES: u8 = 3;
const MIN_SPACING: Duration = Duration::from_millis(1);
/// Of a million packets, so many are lost where copies are worth it.
const NOTICEABLE: u32 = 5000;
/// They have 8000 bytes a second, and so much of that at once.
const COPIED_BYTE: Duration = Duration::from_micros(125);
const BURST: Duration = Duration::from_millis(500);

/// A frame as it will be sent, sealed.
#[derive(Debug)]
pub(super) struct Frame {
    /// Who made it, `None` if this node did.
    pub(super) source: Option<Sid>,
    /// The host that handed it to this node, `None` if none did.
    pub(super) host: Option<IpAddr>,
    pub(super) destination: Sid,
    /// Remaining hops and class of service.
    pub(super) hops: Hops,
    /// It is for everyone, and this tells it from others.
    pub(super) flood: Option<[u8; 8]>,
    pub(super) protection: Protection,
    pub(super) payload: Vec<u8>,
    /// When it came here.
    pub(super) queued: Instant,
    /// Whoever sends it repairs its loss, so it is sent once here.
    pub(super) once: bool,
    /// Its number, if it was sent when there was no way yet.
    pub(super) number: Option<u64>,
    /// What it holds while it is passed on for others.
    pub(super) _place: Option<Place>,
}

impl Frame {
    /// One of this node's own, that comes here now.
    pub(super) const fn new(
        now: Instant,
        destination: Sid,
        protection: Protection,
        payload: Vec<u8>,
    ) -> Self {
        Self {
            source: None,
            host: None,
            destination,
            hops: Hops::DEFAULT,
            flood: None,
            protection,
            payload,
            queued: now,
            once: false,
            number: None,
            _place: None,
        }
    }
}

/// A packet: the stream that it belongs to and its number there. The lower 8 bits are on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PacketNumber {
    pub(super) transport: Transport,
    pub(super) number: u64,
}

#[derive(Debug)]
struct InFlight {
    frame: Frame,
    /// Its number among the frames of this node; the lower 8 bits are on the wire.
    number: u64,
    /// The packet in which it was sent last, if that had a number.
    packet: Option<PacketNumber>,
    /// Bit `k`: it was also in the packet `k + 1` before that one.
    earlier: u32,
    first_sent: Instant,
    sent: Instant,
    /// How often it was sent again, as a copy of what is on its way or not.
    copies: u8,
    attempts: u8,
    /// The packet in which it was sent last did not arrive.
    lost: bool,
    /// In an earlier one it may have.
    doubtful: bool,
}

impl InFlight {
    /// Whether it is worth another copy. News of routes and broadcasts are in no such hurry.
    fn takes_copy(&self) -> bool {
        self.frame.protection == Protection::Encrypted && !self.lost && self.copies < MAX_COPIES
    }

    /// It is sent again, in that packet.
    fn move_to(&mut self, packet: Option<PacketNumber>) {
        let distance = match (self.packet, packet) {
            (Some(last), Some(next)) if last.transport == next.transport => next.number - last.number,
            _ => COVERED,
        };
        self.earlier = ((u64::from(self.earlier) << 1 | 1) << distance.min(COVERED) >> 1) as u32;
        self.packet = packet;
    }
}

/// A frame that can be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// The next of those that were never sent.
    Unsent,
    /// One to be sent again.
    InFlight(usize),
}

/// The frames to one neighbour.
#[derive(Debug)]
pub(super) struct Outbox {
    unsent: Queue,
    in_flight: VecDeque<InFlight>,
    /// None of these is to be sent again before this; `None`: nor at any time.
    quiet_until: Option<Instant>,
    /// How many frames may be sent for the first time; `None`: any number, as the neighbour hears us.
    budget: Option<usize>,
    round_trip: RoundTrip,
    loss: Loss,
    /// The next copy does not leave before this.
    copy_at: Instant,
    /// The number of the node's next frame, as far as known.
    next_frame: u64,
    /// Only to measure against: everything is done as the reference daemon does.
    reference: Option<ReferenceHop>,
}

impl Outbox {
    pub(super) fn new(repair: HopRepair) -> Self {
        Self {
            unsent: Queue::new(),
            in_flight: VecDeque::new(),
            quiet_until: None,
            budget: Some(MAX_UNCONFIRMED),
            round_trip: RoundTrip::new(),
            loss: Loss::NONE,
            copy_at: Instant::ZERO,
            next_frame: 0,
            reference: repair.reference(),
        }
    }

    /// The smoothed time from a packet to its acknowledgment.
    pub(super) const fn round_trip(&self) -> Option<Duration> {
        self.round_trip.smoothed()
    }

    /// Frames that wait for their acknowledgment.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Frames that wait for their first transmission.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Whether another frame of this node may wait, or one of that source from that host.
    pub(super) fn has_room(&self, host: Option<IpAddr>, source: Option<Sid>, places: usize) -> bool {
        self.unsent.has_room(host, source, places)
    }

    pub(super) fn push(&mut self, frame: Frame) {
        self.unsent.push(frame);
    }

    /// Forgets the next frame of those that were never sent.
    pub(super) fn drop_next(&mut self) {
        self.unsent.pop();
    }

    /// Forgets frames that are older than `lifetime`. Gives how many it forgot that were never sent.
    /// `next_frame` is the number of the next frame.
    pub(super) fn expire(&mut self, now: Instant, lifetime: Duration, next_frame: u64) -> u64 {
        self.next_frame = next_frame;
        let old = |frame: &Frame| now - frame.queued >= lifetime;
        while self
            .in_flight
            .front()
            .is_some_and(|entry| self.in_flight.len() > MAX_IN_FLIGHT || old(&entry.frame))
        {
            self.in_flight.pop_front();
        }
        self.unsent.expire(now, lifetime)
    }

    /// Forgets what was sent, whether it arrived or not.
    pub(super) fn forget_sent(&mut self) {
        self.in_flight.clear();
        self.quiet_until = None;
    }

    /// The frame to send next: repairs come first.
    pub(super) fn next(&mut self, now: Instant) -> Option<Slot> {
        if self.quiet_until.is_some_and(|at| at <= now) {
            let due = |(index, entry)| self.resend_at(index, entry).is_some_and(|at| at <= now);
            if let Some(index) = (0..).zip(&self.in_flight).position(due) {
                return Some(Slot::InFlight(index));
            }
            self.survey();
        }
        self.unsent_at().is_some_and(|at| at <= now).then_some(Slot::Unsent)
    }

    /// Whether the neighbour hears us. If not, some frames may be sent all the same.
    pub(super) fn set_confirmed(&mut self, confirmed: bool) {
        self.budget = (!confirmed).then_some(MAX_UNCONFIRMED);
    }

    /// When the next frame is to be sent for the first time.
    fn unsent_at(&self) -> Option<Instant> {
        let frame = self.unsent.front().filter(|_| self.budget != Some(0))?;
        Some(self.reference.as_ref().map_or(Instant::ZERO, |_| ReferenceHop::departure(frame)))
    }

    /// After what time a packet is acknowledged which asks for that after `delay`, or shows a gap.
    pub(super) fn ack_delay(&self, delay: Option<Duration>, shows_gap: bool) -> Option<Duration> {
        match &self.reference {
            Some(reference) => reference.ack_delay(delay.is_some(), shows_gap),
            None if shows_gap => Some(Duration::ZERO),
            None => delay,
        }
    }

    /// The frame in `slot`, and its number if it has one that the neighbour still knows.
    pub(super) fn get(&self, slot: Slot) -> Option<(&Frame, Option<u64>)> {
        match slot {
            Slot::Unsent => {
                let frame = self.unsent.front()?;
                Some((frame, frame.number.filter(|number| self.is_recent(*number))))
            }
            Slot::InFlight(index) => {
                let entry = self.in_flight.get(index)?;
                Some((&entry.frame, Some(entry.number).filter(|number| self.is_recent(*number))))
            }
        }
    }

    /// The frame in `slot` was sent, with `number`, in `packet`.
    pub(super) fn sent(&mut self, now: Instant, slot: Slot, number: u64, packet: Option<PacketNumber>) {
        let attempts = match slot {
            Slot::Unsent => {
                let Some(frame) = self.unsent.pop() else { return };
                self.budget = self.budget.map(|budget| budget.saturating_sub(1));
                if frame.once {
                    return;
                }
                let doubtful = frame.number.is_some();
                self.in_flight.push_back(InFlight {
                    frame,
                    number,
                    packet,
                    earlier: 0,
                    first_sent: now,
                    sent: now,
                    copies: 0,
                    attempts: 0,
                    lost: false,
                    doubtful,
                });
                0
            }
            Slot::InFlight(index) => {
                let spacing = self.spacing();
                let Some(entry) = self.in_flight.get_mut(index) else { return };
                if spacing.is_some() && entry.takes_copy() {
                    entry.copies += 1;
                    self.copy_at =
                        self.copy_at.max(now - BURST) + COPIED_BYTE * entry.frame.payload.len() as u32;
                } else {
                    entry.attempts = entry.attempts.saturating_add(1);
                }
                entry.doubtful |= !entry.lost;
                entry.move_to(packet);
                if self.reference.is_some() {
                    entry.earlier = 0; // it knows the last one only
                }
                (entry.number, entry.sent, entry.lost) = (number, now, false);
                entry.attempts
            }
        };
        if self.in_flight.len() <= MAX_PROBES {
            return self.survey();
        }
        let again = now + self.resend_delay(attempts);
        self.quiet_until = Some(self.quiet_until.map_or(again, |at| at.min(again)));
    }

    /// The neighbour reports which packets came. `last` is the packet that was sent last on that stream.
    pub(super) fn acknowledge(&mut self, now: Instant, last: PacketNumber, ack: Ack) {
        let behind = (last.number as u8).wrapping_sub(ack.sequence);
        let newest = last.number.saturating_sub(behind.into());
        if u64::from(behind) >= MAX_BEHIND {
            return; // not one of the last packets: an acknowledgment from before a restart
        }
        let patience = self.round_trip.smoothed().map(|smoothed| smoothed + smoothed / 4);
        let (mut total, mut count) = (Duration::ZERO, 0);
        // Bit `k`: the packet `k` before the newest.
        let arrived = u64::from(ack.mask) << 1 | 1;
        let loss = &mut self.loss;
        self.in_flight.retain_mut(|entry| {
            let Some(packet) = entry.packet.filter(|it| it.transport == last.transport) else { return true };
            let (age, ahead) = (newest.saturating_sub(packet.number), packet.number.saturating_sub(newest));
            if age.max(ahead) >= COVERED {
                return true;
            }
            let [all, latest] = [u64::from(entry.earlier) << 1 | 1, 1].map(|it| it << age >> ahead);
            let came = all & arrived;
            if came != 0 {
                let first_came = came > all / 2;
                loss.note(!first_came);
                let brought = if came & latest != 0 { Some(entry.sent) } else { None };
                if let Some(at) = brought.or((first_came && entry.attempts == 0).then_some(entry.first_sent))
                {
                    (total, count) = (total + (now - at), count + 1);
                    self.reference.iter_mut().for_each(|it| it.sample(now - at));
                }
                return false;
            }
            let overtaken = age >= REORDERING;
            entry.lost |= overtaken || (age > 0 && patience.is_some_and(|it| now - entry.sent >= it));
            let told = (all & ((1 << COVERED) - 1)).count_ones();
            if overtaken && told == 1 + u32::from(entry.attempts) + u32::from(entry.copies) {
                entry.doubtful = entry.frame.number.is_some();
            }
            true
        });
        if count > 0 {
            self.round_trip.sample(now, total / count);
        }
        self.survey();
    }

    /// When there may be something to send: `Some(Instant::ZERO)` if there is now.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.unsent_at().into_iter().chain(self.quiet_until).min()
    }

    /// Looks through the frames in flight, so that this need not be done for each packet.
    fn survey(&mut self) {
        let frames = (0..).zip(&self.in_flight);
        self.quiet_until = frames.filter_map(|(index, entry)| self.resend_at(index, entry)).min();
    }

    /// When the frame at this place is to be sent again. Never if nobody knows whether it arrived, and the neighbour
    /// would take it for a new one, or after too many attempts.
    fn resend_at(&self, index: usize, entry: &InFlight) -> Option<Instant> {
        if self.reference.is_some() {
            let newer = self.next_frame.saturating_sub(entry.number + 1);
            return ReferenceHop::repairs(newer).then(|| entry.sent + self.resend_delay(0));
        }
        let ambiguous = !self.is_recent(entry.number) && (entry.doubtful || !entry.lost);
        if ambiguous || entry.attempts >= MAX_ATTEMPTS {
            return None;
        }
        let delay = match self.round_trip.smoothed() {
            // Unless round trips vary so much that packets overtake each other. Under a new number, one that is only
            // late would be delivered twice.
            Some(smoothed) if entry.lost => {
                let certainty = if self.is_recent(entry.number) { 1 } else { 4 };
                smoothed + self.round_trip.variation() * certainty
            }
            _ if index < MAX_PROBES => self.resend_delay(entry.attempts),
            _ => return None,
        };
        let copy = self.spacing().filter(|_| entry.takes_copy());
        let copy = copy.map(|spacing| self.copy_at.max(entry.sent + spacing));
        Some(copy.into_iter().fold(entry.sent + delay, Instant::min))
    }

    /// The neighbour knows a frame of this number, if it came.
    const fn is_recent(&self, number: u64) -> bool {
        number + HISTORY > self.next_frame
    }

    /// The time from one copy to the next; `None`: more is on its way, or nothing gets lost.
    fn spacing(&self) -> Option<Duration> {
        let is_thin = self.unsent.front().is_none() && self.in_flight.len() <= MAX_PROBES;
        let loses = self.loss.share() > Some(NOTICEABLE);
        let minimum = self.round_trip.minimum().filter(|_| is_thin && loses)?;
        Some((minimum / u32::from(MAX_COPIES + 1)).max(MIN_SPACING))
    }

    fn resend_delay(&self, attempts: u8) -> Duration {
        if let Some(reference) = &self.reference {
            return reference.resend_delay();
        }
        let first = match self.round_trip.smoothed() {
            Some(smoothed) => smoothed + (self.round_trip.variation() * 4).max(MIN_VARIATION),
            None => INITIAL_RESEND_DELAY,
        };
        first * (1 << attempts.min(MAX_BACKOFF))
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;

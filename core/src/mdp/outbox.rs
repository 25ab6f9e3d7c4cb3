//! Frames on their way to one neighbour, and their retransmission (`spec/50` section 6).
//!
//! The neighbour acknowledges packets, not frames: a frame is delivered when the packet in which it was
//! sent last is. It is sent again, in a new packet, as soon as packets sent later were acknowledged and its
//! own was not. When nothing is heard for longer than round trips take, the first few are sent again, whose
//! acknowledgment tells of the rest. That goes on for a second; what is older is left to the layers above.
//!
//! A receiver knows only the last frames by their numbers. One that has fallen behind them is sent under a
//! new number, if it is known to be lost.

use super::Transport;
use super::hop_repair::{HopRepair, ReferenceHop};
use super::queue::Queue;
use super::relay::Place;
use crate::path::RoundTrip;
use crate::wire::linkstate::Ack;
use crate::wire::mdp::Protection;
use crate::wire::overlay::Hops;
use crate::{Instant, Sid};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

/// A frame keeps its number while it is among this many last ones. A receiver tells 64 apart by their sequence
/// numbers (`spec/30` section 3); the rest is for reordering on the way, after which an older frame would
/// look new.
const HISTORY: u64 = 48;
/// Packets that can be on their way before their numbers on the wire, of 8 bits, become ambiguous.
const MAX_BEHIND: u64 = 240;
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

/// A frame as it will be sent, sealed.
#[derive(Debug)]
pub(super) struct Frame {
    /// Who made it, `None` if this node did.
    pub(super) source: Option<Sid>,
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
    sent: Instant,
    attempts: u8,
    /// The packet in which it was sent last did not arrive.
    lost: bool,
    /// An earlier one may have.
    doubtful: bool,
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
                let entry = InFlight { frame, number, packet, sent: now, attempts: 0, lost: false, doubtful };
                self.in_flight.push_back(entry);
                0
            }
            Slot::InFlight(index) => {
                let Some(entry) = self.in_flight.get_mut(index) else { return };
                entry.doubtful |= !entry.lost;
                (entry.number, entry.packet, entry.sent, entry.lost) = (number, packet, now, false);
                entry.attempts = entry.attempts.saturating_add(1);
                entry.attempts
            }
        };
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
        self.in_flight.retain_mut(|entry| {
            let packet = entry.packet.filter(|packet| packet.transport == last.transport);
            let Some(age) = packet.and_then(|packet| newest.checked_sub(packet.number)) else { return true };
            let received = match age {
                0 => true,
                1..=32 => ack.mask >> (age - 1) & 1 != 0,
                _ => return true,
            };
            if received {
                total += now - entry.sent;
                count += 1;
                self.reference.iter_mut().for_each(|it| it.sample(now - entry.sent));
            }
            entry.lost |=
                !received && (age >= REORDERING || patience.is_some_and(|it| now - entry.sent >= it));
            !received
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
        Some(entry.sent + delay)
    }

    /// The neighbour knows a frame of this number, if it came.
    const fn is_recent(&self, number: u64) -> bool {
        number + HISTORY > self.next_frame
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

//! Frames on their way to one neighbour, and their retransmission (`spec/50` section 6).
//!
//! The neighbour acknowledges packets, not frames: a frame is delivered when the packet in which it was
//! sent last is. It is sent again, in a new packet, when packets sent later were acknowledged and its
//! own was not, or when its time is up. That goes on for a second; what is older is left to the layers above.
//!
//! A receiver knows only the last frames by their numbers. One that has fallen behind them is sent under a
//! new number, if it is known to be lost.

use super::Transport;
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
/// A packet is lost when one sent this much later was acknowledged and it was not, and a round trip has
/// passed.
const REORDERING: u64 = 3;
/// Resend delay before there is a measurement, and how many frames come again by then: their acknowledgment tells of
/// the others. The reference daemon takes up to 333 ms for that until it has measurements of its own.
const INITIAL_RESEND_DELAY: Duration = Duration::from_millis(100);
const MAX_INITIAL: usize = 4;
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
}

impl Outbox {
    pub(super) const fn new() -> Self {
        Self {
            unsent: Queue::new(),
            in_flight: VecDeque::new(),
            quiet_until: None,
            budget: Some(MAX_UNCONFIRMED),
            round_trip: RoundTrip::new(),
            next_frame: 0,
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
            let due = |entry: &InFlight| self.resend_at(entry).is_some_and(|at| at <= now);
            if let Some(index) = self.repaired().position(due) {
                return Some(Slot::InFlight(index));
            }
            self.survey();
        }
        self.may_send().then_some(Slot::Unsent)
    }

    /// Whether the neighbour hears us. If not, some frames may be sent all the same.
    pub(super) fn set_confirmed(&mut self, confirmed: bool) {
        self.budget = (!confirmed).then_some(MAX_UNCONFIRMED);
    }

    fn may_send(&self) -> bool {
        self.unsent.front().is_some() && self.budget != Some(0)
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
            }
            entry.lost |= !received && age >= REORDERING;
            !received
        });
        if count > 0 {
            self.round_trip.sample(now, total / count);
        }
        self.survey();
    }

    /// When there may be something to send: `Some(Instant::ZERO)` if there is now.
    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.may_send() { Some(Instant::ZERO) } else { self.quiet_until }
    }

    /// Those that come again if they are lost.
    fn repaired(&self) -> impl Iterator<Item = &InFlight> {
        let count = if self.round_trip.smoothed().is_some() { usize::MAX } else { MAX_INITIAL };
        self.in_flight.iter().take(count)
    }

    /// Looks through the frames in flight, so that this need not be done for each packet.
    fn survey(&mut self) {
        self.quiet_until = self.repaired().filter_map(|entry| self.resend_at(entry)).min();
    }

    /// When the frame is to be sent again. Never if nobody knows whether it arrived, and the neighbour would
    /// take it for a new one, or after too many attempts.
    fn resend_at(&self, entry: &InFlight) -> Option<Instant> {
        let ambiguous = !self.is_recent(entry.number) && (entry.doubtful || !entry.lost);
        if ambiguous || entry.attempts >= MAX_ATTEMPTS {
            return None;
        }
        let delay = match self.round_trip.smoothed() {
            // Unless round trips vary so much that packets overtake each other.
            Some(smoothed) if entry.lost => smoothed + self.round_trip.variation() * 4,
            _ => self.resend_delay(entry.attempts),
        };
        Some(entry.sent + delay)
    }

    /// The neighbour knows a frame of this number, if it came.
    const fn is_recent(&self, number: u64) -> bool {
        number + HISTORY > self.next_frame
    }

    fn resend_delay(&self, attempts: u8) -> Duration {
        let first = match self.round_trip.smoothed() {
            Some(smoothed) => smoothed + (self.round_trip.variation() * 4).max(MIN_VARIATION),
            None => INITIAL_RESEND_DELAY,
        };
        first * (1 << attempts.min(MAX_BACKOFF))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::iter;

    const UNICAST: Transport = Transport::Unicast;

    fn packet(number: u64) -> PacketNumber {
        PacketNumber { transport: UNICAST, number }
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn frame(millis: u64) -> Frame {
        Frame {
            source: None,
            destination: Sid::new([1; 32]),
            hops: Hops::DEFAULT,
            flood: None,
            protection: Protection::Clear,
            payload: Vec::new(),
            queued: at(millis),
            once: false,
            number: None,
            _place: None,
        }
    }

    /// An outbox from which frames 0, 1, ... were sent at time 0 in the packets `first`, `first + 1`, ...
    fn sent(first: u64, count: u64) -> Outbox {
        let mut outbox = Outbox::new();
        outbox.set_confirmed(true);
        for number in 0..count {
            outbox.push(frame(0));
            outbox.sent(at(0), Slot::Unsent, number, Some(packet(first + number)));
        }
        outbox
    }

    /// Takes everything that is to be sent again, in packets from `number` on.
    fn resend(outbox: &mut Outbox, now: Instant, number: u64) -> Vec<u64> {
        let mut packets = number..;
        let frames = iter::from_fn(|| {
            let slot = outbox.next(now)?;
            let number = outbox.get(slot)?.1?;
            outbox.sent(now, slot, number, packets.next().map(packet));
            Some(number)
        });
        frames.collect()
    }

    #[test]
    fn what_later_packets_overtook_is_lost() {
        let mut outbox = sent(250, 8);
        // 250 came, 251 to 253 and 255 did not, 254 and 256 came, 257 is under way: 256 is 0 on the wire.
        outbox.acknowledge(at(10), packet(257), Ack { sequence: 0, mask: 0b10_0010 });
        // A round trip is 10 ms, give or take 5.
        assert_eq!((resend(&mut outbox, at(29), 258), outbox.deadline()), (Vec::new(), Some(at(30))));
        assert_eq!(resend(&mut outbox, at(30), 258)[..3], [1, 2, 3]);
    }

    #[test]
    fn an_acknowledgment_from_before_a_restart_means_nothing() {
        let mut outbox = sent(300, 2);
        for sequence in [(302_u64 as u8), 200, 173] {
            outbox.acknowledge(at(10), packet(301), Ack { sequence, mask: u32::MAX });
        }
        assert_eq!(resend(&mut outbox, at(400), 302), [0, 1]);
        let other = PacketNumber { transport: Transport::Broadcast, number: 303 };
        outbox.acknowledge(at(401), other, Ack { sequence: 303_u64 as u8, mask: u32::MAX });
        assert_eq!(outbox.in_flight.len(), 2, "another stream");
        outbox.acknowledge(at(401), packet(303), Ack { sequence: 303_u64 as u8, mask: u32::MAX });
        assert_eq!(outbox.in_flight.len(), 0);
    }

    #[test]
    fn an_acknowledgment_of_what_was_not_sent_yet_means_nothing() {
        let mut outbox = sent(300, 300);
        let next = PacketNumber { transport: UNICAST, number: 600 };
        outbox.acknowledge(at(10), packet(599), Ack { sequence: next.number as u8, mask: u32::MAX });
        assert_eq!(outbox.in_flight.len(), 300);
        assert!(outbox.in_flight.iter().all(|entry| !entry.lost));
    }

    #[test]
    fn without_acknowledgment_frames_come_again_less_and_less_often() {
        let mut outbox = sent(300, 2);
        outbox.acknowledge(at(10), packet(301), Ack { sequence: 301_u64 as u8, mask: 0 });
        // 10 ms to and fro, no less than 20 ms for variation.
        let times = iter::from_fn(|| {
            let deadline = outbox.deadline()?;
            assert_eq!(resend(&mut outbox, deadline, 302), [0]);
            Some(deadline)
        });
        assert_eq!(times.take(4).collect::<Vec<_>>(), [at(30), at(90), at(210), at(450)]);
    }

    #[test]
    fn the_first_attempts_wait_for_a_measurement() {
        assert_eq!(sent(300, 1).deadline(), Some(at(100)));
    }

    #[test]
    fn until_there_is_a_measurement_four_frames_come_again() {
        let mut outbox = sent(300, 6);
        assert_eq!(resend(&mut outbox, at(100), 306), [0, 1, 2, 3]);
        outbox.acknowledge(at(110), packet(309), Ack { sequence: 309_u64 as u8, mask: 0 });
        assert_eq!(resend(&mut outbox, at(2000), 310), [0, 1, 2, 4, 5]);
    }

    #[test]
    fn a_frame_that_was_sent_before_there_was_a_way_keeps_its_number() {
        let mut outbox = Outbox::new();
        for number in [Some(HISTORY), None] {
            outbox.push(Frame { number, ..frame(0) });
        }
        outbox.next_frame = 2 * HISTORY - 1;
        assert_eq!(outbox.get(Slot::Unsent).unwrap().1, Some(HISTORY));
        outbox.next_frame += 1;
        assert_eq!(outbox.get(Slot::Unsent).unwrap().1, None, "it is not known any more");
        outbox.sent(at(0), Slot::Unsent, HISTORY, None);
        assert_eq!(outbox.get(Slot::Unsent).unwrap().1, None, "the other was not sent");
        assert!(outbox.in_flight[0].doubtful);
    }

    #[test]
    fn a_frame_that_is_lost_before_there_is_a_measurement_comes_again() {
        let mut outbox = sent(300, 1);
        outbox.acknowledge(at(10), packet(304), Ack { sequence: 304_u64 as u8, mask: 0b111 });
        assert_eq!(outbox.deadline(), Some(at(100)));
        assert_eq!(resend(&mut outbox, at(100), 305), [0]);
    }

    #[test]
    fn a_frame_comes_again_32_times_at_most() {
        let mut outbox = sent(300, 2);
        outbox.acknowledge(at(0), packet(301), Ack { sequence: 301_u64 as u8, mask: 0 });
        // It is said to be lost again and again.
        let mut count = 0;
        for number in (400..).step_by(4).take(100) {
            count += resend(&mut outbox, at(number), number).len();
            outbox.acknowledge(at(number), packet(number + 3), Ack { sequence: number as u8 + 3, mask: 0 });
        }
        assert_eq!((count, outbox.in_flight.len()), (32, 1));
        assert_eq!((outbox.next(at(10_000)), outbox.deadline()), (None, None));
    }

    #[test]
    fn old_frames_are_given_up() {
        let mut outbox = sent(300, 10);
        let second = Duration::from_secs(1);
        outbox.expire(at(999), second, 10);
        assert_eq!(outbox.in_flight.len(), 10);
        outbox.expire(at(1000), second, 10);
        assert_eq!(outbox.in_flight.len(), 0);
        assert_eq!((outbox.next(at(1000)), outbox.deadline()), (None, None));
        outbox.push(frame(1000));
        assert_eq!(outbox.expire(at(2000), second, 10), 1);
        assert_eq!(outbox.unsent(), 0);
    }

    #[test]
    fn a_frame_that_the_neighbour_no_longer_knows_by_its_number_is_sent_again_only_if_it_is_lost() {
        let mut outbox = sent(300, 4);
        outbox.expire(at(1), Duration::from_secs(1), HISTORY + 1);
        assert_eq!(resend(&mut outbox, at(400), 304), [2, 3], "what has fallen behind may have come");
        outbox.acknowledge(at(401), packet(305), Ack { sequence: 303_u64 as u8, mask: 0b10 });
        assert_eq!(outbox.next(at(401)), None, "it may still come");
        let slot = outbox.next(at(2000)).unwrap();
        assert_eq!(slot, Slot::InFlight(0), "the first did not come, the second did");
        assert_eq!(outbox.get(slot).unwrap().1, None, "it needs a new number");
        outbox.sent(at(999), slot, HISTORY + 2, Some(packet(306)));
        outbox.expire(at(999), Duration::from_secs(1), HISTORY + 3);
        assert_eq!(outbox.get(slot).unwrap().1, Some(HISTORY + 2));
    }

    #[test]
    fn the_delay_leaves_room_for_round_trips_that_vary() {
        let mut outbox = sent(300, 2);
        outbox.acknowledge(at(40), packet(301), Ack { sequence: 301_u64 as u8, mask: 0 });
        assert_eq!(outbox.deadline(), Some(at(40 + 4 * 20)));
    }

    #[test]
    fn a_frame_of_which_two_copies_are_about_is_not_sent_under_a_new_number() {
        for (in_time, again) in [(false, None), (true, Some(Slot::InFlight(0)))] {
            let mut outbox = sent(300, 1);
            if in_time {
                outbox.acknowledge(at(10), packet(304), Ack { sequence: 304_u64 as u8, mask: 0b111 });
            }
            assert_eq!(resend(&mut outbox, at(400), 305), [0], "it is lost, or was not acknowledged");
            outbox.acknowledge(at(410), packet(309), Ack { sequence: 309_u64 as u8, mask: 0b111 });
            outbox.expire(at(410), Duration::from_secs(10), HISTORY + 1);
            assert_eq!(outbox.next(at(5000)), again, "the copy is lost");
        }
    }

    #[test]
    fn few_frames_are_sent_to_a_neighbour_that_may_not_hear_them() {
        let mut outbox = sent(300, 32);
        for _ in 0..2 {
            outbox.push(frame(0));
        }
        outbox.budget = Some(1);
        assert_eq!((outbox.next(at(0)), outbox.deadline()), (Some(Slot::Unsent), Some(at(0))));
        outbox.sent(at(0), Slot::Unsent, 32, None);
        assert_eq!((outbox.next(at(0)), outbox.deadline()), (None, Some(at(100))));
        outbox.set_confirmed(false);
        assert_eq!(outbox.next(at(0)), Some(Slot::Unsent));
    }

    #[test]
    fn few_frames_wait_for_their_acknowledgment() {
        let mut outbox = sent(300, 600);
        outbox.expire(at(1), Duration::from_secs(1), 600);
        assert_eq!(outbox.in_flight.len(), MAX_IN_FLIGHT);
    }
}

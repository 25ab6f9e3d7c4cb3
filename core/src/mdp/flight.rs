//! Packets on their way to one neighbour: which of them an acknowledgment tells of, and how fast they may follow
//! each other.

use super::outbox::PacketNumber;
use crate::Instant;
use crate::path::{Rate, Sent};
use crate::wire::linkstate::Ack;
use alloc::collections::VecDeque;
use core::time::Duration;

/// Packets that can be on their way.
pub(super) const MAX_PACKETS: usize = 512;
/// Acknowledgments of packets so far before the newest one that was acknowledged are late ones.
const MAX_LATE: u64 = 127;
/// Packets behind the last one that was sent whose numbers on the wire, of 8 bits, are taken for theirs when nothing
/// else is known.
const MAX_BEHIND: u64 = 240;
/// After this long without an acknowledgment, nothing else is known.
const STALE: Duration = Duration::from_secs(1);
/// What layers below add to a packet: IPv4 and UDP.
const OVERHEAD: usize = 28;

/// The packets that hold frames which the neighbour is to acknowledge, in the order of their numbers.
#[derive(Debug)]
pub(super) struct Flight {
    packets: VecDeque<(PacketNumber, Sent)>,
    /// The newest one that was acknowledged, and when that was.
    acknowledged: Option<(PacketNumber, Instant)>,
    /// When one was sent or acknowledged.
    progress: Instant,
    rate: Rate,
}

impl Flight {
    pub(super) const fn new() -> Self {
        Self { packets: VecDeque::new(), acknowledged: None, progress: Instant::ZERO, rate: Rate::new() }
    }

    /// When the next packet may leave.
    pub(super) const fn next(&self) -> Instant {
        self.rate.next()
    }

    /// When one more packet may be on its way. If nothing is heard of the others, it may after `patience`.
    pub(super) fn window_at(&self, patience: Duration) -> Instant {
        let has_window = self.rate.has_window() && self.packets.len() < MAX_PACKETS;
        if has_window { Instant::ZERO } else { self.progress + patience }
    }

    /// A packet of this length leaves; `more` says that there is another one to send.
    pub(super) fn on_sent(&mut self, now: Instant, packet: PacketNumber, length: usize, more: bool) {
        self.progress = now;
        if self.packets.len() >= MAX_PACKETS {
            self.packets.pop_front().into_iter().for_each(|(_, sent)| self.rate.on_forgotten(sent));
        }
        self.packets.push_back((packet, self.rate.on_sent(now, length + OVERHEAD, more)));
    }

    /// Nobody tells of the packets on their way any more.
    pub(super) fn forget(&mut self) {
        self.packets.drain(..).for_each(|(_, sent)| self.rate.on_forgotten(sent));
        self.acknowledged = None;
    }

    /// The number of the newest packet that `ack` tells of; `last` was sent last. Only 8 bits of it are on the
    /// wire, and more packets than these tell apart can be on their way: it comes after the one before.
    pub(super) fn newest(&self, now: Instant, last: PacketNumber, ack: Ack) -> Option<u64> {
        let known = self.acknowledged.filter(|(it, at)| it.transport == last.transport && now - *at < STALE);
        if let Some((newest, _)) = known {
            let oldest = newest.number.saturating_sub(MAX_LATE);
            let ahead = ack.sequence.wrapping_sub(oldest as u8);
            return Some(oldest + u64::from(ahead)).filter(|number| *number <= last.number);
        }
        let behind = u64::from((last.number as u8).wrapping_sub(ack.sequence));
        (behind < MAX_BEHIND).then(|| last.number.saturating_sub(behind))
    }

    /// The neighbour reports which packets up to `newest` came. The least round trip to it is `minimum`. Gives that of
    /// the newest packet, if this is news.
    pub(super) fn acknowledge(
        &mut self,
        now: Instant,
        newest: PacketNumber,
        ack: Ack,
        minimum: Option<Duration>,
    ) -> Option<Duration> {
        let is_late = |(known, _): (PacketNumber, _)| {
            known.transport == newest.transport && known.number > newest.number
        };
        if !self.acknowledged.is_some_and(is_late) {
            self.acknowledged = Some((newest, now));
        }
        let mut round_trip = None;
        while let Some((packet, sent)) = self.packets.front().copied() {
            if packet.transport == newest.transport && packet.number > newest.number {
                break;
            }
            self.packets.pop_front();
            let lost = match newest.number - packet.number.min(newest.number) {
                0 => false,
                age @ 1..=32 => ack.mask >> (age - 1) & 1 == 0,
                _ => false, // earlier acknowledgments told, and were lost
            };
            if packet == newest {
                round_trip = Some(sent.age(now));
            }
            self.rate.on_answered(sent, lost);
            self.progress = now;
        }
        let minimum = minimum.into_iter().chain(round_trip).min().unwrap_or_default();
        self.rate.on_acknowledged(now, round_trip, minimum);
        round_trip
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mdp::Transport;

    const fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    const fn packet(number: u64) -> PacketNumber {
        PacketNumber { transport: Transport::Unicast, number }
    }

    const fn ack(number: u64) -> Ack {
        Ack { sequence: number as u8, mask: u32::MAX }
    }

    /// Packets `first`, `first + 1`, ... were sent, one a millisecond from time 0 on.
    fn sent(first: u64, count: u64) -> Flight {
        let mut flight = Flight::new();
        (0..count).for_each(|n| flight.on_sent(at(n), packet(first + n), 1100, true));
        flight
    }

    #[test]
    fn more_than_256_packets_on_their_way_are_told_apart_by_what_was_acknowledged_before() {
        let mut flight = sent(1000, 400);
        let last = packet(1399);
        // Without anything before, it is taken for one of the last 240.
        assert_eq!(flight.newest(at(400), last, ack(1100)), Some(1356));
        assert_eq!(
            flight.acknowledge(at(400), packet(1010), ack(1010), None),
            Some(Duration::from_millis(390))
        );
        for (number, newest) in
            [(1011, Some(1011)), (1100, Some(1100)), (1000, Some(1000)), (1138, Some(1138))]
        {
            assert_eq!(flight.newest(at(410), last, ack(number)), newest);
        }
        assert_eq!(flight.newest(at(410), packet(1020), ack(1100)), None, "never sent");
        flight.acknowledge(at(410), packet(1100), ack(1100), None);
        flight.acknowledge(at(411), packet(1090), ack(1090), None);
        assert_eq!(flight.newest(at(411), last, ack(1227)), Some(1227), "a late one changes nothing");
        assert_eq!(
            flight.newest(at(1411), last, ack(1100)),
            Some(1356),
            "all that is forgotten after a second"
        );
    }

    #[test]
    fn an_acknowledgment_answers_for_all_packets_before_it() {
        let mut flight = sent(300, 100);
        assert_eq!(flight.acknowledge(at(100), packet(350), ack(350), None), Some(Duration::from_millis(50)));
        assert_eq!(flight.packets.front().map(|(packet, _)| packet.number), Some(351));
        assert_eq!(flight.acknowledge(at(101), packet(349), ack(349), None), None);
        assert!(flight.window_at(Duration::MAX) > at(101));
        flight.forget();
        assert_eq!((flight.packets.len(), flight.window_at(Duration::MAX)), (0, at(0)));
    }

    #[test]
    fn when_nothing_is_answered_one_packet_leaves_after_each_patience() {
        let mut flight = Flight::new();
        let patience = Duration::from_millis(500);
        let mut now = at(1000);
        let count = (0..).take_while(|n| {
            let open = flight.window_at(patience) <= now;
            open.then(|| flight.on_sent(now, packet(*n), 1172, true)).is_some()
        });
        assert_eq!(count.count(), 32);
        for n in 0..2000 {
            assert_eq!(flight.window_at(patience), now + patience);
            now += patience;
            flight.on_sent(now, packet(100 + n), 1172, true);
        }
        assert_eq!(flight.packets.len(), MAX_PACKETS);
    }
}

//! Copies of what a thin stream sends.
//!
//! A keystroke has no packets behind it that would show its loss, and waits for a timer that must be longer than a round
//! trip. So where packets get lost, the last few segments of a stream that has nothing else to send are sent again and
//! again while nothing can have come back yet: with eight copies in a round trip, spread over it as losses come in
//! bursts, one gets through. Copies take a small part of what the way takes, so that they slow no other stream down.

use super::selective::Asking;
use super::send::{Outgoing, SendBuffer};
use crate::Instant;
use core::time::Duration;

/// Segments on their way that are few enough.
const MAX_COPIED: usize = 4;
/// Copies before something comes back, of all these segments together.
const MAX_COPIES: u8 = 8;
const MIN_SPACING: Duration = Duration::from_millis(1);
const MAX_SPACING: Duration = Duration::from_millis(20);

/// The copies of one stream.
#[derive(Debug)]
pub(super) struct Copies {
    /// The time from one to the next; `None`: nothing gets lost here.
    spacing: Option<Duration>,
    /// How many there were since the latest transmission that is no copy, and when the last one of all was.
    count: u8,
    last: Instant,
}

impl Copies {
    pub(super) const NONE: Self = Self { spacing: None, count: 0, last: Instant::ZERO };

    /// Whether the way may lose packets, and the peer does not mind copies.
    pub(super) const fn are_made(&self) -> bool {
        self.spacing.is_some()
    }

    /// A segment was sent that is no copy.
    pub(super) const fn restart(&mut self, now: Instant) {
        (self.count, self.last) = (0, now);
    }
}

impl SendBuffer {
    /// The shortest round trip if the way loses packets.
    pub(super) fn set_copied(&mut self, round_trip: Option<Duration>) {
        let spacing = |round_trip: Duration| round_trip / u32::from(MAX_COPIES);
        self.copies.spacing = round_trip.map(|it| spacing(it).clamp(MIN_SPACING, MAX_SPACING));
    }

    /// When the next copy is due.
    pub(super) fn copy_at(&self) -> Option<Instant> {
        let copies = &self.copies;
        let is_thin = self.lost == 0 && self.unsent() == 0 && (1..=MAX_COPIED).contains(&self.in_flight());
        let at = copies.last + copies.spacing?;
        (is_thin && copies.count < MAX_COPIES).then_some(at)
    }

    /// When a packet is due that does but ask what has arrived: after some without an answer, or where packets get lost,
    /// with each of the first ones.
    pub(super) fn question_at(&self) -> Option<Instant> {
        let selective = self.selective.as_ref()?;
        if selective.asking == Asking::Question {
            return Some(Instant::ZERO);
        }
        let at = self.copies.last + self.copies.spacing?;
        let asks = selective.is_silent() && self.has_echoes && self.lost == 0 && self.copy_at().is_none();
        (asks && self.copies.count < MAX_COPIES).then_some(at)
    }

    /// It is sent. Whether it takes the place of a copy.
    pub(super) fn note_question(&mut self, now: Instant) -> bool {
        let Some(selective) = &mut self.selective else { return false };
        selective.asked = now;
        let is_copy = core::mem::replace(&mut selective.asking, Asking::Nothing) != Asking::Question;
        if is_copy {
            (self.copies.count, self.copies.last) = (self.copies.count + 1, now);
        }
        is_copy
    }

    /// The next copy, of each segment in turn. The caller may also leave it.
    pub(super) fn next_copy(&mut self, now: Instant) -> Option<Outgoing<'_>> {
        let count = self.in_flight().max(1);
        let index = usize::from(self.copies.count) % count;
        (self.copies.count, self.copies.last) = (self.copies.count + 1, now);
        let sent = (0..).zip(self.segments.iter_mut().take(self.sent));
        let (place, segment) = sent.filter(|(_, segment)| !segment.received && !segment.lost).nth(index)?;
        if !segment.whole {
            return None; // one part alone is of no use
        }
        segment.copied = true;
        let (seq, shutdown) = (self.base + place, segment.shutdown);
        let payload = &segment.payload;
        Some(Outgoing { seq, payload, part: None, shutdown, retransmission: true, prompt: false })
    }
}

#[cfg(test)]
mod tests {
    use super::super::paths::Path;
    use super::*;
    use crate::Seq;
    use crate::wire::extended::{Acknowledgment, Ranges};
    use alloc::vec::Vec;
    use bytes::Bytes;

    const fn ms(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// A buffer that has sent so many segments at 100 ms, on a way with this round trip that loses packets.
    fn sent(segments: usize, round_trip: Option<u64>) -> SendBuffer {
        let mut buffer = SendBuffer::new();
        buffer.use_reports();
        buffer.set_copied(round_trip.map(Duration::from_millis));
        (0..segments).for_each(|_| buffer.push(Bytes::from_static(b"x")));
        (0..segments).for_each(|_| assert!(buffer.next(ms(100)).is_some()));
        buffer
    }

    /// When copies are made, and of which segments.
    fn copies(buffer: &mut SendBuffer) -> Vec<(u64, u32)> {
        let next = || {
            let at = buffer.copy_at()?;
            let copy = buffer.next_copy(at)?;
            Some((at.as_micros() / 1000, copy.seq.0))
        };
        core::iter::from_fn(next).take(100).collect()
    }

    #[test]
    fn eight_copies_are_spread_over_a_round_trip_among_the_segments_on_their_way() {
        let times = (1..=8).map(|n| 100 + 5 * n);
        assert_eq!(copies(&mut sent(1, Some(40))), times.clone().map(|at| (at, 0)).collect::<Vec<_>>());
        let of_three = times.zip([0, 1, 2].into_iter().cycle()).collect::<Vec<_>>();
        assert_eq!(copies(&mut sent(3, Some(40))), of_three);
        assert_eq!(copies(&mut sent(1, Some(800)))[0].0, 120, "no more than 20 ms apart");
        assert_eq!(copies(&mut sent(1, Some(1)))[0].0, 101, "no less than 1 ms");
    }

    /// All acknowledgments of a first flight may be lost.
    #[test]
    fn a_first_flight_is_probed_before_a_whole_timeout_where_copies_are_made() {
        let timeout = |round_trip: Option<u64>| {
            let mut buffer = SendBuffer::new();
            buffer.set_copied(round_trip.map(Duration::from_millis));
            (0..8).for_each(|_| buffer.push(Bytes::from_static(b"x")));
            (0..8).for_each(|_| assert!(buffer.next(ms(100)).is_some()));
            let (mut path, round_trip) = (Path::new(), crate::path::RoundTrip::new());
            let at = buffer.timeout(&round_trip);
            assert_eq!(
                buffer.on_timeout(at.unwrap(), &round_trip, &mut path),
                super::super::send::Loss::Timeout
            );
            at
        };
        assert_eq!([Some(80), None].map(timeout), [Some(ms(350)), Some(ms(1100))]);
    }

    #[test]
    fn nothing_is_copied_on_a_good_way_nor_of_many_segments() {
        assert_eq!(copies(&mut sent(1, None)), []);
        assert_eq!(copies(&mut sent(5, Some(40))), []);
        let mut buffer = sent(1, Some(40));
        buffer.push(Bytes::from_static(b"more"));
        assert_eq!(copies(&mut buffer), [], "what follows shows the loss");
    }

    /// What comes back may be what gets lost.
    #[test]
    fn eight_questions_follow_a_probe_of_a_stream_that_is_not_thin_where_packets_get_lost() {
        let questions = [Some(40), None].map(|lossy| {
            let (mut buffer, mut path, round_trip) =
                (sent(9, lossy), Path::new(), crate::path::RoundTrip::new());
            buffer.has_echoes = true;
            assert_eq!(buffer.question_at(), None);
            let at = buffer.timeout(&round_trip).unwrap();
            buffer.on_timeout(at, &round_trip, &mut path);
            assert_eq!(buffer.question_at(), None, "the probe is first");
            assert!(buffer.next(at).is_some_and(|probe| probe.prompt));
            let next = || {
                let asked = buffer.question_at()?;
                assert!(buffer.note_question(asked));
                Some((asked - at).as_millis())
            };
            core::iter::from_fn(next).take(100).collect::<Vec<_>>()
        });
        assert_eq!(questions[0], [5, 10, 15, 20, 25, 30, 35, 40]);
        assert_eq!(questions[1], []);
    }

    #[test]
    fn what_has_arrived_is_copied_no_more() {
        let mut buffer = sent(1, Some(40));
        let report = Acknowledgment { consumed: Seq(0), window: 9, ranges: Ranges::new() };
        buffer.on_report(ms(140), &report, None, &mut Path::new());
        assert_eq!(copies(&mut buffer), []);
    }

    #[test]
    fn copies_take_a_small_part_of_the_way() {
        let mut path = Path::new();
        let burst = (0..100).take_while(|_| path.takes_copy(ms(1000), 200)).count();
        assert_eq!(burst, 20, "4096 bytes");
        let later = (1001..11_001).filter(|at| path.takes_copy(ms(*at), 200)).count();
        assert_eq!(later, 400, "8000 bytes a second");
    }
}

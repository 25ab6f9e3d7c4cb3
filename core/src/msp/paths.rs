//! The ways to peers: what the streams of one peer share. They take turns, at the rate that the way takes.

use super::MAX_MESSAGE;
use super::carriage::Carriage;
use super::receive::MESSAGE_OVERHEAD;
use crate::path::{Loss, Rate, RoundTrip};
use crate::{Instant, Sid};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::time::Duration;

/// Ways that are remembered without a stream on them, so that the next one need not begin anew.
const MAX_REMEMBERED: usize = 16;

/// Before there is a measurement, copies leave at the distance that suits this.
const UNKNOWN_ROUND_TRIP: Duration = Duration::from_millis(80);
/// The part of what the way takes that copies may have, or so many bytes a second, and so many at once.
const COPIED_PART: u64 = 32;
const COPIED_RATE: u64 = 8000;
const COPIED_BURST: u64 = 4096;

/// While nothing comes back, one stream asks whether the way works so often. With all headers that is 400 bytes a second.
pub(super) const QUESTION_INTERVAL: Duration = Duration::from_millis(250);

/// The way to a peer.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) round_trip: RoundTrip,
    pub(crate) rate: Rate,
    loss: Loss,
    /// When all copies would have left at the rate that they may have.
    copied: Instant,
    pub(crate) carriage: Carriage,
    /// Each hop repairs its losses.
    pub(super) is_repaired: bool,
    /// When a stream last asked whether it works, if nothing has come since.
    asked: Option<Instant>,
    /// Others wait for the answer, or it has come.
    awaited: bool,
    pub(super) rouses: bool,
    streams: usize,
    /// When the last stream on it ended.
    left: Instant,
}

impl Path {
    pub(crate) const fn new() -> Self {
        Self {
            round_trip: RoundTrip::new(),
            rate: Rate::new(),
            loss: Loss::NONE,
            copied: Instant::ZERO,
            carriage: Carriage::new(),
            is_repaired: false,
            asked: None,
            awaited: false,
            rouses: false,
            streams: 0,
            left: Instant::ZERO,
        }
    }

    /// Segments were acknowledged, after this time.
    pub(super) fn on_acknowledged(
        &mut self,
        now: Instant,
        round_trip: Option<Duration>,
        held: Option<Duration>,
    ) {
        round_trip.into_iter().for_each(|sample| self.round_trip.sample(now, sample));
        let variation = self.round_trip.variation();
        self.rate.set_tolerance(if self.is_repaired { variation * 2 } else { Duration::ZERO });
        let minimum = self.round_trip.minimum();
        let minimum = minimum.or(round_trip).unwrap_or_default();
        if held.is_none() {
            self.rate.interrupt_train();
        }
        self.rate.on_acknowledged(now - held.unwrap_or_default(), round_trip, minimum);
        if held.is_none() {
            self.rate.interrupt_train();
        }
    }

    /// A packet has arrived, or was lost.
    pub(super) fn note_fate(&mut self, lost: bool) {
        self.loss.note(lost);
    }

    /// The share of packets that were lost lately, in parts of a million; `None` before the first.
    pub(super) fn loss(&self) -> Option<u32> {
        self.loss.share()
    }

    /// The shortest round trip, if packets get lost. As long as nothing is known, they may.
    pub(super) fn copied_round_trip(&self) -> Option<Duration> {
        let round_trip = self.round_trip.minimum().unwrap_or(UNKNOWN_ROUND_TRIP);
        self.loss.is_noticeable().then_some(round_trip)
    }

    /// Whether a copy with so many bytes may leave now, which it does then.
    pub(super) fn takes_copy(&mut self, now: Instant, bytes: usize) -> bool {
        let rate = (self.rate.rate() / COPIED_PART).max(COPIED_RATE);
        let time = |bytes: u64| Duration::from_micros(bytes * 1_000_000 / rate);
        let copied = self.copied.max(now) + time(bytes as u64);
        let takes = copied <= now + time(COPIED_BURST);
        if takes {
            self.copied = copied;
        }
        takes
    }

    /// Whether a stream that has asked last at `asked` is to ask now whether the way works, which it does then: one asks for
    /// all, and when it does no longer, another one.
    pub(super) fn takes_question(&mut self, now: Instant, asked: &mut Instant) -> bool {
        let takes = self.asked.is_none_or(|last| last == *asked || last + QUESTION_INTERVAL * 2 <= now);
        if takes {
            (self.asked, *asked) = (Some(now), now);
        }
        self.awaited |= !takes;
        takes
    }

    /// A stream asks now.
    pub(super) const fn on_question(&mut self, now: Instant) {
        self.asked = Some(now);
    }

    /// Something has arrived at the peer that was sent after all that had, as far as a stream knows.
    pub(super) fn on_alive(&mut self) {
        self.asked = None;
        self.rouses |= core::mem::take(&mut self.awaited);
    }

    /// Whether a segment may leave now.
    pub(crate) fn is_open(&self, now: Instant) -> bool {
        self.rate.has_window() && self.rate.next() <= now
    }

    /// Full segments that may be on their way.
    pub(super) fn window(&self) -> usize {
        usize::try_from(self.rate.window()).unwrap_or(usize::MAX) / (MAX_MESSAGE + MESSAGE_OVERHEAD)
    }

    /// When a segment may leave; `None` while too much is on its way.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        self.rate.has_window().then(|| self.rate.next())
    }
}

/// All ways.
#[derive(Debug, Default)]
pub(super) struct Paths {
    paths: BTreeMap<Sid, Box<Path>>,
}

impl Paths {
    /// A stream to this peer begins.
    pub(super) fn enter(&mut self, sid: Sid) -> &mut Path {
        let path = self.paths.entry(sid).or_insert_with(|| Box::new(Path::new()));
        path.streams += 1;
        path
    }

    /// A stream ends that does not wait any more.
    pub(super) fn leave(&mut self, now: Instant, sid: &Sid) {
        let Some(path) = self.paths.get_mut(sid) else { return };
        (path.streams, path.left) = (path.streams - 1, now);
        let unused = self.paths.iter().filter(|(_, path)| path.streams == 0);
        if unused.clone().count() > MAX_REMEMBERED
            && let Some(oldest) = unused.min_by_key(|(_, path)| path.left).map(|(sid, _)| *sid)
        {
            self.paths.remove(&oldest);
        }
    }

    pub(super) fn get(&self, sid: &Sid) -> Option<&Path> {
        self.paths.get(sid).map(|path| &**path)
    }

    pub(super) fn get_mut(&mut self, sid: &Sid) -> Option<&mut Path> {
        self.paths.get_mut(sid).map(|path| &mut **path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_leaves_if_few_have_before() {
        let (mut path, now) = (Path::new(), Instant::from_millis(1000));
        let taken = |path: &mut Path, now| (0..99).take_while(|_| path.takes_copy(now, 1024)).count();
        assert_eq!((taken(&mut path, now), taken(&mut path, now)), (4, 0));
        // 8 kB/s, as nothing is known of what the way takes.
        assert_eq!(taken(&mut path, now + Duration::from_millis(127)), 0);
        assert_eq!(taken(&mut path, now + Duration::from_millis(128)), 1);
        assert_eq!(taken(&mut path, now + Duration::from_secs(9)), 4);
    }

    #[test]
    fn one_stream_asks_until_it_does_so_no_longer() {
        let (mut path, start) = (Path::new(), Instant::from_millis(1000));
        let mut asked = [Instant::ZERO; 2];
        let mut takes = |path: &mut Path, stream: usize, millis| {
            path.takes_question(start + Duration::from_millis(millis), &mut asked[stream])
        };
        assert_eq!(
            [takes(&mut path, 0, 0), takes(&mut path, 1, 0), takes(&mut path, 1, 10)],
            [true, false, false]
        );
        assert_eq!([takes(&mut path, 0, 250), takes(&mut path, 1, 749)], [true, false]);
        assert_eq!([takes(&mut path, 1, 750), takes(&mut path, 0, 751)], [true, false]);
        path.on_alive();
        assert!(core::mem::take(&mut path.rouses), "one was told to wait");
        path.on_alive();
        assert!(!path.rouses);
    }

    #[test]
    fn as_many_ways_are_remembered_as_may_be_and_those_with_streams() {
        let mut paths = Paths::default();
        let sid = |number: u8| Sid::new([number; 32]);
        (0..3).for_each(|_| _ = paths.enter(sid(200)));
        paths.leave(Instant::ZERO, &sid(200));
        for number in 0..100 {
            paths.enter(sid(number));
            paths.leave(Instant::from_millis(number.into()), &sid(number));
        }
        paths.leave(Instant::from_millis(200), &sid(200));
        paths.leave(Instant::from_millis(200), &sid(201));
        let remembered = (0..=201).filter(|number| paths.get(&sid(*number)).is_some());
        assert_eq!(
            remembered.collect::<alloc::vec::Vec<_>>(),
            (84..100).chain([200]).collect::<alloc::vec::Vec<_>>()
        );
        paths.leave(Instant::from_millis(300), &sid(200));
        assert!(paths.get(&sid(84)).is_none() && paths.get(&sid(200)).is_some(), "the oldest has gone");
    }
}

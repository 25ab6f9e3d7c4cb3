//! The ways to peers: what the streams of one peer share. They take turns, at the rate that the way takes.

use super::MAX_MESSAGE;
use super::receive::MESSAGE_OVERHEAD;
use crate::path::{Rate, RoundTrip};
use crate::{Instant, Sid};
use alloc::collections::BTreeMap;
use core::time::Duration;

/// Ways that are remembered without a stream on them, so that the next one need not begin anew.
const MAX_REMEMBERED: usize = 16;

/// The way to a peer.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) round_trip: RoundTrip,
    pub(crate) rate: Rate,
    streams: usize,
    /// When the last stream on it ended.
    left: Instant,
}

impl Path {
    pub(crate) const fn new() -> Self {
        Self { round_trip: RoundTrip::new(), rate: Rate::new(), streams: 0, left: Instant::ZERO }
    }

    /// Segments were acknowledged, after this time.
    pub(super) fn on_acknowledged(&mut self, now: Instant, round_trip: Option<Duration>, held: Duration) {
        round_trip.into_iter().for_each(|sample| self.round_trip.sample(now, sample));
        let minimum = self.round_trip.minimum();
        self.rate.on_acknowledged(now - held, round_trip, minimum.or(round_trip).unwrap_or_default());
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
    paths: BTreeMap<Sid, Path>,
}

impl Paths {
    /// A stream to this peer begins.
    pub(super) fn enter(&mut self, sid: Sid) -> &mut Path {
        let path = self.paths.entry(sid).or_insert(const { Path::new() });
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
        self.paths.get(sid)
    }

    pub(super) fn get_mut(&mut self, sid: &Sid) -> Option<&mut Path> {
        self.paths.get_mut(sid)
    }
}

//! Frames that wait for their first transmission to a neighbour: whose turn it is (`spec/30` section 7).
//!
//! The hosts that hand this node frames to pass on share the way with each other and with the node itself, by bytes. What
//! a host has is shared likewise by the sources of its frames, and what a source has goes to its most urgent class first.
//! A host counts before its sources since those are only names: nobody gets more by making up some, or by calling
//! everything urgent.
//!
//! This is self-clocked fair queueing (S. J. Golestani, "A Self-Clocked Fair Queueing Scheme for Broadband Applications",
//! 1994): each frame gets a turn, so much behind the one of its host before it as it is long, and the clock that says where
//! newcomers begin is the turn of the frame that was sent last. Nothing has to be remembered of who has no frame here.

use super::outbox::Frame;
use crate::{Instant, Sid};
use alloc::collections::VecDeque;
use core::net::IpAddr;
use core::time::Duration;

/// Classes that the wire can tell, the most urgent first: voice, management of the mesh, video, ordinary. A frame goes
/// before one of the next class of its source that has come so much earlier, so that none waits for ever.
const PATIENCE: Duration = Duration::from_millis(50);
/// What a frame costs besides its payload, in bytes.
const OVERHEAD: u64 = 64;

#[derive(Debug)]
struct Waiting {
    frame: Frame,
    /// The turn of its host that this is, and of its source among those of the host.
    turn: u64,
    round: u64,
}

impl Waiting {
    fn is_of(&self, host: Option<IpAddr>) -> bool {
        self.frame.host == host
    }

    fn is_from(&self, host: Option<IpAddr>, source: Option<Sid>) -> bool {
        self.is_of(host) && self.frame.source == source
    }

    /// As if it had come then.
    fn since(&self) -> Instant {
        self.frame.queued + PATIENCE * u32::from(self.frame.hops.0 >> 5)
    }
}

/// Frames that wait.
#[derive(Debug)]
pub(super) struct Queue {
    /// In the order in which they are sent, if no other comes.
    frames: VecDeque<Waiting>,
    /// The turn of the last frame that was sent.
    clock: u64,
    /// How many of the frames are this node's own.
    own: usize,
    /// None of them has come before.
    since: Instant,
}

impl Queue {
    pub(super) const fn new() -> Self {
        Self { frames: VecDeque::new(), clock: 0, own: 0, since: Instant::ZERO }
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether this node may put another frame of its own, or one of that source from that host, into a queue of so many
    /// places for either kind. A host has at most twice as many as it leaves to others, so that there is always one for a
    /// newcomer, and a source twice as many as it leaves to others of its host.
    pub(super) fn has_room(&self, host: Option<IpAddr>, source: Option<Sid>, places: usize) -> bool {
        if host.is_none() {
            return self.own < places;
        }
        let left = |places: usize, taken: usize| places.saturating_sub(taken).saturating_mul(2);
        let of_host = self.frames.iter().filter(|it| it.is_of(host)).count();
        let of_source = self.frames.iter().filter(|it| it.is_from(host, source)).count();
        of_source < left(left(places, self.frames.len() - self.own), of_host)
    }

    pub(super) fn push(&mut self, frame: Frame) {
        let (host, source) = (frame.host, frame.source);
        let cost = frame.payload.len() as u64 + OVERHEAD;
        self.own += usize::from(host.is_none());
        self.since = if self.frames.is_empty() { frame.queued } else { self.since.min(frame.queued) };
        let before = self.frames.iter().rfind(|it| it.is_of(host)).map_or(0, |it| it.turn);
        let turn = before.max(self.clock) + cost;
        let of_source = self.frames.iter().rfind(|it| it.is_from(host, source));
        let before = of_source.or_else(|| self.frames.iter().find(|it| it.is_of(host)));
        let round = before.map_or(0, |it| it.round) + cost;
        let mut at = self.frames.partition_point(|it| it.turn <= turn);
        self.frames.insert(at, Waiting { frame, turn, round });
        at = self.advance(at, |earlier, it| earlier.is_of(host).then_some(earlier.round > it.round));
        self.advance(at, |earlier, it| earlier.is_from(host, source).then_some(earlier.since() > it.since()));
    }

    /// The next frame to send.
    pub(super) fn front(&self) -> Option<&Frame> {
        self.frames.front().map(|it| &it.frame)
    }

    /// Takes the frame that [`Queue::front`] gives.
    pub(super) fn pop(&mut self) -> Option<Frame> {
        let Waiting { frame, turn, .. } = self.frames.pop_front()?;
        self.own -= usize::from(frame.host.is_none());
        self.clock = turn;
        Some(frame)
    }

    /// Forgets what is older than `lifetime`; gives how many frames that were.
    pub(super) fn expire(&mut self, now: Instant, lifetime: Duration) -> u64 {
        let before = self.frames.len();
        if before > 0 && now - self.since >= lifetime {
            self.frames.retain(|it| now - it.frame.queued < lifetime);
            self.own = self.frames.iter().filter(|it| it.is_of(None)).count();
            self.since = self.frames.iter().map(|it| it.frame.queued).min().unwrap_or(now);
        }
        (before - self.frames.len()) as u64
    }

    /// Moves the frame at this place forward, from turn to turn of those that concern it, past those that it goes before.
    /// Gives where it is then.
    fn advance(&mut self, mut at: usize, is_before: impl Fn(&Waiting, &Waiting) -> Option<bool>) -> usize {
        for earlier in (0..at).rev() {
            match is_before(&self.frames[earlier], &self.frames[at]) {
                Some(true) => {
                    self.frames.swap(earlier, at);
                    self.exchange(earlier, at, |it| &mut it.turn);
                    if self.frames[earlier].frame.source == self.frames[at].frame.source {
                        self.exchange(earlier, at, |it| &mut it.round);
                    }
                    at = earlier;
                }
                Some(false) => break,
                None => {}
            }
        }
        at
    }

    /// Turns stay where they are, whichever frames have them.
    fn exchange(&mut self, a: usize, b: usize, turn: fn(&mut Waiting) -> &mut u64) {
        let of_a = *turn(&mut self.frames[a]);
        let of_b = core::mem::replace(turn(&mut self.frames[b]), of_a);
        *turn(&mut self.frames[a]) = of_b;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::mdp::Protection;
    use crate::wire::overlay::Hops;
    use crate::{Instant, Sid};
    use alloc::vec::Vec;

    /// A frame of this class, named by its payload.
    fn frame(class: u8, name: u8, millis: u64) -> Frame {
        let (now, payload) = (Instant::from_millis(millis), Vec::from([name]));
        let frame = Frame::new(now, Sid::new([1; 32]), Protection::Clear, payload);
        Frame { hops: Hops(class << 5 | 7), ..frame }
    }

    fn order(queue: &mut Queue) -> Vec<u8> {
        core::iter::from_fn(|| {
            let front = queue.front().map(|frame| frame.payload[0]);
            assert_eq!(queue.pop().map(|frame| frame.payload[0]), front);
            front
        })
        .collect()
    }

    #[test]
    fn the_most_urgent_class_goes_first_and_within_it_what_came_first() {
        let mut queue = Queue::new();
        for (class, name) in [(3, 1), (2, 2), (3, 3), (0, 4), (1, 5), (0, 6)] {
            queue.push(frame(class, name, 0));
        }
        assert_eq!(queue.len(), 6);
        assert_eq!(order(&mut queue), [4, 6, 5, 2, 1, 3]);
    }

    #[test]
    fn what_has_waited_for_100_ms_longer_goes_before_what_is_urgent() {
        let mut queue = Queue::new();
        queue.push(frame(3, 1, 0));
        (0..20).for_each(|n| queue.push(frame(1, 10 + n, 50 + 10 * u64::from(n))));
        queue.push(frame(3, 2, 240));
        let order = order(&mut queue);
        assert_eq!(order[..8], [10, 11, 12, 13, 14, 1, 15, 16]);
        assert_eq!(order.last(), Some(&2));
    }

    /// A frame of a hundred bytes with its overhead, from a source behind a host.
    fn passed_on(host: u8, source: u8, name: u8) -> Frame {
        let frame = Frame { source: Some(Sid::new([source; 32])), ..frame(3, name, 0) };
        Frame { host: Some(IpAddr::from([10, 0, 0, host])), payload: alloc::vec![name; 36], ..frame }
    }

    #[test]
    fn hosts_get_the_same_whoever_came_first_and_however_many_sources_they_name() {
        let mut queue = Queue::new();
        (0..6).for_each(|n| queue.push(passed_on(1, n, n)));
        (10..13).for_each(|n| queue.push(passed_on(2, 0, n)));
        queue.push(Frame { payload: alloc::vec![20; 236], ..frame(3, 20, 0) });
        assert_eq!(order(&mut queue), [0, 10, 1, 11, 2, 12, 20, 3, 4, 5], "the last one is as long as three");
    }

    #[test]
    fn sources_share_what_their_host_has_and_another_host_gets_no_less() {
        let mut queue = Queue::new();
        (0..4).for_each(|n| queue.push(passed_on(1, 1, n)));
        (10..14).for_each(|n| queue.push(passed_on(2, 0, n)));
        queue.push(passed_on(1, 2, 20));
        assert_eq!(order(&mut queue), [0, 10, 1, 11, 20, 12, 2, 13, 3]);
    }

    #[test]
    fn what_is_urgent_goes_before_what_else_there_is_of_its_source_only() {
        let mut queue = Queue::new();
        (0..3).for_each(|n| queue.push(passed_on(1, 1, n)));
        (10..13).for_each(|n| queue.push(passed_on(1, 2, n)));
        queue.push(Frame { hops: Hops(1), ..passed_on(1, 2, 20) });
        assert_eq!(order(&mut queue), [0, 1, 20, 2, 10, 11, 12]);
    }

    #[test]
    fn one_frame_at_a_time_gets_no_more_than_a_queue_full_of_them() {
        let mut queue = Queue::new();
        let mut taken = [0, 0];
        (0..10).for_each(|_| queue.push(passed_on(1, 1, 0)));
        queue.push(passed_on(2, 1, 1));
        for _ in 0..20 {
            let name = queue.pop().map_or(0, |frame| frame.payload[0]);
            queue.push(passed_on(name + 1, 1, name));
            taken[usize::from(name)] += 1;
        }
        assert_eq!(taken, [10, 10]);
    }

    #[test]
    fn there_is_room_for_a_newcomer_whoever_has_filled_the_queue() {
        let mut queue = Queue::new();
        let mut fill = |host: u8, source: u8| {
            let frame = || passed_on(host, source, 0);
            let mut count = 0;
            while queue.has_room(frame().host, frame().source, 64) {
                queue.push(frame());
                count += 1;
            }
            count
        };
        assert_eq!([fill(1, 1), fill(1, 2), fill(2, 1), fill(3, 1)], [37, 5, 13, 6]);
        let own = (0..).take_while(|_| {
            let has_room = queue.has_room(None, None, 64);
            queue.push(frame(3, 0, 0));
            has_room
        });
        assert_eq!(own.count(), 64, "this node's own do not count");
    }

    #[test]
    fn what_is_too_old_is_forgotten_in_every_class() {
        let mut queue = Queue::new();
        for (class, millis) in [(3, 0), (3, 10), (1, 0), (1, 10)] {
            queue.push(frame(class, 1, millis));
        }
        let lifetime = Duration::from_millis(1000);
        assert_eq!(queue.expire(Instant::from_millis(1000), lifetime), 2);
        assert_eq!((queue.len(), queue.own), (2, 2));
        assert_eq!(queue.expire(Instant::from_millis(1009), lifetime), 0);
        assert_eq!(queue.expire(Instant::from_millis(1010), lifetime), 2);
    }
}

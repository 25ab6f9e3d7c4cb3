//! Frames that wait for their first transmission to a neighbour, by class of service (`spec/30` section 7).

use super::outbox::Frame;
use crate::Instant;
use alloc::collections::VecDeque;
use core::time::Duration;

/// Classes that the wire can tell, the most urgent first: voice, management of the mesh, video, ordinary.
const CLASSES: usize = 4;
/// A frame that has come so much earlier goes before more urgent ones, so that none waits for ever.
const PATIENCE: Duration = Duration::from_millis(100);

/// Frames that wait, each class in the order in which they came.
#[derive(Debug)]
pub(super) struct Queue {
    classes: [VecDeque<Frame>; CLASSES],
}

impl Queue {
    pub(super) const fn new() -> Self {
        Self { classes: [const { VecDeque::new() }; CLASSES] }
    }

    pub(super) fn len(&self) -> usize {
        self.classes.iter().map(VecDeque::len).sum()
    }

    pub(super) fn push(&mut self, frame: Frame) {
        self.classes[usize::from(frame.hops.0 >> 5) % CLASSES].push_back(frame);
    }

    /// The next frame to send.
    pub(super) fn front(&self) -> Option<&Frame> {
        self.classes.get(self.next()?)?.front()
    }

    /// Takes the frame that [`Queue::front`] gives.
    pub(super) fn pop(&mut self) -> Option<Frame> {
        let class = self.next()?;
        self.classes.get_mut(class)?.pop_front()
    }

    /// Forgets what is older than `lifetime`; gives how many frames that were.
    pub(super) fn expire(&mut self, now: Instant, lifetime: Duration) -> u64 {
        let before = self.len();
        for class in &mut self.classes {
            while class.front().is_some_and(|frame| now - frame.queued >= lifetime) {
                class.pop_front();
            }
        }
        (before - self.len()) as u64
    }

    /// The class whose turn it is.
    fn next(&self) -> Option<usize> {
        let first = |class: &VecDeque<Frame>| class.front().map(|frame| frame.queued);
        let waiting = (0..).zip(&self.classes).filter_map(|(class, frames)| Some((class, first(frames)?)));
        let (urgent, since) = waiting.clone().next()?;
        let (oldest, earliest) = waiting.min_by_key(|(_, at)| *at)?;
        Some(if since - earliest >= PATIENCE { oldest } else { urgent })
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

    #[test]
    fn what_is_too_old_is_forgotten_in_every_class() {
        let mut queue = Queue::new();
        for (class, millis) in [(3, 0), (3, 10), (1, 0), (1, 10)] {
            queue.push(frame(class, 1, millis));
        }
        let lifetime = Duration::from_millis(1000);
        assert_eq!(queue.expire(Instant::from_millis(1000), lifetime), 2);
        assert_eq!(queue.len(), 2);
    }
}

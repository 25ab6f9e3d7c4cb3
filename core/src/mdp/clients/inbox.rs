//! What waits for one client.

use crate::{Instant, Port};
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

/// The kernel keeps few datagrams for a socket and does not tell when there is room again: it is tried after this
/// long, and each further time after twice as long.
const FIRST_RETRY: Duration = Duration::from_micros(200);
const LAST_RETRY: Duration = Duration::from_millis(50);
/// What a client has not taken for so long it does not want any more.
const LIFETIME: Duration = Duration::from_secs(1);

/// The ports of a client, and what waits for it.
#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) ports: BTreeSet<Port>,
    /// When it was heard, or reminded, last.
    pub(super) heard: Instant,
    /// Datagrams that it has sent, and those that were for it.
    pub(super) sent: u64,
    pub(super) received: u64,
    waiting: VecDeque<Vec<u8>>,
    full: Option<Full>,
    /// The last datagram was taken out, and has not come back.
    tried: bool,
}

/// Its socket has no room.
#[derive(Debug, Clone, Copy)]
struct Full {
    since: Instant,
    retry_at: Instant,
    retry: Duration,
}

impl Inbox {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            ports: BTreeSet::new(),
            heard: now,
            sent: 0,
            received: 0,
            waiting: VecDeque::new(),
            full: None,
            tried: false,
        }
    }

    /// How many datagrams wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Nothing would be lost by forgetting it.
    pub(super) fn is_idle(&self) -> bool {
        self.ports.is_empty() && self.waiting.is_empty()
    }

    /// When the next datagram can be taken, if there is one.
    pub(super) fn ready_at(&self) -> Option<Instant> {
        let at = self.full.map_or(Instant::ZERO, |full| full.retry_at);
        (!self.waiting.is_empty()).then_some(at)
    }

    pub(super) fn push(&mut self, datagram: Vec<u8>) {
        self.waiting.push_back(datagram);
    }

    /// The next datagram, which may come back with [`Inbox::give_back`] before the one after it is taken.
    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        if self.tried {
            self.full = None;
        }
        self.tried = true;
        self.waiting.pop_front()
    }

    /// The socket had no room for a datagram. Gives how many are lost because it has had none for too long.
    /// If none was taken, nothing changes.
    pub(super) fn give_back(&mut self, now: Instant, datagram: Vec<u8>) -> usize {
        if !core::mem::take(&mut self.tried) {
            return 0;
        }
        self.waiting.push_front(datagram);
        let (since, retry) = match self.full {
            Some(full) => (full.since, (full.retry * 2).min(LAST_RETRY)),
            None => (now, FIRST_RETRY),
        };
        self.full = Some(Full { since, retry_at: now + retry, retry });
        if now - since < LIFETIME {
            return 0;
        }
        let lost = self.waiting.len();
        self.waiting.clear();
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_socket_is_tried_less_and_less_often_until_it_takes_something() {
        let mut inbox = Inbox::new(Instant::ZERO);
        assert_eq!(inbox.ready_at(), None);
        (0..9).for_each(|n| inbox.push(alloc::vec![n]));
        let (mut now, mut waits) = (Instant::from_millis(1), Vec::new());
        for _ in 0..12 {
            let datagram = inbox.pop().unwrap();
            assert_eq!((datagram[0], inbox.give_back(now, datagram)), (0, 0));
            let next = inbox.ready_at().unwrap();
            waits.push((next - now).as_micros());
            now = next;
        }
        assert_eq!(waits[..3], [200, 400, 800]);
        assert_eq!(waits[9..], [50_000; 3]);
        assert_eq!(inbox.pop(), Some(alloc::vec![0]));
        let datagram = inbox.pop().unwrap();
        inbox.give_back(now, datagram);
        assert_eq!(inbox.ready_at(), Some(now + FIRST_RETRY), "one was taken");
    }

    #[test]
    fn what_was_not_taken_does_not_come_back() {
        let mut inbox = Inbox::new(Instant::ZERO);
        inbox.push(alloc::vec![1]);
        (0..9).for_each(|_| assert_eq!(inbox.give_back(Instant::ZERO, alloc::vec![2]), 0));
        let datagram = inbox.pop().unwrap();
        (0..9).for_each(|_| assert_eq!(inbox.give_back(Instant::ZERO, datagram.clone()), 0));
        assert_eq!((inbox.pop(), inbox.pop()), (Some(datagram), None));
    }

    #[test]
    fn what_is_not_taken_for_a_second_is_lost_and_then_what_comes_is_tried_once() {
        let mut inbox = Inbox::new(Instant::ZERO);
        let at = Instant::from_millis;
        (0..9).for_each(|n| inbox.push(alloc::vec![n]));
        for (millis, lost) in [(0, 0), (999, 0), (1000, 9)] {
            let datagram = inbox.pop().unwrap();
            assert_eq!(inbox.give_back(at(millis), datagram), lost);
        }
        assert_eq!((inbox.len(), inbox.ready_at()), (0, None));
        inbox.push(alloc::vec![9]);
        let datagram = inbox.pop().unwrap();
        assert_eq!(inbox.give_back(at(1100), datagram), 1);
    }
}

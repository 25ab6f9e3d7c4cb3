//! What the endpoint remembers of packets that can open a stream, so that a copy of one opens none.
//!
//! The wire has no connection identifier: nothing in a packet with FIRST tells a new stream from a recording
//! of an old one. But a sender never seals the same bytes twice in the same way, so an exact copy gives itself
//! away by its [`Fingerprint`].

use crate::{Fingerprint, Sid};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use core::cmp::Reverse;

/// Fingerprints of packets with FIRST, the latest of each peer.
#[derive(Debug)]
pub(super) struct Replays {
    limit: usize,
    count: usize,
    /// Counts what is remembered, to tell who has been quiet for longest.
    clock: u64,
    peers: BTreeMap<Sid, Box<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    last: u64,
    fingerprints: VecDeque<Fingerprint>,
}

impl Replays {
    /// A fingerprint, with all that belongs to a peer if it is the only one of the peer.
    pub(super) const MAX_BYTES_EACH: usize = 224;

    pub(super) const fn new(limit: usize) -> Self {
        Self { limit, count: 0, clock: 0, peers: BTreeMap::new() }
    }

    pub(super) fn contains(&self, peer: &Sid, fingerprint: Fingerprint) -> bool {
        self.peers.get(peer).is_some_and(|known| known.fingerprints.contains(&fingerprint))
    }

    /// Remembers a packet. When there is no room, the oldest of the peer with the most makes room for one
    /// that reached a stream; the packet is not remembered if it reached none.
    pub(super) fn insert(&mut self, peer: Sid, fingerprint: Fingerprint, reached_a_stream: bool) {
        if self.count >= self.limit && !(reached_a_stream && self.make_room(&peer)) {
            return;
        }
        self.count += 1;
        self.clock += 1;
        let known = self.peers.entry(peer).or_default();
        known.last = self.clock;
        known.fingerprints.push_back(fingerprint);
    }

    /// Forgets one fingerprint: of `peer` itself if it has its share, so that a peer that sends a lot makes
    /// the others lose nothing.
    fn make_room(&mut self, peer: &Sid) -> bool {
        let share = self.limit / self.peers.len().max(1);
        let own = self.peers.get(peer).map_or(0, |known| known.fingerprints.len());
        let victim = if own >= share.max(1) {
            Some(*peer)
        } else {
            let most =
                self.peers.iter().map(|(sid, known)| (known.fingerprints.len(), Reverse(known.last), *sid));
            most.max().map(|(.., sid)| sid)
        };
        let Some(victim) = victim else { return false };
        let Some(known) = self.peers.get_mut(&victim) else { return false };
        self.count -= usize::from(known.fingerprints.pop_front().is_some());
        if known.fingerprints.is_empty() {
            self.peers.remove(&victim);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn sid(number: u8) -> Sid {
        Sid::new([number; 32])
    }

    fn filled(limit: usize, packets: &[(u8, u64)]) -> Replays {
        let mut replays = Replays::new(limit);
        for (peer, number) in packets {
            replays.insert(sid(*peer), Fingerprint(*number), true);
        }
        replays
    }

    /// The numbers of a peer that are remembered, of those below 100.
    fn known(replays: &Replays, peer: u8) -> alloc::vec::Vec<u64> {
        (0..100).filter(|number| replays.contains(&sid(peer), Fingerprint(*number))).collect()
    }

    #[test]
    fn each_peer_has_its_own() {
        let replays = filled(8, &[(1, 7), (2, 8)]);
        assert_eq!((known(&replays, 1), known(&replays, 2)), (alloc::vec![7], alloc::vec![8]));
        assert!(!replays.contains(&sid(3), Fingerprint(7)));
    }

    #[test]
    fn the_oldest_of_the_peer_with_the_most_makes_room() {
        let mut replays = filled(4, &[(1, 1), (1, 2), (1, 3), (2, 4)]);
        replays.insert(sid(2), Fingerprint(5), true);
        assert_eq!((known(&replays, 1), known(&replays, 2)), (alloc::vec![2, 3], alloc::vec![4, 5]));
        // From here on a peer makes room for its own.
        replays.insert(sid(2), Fingerprint(6), true);
        assert_eq!((known(&replays, 1), known(&replays, 2)), (alloc::vec![2, 3], alloc::vec![5, 6]));
        replays.insert(sid(3), Fingerprint(7), true);
        assert_eq!((known(&replays, 1), known(&replays, 2)), (alloc::vec![3], alloc::vec![5, 6]));
        assert_eq!((known(&replays, 3), replays.count), (alloc::vec![7], 4));
    }

    #[test]
    fn of_peers_with_one_each_the_quietest_is_forgotten() {
        let mut replays = filled(3, &[(3, 1), (1, 2), (2, 3)]);
        replays.insert(sid(4), Fingerprint(4), true);
        assert_eq!(replays.peers.keys().copied().collect::<alloc::vec::Vec<_>>(), [1, 2, 4].map(sid));
    }

    #[test]
    fn what_reached_no_stream_makes_nobody_forget() {
        let mut replays = filled(2, &[(1, 1)]);
        replays.insert(sid(2), Fingerprint(2), false);
        replays.insert(sid(3), Fingerprint(3), false);
        assert_eq!((known(&replays, 1), known(&replays, 2)), (alloc::vec![1], alloc::vec![2]));
        assert!(known(&replays, 3).is_empty());
        let mut none = filled(0, &[(1, 1)]);
        none.insert(sid(1), Fingerprint(2), true);
        assert!(known(&none, 1).is_empty() && none.count == 0);
    }
}

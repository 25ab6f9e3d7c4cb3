//! Whose turn it is to send: start-time fair queueing (Goyal, Vin and Cheng, 1996).
//!
//! Each stream that has something to send waits with the number of bytes that all would have sent by its turn if they
//! had shared evenly, and the smallest number goes first. So streams that send all the time get the same bytes, and one
//! that sends little has been left behind by all others and need wait for none of them.

use super::stream::StreamId;
use crate::Sid;
use alloc::collections::BTreeSet;

/// A stream that has been idle gets so many bytes ahead of its share, a few full packets, and no more however long it
/// was.
const CREDIT: u64 = 4096;

/// Whether a datagram can be handed to what is below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    Free,
    /// There is none from this port; another may have some.
    NoneFromPort,
    /// There is none to this peer, from whichever port.
    NoneToPeer,
}

impl Room {
    pub(crate) const fn is_free(self) -> bool {
        matches!(self, Self::Free)
    }
}

/// When the turn of a stream comes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn(u64, StreamId);

/// Streams that have something to send now.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The latest turn that was taken.
    time: u64,
    /// By peer, since they wait together when there is no room to it.
    turns: BTreeSet<(Sid, Turn)>,
    /// The first turn of each peer.
    first: BTreeSet<(Turn, Sid)>,
}

impl Turns {
    /// Lines a stream up that has sent so much, as [`Turns::take`] counts it.
    pub(super) fn push(&mut self, peer: Sid, id: StreamId, sent: u64) -> Turn {
        let turn = Turn(sent.max(self.time.saturating_sub(CREDIT)), id);
        let first = self.first_of(peer);
        self.turns.insert((peer, turn));
        self.move_first(peer, first);
        turn
    }

    /// Takes a stream out of the line, which is not served.
    pub(super) fn remove(&mut self, peer: Sid, turn: Turn) {
        let first = self.first_of(peer);
        self.turns.remove(&(peer, turn));
        self.move_first(peer, first);
    }

    /// It is the turn of a stream. Returns what it has sent before.
    pub(super) fn take(&mut self, peer: Sid, turn: Turn) -> u64 {
        self.remove(peer, turn);
        self.time = self.time.max(turn.0);
        turn.0
    }

    /// Whether something is to be sent to this peer.
    pub(super) fn has(&self, peer: &Sid) -> bool {
        self.first_of(*peer).is_some()
    }

    /// Peers to which something is to be sent.
    pub(super) fn peers(&self) -> impl Iterator<Item = &Sid> {
        self.first.iter().map(|(_, peer)| peer)
    }

    /// The first stream that finds room, of those to peers for which `open` holds. It is asked for once for each peer,
    /// as long as ports make no difference.
    pub(super) fn next(
        &self,
        open: impl Fn(&Sid) -> bool,
        room: impl Fn(StreamId) -> Room,
    ) -> Option<StreamId> {
        for (first, peer) in self.first.iter().filter(|(_, peer)| open(peer)) {
            for (_, Turn(_, id)) in self.turns.range((*peer, *first)..).take_while(|(sid, _)| sid == peer) {
                match room(*id) {
                    Room::Free => return Some(*id),
                    Room::NoneFromPort => {}
                    Room::NoneToPeer => break,
                }
            }
        }
        None
    }

    fn first_of(&self, peer: Sid) -> Option<Turn> {
        let turns = self.turns.range((peer, Turn(0, StreamId(0)))..);
        turns.take(1).find_map(|(sid, turn)| (*sid == peer).then_some(*turn))
    }

    fn move_first(&mut self, peer: Sid, before: Option<Turn>) {
        let first = self.first_of(peer);
        if first != before {
            before.map(|turn| self.first.remove(&(turn, peer)));
            self.first.extend(first.map(|turn| (turn, peer)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use core::cell::Cell;

    const fn peer(n: u8) -> Sid {
        Sid::new([n; 32])
    }

    /// The order in which streams with something to send without end get packets of these lengths.
    fn order(lengths: &[u64], count: usize) -> Vec<u64> {
        let mut turns = Turns::default();
        let mut line: Vec<Turn> =
            (0..).zip(lengths).map(|(n, _)| turns.push(peer(1), StreamId(n), 0)).collect();
        let mut served = Vec::new();
        for _ in 0..count {
            let id = turns.next(|_| true, |_| Room::Free).unwrap();
            let sent = turns.take(peer(1), line[id.0 as usize]) + lengths[id.0 as usize];
            line[id.0 as usize] = turns.push(peer(1), id, sent);
            served.push(id.0);
        }
        served
    }

    #[test]
    fn bytes_are_shared_and_not_packets() {
        assert_eq!(order(&[100, 100, 100], 7), [0, 1, 2, 0, 1, 2, 0]);
        let served = order(&[1000, 100], 110);
        assert_eq!(served.iter().filter(|id| **id == 0).count(), 10);
    }

    #[test]
    fn one_that_was_idle_goes_first_for_a_few_packets() {
        let mut turns = Turns::default();
        let mut bulk = turns.push(peer(1), StreamId(0), 0);
        for _ in 0..100 {
            let sent = turns.take(peer(1), bulk) + 1000;
            bulk = turns.push(peer(1), StreamId(0), sent);
        }
        let (mut ahead, mut sent) = (0_u64, 0);
        loop {
            let thin = turns.push(peer(1), StreamId(1), sent);
            if turns.next(|_| true, |_| Room::Free) != Some(StreamId(1)) {
                break;
            }
            sent = turns.take(peer(1), thin) + 1000;
            ahead += 1;
        }
        assert_eq!(ahead, (CREDIT + 1000).div_ceil(1000), "the credit, and the turn of the other");
    }

    #[test]
    fn a_peer_without_room_is_asked_for_once_and_a_port_without_room_holds_up_no_other() {
        let mut turns = Turns::default();
        for n in 0..10_000 {
            turns.push(peer((n % 2) as u8), StreamId(n), 0);
        }
        let asked = Cell::new(0);
        let room = |id: StreamId, full: Room| {
            asked.set(asked.get() + 1);
            if id.0.is_multiple_of(2) || id.0 < 5 { full } else { Room::Free }
        };
        assert_eq!(turns.next(|_| true, |id| room(id, Room::NoneToPeer)), None);
        assert_eq!(asked.take(), 2);
        assert_eq!(turns.next(|_| true, |id| room(id, Room::NoneFromPort)), Some(StreamId(5)));
    }
}

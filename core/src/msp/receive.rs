//! The receiving half of a connection: puts messages in order and keeps them until they are consumed.

use super::parts::{Kept, MAX_KEPT};
use crate::Seq;
use crate::wire::extended::{Acknowledgment, Range, Ranges};
use alloc::collections::VecDeque;
use bytes::Bytes;
use smallvec::SmallVec;

/// Messages that a stream may keep even when the memory that all streams share is used up.
const GUARANTEED: usize = 8;
/// The window of a new stream. Its user gets the whole one after this many messages that were taken as they came: on a
/// long and fast path, the sender needs it in the second round trip.
const FIRST_WINDOW: usize = 256;
const FEW: usize = 4;
/// What a message takes beyond its bytes: its segment, and what an allocator adds.
pub(super) const MESSAGE_OVERHEAD: usize = 64;
/// The longest packet that is taken; the node brings none that long.
pub(super) const MAX_PACKET: usize = 1536;

/// Bytes that a buffer with this window keeps at most, without those that count as memory of all streams.
pub(super) fn max_bytes(window: usize) -> usize {
    // Its array has grown in powers of two.
    window.next_power_of_two() * size_of::<Segment>()
        + MAX_KEPT * size_of::<Kept>()
        + GUARANTEED * (MAX_PACKET + MESSAGE_OVERHEAD)
}

#[derive(Debug)]
struct Segment {
    seq: Seq,
    payload: Bytes,
}

impl Segment {
    const fn bytes(&self) -> usize {
        self.payload.len() + MESSAGE_OVERHEAD
    }
}

/// What became of a received segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Insertion {
    /// It extends what can be received in order.
    InOrder,
    /// It is kept until earlier ones come.
    OutOfOrder,
    /// It is a part of one, and is kept until the other comes.
    Part,
    /// It was known already.
    Duplicate,
    /// There is no room for it, or it lies beyond the end of the stream.
    Dropped,
}

/// Segments from the first one that is not consumed.
#[derive(Debug)]
pub(crate) struct ReceiveBuffer {
    /// In order. What is missing takes no memory, however much it is.
    segments: VecDeque<Segment>,
    /// Parts of missing ones, in the order in which they came.
    pub(super) parts: VecDeque<Kept>,
    /// The next segment to consume.
    next: Seq,
    /// How many segments from `next` on are there.
    in_order: usize,
    pub(super) bytes: usize,
    /// Segments from `next` on that are kept, and what that may become.
    window: usize,
    max_window: usize,
    /// Messages consumed with none left.
    taken: usize,
    /// The number of the last segment, once it is known.
    last: Option<Seq>,
    /// The segments that have arrived last, in a ring.
    recent: [Seq; Acknowledgment::MAX_RANGES],
    arrivals: usize,
}

impl ReceiveBuffer {
    pub(crate) const fn new(max_window: usize) -> Self {
        Self {
            segments: VecDeque::new(),
            parts: VecDeque::new(),
            next: Seq(0),
            in_order: 0,
            bytes: 0,
            window: if max_window < FIRST_WINDOW { max_window } else { FIRST_WINDOW },
            max_window,
            taken: 0,
            last: None,
            recent: [Seq(0); Acknowledgment::MAX_RANGES],
            arrivals: 0,
        }
    }

    /// One whose first segment has another number, so that a test need not send 65,536 segments.
    #[cfg(feature = "testing")]
    pub(crate) fn starting_at(next: Seq, window: usize) -> Self {
        Self { next, ..Self::new(window) }
    }

    /// The cumulative acknowledgment: the last segment that was consumed.
    pub(crate) const fn ack(&self) -> Seq {
        self.next.previous()
    }

    /// Bytes kept, with what messages take beyond their own.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Everything the peer sends was consumed.
    pub(crate) fn is_finished(&self) -> bool {
        self.last == Some(self.ack())
    }

    /// Everything the peer sends has arrived.
    pub(crate) fn is_complete(&self) -> bool {
        self.last == Some((self.next + self.in_order as u32).previous())
    }

    /// Something is missing before a segment that arrived.
    pub(crate) fn has_hole(&self) -> bool {
        self.segments.len() > self.in_order
    }

    /// What has arrived and is not consumed: the ranges with the segments that have arrived last. Others were told
    /// of before, several times.
    pub(crate) fn ranges(&self) -> Ranges {
        let count = self.arrivals.min(self.recent.len());
        let mut recent: SmallVec<[i32; Acknowledgment::MAX_RANGES]> = SmallVec::new();
        for place in self.recent[..count].iter().map(|seq| *seq - self.next).filter(|place| *place >= 0) {
            recent.insert(recent.partition_point(|other| *other < place), place);
        }
        let mut ranges = Ranges::new();
        let mut end = 0;
        for place in recent {
            if place < end {
                continue; // in the range before
            }
            let at = self.segments.partition_point(|segment| segment.seq - self.next < place);
            if self.segments.get(at).is_none_or(|segment| segment.seq - self.next != place) {
                continue; // the end of the stream was before it
            }
            // Segments of one range are as far from their places in the array.
            let wanted = place - at as i32;
            let start = self.run_begin(wanted);
            let length = self.run_begin(wanted + 1) - start;
            let begin = wanted + start as i32;
            ranges.push(Range { missing: (begin - end) as u32, received: length as u32 });
            end = begin + length as i32;
        }
        ranges
    }

    /// How many segments are in ranges that are less than `shift` away from their places in the array.
    fn run_begin(&self, shift: i32) -> usize {
        let (mut low, mut high) = (0, self.segments.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.segments.get(middle).is_some_and(|it| it.seq - self.next - (middle as i32) < shift) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Messages after the last consumed one that are kept if they arrive. `memory` is what all streams together may
    /// still keep.
    pub(crate) fn window(&self, memory: usize) -> usize {
        let highest = self.segments.back().map_or(0, |segment| (segment.seq - self.next).max(0) as usize + 1);
        let affordable = highest + memory / (MAX_PACKET + MESSAGE_OVERHEAD);
        self.window.min(affordable.max(GUARANTEED))
    }

    /// Takes a segment. `memory` is what all streams together may still keep.
    pub(crate) fn insert(&mut self, seq: Seq, payload: Bytes, shutdown: bool, memory: usize) -> Insertion {
        let segment = Segment { seq, payload };
        if let Some(refusal) = self.refusal(seq, segment.bytes(), memory) {
            return refusal;
        }
        let place = self.place(seq);
        self.forget_parts(|part| part == seq);
        if shutdown {
            self.last = Some(seq);
            self.forget_from(place); // nothing follows it, whatever claimed to
        }
        self.bytes += segment.bytes();
        self.recent[self.arrivals % self.recent.len()] = seq;
        self.arrivals += 1;
        self.segments.insert(place, segment);
        let before = self.in_order;
        while self.segments.get(self.in_order).is_some_and(|it| it.seq == self.next + self.in_order as u32) {
            self.in_order += 1;
        }
        let advanced = self.in_order > before;
        self.skip_empty();
        if advanced { Insertion::InOrder } else { Insertion::OutOfOrder }
    }

    /// Why a segment of so many bytes, or a part of it, is not taken, if it is not.
    pub(super) fn refusal(&self, seq: Seq, bytes: usize, memory: usize) -> Option<Insertion> {
        let distance = seq - self.next;
        let is_there = || self.segments.get(self.place(seq)).is_some_and(|segment| segment.seq == seq);
        if distance < 0 || self.is_finished() || is_there() {
            return Some(Insertion::Duplicate);
        }
        let index = distance as usize;
        let beyond_end = self.last.is_some_and(|last| last.is_before(seq));
        // Near the front there is always room, so that every stream moves on.
        let refused = index >= self.window || beyond_end || (bytes > memory && index >= GUARANTEED);
        refused.then_some(Insertion::Dropped)
    }

    /// Where a segment is in the array, or would be.
    fn place(&self, seq: Seq) -> usize {
        self.segments.partition_point(|segment| segment.seq - self.next < seq - self.next)
    }

    /// Messages that can be consumed, in order. Empty ones deliver nothing and are not among them.
    pub(crate) fn peek(&self) -> impl Iterator<Item = &Bytes> {
        let segments = self.segments.iter().take(self.in_order);
        segments.map(|segment| &segment.payload).filter(|payload| !payload.is_empty())
    }

    pub(crate) const fn is_readable(&self) -> bool {
        self.in_order > 0
    }

    /// Segments that can be consumed, empty ones included.
    pub(crate) const fn in_order(&self) -> usize {
        self.in_order
    }

    /// Consumes the next message.
    pub(crate) fn pop(&mut self) -> Option<Bytes> {
        let message = self.pop_segment()?;
        self.skip_empty();
        if self.in_order == 0 && self.window < self.max_window {
            self.taken += 1;
            if self.taken >= FEW {
                self.window = self.max_window;
            }
        }
        Some(message)
    }

    /// Forgets what is out of order: the missing segments will not come any more.
    pub(crate) fn truncate(&mut self) {
        self.forget_from(self.in_order);
    }

    /// Gives memory back that has not been used for a while.
    pub(crate) fn shrink(&mut self) {
        if self.segments.is_empty() {
            self.segments = VecDeque::new();
        }
        if self.parts.is_empty() {
            self.parts = VecDeque::new();
        }
    }

    fn pop_segment(&mut self) -> Option<Bytes> {
        if self.in_order == 0 {
            return None;
        }
        let segment = self.segments.pop_front()?;
        self.in_order -= 1;
        self.next = self.next.next();
        self.bytes -= segment.bytes();
        Some(segment.payload)
    }

    /// An empty message is consumed by itself (`spec/10` A.9).
    fn skip_empty(&mut self) {
        while self.in_order > 0 && self.segments.front().is_some_and(|it| it.payload.is_empty()) {
            self.pop_segment();
        }
    }

    fn forget_from(&mut self, place: usize) {
        self.forget_parts(|_| true);
        for segment in self.segments.drain(place..) {
            self.bytes -= segment.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn insert(buffer: &mut ReceiveBuffer, seq: u32, text: &'static str) -> Insertion {
        buffer.insert(Seq(seq), Bytes::from_static(text.as_bytes()), false, usize::MAX)
    }

    #[test]
    fn acknowledges_what_is_consumed_in_order() {
        let mut buffer = ReceiveBuffer::new(8);
        assert_eq!(buffer.ack(), Seq(u32::MAX));
        assert_eq!(insert(&mut buffer, 1, "b"), Insertion::OutOfOrder);
        assert!(buffer.has_hole() && !buffer.is_readable());
        assert_eq!(insert(&mut buffer, 0, "a"), Insertion::InOrder);
        assert_eq!(insert(&mut buffer, 0, "a"), Insertion::Duplicate);
        assert_eq!(buffer.ack(), Seq(u32::MAX));
        assert!(!buffer.has_hole() && !buffer.is_complete());
        assert_eq!(buffer.peek().map(|m| &m[..]).collect::<Vec<_>>(), [b"a", b"b"]);
        assert_eq!(buffer.pop().as_deref(), Some(&b"a"[..]));
        assert_eq!(buffer.ack(), Seq(0));
        assert_eq!(insert(&mut buffer, 0, "a"), Insertion::Duplicate);
        assert_eq!(buffer.pop().as_deref(), Some(&b"b"[..]));
        assert_eq!((buffer.pop(), buffer.ack(), buffer.bytes()), (None, Seq(1), 0));
    }

    #[test]
    fn reports_the_highest_sixteen_ranges() {
        let mut buffer = ReceiveBuffer::new(100);
        let ranges = |buffer: &ReceiveBuffer| -> Vec<_> {
            buffer.ranges().iter().map(|range| (range.missing, range.received)).collect()
        };
        assert_eq!(ranges(&buffer), []);
        for seq in [0, 1, 3, 7, 8, 9] {
            insert(&mut buffer, seq, "x");
        }
        assert_eq!(ranges(&buffer), [(0, 2), (1, 1), (3, 3)]);
        buffer.pop();
        assert_eq!(ranges(&buffer), [(0, 1), (1, 1), (3, 3)]);
        for seq in (12..44).step_by(2) {
            insert(&mut buffer, seq, "x");
        }
        let told = ranges(&buffer);
        assert_eq!((told[0], told.len()), ((11, 1), 16), "16 of 19, from the one after the last consumed on");
        assert!(told[1..].iter().all(|range| *range == (1, 1)));
    }

    #[test]
    fn tells_how_much_it_keeps() {
        let mut buffer = ReceiveBuffer::new(64);
        assert_eq!((buffer.window(usize::MAX), buffer.window(0)), (64, 8));
        let ten = 10 * (MAX_PACKET + MESSAGE_OVERHEAD);
        assert_eq!(buffer.window(ten), 10);
        insert(&mut buffer, 19, "x");
        assert_eq!((buffer.window(ten), buffer.window(usize::MAX)), (30, 64));
    }

    #[test]
    fn keeps_no_more_than_the_window_and_the_memory() {
        let mut buffer = ReceiveBuffer::new(16);
        assert_eq!(insert(&mut buffer, 15, "x"), Insertion::OutOfOrder);
        assert_eq!(insert(&mut buffer, 16, "x"), Insertion::Dropped);
        assert_eq!(insert(&mut buffer, 0x7fff, "x"), Insertion::Dropped);
        let payload = Bytes::from_static(b"xyz");
        assert_eq!(buffer.insert(Seq(8), payload.clone(), false, 66), Insertion::Dropped);
        assert_eq!(buffer.insert(Seq(7), payload.clone(), false, 2), Insertion::OutOfOrder);
        assert_eq!(buffer.insert(Seq(8), payload, false, 67), Insertion::OutOfOrder);
    }

    #[test]
    fn forgets_what_will_never_be_in_order() {
        let mut buffer = ReceiveBuffer::new(8);
        for (seq, text) in [(0, "a"), (1, "bb"), (3, "dddd")] {
            insert(&mut buffer, seq, text);
        }
        assert_eq!((buffer.bytes(), buffer.has_hole()), (7 + 3 * MESSAGE_OVERHEAD, true));
        buffer.truncate();
        assert_eq!((buffer.bytes(), buffer.has_hole()), (3 + 2 * MESSAGE_OVERHEAD, false));
        assert_eq!(buffer.peek().count(), 2);
    }

    #[test]
    fn ends_where_the_peer_says() {
        let mut buffer = ReceiveBuffer::new(16);
        insert(&mut buffer, 3, "beyond");
        insert(&mut buffer, 5, "beyond");
        assert_eq!(buffer.insert(Seq(2), Bytes::new(), true, usize::MAX), Insertion::OutOfOrder);
        assert_eq!(buffer.bytes(), MESSAGE_OVERHEAD);
        assert_eq!(insert(&mut buffer, 4, "beyond"), Insertion::Dropped);
        insert(&mut buffer, 1, "");
        insert(&mut buffer, 0, "a");
        assert!(buffer.is_complete() && !buffer.is_finished());
        assert_eq!(buffer.pop().as_deref(), Some(&b"a"[..]));
        assert!(buffer.is_finished() && buffer.is_complete());
        assert_eq!((buffer.ack(), buffer.bytes(), buffer.pop()), (Seq(2), 0, None));
        assert_eq!(insert(&mut buffer, 3, "late"), Insertion::Duplicate);
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut buffer = ReceiveBuffer { next: Seq(u32::MAX - 1), ..ReceiveBuffer::new(4) };
        for n in [u32::MAX - 1, u32::MAX, 0, 1, 2] {
            assert_eq!(insert(&mut buffer, n, "x"), Insertion::InOrder);
            assert!(buffer.pop().is_some());
        }
        assert_eq!(buffer.ack(), Seq(2));
    }
}

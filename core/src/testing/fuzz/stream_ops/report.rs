//! The send buffer of a connection whose peer reports what has arrived, and may lie.
//!
//! What is lost is a matter of policy; the model knows what was sent, what the peer says to have, and that all else
//! comes again.

use super::Input;
use crate::msp::paths::Path;
use crate::msp::selective::Echo;
use crate::msp::send::{Readiness, SendBuffer};
use crate::wire::extended::{Acknowledgment, Range};
use crate::{Instant, Seq};
use alloc::collections::VecDeque;
use bytes::Bytes;
use core::time::Duration;

/// Segments in the buffer at once.
const MAX_QUEUED: usize = 300;
/// What a message counts beyond its bytes.
const OVERHEAD: usize = 64;

struct Segment {
    payload: Bytes,
    arrived: bool,
    sent_at: Instant,
}

pub(super) struct Reporter {
    buffer: SendBuffer,
    path: Path,
    now: Instant,
    segments: VecDeque<Segment>,
    /// The number of the first, which does not wrap here.
    base: i64,
    sent: usize,
    finished: bool,
}

impl Reporter {
    pub(super) fn new() -> Self {
        let base = (1 << 32) - 40;
        let mut buffer = SendBuffer::starting_at(Seq(base as u32));
        buffer.use_reports();
        let (now, segments) = (Instant::from_millis(1000), VecDeque::new());
        Self { buffer, path: Path::new(), now, segments, base, sent: 0, finished: false }
    }

    /// Does an operation to both.
    pub(super) fn step(&mut self, operation: u8, choice: u8, input: &mut Input<'_>) -> Option<()> {
        match operation {
            0 if choice == 15 => self.finish(),
            0 => self.push(1 + usize::from(choice) * 4, input.u8()?),
            1 => _ = (0..=choice).all(|_| self.send()),
            2 => while self.send() {},
            3..6 => self.report(choice, input)?,
            6 => self.now += Duration::from_micros(u64::from(input.u8()?) << choice),
            _ if choice == 15 => self.end(),
            _ => {
                let due = self.buffer.timeout(&self.path.round_trip).filter(|_| choice > 3);
                self.now = due.map_or(self.now, |at| at.max(self.now));
                self.timeout();
            }
        }
        self.check();
        Some(())
    }

    fn push(&mut self, count: usize, content: u8) {
        for n in 0..count {
            if !self.finished && self.segments.len() < MAX_QUEUED {
                let payload = Bytes::from(alloc::vec![content; 1 + 9 * n]);
                self.buffer.push(payload.clone());
                self.segments.push_back(Segment { payload, arrived: false, sent_at: self.now });
            }
        }
    }

    fn finish(&mut self) {
        self.buffer.finish();
        if !self.finished {
            self.finished = true;
            self.segments.push_back(Segment { payload: Bytes::new(), arrived: false, sent_at: self.now });
        }
    }

    /// Sends what the buffer wants to: never what has arrived, and nothing new before its turn.
    fn send(&mut self) -> bool {
        if self.buffer.readiness(usize::MAX) != Readiness::Ready {
            return false;
        }
        let Some(outgoing) = self.buffer.next(self.now) else { unreachable!("it said that it has one") };
        let (seq, bytes) = (outgoing.seq, outgoing.payload.len());
        let index = usize::try_from(seq - Seq(self.base as u32)).unwrap_or(usize::MAX);
        let Some(segment) = self.segments.get_mut(index) else { unreachable!("{seq:?} does not exist") };
        assert!(!segment.arrived && index <= self.sent, "{seq:?} is not to be sent");
        assert_eq!((outgoing.payload, outgoing.retransmission), (&segment.payload[..], index < self.sent));
        segment.sent_at = self.now;
        self.sent = self.sent.max(index + 1);
        let sent = self.path.rate.on_sent(self.now, bytes + OVERHEAD, true);
        self.buffer.note_sent(seq, sent);
        true
    }

    /// The peer reports whatever it likes. The model takes what can be true, and nothing of the rest.
    fn report(&mut self, choice: u8, input: &mut Input<'_>) -> Option<()> {
        let consumed = match input.u8()? {
            255 => i64::from(input.u16()? as i16),
            more @ 240.. => i64::from(more) - 248,
            more => i64::from(more / 32),
        };
        let consumed = self.base - 1 + consumed;
        let window = if choice & 1 == 0 { Acknowledgment::NO_LIMIT } else { input.u8()?.into() };
        let mut report =
            Acknowledgment { consumed: Seq(consumed as u32), window, ranges: [].into_iter().collect() };
        let (mut end, mut spans) = (consumed, VecDeque::new());
        for _ in 0..choice >> 1 & 3 {
            let (missing, received) = match input.u8()? {
                255 => (u32::MAX / 8, u32::from(input.u16()?) + 1),
                both => (u32::from(both & 15) + 1, u32::from(both >> 4) + 1),
            };
            report.ranges.push(Range { missing, received });
            spans.push_back((end + i64::from(missing) + 1, end + i64::from(missing + received)));
            end += i64::from(missing + received);
        }
        let echo = match choice >> 3 {
            0 => None,
            _ => {
                let (which, held) = (usize::from(input.u8()?), Duration::from_millis(input.u8()?.into()));
                let sent_at = self.segments.get(which).map_or(self.now + held, |segment| segment.sent_at);
                Some(Echo { sent_at, held: held / 8 })
            }
        };
        let acknowledged = self.buffer.on_report(self.now, &report, echo, &mut self.path);
        let newest = self.base + self.sent as i64 - 1;
        let mut count = 0;
        // Between two numbers there is less than half of all.
        if consumed <= newest && end <= newest {
            for (first, last) in spans {
                for number in first.max(self.base)..=last {
                    let segment = &mut self.segments[(number - self.base) as usize];
                    count += usize::from(number > consumed && !segment.arrived);
                    segment.arrived = true;
                }
            }
            while self.base <= consumed {
                let segment = self.segments.pop_front();
                count += usize::from(segment.is_some_and(|segment| !segment.arrived));
                (self.base, self.sent) = (self.base + 1, self.sent - 1);
            }
        }
        assert_eq!(acknowledged.count, count, "{report:?}");
        Some(())
    }

    /// Nothing happens before the time. Then something is taken for lost, and perhaps a probe is due, too.
    fn timeout(&mut self) {
        for _ in 0..2 {
            let due = self.buffer.timeout(&self.path.round_trip);
            let (in_flight, round_trip) = (self.buffer.in_flight(), self.path.round_trip.clone());
            let _ = self.buffer.on_timeout(self.now, &round_trip, &mut self.path);
            let next = self.buffer.timeout(&self.path.round_trip);
            if due.is_none_or(|at| self.now < at) {
                assert_eq!((self.buffer.in_flight(), next), (in_flight, due), "it was too early");
            } else {
                assert!(self.buffer.in_flight() < in_flight, "nothing is lost");
            }
        }
        let next = self.buffer.timeout(&self.path.round_trip);
        assert!(next.is_none_or(|at| at > self.now), "spins");
    }

    fn check(&self) {
        let arrived = self.segments.iter().filter(|segment| segment.arrived).count();
        assert_eq!((self.buffer.len(), self.buffer.base()), (self.segments.len(), Seq(self.base as u32)));
        assert_eq!(self.buffer.newest(), Seq((self.base + self.sent as i64 - 1) as u32));
        assert!(self.buffer.in_flight() + arrived <= self.sent);
        let kept =
            self.segments.iter().map(|segment| if segment.arrived { 0 } else { segment.payload.len() });
        assert_eq!(self.buffer.bytes(), kept.sum::<usize>() + OVERHEAD * self.segments.len());
        let on_the_way = self.buffer.bytes_on_their_way();
        assert_eq!(self.path.rate.in_flight(), on_the_way, "the way never ends with some of its bytes");
        let timeout = self.buffer.timeout(&self.path.round_trip);
        assert_eq!(timeout.is_some(), self.buffer.in_flight() > 0, "{timeout:?}");
    }

    /// An honest peer gets everything, whatever was said before, unless it was said to have come.
    fn end(&mut self) {
        self.finish();
        for _ in 0..2 * MAX_QUEUED {
            let report = Acknowledgment {
                consumed: self.buffer.newest(),
                window: Acknowledgment::NO_LIMIT,
                ranges: [].into_iter().collect(),
            };
            self.buffer.on_report(self.now, &report, None, &mut self.path);
            self.segments.drain(..self.sent);
            (self.base, self.sent) = (self.base + self.sent as i64, 0);
            self.check();
            if self.segments.is_empty() {
                assert!(self.buffer.is_complete());
                return *self = Self::new();
            }
            assert!(self.send(), "it does not go on");
        }
        unreachable!("no end");
    }
}

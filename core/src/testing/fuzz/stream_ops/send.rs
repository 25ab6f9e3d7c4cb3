//! The send buffer and its model.
//!
//! The model knows exactly what is queued, sent, lost and acknowledged. When a loss is noticed is a matter of
//! policy, for which it has bounds: from the earliest moment that the round trip allows to the latest that
//! RFC 6298 does.

use super::Input;
use crate::msp::paths::Path;
use crate::msp::send::{Acknowledged, Loss, Readiness, SendBuffer};
use crate::path::RoundTrip;
use crate::{Instant, Seq};
use alloc::collections::{BTreeSet, VecDeque};
use bytes::Bytes;
use core::time::Duration;

/// Segments in the buffer at once.
const MAX_QUEUED: usize = 300;
/// The reordering window is no longer than two round trips, twice their variation, or this.
const MAX_ACK_DELAY: Duration = Duration::from_millis(5);

struct Segment {
    payload: Bytes,
    shutdown: bool,
    transmissions: u32,
    sent_at: Instant,
}

/// What the acknowledgments of the peer tell about the first segment.
#[derive(PartialEq)]
enum Repeated {
    /// None was repeated since there last was nothing on the way.
    No,
    /// None since it became the first.
    Earlier,
    Yes,
}

/// What a send buffer must do, with numbers that do not wrap.
struct Model {
    /// From the first unacknowledged one on.
    segments: VecDeque<Segment>,
    base: i64,
    sent: usize,
    /// Numbers of those to be sent again.
    lost: BTreeSet<i64>,
    finished: bool,
    timer_start: Instant,
    /// Repeated acknowledgments, each of which means that one segment behind the first has arrived.
    arrived: usize,
    repeated: Repeated,
    /// Up to where losses belong to one that was reported.
    recovering: Option<i64>,
    /// After a timeout, up to where segments are resent, and how many for the last acknowledgment.
    resending: Option<(i64, usize)>,
}

pub(super) struct Sender {
    buffer: SendBuffer,
    round_trip: RoundTrip,
    now: Instant,
    model: Model,
}

impl Sender {
    /// Its first number comes `before_wrap` before they wrap.
    pub(super) fn new(before_wrap: u8) -> Self {
        let base = (1 << 32) - i64::from(before_wrap);
        let model = Model {
            segments: VecDeque::new(),
            base,
            sent: 0,
            lost: BTreeSet::new(),
            finished: false,
            timer_start: Instant::ZERO,
            arrived: 0,
            repeated: Repeated::No,
            recovering: None,
            resending: None,
        };
        let (buffer, round_trip) = (SendBuffer::starting_at(Seq(base as u32)), RoundTrip::new());
        Self { buffer, round_trip, now: Instant::from_millis(1000), model }
    }

    /// Does an operation to both.
    pub(super) fn step(&mut self, operation: u8, choice: u8, input: &mut Input<'_>) -> Option<()> {
        match operation {
            0 => self.push(usize::from(choice), input.u8()?),
            1 if choice > 0 => self.push(20 * usize::from(choice), 1),
            1 => self.finish(),
            2 => {
                let window = usize::from(input.u8()?);
                for _ in 0..=choice {
                    self.send(window);
                }
            }
            3 => while self.send(usize::MAX) {},
            4 => {
                let repeats = choice < 12;
                match input.u8()? {
                    255 => self.acknowledge(i64::from(input.u16()? as i16), repeats),
                    240.. => {
                        // The peer's application takes them one by one.
                        for _ in 0..self.model.sent {
                            self.acknowledge(1, repeats);
                        }
                    }
                    count @ 200.. => self.acknowledge(i64::from(count - 200), repeats),
                    count => self.acknowledge(i64::from(count % 3), repeats),
                }
            }
            6 if self.model.is_complete() => *self = Self::new(input.u8()?),
            6 => self.now += Duration::from_micros(u64::from(input.u8()?) << choice.min(8)) * 100,
            _ => {
                if let Some(at) = self.buffer.timeout(&self.round_trip).filter(|_| choice > 3) {
                    self.now = self.now.max(at);
                }
                self.timeout();
            }
        }
        self.check();
        Some(())
    }

    fn push(&mut self, count: usize, content: u8) {
        for n in 0..count {
            if !self.model.finished && self.model.segments.len() < MAX_QUEUED {
                let payload = Bytes::from(alloc::vec![content; 1 + n]);
                self.buffer.push(payload.clone());
                self.model.push(payload, false);
            }
        }
    }

    fn finish(&mut self) {
        self.buffer.finish();
        if !self.model.finished {
            self.model.finished = true;
            self.model.push(Bytes::new(), true);
        }
    }

    /// Sends a segment if there is one and the window allows it: the first that is lost, else the next.
    fn send(&mut self, window: usize) -> bool {
        let Self { buffer, model, now, .. } = self;
        assert_eq!(buffer.readiness(window), model.readiness(window));
        if model.readiness(window) != Readiness::Ready {
            return false;
        }
        let index = model.lost.pop_first().map_or(model.sent, |number| (number - model.base) as usize);
        let segment = &mut model.segments[index];
        let Some(outgoing) = buffer.next(*now) else { unreachable!("it said that it has one") };
        assert_eq!(outgoing.seq, Seq((model.base + index as i64) as u32));
        assert_eq!((outgoing.payload, outgoing.shutdown), (&segment.payload[..], segment.shutdown));
        assert_eq!(outgoing.retransmission, segment.transmissions > 0);
        segment.sent_at = *now;
        segment.transmissions += 1;
        model.sent = model.sent.max(index + 1);
        if index == 0 {
            model.timer_start = *now;
        }
        true
    }

    /// The peer acknowledges `count` segments more, which may be more than were sent, or less than none.
    fn acknowledge(&mut self, count: i64, repeats: bool) {
        let Self { buffer, model, now, round_trip } = self;
        let ack = Seq((model.base - 1 + count) as u32);
        let acknowledged = buffer.on_ack(*now, ack, repeats, round_trip);
        let count = usize::try_from(count).ok().filter(|count| *count <= model.sent).unwrap_or_default();
        assert_eq!(acknowledged.count, count);
        if count == 0 {
            assert_eq!(acknowledged, Acknowledged::default());
            // Old ones and those of what was never sent tell nothing.
            if model.sent > 0 && ack == Seq((model.base - 1) as u32) {
                model.repeated = Repeated::Yes;
                model.arrived = (model.arrived + usize::from(repeats)).min(model.sent - 1);
            }
            return;
        }
        let newest = &model.segments[count - 1];
        let sample = (newest.transmissions == 1).then(|| *now - newest.sent_at);
        assert_eq!(acknowledged.at_most, sample);
        let once = model.segments.range(..count).all(|segment| segment.transmissions == 1);
        match model.repeated {
            Repeated::No => assert_eq!(acknowledged.round_trip, sample.filter(|_| once)),
            Repeated::Earlier => {
                assert!(acknowledged.round_trip.is_none() || (once && acknowledged.round_trip == sample));
            }
            Repeated::Yes => assert_eq!(acknowledged.round_trip, None, "it may have waited for another"),
        }
        model.acknowledge(*now, count, round_trip.smoothed().unwrap_or_default());
        round_trip.end_back_off();
        if let Some(sample) = acknowledged.round_trip {
            round_trip.sample(*now, sample);
        }
    }

    /// Nothing happens before the time, and at that time the first segment is lost.
    fn timeout(&mut self) {
        let Self { buffer, model, now, round_trip } = self;
        let at = buffer.timeout(round_trip);
        let loss = buffer.on_timeout(*now, round_trip, &mut Path::new());
        if at.is_none_or(|at| *now < at) {
            assert_eq!((loss, buffer.timeout(round_trip)), (Loss::None, at));
            return;
        }
        let ran_out = *now >= model.timer_start + round_trip.timeout();
        match loss {
            Loss::None => assert!(!ran_out && model.recovering.is_some(), "it belongs to no earlier loss"),
            Loss::Fast => assert!(ran_out || model.recovering.is_none(), "it belongs to an earlier loss"),
            Loss::Timeout => {
                assert!(ran_out);
                round_trip.back_off();
                model.resending = Some((model.newest(), 1));
            }
        }
        if loss == Loss::Timeout || model.recovering.is_none() {
            model.recovering = Some(model.newest());
        }
        model.lost.insert(model.base);
        model.timer_start = *now;
    }

    fn check(&self) {
        let Self { buffer, model, round_trip, .. } = self;
        assert_eq!(
            (buffer.len(), buffer.unsent()),
            (model.segments.len(), model.segments.len() - model.sent)
        );
        assert_eq!((buffer.base(), buffer.newest()), (Seq(model.base as u32), Seq(model.newest() as u32)));
        assert_eq!(buffer.in_flight(), model.in_flight());
        for window in [0, 1, buffer.in_flight(), usize::MAX] {
            assert_eq!(buffer.readiness(window), model.readiness(window));
        }
        assert_eq!((buffer.is_finished(), buffer.is_complete()), (model.finished, model.is_complete()));
        let only_shutdown = model.segments.front().is_none_or(|first| first.shutdown);
        assert_eq!(buffer.lacks_only_shutdown(), model.finished && only_shutdown);
        let timeout = buffer.timeout(round_trip);
        let on_the_way = model.sent > 0 && !model.lost.contains(&model.base);
        let Some(first) = model.segments.front().filter(|_| on_the_way) else {
            assert_eq!(timeout, None, "nothing is on the way");
            return;
        };
        let Some(timeout) = timeout else { unreachable!("no timer runs") };
        let latest = model.timer_start + round_trip.timeout();
        assert!(timeout <= latest);
        let Some(smoothed) = round_trip.smoothed() else { return };
        // A peer that does not read repeats its acknowledgments, too: each time it takes twice as long.
        let doublings = (first.transmissions - 1).min(8);
        let earliest = first.sent_at + (smoothed * (1 << doublings)).min(round_trip.timeout());
        assert!(timeout >= earliest.min(latest), "an acknowledgment may be on the way");
        match model.repeated {
            Repeated::No => assert_eq!(timeout, latest, "nothing tells of a loss"),
            Repeated::Earlier => {}
            Repeated::Yes => {
                let window = (smoothed * 2).max(round_trip.variation() * 2).max(MAX_ACK_DELAY);
                assert!(timeout <= first.sent_at + (smoothed + window) * (1 << doublings));
            }
        }
    }
}

impl Model {
    fn push(&mut self, payload: Bytes, shutdown: bool) {
        let sent_at = Instant::ZERO;
        self.segments.push_back(Segment { payload, shutdown, transmissions: 0, sent_at });
    }

    fn newest(&self) -> i64 {
        self.base + self.sent as i64 - 1
    }

    fn is_complete(&self) -> bool {
        self.finished && self.segments.is_empty()
    }

    /// What was sent, was not lost, and has not arrived.
    fn in_flight(&self) -> usize {
        self.sent.saturating_sub(self.lost.len() + self.arrived)
    }

    /// What is lost may be sent whatever the window is.
    fn readiness(&self, window: usize) -> Readiness {
        if !self.lost.is_empty() {
            Readiness::Ready
        } else if self.sent == self.segments.len() {
            Readiness::Idle
        } else if self.in_flight() < window {
            Readiness::Ready
        } else {
            Readiness::Limited
        }
    }

    fn acknowledge(&mut self, now: Instant, count: usize, smoothed: Duration) {
        self.segments.drain(..count);
        self.base += count as i64;
        self.lost = self.lost.split_off(&self.base);
        self.sent -= count;
        self.timer_start = now;
        // Of those that had arrived, all but the first are acknowledged now.
        self.arrived = self.arrived.saturating_sub(count - 1).min(self.sent.saturating_sub(1));
        self.repeated = match self.repeated {
            _ if self.sent == 0 => Repeated::No,
            Repeated::No => Repeated::No,
            Repeated::Earlier | Repeated::Yes => Repeated::Earlier,
        };
        let ack = self.base - 1;
        self.recovering = self.recovering.filter(|end| ack < *end);
        self.resending = self.resending.filter(|(end, _)| ack < *end);
        if let Some((end, group)) = &mut self.resending {
            *group = group.saturating_mul(2);
            let count = (*group).min((*end - ack) as usize).min(self.sent);
            // Of one that was sent just now, the acknowledgment may be on the way.
            let old = |segment: &Segment| segment.sent_at <= now - smoothed;
            let group = (self.base..).zip(self.segments.range(..count));
            self.lost.extend(group.filter(|(_, segment)| old(segment)).map(|(number, _)| number));
        }
    }
}

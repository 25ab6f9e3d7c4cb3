//! Asks which way datagrams take to a node (`spec/60` section 3).

use super::{Datagram, Uplink};
use crate::wire::trace::Repr;
use crate::{Instant, Port, Rng, Sid};
use alloc::vec::Vec;
use core::time::Duration;

/// Until an answer that has reached the target comes.
const TIMEOUT: Duration = Duration::from_secs(10);
/// So long, there may be a way yet.
const SEARCH: Duration = Duration::from_secs(5);
/// From one question to the next: an answer may be lost on any hop.
const INTERVAL: Duration = Duration::from_secs(1);

/// The nodes on the way to another one and back, as they say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TracePath {
    /// Those that were passed on the way there, from the neighbour to the target, or to where no way led on. Empty
    /// also if no answer came.
    pub there: Vec<Sid>,
    /// Those that were passed on the way back, up to the neighbour.
    pub back: Vec<Sid>,
    /// The target was reached.
    pub reached: bool,
    /// All of it took so long. `None` if no answer came, or it is not known to which question.
    pub round_trip: Option<Duration>,
}

/// Traces the way to one node through an [`Uplink`].
///
/// Whoever drives the uplink calls [`Trace::update`] when a packet has come in or [`Trace::poll_timeout`] has come, until
/// there is a result.
#[derive(Debug)]
pub struct Trace {
    local: Port,
    target: Sid,
    start: Instant,
    /// How often it was asked, and when for the last time.
    asked: u32,
    asked_at: Instant,
    /// The longest way that has not reached the target.
    dead_end: TracePath,
}

impl Trace {
    /// Traces the way to `target`. The port follows from `seed`, 32 bytes that nobody can guess: who knew it could answer.
    #[must_use]
    pub fn new(target: Sid, seed: [u8; 32], now: Instant) -> Self {
        Self {
            local: Port::random(&mut Rng::new(seed), 0),
            target,
            start: now,
            asked: 0,
            asked_at: now,
            dead_end: TracePath::default(),
        }
    }

    /// When to call [`Trace::update`], besides whenever the uplink asks for it.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let next = if self.asked == 0 { self.start + SEARCH } else { self.asked_at + INTERVAL };
        next.min(self.start + TIMEOUT)
    }

    /// Takes what has come in, and does what is due. `None` until there is a result; it comes within ten seconds, even if
    /// nothing is known then.
    pub fn update(&mut self, now: Instant, uplink: &mut Uplink) -> Option<TracePath> {
        // Without a port nothing is answered.
        let _ = uplink.bind(now, self.local);
        while uplink.poll_event().is_some() {}
        let own = uplink.sid();
        self.ask(now, uplink);
        while let Some(datagram) = uplink.poll_datagram() {
            let Some(path) = own.and_then(|own| self.path(now, own, &datagram)) else { continue };
            if path.reached {
                return Some(path);
            } else if path.there.len() >= self.dead_end.there.len() {
                self.dead_end = path;
            }
        }
        (now >= self.start + TIMEOUT).then(|| core::mem::take(&mut self.dead_end))
    }

    fn ask(&mut self, now: Instant, uplink: &mut Uplink) {
        let is_ready = self.asked == 0 && uplink.is_ready(self.local, &self.target);
        if is_ready || now >= self.poll_timeout() {
            (self.asked, self.asked_at) = (self.asked + 1, now);
            // What cannot be sent is lost, as on the way.
            let _ = uplink.trace(now, self.local, self.target);
        }
    }

    /// The way that an answer tells.
    fn path(&self, now: Instant, own: Sid, datagram: &Datagram) -> Option<TracePath> {
        let Datagram { from, to, ref payload, .. } = *datagram;
        let trace = Repr::parse(payload).ok().filter(|_| to == self.local && from.port == Port::TRACE)?;
        if (trace.origin, trace.target) != (own, self.target) {
            return None;
        }
        let passed: Vec<Sid> = trace.passed.into_iter().filter(|sid| *sid != own).collect();
        // The way back begins with the first that was passed before.
        let turn = (1..passed.len()).find(|place| passed[..*place].contains(&passed[*place]));
        let (there, back) = passed.split_at(turn.unwrap_or(passed.len()));
        Some(TracePath {
            reached: self.target == own || there.contains(&self.target),
            there: there.to_vec(),
            back: back.to_vec(),
            round_trip: (self.asked == 1).then(|| now - self.asked_at),
        })
    }
}

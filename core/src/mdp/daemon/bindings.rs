//! The ports that a client wants, and asks its daemon for.

use crate::{Instant, Port};
use alloc::collections::BTreeMap;
use core::time::Duration;

/// A port is asked for no more often than this because of a refused datagram.
const DOUBT_INTERVAL: Duration = Duration::from_millis(250);

/// Ports, of which one is asked for at a time: answers to two questions may come swapped (`spec/80`
/// section 4).
#[derive(Debug, Default)]
pub(super) struct Bindings {
    ports: BTreeMap<Port, Binding>,
    question: Option<Question>,
}

/// A port that is wanted.
#[derive(Debug)]
struct Binding {
    /// The daemon has confirmed it.
    bound: bool,
    /// When to ask for it, or whether it still is.
    ask_at: Instant,
    /// When it was asked for.
    asked_at: Option<Instant>,
    /// Times that it was refused since it was bound.
    refusals: u32,
}

/// What the daemon has been asked for.
#[derive(Debug, Clone, Copy)]
struct Question {
    port: Port,
    /// Without an answer, the question is asked again at this time.
    until: Instant,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It answers no question.
    Unasked,
    /// Everything is as it was.
    Known,
    /// The port was not bound, and is now.
    Bound,
    /// The port was refused for the second time, so that this is no accident.
    Refused,
}

impl Bindings {
    pub(super) fn len(&self) -> usize {
        self.ports.len()
    }

    pub(super) fn contains(&self, port: Port) -> bool {
        self.ports.contains_key(&port)
    }

    pub(super) fn is_bound(&self, port: Port) -> bool {
        self.ports.get(&port).is_some_and(|binding| binding.bound)
    }

    pub(super) fn insert(&mut self, now: Instant, port: Port) {
        self.ports.entry(port).or_insert_with(|| Binding::new(now));
    }

    /// Whether it was wanted.
    pub(super) fn remove(&mut self, port: Port) -> bool {
        self.question = self.question.filter(|question| question.port != port);
        self.ports.remove(&port).is_some()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The daemon has forgotten everything.
    pub(super) fn forget(&mut self, now: Instant) {
        self.question = None;
        self.ports.values_mut().for_each(|binding| *binding = Binding::new(now));
    }

    /// When the next question is due, unless one waits for its answer.
    pub(super) fn next_question_at(&self) -> Option<Instant> {
        self.next().map(|(at, _)| at)
    }

    /// The port to ask for now. Its answer is due until the time given.
    pub(super) fn ask(&mut self, now: Instant, until: Instant) -> Option<Port> {
        let (_, port) = self.next().filter(|(at, _)| *at <= now)?;
        if let Some(binding) = self.ports.get_mut(&port) {
            binding.asked_at = Some(now);
        }
        self.question = Some(Question { port, until });
        Some(port)
    }

    /// Until when the answer to the question is due.
    pub(super) fn answer_due(&self) -> Option<Instant> {
        self.question.map(|question| question.until)
    }

    /// No answer has come in time: the same port is asked for at once, before any other.
    pub(super) fn give_up(&mut self) {
        if let Some(binding) = self.question.take().and_then(|it| self.ports.get_mut(&it.port)) {
            binding.ask_at = Instant::ZERO;
        }
    }

    /// The daemon says that the port is ours.
    pub(super) fn confirm(&mut self, port: Port, next_at: Instant) -> Answer {
        let Some(binding) = self.answered(port) else { return Answer::Unasked };
        let known = binding.bound;
        *binding = Binding { bound: true, ask_at: next_at, refusals: 0, ..*binding };
        if known { Answer::Known } else { Answer::Bound }
    }

    /// The daemon refuses the port. `retry` tells how long to wait after so many refusals.
    pub(super) fn refuse(&mut self, now: Instant, port: Port, retry: impl Fn(u32) -> Duration) -> Answer {
        let Some(binding) = self.answered(port) else { return Answer::Unasked };
        binding.bound = false;
        binding.ask_at = now + retry(binding.refusals);
        binding.refusals = binding.refusals.saturating_add(1);
        if binding.refusals == 2 { Answer::Refused } else { Answer::Known }
    }

    /// Something came in at the port, so it is ours.
    pub(super) fn heard(&mut self, port: Port, next_at: Instant) {
        if let Some(binding) = self.ports.get_mut(&port).filter(|binding| binding.bound) {
            binding.ask_at = next_at;
        }
    }

    /// Something that was sent from the port was refused, so it may no longer be ours.
    pub(super) fn doubt(&mut self, now: Instant, port: Port) {
        if let Some(binding) = self.ports.get_mut(&port).filter(|binding| binding.bound) {
            let soonest = binding.asked_at.map_or(now, |at| now.max(at + DOUBT_INTERVAL));
            binding.ask_at = binding.ask_at.min(soonest);
        }
    }

    /// The port to ask for next, and when.
    fn next(&self) -> Option<(Instant, Port)> {
        let due = self.ports.iter().map(|(port, binding)| (binding.ask_at, *port)).min();
        due.filter(|_| self.question.is_none())
    }

    /// Ends the question if it is about this port.
    fn answered(&mut self, port: Port) -> Option<&mut Binding> {
        self.question.take_if(|question| question.port == port)?;
        self.ports.get_mut(&port)
    }
}

impl Binding {
    const fn new(now: Instant) -> Self {
        Self { bound: false, ask_at: now, asked_at: None, refusals: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Port = Port::ECHO;
    const B: Port = Port::MAX;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn wanted() -> Bindings {
        let mut bindings = Bindings::default();
        bindings.insert(at(10), A);
        bindings.insert(at(20), B);
        bindings.insert(at(30), A);
        bindings
    }

    fn bound() -> Bindings {
        let mut bindings = wanted();
        assert_eq!(bindings.ask(at(20), at(120)), Some(A));
        assert_eq!(bindings.confirm(A, at(1000)), Answer::Bound);
        assert_eq!(bindings.ask(at(20), at(120)), Some(B));
        assert_eq!(bindings.confirm(B, at(1010)), Answer::Bound);
        bindings
    }

    #[test]
    fn one_port_is_asked_for_at_a_time() {
        let mut bindings = wanted();
        assert_eq!((bindings.len(), bindings.next_question_at()), (2, Some(at(10))));
        assert_eq!(bindings.ask(at(9), at(100)), None);
        assert_eq!(bindings.ask(at(30), at(100)), Some(A));
        assert_eq!((bindings.next_question_at(), bindings.answer_due()), (None, Some(at(100))));
        assert_eq!(bindings.ask(at(31), at(101)), None);
        assert_eq!(bindings.confirm(B, at(1000)), Answer::Unasked);
        assert!(!bindings.is_bound(B) && !bindings.is_bound(A));
        assert_eq!(bindings.confirm(A, at(1000)), Answer::Bound);
        assert!(!bindings.is_bound(B) && bindings.is_bound(A));
        assert_eq!(bindings.confirm(A, at(1001)), Answer::Unasked, "one answer is enough");
        assert_eq!((bindings.next_question_at(), bindings.answer_due()), (Some(at(20)), None));
    }

    #[test]
    fn a_question_without_an_answer_comes_again_first() {
        let mut bindings = wanted();
        bindings.insert(at(5), Port::LINK_STATE);
        assert_eq!(bindings.ask(at(5), at(100)), Some(Port::LINK_STATE));
        assert_eq!(bindings.confirm(Port::LINK_STATE, at(1)), Answer::Bound);
        assert_eq!(bindings.ask(at(30), at(100)), Some(Port::LINK_STATE));
        bindings.give_up();
        assert_eq!((bindings.next_question_at(), bindings.answer_due()), (Some(at(0)), None));
        assert!(bindings.is_bound(Port::LINK_STATE), "it may well be");
        bindings.give_up();
        assert_eq!(bindings.ask(at(100), at(200)), Some(Port::LINK_STATE));
        assert_eq!(bindings.confirm(Port::LINK_STATE, at(1000)), Answer::Known);
    }

    #[test]
    fn the_second_refusal_since_the_port_was_bound_is_meant() {
        let mut bindings = Bindings::default();
        bindings.insert(at(0), A);
        let retry = |refusals: u32| Duration::from_millis(100 << refusals);
        let mut times = alloc::vec::Vec::new();
        for _ in 0..3 {
            let now = bindings.next_question_at().unwrap();
            assert_eq!(bindings.ask(now, now), Some(A));
            times.push((now, bindings.refuse(now, A, retry)));
            assert_eq!(bindings.refuse(now, A, retry), Answer::Unasked, "one answer is enough");
            let next = bindings.next_question_at();
            bindings.heard(A, at(9999));
            bindings.doubt(now, A);
            assert_eq!(bindings.next_question_at(), next, "that is for ports that are ours");
        }
        assert_eq!(times, [(at(0), Answer::Known), (at(100), Answer::Refused), (at(300), Answer::Known)]);
        assert_eq!(bindings.ask(at(700), at(800)), Some(A));
        assert_eq!(bindings.confirm(A, at(1000)), Answer::Bound);
        assert_eq!(bindings.ask(at(1000), at(1100)), Some(A));
        assert_eq!(bindings.refuse(at(1000), A, retry), Answer::Known);
        assert!(!bindings.is_bound(A));
        assert_eq!(bindings.next_question_at(), Some(at(1100)));
    }

    #[test]
    fn a_port_that_receives_is_left_alone() {
        let mut bindings = bound();
        bindings.heard(A, at(2000));
        assert_eq!(bindings.next_question_at(), Some(at(1010)));
        bindings.heard(B, at(3000));
        assert_eq!(bindings.next_question_at(), Some(at(2000)));
    }

    #[test]
    fn a_port_that_was_refused_to_send_is_asked_for_soon_but_not_too_often() {
        let mut bindings = bound();
        bindings.doubt(at(30), A);
        assert_eq!(bindings.next_question_at(), Some(at(270)));
        bindings.doubt(at(500), A);
        assert_eq!(bindings.next_question_at(), Some(at(270)), "no later than it was");
        assert_eq!(bindings.ask(at(600), at(700)), Some(A));
        assert_eq!(bindings.confirm(A, at(1600)), Answer::Known);
        bindings.doubt(at(900), A);
        assert_eq!(bindings.ask(at(899), at(999)), None);
        assert_eq!(bindings.ask(at(900), at(1000)), Some(A));
    }

    #[test]
    fn a_port_that_is_not_wanted_any_more_is_not_waited_for() {
        let mut bindings = wanted();
        assert_eq!(bindings.ask(at(30), at(100)), Some(A));
        assert!(bindings.remove(A) && !bindings.remove(A));
        assert_eq!((bindings.answer_due(), bindings.next_question_at()), (None, Some(at(20))));
        assert_eq!(bindings.ask(at(30), at(100)), Some(B));
        assert!(!bindings.remove(A));
        assert_eq!(bindings.answer_due(), Some(at(100)), "about another port");
        bindings.clear();
        assert_eq!((bindings.len(), bindings.answer_due()), (0, None));
    }

    #[test]
    fn a_daemon_that_has_forgotten_is_asked_for_everything() {
        let mut bindings = bound();
        assert_eq!(bindings.ask(at(1000), at(1100)), Some(A));
        bindings.forget(at(1050));
        assert!(!bindings.is_bound(A) && !bindings.is_bound(B) && bindings.contains(B));
        assert_eq!((bindings.answer_due(), bindings.next_question_at()), (None, Some(at(1050))));
        bindings.doubt(at(1), A);
        assert_eq!(bindings.next_question_at(), Some(at(1050)), "it is to be bound anyway");
    }
}

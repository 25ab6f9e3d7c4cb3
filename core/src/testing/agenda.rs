//! What is due when.

use crate::Instant;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Things, each due at one time or not at all.
#[derive(Debug)]
pub(super) struct Agenda<T> {
    times: BTreeMap<T, Instant>,
    order: BTreeSet<(Instant, T)>,
}

impl<T: Ord + Copy> Agenda<T> {
    /// `thing` is due at `time` and at no other.
    pub(super) fn set(&mut self, thing: T, time: Option<Instant>) {
        let before = match time {
            Some(time) => self.times.insert(thing, time),
            None => self.times.remove(&thing),
        };
        if before == time {
            return;
        }
        before.map(|before| self.order.remove(&(before, thing)));
        time.map(|time| self.order.insert((time, thing)));
    }

    /// When the next thing is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(time, _)| *time)
    }

    /// Takes all that is due by `now` off the agenda; gives it in its order, whatever is due first.
    pub(super) fn take(&mut self, now: Instant) -> Vec<T> {
        let mut due = Vec::new();
        while let Some((_, thing)) = self.order.first().filter(|(time, _)| *time <= now).copied() {
            self.set(thing, None);
            due.push(thing);
        }
        due.sort_unstable();
        due
    }
}

impl<T: Ord + Copy> FromIterator<(Instant, T)> for Agenda<T> {
    fn from_iter<I: IntoIterator<Item = (Instant, T)>>(due: I) -> Self {
        let mut agenda = Self { times: BTreeMap::new(), order: BTreeSet::new() };
        due.into_iter().for_each(|(time, thing)| agenda.set(thing, Some(time)));
        agenda
    }
}

impl<T: Ord + Copy> Default for Agenda<T> {
    fn default() -> Self {
        Self::from_iter([])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn a_thing_is_due_when_it_was_set_last() {
        let mut agenda = Agenda::from_iter([(at(3), 'b'), (at(2), 'c'), (at(5), 'a'), (at(1), 'd')]);
        agenda.set('b', Some(at(1)));
        agenda.set('d', None);
        assert_eq!(agenda.next(), Some(at(1)));
        assert_eq!(agenda.take(at(4)), ['b', 'c']);
        assert_eq!((agenda.next(), agenda.take(at(4))), (Some(at(5)), Vec::new()));
    }
}

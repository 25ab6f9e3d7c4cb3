//! What a node knows of nodes that it does not hear itself.

use crate::{Instant, Sid};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::time::Duration;

/// How long a guess of where a node is holds.
const ROUTE_LIFETIME: Duration = Duration::from_secs(12);

/// Who may pass frames on to a node.
#[derive(Debug, Clone, Copy)]
struct Route {
    neighbour: Sid,
    until: Instant,
}

#[derive(Debug, Default)]
struct Entry {
    route: Option<Route>,
    signing_key: Option<[u8; 32]>,
    key_requested: Option<Instant>,
    used: Instant,
}

/// Routes and signing keys, learned from others and never more than a limit: a new entry takes the place
/// of the one that was of use least recently, of those without a route or a key if there are any.
#[derive(Debug)]
pub(super) struct Directory {
    entries: BTreeMap<Sid, Box<Entry>>,
    limit: usize,
}

impl Directory {
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: BTreeMap::new(), limit: limit.max(1) }
    }

    /// That this node exists.
    pub(super) fn learn(&mut self, now: Instant, sid: Sid) {
        self.entry(now, sid);
    }

    /// Something that `sid` sealed came from `neighbour`. The first that brings it is taken to lead there.
    pub(super) fn learn_route(&mut self, now: Instant, sid: Sid, neighbour: Sid) {
        let entry = self.entry(now, sid);
        if !entry.route.is_some_and(|route| route.neighbour != neighbour && now < route.until) {
            entry.route = Some(Route { neighbour, until: now + ROUTE_LIFETIME });
        }
    }

    /// `neighbour` is gone, and with it all that it passed on.
    pub(super) fn forget_neighbour(&mut self, neighbour: &Sid) {
        for entry in self.entries.values_mut() {
            entry.route = entry.route.filter(|route| route.neighbour != *neighbour);
        }
    }

    /// The neighbour that passes frames on to `sid`.
    pub(super) fn route(&self, now: Instant, sid: &Sid) -> Option<Sid> {
        let route = self.entries.get(sid)?.route?;
        (now < route.until).then_some(route.neighbour)
    }

    /// The signing key of `sid`.
    pub(super) fn signing_key(&self, sid: &Sid) -> Option<&[u8; 32]> {
        self.entries.get(sid)?.signing_key.as_ref()
    }

    /// Whether `sid` was asked for its signing key and has not told it yet.
    pub(super) fn awaits_key(&self, sid: &Sid) -> bool {
        let entry = self.entries.get(sid);
        entry.is_some_and(|entry| entry.key_requested.is_some() && entry.signing_key.is_none())
    }

    /// Notes a signing key that was proven, unless there is one already (`spec/40` section 4).
    pub(super) fn learn_signing_key(&mut self, now: Instant, sid: Sid, key: [u8; 32]) {
        self.entry(now, sid).signing_key.get_or_insert(key);
    }

    /// Whether to ask `sid` for its signing key now: at most every 100 ms.
    pub(super) fn may_request_key(&mut self, now: Instant, sid: Sid) -> bool {
        let entry = self.entry(now, sid);
        let due = entry.key_requested.is_none_or(|asked| now - asked >= Duration::from_millis(100));
        if due {
            entry.key_requested = Some(now);
        }
        due
    }

    /// The known SIDs that start with `prefix`, in order.
    pub(super) fn matching(&self, prefix: &[u8]) -> impl Iterator<Item = Sid> {
        matching(&self.entries, prefix)
    }

    fn entry(&mut self, now: Instant, sid: Sid) -> &mut Entry {
        if !self.entries.contains_key(&sid) && self.entries.len() >= self.limit {
            let worth = |entry: &Entry| (entry.route.is_some() || entry.signing_key.is_some(), entry.used);
            let oldest = self.entries.iter().min_by_key(|(_, entry)| worth(entry)).map(|(sid, _)| *sid);
            oldest.map(|oldest| self.entries.remove(&oldest));
        }
        let entry = self.entries.entry(sid).or_default();
        entry.used = now;
        entry
    }
}

/// The keys of `map` that start with `prefix`, in order.
pub(super) fn matching<T>(map: &BTreeMap<Sid, T>, prefix: &[u8]) -> impl Iterator<Item = Sid> {
    let mut first = [0; Sid::LEN];
    let length = prefix.len().min(Sid::LEN);
    first[..length].copy_from_slice(&prefix[..length]);
    let first = Sid::new(first);
    map.range(first..)
        .map(|(sid, _)| *sid)
        .take_while(move |sid| sid.as_bytes()[..length] == first.as_bytes()[..length])
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const NOW: Instant = Instant::from_millis(1);

    fn sid(first: u8, second: u8) -> Sid {
        let mut bytes = [7; 32];
        (bytes[0], bytes[1]) = (first, second);
        Sid::new(bytes)
    }

    #[test]
    fn finds_by_prefix() {
        let mut directory = Directory::new(10);
        for sid in [sid(1, 1), sid(1, 2), sid(2, 1), sid(0xff, 0xff)] {
            directory.learn(NOW, sid);
        }
        let find = |prefix: &[u8]| directory.matching(prefix).collect::<Vec<_>>();
        assert_eq!(find(&[1]), [sid(1, 1), sid(1, 2)]);
        assert_eq!(find(&[1, 2]), [sid(1, 2)]);
        assert_eq!(find(&[3]), []);
        assert_eq!(find(&[0xff]), [sid(0xff, 0xff)]);
        assert_eq!(find(&[]).len(), 4);
    }

    #[test]
    fn is_bounded_and_forgets_what_was_of_no_use_for_longest() {
        let mut directory = Directory::new(2);
        let at = Instant::from_millis;
        directory.learn_route(at(1), sid(1, 0), sid(9, 9));
        directory.learn_route(at(2), sid(2, 0), sid(9, 9));
        directory.learn_route(at(3), sid(1, 0), sid(9, 9));
        directory.learn(at(4), sid(3, 0));
        assert_eq!(directory.route(at(4), &sid(1, 0)), Some(sid(9, 9)));
        assert_eq!(directory.route(at(4), &sid(2, 0)), None);
    }

    #[test]
    fn who_brought_something_first_is_taken_to_lead_there_for_a_while() {
        let mut directory = Directory::new(2);
        let (far, a, b) = (sid(1, 0), sid(0xa, 0), sid(0xb, 0));
        directory.learn_route(NOW, far, a);
        directory.learn_route(NOW, far, b);
        assert_eq!(directory.route(NOW, &far), Some(a));
        directory.forget_neighbour(&a);
        assert_eq!(directory.route(NOW, &far), None);
        directory.learn_route(NOW, far, b);
        assert_eq!(directory.route(NOW + ROUTE_LIFETIME, &far), None);
        directory.learn_route(NOW + ROUTE_LIFETIME, far, a);
        assert_eq!(directory.route(NOW + ROUTE_LIFETIME, &far), Some(a), "b is of no use any more");
    }

    #[test]
    fn a_signing_key_is_kept_and_asked_for_at_most_every_100_ms() {
        let mut directory = Directory::new(2);
        let a = sid(0xa, 0);
        assert!(directory.may_request_key(NOW, a));
        assert!(!directory.may_request_key(NOW + Duration::from_millis(99), a));
        assert!(directory.may_request_key(NOW + Duration::from_millis(100), a));
        directory.learn_signing_key(NOW, a, [1; 32]);
        directory.learn_signing_key(NOW, a, [2; 32]);
        assert_eq!(directory.signing_key(&a), Some(&[1; 32]));
    }

    #[test]
    fn what_is_only_known_to_exist_makes_place_first() {
        let mut directory = Directory::new(3);
        let at = Instant::from_millis;
        directory.learn_route(at(1), sid(1, 0), sid(9, 9));
        directory.learn_signing_key(at(2), sid(2, 0), [1; 32]);
        (3..9).for_each(|n| directory.learn(at(n), sid(n as u8, 0)));
        let known = directory.matching(&[]).collect::<Vec<_>>();
        assert_eq!(known, [sid(1, 0), sid(2, 0), sid(8, 0)]);
    }

    #[test]
    fn a_key_is_awaited_from_when_it_is_asked_for_until_it_comes() {
        let mut directory = Directory::new(3);
        let a = sid(0xa, 0);
        assert!(!directory.awaits_key(&a));
        directory.learn(NOW, a);
        assert!(!directory.awaits_key(&a));
        assert!(directory.may_request_key(NOW, a) && directory.awaits_key(&a));
        directory.learn_signing_key(NOW, a, [1; 32]);
        assert!(!directory.awaits_key(&a));
    }
}

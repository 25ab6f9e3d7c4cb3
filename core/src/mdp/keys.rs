//! Shared keys, which are expensive to derive, and limits on what strangers can make us do.

use super::{Identity, SharedKey};
use crate::{Instant, Sid};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use core::net::SocketAddr;
use core::time::Duration;

/// Keys that are kept for nodes that are no neighbours.
const MAX_DISTANT: usize = 64;

/// The keys shared with other identities.
///
/// What a stranger sent gets its key a place here only if it is authentic.
#[derive(Debug)]
pub(super) struct Keys {
    cache: BTreeMap<Sid, Box<Cached>>,
    limit: usize,
    uses: u64,
    derivations: Quota,
}

#[derive(Debug)]
struct Cached {
    key: SharedKey,
    used: u64,
}

impl Keys {
    /// Keys for so many neighbours, and for some nodes further away.
    pub(super) const fn new(neighbours: usize) -> Self {
        Self { cache: BTreeMap::new(), limit: neighbours + MAX_DISTANT, uses: 0, derivations: Quota::DEAR }
    }

    /// Whether strangers may make us [`Keys::get`] the key for `peer` now.
    pub(super) fn may_get(&mut self, now: Instant, peer: &Sid) -> bool {
        self.cache.contains_key(peer) || self.derivations.take(now)
    }

    /// The key for what is sent to `peer`; `None` if no identity can have that SID.
    pub(super) fn get(&mut self, identity: &Identity, peer: &Sid) -> Option<&SharedKey> {
        if !self.cache.contains_key(peer) {
            let key = identity.shared_key(peer)?;
            self.insert(*peer, key);
        }
        self.uses += 1;
        let cached = self.cache.get_mut(peer)?;
        cached.used = self.uses;
        Some(&cached.key)
    }

    /// Opens a payload that claims to come from `peer`. `None` if it does not, or if strangers sent too
    /// much lately; that does not hold for one that `proved` its key.
    pub(super) fn open<'a>(
        &mut self,
        now: Instant,
        identity: &Identity,
        (peer, proved): (&Sid, bool),
        payload: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        if proved || self.cache.contains_key(peer) {
            return self.get(identity, peer)?.open(payload);
        }
        if !self.derivations.take(now) {
            return None;
        }
        let key = identity.shared_key(peer)?;
        let plaintext = key.open(payload)?;
        self.insert(*peer, key);
        Some(plaintext)
    }

    fn insert(&mut self, peer: Sid, key: SharedKey) {
        if self.cache.len() >= self.limit {
            let oldest = self.cache.iter().min_by_key(|(_, cached)| cached.used).map(|(sid, _)| *sid);
            oldest.map(|oldest| self.cache.remove(&oldest));
        }
        self.uses += 1;
        self.cache.insert(peer, Box::new(Cached { key, used: self.uses }));
    }
}

/// Lets something happen so often in each period.
#[derive(Debug)]
pub(super) struct Quota {
    period: Duration,
    limit: u32,
    since: Instant,
    taken: u32,
}

impl Quota {
    /// For what takes some 50 to 500 µs: deriving a key, checking a signature.
    pub(super) const DEAR: Self = Self::new(Duration::from_millis(100), 32);

    pub(super) const fn new(period: Duration, limit: u32) -> Self {
        Self { period, limit, since: Instant::ZERO, taken: 0 }
    }

    /// Whether it may happen now, which counts as done.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        if now - self.since >= self.period {
            (self.since, self.taken) = (now, 0);
        }
        let may = self.taken < self.limit;
        self.taken += u32::from(may);
        may
    }
}

/// Lets something happen for each address once in an interval, and for few addresses.
#[derive(Debug)]
pub(super) struct Throttle {
    interval: Duration,
    recent: VecDeque<(Instant, SocketAddr)>,
}

impl Throttle {
    const MAX_ADDRESSES: usize = 32;

    pub(super) const fn new(interval: Duration) -> Self {
        Self { interval, recent: VecDeque::new() }
    }

    pub(super) fn allows(&mut self, now: Instant, address: SocketAddr) -> bool {
        while self.recent.front().is_some_and(|(at, _)| now - *at >= self.interval) {
            self.recent.pop_front();
        }
        let allows = self.recent.len() < Self::MAX_ADDRESSES
            && self.recent.iter().all(|(_, recent)| *recent != address);
        if allows {
            self.recent.push_back((now, address));
        }
        allows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const NOW: Instant = Instant::from_millis(1000);

    fn identity(n: u8) -> Identity {
        Identity::from_seed([n; 32])
    }

    fn sealed(from: &Identity, to: &Identity) -> Vec<u8> {
        let mut payload = Vec::from([0; SharedKey::OVERHEAD + 1]);
        from.shared_key(&to.sid()).unwrap().seal(&[1; 24], &mut payload);
        payload
    }

    #[test]
    fn a_quota_is_full_again_after_its_period() {
        let mut quota = Quota::new(Duration::from_millis(100), 2);
        let take = |millis| quota.take(Instant::from_millis(millis));
        let times = [0, 0, 0, 99, 100, 150, 199, 200, 200, 200];
        let expected = [true, true, false, false, true, true, false, true, true, false];
        assert_eq!(times.map(take), expected);
        assert!(!Quota::new(Duration::from_millis(100), 0).take(NOW));
    }

    #[test]
    fn keys_are_kept_for_so_many_neighbours_and_64_others() {
        let (own, mut keys) = (identity(0), Keys::new(2));
        for n in 1..=66 {
            assert!(keys.get(&own, &identity(n).sid()).is_some());
        }
        // Strangers derive until they may no more: what is kept may be used all the same.
        assert_eq!((0..40).filter(|_| keys.may_get(NOW, &Sid::new([9; 32]))).count(), 32);
        assert!((1..=66).all(|n| keys.may_get(NOW, &identity(n).sid())));
        keys.get(&own, &identity(1).sid());
        keys.get(&own, &identity(67).sid());
        let forgotten: Vec<_> = (1..=67).filter(|n| !keys.may_get(NOW, &identity(*n).sid())).collect();
        assert_eq!(forgotten, [2], "the one that was used least recently");
    }

    #[test]
    fn one_that_proved_its_key_is_understood_whatever_strangers_do() {
        let (own, other, mut keys) = (identity(0), identity(1), Keys::new(1));
        while keys.may_get(NOW, &Sid::new([9; 32])) {}
        let open = |keys: &mut Keys, from: &Identity, proved, payload: &mut [u8]| {
            keys.open(NOW, &own, (&from.sid(), proved), payload).is_some()
        };
        assert!(!open(&mut keys, &other, false, &mut sealed(&other, &own)));
        assert!(!open(&mut keys, &other, true, &mut [7; 50]), "forged in its name");
        assert!(open(&mut keys, &other, false, &mut sealed(&other, &own)), "its key is kept for that");
    }

    #[test]
    fn a_stranger_gets_a_place_only_for_what_opens() {
        let (own, other, mut keys) = (identity(0), identity(1), Keys::new(1));
        assert!(keys.open(NOW, &own, (&other.sid(), false), &mut [7; 50]).is_none());
        assert!(keys.cache.is_empty());
        assert!(keys.open(NOW, &own, (&other.sid(), false), &mut sealed(&other, &own)).is_some());
        assert_eq!((keys.cache.len(), keys.derivations.taken), (1, 2));
    }

    #[test]
    fn an_address_is_let_through_once_in_an_interval_and_32_at_once() {
        let mut throttle = Throttle::new(Duration::from_millis(100));
        let address = |host: u8| SocketAddr::from(([10, 0, 0, host], 1));
        let mut allowed = |millis: u64, hosts: core::ops::Range<u8>| {
            let now = NOW + Duration::from_millis(millis);
            hosts.filter(|host| throttle.allows(now, address(*host))).count()
        };
        assert_eq!([allowed(0, 0..1), allowed(50, 0..2), allowed(99, 0..1)], [1, 1, 0]);
        assert_eq!([allowed(100, 0..1), allowed(149, 1..2), allowed(150, 1..2)], [1, 0, 1]);
        assert_eq!(allowed(150, 2..200), 30);
        assert_eq!(allowed(200, 2..200), 1, "one place is free");
    }
}

//! Shared keys, which are expensive to derive, and limits on what strangers can make us do.

use super::{Identity, SharedKey};
use crate::{Instant, Sid};
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
    cache: BTreeMap<Sid, Cached>,
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
        self.cache.insert(peer, Cached { key, used: self.uses });
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

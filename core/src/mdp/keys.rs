//! Shared keys, which are expensive to derive, and limits on what strangers can make us do.

use super::{Identity, SharedKey};
use crate::{Instant, Sid};
use alloc::collections::{BTreeMap, VecDeque};
use core::net::SocketAddr;
use core::time::Duration;

/// Keys that are kept.
const MAX_KEYS: usize = 64;
/// Keys that are derived for received frames in each [`PERIOD`]. One takes some 50 to 500 µs.
const MAX_DERIVATIONS: u32 = 32;
const PERIOD: Duration = Duration::from_millis(100);

/// The keys shared with other identities.
///
/// A received frame gets its key a place here only if it is authentic.
#[derive(Debug, Default)]
pub(super) struct Keys {
    cache: BTreeMap<Sid, Cached>,
    uses: u64,
    period: Instant,
    derivations: u32,
}

#[derive(Debug)]
struct Cached {
    key: SharedKey,
    used: u64,
}

impl Keys {
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
    /// much lately.
    pub(super) fn open<'a>(
        &mut self,
        now: Instant,
        identity: &Identity,
        peer: &Sid,
        payload: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        if self.cache.contains_key(peer) {
            return self.get(identity, peer)?.open(payload);
        }
        if now - self.period >= PERIOD {
            (self.period, self.derivations) = (now, 0);
        }
        if self.derivations == MAX_DERIVATIONS {
            return None;
        }
        self.derivations += 1;
        let key = identity.shared_key(peer)?;
        let plaintext = key.open(payload)?;
        self.insert(*peer, key);
        Some(plaintext)
    }

    fn insert(&mut self, peer: Sid, key: SharedKey) {
        if self.cache.len() >= MAX_KEYS {
            let oldest = self.cache.iter().min_by_key(|(_, cached)| cached.used).map(|(sid, _)| *sid);
            oldest.map(|oldest| self.cache.remove(&oldest));
        }
        self.uses += 1;
        self.cache.insert(peer, Cached { key, used: self.uses });
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

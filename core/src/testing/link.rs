//! One direction of an unreliable link, in virtual time.

use crate::{Instant, Rng};
use alloc::collections::BTreeMap;
use core::time::Duration;

/// Carries packets of any kind from one end to the other with delay, rate, loss, duplication and
/// reordering, all drawn from a seed.
///
/// ```
/// # use msp_core::{Instant, testing::Link};
/// # use core::time::Duration;
/// let mut link = Link::new(1).delay(Duration::from_millis(20));
/// link.push(Instant::ZERO, b"hello".to_vec());
/// assert_eq!(link.next_arrival(), Some(Instant::from_millis(20)));
/// assert_eq!(link.pop(Instant::from_millis(19)), None);
/// assert_eq!(link.pop(Instant::from_millis(20)), Some(b"hello".to_vec()));
/// ```
#[derive(Debug)]
pub struct Link<T = alloc::vec::Vec<u8>> {
    rng: Rng,
    delay: Duration,
    jitter: Duration,
    loss: u64,
    duplicate: u64,
    reorder: u64,
    /// Bytes a second, 0 for no limit.
    rate: u64,
    /// Bytes that may wait for the transmitter.
    queue: u64,
    /// When the transmitter is free again.
    busy_until: Instant,
    blackout: bool,
    flight: BTreeMap<(Instant, u64), T>,
    pushed: u64,
    dropped: u64,
}

impl<T: Clone> Link<T> {
    /// A link that delivers at once and in order.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self {
            rng: Rng::new(bytes),
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0,
            duplicate: 0,
            reorder: 0,
            rate: 0,
            queue: 0,
            busy_until: Instant::ZERO,
            blackout: false,
            flight: BTreeMap::new(),
            pushed: 0,
            dropped: 0,
        }
    }

    /// Time from one end to the other.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Up to this much is added to the delay of each packet, which also reorders.
    #[must_use]
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// Packets in a hundred that vanish.
    #[must_use]
    pub fn loss(mut self, percent: u64) -> Self {
        self.loss = percent;
        self
    }

    /// Packets in a hundred that arrive twice.
    #[must_use]
    pub fn duplicate(mut self, percent: u64) -> Self {
        self.duplicate = percent;
        self
    }

    /// Packets in a hundred that overtake: they skip half of the delay.
    #[must_use]
    pub fn reorder(mut self, percent: u64) -> Self {
        self.reorder = percent;
        self
    }

    /// Bytes a second through the link, with a queue of `queue` bytes before it; beyond that, packets drop.
    #[must_use]
    pub fn rate(mut self, bytes_per_second: u64, queue: u64) -> Self {
        (self.rate, self.queue) = (bytes_per_second, queue);
        self
    }

    /// From now on nothing passes (`true`) or the link works (`false`).
    pub fn set_blackout(&mut self, blackout: bool) {
        self.blackout = blackout;
    }

    /// From now on this many packets in a hundred vanish.
    pub fn set_loss(&mut self, percent: u64) {
        self.loss = percent;
    }

    /// When the next packet arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Instant> {
        self.flight.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next packet that has arrived by `now`.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        self.flight.first_entry().filter(|entry| entry.key().0 <= now).map(|entry| entry.remove())
    }

    /// Packets pushed, and those of them that were lost.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.pushed, self.dropped)
    }

    fn chance(&mut self, percent: u64) -> bool {
        percent > 0 && self.rng.below(100) < percent
    }

    fn transit(&mut self) -> Duration {
        let jitter = self.rng.below(self.jitter.as_micros() as u64 + 1);
        let delay = if self.chance(self.reorder) { self.delay / 2 } else { self.delay };
        delay + Duration::from_micros(jitter)
    }
}

impl<T: Clone + AsRef<[u8]>> Link<T> {
    /// Sends a packet.
    pub fn push(&mut self, now: Instant, packet: T) {
        self.pushed += 1;
        let mut departure = now;
        if self.rate > 0 {
            let size = packet.as_ref().len() as u64;
            let waiting = (self.busy_until - now).as_micros() as u64 * self.rate / 1_000_000;
            if waiting + size > self.queue {
                self.dropped += 1;
                return;
            }
            departure = self.busy_until.max(now) + Duration::from_micros(size * 1_000_000 / self.rate);
            self.busy_until = departure;
        }
        if self.blackout || self.chance(self.loss) {
            self.dropped += 1;
            return;
        }
        for copy in 0..if self.chance(self.duplicate) { 2 } else { 1 } {
            let arrival = departure + self.transit();
            self.flight.insert((arrival, 2 * self.pushed + copy), packet.clone());
        }
    }
}

//! One direction of an unreliable link, in virtual time.

use crate::{Instant, Rng};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

/// Probabilities are parts of this.
const MILLION: u64 = 1_000_000;
/// Nanoseconds in a second: how long a packet takes is seldom a whole number of microseconds.
const BILLION: u64 = 1_000_000_000;

/// Carries packets from one end to the other with delay, rate, loss, duplication, reordering and damage, all
/// drawn from a seed.
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
pub struct Link {
    rng: Rng,
    delay: Duration,
    jitter: Duration,
    /// Chances in a million.
    loss: u64,
    duplicate: u64,
    reorder: u64,
    corrupt: u64,
    truncate: u64,
    burst: Option<Burst>,
    /// Longer packets vanish.
    mtu: usize,
    /// Bytes that the layers below add to each packet.
    overhead: u64,
    /// Bytes a second, 0 for no limit, and to what it changes when, in nanoseconds.
    rate: u64,
    steps: Vec<(u64, u64)>,
    /// Bytes that may wait for the transmitter, the packet that it is at included.
    queue: u64,
    /// Which packets do, by when they will have left, in nanoseconds, and their sizes.
    waiting: VecDeque<(u64, u64)>,
    blackout: bool,
    /// From when until when nothing passes.
    outages: Vec<(Instant, Instant)>,
    flight: BTreeMap<(Instant, u64), Vec<u8>>,
    traffic: Traffic,
}

/// What has gone into a [`Link`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Packets, and their bytes with those that the layers below add.
    pub packets: u64,
    /// See `packets`.
    pub bytes: u64,
    /// Packets of them that did not arrive, and those of these that found the queue full.
    pub dropped: u64,
    /// See `dropped`.
    pub overflowed: u64,
    /// How long all packets together have waited in the queue, until their transmission began, and the longest
    /// wait.
    pub waited: Duration,
    /// See `waited`.
    pub longest_wait: Duration,
}

/// Loss in bursts, after Gilbert and Elliott: a good state in which all passes, and a bad one in which nothing
/// does.
#[derive(Debug, Clone, Copy)]
struct Burst {
    /// Chances in a million to change to the bad and to the good state with each packet.
    begins: u64,
    ends: u64,
    bad: bool,
}

impl Link {
    /// A link that delivers at once and in order.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: super::rng(seed),
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0,
            duplicate: 0,
            reorder: 0,
            corrupt: 0,
            truncate: 0,
            burst: None,
            mtu: usize::MAX,
            overhead: 0,
            rate: 0,
            steps: Vec::new(),
            queue: 0,
            waiting: VecDeque::new(),
            blackout: false,
            outages: Vec::new(),
            flight: BTreeMap::new(),
            traffic: Traffic::default(),
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
        self.set_loss(percent);
        self
    }

    /// Packets in a million that vanish.
    #[must_use]
    pub fn loss_in_a_million(mut self, packets: u64) -> Self {
        self.loss = packets;
        self
    }

    /// Packets in a hundred, at most 50, that vanish in bursts of `mean` packets, at least one.
    #[must_use]
    pub fn burst_loss(mut self, percent: u64, mean: u64) -> Self {
        let (percent, mean) = (percent.min(50), mean.max(1));
        let begins = MILLION * percent / (mean * (100 - percent));
        self.burst = Some(Burst { begins, ends: MILLION / mean, bad: false });
        self
    }

    /// Packets in a hundred that arrive twice.
    #[must_use]
    pub fn duplicate(mut self, percent: u64) -> Self {
        self.duplicate = percent * (MILLION / 100);
        self
    }

    /// Packets in a hundred that overtake: they skip half of the delay.
    #[must_use]
    pub fn reorder(mut self, percent: u64) -> Self {
        self.reorder = percent * (MILLION / 100);
        self
    }

    /// Packets in a hundred in which one bit is flipped.
    #[must_use]
    pub fn corrupt(mut self, percent: u64) -> Self {
        self.corrupt = percent * (MILLION / 100);
        self
    }

    /// Packets in a hundred that lose their end.
    #[must_use]
    pub fn truncate(mut self, percent: u64) -> Self {
        self.truncate = percent * (MILLION / 100);
        self
    }

    /// Packets of more than `bytes` vanish.
    #[must_use]
    pub fn mtu(mut self, bytes: usize) -> Self {
        self.mtu = bytes;
        self
    }

    /// Bytes a second through the link, with a queue of `queue` bytes before it; beyond that, packets drop.
    #[must_use]
    pub fn rate(mut self, bytes_per_second: u64, queue: u64) -> Self {
        (self.rate, self.queue) = (bytes_per_second, queue);
        self
    }

    /// From `at` on, it is this many bytes a second instead, for the packets that wait, too. To be called in the
    /// order of time.
    #[must_use]
    pub fn rate_from(mut self, at: Instant, bytes_per_second: u64) -> Self {
        self.steps.push((1000 * at.as_micros(), bytes_per_second));
        self
    }

    /// The layers below add this many bytes to each packet: 28 for UDP over IPv4.
    #[must_use]
    pub fn overhead(mut self, bytes: u64) -> Self {
        self.overhead = bytes;
        self
    }

    /// Nothing passes from `at` on, for `length`.
    #[must_use]
    pub fn outage(mut self, at: Instant, length: Duration) -> Self {
        self.outages.push((at, at + length));
        self
    }

    /// From now on nothing passes (`true`) or the link works (`false`).
    pub fn set_blackout(&mut self, blackout: bool) {
        self.blackout = blackout;
    }

    /// From now on this many packets in a hundred vanish.
    pub fn set_loss(&mut self, percent: u64) {
        self.loss = percent * (MILLION / 100);
    }

    /// From now on packets of more than `bytes` vanish.
    pub fn set_mtu(&mut self, bytes: usize) {
        self.mtu = bytes;
    }

    /// From now on the link only delays and limits the rate: nothing vanishes but what overflows its queue.
    pub fn heal(&mut self) {
        (self.loss, self.duplicate, self.reorder, self.corrupt, self.truncate) = (0, 0, 0, 0, 0);
        self.burst = None;
        self.blackout = false;
        self.outages.clear();
    }

    /// Whether every packet arrives, once, unchanged and in order, unless the queue overflows.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let chances = [self.loss, self.duplicate, self.reorder, self.corrupt, self.truncate];
        chances == [0; 5]
            && self.burst.is_none()
            && !self.blackout
            && self.outages.is_empty()
            && self.jitter == Duration::ZERO
    }

    /// When the next packet arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Instant> {
        self.flight.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next packet that has arrived by `now`.
    pub fn pop(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.flight.first_entry().filter(|entry| entry.key().0 <= now).map(|entry| entry.remove())
    }

    /// Packets pushed, and those of them that were lost.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.traffic.packets, self.traffic.dropped)
    }

    /// All that has gone into the link.
    #[must_use]
    pub const fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Sends a packet.
    pub fn push(&mut self, now: Instant, mut packet: Vec<u8>) {
        let size = packet.len() as u64 + self.overhead;
        self.traffic.packets += 1;
        self.traffic.bytes += size;
        let Some(departure) = self.depart(now, size) else {
            self.traffic.dropped += 1;
            self.traffic.overflowed += 1;
            return;
        };
        if self.is_lost(departure) || packet.len() > self.mtu {
            self.traffic.dropped += 1;
            return;
        }
        if self.chance(self.corrupt) && !packet.is_empty() {
            let bit = self.rng.below(8 * packet.len() as u64) as usize;
            packet[bit / 8] ^= 1 << (bit % 8);
        }
        if self.chance(self.truncate) {
            packet.truncate(self.rng.below(packet.len() as u64) as usize);
        }
        for copy in 0..if self.chance(self.duplicate) { 2 } else { 1 } {
            let arrival = departure + self.transit();
            self.flight.insert((arrival, 2 * self.traffic.packets + copy), packet.clone());
        }
    }

    /// When a packet of this size has left the transmitter; `None` if the queue before it is full.
    fn depart(&mut self, now: Instant, size: u64) -> Option<Instant> {
        if self.rate == 0 {
            return Some(now);
        }
        let now = 1000 * now.as_micros();
        while self.waiting.front().is_some_and(|(departure, _)| *departure <= now) {
            self.waiting.pop_front();
        }
        if self.waiting.iter().map(|(_, size)| size).sum::<u64>() + size > self.queue {
            return None;
        }
        let start = self.waiting.back().map_or(now, |(departure, _)| *departure);
        let wait = Duration::from_nanos(start - now);
        self.traffic.waited += wait;
        self.traffic.longest_wait = self.traffic.longest_wait.max(wait);
        let departure = self.transmitted(start, size);
        self.waiting.push_back((departure, size));
        Some(Instant::from_micros(departure.div_ceil(1000)))
    }

    /// When this many bytes have left whose transmission begins at `start`, in nanoseconds.
    fn transmitted(&self, start: u64, size: u64) -> u64 {
        let (mut at, mut rate, mut left) = (start, self.rate, size * BILLION);
        for (from, next_rate) in &self.steps {
            let possible = from.saturating_sub(at).saturating_mul(rate);
            if possible >= left {
                break;
            }
            (at, rate, left) = (at.max(*from), *next_rate, left - possible);
        }
        at + left.div_ceil(rate.max(1))
    }

    fn is_lost(&mut self, now: Instant) -> bool {
        if let Some(mut burst) = self.burst {
            burst.bad ^= self.chance(if burst.bad { burst.ends } else { burst.begins });
            self.burst = Some(burst);
        }
        self.blackout
            || self.burst.is_some_and(|burst| burst.bad)
            || self.outages.iter().any(|(from, until)| (*from..*until).contains(&now))
            || self.chance(self.loss)
    }

    fn transit(&mut self) -> Duration {
        let jitter = self.rng.below(self.jitter.as_micros() as u64 + 1);
        let delay = if self.chance(self.reorder) { self.delay / 2 } else { self.delay };
        delay + Duration::from_micros(jitter)
    }

    fn chance(&mut self, in_a_million: u64) -> bool {
        in_a_million > 0 && self.rng.below(MILLION) < in_a_million
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// What arrives of `count` packets of 100 bytes, one a millisecond.
    fn arrivals(link: &mut Link, count: u64) -> Vec<Vec<u8>> {
        (0..count).for_each(|n| link.push(at(n), alloc::vec![n as u8; 100]));
        core::iter::from_fn(|| link.pop(at(u64::MAX / 1_000_000))).collect()
    }

    /// The lengths of the runs of lost packets.
    fn bursts(link: &mut Link, count: u64) -> Vec<u64> {
        let (mut bursts, mut run) = (Vec::new(), 0);
        for n in 0..count {
            let before = link.counts().1;
            link.push(at(n), Vec::new());
            if link.counts().1 > before {
                run += 1;
            } else if run > 0 {
                bursts.push(core::mem::take(&mut run));
            }
        }
        bursts
    }

    #[test]
    fn loses_the_share_it_is_told_to_lose() {
        let mut link = Link::new(1).loss(10);
        let count = arrivals(&mut link, 20_000).len();
        assert!((17_700..18_300).contains(&count), "{count}");
        assert_eq!(link.counts(), (20_000, 20_000 - count as u64));
    }

    #[test]
    fn loses_in_bursts_of_the_mean_length() {
        let lengths = bursts(&mut Link::new(2).burst_loss(10, 5), 100_000);
        let lost: u64 = lengths.iter().sum();
        let mean = lost as f64 / lengths.len() as f64;
        assert!((9_000..11_000).contains(&lost), "{lost}");
        assert!((4.5..5.5).contains(&mean), "{mean}");
    }

    #[test]
    fn damages_and_repeats() {
        let count = |link: &mut Link, is: fn(&[u8]) -> bool| {
            arrivals(link, 1000).iter().filter(|packet| is(packet)).count()
        };
        let flipped = count(&mut Link::new(3).corrupt(20), |packet| packet.iter().any(|b| *b != packet[0]));
        assert!((150..250).contains(&flipped), "{flipped}");
        let short = count(&mut Link::new(4).truncate(20), |packet| packet.len() < 100);
        assert!((150..250).contains(&short), "{short}");
        let all = count(&mut Link::new(5).duplicate(20), |_| true);
        assert!((1150..1250).contains(&all), "{all}");
    }

    #[test]
    fn packets_overtake_by_half_of_the_delay() {
        let mut link = Link::new(6).delay(Duration::from_millis(10)).reorder(100);
        link.push(at(0), Vec::new());
        assert_eq!(link.next_arrival(), Some(at(5)));
    }

    #[test]
    fn a_rate_delays_and_its_queue_overflows() {
        let mut link = Link::new(7).rate(100_000, 250);
        (0..3).for_each(|n| link.push(at(0), alloc::vec![n; 100]));
        assert_eq!(link.counts(), (3, 1), "the third would have to wait behind two");
        assert_eq!(link.pop(at(1)), Some(alloc::vec![0; 100]));
        assert_eq!((link.pop(at(1)), link.next_arrival()), (None, Some(at(2))));
    }

    /// Packets of 73 bytes and 27 below them, over 12,500 bytes a second: one takes 8 ms.
    #[test]
    fn waits_are_counted_and_headers_below_take_their_time() {
        let mut link = Link::new(7).rate(12_500, 300).overhead(27).loss_in_a_million(MILLION);
        (0..4).for_each(|_| link.push(at(0), alloc::vec![0; 73]));
        link.push(at(20), alloc::vec![0; 73]);
        let expected = Traffic {
            packets: 5,
            bytes: 500,
            dropped: 5,
            overflowed: 1,
            waited: Duration::from_millis(8 + 16 + 4),
            longest_wait: Duration::from_millis(16),
        };
        assert_eq!(link.traffic(), expected);
    }

    #[test]
    fn the_rate_is_kept_to_the_nanosecond() {
        let mut link = Link::new(7).rate(12_500_000, u64::MAX);
        (0..125_000).for_each(|_| link.push(at(0), alloc::vec![0; 101]));
        let last = core::iter::from_fn(|| link.next_arrival().inspect(|at| drop(link.pop(*at)))).last();
        assert_eq!(last, Some(at(1010)));
    }

    #[test]
    fn a_rate_that_steps_takes_waiting_packets_along() {
        let mut link = Link::new(7).rate(10_000, 1000).rate_from(at(15), 1000).rate_from(at(75), 10_000);
        (0..3).for_each(|_| link.push(at(0), alloc::vec![0; 100]));
        link.push(at(200), alloc::vec![0; 100]);
        let arrivals = core::iter::from_fn(|| link.next_arrival().inspect(|at| drop(link.pop(*at))));
        // The second has sent 50 bytes at the first step and the rest 50 ms later, the third 10 by the next.
        assert_eq!(arrivals.collect::<Vec<_>>(), [at(10), at(65), at(84), at(210)]);
    }

    #[test]
    fn an_outage_ends_and_long_packets_never_pass() {
        let mut link = Link::new(8).outage(at(10), Duration::from_millis(5)).mtu(99);
        for (time, length, passes) in [(9, 99, 1), (10, 99, 0), (14, 99, 0), (15, 99, 1), (16, 100, 0)] {
            link.push(at(time), alloc::vec![0; length]);
            assert_eq!(link.pop(at(100)).into_iter().count(), passes, "at {time} ms, {length} bytes");
        }
        link.set_blackout(true);
        assert!(!link.is_good());
        link.heal();
        assert!(link.is_good() && arrivals(&mut link, 10).is_empty(), "the MTU stays");
    }
}

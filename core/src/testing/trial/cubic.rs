//! A flow of the kind that most traffic is: TCP with CUBIC (RFC 9438), to see how ours shares a link with it.
//!
//! It models the sender's window, not TCP: packets have numbers of their own, each is acknowledged by itself, and
//! what is lost counts as delivered by nobody. Slow start ends as HyStart++ ends it (RFC 9406), not by loss alone.

use crate::Instant;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

/// The first byte of its packets, which none of MDP has.
const MARK: u8 = 0xff;
/// Lengths of UDP payloads, so that the packets are as long as those of TCP over Ethernet, and as acknowledgments.
const PACKET: usize = 1472;
const ACK: usize = 24;
/// Bytes of a user in a packet: those of TCP with time stamps.
const PAYLOAD: u64 = 1448;

/// The constants of RFC 9438, in packets and seconds.
const C: f64 = 0.4;
const BETA: f64 = 0.7;
/// Packets acknowledged later than this many sent after it are lost.
const REORDERING: u64 = 3;
const MIN_TIMEOUT: Duration = Duration::from_millis(200);
/// Slow start looks at this many round trips of each round.
const HYSTART_SAMPLES: u32 = 8;

/// The sender.
#[derive(Debug)]
pub struct Cubic {
    now: Instant,
    window: f64,
    threshold: f64,
    /// Where the window was at the last loss, and when it began to grow again.
    peak: f64,
    epoch: Option<Instant>,
    /// Seconds from then until it is there again.
    rise: f64,
    /// As large as that of Reno would be.
    reno: f64,
    next: u64,
    /// Until this packet is acknowledged, losses belong to the last one.
    recovery: u64,
    on_way: BTreeMap<u64, Instant>,
    smoothed: Option<Duration>,
    minimum: Duration,
    /// The first round trips of the round that ends with this packet: how many, and the least.
    round_end: u64,
    round: (u32, Duration),
    timer: Instant,
    /// Bytes of the user that have arrived.
    pub delivered: u64,
}

impl Cubic {
    /// A flow that starts at `start` and never ends.
    #[must_use]
    pub const fn new(start: Instant) -> Self {
        Self {
            now: start,
            window: 10.0,
            threshold: f64::MAX,
            peak: 0.0,
            epoch: None,
            rise: 0.0,
            reno: 0.0,
            next: 0,
            recovery: 0,
            on_way: BTreeMap::new(),
            smoothed: None,
            minimum: Duration::MAX,
            round_end: 0,
            round: (0, Duration::MAX),
            timer: start,
            delivered: 0,
        }
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        if self.has_room() { self.now } else { self.timer + self.timeout() }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        if !self.has_room() && now >= self.timer + self.timeout() {
            self.on_loss();
            self.window = 1.0;
            self.on_way.clear();
            self.timer = now;
        }
    }

    pub(super) fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> bool {
        if now < self.now || !self.has_room() {
            return false; // before its start, or with a full window
        }
        self.now = now;
        if self.on_way.is_empty() {
            self.timer = now;
        }
        self.on_way.insert(self.next, now);
        emit(self.next, PACKET, buffer);
        self.next += 1;
        true
    }

    fn has_room(&self) -> bool {
        (self.on_way.len() as f64) < self.window.max(1.0)
    }

    fn timeout(&self) -> Duration {
        self.smoothed.map_or(MIN_TIMEOUT * 5, |smoothed| (smoothed * 2).max(MIN_TIMEOUT))
    }

    fn on_ack(&mut self, now: Instant, number: u64) {
        self.now = now;
        let Some(sent) = self.on_way.remove(&number) else { return };
        let sample = now - sent;
        self.smoothed = Some(self.smoothed.map_or(sample, |smoothed| (smoothed * 7 + sample) / 8));
        self.minimum = self.minimum.min(sample);
        self.timer = now;
        self.delivered += PAYLOAD;
        let mut lost = false;
        while let Some(oldest) = self.on_way.first_entry().filter(|it| it.key() + REORDERING < number) {
            lost |= *oldest.key() >= self.recovery;
            oldest.remove();
        }
        if lost {
            self.on_loss();
        } else if number >= self.recovery {
            self.grow(now, number, sample);
        }
    }

    fn on_loss(&mut self) {
        self.peak = self.window;
        self.window = (self.window * BETA).max(2.0);
        (self.threshold, self.epoch, self.recovery) = (self.window, None, self.next);
    }

    fn grow(&mut self, now: Instant, number: u64, sample: Duration) {
        if self.window < self.threshold {
            self.window += 1.0;
            if number >= self.round_end {
                (self.round_end, self.round) = (self.next, (0, Duration::MAX));
            }
            let (samples, least) = &mut self.round;
            (*samples, *least) = (*samples + 1, sample.min(*least));
            // Later ones wait for the burst that the round begins with.
            let patience = (self.minimum / 8).clamp(Duration::from_millis(4), Duration::from_millis(16));
            if *samples == HYSTART_SAMPLES && *least >= self.minimum + patience {
                (self.threshold, self.peak) = (self.window, self.window);
            }
            return;
        }
        let epoch = *self.epoch.get_or_insert_with(|| {
            (self.reno, self.rise) = (self.window, cube_root((self.peak - self.window).max(0.0) / C));
            now
        });
        let distance = (now - epoch + self.minimum).as_secs_f64() - self.rise;
        let target = C * distance * distance * distance + self.peak;
        self.reno += 3.0 * (1.0 - BETA) / (1.0 + BETA) / self.window;
        let target = target.max(self.reno).clamp(self.window, 1.5 * self.window);
        self.window += (target - self.window) / self.window;
    }
}

/// The receiver: acknowledges each packet.
#[derive(Debug, Default)]
pub(super) struct Acknowledger {
    acks: VecDeque<u64>,
}

impl Acknowledger {
    pub(super) fn has_ack(&self) -> bool {
        !self.acks.is_empty()
    }

    pub(super) fn poll_transmit(&mut self, buffer: &mut Vec<u8>) -> bool {
        self.acks.pop_front().is_some_and(|number| {
            emit(number, ACK, buffer);
            true
        })
    }
}

/// Takes a packet for the flow or its receiver. Returns whether it was one.
pub(super) fn handle_packet(
    now: Instant,
    packet: &[u8],
    sender: Option<&mut Cubic>,
    receiver: &mut Acknowledger,
) -> bool {
    let Some(rest) = packet.strip_prefix(&[MARK]) else { return false };
    let number = rest.first_chunk().map_or(0, |number| u64::from_le_bytes(*number));
    match sender {
        Some(sender) => sender.on_ack(now, number),
        None => receiver.acks.push_back(number),
    }
    true
}

fn emit(number: u64, length: usize, buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.push(MARK);
    buffer.extend_from_slice(&number.to_le_bytes());
    buffer.resize(length, 0);
}

/// The same on every machine, which that of the standard library need not be.
fn cube_root(number: f64) -> f64 {
    if number <= 0.0 {
        return 0.0;
    }
    (0..60).fold(number.max(1.0), |root, _| (2.0 * root + number / (root * root)) / 3.0)
}

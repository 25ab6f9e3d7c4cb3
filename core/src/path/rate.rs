//! How fast a path takes packets: its delivery rate and its shortest round trip, and from these when the next
//! packet may leave and how much may be on its way.
//!
//! This is the model of BBR (draft-ietf-ccwg-bbr) with one change. What a radio loses has used its time on the air,
//! so it counts as taken, as long as round trips show no queue that could have overflowed: the rate is what the
//! path can be given, not what comes out of it. Taking the latter, a sender slows down with every lost packet.
//!
//! And it begins otherwise: doubling what is sent in each round takes long where a round does. How far apart packets
//! arrive that were sent at once shows how fast the slowest link is (packet trains, Dovrolis, Ramanathan and Moore,
//! 2001), so a new path is given that from the second flight on.

use crate::Instant;
use core::time::Duration;

/// Gains in percent: of the pace and of the window while the rate is being found; that of the pace just doubles
/// what is sent in each round.
const STARTUP: u64 = 277;
/// Of the pace while the queue that this has left drains.
const DRAIN: u64 = 35;
/// Of the pace in turns of a round trip: a little more than the path took, then less, then the same.
const CYCLE: [u64; 8] = [125, 75, 100, 100, 100, 100, 100, 100];
/// Of the window: acknowledgments come late and in groups.
const WINDOW: u64 = 200;
/// Of the pace in the first two turns while others keep a queue, by a part for each 40 ms of the round trip: the longer
/// it is, the fewer such turns there are in the time in which TCP grows.
const YIELD: u64 = 7;
const YIELDS: u64 = 4;
/// The pace stays this much below the rate, in parts of a thousand, so that no queue is left in the long run.
const MARGIN: u64 = 995;
/// The same on a new path, of what its trains show.
const TRAINS: u64 = 98;
/// The path is full when the rate has not grown by a quarter for so many rounds.
const FULL_ROUNDS: u8 = 3;
/// Rounds whose rates are remembered, and those while there is a queue: the path may have become slower.
const ROUNDS: usize = 10;
const ROUNDS_QUEUEING: usize = 3;
/// No path is taken for slower or faster, in bytes a second.
const MIN_RATE: u64 = 1200;
const MAX_RATE: u64 = 10_000_000_000;
/// Fewer bytes tell nothing of a rate that was higher.
const MIN_SAMPLE: u64 = 3 * 1200;
/// No packet waits longer than this for its turn, nor than two round trips.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// Bytes that may be on their way beyond the window: one group of packets that are acknowledged together.
const GROUP: u64 = 16 * 1200;
/// No more may be on the way of a new path than so many times what has arrived.
const GROWTH: u64 = 128;
/// Trains show the rate from so many bytes on that have arrived behind others, and no higher one than if these had
/// taken so long: what arrives at once may have waited somewhere.
const TRAIN: u64 = 5 * 1200;
const TRAIN_TIME: Duration = Duration::from_millis(1);
/// What leaves at once takes this long at the pace, or is this many bytes.
const BURST: Duration = Duration::from_millis(1);
const BURST_BYTES: u64 = 4 * 1200;
/// A shorter queue is not seen through delayed acknowledgments.
const MIN_QUEUE_DELAY: Duration = Duration::from_millis(2);
/// A longer one is one on the longest path, too: others would grow too slowly there to make it much longer.
const MAX_QUEUE_DELAY: Duration = Duration::from_millis(50);
/// The share of lost packets is of the latest so many, and in parts of a million.
const LOSS_PACKETS: u32 = 128;
/// Fewer tell nothing.
const LOSS_ENOUGH: u32 = 16;
const MILLION: u32 = 1_000_000;
/// No more than this, in percent, is thought to be taken than what arrives and what is lost on a calm path together.
const SLACK: u64 = 125;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The rate is being found. It was `rate`, of what arrives, when it last grew by a quarter, `rounds` ago.
    Startup { rate: u64, rounds: u8 },
    /// The queue that is left from that drains.
    Drain,
    /// The rate is known; the place in [`CYCLE`], since when, and the rate then.
    Cruise { place: usize, since: Instant, rate: u64 },
}

/// What is remembered of a packet on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    at: Instant,
    bytes: u64,
    /// What had been sent then, it included.
    total: u64,
    /// What had arrived of it then.
    delivered: u64,
    /// How much of it the path had taken then, when it last had, and when that had been sent.
    taken: u64,
    taken_at: Instant,
    taken_sent: Instant,
    /// The sender had no more to send.
    limited: bool,
    /// The path was given less than it takes.
    calm: bool,
}

impl Sent {
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The model.
#[derive(Debug)]
pub(crate) struct Rate {
    phase: Phase,
    /// The rates of the latest rounds, in bytes a second, the current one first.
    rounds: [u64; ROUNDS],
    /// A round ends when what was sent since its begin is acknowledged.
    round_end: u64,
    round_minimum: Option<Duration>,
    /// The best rate in this round, if the sender had no more to send, too, and the best of what arrived.
    round_rate: u64,
    round_delivered: u64,
    latest: Option<Duration>,
    /// Round trips of the last round say that there is a queue.
    queueing: bool,
    /// Bytes that were sent, and those of them up to the newest packet that has arrived: what was lost on the way
    /// had its time there, too.
    total: u64,
    delivered: u64,
    taken: u64,
    taken_at: Instant,
    taken_sent: Instant,
    in_flight: u64,
    /// The sender had no more to send when this much was not yet taken.
    limited_until: u64,
    /// The newest packet of the acknowledgment that is being read.
    newest: Option<Sent>,
    /// While the path is new.
    trains: Option<Trains>,
    minimum: Duration,
    /// What the repair of losses on the way adds to round trips, without any queue.
    tolerance: Duration,
    calm_loss: Loss,
    /// When all that was sent would have left at the pace, and until when nothing may.
    drained: Instant,
    paused_until: Instant,
}

impl Rate {
    pub(crate) const fn new() -> Self {
        Self {
            phase: Phase::Startup { rate: 0, rounds: 0 },
            rounds: [0; ROUNDS],
            round_end: 0,
            round_minimum: None,
            round_rate: 0,
            round_delivered: 0,
            latest: None,
            queueing: false,
            total: 0,
            delivered: 0,
            taken: 0,
            taken_at: Instant::ZERO,
            taken_sent: Instant::ZERO,
            in_flight: 0,
            limited_until: 0,
            newest: None,
            trains: Some(Trains::NONE),
            minimum: Duration::MAX,
            tolerance: Duration::ZERO,
            calm_loss: Loss::NONE,
            drained: Instant::ZERO,
            paused_until: Instant::ZERO,
        }
    }

    /// Bytes of whose fate nothing is known.
    #[cfg(feature = "testing")]
    pub(crate) const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// When the next packet may leave.
    pub(crate) const fn next(&self) -> Instant {
        self.paused_until
    }

    /// Whether more may be on its way than is now.
    pub(crate) fn has_window(&self) -> bool {
        self.in_flight < self.window()
    }

    /// A packet leaves; `more` says that there is another one to send.
    pub(crate) fn on_sent(&mut self, now: Instant, bytes: usize, more: bool) -> Sent {
        let bytes = bytes as u64;
        if self.in_flight == 0 {
            self.interrupt_train();
            (self.taken, self.taken_at, self.taken_sent) = (self.total, now, now);
        }
        self.in_flight += bytes;
        self.total += bytes;
        let pace = self.pace();
        if pace > 0 {
            let time = |bytes: u64| Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / pace);
            let burst = BURST.max(time(BURST_BYTES));
            // Whatever the pace: it may have been a guess, and soon be another.
            let pause = (self.minimum * 2).min(MAX_PAUSE);
            self.drained = (self.drained.max(now) + time(bytes)).min(now + burst + pause);
            // Few bytes need no pace, and may be all that it was learned from.
            if self.drained > now + burst && self.in_flight > BURST_BYTES {
                self.paused_until = (self.drained - burst / 2).min(now + pause);
            }
        }
        if !more {
            self.limited_until = self.total;
        }
        let Self { total, delivered, taken, taken_at, taken_sent, .. } = *self;
        Sent {
            at: now,
            bytes,
            total,
            delivered,
            taken,
            taken_at,
            taken_sent,
            limited: taken < self.limited_until,
            calm: self.is_calm(),
        }
    }

    /// A packet has arrived, or was lost.
    pub(crate) fn on_answered(&mut self, sent: Sent, lost: bool) {
        self.in_flight = self.in_flight.saturating_sub(sent.bytes);
        if !lost {
            self.delivered += sent.bytes;
        }
        if sent.calm {
            self.calm_loss.note(lost);
        }
        if !lost && self.newest.is_none_or(|newest| newest.total < sent.total) {
            self.newest = Some(sent);
        }
    }

    /// When the packet arrived that is told of next, or was told of last, is not known.
    pub(crate) fn interrupt_train(&mut self) {
        self.trains.iter_mut().for_each(Trains::interrupt);
    }

    /// Nobody wants to know what became of packets with so many bytes.
    pub(crate) const fn on_forgotten(&mut self, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    /// Losses are repaired on the way, which makes round trips vary by so much.
    pub(crate) const fn set_tolerance(&mut self, tolerance: Duration) {
        self.tolerance = tolerance;
    }

    /// An acknowledgment was read; the newest packet that it tells of arrived at `at` but for the way back and took
    /// `round_trip`; the least on this path is `minimum`.
    pub(crate) fn on_acknowledged(&mut self, at: Instant, round_trip: Option<Duration>, minimum: Duration) {
        self.minimum = minimum;
        if let Some(sample) = round_trip {
            self.latest = Some(sample);
            self.round_minimum = Some(self.round_minimum.map_or(sample, |least| least.min(sample)));
        }
        let Some(newest) = self.newest.take().filter(|newest| newest.total > self.taken) else { return };
        let interval = (at - newest.taken_at).max(newest.at - newest.taken_sent);
        if interval >= minimum && !interval.is_zero() {
            let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
            let rate = |bytes: u64| (bytes.saturating_mul(1_000_000_000) / nanos).min(MAX_RATE);
            let delivered = rate(self.delivered - newest.delivered);
            self.round_delivered = self.round_delivered.max(delivered);
            // What a full queue does not take has used no time. One that is too short to be seen shows only in that
            // less arrives than of a calm path.
            let slack = if round_trip.is_some_and(|it| self.is_queue(it)) { 100 } else { SLACK };
            let passes = u64::from(MILLION - self.calm_loss.share).max(1);
            let rate = rate(newest.total - newest.taken)
                .min(delivered.saturating_mul(u64::from(MILLION)) / passes * slack / 100);
            self.round_rate = self.round_rate.max(rate);
            let many = newest.total - newest.taken >= MIN_SAMPLE;
            if (many && !newest.limited) || rate > self.rate() {
                self.rounds[0] = self.rounds[0].max(rate);
            }
        }
        (self.taken, self.taken_at, self.taken_sent) = (newest.total, at, newest.at);
        self.trains.iter_mut().for_each(|trains| trains.note(newest, at));
        let new_round = newest.total > self.round_end;
        if new_round {
            self.round_end = self.total;
            self.queueing = self.round_minimum.take().is_some_and(|least| self.is_queue(least));
        }
        // Whether the path was used in this round, so that it has shown what it takes.
        // A few packets, such as probes, show nothing.
        let many = newest.total - newest.taken >= GROUP / 2;
        let used = !newest.limited || (many && self.round_rate >= self.rate() / 8 * 7);
        self.advance(at, new_round, used);
        if new_round {
            (self.round_rate, self.round_delivered) = (0, 0);
        }
        if new_round && self.rounds[0] > 0 {
            self.rounds.rotate_right(1);
            self.rounds[0] = 0;
        }
    }

    /// Bytes a second that the path takes.
    pub(crate) fn rate(&self) -> u64 {
        let count = if self.queueing { ROUNDS_QUEUEING } else { ROUNDS };
        self.rounds[..count].iter().copied().max().unwrap_or(0)
    }

    /// Bytes that may leave in a second, 0 for any number.
    fn pace(&self) -> u64 {
        if let Some(rate) = self.shown() {
            return rate * TRAINS / 100;
        }
        let (least, gain) = match self.phase {
            // A sender that has had little to send has learned little.
            Phase::Startup { .. } => (GROUP * 1_000_000 / self.micros().max(1), STARTUP),
            Phase::Drain => (MIN_RATE, DRAIN),
            Phase::Cruise { place: 0 | 1, .. } if self.queueing => {
                (MIN_RATE, 100 - YIELD * (self.micros() / 40_000).clamp(1, YIELDS))
            }
            Phase::Cruise { place, .. } => (MIN_RATE, CYCLE[place] * MARGIN / 1000),
        };
        if self.rate() == 0 { 0 } else { self.rate().max(least) * gain / 100 }
    }

    /// Bytes that may be on their way.
    pub(crate) fn window(&self) -> u64 {
        let gain = if matches!(self.phase, Phase::Startup { .. }) { STARTUP } else { WINDOW };
        let group = (self.rate() / 200).clamp(4 * 1200, GROUP);
        match self.shown() {
            Some(rate) => (self.product_of(rate) * 5 / 4).min(GROWTH * self.delivered) + group,
            None if self.is_new() => 2 * GROUP,
            None => self.product() * gain / 100 + group,
        }
    }

    /// Nothing is known of the path yet.
    const fn is_new(&self) -> bool {
        self.trains.is_some() && self.delivered < GROUP
    }

    /// Bytes a second that the slowest link of a new path seems to take.
    fn shown(&self) -> Option<u64> {
        self.trains.as_ref().and_then(Trains::rate)
    }

    /// Bytes on the way when the path is full and there is no queue.
    fn product(&self) -> u64 {
        self.product_of(self.rate())
    }

    fn product_of(&self, rate: u64) -> u64 {
        rate.saturating_mul(self.micros()) / 1_000_000
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.minimum.as_micros()).unwrap_or(u64::MAX)
    }

    fn is_calm(&self) -> bool {
        match self.phase {
            Phase::Startup { .. } | Phase::Drain => false,
            Phase::Cruise { place, .. } => CYCLE[place] < 100 && !self.queueing,
        }
    }

    fn is_queue(&self, round_trip: Duration) -> bool {
        round_trip
            > self.minimum + (self.minimum / 3).clamp(MIN_QUEUE_DELAY, MAX_QUEUE_DELAY) + self.tolerance
    }

    fn advance(&mut self, now: Instant, new_round: bool, used: bool) {
        match self.phase {
            Phase::Startup { rate, rounds } if new_round => {
                let grown = self.round_delivered >= rate + rate / 4;
                let rounds = if grown { 0 } else { rounds + u8::from(used) };
                let is_full = self.shown().is_some_and(|rate| self.rate() >= rate / 10 * 9);
                // The first flight, which leaves at once, is a queue by itself, and says little of the rate.
                let is_over = self.queueing
                    && self.in_flight >= GROUP / 2
                    && (self.trains.is_none() || self.shown().is_some());
                self.phase = if is_full && !self.queueing {
                    Phase::Cruise { place: 2, since: now, rate: u64::MAX / 2 }
                } else if rounds >= FULL_ROUNDS || is_over {
                    Phase::Drain
                } else {
                    Phase::Startup { rate: if grown { self.round_delivered } else { rate }, rounds }
                };
                if !matches!(self.phase, Phase::Startup { .. }) {
                    self.trains = None;
                }
            }
            Phase::Startup { .. } => {}
            Phase::Drain => {
                if self.in_flight <= self.product() + GROUP / 2 {
                    self.phase = Phase::Cruise { place: 1, since: now, rate: u64::MAX / 2 };
                }
            }
            Phase::Cruise { .. }
                if new_round && self.queueing && self.rounds[0] > 0 && self.rounds[0] * 2 < self.rate() =>
            {
                self.rounds = [self.rounds[0]; ROUNDS];
                self.phase = Phase::Drain;
            }
            Phase::Cruise { place, since, rate } => {
                let over = now - since >= self.minimum;
                let drained = CYCLE[place] < 100 && self.in_flight <= self.product();
                let current = self.rate();
                if matches!(place, 1..=3) && !self.queueing && current > rate.saturating_add(rate / 8) {
                    self.phase = Phase::Startup { rate: self.round_delivered, rounds: 0 };
                } else if over || drained {
                    let rate = if place < 3 { rate } else { current };
                    self.phase = Phase::Cruise { place: (place + 1) % CYCLE.len(), since: now, rate };
                }
            }
        }
    }
}

/// What packets that were sent at once show of the slowest link on their way: how long it takes for each.
#[derive(Debug)]
struct Trains {
    /// The newest packet that has arrived: what had been sent then, when that was, and when it arrived.
    newest: Option<(u64, Instant, Instant)>,
    /// Bytes that have arrived behind others that were sent with them, and the time that this took.
    bytes: u64,
    time: Duration,
}

impl Trains {
    const NONE: Self = Self { newest: None, bytes: 0, time: Duration::ZERO };

    /// What is sent next follows nothing.
    const fn interrupt(&mut self) {
        self.newest = None;
    }

    fn note(&mut self, newest: Sent, at: Instant) {
        let before = self.newest.replace((newest.total, newest.at, at));
        let Some((total, sent_at, arrived_at)) = before else { return };
        let time = at - arrived_at;
        if time >= (newest.at - sent_at) * 4 {
            self.bytes += newest.total - total;
            self.time += time;
        }
    }

    /// Bytes a second, when there were enough.
    fn rate(&self) -> Option<u64> {
        let micros = u64::try_from(self.time.max(TRAIN_TIME).as_micros()).unwrap_or(u64::MAX);
        let rate = self.bytes.saturating_mul(1_000_000) / micros;
        (self.bytes >= TRAIN).then(|| rate.clamp(MIN_RATE, MAX_RATE))
    }
}

/// The share of packets that were lost lately, in parts of a million.
#[derive(Debug)]
pub(crate) struct Loss {
    share: u32,
    packets: u32,
}

impl Loss {
    pub(crate) const NONE: Self = Self { share: 0, packets: 0 };

    pub(crate) fn note(&mut self, lost: bool) {
        self.packets = (self.packets + 1).min(LOSS_PACKETS);
        let rest = self.share - self.share / self.packets;
        self.share = rest + if lost { MILLION / self.packets } else { 0 };
    }
}

impl Loss {
    /// The share, `None` while nothing is known.
    pub(crate) fn share(&self) -> Option<u32> {
        (self.packets > 0).then_some(self.share)
    }

    /// Whether one in 200 packets is lost, as far as is known.
    pub(crate) const fn is_noticeable(&self) -> bool {
        self.packets < LOSS_ENOUGH || self.share > MILLION / 200
    }
}

#[cfg(test)]
#[path = "rate_tests.rs"]
mod tests;

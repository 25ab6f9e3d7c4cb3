use super::*;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

const PACKET: usize = 1200;
const SECOND: Duration = Duration::from_secs(1);
const ROUND_TRIP: Duration = Duration::from_millis(40);

/// A path with a queue before it, and a sender that always has more to send.
struct Path {
    model: Rate,
    now: Instant,
    /// Bytes a second, and in the queue.
    rate: u64,
    queue: u64,
    /// Of ten packets, so many are lost.
    losses: u64,
    busy_until: Instant,
    /// When the sender learns what became of each packet.
    answers: VecDeque<(Instant, Sent, bool)>,
    count: u64,
}

/// What happened in some time: bytes that were sent, packets that found the queue full, and the mean wait.
struct Seen {
    sent: u64,
    overflowed: u64,
    wait: Duration,
}

impl Path {
    fn new(rate: u64, queue: u64, losses: u64) -> Self {
        let now = Instant::from_millis(10_000);
        let (model, answers) = (Rate::new(), VecDeque::new());
        Self { model, now, rate, queue, losses, busy_until: now, answers, count: 0 }
    }

    /// Sends one packet. Gives how long it waits; `None` if the queue is full.
    fn send(&mut self, more: bool) -> Option<Duration> {
        self.count += 1;
        let sent = self.model.on_sent(self.now, PACKET, more);
        let wait = self.busy_until - self.now;
        let is_full = wait.as_micros() as u64 * self.rate / 1_000_000 + PACKET as u64 > self.queue;
        if !is_full {
            let time = Duration::from_micros(PACKET as u64 * 1_000_000 / self.rate);
            self.busy_until = self.busy_until.max(self.now) + time;
        }
        let lost = is_full || self.count * 7 % 10 < self.losses;
        self.answers.push_back((self.busy_until + ROUND_TRIP, sent, lost));
        (!is_full).then_some(wait)
    }

    fn answer(&mut self) {
        let Some((at, sent, lost)) = self.answers.pop_front() else { return };
        self.now = at;
        self.model.on_answered(sent, lost);
        if !lost {
            self.model.on_acknowledged(at, Some(at - sent.at), ROUND_TRIP);
        }
    }

    fn run(&mut self, length: Duration) -> Seen {
        let end = self.now + length;
        let (mut seen, mut passed) = (Seen { sent: 0, overflowed: 0, wait: Duration::ZERO }, 0);
        while seen.sent < 10 * self.rate * (length.as_secs() + 1) {
            let next = self.model.has_window().then(|| self.model.next().max(self.now));
            let answer = self.answers.front().map(|(at, ..)| *at);
            let Some(at) = next.into_iter().chain(answer).min().filter(|at| *at <= end) else { break };
            if next != Some(at) {
                self.answer();
                continue;
            }
            self.now = at;
            seen.sent += PACKET as u64;
            match self.send(true) {
                Some(wait) => (seen.wait, passed) = (seen.wait + wait, passed + 1),
                None => seen.overflowed += 1,
            }
        }
        self.now = end;
        seen.wait /= passed.max(1);
        seen
    }

    /// What was sent in some time, as a part of what the path takes.
    fn share(&self, seen: &Seen, length: Duration) -> f64 {
        seen.sent as f64 / (self.rate as f64 * length.as_secs_f64())
    }
}

#[test]
fn a_path_is_filled_and_its_queue_is_short_whatever_it_loses() {
    for losses in [0, 1, 3, 5] {
        let mut path = Path::new(1_000_000, 40_000, losses);
        path.run(3 * SECOND);
        let seen = path.run(10 * SECOND);
        let share = path.share(&seen, 10 * SECOND);
        assert!((0.95..1.15).contains(&share), "{share} at {losses} in ten");
        assert!(
            seen.wait < if losses < 5 { ROUND_TRIP / 4 } else { ROUND_TRIP },
            "{:?} at {losses} in ten",
            seen.wait
        );
        assert!(
            seen.overflowed < if losses < 5 { 100 } else { 1000 },
            "{} of 8,000 at {losses} in ten",
            seen.overflowed
        );
    }
}

#[test]
fn what_overflows_a_queue_too_short_to_be_seen_is_not_taken_for_loss_for_ever() {
    for losses in [0, 1, 3] {
        let mut path = Path::new(1_000_000, 5 * PACKET as u64, losses);
        path.run(5 * SECOND);
        let seen = path.run(10 * SECOND);
        let share = path.share(&seen, 10 * SECOND);
        assert!((0.8..1.9).contains(&share), "{share} at {losses} in ten");
    }
}

#[test]
fn a_path_that_becomes_slow_gets_less_at_once_and_more_when_it_is_fast_again() {
    let mut path = Path::new(1_000_000, 60_000, 0);
    path.run(5 * SECOND);
    path.rate = 100_000;
    path.run(2 * SECOND);
    let seen = path.run(5 * SECOND);
    let share = path.share(&seen, 5 * SECOND);
    assert!((0.88..1.05).contains(&share), "{share}");
    assert!(seen.wait < 3 * ROUND_TRIP, "{:?}", seen.wait);
    path.rate = 1_000_000;
    path.run(SECOND);
    let seen = path.run(5 * SECOND);
    let share = path.share(&seen, 5 * SECOND);
    assert!(share > 0.85, "{share}");
}

/// The first flight shows what the slowest link takes, and the second fills it.
#[test]
fn a_new_path_is_full_after_two_round_trips_and_no_queue_is_left() {
    let mut path = Path::new(20_000_000, 800_000, 0);
    let seen = path.run(2 * ROUND_TRIP);
    assert_eq!(seen.overflowed, 0);
    assert!(seen.sent < 10 * GROUP + 20_000_000 / 25, "{}", seen.sent);
    let seen = path.run(10 * ROUND_TRIP);
    let share = path.share(&seen, 10 * ROUND_TRIP);
    assert!((0.93..1.0).contains(&share), "{share}");
    assert!(seen.overflowed == 0 && seen.wait < ROUND_TRIP / 10, "{:?}", seen.wait);
}

/// Some links hold packets back and pass on many at once.
#[test]
fn packets_that_arrive_at_once_do_not_make_a_new_path_infinitely_fast() {
    let (mut model, now) = (Rate::new(), Instant::from_millis(10_000));
    let first: Vec<Sent> = (0..30).map(|_| model.on_sent(now, PACKET, true)).collect();
    for (sent, place) in first.into_iter().zip(0..) {
        model.on_answered(sent, false);
        let at = now + ROUND_TRIP + Duration::from_micros(place);
        model.on_acknowledged(at, Some(at - now), ROUND_TRIP);
    }
    let window = model.window();
    assert!((30 * 8 * PACKET as u64..30 * 50 * PACKET as u64).contains(&window), "{window}");
}

#[test]
fn eight_packets_show_what_a_new_path_takes() {
    let (mut model, now) = (Rate::new(), Instant::from_millis(10_000));
    let sent: Vec<Sent> = (0..8).map(|_| model.on_sent(now, PACKET, true)).collect();
    for (sent, gap) in sent.into_iter().zip(0..) {
        let at = now + ROUND_TRIP + Duration::from_millis(gap);
        model.on_answered(sent, false);
        model.on_acknowledged(at, Some(at - now), ROUND_TRIP);
    }
    assert_eq!(model.shown(), Some(1_200_000));
    assert!(model.window() >= 48_000, "what is on its way at that rate, not {}", model.window());
}

#[test]
fn a_first_flight_that_is_a_queue_by_itself_does_not_end_the_start() {
    let (mut model, now) = (Rate::new(), Instant::from_millis(10_000));
    let arrives = |model: &mut Rate, sent: Sent, millis: u64| {
        let at = now + Duration::from_millis(millis);
        model.on_answered(sent, false);
        model.on_acknowledged(at, Some(at - sent.at), ROUND_TRIP);
    };
    // 1200 bytes take 8 ms. Few of the first packets arrive.
    let first: Vec<Sent> = (0..8).map(|_| model.on_sent(now, PACKET, true)).collect();
    arrives(&mut model, first[0], 40);
    let later = now + Duration::from_millis(40);
    let second: Vec<Sent> = (0..20).map(|_| model.on_sent(later, PACKET, true)).collect();
    arrives(&mut model, first[4], 72);
    arrives(&mut model, second[0], 104);
    assert!(model.queueing && model.in_flight >= GROUP / 2);
    assert!(matches!(model.phase, Phase::Startup { .. }), "{:?} at {} a second", model.phase, model.rate());
}

/// Even if four packets take longer than two round trips at that pace.
#[test]
fn a_slow_and_short_path_is_given_less_while_its_queue_drains() {
    let (mut model, start) = (Rate::new(), Instant::from_millis(10_000));
    (model.phase, model.minimum, model.rounds[0]) = (Phase::Drain, ROUND_TRIP, 100_000);
    let mut sent = 0;
    for now in (0..2000).map(|millis| start + Duration::from_millis(millis)) {
        while model.next() <= now && sent < 1000 {
            model.on_sent(now, PACKET, true);
            sent += 1;
        }
    }
    assert!((50..=65).contains(&sent), "{sent} of 1200 bytes in 2 s, not a little over 70,000 bytes");
}

#[test]
fn a_sender_of_little_never_waits() {
    let (mut model, start) = (Rate::new(), Instant::from_millis(10_000));
    (model.phase, model.minimum) = (Phase::Cruise { place: 2, since: start, rate: 0 }, ROUND_TRIP);
    model.rounds[0] = MIN_RATE;
    for now in (0..100).map(|count| start + ROUND_TRIP * count) {
        assert!(model.next() <= now, "{:?} at {:?}", model.next(), now);
        let sent = model.on_sent(now, 150, false);
        model.on_answered(sent, false);
        model.on_acknowledged(now + ROUND_TRIP, Some(ROUND_TRIP), ROUND_TRIP);
    }
}

/// After a burst of losses, nothing but probes is sent for a while, each of which takes longer than usual.
#[test]
fn lone_probes_do_not_make_a_path_slow() {
    let mut path = Path::new(1_000_000, 60_000, 0);
    path.run(5 * SECOND);
    while !path.answers.is_empty() {
        path.answer();
    }
    for _ in 0..10 {
        path.now += SECOND;
        path.send(true);
        path.answers.iter_mut().for_each(|(at, ..)| *at += ROUND_TRIP);
        path.answer();
    }
    assert!(path.model.next() <= path.now + 2 * ROUND_TRIP, "{:?}", path.model.next());
    let seen = path.run(SECOND);
    let share = path.share(&seen, SECOND);
    assert!(share > 0.85, "{share}");
}

#[test]
fn who_sends_little_never_waits() {
    let mut path = Path::new(1_000_000, 60_000, 1);
    for _ in 0..200 {
        // A packet, its answer, a pause.
        assert!(path.model.has_window() && path.model.next() <= path.now, "at {:?}", path.now);
        path.send(false);
        path.answer();
        path.now += Duration::from_millis(30);
    }
    for _ in 0..4 {
        assert!(path.model.has_window() && path.model.next() <= path.now, "a burst of four");
        path.send(true);
    }
}

#[test]
fn the_share_of_losses_is_that_of_the_latest_packets() {
    let mut loss = Loss::NONE;
    (0..100).for_each(|n| loss.note(n % 5 == 0));
    assert!((180_000..220_000).contains(&loss.share), "{}", loss.share);
    (0..1000).for_each(|_| loss.note(false));
    assert!(loss.share < 1000, "{}", loss.share);
    (0..1000).for_each(|_| loss.note(true));
    assert!((999_000..=MILLION).contains(&loss.share), "{}", loss.share);
}

/// A peer decides what arrives, when it says so, and how long the way seems.
#[test]
fn whatever_a_peer_claims_the_path_opens_again() {
    for seed in 0..20 {
        let mut rng = crate::Rng::new([seed; 32]);
        let (mut model, mut now) = (Rate::new(), Instant::from_millis(10_000));
        let mut on_way: VecDeque<Sent> = VecDeque::new();
        let mut minimum = Duration::MAX;
        for _ in 0..1000 {
            now += Duration::from_micros([0, 1, 3, 100, 10_000, 2_000_000][rng.below(6) as usize]);
            for _ in 0..rng.below(400) {
                if model.has_window() && model.next() <= now && on_way.len() < 4096 {
                    on_way.push_back(model.on_sent(now, 1200, rng.below(4) > 0));
                }
            }
            let in_flight: u64 = on_way.iter().map(Sent::bytes).sum();
            assert_eq!(model.in_flight, in_flight, "seed {seed}");
            let lossy = rng.below(3) == 0;
            for _ in 0..rng.below(2 * on_way.len() as u64 + 1) {
                let index = if rng.below(2) == 0 { 0 } else { on_way.len().saturating_sub(1) };
                if let Some(sent) = on_way.remove(index) {
                    model.on_answered(sent, lossy && rng.below(8) > 0);
                }
            }
            let held = Duration::from_micros(100 * rng.below(256));
            let round_trip = Duration::from_micros([0, 1, 100, 40_000, 6_553_500][rng.below(5) as usize]);
            minimum = if rng.below(50) == 0 { round_trip } else { minimum.min(round_trip) };
            model.on_acknowledged(now - held, Some(round_trip).filter(|_| rng.below(3) > 0), minimum);
            assert!(model.next() <= now + 2 * SECOND, "seed {seed}: {:?}", model.next());
        }
        on_way.drain(..).for_each(|sent| model.on_answered(sent, true));
        assert!(model.has_window(), "seed {seed}");
    }
}

/// A peer that says that it has held its report for nearly as long as the packets took, and that all were lost before.
#[test]
fn no_rate_is_too_high_to_reckon_with() {
    let (mut model, now) = (Rate::new(), Instant::from_millis(10_000));
    model.calm_loss = Loss { share: MILLION, packets: 1 };
    let sent: Vec<Sent> = (0..10_000).map(|_| model.on_sent(now, 1200, true)).collect();
    sent.into_iter().for_each(|sent| model.on_answered(sent, false));
    let least = Duration::from_micros(1);
    model.on_acknowledged(now + least, Some(least), least);
    assert_eq!(model.rate(), MAX_RATE);
    model.on_sent(now + least, 1200, true);
    assert!(model.next() <= now + SECOND);
}

#[test]
fn what_the_repair_of_losses_adds_to_round_trips_is_no_queue() {
    let mut model = Rate::new();
    (model.minimum, model.tolerance) = (ROUND_TRIP, Duration::from_millis(15));
    assert!(!model.is_queue(Duration::from_millis(68)) && model.is_queue(Duration::from_millis(69)));
}

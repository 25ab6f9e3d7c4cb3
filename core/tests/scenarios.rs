//! Networks of all kinds: ours with ours, ours with the reference, the reference with ours.
//!
//! A scenario checks by itself that messages arrive as they were sent, or that both ends know that they did not,
//! that timers neither spin nor oversleep, that a good network carries few packets more than it has to, and that
//! nothing stays behind. `MSP_TEST_SEED=n` runs a test with that seed.
#![allow(clippy::disallowed_methods, reason = "a test may read its environment")]

use core::time::Duration;
use msp_core::Instant;
use msp_core::msp::Config;
use msp_core::testing::Kind::{Ours, Reference};
use msp_core::testing::{Link, Reader, Report, Scenario, seed};
use std::panic::catch_unwind;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Networks begin ten seconds after the origin.
const fn after(millis: u64) -> Instant {
    Instant::from_millis(10_000 + millis)
}

/// Runs a scenario with every pair of ends, bare and with nodes.
fn everyone(scenario: impl Fn(Scenario) -> Scenario) {
    let first = seed(1);
    for (n, [a, b]) in (first..).zip([[Ours, Ours], [Ours, Reference], [Reference, Ours]]) {
        scenario(Scenario::of(a, b)).run(n);
        scenario(Scenario::of(a, b)).with_nodes().run(n);
    }
}

fn windows(send: u16, receive: u16) -> Config {
    let mut config = Config::default();
    (config.send_window, config.receive_window) = (send, receive);
    config
}

#[test]
fn perfect() {
    everyone(|it| it.send(100).answer(100));
}

#[test]
fn delay() {
    everyone(|it| it.over(|link| link.delay(ms(150))).send(100).answer(100));
}

#[test]
fn loss_5() {
    everyone(|it| it.over(|link| link.delay(ms(10)).loss(5)).send(200).answer(200));
}

#[test]
fn loss_20() {
    everyone(|it| it.over(|link| link.delay(ms(10)).loss(20)).send(100).answer(100));
}

/// However slow nodes take the way between them for, because of what is lost and late, each stream is heard in time.
#[test]
fn fifty_streams_are_carried_over_a_lossy_link() {
    for (n, micros) in [(seed(3), 100), (seed(21), 40_000)] {
        let shape = move |link: Link| link.delay(Duration::from_micros(micros)).loss(5).reorder(5);
        let scenario = Scenario::of(Ours, Ours).over(shape).back(shape).with_nodes();
        scenario.streams(50).send(100).answer(100).run(n);
    }
}

/// It goes on to receive for as long as the other sends.
#[test]
fn the_end_with_little_to_send_finishes_first() {
    everyone(|it| it.over(|link| link.delay(ms(10)).loss(20)).send(1).answer(64));
    everyone(|it| it.over(|link| link.delay(ms(10)).loss(20)).send(64).answer(1));
}

#[test]
fn loss_30_one_way() {
    everyone(|it| it.over(|link| link.delay(ms(10))).back(|link| link.loss(30)).send(100).answer(100));
    everyone(|it| it.over(|link| link.delay(ms(10)).loss(30)).back(|link| link).send(100).answer(100));
}

#[test]
fn bursts() {
    everyone(|it| it.over(|link| link.delay(ms(20)).burst_loss(10, 2)).send(200).answer(20));
    everyone(|it| {
        it.over(|link| link.delay(ms(20)).burst_loss(30, 10)).send(50).answer(5).rough_for(ms(20_000))
    });
}

#[test]
fn reordering() {
    everyone(|it| it.over(|link| link.delay(ms(20)).jitter(ms(40)).reorder(20)).send(200).answer(200));
}

#[test]
fn duplication() {
    everyone(|it| it.over(|link| link.delay(ms(20)).jitter(ms(9)).duplicate(50)).send(100).answer(100));
}

#[test]
fn damage() {
    everyone(|it| it.over(|link| link.delay(ms(5)).corrupt(10).truncate(5)).send(100).answer(100));
}

#[test]
fn slow_with_a_short_queue() {
    everyone(|it| it.over(|link| link.delay(ms(20)).rate(50_000, 10_000)).send(200).answer(20));
}

#[test]
fn fast_forth_and_slow_back() {
    everyone(|it| {
        let slow = |link: Link| link.delay(ms(60)).rate(4_000, 8_000);
        it.over(|link| link.delay(ms(2)).rate(1_000_000, 64_000)).back(slow).send(200)
    });
}

#[test]
fn short_packets_only() {
    everyone(|it| it.over(|link| link.mtu(1180)).send(50).answer(50));
}

#[test]
fn five_seconds_of_blackout() {
    everyone(|it| it.over(|link| link.delay(ms(20)).outage(after(50), ms(5000))).send(200).answer(200));
}

#[test]
fn a_blackout_that_kills() {
    everyone(|it| {
        let dead = |link: Link| link.delay(ms(20)).outage(after(150), ms(25_000));
        it.over(dead).send(2000).answer(2000).rough_for(ms(30_000))
    });
}

#[test]
fn one_direction_dies() {
    everyone(|it| {
        let dead = |link: Link| link.outage(after(100), ms(20_000));
        it.over(|link| link.delay(ms(30))).back(dead).send(2000).answer(50).rough_for(ms(25_000))
    });
}

#[test]
fn slow_readers() {
    let reader = Reader::Slow { messages: 3, every: ms(100) };
    everyone(|it| it.over(|link| link.delay(ms(10)).loss(5)).send(150).reader(reader));
}

#[test]
fn many_streams() {
    everyone(|it| it.over(|link| link.delay(ms(10)).loss(10)).streams(20).send(20).answer(20));
}

#[test]
fn one_byte_messages() {
    everyone(|it| it.over(|link| link.delay(ms(10)).loss(10)).longest(1).send(300).answer(300));
}

/// Both ends write as much as they can at once, through windows of one message: neither waits for the other to
/// read before it reads itself.
#[test]
fn two_saturated_ends_with_the_smallest_windows() {
    everyone(|it| it.over(|link| link.delay(ms(5)).loss(5)).with_config(windows(1, 1)).send(100).answer(100));
}

/// Each message is the last one of its stream for a while, and is copied, until it is known that nothing gets lost.
#[test]
fn one_message_at_a_time_over_a_long_way() {
    everyone(|it| {
        let it = it.over(|link| link.delay(ms(150))).back(|link| link).with_config(windows(1, 64));
        it.longest(100).send(34).answer(90)
    });
}

#[test]
fn sequence_numbers_wrap() {
    for (n, [a, b]) in (seed(1)..).zip([[Ours, Ours], [Ours, Reference], [Reference, Ours]]) {
        Scenario::of(a, b).longest(1).send(66_000).answer(66_000).run(n);
    }
}

#[test]
fn an_initiator_restarts() {
    restarts(0);
}

#[test]
fn a_listener_restarts() {
    restarts(1);
}

/// Starts a party anew, with and without its identity, at all times of a stream's life.
fn restarts(party: usize) {
    for keeps_identity in [true, false] {
        for after in [5, 15, 25, 80, 400, 3000] {
            everyone(|it| {
                let it = it.over(|link| link.delay(ms(20)).loss(5)).send(500).answer(500);
                it.restart(party, ms(after), keeps_identity).rough_for(ms(15_000))
            });
        }
    }
}

/// The initiator gets messages of both where it expects those of one: nothing tells them apart.
#[test]
fn two_starts_of_a_reference_listener_accept_one_stream() {
    Scenario::random(113_624).run(113_624);
}

/// It has a late copy of the first packets, and its former life has acknowledged what came after them.
#[test]
fn a_listener_that_lacks_what_its_former_life_has_acknowledged_gives_up() {
    Scenario::random(331_423).run(331_423);
}

#[test]
fn five_parties_on_one_channel() {
    let seed = seed(7);
    let kinds = [Ours, Reference, Ours, Ours, Reference];
    let link = |link: Link| link.delay(ms(3)).jitter(ms(3)).loss(10);
    Scenario::among(&kinds).over(link).send(20).answer(20).run(seed);
    Scenario::among(&kinds).over(link).send(20).answer(20).with_nodes().run(seed);
}

/// The reference forgets a stream as soon as it has acknowledged its end once. If that is lost, nothing tells
/// us any more what has arrived. So messages are acknowledged before ends are.
#[test]
fn the_reference_forgets_a_stream_at_once() {
    let first = seed(100);
    for n in first..first + 60 {
        let link = |link: Link| link.delay(ms(20)).loss(20);
        Scenario::of(Ours, Reference).over(link).send(6).answer(6).run(n);
        Scenario::of(Reference, Ours).over(link).send(6).answer(6).run(n);
    }
}

/// The tunnel of the reference fills its window of five when an acknowledgment opens it, and misses another one that
/// comes meanwhile: then it stands still for a second.
#[test]
fn the_reference_is_not_left_waiting() {
    let seed = seed(1);
    for (micros, rate) in [5, 50, 200, 1000, 10_000].into_iter().flat_map(|it| [(it, 0), (it, 5_000_000)]) {
        let delay = Duration::from_micros(micros);
        let link = move |link: Link| link.delay(delay).rate(rate, 100_000);
        // Its node has small frames wait 5 ms for others.
        for (scenario, wait) in [((|it| it) as fn(Scenario) -> Scenario, 0), (Scenario::with_nodes, 5)] {
            let time = |count| scenario(Scenario::of(Reference, Ours).over(link).send(count)).run(seed).time;
            let windows = 200;
            let each = (time(5 * windows) - time(0)) / windows;
            assert!(each < 2 * delay + ms(4 + wait), "{each:?} for 5 messages at {delay:?}, {rate} bytes/s");
        }
    }
}

/// The reference does nothing about a lost acknowledgment for 1500 ms.
#[test]
fn a_lost_acknowledgment_does_not_stop_the_reference() {
    let first = seed(1);
    let (rounds, windows) = (5, 200);
    let time = |count| -> Duration {
        let scenario = || Scenario::of(Reference, Ours).over(|link| link.delay(ms(1)));
        let lossy = |n| scenario().back(|link| link.delay(ms(1)).loss(10)).send(count).run(n).time;
        (first..first + u64::from(rounds)).map(lossy).sum()
    };
    let each = (time(5 * windows) - time(0)) / (rounds * windows);
    assert!(each < ms(8) + ms(1500) / 40, "{each:?} for 5 messages");
}

#[test]
fn the_same_seed_gives_the_same_packets() {
    let run = |seed| -> Report { Scenario::random(seed).run(seed) };
    let first = seed(50);
    for n in first..first + 20 {
        assert_eq!(run(n), run(n));
        assert_ne!(run(n).transcript, run(n + 1).transcript);
    }
}

/// Below, what has waited for too long is given up, while packets are taken: there must be no rest before the room is used.
#[test]
fn what_is_given_up_below_makes_room_for_more() {
    Scenario::random(3685).run(3685);
}

/// Anything that can happen, by dice. `MSP_TEST_SCENARIOS=100000` runs so many.
#[test]
fn random() {
    let first = seed(0);
    let count = std::env::var("MSP_TEST_SCENARIOS").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let half = |n: u64| {
        let seeds = (first..first + count).filter(move |seed| seed % 2 == n);
        let fails = |seed: &u64| catch_unwind(|| Scenario::random(*seed).run(*seed)).is_err();
        std::thread::spawn(move || seeds.filter(fails).collect::<Vec<u64>>())
    };
    let failed: Vec<u64> =
        [half(0), half(1)].into_iter().flat_map(|it| it.join().expect("no panic")).collect();
    println!("{count} scenarios from seed {first} on, {} failed", failed.len());
    assert_eq!(failed, [], "these seeds");
}

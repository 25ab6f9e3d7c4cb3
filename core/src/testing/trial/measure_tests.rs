use super::*;
use crate::testing::trial::case::{Incident, Loss, STEADY, STEPS};

const SECOND: Duration = Duration::from_secs(1);

/// A trial of CUBIC alone.
fn cubic_alone(case: Case, length: Duration) -> f64 {
    let mut trial = Trial::new(case, Kind::Ours, 1);
    trial.network.stations[0].cross = Some(Cubic::new(trial.network.now));
    trial.network.run(length);
    let delivered = trial.network.stations[0].cross.as_ref().map_or(0, |cross| cross.delivered);
    delivered as f64 / (case.rate as f64 / 8.0 * length.as_secs_f64() * 1448.0 / 1500.0)
}

#[test]
fn cubic_fills_a_link_without_loss_and_crawls_on_one_with_it() {
    for case in STEADY {
        let clean = cubic_alone(case.without_loss(), 20 * SECOND);
        assert!((0.8..1.0).contains(&clean), "{}: {clean}", case.name);
    }
    // What TCP gets of them was measured: 19 % and 8 %.
    for (case, expected) in [(STEADY[1], 0.1..0.3), (STEADY[2], 0.04..0.15)] {
        let lossy = cubic_alone(case, 20 * SECOND);
        assert!(expected.contains(&lossy), "{}: {lossy}", case.name);
    }
}

#[test]
fn a_window_of_four_and_no_loss_give_what_the_model_of_the_reference_can() {
    let case = Case { delay: 100, loss: Loss::Single(0), ..STEADY[2] };
    let bulk = Trial::new(case, Kind::Reference, 1).bulk(1, 10 * SECOND);
    // Five messages each 200 ms and a little for delayed acknowledgments.
    let messages = bulk.received[0] / MAX_MESSAGE as u64;
    assert!((230..250).contains(&messages), "{messages}");
    assert_eq!(bulk.late % MAX_MESSAGE as u64, 0);
    assert!(bulk.wire_bytes() < 1.3 && bulk.queue() < Duration::from_millis(10), "{bulk:?}");
}

/// What the daemon itself delivers over such links was measured, in real time: % of what fits.
#[test]
fn the_model_of_the_reference_is_about_as_fast_as_the_daemon_is() {
    for (case, measured) in STEADY[1..].iter().zip([6.0, 4.0, 3.0, 4.0]) {
        let length = 10 * SECOND;
        let bulk = Trial::new(*case, Kind::Reference, 1).bulk(1, length);
        let share = 100.0 * bulk.delivered() / (case.passing() as f64 * length.as_secs_f64());
        assert!((measured * 0.7..measured * 1.5).contains(&share), "{}: {share}", case.name);
    }
}

#[test]
fn the_limit_is_what_the_link_passes_without_headers() {
    let bulk = Trial::new(STEADY[2], Kind::Ours, 1).bulk(1, SECOND);
    let expected = 1_250_000.0 * 0.9 * 1387.0 / bulk.packet as f64;
    assert!((bulk.limit - expected).abs() < 1.0, "{} {expected}", bulk.limit);
    assert!((1490..=1500).contains(&bulk.packet), "{}", bulk.packet);
    assert!((bulk.least_wire_bytes - bulk.packet as f64 / 1387.0 / 0.9).abs() < 1e-9);
}

#[test]
fn small_messages_take_a_round_trip_on_a_good_link_and_new_streams_too() {
    let case = STEADY[3].without_loss();
    let pauses = [Duration::from_millis(50), Duration::from_millis(90)];
    let mut trial = Trial::new(case, Kind::Ours, 1);
    for times in [trial.round_trips(20, pauses), trial.first_answers(5, pauses)] {
        let (least, most) = (times.iter().min(), times.iter().max());
        let expected = case.round_trip()..case.round_trip() + Duration::from_millis(2);
        assert!(times.iter().all(|time| expected.contains(time)), "{least:?} {most:?}");
    }
    trial.network.run(SECOND);
    let open = |it: &Terminal| it.talks.values().any(|talk| talk.closed.is_none());
    assert!(!trial.network.stations.iter().any(open), "streams end");
}

#[test]
fn a_transfer_finishes_when_its_last_byte_has_come() {
    let case = Case { rate: 8_000_000, incident: Incident::None, ..STEPS };
    let time = Trial::new(case, Kind::Ours, 1).finish(500_001);
    // A byte takes a microsecond.
    assert!((Duration::from_millis(550)..Duration::from_millis(900)).contains(&time), "{time:?}");
}

/// Its packets are not repaired on the way, and a probe every 1.5 s would be lost seven times in a row at some time.
#[test]
fn a_thin_stream_outlives_30_percent_loss() {
    let pauses = [Duration::from_millis(50), Duration::from_millis(250)];
    for seed in 1..6 {
        let times = Trial::new(STEADY[4], Kind::Ours, seed).round_trips(1000, pauses);
        let answered = times.iter().filter(|time| **time < PATIENCE).count();
        assert_eq!(answered, 1000, "seed {seed}");
    }
}

//! Streams over several hops that each lose packets: the hops repair that, and the ends leave it to them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::time::Duration;
use msp_core::testing::trial::{Case, Incident, Loss, Role, Trial, percentile};
use msp_core::testing::{Kind, Streams, Topology};

/// One of ten packets is lost on each hop.
const HOP: Case = Case {
    name: "hop",
    rate: 10_000_000,
    delay: 5,
    loss: Loss::Single(100_000),
    incident: Incident::None,
    seconds: 3,
};

#[test]
fn a_stream_over_four_hops_that_lose_10_percent_is_fast_and_repeats_almost_nothing_itself() {
    let mut trial = Trial::among(&Topology::line(4), 4, HOP, Kind::Ours, 1);
    let id = trial.open(Role::ENDLESS);
    trial.network.run(Duration::from_secs(HOP.seconds));
    let share = trial.received() as f64 / HOP.seconds as f64 / trial.limit();
    let Streams::Ours(endpoint) = trial.network.stations[0].streams() else { panic!("another kind") };
    let stats = endpoint.stream(id).unwrap().stats();
    println!(
        "{share:.2} of what one hop can carry; {} of {} segments again",
        stats.retransmitted, stats.sent
    );
    assert!(share > 0.8, "{share:.2} of what one hop can carry");
    assert!(stats.retransmitted * 100 <= 3 * stats.sent, "{} of {} again", stats.retransmitted, stats.sent);
}

#[test]
fn small_messages_are_sooner_there_than_without_repair_on_hops() {
    for (hops, most) in [(2, 30), (4, 60), (8, 120)] {
        let [repaired, alone] = [true, false].map(|repair| {
            let mut trial = Trial::among(&Topology::line(hops), hops, HOP, Kind::Ours, 2);
            trial.network.stations.iter_mut().for_each(|it| it.set_hop_repair(repair));
            let times = trial.round_trips(200, [50, 250].map(Duration::from_millis));
            [50, 95].map(|part| percentile(&times, part))
        });
        println!("{hops} hops: {repaired:?}, without {alone:?}");
        assert!(repaired <= alone && repaired[1] <= alone[1], "{hops} hops: {repaired:?}, without {alone:?}");
        assert!(repaired[1] <= Duration::from_millis(most), "{hops} hops: {repaired:?}");
    }
}

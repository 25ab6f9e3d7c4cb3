//! Streams over meshes in which something happens, in virtual time: everything arrives.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::time::Duration;
use msp_core::msp::Config;
use msp_core::testing::{Kind, Link, Network, Party, Plan, Program, Topology, Weather, conclude, seed};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// 2 Mbit/s, so that a stream takes a while.
fn slow(link: Link) -> Link {
    link.delay(ms(5)).rate(250_000, 64_000)
}

fn lossy(link: Link) -> Link {
    slow(link).loss(10)
}

/// Parties with nodes that know each other. The first one then sends the other `messages`.
fn parties(
    seed: u64,
    topology: &Topology,
    shape: fn(Link) -> Link,
    to: usize,
    messages: u32,
) -> Network<Party> {
    let mut network = Network::new(seed);
    for index in 0..topology.size {
        network.place(Party::new(index, Kind::Ours, true, Config::default(), Plan::sending(20), network.now));
    }
    topology.join(&mut network, shape);
    let ends = [0, to].map(|end| network.stations[end].sid());
    let knows = |party: &mut Party| {
        let own = party.sid();
        let node = party.stack.node().unwrap();
        ends.iter().all(|end| *end == own || node.is_reachable(end))
    };
    let known = network.run_until(ms(60_000), |network| network.stations.iter_mut().all(knows));
    assert!(known, "{to} is not found");
    let now = network.now;
    network.stations[0].open(now, ends[1], Plan::sending(messages)).unwrap();
    network
}

/// Messages that the acceptor has got.
fn received(network: &Network<Party>, at: usize) -> usize {
    network.stations[at].all_programs().map(|program: &Program| program.received.len()).sum()
}

/// Runs until that many messages have come.
fn run_until_received(network: &mut Network<Party>, at: usize, count: usize) {
    assert!(
        network.run_until(ms(60_000), |network| received(network, at) >= count),
        "{}",
        received(network, at)
    );
}

#[test]
fn streams_go_over_lines_that_lose_packets() {
    for hops in [2, 4, 8, 16] {
        let mut network = parties(seed(1), &Topology::line(hops), lossy, hops, 200);
        run_until_received(&mut network, hops, 200);
        conclude(&mut network, Weather::Calm);
    }
}

#[test]
fn a_stream_outlives_a_partition() {
    for length in [500, 2000, 4000, 7000] {
        let mut network = parties(seed(2), &Topology::line(4), slow, 4, 400);
        run_until_received(&mut network, 4, 50);
        network.part(1, 2);
        network.run(ms(length));
        assert!(received(&network, 4) < 400, "the test is too slow");
        network.join(1, 2, slow);
        run_until_received(&mut network, 4, 400);
        conclude(&mut network, Weather::Calm);
    }
}

#[test]
fn a_stream_takes_the_other_way() {
    let first = seed(3);
    for seed in first..first + 5 {
        // The ends are 0 and 2; the longer way goes over 3 and 4.
        let mut network = parties(seed, &Topology::ring(5), slow, 2, 400);
        run_until_received(&mut network, 2, 50);
        network.part(1, if seed % 2 == 0 { 0 } else { 2 });
        run_until_received(&mut network, 2, 400);
        conclude(&mut network, Weather::Calm);
    }
}

/// The first node moves along a line of others, of which it hears one at a time, with pauses between them or not.
#[test]
fn a_stream_outlives_a_move() {
    for (pause, overlap) in [(ms(0), true), (ms(0), false), (ms(1500), false)] {
        let mut line = Topology::line(4);
        line.edges.retain(|edge| edge.ends != [0, 1]);
        line.edges.push(msp_core::testing::Edge { ends: [0, 4], loss: [0; 2] });
        let mut network = parties(seed(4), &line, slow, 1, 1000);
        for next in [3, 2, 3, 4] {
            run_until_received(&mut network, 1, 20);
            network.run(ms(1000));
            let here = (1..5).find(|other| network.is_joined(0, *other)).unwrap();
            if overlap {
                network.join(0, next, slow);
                network.run(ms(500));
            }
            network.part(0, here);
            network.run(pause);
            if !overlap {
                network.join(0, next, slow);
            }
        }
        run_until_received(&mut network, 1, 1000);
        conclude(&mut network, Weather::Calm);
    }
}

#[test]
fn a_stream_outlives_restarts_of_relays() {
    for keeps_identity in [true, false] {
        let mut network = parties(seed(5), &Topology::line(4), slow, 4, 800);
        for relay in [2, 1, 3, 2] {
            network.run(ms(500));
            let now = network.now;
            network.stations[relay].restart(now, keeps_identity);
        }
        run_until_received(&mut network, 4, 800);
        conclude(&mut network, Weather::Calm);
    }
}

#[test]
fn many_streams_share_relays() {
    let topology = Topology::grid(4, 3);
    let mut network = parties(seed(6), &topology, lossy, 11, 50);
    for from in 1..11 {
        let (now, to) = (network.now, network.stations[11 - from].sid());
        network.stations[from].open(now, to, Plan::sending(50)).unwrap();
    }
    network.run(ms(30_000));
    conclude(&mut network, Weather::Calm);
}

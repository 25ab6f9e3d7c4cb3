//! What nodes send that have nothing to say but that they are there, in virtual time.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod hostile;
mod meshes;

use meshes::{PORT, acquaint, good, has_received, ms, send};
use msp_core::testing::{Mesh, Topology, seed};
use msp_core::{Addr, NodeConfig, NodeEvent, Protection, Sid};

/// Packets that each node has sent.
fn sent(mesh: &Mesh) -> Vec<u64> {
    mesh.stations.iter().map(|station| station.sent[0]).collect()
}

/// A tick every 500 ms holds all that each neighbour has to be told, however many there are.
#[test]
fn an_idle_node_sends_a_packet_with_each_tick_whatever_the_number_of_its_neighbours() {
    let topologies = [
        ("pair", Topology::line(1), 2),
        ("line", Topology::line(5), 2),
        ("grid", Topology::grid(5, 5), 3),
        ("domain", Topology::domain(10), 2),
        ("domain", Topology::domain(40), 3),
    ];
    for (name, topology, most) in topologies {
        let mut mesh = Mesh::of(seed(1), &topology, good);
        acquaint(&mut mesh, &topology, ms(2000));
        mesh.run(ms(6000));
        mesh.stations.iter_mut().for_each(|station| station.events.clear());
        let before = sent(&mesh);
        mesh.run(ms(20_000));
        let counts: Vec<u64> = sent(&mesh).iter().zip(before).map(|(after, before)| after - before).collect();
        assert!(
            counts.iter().all(|count| *count <= 20 * most + 1),
            "{name} of {}: {counts:?}",
            topology.size
        );
        let down = mesh.stations.iter().flat_map(|station| &station.events);
        assert_eq!(
            down.filter(|event| matches!(event, NodeEvent::NeighbourDown { .. })).count(),
            0,
            "{name}"
        );
        assert_eq!(mesh.acquainted(), topology.size * (topology.size - 1), "{name}");
        // After a pause in which nothing was sent to it alone.
        send(&mut mesh, 0, 1, b"?");
        mesh.run(ms(10));
        assert!(has_received(&mut mesh, 0, 1, b"?"), "{name}");
    }
}

/// Ten nodes that hear each other, but for one in ten packets: nobody is lost, unless all of five ticks are, which chance
/// does to one of them now and then.
#[test]
fn ticks_that_get_lost_cost_no_neighbour() {
    let mut mesh = Mesh::of(seed(2), &Topology::domain(10), |link| good(link).loss(10));
    mesh.run(ms(3000));
    mesh.stations.iter_mut().for_each(|station| station.events.clear());
    let before: u64 = sent(&mesh).iter().sum();
    mesh.run(ms(60_000));
    let events = mesh.stations.iter().flat_map(|station| &station.events);
    let down = events.filter(|event| matches!(event, NodeEvent::NeighbourDown { .. })).count();
    assert!(down <= 2, "{down} neighbours of 90 are gone for a while");
    let each = (sent(&mesh).iter().sum::<u64>() - before) / 600;
    assert!(each <= 3, "{each} packets a second of each node");
}

/// Losses wander by chance, and links that lose most come and go: neither is told to all nodes each time.
#[test]
fn bad_links_do_not_keep_a_network_busy() {
    let topology = Topology::freifunk(1, 60);
    let mut mesh = Mesh::of(seed(3), &topology, good);
    mesh.run(ms(30_000));
    let before: u64 = sent(&mesh).iter().sum();
    mesh.run(ms(20_000));
    let each = (sent(&mesh).iter().sum::<u64>() - before) / (20 * 60);
    assert!(each < 6, "{each} packets a second of each node");
}

/// It tells all in one broadcast how it hears them, like others, and each alone now and then that it uses the way to it.
#[test]
fn a_node_that_does_not_relay_sends_little_more_and_its_broadcasts_are_not_passed_on_for_nothing() {
    let mut mesh = Mesh::new(seed(4));
    let mut leaf = NodeConfig::default();
    leaf.relay = false;
    mesh.add(leaf, true);
    (1..10).for_each(|_| _ = mesh.add(NodeConfig::default(), true));
    mesh.join_all(good);
    mesh.run(ms(10_000));
    let before = sent(&mesh)[0];
    mesh.run(ms(20_000));
    let count = sent(&mesh)[0] - before;
    assert!(count <= 20 * 2 + 9 * 4, "{count} packets in 20 s");
    let (now, all) = (mesh.now, Addr::new(Sid::BROADCAST, PORT));
    mesh.stations[0].node.send(now, PORT, all, Protection::Clear, b"all").unwrap();
    mesh.run(ms(500));
    let relayed: Vec<u64> = mesh.stations.iter().map(|it| it.node.stats().frames_relayed).collect();
    assert!(mesh.stations.iter().skip(1).all(|it| it.datagrams.len() == 1));
    assert_eq!(relayed, [0; 10]);
}

//! Meshes of all shapes, and what happens to them, in virtual time.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod hostile;
mod meshes;

use hostile::{frame, header, packet, plaintext};
use meshes::{PORT, acquaint, good, has_received, ms, send, sid, transmissions, travelling, way};
use msp_core::NodeEvent;
use msp_core::testing::{Mesh, Receiver, Topology, Walk, seed};
use msp_core::wire::overlay::{Hops, Route};

/// Lines of 2 to 16 hops, rings, grids, one broadcast domain, and what people build.
fn topologies() -> Vec<(&'static str, Topology)> {
    vec![
        ("line of 2", Topology::line(2)),
        ("line of 5", Topology::line(5)),
        ("line of 16", Topology::line(16)),
        ("ring", Topology::ring(9)),
        ("grid", Topology::grid(6, 6)),
        ("domain", Topology::domain(16)),
        ("Freifunk", without_loss(Topology::freifunk(seed(1), 40))),
    ]
}

fn without_loss(mut topology: Topology) -> Topology {
    topology.edges.iter_mut().for_each(|edge| edge.loss = [0; 2]);
    topology
}

#[test]
fn every_pair_can_talk() {
    for (name, topology) in topologies() {
        let mut mesh = Mesh::of(seed(1), &topology, good);
        let time = acquaint(&mut mesh, &topology, ms(20_000));
        eprintln!("{name}: {time:?}");
        for from in 0..topology.size {
            let to: Vec<usize> = (0..topology.size).filter(|to| *to != from).collect();
            // Not all at once: queues are for a few.
            for to in to.chunks(8) {
                to.iter().for_each(|to| send(&mut mesh, from, *to, &[from as u8, *to as u8]));
                mesh.run(ms(200));
                for to in to {
                    assert!(
                        has_received(&mut mesh, from, *to, &[from as u8, *to as u8]),
                        "{name}: {from} to {to}"
                    );
                }
            }
        }
    }
}

/// News of a node that overtake those of the one before it on the way are understood all the same: else they would wait
/// until everything is told again, after 5 s.
#[test]
fn a_long_line_that_loses_one_packet_in_ten_knows_itself_soon() {
    let topology = Topology::line(16);
    for seed in seed(6)..seed(6) + 8 {
        let mut mesh = Mesh::of(seed, &topology, |link| good(link).loss(10));
        assert!(mesh.run_until(ms(3000), |mesh| mesh.acquainted() == 17 * 16), "MSP_TEST_SEED={seed}");
    }
}

#[test]
fn ways_are_the_shortest_and_end() {
    for (name, topology) in topologies() {
        let mut mesh = Mesh::of(seed(2), &topology, good);
        acquaint(&mut mesh, &topology, ms(20_000));
        mesh.run(ms(20_000));
        for from in 0..topology.size {
            for (to, distance) in topology.distances(from).into_iter().enumerate() {
                assert_eq!(Some(way(&mesh, from, to).len() - 1), distance, "{name}: {from} to {to}");
            }
        }
    }
}

/// Without loss a frame is sent once by each node on its way.
#[test]
fn a_frame_is_sent_once_a_hop() {
    for (name, topology) in topologies() {
        let mut mesh = Mesh::of(seed(3), &topology, good);
        acquaint(&mut mesh, &topology, ms(20_000));
        let far = topology.distances(0).into_iter().enumerate().max_by_key(|(_, distance)| *distance);
        let (to, distance) = far.unwrap();
        mesh.recorded = Some(Vec::new());
        send(&mut mesh, 0, to, b"once");
        mesh.run(ms(1000));
        assert!(has_received(&mut mesh, 0, to, b"once"));
        if distance == Some(1) {
            continue;
        }
        let payloads = travelling(&mesh);
        assert_eq!(payloads.len(), 1, "{name}");
        let sent: usize = transmissions(&mut mesh, &payloads[0]).iter().sum();
        assert_eq!(Some(sent), distance, "{name}");
    }
}

/// Whatever becomes of the way meanwhile, a frame is not sent on for ever.
#[test]
fn no_frame_goes_around_while_ways_change() {
    let topology = Topology::grid(5, 5);
    let mut mesh = Mesh::of(seed(4), &topology, good);
    acquaint(&mut mesh, &topology, ms(20_000));
    mesh.recorded = Some(Vec::new());
    let mut worst = 0;
    for round in 0..20 {
        // The corner loses its links one after the other, and gets them back.
        for other in [19, 23] {
            mesh.part(24, other);
            for number in 0..5 {
                send(&mut mesh, 0, 24, &[round, other as u8, number]);
                mesh.run(ms(20));
            }
        }
        mesh.run(ms(1000));
        for other in [19, 23] {
            mesh.join(24, other, good);
        }
        mesh.run(ms(500));
        for payload in travelling(&mesh) {
            let recorded = mesh.recorded.clone();
            worst = worst.max(transmissions(&mut mesh, &payload).iter().sum());
            mesh.recorded = recorded;
        }
        mesh.recorded = Some(Vec::new());
    }
    // A few attempts a hop, of which there are 31 at most.
    eprintln!("a frame was sent {worst} times");
    assert!(worst <= 31 * 6, "a frame was sent {worst} times");
}

/// A flood in the name of node 0: every node gets it, and sends it once to all, or once to each of few neighbours.
#[test]
fn a_flood_costs_each_node_one_transmission_for_each_of_few_neighbours() {
    for (name, topology) in [
        ("line", Topology::line(16)),
        ("grid", Topology::grid(10, 10)),
        ("domain", Topology::domain(40)),
        ("Freifunk", without_loss(Topology::freifunk(1, 60))),
    ] {
        let mut mesh = Mesh::of(seed(5), &topology, good);
        acquaint(&mut mesh, &topology, ms(30_000));
        mesh.run(ms(6000));
        mesh.recorded = Some(Vec::new());
        let payload = plaintext(PORT, PORT, b"to all");
        let flood = frame(Route::Flood { id: [7; 8], hops: Hops::DEFAULT }, &payload);
        let header = msp_core::wire::overlay::Header {
            unicast: false,
            sequenced_frames: false,
            ..header(sid(&mesh, 0))
        };
        mesh.send(0, Receiver::Everyone, &packet(header, 0, &[flood]));
        mesh.run(ms(2000));
        let counts = transmissions(&mut mesh, &payload);
        eprintln!("{name}: {} of {} nodes passed it on", counts.iter().sum::<usize>(), topology.size);
        for (node, count) in counts.iter().enumerate() {
            let neighbours = topology.neighbours(node).count();
            let most = if neighbours > 16 { 1 } else { neighbours };
            assert!(*count <= most, "{name}: node {node}, {counts:?}");
        }
        for node in 1..topology.size {
            let count = mesh.stations[node].datagrams.iter().filter(|it| it.payload == b"to all"[..]).count();
            assert_eq!(count, 1, "{name}: node {node}");
        }
    }
}

#[test]
fn a_link_that_works_one_way_is_not_used() {
    let topology = Topology::line(2);
    let mut mesh = Mesh::of(seed(6), &topology, good);
    mesh.join_one_way(0, 2, good);
    acquaint(&mut mesh, &topology, ms(10_000));
    for number in 0..100 {
        send(&mut mesh, 0, 2, &[0, number]);
        send(&mut mesh, 2, 0, &[2, number]);
        mesh.run(ms(100));
        assert!(has_received(&mut mesh, 0, 2, &[0, number]) && has_received(&mut mesh, 2, 0, &[2, number]));
        assert_eq!(way(&mesh, 0, 2), [0, 1, 2]);
    }
    for (node, other) in [(0, 2), (2, 0)] {
        let other = sid(&mesh, other);
        let is_up = |event: &NodeEvent| matches!(event, NodeEvent::NeighbourUp { sid, .. } if *sid == other);
        assert!(!mesh.stations[node].events.iter().any(is_up), "{node} takes it for a neighbour");
    }
}

#[test]
fn parts_that_were_apart_know_each_other_again() {
    let topology = Topology::grid(4, 3);
    let mut mesh = Mesh::of(seed(7), &topology, good);
    acquaint(&mut mesh, &topology, ms(20_000));
    let bridges = [[1, 2], [5, 6], [9, 10]];
    for length in [1000, 10_000, 60_000] {
        bridges.iter().for_each(|[a, b]| mesh.part(*a, *b));
        mesh.run(ms(length));
        bridges.iter().for_each(|[a, b]| mesh.join(*a, *b, good));
        let time = acquaint(&mut mesh, &topology, ms(10_000));
        eprintln!("after {length} ms apart: {time:?}");
        // What was lost in a short time counts against a link for a while, and ways change.
        mesh.run(ms(10_000));
        for (from, to) in [(0, 11), (11, 0), (4, 7)] {
            send(&mut mesh, from, to, b"again");
            mesh.run(ms(200));
            assert!(has_received(&mut mesh, from, to, b"again"));
        }
    }
}

#[test]
fn what_is_gone_is_forgotten() {
    let topology = Topology::grid(3, 3);
    let mut mesh = Mesh::of(seed(8), &topology, good);
    acquaint(&mut mesh, &topology, ms(20_000));
    let mut rest = topology.clone();
    for other in topology.neighbours(8) {
        mesh.part(8, other);
        rest.edges.retain(|edge| !edge.ends.contains(&8));
    }
    eprintln!("forgotten after {:?}", acquaint(&mut mesh, &rest, ms(40_000)));
}

#[test]
fn nodes_that_walk_find_ways() {
    let first = seed(9);
    let (mut tried, mut arrived) = (0, 0);
    for seed in first..first + 3 {
        let mut walk = Walk::new(seed, 15, 420_000);
        let mut mesh = Mesh::of(seed, &Topology { size: 15, edges: Vec::new() }, good);
        walk.join(&mut mesh, good);
        mesh.run(ms(3000));
        for second in 0..60 {
            walk.advance(5000);
            walk.join(&mut mesh, good);
            let (from, to) = (second % 15, (second * 7 + 3) % 15);
            if from != to && walk.topology().distances(from)[to].is_some() {
                tried += 1;
                send(&mut mesh, from, to, &[second as u8]);
                mesh.run(ms(1000));
                arrived += usize::from(has_received(&mut mesh, from, to, &[second as u8]));
            } else {
                mesh.run(ms(1000));
            }
        }
    }
    // What is sent to where a link has just broken may be lost.
    eprintln!("{arrived} of {tried} datagrams arrived among nodes that walk");
    assert!(tried > 100 && arrived * 100 >= tried * 90, "{arrived} of {tried}");
}

//! Many hops: nodes that find routes through each other, in virtual time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::time::Duration;
use msp_core::testing::{Link, Mesh, seed};
use msp_core::{Addr, InterfaceId, NeighbourStatus, NodeConfig, Port, Protection, RouteStatus, Sid};

const PORT: Port = match Port::new(512) {
    Some(port) => port,
    None => Port::MAX,
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn good(link: Link) -> Link {
    link.delay(ms(2))
}

/// `count` nodes, of which each hears those that `links` joins it with.
fn mesh(seed: u64, count: usize, links: &[(usize, usize)]) -> Mesh {
    let mut mesh = Mesh::new(seed);
    for _ in 0..count {
        mesh.add(NodeConfig::default(), true);
    }
    for &(a, b) in links {
        mesh.join(a, b, good);
    }
    mesh
}

fn sid(mesh: &Mesh, index: usize) -> Sid {
    mesh.stations[index].node.sid()
}

fn send(mesh: &mut Mesh, from: usize, to: usize, payload: &[u8]) {
    let to = Addr::new(sid(mesh, to), PORT);
    mesh.stations[from].node.send(mesh.now, PORT, to, Protection::Encrypted, payload).unwrap();
}

#[test]
fn neighbours_and_routes_tell_what_a_node_knows() {
    let mut mesh = mesh(seed(1), 2, &[(0, 1)]);
    mesh.run(ms(100));
    for _ in 0..20 {
        send(&mut mesh, 0, 1, b"hello");
        mesh.run(ms(50));
    }
    let (a, b) = (sid(&mesh, 0), sid(&mesh, 1));
    let neighbours: Vec<NeighbourStatus> = mesh.stations[0].node.neighbours().collect();
    let [neighbour] = neighbours[..] else { panic!("{neighbours:?}") };
    assert_eq!((neighbour.sid, neighbour.interface), (b, InterfaceId(0)));
    assert_eq!(neighbour.address, mesh.stations[1].address);
    assert!(neighbour.up && neighbour.unicast);
    let round_trip = neighbour.round_trip.unwrap();
    assert!((ms(4)..ms(20)).contains(&round_trip), "2 ms each way: {round_trip:?}");
    assert_eq!((neighbour.loss_to, neighbour.loss_from), (Some(0), Some(0)));
    assert_eq!((neighbour.queued, neighbour.in_flight, neighbour.retransmissions), (0, 0, 0));
    let routes: Vec<RouteStatus> = mesh.stations[0].node.routes().collect();
    let [route] = routes[..] else { panic!("{routes:?}") };
    assert_eq!((route.sid, route.next_hop, route.previous_hop), (b, b, a));
    assert_eq!((route.hops, route.drop_rate, route.interface), (1, 0, InterfaceId(0)));
    mesh.link(1, 0).set_blackout(true);
    mesh.run(ms(2600));
    assert_eq!(mesh.stations[0].node.neighbours().count(), 0);
    assert_eq!(mesh.stations[0].node.routes().count(), 0);
}

fn line(count: usize) -> Mesh {
    let links: Vec<_> = (1..count).map(|b| (b - 1, b)).collect();
    mesh(seed(2), count, &links)
}

/// The way from one node to another: hops, and the index of the node that is next.
fn route(mesh: &Mesh, from: usize, to: usize) -> Option<(u8, usize)> {
    let to = sid(mesh, to);
    let route = mesh.stations[from].node.routes().find(|route| route.sid == to)?;
    let next = mesh.stations.iter().position(|it| it.node.sid() == route.next_hop);
    Some((route.hops, next.unwrap()))
}

fn received(mesh: &mut Mesh, index: usize) -> Vec<Vec<u8>> {
    mesh.stations[index].datagrams.drain(..).map(|it| it.payload.to_vec()).collect()
}

#[test]
fn the_ends_of_a_line_talk_through_the_nodes_between() {
    let mut mesh = line(5);
    assert!(mesh.run_until(ms(300), |mesh| route(mesh, 0, 4).is_some() && route(mesh, 4, 0).is_some()));
    mesh.run(ms(50));
    for (from, to, next) in [(0, 4, 1), (4, 0, 3), (1, 3, 2)] {
        assert_eq!(route(&mesh, from, to), Some((from.abs_diff(to) as u8, next)));
        send(&mut mesh, from, to, b"hello");
        mesh.run(ms(100));
        assert_eq!(received(&mut mesh, to), [b"hello"], "{from} to {to}");
    }
    let stats = mesh.stations.iter().map(|it| it.node.stats());
    assert_eq!(stats.clone().map(|it| it.frames_relayed).sum::<u64>(), 3 + 3 + 1);
    assert_eq!(stats.map(|it| it.frames_undeliverable).sum::<u64>(), 0);
}

/// Hops from `from` to each node over links that work.
fn distances(count: usize, links: &[(usize, usize)], from: usize) -> Vec<Option<u8>> {
    let mut distances = vec![None; count];
    distances[from] = Some(0);
    for hops in 0..count as u8 {
        for &(a, b) in links.iter().flat_map(|&(a, b)| [(a, b), (b, a)]).collect::<Vec<_>>().iter() {
            if distances[a] == Some(hops) && distances[b].is_none() {
                distances[b] = Some(hops + 1);
            }
        }
    }
    distances
}

/// Whether each node reaches all others that there is a way to, on a shortest one, and no more.
fn has_converged(mesh: &Mesh, links: &[(usize, usize)]) -> bool {
    let count = mesh.stations.len();
    (0..count).all(|from| {
        let known: Vec<_> = (0..count).map(|to| route(mesh, from, to).map(|(hops, _)| hops)).collect();
        let mut expected = distances(count, links, from);
        expected[from] = None;
        known == expected
    })
}

/// Sends from each node to each other that there is a way to: all arrives, once, and on no detour.
fn assert_all_talk(mesh: &mut Mesh, links: &[(usize, usize)]) {
    let count = mesh.stations.len();
    let relayed = |mesh: &Mesh| mesh.stations.iter().map(|it| it.node.stats().frames_relayed).sum::<u64>();
    let before = relayed(mesh);
    let mut expected = 0;
    for from in 0..count {
        let distances = distances(count, links, from);
        for (to, hops) in distances.iter().enumerate().filter(|(to, _)| *to != from) {
            let Some(hops) = hops else { continue };
            expected += u64::from(hops - 1);
            send(mesh, from, to, &[from as u8, to as u8]);
        }
        mesh.run(ms(60));
    }
    mesh.run(ms(300));
    for to in 0..count {
        let distances = distances(count, links, to);
        let senders = (0..count).filter(|from| *from != to && distances[*from].is_some());
        let expected: Vec<Vec<u8>> = senders.map(|from| vec![from as u8, to as u8]).collect();
        let mut received = received(mesh, to);
        received.sort();
        assert_eq!(received, expected, "to {to} in {links:?}");
    }
    assert_eq!(relayed(mesh) - before, expected, "in {links:?}");
}

#[test]
fn random_meshes_converge_to_the_shortest_ways_whatever_changes() {
    let first = seed(3);
    let mut slowest = [Duration::ZERO; 2];
    for round in 0..12 {
        let mut random =
            msp_core::Rng::new(core::array::from_fn(|byte| ((first + round) >> (byte % 8 * 8)) as u8));
        let count = 3 + random.below(7) as usize;
        let pairs: Vec<_> = (0..count).flat_map(|b| (0..b).map(move |a| (a, b))).collect();
        let mut mesh = mesh(first + round, count, &pairs);
        for change in 0..4 {
            let density = 20 + random.below(50);
            let links: Vec<_> = pairs.iter().copied().filter(|_| random.below(100) < density).collect();
            for &(a, b) in &pairs {
                let cut = !links.contains(&(a, b));
                mesh.link(a, b).set_blackout(cut);
                mesh.link(b, a).set_blackout(cut);
            }
            let start = mesh.now;
            let limit = if change == 0 { ms(1500) } else { ms(4500) };
            let converged = mesh.run_until(limit, |mesh| has_converged(mesh, &links));
            assert!(converged, "seed {first} round {round} change {change}: {links:?}");
            let slow = &mut slowest[usize::from(change > 0)];
            *slow = (*slow).max(mesh.now - start);
            mesh.run(ms(50));
            assert_all_talk(&mut mesh, &links);
        }
    }
    println!("slowest at first {:?}, after a change {:?}", slowest[0], slowest[1]);
}

fn broadcast(mesh: &mut Mesh, from: usize, payload: &[u8]) {
    let to = Addr::new(Sid::BROADCAST, PORT);
    mesh.stations[from].node.send(mesh.now, PORT, to, Protection::Clear, payload).unwrap();
}

/// Each takes it once, and passes it on once at most, however many ways there are.
#[test]
fn a_broadcast_reaches_every_node_once() {
    let ring: Vec<_> = (0..8).map(|a| (a, (a + 1) % 8)).collect();
    let all: Vec<_> = (0..8).flat_map(|b| (0..b).map(move |a| (a, b))).collect();
    let grid: Vec<_> = (0..9).flat_map(|a| [(a, a + 1, a % 3 < 2), (a, a + 3, a < 6)]).collect();
    let grid: Vec<_> = grid.into_iter().filter(|it| it.2).map(|(a, b, _)| (a, b)).collect();
    for (count, links) in [(8, ring), (8, all), (9, grid)] {
        let mut mesh = mesh(seed(4), count, &links);
        mesh.run(ms(1000));
        let packets = |mesh: &Mesh| mesh.stations.iter().map(|it| it.node.stats().packets_sent).sum::<u64>();
        for round in 0..3 {
            let before = packets(&mesh);
            broadcast(&mut mesh, round, b"all");
            mesh.run(ms(60));
            for to in 0..count {
                let expected: &[&[u8]] = if to == round { &[] } else { &[b"all"] };
                assert_eq!(received(&mut mesh, to), expected, "{to} in {links:?}");
            }
            let sent = packets(&mesh) - before;
            assert!(sent <= 3 * links.len() as u64 + 2 * count as u64, "{sent} packets in {links:?}");
        }
        let relayed: Vec<_> = mesh.stations.iter().map(|it| it.node.stats().frames_relayed).collect();
        assert!(relayed.iter().all(|count| *count <= 3), "{relayed:?}");
    }
}

#[test]
fn a_broadcast_ends_after_31_hops() {
    let mut mesh = line(34);
    mesh.run(ms(3000));
    assert_eq!(route(&mesh, 0, 31), Some((31, 1)));
    assert_eq!(route(&mesh, 0, 32), None);
    broadcast(&mut mesh, 0, b"all");
    mesh.run(ms(500));
    let reached: Vec<_> = (0..34).filter(|to| !received(&mut mesh, *to).is_empty()).collect();
    assert_eq!(reached, (1..=31).collect::<Vec<_>>());
}

#[test]
fn a_node_that_does_not_relay_is_an_end() {
    let mut mesh = Mesh::new(seed(5));
    let mut leaf = NodeConfig::default();
    leaf.relay = false;
    for config in [NodeConfig::default(), leaf, NodeConfig::default()] {
        mesh.add(config, true);
    }
    mesh.join(0, 1, good);
    mesh.join(1, 2, good);
    mesh.run(ms(10_000));
    assert_eq!((route(&mesh, 0, 1), route(&mesh, 0, 2)), (Some((1, 1)), None));
    send(&mut mesh, 0, 2, b"x");
    broadcast(&mut mesh, 0, b"all");
    mesh.run(ms(1500));
    assert_eq!(received(&mut mesh, 1), [b"all"]);
    assert!(received(&mut mesh, 2).is_empty());
    let stats = mesh.stations[1].node.stats();
    assert_eq!((stats.frames_relayed, stats.frames_undeliverable), (0, 0));
}

/// Each of two relays has only the other, and a frame for a node that nobody knows: it goes to and fro never.
#[test]
fn what_is_for_nobody_known_is_dropped_by_the_first_relay() {
    let mut mesh = line(3);
    mesh.run(ms(1000));
    let to = Addr::new(Sid::new([0x42; 32]), PORT);
    let now = mesh.now;
    mesh.stations[0].node.send(now, PORT, to, Protection::Clear, b"x").unwrap();
    mesh.run(ms(1500));
    let counts: Vec<_> = mesh
        .stations
        .iter()
        .map(|it| (it.node.stats().frames_relayed, it.node.stats().frames_undeliverable))
        .collect();
    assert!(counts.iter().all(|(relayed, _)| *relayed == 0), "{counts:?}");
}

/// Two ways of equal length; the one in use breaks.
#[test]
fn traffic_goes_another_way_when_a_relay_vanishes_and_when_it_comes_back() {
    let mut mesh = mesh(seed(6), 4, &[(0, 1), (1, 3), (0, 2), (2, 3)]);
    mesh.run(ms(500));
    let (_, relay) = route(&mesh, 0, 3).unwrap();
    for (a, b) in [(0, relay), (relay, 3)] {
        mesh.link(a, b).set_blackout(true);
        mesh.link(b, a).set_blackout(true);
    }
    let start = mesh.now;
    let other = 3 - relay;
    assert!(mesh.run_until(ms(2600), |mesh| route(mesh, 0, 3) == Some((2, other))));
    println!("another way after {:?}", mesh.now - start);
    send(&mut mesh, 0, 3, b"x");
    mesh.run(ms(50));
    assert_eq!(received(&mut mesh, 3), [b"x"]);
    // It has started again meanwhile.
    mesh.restart(relay, NodeConfig::default(), true);
    for (a, b) in [(0, relay), (relay, 3)] {
        mesh.link(a, b).set_blackout(false);
        mesh.link(b, a).set_blackout(false);
    }
    assert!(mesh.run_until(ms(600), |mesh| route(mesh, 0, relay) == Some((1, relay))));
    mesh.run(ms(600));
    assert_eq!(route(&mesh, 0, 3), Some((2, other)), "a way that works stays");
    assert_eq!(route(&mesh, relay, other).map(|(hops, _)| hops), Some(2));
}

#[test]
fn a_relay_that_starts_again_passes_on_at_once() {
    let mut mesh = line(3);
    mesh.run(ms(2000));
    mesh.restart(1, NodeConfig::default(), true);
    let start = mesh.now;
    let mut number = 0_u8;
    let through = mesh.run_until(ms(1000), |mesh| {
        if mesh.now >= start + ms(10) * number.into() {
            send(mesh, 0, 2, &[number]);
            number += 1;
        }
        !mesh.stations[2].datagrams.is_empty()
    });
    assert!(through, "after {:?}", mesh.now - start);
    println!("{:?} after the restart", mesh.now - start);
}

/// The last node is first behind one end of a line, then behind the other.
#[test]
fn a_node_that_moves_is_found_where_it_is() {
    let mut mesh = mesh(seed(7), 5, &[(0, 1), (1, 2), (2, 3), (4, 0), (4, 3)]);
    let cut = |mesh: &mut Mesh, end: usize, cut: bool| {
        mesh.link(end, 4).set_blackout(cut);
        mesh.link(4, end).set_blackout(cut);
    };
    cut(&mut mesh, 3, true);
    mesh.run(ms(1000));
    assert_eq!(route(&mesh, 1, 4), Some((2, 0)));
    for (from, to, next) in [(0, 3, (3, 2)), (3, 0, (2, 0))] {
        cut(&mut mesh, from, true);
        cut(&mut mesh, to, false);
        let start = mesh.now;
        assert!(mesh.run_until(ms(3200), |mesh| route(mesh, 1, 4) == Some(next)), "from {from} to {to}");
        println!("found after {:?}", mesh.now - start);
        send(&mut mesh, 1, 4, b"x");
        mesh.run(ms(50));
        assert_eq!(received(&mut mesh, 4), [b"x"]);
    }
}

/// Per-hop repair brings all of it over; so do records of ways, which are repeated.
#[test]
fn a_line_that_loses_one_packet_in_ten_finds_its_ways_and_loses_no_datagram() {
    for round in 0..3 {
        let mut mesh = Mesh::new(seed(8) + round);
        (0..6).for_each(|_| _ = mesh.add(NodeConfig::default(), true));
        (1..6).for_each(|b| mesh.join(b - 1, b, |link| link.delay(ms(2)).loss(10)));
        assert!(mesh.run_until(ms(6000), |mesh| route(mesh, 0, 5).is_some() && route(mesh, 5, 0).is_some()));
        println!("both ends after {:?}", mesh.now);
        mesh.run(ms(1000));
        for number in 0..200_u8 {
            send(&mut mesh, 0, 5, &[number]);
            mesh.run(ms(10));
        }
        mesh.run(ms(2000));
        let mut received = received(&mut mesh, 5);
        received.sort();
        assert_eq!(received, (0..200).map(|number| vec![number]).collect::<Vec<_>>());
    }
}

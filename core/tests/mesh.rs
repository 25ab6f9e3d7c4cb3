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
fn mesh(count: usize, links: &[(usize, usize)]) -> Mesh {
    let mut mesh = Mesh::new(seed(1));
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
    let mut mesh = mesh(2, &[(0, 1)]);
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
    mesh(count, &links)
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
    assert_eq!(stats.map(|it| it.frames_undeliverable + it.retransmissions).sum::<u64>(), 0);
}

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

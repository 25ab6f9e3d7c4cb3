//! Meshes of nodes, and what goes through them.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use core::time::Duration;
use msp_core::testing::{Link, Mesh, Topology};
use msp_core::wire::overlay::{Packet, Route};
use msp_core::{Addr, Port, Protection, Sid};

pub const PORT: Port = match Port::new(512) {
    Some(port) => port,
    None => Port::MAX,
};

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn good(link: Link) -> Link {
    link.delay(ms(2))
}

pub fn sid(mesh: &Mesh, index: usize) -> Sid {
    mesh.stations[index].node.sid()
}

/// Sends a datagram; a node that refuses is like one that loses it.
pub fn send(mesh: &mut Mesh, from: usize, to: usize, payload: &[u8]) {
    let (to, now) = (Addr::new(sid(mesh, to), PORT), mesh.now);
    let _ = mesh.stations[from].node.send(now, PORT, to, Protection::Encrypted, payload);
}

/// Whether `to` received this payload from `from`, once. It forgets all that it received.
pub fn has_received(mesh: &mut Mesh, from: usize, to: usize, payload: &[u8]) -> bool {
    let from = sid(mesh, from);
    let datagrams = core::mem::take(&mut mesh.stations[to].datagrams);
    let count = datagrams.iter().filter(|it| it.from.sid == from && it.payload == payload).count();
    assert!(count <= 1, "delivered {count} times");
    count == 1
}

/// Runs until each node has a way to each other one to which there is any, and to no other. Gives how long that took.
pub fn acquaint(mesh: &mut Mesh, topology: &Topology, limit: Duration) -> Duration {
    let start = mesh.now;
    let linked: Vec<Vec<bool>> = (0..topology.size)
        .map(|from| topology.distances(from).into_iter().map(|distance| distance.is_some()).collect())
        .collect();
    while let Some((from, to)) = misinformed(mesh, &linked) {
        assert!(mesh.now - start < limit, "{from} and {to}, linked: {}", linked[from][to]);
        mesh.run(ms(100));
    }
    mesh.now - start
}

/// A node that has no way to another one to which there is one, or the other way round.
fn misinformed(mesh: &Mesh, linked: &[Vec<bool>]) -> Option<(usize, usize)> {
    let pairs = (0..linked.len()).flat_map(|from| (0..linked.len()).map(move |to| (from, to)));
    let mut others = pairs.filter(|(from, to)| from != to);
    others.find(|(from, to)| mesh.stations[*from].node.is_reachable(&sid(mesh, *to)) != linked[*from][*to])
}

/// Which node a frame from one to another would pass next, node after node, as their tables have it.
///
/// # Panics
///
/// If it would go around in circles, or nowhere.
pub fn way(mesh: &Mesh, from: usize, to: usize) -> Vec<usize> {
    let (target, mut way) = (sid(mesh, to), vec![from]);
    while way[way.len() - 1] != to {
        let at = way[way.len() - 1];
        let route = mesh.stations[at].node.routes().find(|route| route.sid == target);
        let Some(route) = route else { panic!("{at} knows no way to {to}: {way:?}") };
        let next = mesh.stations.iter().position(|it| it.node.sid() == route.next_hop).unwrap();
        assert!(!way.contains(&next), "a loop on the way to {to}: {way:?}, {next}");
        way.push(next);
    }
    way
}

/// How many packets were recorded by each node that hold a frame with this payload. All are forgotten.
pub fn transmissions(mesh: &mut Mesh, payload: &[u8]) -> Vec<usize> {
    let mut counts = vec![0; mesh.stations.len()];
    for (from, _, packet) in mesh.recorded.replace(Vec::new()).unwrap_or_default() {
        let packet = Packet::parse(&packet).unwrap();
        counts[from] +=
            packet.frames().filter(|it| it.as_ref().is_ok_and(|it| it.payload == payload)).count();
    }
    counts
}

/// The payloads of frames that were recorded on their way through several nodes, in the order in which they were
/// sent first.
pub fn travelling(mesh: &Mesh) -> Vec<Vec<u8>> {
    let mut payloads: Vec<Vec<u8>> = Vec::new();
    for (_, _, packet) in mesh.recorded.iter().flatten() {
        for frame in Packet::parse(packet).unwrap().frames().map(Result::unwrap) {
            let travels = matches!(frame.route, Route::Via { .. }) || frame.source.is_some();
            if travels && !payloads.iter().any(|known| known == frame.payload) {
                payloads.push(frame.payload.to_vec());
            }
        }
    }
    payloads
}

//! First contact: how soon something arrives at a node that nobody has heard yet, and what that costs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::net::SocketAddr;
use core::time::Duration;
use msp_core::testing::trial::{STEADY, Trial, percentile};
use msp_core::testing::{Kind, Mesh, Receiver, Topology};
use msp_core::{Addr, Identity, Instant, InterfaceConfig, Node, NodeConfig, Port, Protection};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Two nodes, 20 ms apart, that find each other by broadcast, or of which the first has the address of the second.
fn strangers(broadcast: bool) -> Mesh {
    let mut mesh = Mesh::new(1);
    (0..2).for_each(|_| _ = mesh.add(NodeConfig::default(), broadcast));
    mesh.join(0, 1, |link| link.delay(ms(20)));
    if !broadcast {
        mesh.configure(0, 1);
    }
    mesh
}

fn send(mesh: &mut Mesh, from: usize, to: usize) {
    let port = Port::from(512);
    let to = Addr::new(mesh.stations[to].node.sid(), port);
    mesh.stations[from].node.send(mesh.now, port, to, Protection::Encrypted, b"hello").unwrap();
}

#[test]
fn a_datagram_goes_along_with_the_introduction_and_is_delivered_once() {
    for broadcast in [false, true] {
        let mut mesh = strangers(broadcast);
        send(&mut mesh, 0, 1);
        mesh.run(ms(20));
        assert_eq!(mesh.stations[1].datagrams.len(), 1, "{broadcast}");
        mesh.run(ms(5000));
        assert_eq!(mesh.stations[1].datagrams.len(), 1, "{broadcast}");
    }
}

#[test]
fn while_a_datagram_waits_introductions_follow_soon_and_then_four_times_a_second() {
    for broadcast in [false, true] {
        let mut mesh = strangers(broadcast);
        mesh.links().for_each(|link| link.set_blackout(true));
        mesh.run(ms(30_000));
        let packets = |mesh: &mut Mesh, time| {
            let (before, _) = mesh.link(0, 1).counts();
            mesh.run(time);
            mesh.link(0, 1).counts().0 - before
        };
        let idle = packets(&mut mesh, ms(10_000));
        send(&mut mesh, 0, 1);
        let counts = [50, 50, 150, 750].map(|millis| packets(&mut mesh, ms(millis)));
        assert_eq!(counts, [6, 4, 3, 3], "{broadcast}");
        assert!((idle..=20).contains(&packets(&mut mesh, ms(10_000))), "{broadcast}: {idle} before");
    }
}

/// It hears only broadcasts at first, as its own are all that the other answers.
#[test]
fn two_that_have_met_by_broadcast_go_on_by_unicast() {
    let mut mesh = strangers(true);
    mesh.link(1, 0).set_blackout(true);
    mesh.run(ms(20_000));
    mesh.link(1, 0).set_blackout(false);
    send(&mut mesh, 1, 0);
    mesh.run(ms(2000));
    for (from, to) in [(0, 1), (1, 0)] {
        mesh.recorded = Some(Vec::new());
        send(&mut mesh, from, to);
        mesh.run(ms(10));
        let sent = mesh.recorded.take().unwrap();
        assert!(sent.iter().any(|(index, to, _)| *index == from && matches!(to, Receiver::Station(_))));
        assert!(!sent.iter().any(|(index, to, _)| *index == from && *to == Receiver::Everyone));
    }
}

/// Without loss it would take one round trip.
#[test]
fn the_first_answer_on_a_bad_link_takes_a_few_round_trips() {
    for (index, round_trips) in [(2, 3), (4, 3), (5, 6)] {
        let case = STEADY[index];
        let first = |seed| {
            Trial::of_strangers(&Topology::line(1), 1, case, Kind::Ours, seed).first_answers(1, [ms(0); 2])
        };
        let times: Vec<Duration> = (0..200).flat_map(first).collect();
        let late = percentile(&times, 98);
        assert!(late <= case.round_trip() * round_trips, "{}: {late:?}", case.name);
    }
}

/// The reference daemon answers a first packet with an empty one that abbreviates its SID, and may need half
/// a second to explain that. Whoever has something for it can do without.
#[test]
fn a_destination_is_recognized_by_its_prefix() {
    let now = Instant::from_millis(1000);
    let node = |number: u8| {
        let mut node = Node::new(NodeConfig::default(), Identity::from_seed([number; 32]), [number; 32], now);
        let interface = node.add_interface(InterfaceConfig::broadcast());
        (node, interface)
    };
    let ((mut here, interface), (mut there, _)) = (node(1), node(2));
    let from: [SocketAddr; 2] = ["10.0.0.1:4110".parse().unwrap(), "10.0.0.2:4110".parse().unwrap()];
    let port = Port::new(512).unwrap();
    here.send(now, port, Addr::new(there.sid(), port), Protection::Encrypted, b"hello").unwrap();
    let mut buffer = Vec::new();
    while here.poll_transmit(now, &mut buffer).is_some() {}

    let sid = there.sid();
    let tick = [0, 1, 2, sid.as_bytes()[0], sid.as_bytes()[1], 1];
    here.handle_packet(now, interface, from[1], &tick);
    while here.poll_transmit(now, &mut buffer).is_some() {
        there.handle_packet(now, interface, from[0], &buffer);
    }
    assert_eq!(there.poll_datagram().unwrap().payload, &b"hello"[..]);
}

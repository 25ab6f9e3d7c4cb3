//! Clients of a node that has neighbours.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod meshes;

use meshes::{PORT, acquaint, good, ms, sid};
use msp_core::mdp::{Clients, ClientsConfig};
use msp_core::testing::{Mesh, Topology, seed};
use msp_core::wire::client::{ANY, Message, Payload, Qos, Reply, ReplyKind, Request, Ttl};
use msp_core::wire::routes::{self, Entry, Reach};
use msp_core::{Addr, InterfaceId, NodeConfig, Protection, Sid};

/// What node 0 tells a program that asks for its table of routes.
fn table(mesh: &mut Mesh) -> Vec<Vec<u8>> {
    let (now, node) = (mesh.now, &mut mesh.stations[0].node);
    let mut clients = Clients::new(ClientsConfig::default(), node.sid(), now);
    let mut datagram = Vec::new();
    routes::emit_request(&mut datagram);
    clients.handle_request(now, node, b"a", &datagram);
    let mut entries = Vec::new();
    while clients.poll_transmit(now, &mut datagram).is_some() {
        match Reply::parse(&datagram).unwrap().kind {
            ReplyKind::Data { payload, .. } => entries.push(payload.to_vec()),
            kind => assert_eq!(kind, ReplyKind::Done),
        }
    }
    entries
}

#[test]
fn the_table_of_routes_tells_how_each_node_is_reached() {
    let topology = Topology::line(4);
    let mut mesh = Mesh::of(seed(1), &topology, good);
    acquaint(&mut mesh, &topology, ms(10_000));
    let sids: Vec<Sid> = (0..5).map(|index| sid(&mesh, index)).collect();
    let table = table(&mut mesh);
    let mut entries: Vec<Entry<'_>> = table.iter().map(|it| Entry::parse(it).unwrap()).collect();
    entries.sort_by_key(|entry| entry.hops);
    let told: Vec<_> = entries.iter().map(|it| (it.sid, it.hops, it.next_hop, it.previous_hop)).collect();
    assert_eq!(
        told,
        [
            (sids[0], 0, None, None),
            (sids[1], 1, None, None),
            (sids[2], 2, Some(sids[1]), None),
            (sids[3], 3, Some(sids[1]), Some(sids[2])),
            (sids[4], 4, Some(sids[1]), Some(sids[3])),
        ]
    );
    let unicast = mesh.stations[0].node.neighbours().next().unwrap().unicast;
    let neighbour = if unicast { Reach::Unicast } else { Reach::Broadcast };
    let reach = [Reach::Own, neighbour, Reach::Indirect, Reach::Indirect, Reach::Indirect];
    assert_eq!(entries.iter().map(|it| it.reach).collect::<Vec<_>>(), reach);
    let interfaces = entries.iter().map(|it| it.interface.map(|it| it.name));
    assert_eq!(interfaces.collect::<Vec<_>>(), [Some(&b"udp0"[..]), Some(b"udp0"), None, None, None]);
}

#[test]
fn what_comes_in_and_finds_the_queue_of_a_program_full_is_lost() {
    let topology = Topology::line(1);
    let mut mesh = Mesh::of(seed(1), &topology, good);
    acquaint(&mut mesh, &topology, ms(10_000));
    let mut config = ClientsConfig::default();
    config.queue = 2;
    let (now, mut datagram) = (mesh.now, Vec::new());
    let mut clients = Clients::new(config, sid(&mesh, 0), now);
    Request::Bind { local: Addr::new(ANY, PORT) }.emit(&mut datagram);
    clients.handle_request(now, &mut mesh.stations[0].node, b"a", &datagram);
    assert!(clients.poll_transmit(now, &mut datagram).is_some(), "it is bound");
    let [station, other] = &mut *mesh.stations else { panic!("two nodes") };
    let to = Addr::new(station.node.sid(), PORT);
    for payload in 0..5 {
        other.node.send(now, PORT, to, Protection::Encrypted, &[payload]).unwrap();
        while other.node.poll_transmit(now, &mut datagram).is_some() {
            station.node.handle_packet(now, InterfaceId(0), other.address, &datagram);
        }
    }
    clients.update(now, &mut station.node);
    assert_eq!((clients.stats().datagrams_received, clients.stats().datagrams_dropped), (2, 3));
    for expected in 0..2 {
        assert!(clients.poll_transmit(now, &mut datagram).is_some());
        assert_eq!(datagram.last(), Some(&expected));
    }
    assert_eq!(clients.poll_transmit(now, &mut datagram), None);
}

/// Of two neighbours, one is slow: what goes there is dropped for a second, and what goes to the other waits its turn.
#[test]
fn a_slow_neighbour_is_given_up_for_a_second_and_the_other_is_not() {
    let mut mesh = Mesh::new(seed(1));
    let mut small = NodeConfig::default();
    small.send_queue = 1;
    mesh.add(small, true);
    (0..2).for_each(|_| _ = mesh.add(NodeConfig::default(), true));
    (1..3).for_each(|other| mesh.join(0, other, good));
    mesh.run(ms(2000));
    let [slow, quick] = [1, 2].map(|index| sid(&mesh, index));
    let (start, node) = (mesh.now, &mut mesh.stations[0].node);
    assert!(node.is_reachable(&slow) && node.is_reachable(&quick));
    let mut clients = Clients::new(ClientsConfig::default(), node.sid(), start);
    let send = |to: Sid| {
        let message = Message {
            local: Addr::new(ANY, PORT),
            remote: Addr::new(to, PORT),
            protection: Protection::Encrypted,
            qos: Qos::Default,
            ttl: Ttl::DEFAULT,
            repairs: false,
            payload: Payload::new(b"x").unwrap(),
        };
        let mut datagram = Vec::new();
        Request::Send { message, bind: true }.emit(&mut datagram);
        datagram
    };
    // Nothing is taken from the node, so that each queue is full after one.
    (0..2).for_each(|_| clients.handle_request(start, node, b"a", &send(slow)));
    assert!(!clients.takes_requests());
    let until = start + ms(20);
    assert_eq!(clients.poll_timeout(node), Some(start), "there is an answer");
    clients.update(until, node);
    assert!(clients.takes_requests());
    assert_eq!((clients.stats().datagrams_sent, clients.stats().datagrams_expired), (1, 1));
    clients.handle_request(until, node, b"a", &send(slow));
    assert_eq!((clients.takes_requests(), clients.stats().datagrams_expired), (true, 2));
    (0..2).for_each(|_| clients.handle_request(until, node, b"a", &send(quick)));
    assert!(!clients.takes_requests(), "it is not known to be slow");
    let mut buffer = Vec::new();
    while node.poll_transmit(until, &mut buffer).is_some() {}
    clients.update(until, node);
    assert_eq!((clients.takes_requests(), clients.stats().datagrams_sent), (true, 3));
    while node.poll_transmit(until, &mut buffer).is_some() {}
    // After that second it is asked again.
    let later = until + ms(1000);
    for (now, waits) in [(later - ms(1), false), (later, true)] {
        (0..2).for_each(|_| clients.handle_request(now, node, b"a", &send(slow)));
        assert_eq!(!clients.takes_requests(), waits);
    }
}

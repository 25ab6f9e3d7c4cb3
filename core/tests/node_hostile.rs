//! A node among strangers who send what they like.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::net::SocketAddr;
use core::time::Duration;
use msp_core::testing::{Mesh, seed};
use msp_core::wire::address::Address;
use msp_core::wire::linkstate;
use msp_core::{
    Addr, Identity, Instant, InterfaceConfig, InterfaceId, Node, NodeConfig, NodeEvent, Port, Protection,
    Rng, Sid,
};
use std::collections::BTreeSet;

const INTERFACE: InterfaceId = InterfaceId(0);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 4110))
}

fn rng(seed: u64) -> Rng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    Rng::new(bytes)
}

#[test]
fn a_flood_of_strangers_displaces_nobody_who_matters() {
    let mut mesh = Mesh::new(1);
    for _ in 0..2 {
        mesh.add(NodeConfig::default(), true);
    }
    mesh.join(0, 1, |link| link.delay(ms(2)));
    assert!(mesh.run_until(ms(100), |mesh| {
        let sids = [0, 1].map(|index| mesh.stations[index].node.sid());
        mesh.stations[0].node.is_reachable(&sids[1]) && mesh.stations[1].node.is_reachable(&sids[0])
    }));
    let other = mesh.stations[1].node.sid();
    let mut rng = rng(seed(20));
    let mut sent = 0;
    for round in 0..1000_u32 {
        for number in 0..100_u32 {
            let mut packet = vec![1, 1, 0x20];
            let sid: [u8; 32] = rng.bytes();
            packet.extend_from_slice(&sid);
            packet.push(1);
            if number % 3 == 0 {
                // It even says that it hears us.
                let me = mesh.stations[0].node.sid();
                let mut payload = vec![0x05];
                let record = linkstate::Repr {
                    interface: Some(0),
                    unicast: true,
                    ..linkstate::Repr::new(Address::Sender, Some(Address::Whole(me)))
                };
                record.emit(&mut payload);
                packet.extend_from_slice(&[7, 1, 0, payload.len() as u8]);
                packet.extend_from_slice(&payload);
            }
            let from = SocketAddr::from(([10, 9, (number % 7) as u8, round as u8], number as u16));
            let now = mesh.now;
            mesh.stations[0].node.handle_packet(now, INTERFACE, from, &packet);
        }
        if round % 100 == 0 {
            let port = Port::from(300);
            let now = mesh.now;
            mesh.stations[0]
                .node
                .send(now, port, Addr::new(other, port), Protection::Encrypted, b"x")
                .unwrap();
            sent += 1;
        }
        mesh.run(ms(10));
        assert!(mesh.stations[0].node.is_reachable(&other));
    }
    mesh.run(ms(3000));
    assert_eq!(mesh.stations[1].datagrams.len(), sent);
    let downs =
        mesh.stations[0].events.iter().filter(|event| **event == NodeEvent::NeighbourDown { sid: other });
    assert_eq!(downs.count(), 0);
    let stats = mesh.stations[0].node.stats();
    assert!(stats.neighbours_refused > 0 && stats.packets_sent < 30_000, "{stats:?}");
}

/// The header of a packet from `sid`, whole.
fn tick(sid: Sid) -> Vec<u8> {
    [&[1, 1, 0x20][..], sid.as_bytes(), &[1]].concat()
}

#[test]
fn one_host_has_few_places_and_the_best_known_neighbours_keep_theirs() {
    let now = Instant::from_millis(1);
    let mut config = NodeConfig::default();
    config.max_neighbours = 16;
    let mut node = Node::new(config, Identity::from_seed([1; 32]), [3; 32], now);
    node.add_interface(InterfaceConfig::broadcast());
    node.add_peer(INTERFACE, address(99));
    let sid = |n: u8| Sid::new([n; 32]);
    // A prefix that is resolved was a neighbour's.
    let knows = |node: &mut Node, n: u8| {
        let before = node.stats().unresolved;
        node.handle_packet(now, INTERFACE, address(250), &[1, 1, 1, n, 1]);
        node.stats().unresolved == before
    };
    for n in 1..=30 {
        node.handle_packet(now, INTERFACE, address(7), &tick(sid(n)));
    }
    let known: Vec<u8> = (1..=30).filter(|n| knows(&mut node, *n)).collect();
    assert_eq!(known.len(), 8, "places for one host: {known:?}");

    node.handle_packet(now, INTERFACE, address(99), &tick(sid(100)));
    let me = Address::Whole(node.sid());
    for n in 101..=112 {
        let mut payload = vec![0x05];
        let record = linkstate::Repr {
            interface: Some(0),
            unicast: true,
            ..linkstate::Repr::new(Address::Sender, Some(me))
        };
        record.emit(&mut payload);
        let frame = [&[7, 1, 0, payload.len() as u8][..], &payload].concat();
        node.handle_packet(now, INTERFACE, address(n), &[tick(sid(n)), frame].concat());
    }
    for n in 150..=200 {
        node.handle_packet(now, INTERFACE, address(n), &tick(sid(n)));
    }
    assert!((100..=112).all(|n| knows(&mut node, n)), "the configured one and those that hear us");
    assert_eq!((150..=200).filter(|n| knows(&mut node, *n)).count(), 3);
}

#[test]
fn strangers_cannot_keep_a_node_busy_with_keys() {
    let mut now = Instant::from_millis(1);
    let mut node = Node::new(NodeConfig::default(), Identity::from_seed([1; 32]), [3; 32], now);
    node.add_interface(InterfaceConfig::broadcast());
    let me = node.sid();
    let mut opened = 0;
    for n in 0..100_u8 {
        let identity = Identity::from_seed([n.wrapping_add(2); 32]);
        let mut payload = vec![0; 40];
        payload.extend_from_slice(b"\x80\x08\x81\x02x");
        identity.shared_key(&me).unwrap().seal(&[n; 24], &mut payload);
        let frame = [&[0x35, 0x20][..], me.as_bytes(), &[1, 0, payload.len() as u8], &payload].concat();
        let packet = [tick(identity.sid()), frame].concat();
        node.handle_packet(now, INTERFACE, address(n), &packet);
        opened += u32::from(node.poll_datagram().is_some());
    }
    assert_eq!(opened, 32);
    now += ms(100);
    let identity = Identity::from_seed([200; 32]);
    let mut payload = vec![0; 40];
    payload.extend_from_slice(b"\x80\x08\x81\x02x");
    identity.shared_key(&me).unwrap().seal(&[0; 24], &mut payload);
    let frame = [&[0x35, 0x20][..], me.as_bytes(), &[1, 0, payload.len() as u8], &payload].concat();
    node.handle_packet(now, INTERFACE, address(200), &[tick(identity.sid()), frame].concat());
    assert!(node.poll_datagram().is_some());
}

/// Recorded or made-up packets with any bits changed, and calls in any order: nothing panics, and after each
/// a time-out is due exactly while there is something to take.
#[test]
fn random_packets_and_calls_keep_the_contract() {
    for round in 0..20 {
        let mut rng = rng(seed(30) + round);
        let mut now = Instant::from_millis(5000);
        let mut nodes = [1, 2].map(|n| {
            let mut config = NodeConfig::default();
            config.receive_queue = 8;
            let mut node = Node::new(config, Identity::from_seed([n; 32]), rng.bytes(), now);
            node.add_interface(if n == 1 {
                InterfaceConfig::broadcast()
            } else {
                InterfaceConfig::unicast()
            });
            node
        });
        let sids = [nodes[0].sid(), nodes[1].sid()];
        nodes[1].add_peer(INTERFACE, address(1));
        let mut packets: Vec<Vec<u8>> = vec![vec![1, 1, 2, 3, 4, 0]];
        let mut buffer = Vec::new();
        for _ in 0..1500 {
            let index = rng.below(2) as usize;
            let node = &mut nodes[index];
            let moment = Instant::from_micros(now.as_micros() - rng.below(1000));
            match rng.below(10) {
                0..=3 => {
                    let due = node.poll_timeout().is_some_and(|at| at <= now);
                    if node.poll_transmit(now, &mut buffer).is_some() {
                        assert!(due && buffer.len() <= 1200);
                        packets.push(buffer.clone());
                        if packets.len() > 50 {
                            packets.remove(rng.below(50) as usize);
                        }
                    }
                }
                4..=6 => {
                    let mut packet = packets[rng.below(packets.len() as u64) as usize].clone();
                    if rng.below(2) == 0 {
                        for _ in 0..rng.below(4) {
                            let bit = rng.below(8 * packet.len() as u64) as usize;
                            packet[bit / 8] ^= 1 << (bit % 8);
                        }
                        packet.truncate(packet.len() - (rng.below(20) as usize).min(packet.len() - 1));
                    }
                    let from = address(2 - index as u8 + 3 * u8::from(rng.below(10) == 0));
                    node.handle_packet(moment, INTERFACE, from, &packet);
                }
                7 => {
                    let port = Port::from(rng.below(20) as u16);
                    let to = if rng.below(4) == 0 { Sid::new(rng.bytes()) } else { sids[1 - index] };
                    let protection =
                        [Protection::Encrypted, Protection::Signed, Protection::Clear][rng.below(3) as usize];
                    let _ = node.send(moment, port, Addr::new(to, Port::from(7)), protection, &[1; 50]);
                    let _ = node.has_room(to);
                }
                8 => {
                    let due = node.poll_timeout().is_some_and(|at| at <= now);
                    let something = node.poll_datagram().is_some() || node.poll_event().is_some();
                    assert!(due || !something);
                }
                _ => {
                    now += Duration::from_micros([10, 1000, 50_000, 700_000][rng.below(4) as usize]);
                    for node in &mut nodes {
                        node.handle_timeout(now);
                    }
                }
            }
        }
        for node in &mut nodes {
            node.handle_timeout(now);
            for _ in 0..1000 {
                let something = node.poll_transmit(now, &mut buffer).is_some();
                if !(node.poll_event().is_some() | node.poll_datagram().is_some() | something) {
                    break;
                }
            }
            assert!(node.poll_timeout().is_none_or(|at| at > now), "spins");
        }
    }
}

/// Any link, and any sequence of datagrams, interruptions and restarts: no datagram comes changed, few come
/// twice, and once the link is good again, so is the way.
#[test]
fn after_any_mishaps_nodes_find_each_other_again() {
    let first = seed(40);
    let mut copies = Copies::default();
    for round in 0..8 {
        let seed = first + round;
        let mut rng = rng(seed);
        let mut mesh = Mesh::new(seed);
        let broadcast = rng.below(2) == 0;
        let [delay, jitter, loss, duplicate] = [40, 40, 40, 30].map(|bound| rng.below(bound));
        for _ in 0..2 {
            mesh.add(NodeConfig::default(), broadcast);
        }
        mesh.join(0, 1, |link| link.delay(ms(delay)).jitter(ms(jitter)).loss(loss).duplicate(duplicate));
        mesh.configure(0, 1);
        let port = Port::from(300);
        let send = |mesh: &mut Mesh, from: usize, number: u32| {
            let to = Addr::new(mesh.stations[1 - from].node.sid(), port);
            let payload = [number.to_le_bytes(), (!number).to_le_bytes()].concat();
            mesh.stations[from].node.send(mesh.now, port, to, Protection::Encrypted, &payload).is_ok()
        };
        let mut number = 0;
        for _ in 0..200 {
            let one = rng.below(2) as usize;
            match rng.below(40) {
                0 => mesh.link(one, 1 - one).set_blackout(true),
                1..=4 => mesh.link(one, 1 - one).set_blackout(false),
                5 => {
                    // What it sent before its end has arrived when it is back.
                    mesh.link(one, 1 - one).set_blackout(true);
                    mesh.run(ms(100));
                    mesh.link(one, 1 - one).set_blackout(false);
                    mesh.restart(one, NodeConfig::default(), broadcast);
                    mesh.configure(0, 1);
                    copies.count(&mut mesh, one);
                }
                6 => mesh.run(ms(rng.below(6000))),
                _ => {
                    for _ in 0..rng.below(30) {
                        number += 1;
                        send(&mut mesh, one, number);
                    }
                    mesh.run(ms(rng.below(50)));
                }
            }
        }
        for (a, b) in [(0, 1), (1, 0)] {
            mesh.link(a, b).set_blackout(false);
            mesh.link(a, b).set_loss(0);
        }
        mesh.run(ms(3500));
        for from in [0, 1] {
            number += 1;
            assert!(send(&mut mesh, from, number));
            mesh.run(ms(500));
            let last = &mesh.stations[1 - from].datagrams.last().unwrap().payload[..4];
            assert_eq!(last, number.to_le_bytes(), "round {round}: the last datagram from {from}");
        }
        for index in [0, 1] {
            copies.count(&mut mesh, index);
        }
    }
    // A copy can arrive after more frames than a receiver remembers, above all when the numbers have just started anew.
    assert!(copies.again * 20 <= copies.received, "{copies:?}");
}

/// What has come to stations, and what of it not for the first time.
#[derive(Debug, Default)]
struct Copies {
    received: usize,
    again: usize,
}

impl Copies {
    /// What a station has received since its start was sent so.
    fn count(&mut self, mesh: &mut Mesh, index: usize) {
        let mut numbers = BTreeSet::new();
        for datagram in mesh.stations[index].datagrams.drain(..) {
            let [number, not] =
                [0, 4].map(|at| u32::from_le_bytes(datagram.payload[at..at + 4].try_into().unwrap()));
            assert_eq!(number, !not);
            self.received += 1;
            self.again += usize::from(!numbers.insert(number));
        }
    }
}

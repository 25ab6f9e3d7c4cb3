//! Nodes with several interfaces of different kinds, on wires that others may share.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::net::SocketAddr;
use core::time::Duration;
use msp_core::{
    Addr, Destination, Identity, Instant, InterfaceConfig, InterfaceId, Node, NodeConfig, Port, Protection,
};

const PORT: Port = match Port::new(512) {
    Some(port) => port,
    None => Port::MAX,
};

/// An interface of a node: the index of the node, and the interface.
type Plug = (usize, u8);

/// Nodes, and wires without delay and loss that each join any number of their interfaces.
struct Lab {
    nodes: Vec<Node>,
    wires: Vec<Vec<Plug>>,
    /// Datagrams that each node received.
    received: Vec<usize>,
    now: Instant,
    buffer: Vec<u8>,
}

impl Lab {
    /// A node for each list, with an interface for each `true` (broadcast) and `false` (unicast).
    fn new(interfaces: &[&[bool]], wires: &[&[Plug]]) -> Self {
        let now = Instant::from_millis(1000);
        let nodes = interfaces.iter().enumerate().map(|(index, interfaces)| {
            let seed = [index as u8 + 1; 32];
            let mut node = Node::new(NodeConfig::default(), Identity::from_seed(seed), seed, now);
            for broadcast in *interfaces {
                node.add_interface(match broadcast {
                    true => InterfaceConfig::broadcast(),
                    false => InterfaceConfig::unicast(),
                });
            }
            node
        });
        let wires = wires.iter().map(|wire| wire.to_vec()).collect();
        let received = vec![0; interfaces.len()];
        Self { nodes: nodes.collect(), wires, received, now, buffer: Vec::new() }
    }

    fn address((node, interface): Plug) -> SocketAddr {
        SocketAddr::from(([10, interface, 0, node as u8 + 1], 4110))
    }

    fn configure(&mut self, at: Plug, peer: Plug) {
        self.nodes[at.0].add_peer(InterfaceId(at.1), Self::address(peer));
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            for index in 0..self.nodes.len() {
                self.nodes[index].handle_timeout(self.now);
                while let Some(transmit) = self.nodes[index].poll_transmit(self.now, &mut self.buffer) {
                    let from = (index, transmit.interface.0);
                    let heard = self.wires.iter().filter(|wire| wire.contains(&from)).flatten();
                    let to = heard.filter(|to| {
                        **to != from
                            && match transmit.to {
                                Destination::Unicast(address) => address == Self::address(**to),
                                _ => true,
                            }
                    });
                    for &(node, interface) in to {
                        let interface = InterfaceId(interface);
                        self.nodes[node].handle_packet(
                            self.now,
                            interface,
                            Self::address(from),
                            &self.buffer,
                        );
                    }
                }
                while self.nodes[index].poll_event().is_some() {}
                while self.nodes[index].poll_datagram().is_some() {
                    self.received[index] += 1;
                }
            }
            let next = self.nodes.iter().filter_map(Node::poll_timeout).min().unwrap();
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
        }
    }

    fn send(&mut self, from: usize, to: usize) {
        let to = Addr::new(self.nodes[to].sid(), PORT);
        self.nodes[from].send(self.now, PORT, to, Protection::Encrypted, b"x").unwrap();
    }

    /// How often a datagram from one to the other comes.
    fn passes(&mut self, from: usize, to: usize) -> usize {
        self.send(from, to);
        self.run(Duration::from_millis(100));
        core::mem::take(&mut self.received[to])
    }

    /// On which interface a node reaches another, and in how many hops.
    fn way(&self, from: usize, to: usize) -> Option<(u8, u8)> {
        let sid = self.nodes[to].sid();
        self.nodes[from].routes().find(|it| it.sid == sid).map(|it| (it.interface.0, it.hops))
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_relay_joins_a_radio_and_a_link_between_two_addresses() {
    // 0 and 1 hear each other, 2 and 3 have addresses.
    let mut lab = Lab::new(
        &[&[true], &[true, false], &[false, false], &[false]],
        &[&[(0, 0), (1, 0)], &[(1, 1), (2, 0)], &[(2, 1), (3, 0)]],
    );
    lab.configure((2, 0), (1, 1));
    lab.configure((3, 0), (2, 1));
    lab.run(SECOND);
    assert_eq!([lab.way(0, 3), lab.way(1, 3), lab.way(3, 0)], [Some((0, 3)), Some((1, 2)), Some((0, 3))]);
    for (from, to) in [(0, 3), (3, 0), (1, 3), (2, 0)] {
        assert_eq!(lab.passes(from, to), 1, "{from} to {to}");
    }
    let all = Addr::new(msp_core::Sid::BROADCAST, PORT);
    lab.nodes[3].send(lab.now, PORT, all, Protection::Clear, b"all").unwrap();
    lab.run(SECOND);
    assert_eq!(lab.received, [1, 1, 1, 0]);
}

#[test]
fn a_neighbour_on_two_interfaces_is_reached_on_the_one_that_works() {
    for kind in [true, false] {
        let mut lab = Lab::new(&[&[kind, kind], &[kind, kind]], &[&[(0, 0), (1, 0)], &[(0, 1), (1, 1)]]);
        if !kind {
            lab.configure((0, 0), (1, 0));
            lab.configure((0, 1), (1, 1));
        }
        lab.run(SECOND);
        assert_eq!(lab.nodes[0].neighbours().count(), 1, "it is one neighbour");
        let (used, _) = lab.way(0, 1).unwrap();
        assert_eq!(lab.passes(0, 1), 1);
        let cut = lab.wires.remove(used.into());
        lab.run(SECOND * 4);
        assert_eq!(lab.way(0, 1), Some((1 - used, 1)));
        assert_eq!((lab.passes(0, 1), lab.passes(1, 0)), (1, 1));
        lab.wires.push(cut);
        lab.run(SECOND * 4);
        assert_eq!((lab.passes(0, 1), lab.passes(1, 0)), (1, 1), "both work again");
    }
}

#[test]
fn news_go_to_all_interfaces() {
    // A relay with three radios; at the last one, a line.
    let mut lab = Lab::new(
        &[&[true, true, true], &[true], &[true], &[true, true], &[true]],
        &[&[(0, 0), (1, 0)], &[(0, 1), (2, 0)], &[(0, 2), (3, 0)], &[(3, 1), (4, 0)]],
    );
    lab.run(SECOND);
    assert_eq!([lab.way(1, 4), lab.way(2, 4), lab.way(4, 1)], [Some((0, 3)), Some((0, 3)), Some((0, 3))]);
    assert_eq!((lab.passes(1, 4), lab.passes(4, 2)), (1, 1));
    lab.wires.pop();
    lab.run(SECOND * 3);
    assert_eq!([lab.way(0, 4), lab.way(1, 4), lab.way(2, 4)], [None; 3]);
}

//! First contact with a neighbour that introduces itself badly.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::net::SocketAddr;
use msp_core::{Addr, Identity, Instant, InterfaceConfig, Node, NodeConfig, Port, Protection};

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

//! Nodes with several interfaces, each with its own network.

use crate::lab::Lab;
use crate::ours::Ours;
use crate::possible;
use crate::process::until;

/// Of three in a row, none hears the network of the other side: the one between has an interface in each.
#[test]
fn a_node_with_two_interfaces_relays_from_one_to_the_other() {
    if !possible("a_node_with_two_interfaces_relays_from_one_to_the_other") {
        return;
    }
    let lab = Lab::chain(3);
    // All bound to one address, and so deaf to broadcasts unless something is done about it.
    let (left, _left) = Ours::shared_at(&lab, 0, &["10.77.0.1:4110"]);
    let (middle, _middle) = Ours::shared_at(&lab, 1, &["10.77.1.1:4110", "10.78.1.1:4110"]);
    let (right, _right) = Ours::shared_at(&lab, 2, &["10.78.2.1:4110"]);
    let peers = until("both sides", || Some(middle.peers()).filter(|peers| peers.len() == 2));
    let peers: Vec<_> = peers.iter().map(|peer| (&*peer.interface, &*peer.sid)).collect();
    assert_eq!(peers, [("left", left.sid()), ("right", right.sid())]);
    until("a way", || left.routes().iter().any(|route| route.sid == right.sid()).then_some(()));
    let mut listener = right.listen(&["600"], None);
    let mut connector = left.spawn(&["connect", right.sid(), "600"], None);
    connector.type_in(b"over two radios\n");
    listener.output_line("what was said", |line| (line == "over two radios").then_some(()));
    connector.finish_input();
    listener.finish_input();
    connector.finish().assert_status("the connector", 0);
    listener.finish().assert_status("the listener", 0);
}

#[test]
fn neighbours_on_a_link_with_ipv6_alone_find_each_other() {
    if !possible("neighbours_on_a_link_with_ipv6_alone_find_each_other") {
        return;
    }
    let lab = Lab::pair();
    let (one, _one) = Ours::shared_at(&lab, 0, &["[::]:4110"]);
    let address = format!("[fe80::2%{}]:4110", lab.index(1, "left"));
    let (other, _other) = Ours::shared_at(&lab, 1, &[&address]);
    for (ours, other, interface, host) in
        [(&one, &other, "[::]:4110", "[fe80::2%"), (&other, &one, "left", "[fe80::1%")]
    {
        let peers = until("a neighbour", || Some(ours.peers()).filter(|peers| !peers.is_empty()));
        assert_eq!((&*peers[0].sid, &*peers[0].interface), (other.sid(), interface));
        assert!(peers[0].address.starts_with(host), "{}", peers[0].address);
    }
}

//! What a node counts: each mishap once, in the counter that is meant for it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scripted;

use msp_core::wire::address::Address;
use msp_core::wire::overlay::{FORBIDDEN_PAYLOAD_LEN, Frame, Header, Route};
use msp_core::wire::{linkstate, mdp};
use msp_core::{
    Addr, Identity, Instant, InterfaceId, Node, NodeConfig, NodeStats, Port, Protection, SendDatagramError,
    Sid,
};
use scripted::{INTERFACE, Scripted, address, ms};

/// A datagram with one byte.
const DATAGRAM: &[u8] = b"\x80\x08\x81\x02x";

/// What is counted when the daemon does something twice.
fn counted(act: impl Fn(&mut Scripted, u8)) -> NodeStats {
    let mut scripted = Scripted::up();
    let before = *scripted.node.stats();
    (0..2).for_each(|round| act(&mut scripted, round));
    let mut stats = *scripted.node.stats();
    assert_eq!(stats.packets_received, before.packets_received + 2);
    for (now, then) in [
        (&mut stats.packets_received, before.packets_received),
        (&mut stats.packets_sent, before.packets_sent),
        (&mut stats.datagrams_received, before.datagrams_received),
    ] {
        *now -= then;
    }
    stats
}

fn stats(set: impl Fn(&mut NodeStats)) -> NodeStats {
    let mut stats = NodeStats::default();
    stats.packets_received = 2;
    set(&mut stats);
    stats
}

fn receive_from(scripted: &mut Scripted, sender: Address<'_>) {
    scripted.receive(Header { sender, ..scripted.header(None) }, &[]);
}

fn receive_payload(scripted: &mut Scripted, payload: &'static [u8]) {
    let frame = scripted.frame(Route::Neighbours, Protection::Clear, payload);
    scripted.receive(scripted.header(None), &[frame]);
}

#[test]
fn packets_are_counted() {
    let nowhere = counted(|it, _| it.node.handle_packet(it.now, InterfaceId(1), address(2), b"x"));
    assert_eq!(nowhere, stats(|_| {}));
    let garbage = counted(|it, _| it.node.handle_packet(it.now, INTERFACE, address(2), b"x"));
    assert_eq!(garbage, stats(|stats| stats.malformed = 2));
    let nobody = counted(|it, _| receive_from(it, Address::Previous));
    assert_eq!(nobody, stats(|stats| stats.malformed = 2));
    let reserved = counted(|it, _| receive_from(it, Address::Whole(Sid::new([0; 32]))));
    assert_eq!(reserved, stats(|stats| stats.malformed = 2));
    let unknown = counted(|it, _| receive_from(it, Address::Prefix(&[7])));
    assert_eq!(unknown, stats(|stats| stats.unresolved = 2));
    let own = counted(|it, _| receive_from(it, Address::Whole(it.node.sid())));
    assert_eq!(own, stats(|stats| stats.own_packets = 2));
    let copy = counted(|it, _| it.receive(it.header(Some(7)), &[]));
    assert_eq!(copy, stats(|stats| stats.duplicate_packets = 1));
}

#[test]
fn frames_are_counted() {
    let broken = counted(|it, _| {
        let mut packet = Vec::new();
        it.header(None).emit(&mut packet);
        packet.push(0xff);
        it.node.handle_packet(it.now, INTERFACE, address(2), &packet);
    });
    assert_eq!(broken, stats(|stats| stats.malformed = 2));
    let fresh = counted(|it, _| receive_payload(it, DATAGRAM));
    assert_eq!(fresh, stats(|stats| stats.datagrams_received = 2));
    let copy = counted(|it, round| {
        let frame = it.frame(Route::Neighbours, Protection::Clear, DATAGRAM);
        it.receive(it.header(Some(round)), &[Frame { sequence: Some(99), ..frame }]);
    });
    assert_eq!(copy, stats(|stats| (stats.datagrams_received, stats.duplicate_frames) = (1, 1)));
    let no_ports = counted(|it, _| receive_payload(it, b"\xff"));
    assert_eq!(no_ports, stats(|stats| stats.malformed = 2));
    let no_data = counted(|it, _| receive_payload(it, b"\x80\x08\x81\x02"));
    assert_eq!(no_data, stats(|stats| stats.forbidden = 2));
    let half_a_key = counted(|it, _| receive_payload(it, b"\x03\x02half"));
    assert_eq!(half_a_key, stats(|stats| (stats.datagrams_received, stats.malformed) = (2, 2)));
    let from_nobody = counted(|it, _| {
        let frame = it.frame(Route::Neighbours, Protection::Clear, DATAGRAM);
        it.receive(it.header(None), &[Frame { source: Some(Address::Whole(Sid::new([0; 32]))), ..frame }]);
    });
    assert_eq!(from_nobody, stats(|stats| stats.unauthentic = 2));
    let unasked = counted(|it, round| {
        let mut key = vec![2; 1 + 32 + 64];
        key[1] = round;
        let sealed = it.seal(Port::KEY_MAPPING, Port::KEY_MAPPING, &key);
        let route = Route::Neighbour { destination: Address::Whole(it.node.sid()) };
        let frame = it.frame(route, Protection::Encrypted, &[]);
        it.receive(it.header(None), &[Frame { payload: &sealed, ..frame }]);
    });
    assert_eq!(unasked, stats(|stats| stats.datagrams_received = 2), "it is not even looked at");
    let bad_record = counted(|it, _| receive_payload(it, b"\x05\xff"));
    assert_eq!(bad_record, stats(|stats| stats.malformed = 2));
}

#[test]
fn questions_to_strangers_that_nobody_sends_are_dropped_beyond_32() {
    let mut scripted = Scripted::new();
    let mut packet = Vec::new();
    Header { sender: Address::Prefix(&[7, 7]), ..scripted.header(None) }.emit(&mut packet);
    for host in 1..=20 {
        scripted.node.handle_packet(scripted.now, INTERFACE, address(host), &packet); // draws two
    }
    let before = scripted.sent.len();
    scripted.drain();
    assert_eq!(scripted.sent.len() - before, 32);
}

#[test]
fn datagrams_that_find_the_queue_full_are_counted_and_may_come_again() {
    let mut scripted = Scripted::up();
    let frame = scripted.frame(Route::Neighbours, Protection::Clear, DATAGRAM);
    for number in (2..=255).chain([0, 1]) {
        scripted.receive(scripted.header(None), &[Frame { sequence: Some(number), ..frame }]);
    }
    assert_eq!(scripted.node.stats().datagrams_dropped, 0);
    scripted.receive(scripted.header(None), &[frame]);
    assert_eq!(scripted.node.stats().datagrams_dropped, 1);
    scripted.node.poll_datagram().unwrap();
    scripted.receive(scripted.header(None), &[frame]);
    let stats = scripted.node.stats();
    assert_eq!((stats.datagrams_dropped, stats.duplicate_frames), (1, 0));
}

#[test]
fn link_state_that_was_passed_on_is_nobodys() {
    let mut scripted = Scripted::up();
    let [other, far] = [8, 9].map(|number| Identity::from_seed([number; 32]).sid());
    let mut payload = vec![0x05];
    linkstate::Repr {
        drop_rate: Some(0),
        ..linkstate::Repr::new(Address::Whole(far), Some(Address::Sender))
    }
    .emit(&mut payload);
    let before = *scripted.node.stats();
    let frame = scripted.frame(Route::Neighbours, Protection::Clear, &[]);
    let frame = Frame { source: Some(Address::Whole(other)), payload: &payload, ..frame };
    scripted.receive(scripted.header(None), &[frame]);
    assert!(scripted.node.poll_datagram().is_none() && !scripted.node.is_reachable(&far));
    assert_eq!(scripted.node.stats().datagrams_received, before.datagrams_received);
}

/// A neighbour that was only named may be made up, one that proved its key may come back with its SID
/// abbreviated.
#[test]
fn of_the_silent_those_that_proved_their_key_are_remembered() {
    for known in [true, false] {
        let mut scripted = Scripted::up();
        if known {
            let sealed = scripted.seal(Port::from(300), Port::from(300), b"x");
            let route = Route::Neighbour { destination: Address::Whole(scripted.node.sid()) };
            let frame = scripted.frame(route, Protection::Encrypted, &[]);
            scripted.receive(scripted.header(None), &[Frame { payload: &sealed, ..frame }]);
        }
        scripted.run(ms(3000));
        assert!(!scripted.node.is_reachable(&scripted.daemon.sid()));
        let before = scripted.node.stats().unresolved;
        let daemon = scripted.daemon.sid();
        receive_from(&mut scripted, Address::Prefix(&daemon.as_bytes()[..6]));
        assert_eq!(scripted.node.stats().unresolved - before, u64::from(!known));
    }
}

#[test]
fn no_frame_is_as_long_as_a_daemon_refuses_however_large_packets_may_be() {
    let (now, port) = (Instant::ZERO, Port::from(512));
    let mut config = NodeConfig::default();
    config.mtu = 1472;
    let mut node = Node::new(config, Identity::from_seed([1; 32]), [3; 32], now);
    let to = Addr::new(Identity::from_seed([2; 32]).sid(), port);
    for (protection, overhead) in
        [(Protection::Clear, 0), (Protection::Signed, 64), (Protection::Encrypted, 40)]
    {
        let Err(SendDatagramError::TooLarge { max }) = node.send(now, port, to, protection, &[0; 1400])
        else {
            panic!("too large")
        };
        let payload = &vec![0; max];
        let frame = overhead + mdp::Repr { destination: port, source: port, payload }.buffer_len();
        assert_eq!(frame, FORBIDDEN_PAYLOAD_LEN - 1);
    }
}

#[test]
fn packets_sent_are_counted() {
    let mut scripted = Scripted::up();
    let before = scripted.node.stats().packets_sent;
    scripted.run(ms(2000));
    assert!(scripted.sent.len() > 2);
    assert_eq!(scripted.node.stats().packets_sent - before, scripted.sent.len() as u64);
}

#[test]
fn datagrams_without_a_way_are_counted_when_they_are_given_up() {
    let mut scripted = Scripted::new();
    let nowhere = Identity::from_seed([9; 32]).sid();
    (0..3).for_each(|_| scripted.send(nowhere, b"x").unwrap());
    scripted.run(NodeConfig::default().frame_lifetime);
    assert_eq!(scripted.node.stats().datagrams_expired, 3);
}

#[test]
fn a_payload_is_as_long_as_a_packet_with_the_longest_headers_allows() {
    let (now, port) = (Instant::ZERO, Port::from(512));
    for mtu in [512, 1200] {
        let mut config = NodeConfig::default();
        config.mtu = mtu;
        let mut node = Node::new(config, Identity::from_seed([1; 32]), [3; 32], now);
        let to = Addr::new(Identity::from_seed([2; 32]).sid(), port);
        let Err(SendDatagramError::TooLarge { max }) =
            node.send(now, port, to, Protection::Clear, &[0; 1400])
        else {
            panic!("too large")
        };
        let payload = &vec![0; max];
        let frame = mdp::Repr { destination: port, source: port, payload }.buffer_len();
        assert_eq!(frame, mtu - 38 - 71);
    }
}

#[test]
fn interfaces_are_numbered_in_order_and_the_last_stays_the_last() {
    let mut node = Node::new(NodeConfig::default(), Identity::from_seed([1; 32]), [3; 32], Instant::ZERO);
    let numbers: Vec<u8> =
        (0..18).map(|_| node.add_interface(msp_core::InterfaceConfig::unicast()).0).collect();
    assert_eq!(numbers, (0..16).chain([15, 15]).collect::<Vec<u8>>());
}

#[test]
fn a_neighbour_that_comes_up_is_an_event() {
    let mut scripted = Scripted::new();
    scripted.receive(scripted.header(None), &[]);
    scripted.confirm(None);
    let event = scripted.node.poll_event();
    assert!(matches!(event, Some(msp_core::NodeEvent::NeighbourUp { .. })), "{event:?}");
}

/// Others' links to this node are their business, and no way from here to here.
#[test]
fn links_that_lead_here_are_no_routes() {
    let mut scripted = Scripted::up();
    let (me, far) = (scripted.node.sid(), Identity::from_seed([9; 32]).sid());
    let link = |receiver, transmitter| linkstate::Repr {
        interface: Some(0),
        unicast: true,
        ..linkstate::Repr::new(Address::Whole(receiver), Some(Address::Whole(transmitter)))
    };
    scripted.link_state(&[link(me, far), link(scripted.daemon.sid(), far)]);
    assert!(!scripted.node.is_reachable(&me));
    scripted.link_state(&[link(far, scripted.daemon.sid())]);
    assert!(scripted.node.is_reachable(&far), "but to what the daemon hears");
}

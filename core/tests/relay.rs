//! What a node passes on for its neighbours, frame by frame (`spec/50` section 8).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hostile;

use hostile::{
    INTERFACE, address, check_sent, frame, header, hears, link_state, ms, node, packet, pass, plaintext,
    unnumbered,
};
use msp_core::wire::address::Address;
use msp_core::wire::linkstate::{Ack, Repr};
use msp_core::wire::mdp;
use msp_core::wire::overlay::{Frame, Header, Hops, PLEASE_EXPLAIN, Packet, Route};
use msp_core::{Destination, Instant, InterfaceConfig, InterfaceId, Node, NodeConfig, Port, Sid, Transmit};

const A: Sid = Sid::new([0xa; 32]);
const C: Sid = Sid::new([0xc; 32]);

/// A node whose neighbours are A and C, and which has nothing left to say.
struct Relay {
    node: Node,
    now: Instant,
}

impl Relay {
    fn new(config: NodeConfig) -> Self {
        let mut relay = Self { node: node(config, false), now: Instant::from_millis(1000) };
        for _ in 0..4 {
            let me = relay.node.sid();
            [A, C]
                .iter()
                .for_each(|who| relay.receive(*who, &[Route::Neighbours], &link_state(&[hears(me)])));
            relay.pass();
        }
        assert!(relay.node.is_reachable(&A) && relay.node.is_reachable(&C));
        relay
    }

    fn pass(&mut self) {
        pass(&mut self.node, &mut self.now, ms(200));
    }

    /// The frames of others that it sends now: where they go, and what tells floods apart.
    fn passes_on(&mut self) -> Vec<(Transmit, Option<[u8; 8]>)> {
        let (mut passed_on, mut packet) = (Vec::new(), Vec::new());
        while let Some(to) = self.node.poll_transmit(self.now, &mut packet) {
            check_sent(&packet);
            for frame in Packet::parse(&packet).unwrap().frames().map(Result::unwrap) {
                if frame.source.is_some() {
                    let id = if let Route::Flood { id, .. } = frame.route { Some(id) } else { None };
                    passed_on.push((to, id));
                }
            }
        }
        passed_on
    }

    /// `who` sends a frame on each of these routes.
    fn receive(&mut self, who: Sid, routes: &[Route<'_>], payload: &[u8]) {
        self.receive_frames(who, &routes.iter().map(|route| frame(*route, payload)).collect::<Vec<_>>());
    }

    fn receive_frames(&mut self, who: Sid, frames: &[Frame<'_>]) {
        let packet = unnumbered(who, frames);
        self.node.handle_packet(self.now, INTERFACE, address(who.as_bytes()[0]), &packet);
    }
}

fn datagram() -> Vec<u8> {
    plaintext(Port::MAX, Port::MAX, b"x")
}

fn to_c() -> Transmit {
    Transmit::new(INTERFACE, Destination::Unicast(address(0xc)))
}

/// A relay with room for two frames to each neighbour, and the way over it to C.
fn with_two_places() -> (Relay, Route<'static>) {
    let mut config = NodeConfig::default();
    config.send_queue = 2;
    let relay = Relay::new(config);
    let next_hop = Address::Whole(relay.node.sid());
    (relay, Route::Via { destination: Address::Whole(C), next_hop, hops: Hops::DEFAULT })
}

#[test]
fn no_more_waits_for_a_neighbour_than_may() {
    let (mut relay, route) = with_two_places();
    relay.receive(A, &[route; 5], &datagram());
    assert_eq!((relay.node.stats().frames_relayed, relay.node.stats().frames_refused), (2, 3));
    assert_eq!(relay.passes_on(), [(to_c(), None); 2]);
    let floods = [1, 2, 3, 4].map(|number| Route::Flood { id: [number; 8], hops: Hops::DEFAULT });
    relay.receive(A, &floods, &datagram());
    assert_eq!(relay.passes_on().len(), 2);
}

/// Were the packet not acknowledged, its sender would count what was taken as lost, too, and after some time send it
/// under a number by which nobody knows it.
#[test]
fn what_is_taken_of_a_packet_is_acknowledged_though_there_is_no_room_for_the_rest() {
    let (mut relay, route) = with_two_places();
    let datagram = datagram();
    let asking = Frame { ack_soon: true, ..frame(route, &datagram) };
    for (sequence, frames) in [(1, 3), (2, 2)] {
        let packet =
            packet(Header { sequence: Some(sequence), ..header(A) }, 10 * sequence, &[asking; 3][..frames]);
        relay.node.handle_packet(relay.now, INTERFACE, address(0xa), &packet);
    }
    assert_eq!((relay.node.stats().frames_relayed, relay.node.stats().frames_refused), (2, 3));
    relay.now += ms(5);
    let (mut acks, mut packet) = (Vec::new(), Vec::new());
    while relay.node.poll_transmit(relay.now, &mut packet).is_some() {
        for frame in Packet::parse(&packet).unwrap().frames().map(Result::unwrap) {
            let message = mdp::Repr::parse(frame.payload).unwrap();
            if message.destination == Port::LINK_STATE {
                acks.extend(Repr::parse_all(message.payload).filter_map(|record| record.unwrap().ack));
            }
        }
    }
    assert_eq!(acks, [Ack { sequence: 1, mask: 0 }], "what is refused as a whole comes again");
}

#[test]
fn floods_are_passed_on_by_those_who_relay_and_for_those_who_need_it() {
    let flood = |number| Route::Flood { id: [number; 8], hops: Hops::DEFAULT };
    let to_c = |number| (to_c(), Some([number; 8]));
    let mut relay = Relay::new(NodeConfig::default());
    relay.receive(A, &[flood(1), flood(2), flood(1)], &datagram());
    assert_eq!(relay.passes_on(), [to_c(1), to_c(2)]);
    // It reaches the relay directly, and nobody through it, so that all others hear it, too.
    let me = relay.node.sid();
    let uses = Repr { drop_rate: Some(0), ..Repr::new(Address::Whole(me), Some(Address::Sender)) };
    relay.receive(A, &[Route::Neighbours], &link_state(&[hears(me), uses]));
    relay.pass();
    relay.receive(A, &[flood(3)], &datagram());
    assert_eq!(relay.passes_on(), []);
    let mut config = NodeConfig::default();
    config.relay = false;
    let mut relay = Relay::new(config);
    relay.receive(A, &[flood(4)], &datagram());
    assert_eq!((relay.passes_on(), relay.node.stats().frames_relayed), (vec![], 0));
}

/// Four neighbours on each of two interfaces, in turn in the order of their addresses.
#[test]
fn a_crowd_on_each_of_two_interfaces_hears_a_flood_once() {
    let mut relay = Relay { node: node(NodeConfig::default(), true), now: Instant::from_millis(1000) };
    relay.node.add_interface(InterfaceConfig::broadcast());
    let me = relay.node.sid();
    let tell = |relay: &mut Relay, who: u8, frame: Frame<'_>| {
        let header = Header { unicast: false, sequenced_frames: false, ..header(Sid::new([who; 32])) };
        let interface = InterfaceId(who % 2);
        let packet = packet(header, 0, &[frame]);
        relay.node.handle_packet(relay.now, interface, address(who), &packet);
    };
    for _ in 0..4 {
        for who in 1..9 {
            let hears = Repr { interface: Some(who % 2), unicast: false, broadcast: true, ..hears(me) };
            tell(&mut relay, who, frame(Route::Neighbours, &link_state(&[hears])));
        }
        relay.pass();
    }
    relay.passes_on();
    tell(&mut relay, 1, frame(Route::Flood { id: [1; 8], hops: Hops::DEFAULT }, &datagram()));
    let once = |interface| (Transmit::new(InterfaceId(interface), Destination::Broadcast), Some([1; 8]));
    assert_eq!(relay.passes_on(), [once(0), once(1)]);
}

#[test]
fn what_makes_no_sense_or_aborts_a_daemon_is_not_passed_on() {
    let mut relay = Relay::new(NodeConfig::default());
    let me = relay.node.sid();
    let route =
        Route::Via { destination: Address::Whole(C), next_hop: Address::Whole(me), hops: Hops::DEFAULT };
    // By length, see `spec/30` section 9 and `spec/80` section 4.
    for (length, forbidden, relayed) in [(1200, 1, 0), (0, 2, 0), (1199, 2, 1)] {
        relay.receive(A, &[route], &vec![7; length]);
        let stats = relay.node.stats();
        assert_eq!((stats.forbidden, stats.frames_relayed), (forbidden, relayed), "{length} bytes");
    }
    let datagram = datagram();
    let nobody = Some(Address::Whole(Sid::new([0; 32])));
    let (good, other) = (frame(route, &datagram), Some(PLEASE_EXPLAIN));
    for frame in [Frame { source: nobody, ..good }, Frame { legacy_type: other, ..good }] {
        relay.receive_frames(A, &[frame]);
        assert_eq!(relay.node.stats().frames_relayed, 1, "{frame:?}");
    }
}

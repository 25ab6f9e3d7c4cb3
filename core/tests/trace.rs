//! Ways through meshes, traced in virtual time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::net::SocketAddr;
use core::time::Duration;
use msp_core::mdp::{Trace, TracePath};
use msp_core::testing::{Link, Network, Receiver, Station, seed};
use msp_core::wire::trace::Repr;
use msp_core::{
    Addr, Destination, Identity, Instant, InterfaceConfig, InterfaceId, Node, NodeConfig, Port, Protection,
    Sid, Uplink,
};

const INTERFACE: InterfaceId = InterfaceId(0);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A node that may trace the way to another.
struct Tracer {
    uplink: Uplink,
    trace: Option<Trace>,
    result: Option<TracePath>,
    /// When that came.
    ended: Instant,
}

fn address(index: usize) -> SocketAddr {
    ([10, 0, 0, index as u8 + 1], 4110).into()
}

fn sid(index: usize) -> Sid {
    Identity::from_seed([index as u8 + 1; 32]).sid()
}

impl Tracer {
    fn node(&mut self) -> &mut Node {
        self.uplink.node().unwrap()
    }
}

impl Station for Tracer {
    fn handle_packet(&mut self, now: Instant, from: usize, packet: &[u8]) {
        self.uplink.handle_packet(now, INTERFACE, address(from), packet);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.uplink.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.uplink.poll_timeout()
    }

    fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Receiver> {
        Some(match self.uplink.poll_transmit(now, buffer)?.to {
            Destination::Unicast(SocketAddr::V4(to)) => {
                Receiver::Station(usize::from(to.ip().octets()[3]) - 1)
            }
            _ => Receiver::Everyone,
        })
    }

    fn poll_report(&mut self) -> bool {
        // Without a trace, what comes in is of no use.
        self.trace.is_none() && (self.uplink.poll_datagram().is_some() | self.uplink.poll_event().is_some())
    }

    fn act(&mut self, now: Instant) -> bool {
        let Some(trace) = &mut self.trace else { return false };
        let before = trace.poll_timeout();
        if let Some(path) = trace.update(now, &mut self.uplink) {
            (self.result, self.trace) = (Some(path), None);
            self.ended = now;
            return true;
        }
        assert!(trace.poll_timeout() > now, "it spins");
        trace.poll_timeout() != before
    }

    fn act_at(&self) -> Option<Instant> {
        self.trace.as_ref().map(Trace::poll_timeout)
    }
}

/// `count` nodes of which each hears those that `links` joins it with, after they have found each other.
fn mesh(count: usize, links: &[(usize, usize)], shape: impl Fn(Link) -> Link) -> Network<Tracer> {
    let number = seed(1);
    let mut mesh = Network::new(number);
    for index in 0..count {
        let mut entropy = [index as u8; 32];
        entropy[..8].copy_from_slice(&number.to_le_bytes());
        let identity = Identity::from_seed([index as u8 + 1; 32]);
        let mut node = Node::new(NodeConfig::default(), identity, entropy, mesh.now);
        node.add_interface(InterfaceConfig::broadcast());
        mesh.place(Tracer { uplink: node.into(), trace: None, result: None, ended: mesh.now });
    }
    for &(a, b) in links {
        mesh.join(a, b, &shape);
    }
    mesh
}

fn good(link: Link) -> Link {
    link.delay(ms(2))
}

fn trace(mesh: &mut Network<Tracer>, from: usize, target: Sid) -> TracePath {
    mesh.stations[from].trace = Some(Trace::new(target, [9; 32], mesh.now));
    mesh.run(ms(11_000));
    mesh.stations[from].result.take().unwrap()
}

#[test]
fn the_way_to_a_neighbour_is_one_hop() {
    let mut mesh = mesh(2, &[(0, 1)], good);
    mesh.run(ms(1000));
    let path = trace(&mut mesh, 0, sid(1));
    assert_eq!((path.there, path.back, path.reached), (vec![sid(1)], vec![], true));
    let round_trip = path.round_trip.unwrap();
    assert!((ms(4)..ms(30)).contains(&round_trip), "{round_trip:?}");
}

#[test]
fn relays_are_listed_in_order_and_again_on_the_way_back() {
    let mut mesh = mesh(3, &[(0, 1), (1, 2)], good);
    mesh.run(ms(12_000));
    let path = trace(&mut mesh, 0, sid(2));
    assert_eq!((path.there, path.back, path.reached), (vec![sid(1), sid(2)], vec![sid(1)], true));
}

#[test]
fn a_way_that_is_found_later_is_traced_then() {
    let mut mesh = mesh(2, &[], good);
    mesh.stations[0].trace = Some(Trace::new(sid(1), [9; 32], mesh.now));
    mesh.run(ms(2000));
    mesh.join(0, 1, good);
    mesh.run(ms(2000));
    assert!(mesh.stations[0].result.take().unwrap().reached);
}

#[test]
fn losses_are_repaired() {
    for _ in 0..5 {
        let mut mesh = mesh(2, &[(0, 1)], |link| good(link).loss(30));
        mesh.run(ms(3000));
        assert!(trace(&mut mesh, 0, sid(1)).reached);
    }
}

#[test]
fn where_no_way_leads_on_the_trace_ends_in_time() {
    let mut mesh = mesh(3, &[(0, 1)], good);
    mesh.run(ms(1000));
    let began = mesh.now;
    let path = trace(&mut mesh, 0, sid(2));
    assert!(!path.reached && path.there.len() <= 1 && path.back.is_empty(), "{path:?}");
    assert!(mesh.stations[0].ended >= began + ms(10_000));
    // One with itself as the target is there at once.
    let path = trace(&mut mesh, 0, sid(0));
    assert_eq!((path.there, path.back, path.reached), (vec![], vec![], true));
}

/// What one node is told by another reaches no program but at the origin, in the name of who has told it.
#[test]
fn lists_that_were_made_up_are_the_word_of_who_sends_them() {
    let mut mesh = mesh(2, &[(0, 1)], good);
    mesh.run(ms(1000));
    let port = Port::from(777);
    let mut payload = Vec::new();
    Repr { origin: sid(0), target: sid(5), passed: vec![sid(0), sid(4)] }.emit(&mut payload);
    let now = mesh.now;
    let to = Addr::new(sid(0), Port::TRACE);
    let send = |mesh: &mut Network<Tracer>, from: Port, protection, payload: &[u8]| {
        mesh.stations[1].node().send(now, from, to, protection, payload).unwrap();
    };
    send(&mut mesh, port, Protection::Encrypted, &payload);
    // It would have the node talk to itself.
    send(&mut mesh, Port::TRACE, Protection::Encrypted, &payload);
    send(&mut mesh, port, Protection::Clear, &payload);
    send(&mut mesh, port, Protection::Encrypted, &payload[1..]);
    let malformed = mesh.stations[0].node().stats().malformed;
    let mut buffer = Vec::new();
    while mesh.stations[1].uplink.poll_transmit(now, &mut buffer).is_some() {
        mesh.stations[0].uplink.handle_packet(now, INTERFACE, address(1), &buffer);
    }
    let node = mesh.stations[0].node();
    let datagram = node.poll_datagram().unwrap();
    assert_eq!((datagram.from, datagram.to), (Addr::new(sid(1), Port::TRACE), port));
    assert_eq!(node.poll_datagram(), None);
    assert_eq!(node.stats().malformed, malformed + 1);
}

/// A node passes on no more than its answers allow, and nothing that has gone too far.
#[test]
fn traces_are_bounded() {
    let mut mesh = mesh(2, &[(0, 1)], good);
    mesh.run(ms(1000));
    let now = mesh.now;
    let to = Addr::new(sid(1), Port::TRACE);
    let mut long = Vec::new();
    Repr { origin: sid(0), target: sid(7), passed: vec![sid(0); Repr::MAX_PASSED] }.emit(&mut long);
    let mut short = Vec::new();
    Repr { origin: sid(0), target: sid(7), passed: vec![sid(0)] }.emit(&mut short);
    let mut buffer = Vec::new();
    let mut answered = |payload: &[u8], count: usize| {
        let before = mesh.stations[1].node().stats().datagrams_sent;
        for _ in 0..count {
            mesh.stations[0].node().send(now, 777.into(), to, Protection::Encrypted, payload).unwrap();
            while mesh.stations[0].uplink.poll_transmit(now, &mut buffer).is_some() {
                mesh.stations[1].uplink.handle_packet(now, INTERFACE, address(0), &buffer);
            }
            while mesh.stations[1].uplink.poll_transmit(now, &mut buffer).is_some() {
                mesh.stations[0].uplink.handle_packet(now, INTERFACE, address(1), &buffer);
            }
            while mesh.stations[0].uplink.poll_datagram().is_some() {}
        }
        mesh.stations[1].node().stats().datagrams_sent - before
    };
    assert_eq!(answered(&long, 3), 0);
    let allowed = u64::from(NodeConfig::default().answer_rate);
    let count = answered(&short, 1000);
    assert!((1..=2 * allowed).contains(&count), "{count} of {allowed} a second");
}

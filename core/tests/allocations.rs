//! In steady state the endpoint allocates nothing per packet: a received message is a slice of the datagram
//! that the caller has allocated.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use core::time::Duration;
use msp_core::msp::{Config, Endpoint, Event, StreamId};
use msp_core::{
    Addr, Datagram, Identity, Instant, InterfaceConfig, InterfaceId, Node, NodeConfig, Port, Protection, Sid,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;

thread_local!(static ALLOCATIONS: Cell<usize> = const { Cell::new(0) });

struct Counting;

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const A: Sid = Sid::new([0xa; 32]);
const B: Sid = Sid::new([0xb; 32]);

/// Moves all packets of `from` to `to`. Returns how many there were and what the endpoints allocated.
fn carry(now: Instant, from: &mut Endpoint, to: &mut Endpoint, buffer: &mut Vec<u8>) -> (usize, usize) {
    let (mut packets, mut allocations) = (0, 0);
    loop {
        let before = ALLOCATIONS.get();
        let Some(outgoing) = from.poll_transmit(now, buffer) else { break };
        allocations += ALLOCATIONS.get() - before;
        // What the node below allocates; twice, as duplicates allocate nothing either.
        let copies = [Bytes::copy_from_slice(buffer), Bytes::copy_from_slice(buffer)];
        let sender = if outgoing.to.sid == B { A } else { B };
        let source = Addr::new(sender, outgoing.from);
        let before = ALLOCATIONS.get();
        for payload in copies {
            let datagram = Datagram::new(source, outgoing.to.port, Protection::Encrypted, payload);
            let _ = to.handle_datagram(now, datagram);
        }
        allocations += ALLOCATIONS.get() - before;
        packets += 1;
    }
    (packets, allocations)
}

#[test]
fn steady_state_allocates_nothing_per_packet() {
    let (mut a, mut b) =
        (Endpoint::new(Config::default(), [1; 32]), Endpoint::new(Config::default(), [2; 32]));
    b.listen(600.into()).unwrap();
    let (mut now, mut buffer) = (Instant::ZERO, Vec::new());
    let stream = a.connect(now, Addr::new(B, 600.into())).unwrap();
    let message = Bytes::from_static(&[7; 1024]);
    let mut accepted: Option<StreamId> = None;
    let (mut packets, mut allocations) = (0, 0);
    for round in 0..2000 {
        let before = ALLOCATIONS.get();
        while a.stream(stream).unwrap().send(now, message.clone()).is_ok() {}
        while let Some(id) = accepted
            && b.stream(id).unwrap().recv(now).is_some()
        {}
        let mut count = ALLOCATIONS.get() - before;
        let mut moved = 0;
        for forth in [true, false] {
            let (from, to) = if forth { (&mut a, &mut b) } else { (&mut b, &mut a) };
            let (packets, allocations) = carry(now, from, to, &mut buffer);
            moved += packets;
            count += allocations;
        }
        let before = ALLOCATIONS.get();
        for end in [&mut a, &mut b] {
            end.handle_timeout(now);
            while let Some(event) = end.poll_event() {
                if let Event::Accepted { stream, .. } = event {
                    accepted = Some(stream);
                }
            }
        }
        count += ALLOCATIONS.get() - before;
        // Windows and queues have grown to their size by then.
        if round >= 1000 {
            packets += moved;
            allocations += count;
        }
        now += Duration::from_millis(5);
    }
    assert!(packets > 4_000, "{packets}");
    assert!(allocations < packets / 1000, "{allocations} allocations for {packets} packets");
}

/// All packets of `from` that are due go to `to`. Gives how many there were, and what making them has allocated.
fn pass(now: Instant, from: &mut Node, to: &mut Node, buffer: &mut Vec<u8>) -> (usize, usize) {
    let (mut packets, before, mut others) = (0, ALLOCATIONS.get(), 0);
    from.handle_timeout(now);
    while from.poll_transmit(now, buffer).is_some() {
        let before = ALLOCATIONS.get();
        to.handle_packet(now, InterfaceId(0), address(from), buffer);
        while to.poll_datagram().is_some() {}
        others += ALLOCATIONS.get() - before;
        packets += 1;
    }
    (packets, ALLOCATIONS.get() - before - others)
}

fn address(node: &Node) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1000 + u16::from(node.sid().as_bytes()[0])))
}

#[test]
fn a_node_acknowledges_what_came_over_a_hop_without_allocating() {
    let mut now = Instant::from_millis(1000);
    let [mut a, mut b] = [1, 2].map(|seed| {
        let mut node = Node::new(NodeConfig::default(), Identity::from_seed([seed; 32]), [seed; 32], now);
        node.add_interface(InterfaceConfig::unicast());
        node
    });
    a.add_peer(InterfaceId(0), address(&b));
    let (mut buffer, port) = (Vec::new(), Port::from(600));
    let (mut packets, mut allocations) = (0, 0);
    for round in 0..2000 {
        // One every 10 ms, each of which asks for an acknowledgment soon.
        if round % 10 == 0 {
            let _ = a.send(now, port, Addr::new(b.sid(), port), Protection::Encrypted, b"one");
        }
        pass(now, &mut a, &mut b, &mut buffer);
        let sent = pass(now, &mut b, &mut a, &mut buffer);
        // By then each knows the other.
        if round >= 1000 {
            (packets, allocations) = (packets + sent.0, allocations + sent.1);
        }
        now += Duration::from_millis(1);
    }
    assert!(packets >= 100, "{packets}");
    assert_eq!(allocations, 0, "for {packets} packets");
}

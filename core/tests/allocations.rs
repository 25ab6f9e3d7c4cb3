//! In steady state the endpoint allocates nothing per packet: a received message is a slice of the datagram
//! that the caller has allocated.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use core::time::Duration;
use msp_core::msp::{Config, Endpoint, Event, StreamId};
use msp_core::{Addr, Datagram, Instant, Protection, Sid};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

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

//! In steady state a packet costs one allocation at either end: the sealed datagram, which may have to be sent again, and
//! the payload that is handed to the stream. System calls, batches and buffers add none.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use msp_core::msp::{Event, StreamId};
use msp_core::{Addr, Bytes, Host, Identity};
use msp_sockets::{Config, Socket, bind};
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

const PORT: u16 = 1000;
/// Messages before windows and queues have grown to their size, and those that count.
const WARM_UP: usize = 20_000;
const COUNTED: usize = 20_000;
/// Far more turns than it takes.
const TURNS: usize = 10_000_000;

/// What a runtime does in a turn but for waiting. Returns the packets that came in and went out.
fn turn(host: &mut Host, socket: &mut Socket) -> usize {
    let now = socket.now();
    let mut packets = 0;
    socket.ready(true, true);
    socket.receive(&mut |incoming| {
        packets += 1;
        host.handle_incoming(now, incoming);
    });
    host.handle_timeout(now);
    socket.transmit(now, &mut |buffer| host.poll_transmit(now, buffer).inspect(|_| packets += 1));
    while host.poll_uplink_event().is_some() {}
    packets
}

#[test]
fn a_packet_costs_an_allocation_at_either_end() {
    let mut config = Config::default();
    (config.udp, config.broadcast) = ("127.0.0.1:0".parse().unwrap(), false);
    let (mut server, mut server_socket) = bind(Identity::from_seed([1; 32]), &config).unwrap();
    config.peers.push(server_socket.local_addr().unwrap());
    let (mut client, mut client_socket) = bind(Identity::from_seed([2; 32]), &config).unwrap();
    server.endpoint().listen(PORT.into()).unwrap();
    let remote = Addr::new(server.sid().unwrap(), PORT.into());
    let stream = client.endpoint().connect(client_socket.now(), remote).unwrap();

    let message = Bytes::from_static(&[7; 1024]);
    let mut accepted: Option<StreamId> = None;
    let (mut messages, mut packets, mut before) = (0, 0, 0);
    for _ in 0..TURNS {
        let now = client_socket.now();
        while client.endpoint().stream(stream).unwrap().send(now, message.clone()).is_ok() {}
        packets += turn(&mut client, &mut client_socket);
        packets += turn(&mut server, &mut server_socket);
        while client.poll_event().is_some() {}
        while let Some(event) = server.poll_event() {
            if let Event::Accepted { stream, .. } = event {
                accepted = Some(stream);
            }
        }
        let now = server_socket.now();
        while let Some(id) = accepted
            && server.endpoint().stream(id).unwrap().recv(now).is_some()
        {
            messages += 1;
        }
        if before == 0 && messages >= WARM_UP {
            (packets, before) = (0, ALLOCATIONS.get());
        }
        if messages >= WARM_UP + COUNTED {
            break;
        }
    }
    let allocations = ALLOCATIONS.get() - before;
    assert!(packets >= COUNTED, "{messages} messages, {packets} packets");
    assert!(allocations * 100 <= packets * 101, "{allocations} allocations for {packets} packets");
}

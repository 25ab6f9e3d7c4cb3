//! What a node holds, whatever strangers send, is bounded by its configuration as `NodeConfig` says.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hostile;

use core::net::SocketAddr;
use hostile::{
    INTERFACE, PORT, address, frame, hears, identity, link_state, ms, plaintext, rng, strange, unnumbered,
};
use msp_core::testing::seed;
use msp_core::wire::address::Address;
use msp_core::wire::linkstate::Repr;
use msp_core::wire::overlay::{Hops, Route};
use msp_core::{Addr, Identity, Instant, Node, NodeConfig, Port, Protection, Sid};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.set(HELD.get() + layout.size() as isize);
        PEAK.set(PEAK.get().max(HELD.get()));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.set(HELD.get() - layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that was held at any time while `action` ran, above what is held now.
fn peak(action: impl FnOnce()) -> usize {
    let before = HELD.get();
    PEAK.set(before);
    action();
    (PEAK.get() - before) as usize
}

/// The bound in the documentation of `NodeConfig` on what strangers fill.
fn documented(config: &NodeConfig) -> usize {
    config.max_neighbours * 2_000
        + config.max_subscribers * 500
        + config.max_neighbours * (config.max_subscribers + config.max_neighbours) * 24
        + config.receive_queue * 1_700
        + config.answer_rate as usize * 8 * (config.mtu + 300)
        + config.relay_queue * (config.mtu + 400)
        + 120_000
}

/// Its packets are taken, its datagrams and events are not.
fn drain(node: &mut Node, now: Instant, buffer: &mut Vec<u8>) {
    while node.poll_transmit(now, buffer).is_some() {}
}

/// Strangers' packets of every kind, and the largest that make a node keep something.
fn flood(node: &mut Node, now: &mut Instant, packets: &[Vec<u8>], buffer: &mut Vec<u8>) {
    for (number, packet) in packets.iter().enumerate() {
        let [_, a, b, c] = (number as u32).to_be_bytes();
        let from =
            if number % 4 == 0 { address(b % 64 + 2) } else { SocketAddr::from(([10, 9 + a, b, c], 4110)) };
        node.handle_packet(*now, INTERFACE, from, packet);
        if number % 100 == 99 {
            drain(node, *now, buffer);
            *now += ms(1);
            node.handle_timeout(*now);
        }
    }
}

fn packets(me: Sid, count: u32) -> Vec<Vec<u8>> {
    let mut random = rng(seed(60));
    let to_me = Route::Neighbour { destination: Address::Whole(me) };
    let echo = plaintext(Port::ECHO, PORT, &[7; 1000]);
    let large = plaintext(PORT, PORT, &[7; 1380]);
    let middle = plaintext(PORT, PORT, &[7; 1000]);
    (0..count)
        .map(|number| match number % 4 {
            // From those that stay, of which each tells of others.
            0 if number % 8 == 0 => {
                let named: Vec<Sid> = (0..20).map(|_| Sid::new(random.bytes())).collect();
                let way = |sid: &Sid| Repr::new(Address::Whole(*sid), Some(Address::Sender));
                let records: Vec<_> = named.iter().map(way).chain([hears(me)]).collect();
                unnumbered(
                    identity((number / 4 % 64) as u8 + 1).sid(),
                    &[frame(Route::Neighbours, &link_state(&records))],
                )
            }
            // Or sends to another of them.
            0 if number % 16 == 4 => {
                let destination = Address::Whole(identity((number / 16 % 64) as u8 + 1).sid());
                let through_me =
                    Route::Via { destination, next_hop: Address::Whole(me), hops: Hops::DEFAULT };
                unnumbered(identity((number / 4 % 64) as u8 + 1).sid(), &[frame(through_me, &middle)])
            }
            0 => unnumbered(identity((number / 4 % 64) as u8 + 1).sid(), &[frame(to_me, &echo)]),
            1 => unnumbered(Sid::new(random.bytes()), &[frame(to_me, &large)]),
            _ => strange(&mut random, number / 4 + number, me),
        })
        .collect()
}

#[test]
fn memory_is_flat_and_below_the_documented_bound_in_any_flood() {
    let default = NodeConfig::default();
    let mut small = NodeConfig::default();
    small.max_neighbours = 8;
    small.max_subscribers = 16;
    small.receive_queue = 8;
    small.answer_rate = 8;
    small.relay_queue = 16;
    for (config, count) in [(small, 4_000), (default, 25_000)] {
        let bound = documented(&config);
        let me = identity(0).sid();
        let packets = packets(me, count);
        let (mut now, mut buffer) = (Instant::from_millis(1000), Vec::with_capacity(1500));
        let mut node = None;
        let first = peak(|| {
            let mut new = hostile::node(config.clone(), true);
            flood(&mut new, &mut now, &packets, &mut buffer);
            node = Some(new);
        });
        let mut node = node.unwrap();
        let held = HELD.get();
        // With the default, 100,000 in all.
        let more = peak(|| (0..3).for_each(|_| flood(&mut node, &mut now, &packets, &mut buffer)));
        drop(node);
        let total = (held - HELD.get()) as usize + more;
        println!("at first {first}, then {more} more, in all {total}; bound {bound}");
        assert!(first <= bound && total <= bound);
        assert!(total <= first + first / 20, "it grows: {first} {total}");
        assert!(bound <= 10 * first, "the bound says nothing");
    }
}

/// What the program itself sends waits, or is on its way.
#[test]
fn what_the_program_sends_takes_a_queue_and_512_frames_for_each_neighbour() {
    let mut config = NodeConfig::default();
    config.max_neighbours = 8;
    let bound = (config.send_queue + 512) * (config.mtu + 430);
    let mut now = Instant::from_millis(1000);
    let payload = vec![7; 1000];
    let other = Identity::from_seed([2; 32]).sid();
    let mut buffer = Vec::with_capacity(1500);
    let held = peak(|| {
        let mut node = hostile::node(config, false);
        let records = hostile::link_state(&[hostile::hears(node.sid())]);
        let confirm = unnumbered(other, &[frame(Route::Neighbours, &records)]);
        for _ in 0..900 {
            node.handle_packet(now, INTERFACE, address(2), &confirm);
            while node.send(now, PORT, Addr::new(other, PORT), Protection::Encrypted, &payload).is_ok() {}
            drain(&mut node, now, &mut buffer);
            now += ms(1);
        }
    });
    println!("{held} of {bound}");
    assert!((bound / 2..=bound).contains(&held), "{held} of {bound}");
}

//! Packets that were damaged, cut, or recorded and played again: what is sealed or signed arrives as it was or
//! not at all, and all goes on as before.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod hostile;

use common::Daemon;
use hostile::{
    INTERFACE, PORT, address, both_up, frame, header, hears, identity, link_state, ms, neighbours, packet,
    pass, plaintext, received, rng, seal, sign, stream,
};
use msp_core::testing::seed;
use msp_core::wire::address::Address;
use msp_core::wire::overlay::{Encapsulation, Frame, Header, Hops, Packet, Route};
use msp_core::{
    Addr, Datagram, Identity, Instant, InterfaceConfig, Node, NodeConfig, NodeEvent, Port, Protection, Sid,
};

const START: Instant = Instant::from_millis(1000);

/// Every packet that differs from `packet` by one bit, is cut short, or is one byte longer.
fn damaged(packet: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let flipped = (0..8 * packet.len()).map(|bit| {
        let mut packet = packet.to_vec();
        packet[bit / 8] ^= 1 << (bit % 8);
        packet
    });
    let cut = (0..packet.len()).map(|length| packet[..length].to_vec());
    flipped.chain(cut).chain([[packet, &[0]].concat()])
}

/// Gives `packet` to a node made by `make`, whole and damaged in every way. What is sealed or signed in it
/// is in `genuine`.
fn try_all(packet: &[u8], genuine: &[Datagram], make: impl Fn() -> (Node, Instant)) {
    let protected = |node: &mut Node| {
        let mut datagrams: Vec<_> = core::iter::from_fn(|| node.poll_datagram()).collect();
        datagrams.retain(|it| it.protection != Protection::Clear);
        // A signature does not cover for whom it is; nothing is for all that is encrypted.
        let signed = datagrams.iter_mut().filter(|it| it.protection == Protection::Signed);
        signed.for_each(|it| it.broadcast = false);
        datagrams
    };
    let (mut node, now) = make();
    node.handle_packet(now, INTERFACE, address(2), packet);
    assert_eq!(protected(&mut node), genuine);
    let usual = pass(&mut node, &mut { now }, ms(50)).len();
    let (mut variants, mut missing) = (0, 0);
    for damaged in damaged(packet) {
        let (mut node, mut now) = make();
        node.handle_packet(now, INTERFACE, address(2), &damaged);
        let datagrams = protected(&mut node);
        assert!(datagrams.iter().all(|it| genuine.contains(it)), "{damaged:02x?}");
        assert!(datagrams.len() <= genuine.len());
        let packets = pass(&mut node, &mut now, ms(50)).len();
        assert!(packets <= usual + 2, "{packets} packets, {damaged:02x?}");
        // The sender sends it again, in a new packet of the same frames.
        let mut again = Vec::new();
        let old = Packet::parse(packet).unwrap();
        let header = Header { sequence: old.header().sequence.map(|it| it.wrapping_add(1)), ..*old.header() };
        header.emit(&mut again);
        again.extend_from_slice(&packet[header.buffer_len()..]);
        node.handle_packet(now, INTERFACE, address(2), &again);
        let late = protected(&mut node);
        variants += 1;
        missing += u32::from(datagrams.len() + late.len() < genuine.len());
    }
    // A flipped number of a frame or of the packet takes that of another.
    assert!(missing <= variants / 50, "{missing} of {variants}");
}

/// A node whose neighbour, at address 2, is `other`, which hears it, and whose signing key is known.
fn acquainted(own: Identity, other: &Identity) -> (Node, Instant) {
    let mut node = Node::new(NodeConfig::default(), own, [99; 32], START);
    node.add_interface(InterfaceConfig::unicast());
    let (me, mut now, mapping) = (node.sid(), START, Port::KEY_MAPPING);
    let signed = sign(other, &plaintext(PORT, PORT, b"who?"));
    let records = link_state(&[hears(me)]);
    let answer = [&[2][..], &other.signing_key(), &other.sign(other.sid().as_bytes())].concat();
    let answer = seal(other, &me, 77, &plaintext(mapping, mapping, &answer));
    let route = Route::Neighbour { destination: Address::Whole(me) };
    let frames = [
        frame(Route::Neighbours, &records),
        Frame { protection: Some(Protection::Signed), ..frame(route, &signed) },
        Frame { protection: Some(Protection::Encrypted), ..frame(route, &answer) },
    ];
    node.handle_packet(now, INTERFACE, address(2), &hostile::unnumbered(other.sid(), &frames));
    pass(&mut node, &mut now, ms(200));
    assert!(node.is_reachable(&other.sid()));
    (node, now)
}

#[test]
fn own_packets_with_any_bit_flipped_or_cut_anywhere_deliver_the_truth_or_nothing() {
    let (own, other) = (identity(0), identity(1));
    let (me, from) = (own.sid(), Addr::new(other.sid(), PORT));
    let sealed = seal(&other, &me, 5, &plaintext(PORT, PORT, b"sealed"));
    let signed = sign(&other, &plaintext(PORT, PORT, b"signed"));
    let records = link_state(&[hears(me)]);
    let destination = Address::Prefix(&me.as_bytes()[..6]);
    let near = Route::Neighbour { destination };
    let far = Route::Via { destination, next_hop: Address::Previous, hops: Hops::DEFAULT };
    let frames = [
        frame(Route::Neighbours, &records),
        Frame { protection: Some(Protection::Encrypted), ack_soon: true, ..frame(near, &sealed) },
        Frame { protection: Some(Protection::Signed), ..frame(far, &signed) },
    ];
    let sid = other.sid();
    let short = Header { sender: Address::Prefix(&sid.as_bytes()[..6]), sequence: Some(9), ..header(sid) };
    let fingerprint = msp_core::mdp::SharedKey::fingerprint(&sealed);
    let datagram = |protection, payload: &'static [u8]| Datagram::new(from, PORT, protection, payload.into());
    let sealed = Datagram { fingerprint, ..datagram(Protection::Encrypted, b"sealed") };
    let signed = datagram(Protection::Signed, b"signed");
    let make = || acquainted(identity(0), &identity(1));
    try_all(&packet(short, 40, &frames), &[sealed.clone(), signed], make);
    let single = Header { encapsulation: Encapsulation::Single, ..header(sid) };
    try_all(&packet(single, 40, &frames[1..2]), &[sealed], make);
}

#[test]
fn recorded_packets_with_any_bit_flipped_or_cut_anywhere_deliver_the_truth_or_nothing() {
    let mut packets = common::packets("all");
    packets.retain(|packet| {
        packet.from == Daemon::B
            && packet.bytes.len() < 250
            && packet.frames.iter().any(|frame| {
                frame.destination == Some(Daemon::A)
                    && frame.datagram.as_ref().is_some_and(|it| {
                        it.protection == Protection::Encrypted && it.destination > Port::ECHO
                    })
            })
    });
    assert!(packets.len() >= 3);
    for recorded in packets.iter().step_by(packets.len() / 3).take(3) {
        let make = || acquainted(Daemon::A.identity(), &Daemon::B.identity());
        let (mut node, now) = make();
        node.handle_packet(now, INTERFACE, address(2), &recorded.bytes);
        let genuine: Vec<_> = core::iter::from_fn(|| node.poll_datagram()).collect();
        assert!(!genuine.is_empty() && genuine.iter().all(|it| it.protection == Protection::Encrypted));
        try_all(&recorded.bytes, &genuine, make);
    }
}

/// The payloads that are sealed for A in a capture.
fn sealed_for_a(capture: &str) -> Vec<Vec<u8>> {
    let frames = common::packets(capture).into_iter().flat_map(|packet| packet.frames);
    let to_a = frames.filter(|frame| frame.destination == Some(Daemon::A));
    to_a.filter_map(|frame| frame.datagram)
        .filter(|it| it.protection == Protection::Encrypted && it.destination > Port::ECHO)
        .map(|it| it.payload)
        .collect()
}

#[test]
fn recorded_traffic_in_any_order_and_number_gives_nothing_that_was_not_sealed() {
    for capture in common::CAPTURES {
        let packets: Vec<_> = common::packets(capture)
            .into_iter()
            .filter(|it| it.from == Daemon::B)
            .map(|it| it.bytes)
            .collect();
        let sealed = sealed_for_a(capture);
        let forwards: Vec<_> = packets.iter().collect();
        let mut mixed: Vec<_> = packets.iter().chain(&packets).collect();
        let mut random = rng(seed(30));
        for index in (1..mixed.len()).rev() {
            mixed.swap(index, random.below(index as u64 + 1) as usize);
        }
        let orders = [
            forwards.clone(),
            forwards.iter().rev().copied().collect(),
            forwards.iter().flat_map(|packet| [*packet, *packet]).collect(),
            forwards.iter().chain(&forwards).copied().collect(),
            mixed,
        ];
        let (mut node, mut now) = acquainted(Daemon::A.identity(), &Daemon::B.identity());
        for order in orders {
            let mut again = 0;
            for packet in order {
                node.handle_packet(now, INTERFACE, address(2), packet);
                while let Some(datagram) = node.poll_datagram() {
                    if datagram.protection == Protection::Encrypted {
                        assert!(sealed.iter().any(|payload| datagram.payload == payload[..]));
                        again += 1;
                    }
                }
                let sent = pass(&mut node, &mut now, ms(1));
                assert!(sent.len() <= 8, "{} packets for one", sent.len());
            }
            assert!(again <= 2 * sealed.len());
            // A restart, of which the recording knows nothing.
            (node, now) = acquainted(Daemon::A.identity(), &Daemon::B.identity());
        }
    }
}

/// Somebody who records all packets plays them to the other end again, from the same address, while it runs
/// and after it was started again.
#[test]
fn replayed_packets_do_not_keep_neighbours_apart() {
    let mut mesh = neighbours(seed(31), |link| link);
    stream(&mut mesh, 0..50, ms(10), |_| ());
    let recorded = mesh.recorded.take().unwrap();
    for restart in [false, true] {
        if restart {
            mesh.restart(1, NodeConfig::default(), true);
        }
        for order in [true, false] {
            let play = |index: usize| if order { index } else { recorded.len() - 1 - index };
            for index in 0..recorded.len() {
                let (from, _, packet) = &recorded[play(index)];
                let source = mesh.stations[*from].address;
                hostile::inject(&mut mesh, 1 - from, source, packet);
                if index % 8 == 0 {
                    mesh.run(ms(1));
                }
            }
            mesh.run(ms(4000));
            assert!(both_up(&mut mesh));
            received(&mut mesh);
            stream(&mut mesh, 100..150, ms(10), |_| ());
            mesh.run(ms(1200));
            let numbers = received(&mut mesh);
            // A number that a recorded packet has used up may cost a datagram, which streams send again.
            assert!(numbers.len() >= 48 && numbers.is_sorted(), "{restart} {order}: {numbers:?}");
        }
    }
}

#[test]
fn a_node_that_starts_again_is_the_same_or_another_by_its_identity() {
    for new in [false, true] {
        let mut mesh = neighbours(seed(32), |link| link);
        stream(&mut mesh, 0..10, ms(10), |_| ());
        let old = mesh.stations[1].node.sid();
        mesh.restart(1, NodeConfig::default(), true);
        if new {
            let mut node = Node::new(NodeConfig::default(), identity(40), [5; 32], mesh.now);
            node.add_interface(InterfaceConfig::broadcast());
            mesh.stations[1].node = node;
        }
        assert!(mesh.run_until(ms(1000), both_up));
        stream(&mut mesh, 10..60, ms(10), |_| ());
        mesh.run(ms(3000));
        assert_eq!(received(&mut mesh), (0..60).collect::<Vec<_>>());
        let downs = mesh.stations[0].events.iter();
        let downs: Vec<_> = downs.filter(|it| **it == NodeEvent::NeighbourDown { sid: old }).collect();
        assert_eq!(downs.len(), usize::from(new), "the old one is gone only if it is another");
        assert_eq!(mesh.stations[0].node.is_reachable(&old), !new);
    }
}

/// `spec/80` section 4: after a frame that is too long, a daemon sends empty UDP packets.
#[test]
fn empty_and_one_byte_packets_every_5_ms_disturb_nobody() {
    let mut mesh = neighbours(seed(33), |link| link);
    let before = mesh.stations[1].node.stats().malformed;
    let from = mesh.stations[0].address;
    let mut byte = 0_u8;
    stream(&mut mesh, 0..256, ms(5), |mesh| {
        hostile::inject(mesh, 1, from, &[]);
        hostile::inject(mesh, 1, from, &[byte]);
        byte = byte.wrapping_add(1);
    });
    mesh.run(ms(1000));
    assert_eq!(received(&mut mesh), (0..256).collect::<Vec<_>>());
    assert_eq!(mesh.stations[1].node.stats().malformed - before, 512);
    assert_eq!(mesh.stations[1].node.stats().retransmissions, 0);
}

#[test]
fn a_packet_may_have_1472_bytes_and_no_more() {
    for (length, taken) in [(1472, 1), (1473, 0)] {
        let (mut node, now) = acquainted(identity(0), &identity(1));
        let start = hostile::unnumbered(identity(1).sid(), &[frame(Route::Neighbours, &[])]).len();
        let payload = plaintext(PORT, PORT, &vec![7; length - start - 2]);
        let packet = hostile::unnumbered(identity(1).sid(), &[frame(Route::Neighbours, &payload)]);
        assert_eq!(packet.len(), length);
        node.handle_packet(now, INTERFACE, address(2), &packet);
        assert_eq!(core::iter::from_fn(|| node.poll_datagram()).count(), taken);
        assert_eq!(node.stats().malformed, 1 - taken as u64);
    }
}

/// Nobody has these SIDs, so what names them as its source is from nobody.
#[test]
fn reserved_sids_send_nothing() {
    let reserved = [[0; 32], [0xff; 32], {
        let mut one = [0; 32];
        one[31] = 1;
        one
    }];
    for sid in reserved.map(Sid::new) {
        let (mut node, now) = acquainted(identity(0), &identity(1));
        let payload = plaintext(PORT, PORT, b"x");
        let source = Some(Address::Whole(sid));
        let frames = [Frame { source, ..frame(Route::Neighbours, &payload) }];
        node.handle_packet(now, INTERFACE, address(2), &hostile::unnumbered(identity(1).sid(), &frames));
        assert_eq!((node.poll_datagram(), node.stats().unauthentic), (None, 1));
        node.handle_packet(now, INTERFACE, address(3), &hostile::unnumbered(sid, &frames));
        assert_eq!((node.poll_datagram(), node.stats().malformed), (None, 1));
    }
}

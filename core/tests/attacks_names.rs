//! SIDs that look like others, and SIDs that nobody can have.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hostile;

use hostile::{
    INTERFACE, PORT, address, drain, frame, header, hears, identity, inject, link_state, ms, neighbours,
    packet, pass, plaintext, received, seal, stream, unnumbered,
};
use msp_core::testing::seed;
use msp_core::wire::address::Address;
use msp_core::wire::linkstate::Repr;
use msp_core::wire::overlay::{Frame, Header, Hops, PLEASE_EXPLAIN, Packet, Route};
use msp_core::{Addr, Identity, Instant, Node, NodeConfig, Port, Protection, SendDatagramError, Sid};

const START: Instant = Instant::from_millis(1000);

/// A SID that shares the first `length` bytes with `sid`, and no more.
fn twin(sid: Sid, length: usize, number: u8) -> Sid {
    let mut bytes = *sid.as_bytes();
    bytes[length] ^= 0x55;
    bytes[31] ^= number;
    Sid::new(bytes)
}

/// An identity, with its key, whose SID starts with this byte.
fn minted(first: u8) -> Identity {
    let mut seeds = (0..=u16::MAX).map(|n| {
        let mut seed = [222; 32];
        seed[..2].copy_from_slice(&n.to_le_bytes());
        Identity::from_seed(seed)
    });
    seeds.find(|identity| identity.sid().as_bytes()[0] == first).unwrap()
}

/// Strangers with SIDs like those of the two neighbours, at addresses of their own and at theirs, who say that
/// they hear everyone.
#[test]
fn twins_of_neighbours_get_nothing_and_hold_nothing_up() {
    for length in [1, 2, 5, 6, 7, 30] {
        let mut mesh = neighbours(seed(50), |link| link);
        // They prove their keys.
        stream(&mut mesh, 0..1, ms(10), |_| ());
        let to_first = Addr::new(mesh.stations[0].node.sid(), PORT);
        let now = mesh.now;
        mesh.stations[1].node.send(now, PORT, to_first, Protection::Encrypted, b"x").unwrap();
        mesh.run(ms(100));
        let sids = [0, 1].map(|index| mesh.stations[index].node.sid());
        let mut number = 0_u8;
        stream(&mut mesh, 1..60, ms(20), |mesh| {
            number = number.wrapping_add(1);
            for (at, like) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let sid = twin(sids[like], length, number % 8);
                let payload =
                    link_state(&[hears(sids[at]), Repr::new(Address::Whole(sid), Some(Address::Sender))]);
                let packet = unnumbered(sid, &[frame(Route::Neighbours, &payload)]);
                inject(mesh, at, address(60 + number % 8), &packet);
                inject(mesh, at, address(1 + like as u8), &packet);
            }
        });
        mesh.run(ms(1500));
        assert_eq!(received(&mut mesh), (0..60).collect::<Vec<_>>(), "{length} bytes in common");
        assert!(mesh.stations[0].node.stats().retransmissions < 60);
    }
}

/// Daemons abbreviate to one or two bytes, and everyone can mint such a SID with its key.
#[test]
fn a_twin_with_a_key_makes_a_short_name_ambiguous_only_where_nothing_tells_them_apart() {
    let mut node = hostile::node(NodeConfig::default(), false);
    let mut now = START;
    let (me, friend) = (node.sid(), identity(1));
    let first = friend.sid().as_bytes()[0];
    let twin = minted(first);
    let payload = |from: &Identity, data: &[u8]| seal(from, &me, 1, &plaintext(PORT, PORT, data));
    let route = Route::Neighbour { destination: Address::Prefix(&me.as_bytes()[..1]) };
    let send = |node: &mut Node, now: Instant, sender: Address<'_>, host: u8, sealed: &[u8]| {
        let sealed = Frame { protection: Some(Protection::Encrypted), ..frame(route, sealed) };
        let header = Header { sender, sequenced_frames: false, ..header(me) };
        node.handle_packet(now, INTERFACE, address(host), &packet(header, 0, &[sealed]));
        core::iter::from_fn(|| node.poll_datagram()).map(|it| it.from.sid).collect::<Vec<_>>()
    };
    let short = Address::Prefix(&[first]);
    let (by_friend, by_twin) = (payload(&friend, b"friend"), payload(&twin, b"twin"));
    for (identity, host, sealed) in [(&friend, 2, &by_friend), (&twin, 3, &by_twin)] {
        let sid = identity.sid();
        assert_eq!(send(&mut node, now, Address::Whole(sid), host, sealed), [sid]);
    }
    // Each is known by its address.
    assert_eq!(send(&mut node, now, short, 2, &by_friend), [friend.sid()]);
    assert_eq!(send(&mut node, now, short, 3, &by_twin), [twin.sid()]);
    assert_eq!(send(&mut node, now, short, 3, &by_friend), [], "the name says the twin, the seal does not");
    // Elsewhere nothing tells them apart: the node asks, and believes whole names.
    pass(&mut node, &mut now, ms(600));
    let before = node.stats().unresolved;
    assert_eq!(send(&mut node, now, short, 4, &by_friend), []);
    assert_eq!(node.stats().unresolved, before + 1);
    let asked = drain(&mut node, now);
    let packet = Packet::parse(&asked[0].1).unwrap();
    let question = packet.frames().next().unwrap().unwrap();
    assert_eq!((question.legacy_type, question.payload), (Some(PLEASE_EXPLAIN), &[1, first][..]));
    assert_eq!(send(&mut node, now, Address::Whole(friend.sid()), 4, &by_friend), [friend.sid()]);
}

#[test]
fn our_own_name_is_ours_however_short_it_is_and_whoever_else_has_it() {
    let mut node = hostile::node(NodeConfig::default(), false);
    let (me, friend) = (node.sid(), identity(1));
    let mut short = [0; 31];
    short.copy_from_slice(&me.as_bytes()[..31]);
    for number in 0..8 {
        let sid = twin(me, 31, number + 1);
        node.handle_packet(START, INTERFACE, address(9 + number), &packet(header(sid), 0, &[]));
    }
    for length in 1..=31 {
        let sealed = seal(&friend, &me, 1, &plaintext(PORT, PORT, b"x"));
        let route = Route::Neighbour { destination: Address::Prefix(&short[..length]) };
        let frame = Frame { protection: Some(Protection::Encrypted), ..frame(route, &sealed) };
        node.handle_packet(START, INTERFACE, address(2), &unnumbered(friend.sid(), &[frame]));
        assert_eq!(node.poll_datagram().map(|it| it.from.sid), Some(friend.sid()), "{length}");
    }
}

/// All points of low order, and what is the same modulo p; the highest bit, which has no meaning, both ways.
fn low_order() -> Vec<Sid> {
    let number = |low: u8, middle: u8, high: u8| {
        let mut bytes = [middle; 32];
        (bytes[0], bytes[31]) = (low, high);
        bytes
    };
    let order_8 = [
        "E0EB7A7C3B41B8AE1656E3FAF19FC46ADA098DEB9C32B1FD866205165F49B800",
        "5F9C95BCA3508C24B1D0B1559C83EF5B04445CC4581C8E86D8224EDDD09F1157",
    ];
    let others = [(0, 0, 0), (1, 0, 0), (0xec, 0xff, 0x7f), (0xed, 0xff, 0x7f), (0xee, 0xff, 0x7f)];
    let mut points: Vec<_> = others.map(|(low, middle, high)| number(low, middle, high)).into();
    points.extend(order_8.map(|text| *text.parse::<Sid>().unwrap().as_bytes()));
    let with_high = points.clone().into_iter().map(|mut bytes| {
        bytes[31] |= 0x80;
        bytes
    });
    points.into_iter().chain(with_high).map(Sid::new).collect()
}

/// Everyone shares the same key with such a SID. It is put in every place where a SID can be.
#[test]
fn nothing_is_sealed_for_or_taken_from_sids_of_low_order() {
    for sid in low_order() {
        let mut node = hostile::node(NodeConfig::default(), true);
        let mut now = START;
        let me = node.sid();
        let whole = Address::Whole(sid);
        let echo = plaintext(Port::ECHO, PORT, b"x");
        let to_me = Route::Neighbour { destination: Address::Whole(me) };
        let records = link_state(&[
            hears(me),
            hears(sid),
            Repr::new(whole, Some(Address::Sender)),
            Repr::new(Address::Whole(me), Some(whole)),
            Repr::new(whole, None),
        ]);
        let mut items = Vec::new();
        for item in [whole, Address::SigningKey(*sid.as_bytes()), Address::Prefix(&sid.as_bytes()[..4])] {
            item.emit(&mut items);
        }
        let key = [&[2][..], sid.as_bytes(), &[0; 64]].concat();
        let key = plaintext(Port::KEY_MAPPING, Port::KEY_MAPPING, &key);
        let via = Route::Via { destination: Address::Whole(me), next_hop: whole, hops: Hops::DEFAULT };
        let lost = Route::Via { destination: whole, next_hop: Address::Whole(me), hops: Hops::DEFAULT };
        let frames = [
            frame(Route::Neighbours, &records),
            Frame { source: Some(whole), ..frame(to_me, &echo) },
            Frame { source: Some(Address::SigningKey(*sid.as_bytes())), ..frame(to_me, &echo) },
            Frame { source: Some(whole), protection: Some(Protection::Encrypted), ..frame(to_me, &[7; 60]) },
            Frame { source: Some(whole), protection: Some(Protection::Signed), ..frame(to_me, &[7; 80]) },
            Frame { legacy_type: Some(PLEASE_EXPLAIN), ..frame(Route::Neighbours, &items) },
            frame(to_me, &key),
            frame(Route::Neighbour { destination: whole }, &echo),
            frame(lost, &echo),
            Frame { protection: Some(Protection::Encrypted), ..frame(via, &[7; 60]) },
        ];
        let mut packets = Vec::new();
        let signing = Header { sender: Address::SigningKey(*sid.as_bytes()), ..header(sid) };
        for header in [header(sid), header(identity(1).sid()), signing] {
            let header = Header { sequenced_frames: false, ..header };
            node.handle_packet(now, INTERFACE, address(2), &packet(header, 0, &frames));
            packets.extend(pass(&mut node, &mut now, ms(300)));
        }
        let to = Addr::new(sid, PORT);
        let result = node.send(now, PORT, to, Protection::Encrypted, b"secret");
        assert_eq!(result, Err(SendDatagramError::InvalidDestination));
        packets.extend(pass(&mut node, &mut now, ms(5000)));
        for (_, packet) in packets {
            for frame in Packet::parse(&packet).unwrap().frames().map(Result::unwrap) {
                assert_ne!(frame.protection, Some(Protection::Encrypted), "{sid}");
            }
        }
        let opened =
            core::iter::from_fn(|| node.poll_datagram()).any(|it| it.protection != Protection::Clear);
        assert!(!opened);
    }
}

//! Many packets: what they draw from a node stays in proportion, and neighbours go on talking meanwhile.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hostile;

use core::net::SocketAddr;
use hostile::{
    INTERFACE, PORT, address, drain, frame, header, hears, identity, inject, link_state, ms, neighbours,
    node, packet, pass, plaintext, received, rng, seal, send, sign, strange, stream, unnumbered,
};
use msp_core::testing::seed;
use msp_core::wire::address::Address;
use msp_core::wire::overlay::{Frame, Header, Hops, PLEASE_EXPLAIN, Route};
use msp_core::{Addr, Destination, Identity, Instant, Node, NodeConfig, NodeEvent, Port, Protection, Sid};

const START: Instant = Instant::from_millis(1000);

/// A node with a neighbour of which only the packets exist, at address 2.
fn up(config: NodeConfig) -> (Node, Instant) {
    let mut node = node(config, false);
    let mut now = START;
    let payload = link_state(&[hears(node.sid())]);
    let confirm = unnumbered(identity(1).sid(), &[frame(Route::Neighbours, &payload)]);
    node.handle_packet(now, INTERFACE, address(2), &confirm);
    pass(&mut node, &mut now, ms(20));
    (node, now)
}

/// A frame for the node with a datagram.
fn to_node<'a>(node: &Node, protection: Protection, payload: &'a [u8]) -> Frame<'a> {
    let destination = Address::Whole(node.sid());
    Frame { protection: Some(protection), ..frame(Route::Neighbour { destination }, payload) }
}

#[test]
fn a_storm_of_broadcasts_draws_nothing_and_each_is_taken_once() {
    let mut config = NodeConfig::default();
    config.receive_queue = 10_000;
    let (mut node, now) = up(config);
    let payload = plaintext(PORT, PORT, b"storm");
    let send = |node: &mut Node, id: u64, hops: u8| {
        let route = Route::Flood { id: id.to_le_bytes(), hops: Hops(hops) };
        let packet = unnumbered(identity(1).sid(), &[frame(route, &payload)]);
        node.handle_packet(now, INTERFACE, address(2), &packet);
        core::iter::from_fn(|| node.poll_datagram()).count()
    };
    // Every remaining number of hops, then every class of service.
    let taken: usize = (0..=255_u8).map(|hops| send(&mut node, hops.into(), hops)).sum();
    assert_eq!(taken, 256);
    let again: usize = (0..=255_u8).map(|hops| send(&mut node, hops.into(), hops)).sum();
    assert_eq!(again, 0, "each is remembered");
    assert_eq!(send(&mut node, 1 << 32 | 191, 31), 1, "until another takes its place");
    assert_eq!([191, 190].map(|id| send(&mut node, id, 31)), [1, 0]);
    assert_eq!(drain(&mut node, now), [], "nothing is passed on or answered");
}

/// Two nodes, and somebody who sends everything back and on: to who sent it and to the other, from the
/// sender's address and from his own.
#[test]
fn what_is_reflected_makes_no_more_packets() {
    let count = |reflecting: bool| {
        let mut mesh = neighbours(seed(20), |link| link);
        let mut numbers = 0..;
        let before: u64 = mesh.stations.iter().map(|it| it.node.stats().packets_sent).sum();
        for _ in 0..200 {
            let number: u32 = numbers.next().unwrap();
            let _ = send(&mut mesh, 0, 1, &number.to_le_bytes());
            mesh.run(ms(10));
            let recorded = mesh.recorded.replace(Vec::new()).unwrap();
            for (from, _, packet) in recorded.iter().filter(|_| reflecting) {
                for (to, source) in [(0, 1), (1, 2), (0, 66), (1, 66)] {
                    inject(&mut mesh, to, address(source), packet);
                }
                let own = mesh.stations[*from].address;
                inject(&mut mesh, *from, own, packet);
            }
        }
        mesh.run(ms(1000));
        let mut numbers = received(&mut mesh);
        numbers.dedup();
        assert_eq!(numbers, (0..200).collect::<Vec<_>>());
        mesh.stations.iter().map(|it| it.node.stats().packets_sent).sum::<u64>() - before
    };
    let (quiet, reflecting) = (count(false), count(true));
    assert!(reflecting <= quiet + quiet / 10, "{reflecting} packets instead of {quiet}");
}

/// Every pair of ports of built-in services, from the one node in the name of the other: answers end.
#[test]
fn no_services_keep_each_other_busy() {
    let mut mesh = neighbours(seed(21), |link| link);
    let ports = (1..=18).chain([63]).map(Port::from);
    let sids = [0, 1].map(|index| mesh.stations[index].node.sid());
    let mapping = [2];
    for (source, destination) in ports.clone().flat_map(|port| ports.clone().map(move |other| (port, other)))
    {
        for (data, answers) in [(&b"x"[..], 1), (&mapping[..], 1), (&[7; 97][..], 1)] {
            let payload = plaintext(destination, source, data);
            let sealed = seal(&identity(1), &sids[0], 1, &payload);
            let before: u64 = mesh.stations.iter().map(|it| it.node.stats().datagrams_sent).sum();
            let from = mesh.stations[1].address;
            let whole = Route::Neighbour { destination: Address::Whole(sids[0]) };
            let clear = frame(whole, &payload);
            let encrypted = Frame { protection: Some(Protection::Encrypted), ..frame(whole, &sealed) };
            inject(&mut mesh, 0, from, &unnumbered(sids[1], &[clear, encrypted]));
            mesh.run(ms(20));
            let after: u64 = mesh.stations.iter().map(|it| it.node.stats().datagrams_sent).sum();
            let to_service = destination == Port::ECHO || destination == Port::KEY_MAPPING;
            // Each of the two draws one answer, and an answer at most one more.
            let most = if to_service { 4 * answers } else { 0 };
            assert!(after - before <= most, "{source} to {destination}: {} datagrams", after - before);
        }
        mesh.run(ms(200));
    }
    mesh.run(ms(1000));
    let before: u64 = mesh.stations.iter().map(|it| it.node.stats().datagrams_sent).sum();
    mesh.run(ms(5000));
    assert_eq!(mesh.stations.iter().map(|it| it.node.stats().datagrams_sent).sum::<u64>(), before);
}

#[test]
fn clear_text_does_not_make_a_node_seal_what_others_wrote() {
    let mut mesh = neighbours(seed(22), |link| link);
    let sids = [0, 1].map(|index| mesh.stations[index].node.sid());
    // Asks the first node in the name of the second to send something to a port of the second.
    let payload = plaintext(Port::ECHO, PORT, b"open a stream, please");
    let route = Route::Neighbour { destination: Address::Whole(sids[0]) };
    let asked = Frame { source: Some(Address::Whole(sids[1])), ..frame(route, &payload) };
    inject(&mut mesh, 0, address(66), &unnumbered(Sid::new([66; 32]), &[asked]));
    mesh.run(ms(100));
    let [datagram] = &mesh.stations[1].datagrams[..] else { panic!("one datagram") };
    assert_eq!(datagram.from, Addr::new(sids[0], Port::ECHO));
    assert_eq!(datagram.protection, Protection::Clear, "from anyone, as it is");
}

#[test]
fn echo_has_a_rate_for_each_neighbour_and_one_for_all() {
    let mut config = NodeConfig::default();
    config.answer_rate = 5;
    config.send_queue = 1000;
    let (mut node, mut now) = up(config);
    let ask = plaintext(Port::ECHO, PORT, b"x");
    let echoes = |node: &mut Node, now: Instant, host: u8| {
        let sender = identity(host - 1).sid();
        let packet = unnumbered(sender, &[to_node(node, Protection::Clear, &ask)]);
        let before = node.stats().datagrams_sent;
        for _ in 0..20 {
            node.handle_packet(now, INTERFACE, address(host), &packet);
        }
        node.stats().datagrams_sent - before
    };
    assert_eq!(echoes(&mut node, now, 2), 5);
    now += ms(999);
    assert_eq!(echoes(&mut node, now, 2), 0);
    now += ms(1);
    assert_eq!([2, 3, 4, 5, 6, 7].map(|host| echoes(&mut node, now, host)), [5, 5, 5, 5, 0, 0]);
    assert_eq!(node.stats().answers_dropped, 15 + 20 + 4 * 15 + 2 * 20);

    let mut config = NodeConfig::default();
    config.answer_rate = 0;
    let (mut node, now) = up(config);
    assert_eq!(echoes(&mut node, now, 2), 0, "switched off");
}

#[test]
fn answers_do_not_take_the_place_of_what_waits_for_a_route() {
    let mut node = node(NodeConfig::default(), false);
    let ask = plaintext(Port::ECHO, PORT, b"x");
    for n in 0..30_u8 {
        let source = Some(Address::Whole(Sid::new([n + 50; 32])));
        let asked = Frame { source, ..to_node(&node, Protection::Clear, &ask) };
        node.handle_packet(START, INTERFACE, address(2), &unnumbered(identity(1).sid(), &[asked]));
    }
    let to = Addr::new(Sid::new([9; 32]), PORT);
    let results = [(); 17].map(|()| node.send(START, PORT, to, Protection::Clear, b"x").is_ok());
    assert_eq!(results.iter().filter(|ok| **ok).count(), 16);
}

#[test]
fn signatures_are_checked_32_times_in_100_ms() {
    let (mut node, mut now) = up(NodeConfig::default());
    let (me, mapping) = (node.sid(), Port::KEY_MAPPING);
    let other = identity(1);
    let plain = plaintext(PORT, PORT, b"signed");
    let signed = sign(&other, &plain);
    let frame = to_node(&node, Protection::Signed, &signed);
    let frame = Frame { payload: &signed, ..frame };
    // Unknown: the node asks for the key.
    node.handle_packet(now, INTERFACE, address(2), &unnumbered(other.sid(), &[frame]));
    let answer = [&[2][..], &other.signing_key(), &other.sign(other.sid().as_bytes())].concat();
    let answer = seal(&other, &me, 1, &plaintext(mapping, mapping, &answer));
    let answer = to_node(&node, Protection::Encrypted, &answer);
    now += ms(100);
    let answer = unnumbered(other.sid(), &[Frame { ..answer }]);
    node.handle_packet(now, INTERFACE, address(2), &answer);
    let checked = |node: &mut Node, now: Instant| {
        for _ in 0..50 {
            node.handle_packet(now, INTERFACE, address(2), &unnumbered(other.sid(), &[frame]));
        }
        core::iter::from_fn(|| node.poll_datagram()).count()
    };
    assert_eq!(checked(&mut node, now), 31, "one was that of the key");
    now += ms(99);
    assert_eq!(checked(&mut node, now), 0);
    now += ms(1);
    assert_eq!(checked(&mut node, now), 32);
}

/// The owner of a SID tells a key, and signs another SID with it: the node goes on waiting for a true answer.
#[test]
fn a_signing_key_that_does_not_sign_the_sid_is_not_believed() {
    let (mut node, now) = up(NodeConfig::default());
    let (me, port, other) = (node.sid(), Port::KEY_MAPPING, identity(1));
    let signed = sign(&other, &plaintext(PORT, PORT, b"signed"));
    let signed = Frame { payload: &signed, ..to_node(&node, Protection::Signed, &[]) };
    let answer = |node: &mut Node, whom: Sid| {
        let data = [&[2][..], &other.signing_key(), &other.sign(whom.as_bytes())].concat();
        let sealed = seal(&other, &me, 1, &plaintext(port, port, &data));
        let answer = Frame { payload: &sealed, ..to_node(node, Protection::Encrypted, &[]) };
        node.handle_packet(now, INTERFACE, address(2), &unnumbered(other.sid(), &[signed, answer, signed]));
        core::iter::from_fn(|| node.poll_datagram()).count()
    };
    let before = node.stats().unauthentic;
    assert_eq!((answer(&mut node, me), node.stats().unauthentic - before), (0, 1));
    assert_eq!((answer(&mut node, other.sid()), node.stats().unauthentic - before), (1, 1));
}

/// A signing key as an address costs as much as a signature.
#[test]
fn signing_keys_are_mapped_32_times_in_100_ms() {
    let (mut node, mut now) = up(NodeConfig::default());
    let payload = plaintext(PORT, PORT, b"x");
    let source = Some(Address::SigningKey(identity(7).signing_key()));
    let frames = [Frame { source, ..to_node(&node, Protection::Clear, &payload) }; 10];
    let packet = unnumbered(identity(1).sid(), &frames);
    let mut understood = |now: Instant| {
        (0..5).for_each(|_| node.handle_packet(now, INTERFACE, address(2), &packet));
        core::iter::from_fn(|| node.poll_datagram()).filter(|it| it.from.sid == identity(7).sid()).count()
    };
    assert_eq!(understood(now), 32);
    now += ms(99);
    assert_eq!(understood(now), 0);
    now += ms(1);
    assert_eq!(understood(now), 32);
}

#[test]
fn requests_for_our_signing_key_are_answered_at_the_rate_of_services() {
    let mut config = NodeConfig::default();
    config.answer_rate = 3;
    let (mut node, now) = up(config);
    let port = Port::KEY_MAPPING;
    let sealed = seal(&identity(1), &node.sid(), 1, &plaintext(port, port, &[2]));
    let packet = unnumbered(identity(1).sid(), &[to_node(&node, Protection::Encrypted, &sealed)]);
    let before = *node.stats();
    (0..10).for_each(|_| node.handle_packet(now, INTERFACE, address(2), &packet));
    let after = node.stats();
    assert_eq!(after.datagrams_sent - before.datagrams_sent, 3);
    assert_eq!(after.answers_dropped - before.answers_dropped, 7);
}

/// Signed frames from unknown sources make a node ask for keys: dear, and in the name of anyone.
#[test]
fn strangers_cannot_keep_a_node_busy_with_asking_for_keys() {
    let mut config = NodeConfig::default();
    config.answer_rate = 1000;
    let (mut node, mut now) = up(config);
    let mut random = rng(23);
    let before = node.stats().datagrams_sent;
    for _ in 0..1000 {
        let source = Some(Address::Whole(Sid::new(random.bytes())));
        let asked = Frame { source, ..to_node(&node, Protection::Signed, &[7; 80]) };
        node.handle_packet(now, INTERFACE, address(2), &unnumbered(identity(1).sid(), &[asked]));
        drain(&mut node, now);
    }
    assert!(node.stats().datagrams_sent - before <= 32, "as many as keys may be derived");
    pass(&mut node, &mut now, ms(2000));
    assert!(node.stats().packets_sent < 200, "{:?}", node.stats());
}

/// Strangers with true identities, more than there are places for keys, and no pause.
#[test]
fn a_neighbour_is_understood_among_strangers_with_keys() {
    let mut mesh = neighbours(seed(24), |link| link);
    let me = mesh.stations[1].node.sid();
    assert_eq!(send(&mut mesh, 0, 1, &[0; 4]), Ok(()));
    mesh.run(ms(100));
    received(&mut mesh);
    let payload = plaintext(PORT, PORT, b"hello");
    let mut packets = Vec::new();
    for n in 0..600_u32 {
        let mut seed = [200; 32];
        seed[..4].copy_from_slice(&n.to_le_bytes());
        let stranger = Identity::from_seed(seed);
        let sealed = seal(&stranger, &me, 1, &payload);
        let route = Route::Neighbour { destination: Address::Whole(me) };
        let sealed = Frame { protection: Some(Protection::Encrypted), ..frame(route, &sealed) };
        packets.push(unnumbered(stranger.sid(), &[sealed]));
    }
    let mut flood = packets.iter().enumerate().cycle();
    stream(&mut mesh, 0..20, ms(100), |mesh| {
        for (number, packet) in flood.by_ref().take(100) {
            inject(mesh, 1, SocketAddr::from(([10, 9, 0, number as u8], number as u16)), packet);
        }
    });
    mesh.run(ms(1000));
    assert_eq!(received(&mut mesh), (0..20).collect::<Vec<_>>());
    assert_eq!(mesh.stations[0].node.stats().retransmissions, 0, "understood at once");
}

#[test]
fn a_neighbour_is_served_in_a_flood_from_100_000_sids_and_addresses() {
    let mut mesh = neighbours(seed(25), |link| link);
    let sids = [0, 1].map(|index| mesh.stations[index].node.sid());
    let mut random = rng(25);
    let mut number = 0_u32;
    let before = *mesh.stations[0].node.stats();
    stream(&mut mesh, 0..100, ms(10), |mesh| {
        for _ in 0..1000 {
            let [_, a, b, c] = number.to_be_bytes();
            let from = SocketAddr::from(([10, 9 + a, b, c], 4110));
            let packet = strange(&mut random, number, sids[0]);
            inject(mesh, 0, from, &packet);
            number += 1;
        }
        send(mesh, 1, 0, b"back").unwrap();
    });
    mesh.run(ms(1000));
    assert_eq!(received(&mut mesh), (0..100).collect::<Vec<_>>());
    let back = mesh.stations[0].datagrams.iter().filter(|it| it.protection == Protection::Encrypted);
    assert_eq!(back.count(), 100);
    for index in [0, 1] {
        let down = NodeEvent::NeighbourDown { sid: sids[1 - index] };
        assert!(!mesh.stations[index].events.contains(&down));
        assert!(mesh.stations[index].node.is_reachable(&sids[1 - index]));
    }
    let after = mesh.stations[0].node.stats();
    let sent = after.packets_sent - before.packets_sent;
    assert!(sent < 100_000 / 10, "{sent} packets for 100,000");
}

/// What one packet draws to the address that it claims to come from: packets and bytes.
fn drawn(node: &mut Node, packet: &[u8]) -> (usize, usize) {
    let mut now = START;
    node.handle_packet(now, INTERFACE, address(2), packet);
    let mut packets = pass(node, &mut now, ms(6000));
    packets.retain(|(to, _)| *to == Destination::Unicast(address(2)));
    (packets.len(), packets.iter().map(|(_, packet)| packet.len()).sum())
}

/// Anyone can make a node send to others, who did not ask. It is no more than 20 times as much.
#[test]
fn what_one_packet_draws_is_bounded() {
    let (stranger, me) = (identity(1).sid(), identity(0).sid());
    let fresh = || node(NodeConfig::default(), true);
    let explain = |items: &[u8]| {
        let frame = Frame { legacy_type: Some(PLEASE_EXPLAIN), ..frame(Route::Neighbours, items) };
        unnumbered(stranger, &[frame])
    };
    let tick = packet(header(stranger), 0, &[]);
    assert_eq!((tick.len(), drawn(&mut fresh(), &tick)), (36, (5, 585)));
    let unknown = packet(Header { sender: Address::Prefix(&[0xaa]), ..header(stranger) }, 0, &[]);
    assert_eq!((unknown.len(), drawn(&mut fresh(), &unknown)), (5, (1, 43)));
    let who = explain(&[1, me.as_bytes()[0]]);
    assert_eq!((who.len(), drawn(&mut fresh(), &who)), (42, (5, 585)));
    let short = Route::Neighbour { destination: Address::Prefix(&me.as_bytes()[..1]) };
    let echo = unnumbered(stranger, &[frame(short, &plaintext(Port::ECHO, PORT, b"x"))]);
    assert_eq!((echo.len(), drawn(&mut fresh(), &echo)), (45, (5, 626)));

    // The longest explanation, of everything that is known: eight of ten neighbours, and no more for more.
    for question in [&[1, 7][..], &[1, 7].repeat(200)] {
        let mut node = fresh();
        for n in 0..10 {
            let mut sid = [7; 32];
            sid[31] = n;
            node.handle_packet(START, INTERFACE, address(10 + n), &packet(header(Sid::new(sid)), 0, &[]));
        }
        let known = explain(question);
        let (packets, bytes) = drawn(&mut node, &known);
        let explanation = if question.len() == 2 { 8 * 33 } else { 9 * 33 };
        assert_eq!((packets, bytes), (5, 585 + 38 + explanation), "{}", known.len());
        assert!(bytes <= 22 * known.len());
    }
}

#[test]
fn one_address_is_asked_every_100_ms_and_told_every_500() {
    let mut node = node(NodeConfig::default(), false);
    let (me, stranger) = (node.sid(), identity(1).sid());
    let unknown = packet(Header { sender: Address::Prefix(&[0xaa]), ..header(stranger) }, 0, &[]);
    let questions = |node: &mut Node, now: Instant, hosts: core::ops::Range<u8>| {
        for host in hosts {
            node.handle_packet(now, INTERFACE, address(host), &unknown);
        }
        drain(node, now).len()
    };
    assert_eq!(questions(&mut node, START, 2..100), 32, "in all");
    assert_eq!(questions(&mut node, START + ms(99), 2..100), 0);
    assert_eq!(questions(&mut node, START + ms(100), 2..3), 1);
    assert_eq!(questions(&mut node, START + ms(100), 2..3), 0);

    // Neighbours that hear us are told with our whole SID, which is short otherwise.
    let payload = link_state(&[hears(me)]);
    let ask = [1, me.as_bytes()[0]];
    let confirm = frame(Route::Neighbours, &payload);
    let ask = Frame { legacy_type: Some(PLEASE_EXPLAIN), ..frame(Route::Neighbours, &ask) };
    let mut now = START + ms(1000);
    let mut told = |frames: &[Frame<'_>], time| {
        node.handle_packet(now, INTERFACE, address(2), &unnumbered(stranger, frames));
        let packets = pass(&mut node, &mut now, time);
        packets.iter().filter(|(_, packet)| packet[2] == 0x20).count()
    };
    told(&[confirm], ms(10));
    assert_eq!(told(&[confirm, ask], ms(0)), 1);
    // For as long as a neighbour may take to forget us it goes on, so count the packets at once.
    assert_eq!(told(&[confirm, ask], ms(0)), 0);
    assert_eq!(told(&[confirm, ask], ms(499)), 0);
    assert_eq!(told(&[confirm, ask], ms(1)), 1, "the usual one");
    assert_eq!(told(&[confirm, ask], ms(0)), 1, "asked again");
}

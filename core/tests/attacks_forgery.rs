//! Packets in the name of a neighbour, from somebody who can send from any address but has no key: what they
//! do while they last, and that it is over when they stop.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hostile;

use hostile::{
    PORT, address, frame, header, hears, identity, inject, link_state, ms, neighbours, packet, received,
    send, stream, unnumbered,
};
use msp_core::testing::{CLIENT, Mesh, Receiver, SERVER, Socket, TunnelPair, pattern, seed};
use msp_core::tunnel::{CloseKind, TunnelConfig};
use msp_core::wire::address::Address;
use msp_core::wire::linkstate::{Ack, Repr};
use msp_core::wire::overlay::{Frame, Header, PLEASE_EXPLAIN, Packet, Route};
use msp_core::{Addr, Destination, InterfaceId, NodeConfig, Protection, Sid};

/// Link-state records in the name of the neighbour, from its address.
fn forge(mesh: &mut Mesh, records: &[Repr<'_>]) {
    let sender = mesh.stations[1].node.sid();
    let payload = link_state(records);
    let packet = unnumbered(sender, &[frame(Route::Neighbours, &payload)]);
    let from = mesh.stations[1].address;
    inject(mesh, 0, from, &packet);
}

/// Where the first station has sent datagrams to, all of them since the last call.
fn datagrams_went(mesh: &mut Mesh) -> Vec<Receiver> {
    let recorded = mesh.recorded.replace(Vec::new()).unwrap();
    let with_datagram = recorded.into_iter().filter(|(from, _, packet)| {
        let packet = Packet::parse(packet).unwrap();
        *from == 0 && packet.frames().any(|frame| frame.unwrap().protection == Some(Protection::Encrypted))
    });
    with_datagram.map(|(_, to, _)| to).collect()
}

#[test]
fn forged_announcements_hold_traffic_up_no_longer_than_until_the_next_true_one() {
    let mut mesh = neighbours(seed(1), |link| link);
    let me = mesh.stations[0].node.sid();
    let nonsense = [
        Repr { interface: Some(200), ..hears(me) },
        Repr { interface: None, ..hears(me) },
        Repr { unicast: false, ..hears(me) },
        Repr { unicast: false, broadcast: true, ..hears(me) },
        Repr { ack: Some(Ack { sequence: 77, mask: 0x5555_5555 }), ..hears(me) },
        Repr::new(Address::Whole(me), None),
        Repr::new(Address::Sender, None),
        Repr {
            drop_rate: Some(32),
            ..Repr::new(Address::Whole(me), Some(Address::Whole(Sid::new([9; 32]))))
        },
    ];
    stream(&mut mesh, 0..100, ms(10), |mesh| forge(mesh, &nonsense));
    mesh.run(ms(1000));
    // The forged acknowledgment freed some frames that had arrived anyway: nothing is lost without loss.
    assert_eq!(received(&mut mesh), (0..100).collect::<Vec<_>>());
    stream(&mut mesh, 0..10, ms(10), |_| ());
    assert_eq!(received(&mut mesh), (0..10).collect::<Vec<_>>());
}

#[test]
fn an_announcement_sends_traffic_only_out_of_interfaces_where_the_neighbour_was_heard() {
    let mut mesh = neighbours(seed(2), |link| link);
    let me = mesh.stations[0].node.sid();
    let other = mesh.stations[0].node.add_interface(msp_core::InterfaceConfig::unicast());
    mesh.recorded = Some(Vec::new());
    for (unicast, broadcast) in [(true, false), (false, true), (true, true), (false, false)] {
        forge(&mut mesh, &[Repr { interface: Some(other.0), unicast, broadcast, ..hears(me) }]);
        send(&mut mesh, 0, 1, &7_u32.to_le_bytes()).unwrap();
        mesh.run(ms(0));
        assert_eq!(datagrams_went(&mut mesh), [Receiver::Station(1)]);
    }
    mesh.run(ms(10));
    assert_eq!(received(&mut mesh), [7; 4]);
}

#[test]
fn a_forged_wish_for_broadcast_holds_until_the_next_true_announcement() {
    let mut mesh = neighbours(seed(3), |link| link);
    let me = mesh.stations[0].node.sid();
    forge(&mut mesh, &[Repr { unicast: false, broadcast: true, ..hears(me) }]);
    mesh.recorded = Some(Vec::new());
    stream(&mut mesh, 0..60, ms(10), |_| ());
    let went = datagrams_went(&mut mesh);
    let change = went.iter().position(|to| *to != Receiver::Everyone).unwrap();
    assert!((1..=50).contains(&change), "{change} datagrams later");
    assert!(went[change..].iter().all(|to| *to == Receiver::Station(1)));
    mesh.run(ms(500));
    assert_eq!(received(&mut mesh), (0..60).collect::<Vec<_>>());
}

/// Gaps in forged packets draw acknowledgments, which are packets with later numbers than those of the frames; a
/// forged acknowledgment of these says that the frames are lost.
#[test]
fn no_flood_of_forged_acknowledgments_makes_a_node_repeat_a_frame_without_end() {
    let mut mesh = neighbours(seed(4), |link| link);
    stream(&mut mesh, 0..20, ms(10), |_| ());
    mesh.link(0, 1).set_blackout(true);
    mesh.link(1, 0).set_blackout(true);
    let (me, sid, from) =
        (mesh.stations[0].node.sid(), mesh.stations[1].node.sid(), mesh.stations[1].address);
    for number in 0..10_u32 {
        send(&mut mesh, 0, 1, &number.to_le_bytes()).unwrap();
    }
    let before = mesh.stations[0].node.stats().retransmissions;
    let mut sequence = 100_u8;
    for _ in 0..500 {
        for _ in 0..4 {
            sequence = sequence.wrapping_add(2);
            let route = Route::Neighbour { destination: Address::Whole(me) };
            let asking = Frame { ack_soon: true, ..frame(route, &[]) };
            let gap = packet(Header { sequence: Some(sequence), ..header(sid) }, sequence, &[asking]);
            inject(&mut mesh, 0, from, &gap);
            mesh.run(ms(0));
        }
        let (_, _, last) = mesh.recorded.replace(Vec::new()).unwrap().pop().unwrap();
        let sequence = Packet::parse(&last).unwrap().header().sequence.unwrap();
        forge(&mut mesh, &[Repr { ack: Some(Ack { sequence, mask: 0 }), ..hears(me) }]);
        mesh.run(ms(2));
    }
    let again = mesh.stations[0].node.stats().retransmissions - before;
    assert!((33..=10 * 32).contains(&again), "{again} retransmissions");
    mesh.link(0, 1).set_blackout(false);
    mesh.link(1, 0).set_blackout(false);
    mesh.run(ms(1500));
    stream(&mut mesh, 50..60, ms(10), |_| ());
    mesh.run(ms(1000));
    assert!(received(&mut mesh).ends_with(&(50..60).collect::<Vec<_>>()));
}

/// Whoever says in the name of the server that everything has arrived stops the repair on the way; the
/// stream's own remains.
#[test]
fn streams_repair_what_forged_acknowledgments_have_lost() {
    let config = || {
        let mut config = TunnelConfig::default();
        config.once = true;
        config
    };
    let mut pair = TunnelPair::new(seed(5), [config(), config()], |link| link.delay(ms(5)).loss(20))
        .dial(|_| msp_core::testing::Dial::Open(Socket::waiting().finishing()));
    let data = pattern(5, 100_000);
    pair.open(Socket::waiting().sending(data.clone()).finishing());
    let [client, server] = [CLIENT, SERVER].map(|end| pair.ends[end].tunnel.uplink().sid().unwrap());
    for round in 0..20_000_u32 {
        let records: Vec<_> = (0..8_u8)
            .map(|step| Ack { sequence: step.wrapping_mul(32).wrapping_add(round as u8), mask: u32::MAX })
            .map(|ack| Repr { ack: Some(ack), ..hears(client) })
            .collect();
        let payload = link_state(&records);
        let packet = unnumbered(server, &[frame(Route::Neighbours, &payload)]);
        let now = pair.now;
        pair.ends[CLIENT].tunnel.handle_packet(now, InterfaceId(0), address(2), &packet);
        pair.settle();
        pair.run(ms(10));
        if pair.ends.iter().all(|end| end.sockets.values().all(|socket| socket.closed.is_some())) {
            break;
        }
    }
    let socket = pair.ends[SERVER].sockets.values().next().unwrap();
    assert_eq!(socket.closed, Some(CloseKind::Clean));
    assert!(socket.received == data);
}

#[test]
fn an_address_moves_only_when_the_old_one_has_been_silent_for_the_expiry() {
    for (silence, to) in [(ms(2499), address(2)), (ms(2500), address(66))] {
        let mut node = hostile::node(NodeConfig::default(), false);
        let mut now = msp_core::Instant::from_millis(1000);
        let (me, sid) = (node.sid(), identity(1).sid());
        let payload = link_state(&[hears(me)]);
        let confirm = unnumbered(sid, &[frame(Route::Neighbours, &payload)]);
        node.handle_packet(now, InterfaceId(0), address(2), &confirm);
        now += silence;
        // Not by its own packet: it would be gone.
        node.handle_packet(now, InterfaceId(0), address(66), &confirm);
        node.send(now, PORT, Addr::new(sid, PORT), Protection::Encrypted, b"x").unwrap();
        let sent = hostile::drain(&mut node, now);
        assert!(sent.iter().all(|(destination, _)| *destination == Destination::Unicast(to)), "{sent:?}");
        assert!(!sent.is_empty());
    }
}

#[test]
fn made_up_interfaces_do_not_draw_traffic_away() {
    let mut mesh = neighbours(seed(6), |link| link);
    let sid = mesh.stations[1].node.sid();
    mesh.recorded = Some(Vec::new());
    stream(&mut mesh, 0..600, ms(10), |mesh| {
        for interface in 1..=9 {
            let forged = Header { interface: Some(interface), ..header(sid) };
            inject(mesh, 0, address(66), &packet(forged, 1, &[]));
        }
    });
    let went = datagrams_went(&mut mesh);
    assert!(went.len() >= 600 && went.iter().all(|to| *to == Receiver::Station(1)), "{went:?}");
    mesh.run(ms(500));
    assert_eq!(received(&mut mesh).len(), 600);
}

/// Somebody was there first with the SID of the other, and stays. That gives way to the first packet that
/// only the other can have sealed, or that comes from where the user says that it is.
#[test]
fn who_takes_the_name_of_a_neighbour_first_loses_it_to_the_neighbour() {
    for interface in [0, 5] {
        for configured in [false, true] {
            let mut mesh = Mesh::new(seed(7));
            for _ in 0..2 {
                mesh.add(NodeConfig::default(), !configured);
            }
            let sid = identity(1).sid();
            let forged = packet(Header { interface: Some(interface), ..header(sid) }, 1, &[]);
            inject(&mut mesh, 0, address(66), &forged);
            mesh.join(0, 1, |link| link.delay(ms(2)));
            if configured {
                mesh.configure(0, 1);
            }
            mesh.recorded = Some(Vec::new());
            for number in 0..20_u32 {
                inject(&mut mesh, 0, address(66), &forged);
                send(&mut mesh, 1, 0, &number.to_le_bytes()).unwrap();
                mesh.run(ms(100));
            }
            datagrams_went(&mut mesh);
            stream(&mut mesh, 0..20, ms(100), |mesh| inject(mesh, 0, address(66), &forged));
            let went = datagrams_went(&mut mesh);
            assert!(went.iter().all(|to| *to == Receiver::Station(1)), "{went:?}");
            assert_eq!(received(&mut mesh), (0..20).collect::<Vec<_>>(), "{interface} {configured}");
        }
    }
}

#[test]
fn forged_numbers_of_packets_and_frames_cost_what_they_name_and_no_more() {
    let mut mesh = neighbours(seed(8), |link| link);
    let sid = mesh.stations[0].node.sid();
    let from = mesh.stations[0].address;
    let mut round = 0_u8;
    stream(&mut mesh, 0..200, ms(10), |mesh| {
        round = round.wrapping_add(13);
        let payload = hostile::plaintext(PORT, PORT, b"forged");
        let forged = Header { sequence: Some(round), ..header(sid) };
        let forged = packet(forged, round.wrapping_mul(7), &[frame(Route::Neighbours, &payload)]);
        inject(mesh, 1, from, &forged);
    });
    mesh.run(ms(1300));
    let during = received(&mut mesh);
    // Some are lost, and some come again, since the receiver has forgotten that it had them.
    assert!((100..800).contains(&during.len()), "{during:?}");
    stream(&mut mesh, 0..50, ms(10), |_| ());
    mesh.run(ms(1000));
    let after = received(&mut mesh);
    assert!((40..=50).contains(&after.len()), "the last numbers forged may cost a few: {after:?}");
}

#[test]
fn a_forged_route_lasts_only_as_long_as_who_tells_it() {
    // 0 - 1 is a link; the second says that it leads to `far`, through others.
    let mut mesh = neighbours(seed(9), |link| link);
    let (far, liar) = (Sid::new([77; 32]), identity(66).sid());
    let lie = link_state(&[Repr::new(Address::Whole(far), Some(Address::Sender))]);
    let lie = unnumbered(liar, &[frame(Route::Neighbours, &lie)]);
    inject(&mut mesh, 0, address(66), &lie);
    assert!(!mesh.stations[0].node.is_reachable(&far), "it does not even say that it hears us");
    let between = Sid::new([78; 32]);
    let way = [
        Repr::new(Address::Whole(between), Some(Address::Sender)),
        Repr::new(Address::Whole(far), Some(Address::Whole(between))),
    ];
    forge(&mut mesh, &way);
    mesh.run(ms(2600));
    forge(&mut mesh, &way);
    assert!(mesh.stations[0].node.is_reachable(&far), "the liar is gone");
}

#[test]
fn a_signing_key_is_believed_only_from_its_owner_who_was_asked() {
    let mut mesh = neighbours(seed(10), |link| link);
    let (me, victim) = (mesh.stations[0].node.sid(), mesh.stations[1].node.sid());
    let liar = identity(66);
    let plain = hostile::plaintext(PORT, PORT, b"forged");
    let signed = hostile::sign(&liar, &plain);
    let bad = Frame { protection: Some(Protection::Signed), ..frame(Route::Neighbours, &signed) };
    let mapping = msp_core::Port::KEY_MAPPING;
    let claim = [&[2][..], &liar.signing_key(), &liar.sign(victim.as_bytes())].concat();
    let claim = hostile::plaintext(mapping, mapping, &claim);
    let to_me = Route::Neighbour { destination: Address::Whole(me) };
    mesh.link(1, 0).set_blackout(true);
    for _ in 0..3 {
        // The signed frame makes the node ask for the key, and the liar answers first.
        let from = mesh.stations[1].address;
        inject(&mut mesh, 0, from, &unnumbered(victim, &[bad]));
        inject(&mut mesh, 0, from, &unnumbered(victim, &[frame(to_me, &claim)]));
        mesh.run(ms(150));
    }
    mesh.link(1, 0).set_blackout(false);
    mesh.run(ms(1000));
    assert_eq!(mesh.stations[0].datagrams, [], "signed with a key that is not the victim's");
    let honest = hostile::sign(&identity(1), &plain);
    let good = Frame { payload: &honest, ..bad };
    let from = mesh.stations[1].address;
    inject(&mut mesh, 0, from, &unnumbered(victim, &[good]));
    mesh.run(ms(100));
    inject(&mut mesh, 0, from, &unnumbered(victim, &[good, bad]));
    mesh.run(ms(100));
    let datagrams = &mesh.stations[0].datagrams;
    assert!(!datagrams.is_empty() && datagrams.iter().all(|it| it.protection == Protection::Signed));
    assert!(datagrams.len() <= 2);
}

#[test]
fn forged_explanations_do_not_displace_what_is_known() {
    let mut mesh = neighbours(seed(11), |link| link);
    let far = Sid::new([77; 32]);
    forge(&mut mesh, &[Repr::new(Address::Whole(far), Some(Address::Sender))]);
    assert!(mesh.stations[0].node.is_reachable(&far));
    let sid = mesh.stations[1].node.sid();
    let mut random = hostile::rng(11);
    // A prefix that means nothing makes the node ask, and believe answers for a second.
    let unknown = Frame { source: Some(Address::Prefix(&[0xab, 0xcd])), ..frame(Route::Neighbours, b"x") };
    let from = mesh.stations[1].address;
    inject(&mut mesh, 0, from, &unnumbered(sid, &[unknown]));
    for _ in 0..40 {
        let mut items = Vec::new();
        (0..30).for_each(|_| Address::Whole(Sid::new(random.bytes())).emit(&mut items));
        let answer = Frame { legacy_type: Some(PLEASE_EXPLAIN), ..frame(Route::Neighbours, &items) };
        inject(&mut mesh, 0, from, &unnumbered(sid, &[answer]));
    }
    assert!(mesh.stations[0].node.is_reachable(&far));
}

/// Two identities share one key for both directions, and nothing that is sealed says who has sealed it. So what a
/// node has sent could be sent back to it, in the name of the one it was for.
#[test]
fn what_a_node_has_sealed_does_not_come_back_from_another() {
    let mut mesh = neighbours(seed(9), |link| link);
    stream(&mut mesh, 0..20, ms(10), |_| ());
    let [me, other] = [0, 1].map(|index| mesh.stations[index].node.sid());
    let recorded = mesh.recorded.take().unwrap();
    let from = mesh.stations[1].address;
    let mut sent_back = 0;
    for (_, _, bytes) in recorded.iter().filter(|(from, ..)| *from == 0) {
        for genuine in Packet::parse(bytes).unwrap().frames().map(Result::unwrap) {
            if genuine.protection == Some(Protection::Encrypted) {
                let route = Route::Neighbour { destination: Address::Whole(me) };
                let reflected = Frame { source: None, route, ..genuine };
                inject(&mut mesh, 0, from, &unnumbered(other, &[reflected]));
                sent_back += 1;
            }
        }
    }
    mesh.run(ms(100));
    assert!(sent_back >= 20);
    assert!(mesh.stations[0].datagrams.is_empty(), "{:?}", mesh.stations[0].datagrams);
    assert!(mesh.stations[0].node.stats().unauthentic >= sent_back);
}

//! A node next to a scripted neighbour that behaves as the reference daemon does.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scripted;

use msp_core::wire::address::{Address, explain_items};
use msp_core::wire::overlay::{Frame, Header, Hops, PLEASE_EXPLAIN, Packet, Route};
use msp_core::wire::{linkstate, mdp};
use msp_core::{Destination, Identity, InterfaceId, Port, Protection, Sid};
use scripted::{INTERFACE, Scripted, address, ms};

#[test]
fn a_daemon_gets_the_announcement_of_a_full_leaf() {
    let mut scripted = Scripted::new();
    scripted.receive(scripted.header(None), &[]);
    scripted.run(ms(5));
    let (_, packet) = scripted.sent.iter().find(|(to, _)| *to == Destination::Unicast(address(2))).unwrap();
    let packet = Packet::parse(packet).unwrap();
    assert_eq!(packet.header().sender, Address::Whole(scripted.node.sid()));
    assert!(packet.header().sequenced_frames && packet.header().unicast);
    let frames: Vec<_> = packet.frames().map(Result::unwrap).collect();
    assert_eq!((frames.len(), frames[0].route, frames[0].payload[0]), (1, Route::Neighbours, 0x05));
    let daemon = Address::Whole(scripted.daemon.sid());
    let records: Vec<_> = linkstate::Repr::parse_all(&frames[0].payload[1..]).map(Result::unwrap).collect();
    let hears = linkstate::Repr {
        interface: Some(0),
        unicast: true,
        ..linkstate::Repr::new(Address::Sender, Some(daemon))
    };
    let uses = linkstate::Repr { drop_rate: Some(0), ..linkstate::Repr::new(daemon, Some(Address::Sender)) };
    assert_eq!(records, [hears, uses]);
}

#[test]
fn announcements_repeat_every_tick_in_short_form() {
    let mut scripted = Scripted::up();
    for _ in 0..4 {
        scripted.sent.clear();
        scripted.run(ms(500));
        scripted.confirm(None);
        let unicast: Vec<_> =
            scripted.sent.iter().filter(|(to, _)| *to == Destination::Unicast(address(2))).collect();
        assert_eq!(unicast.len(), 1);
        assert!(unicast[0].1.len() < 70, "{} bytes", unicast[0].1.len());
        let own = scripted.node.sid();
        assert_eq!(
            Packet::parse(&unicast[0].1).unwrap().header().sender,
            Address::Prefix(&own.as_bytes()[..6])
        );
    }
}

#[test]
fn frames_that_ask_for_it_are_acknowledged_soon_and_gaps_at_once() {
    let mut scripted = Scripted::up();
    for sequence in 1..=3 {
        let frame = Frame {
            ack_soon: true,
            ..scripted.frame(Route::Neighbours, Protection::Clear, b"\x80\x08\x81\x02x")
        };
        scripted.receive(scripted.header(Some(sequence)), &[frame]);
    }
    scripted.drain();
    assert_eq!(scripted.acks(), [], "not at once");
    scripted.run(ms(4));
    assert_eq!(scripted.acks(), [linkstate::Ack { sequence: 3, mask: 0b11 }]);
    scripted.receive(scripted.header(Some(6)), &[]);
    scripted.drain();
    assert_eq!(scripted.acks()[1..], [linkstate::Ack { sequence: 6, mask: 0b11100 }]);
    for sequence in 7..=22 {
        scripted.drain();
        assert_eq!(scripted.acks().len(), 2, "before {sequence}");
        scripted.receive(scripted.header(Some(sequence)), &[]);
    }
    scripted.drain();
    assert_eq!(scripted.acks().len(), 3, "after 16 packets");
}

#[test]
fn packets_that_come_all_at_once_are_all_acknowledged() {
    let mut scripted = Scripted::up();
    scripted.receive(scripted.header(Some(0)), &[]);
    scripted.run(ms(500));
    scripted.sent.clear();
    for sequence in (1..=100).filter(|sequence| sequence % 10 != 0) {
        scripted.receive(scripted.header(Some(sequence)), &[]);
    }
    scripted.drain();
    let mut acknowledged: Vec<u8> = Vec::new();
    for ack in scripted.acks() {
        let earlier = (0..32).filter(|bit| ack.mask >> bit & 1 != 0).map(|bit| ack.sequence - 1 - bit);
        acknowledged.extend(earlier.chain([ack.sequence]));
    }
    acknowledged.sort_unstable();
    acknowledged.dedup();
    assert_eq!(acknowledged, (0..=99).filter(|it| *it == 0 || it % 10 != 0).collect::<Vec<_>>());
    assert_eq!(scripted.frames().len(), 1, "in one message");
}

#[test]
fn a_packet_is_filled_to_the_last_byte_of_the_mtu() {
    let fullest = (530..610).map(|length| {
        let mut scripted = Scripted::up();
        for length in [500, length] {
            scripted.send(scripted.daemon.sid(), &vec![7; length]).unwrap();
        }
        scripted.drain();
        scripted.sent.iter().map(|(_, packet)| packet.len()).max().unwrap()
    });
    assert_eq!(fullest.max(), Some(1200));
}

#[test]
fn numbers_go_on_where_the_neighbour_saw_the_last_ones() {
    let mut scripted = Scripted::new();
    scripted.receive(scripted.header(None), &[]);
    scripted.run(ms(10));
    assert!(scripted.frames().iter().all(|(sequence, _)| sequence.is_none()));
    scripted.confirm(Some(linkstate::Ack { sequence: 77, mask: 0 }));
    scripted.sent.clear();
    scripted.send(scripted.daemon.sid(), b"x").unwrap();
    scripted.drain();
    assert_eq!(scripted.frames()[0].0, Some(78));
}

#[test]
fn a_frame_is_resent_in_a_new_packet_with_its_old_number_until_acknowledged() {
    let mut scripted = Scripted::up();
    let to = scripted.daemon.sid();
    let mut last = 0;
    for _ in 0..6 {
        scripted.send(to, b"x").unwrap();
        scripted.drain();
        last = scripted.frames().last().unwrap().0.unwrap();
    }
    let first = last - 5;
    let numbers: Vec<_> = scripted.frames().iter().map(|(_, frame)| frame.sequence.unwrap()).collect();
    assert!(scripted.frames().iter().all(|(_, frame)| frame.ack_soon));
    scripted.sent.clear();
    // The first two were lost; that the third was, too, is not certain yet.
    scripted.confirm(Some(linkstate::Ack { sequence: last, mask: 0b11 }));
    scripted.drain();
    let again: Vec<_> =
        scripted.frames().iter().map(|(packet, frame)| (packet.unwrap(), frame.sequence.unwrap())).collect();
    assert_eq!(again.iter().map(|(_, number)| *number).collect::<Vec<_>>(), numbers[..3]);
    assert!(again.iter().all(|(packet, _)| *packet > last && *packet > first));
    scripted.sent.clear();
    scripted.confirm(Some(linkstate::Ack { sequence: again.last().unwrap().0, mask: 0xff }));
    scripted.run(ms(450));
    assert!(scripted.frames().iter().all(|(_, frame)| !frame.ack_soon), "nothing more to repeat");
}

#[test]
fn a_daemon_that_hears_only_broadcasts_gets_broadcasts() {
    let mut scripted = Scripted::new();
    scripted.receive(scripted.header(None), &[]);
    let me = Address::Whole(scripted.node.sid());
    let hears = linkstate::Repr {
        interface: Some(0),
        broadcast: true,
        ..linkstate::Repr::new(Address::Sender, Some(me))
    };
    scripted.link_state(&[hears]);
    scripted.sent.clear();
    scripted.send(scripted.daemon.sid(), b"x").unwrap();
    scripted.drain();
    let [(to, packet)] = &scripted.sent[..] else { panic!("one copy: {:?}", scripted.sent.len()) };
    assert_eq!(*to, Destination::Broadcast);
    let packet = Packet::parse(packet).unwrap();
    assert_eq!((packet.header().unicast, packet.header().sequence), (false, Some(1)));
}

#[test]
fn what_is_for_nodes_further_away_goes_to_who_leads_there() {
    let mut scripted = Scripted::up();
    let far = Identity::from_seed([9; 32]).sid();
    // The only neighbour is as good a guess as any.
    assert!(!scripted.node.is_reachable(&far));
    scripted.send(far, b"x").unwrap();
    let route = linkstate::Repr {
        drop_rate: Some(0),
        ..linkstate::Repr::new(Address::Whole(far), Some(Address::Sender))
    };
    scripted.link_state(&[route]);
    assert!(scripted.node.is_reachable(&far));
    scripted.send(far, b"x").unwrap();
    scripted.drain();
    let routes: Vec<_> = scripted.frames().iter().map(|(_, frame)| frame.route).collect();
    let daemon = scripted.daemon.sid();
    let next_hop = Address::Prefix(&daemon.as_bytes()[..6]);
    // Who leads there knows whom we mean.
    let destination = Address::Prefix(&far.as_bytes()[..6]);
    let via = Route::Via { destination, next_hop, hops: Hops::DEFAULT };
    assert_eq!(routes, [via, via]);
    let gone = linkstate::Repr { drop_rate: Some(32), ..linkstate::Repr::new(Address::Whole(far), None) };
    scripted.link_state(&[gone]);
    assert!(!scripted.node.is_reachable(&far));
}

#[test]
fn a_neighbour_that_hears_a_node_itself_leads_there_and_one_that_would_come_back_does_not() {
    let mut scripted = Scripted::up();
    let [far, other, direct] = [7, 8, 9].map(|number| Identity::from_seed([number; 32]).sid());
    let record =
        |to, by| linkstate::Repr { drop_rate: Some(0), ..linkstate::Repr::new(Address::Whole(to), Some(by)) };
    let me = Address::Whole(scripted.node.sid());
    scripted.link_state(&[record(far, me)]);
    assert!(!scripted.node.is_reachable(&far), "through this node");
    scripted.link_state(&[record(far, Address::Whole(other))]);
    assert!(!scripted.node.is_reachable(&far), "nobody says how to get to the node before it");
    scripted.link_state(&[record(other, Address::Sender)]);
    assert!(scripted.node.is_reachable(&far));

    // This neighbour does not hear us, so what goes there is not known to arrive.
    let mut payload = vec![0x05];
    record(far, Address::Sender).emit(&mut payload);
    let frame = scripted.frame(Route::Neighbours, Protection::Clear, &[]);
    let header = Header { sender: Address::Whole(direct), ..scripted.header(None) };
    scripted.receive(header, &[Frame { payload: &payload, ..frame }]);
    assert!(scripted.node.is_reachable(&far), "the way that works stays");
    scripted.link_state(&[record(other, me)]);
    assert!(!scripted.node.is_reachable(&far), "it would come back");
}

#[test]
fn a_daemon_that_is_heard_only_by_broadcast_is_told_so() {
    let mut scripted = Scripted::new();
    scripted.receive(Header { unicast: false, interface: Some(3), ..scripted.header(None) }, &[]);
    scripted.run(ms(5));
    let (_, frame) = scripted.frames()[0];
    let hears = linkstate::Repr::parse_all(&frame.payload[1..]).next().unwrap().unwrap();
    assert_eq!((hears.interface, hears.broadcast, hears.unicast), (Some(3), true, false));
}

#[test]
fn abbreviations_are_asked_about_and_explained() {
    let mut scripted = Scripted::new();
    let daemon = scripted.daemon.sid();
    let prefix = Address::Prefix(&daemon.as_bytes()[..2]);
    for _ in 0..5 {
        scripted.receive(Header { sender: prefix, ..scripted.header(None) }, &[]);
    }
    scripted.drain();
    let asked = scripted.sent.iter().filter(|(to, _)| *to == Destination::Unicast(address(2))).count();
    assert_eq!(asked, 1, "once in 100 ms");
    let (sequence, question) = scripted.frames()[0];
    assert_eq!(
        (sequence, question.route, question.legacy_type),
        (None, Route::Neighbours, Some(PLEASE_EXPLAIN))
    );
    assert_eq!(explain_items(question.payload).collect::<Vec<_>>(), [prefix]);

    scripted.receive(scripted.header(None), &[]);
    scripted.confirm(None);
    scripted.run(ms(600));
    scripted.confirm(None);
    scripted.sent.clear();
    let own = scripted.node.sid();
    let question = [&[1], &own.as_bytes()[..1]].concat();
    for _ in 0..3 {
        let frame = scripted.frame(Route::Neighbours, Protection::Clear, &[]);
        scripted.receive(
            scripted.header(None),
            &[Frame { legacy_type: Some(PLEASE_EXPLAIN), payload: &question, ..frame }],
        );
    }
    scripted.drain();
    let answers: Vec<_> =
        scripted.sent.iter().map(|(_, packet)| *Packet::parse(packet).unwrap().header()).collect();
    assert_eq!(answers.len(), 1, "once in 500 ms");
    assert_eq!(answers[0].sender, Address::Whole(own));
}

#[test]
fn explanations_that_nobody_asked_for_are_not_believed() {
    let mut scripted = Scripted::up();
    let other = Sid::new([7; 32]);
    let mut payload = Vec::new();
    Address::Whole(other).emit(&mut payload);
    let frame = scripted.frame(Route::Neighbours, Protection::Clear, &[]);
    scripted.receive(
        scripted.header(None),
        &[Frame { legacy_type: Some(PLEASE_EXPLAIN), payload: &payload, ..frame }],
    );
    scripted.sent.clear();
    let source = Some(Address::Prefix(&[7, 7]));
    let frame =
        Frame { source, ..scripted.frame(Route::Neighbours, Protection::Clear, b"\x80\x08\x81\x02x") };
    scripted.receive(scripted.header(None), &[frame]);
    assert!(scripted.node.poll_datagram().is_none());
    assert_eq!(scripted.node.stats().unresolved, 1);
}

#[test]
fn key_mapping_is_answered_only_when_asked_in_secret() {
    let mut scripted = Scripted::up();
    let port = Port::KEY_MAPPING;
    let me = scripted.node.sid();
    let clear = scripted.frame(Route::Neighbours, Protection::Clear, b"\x03\x02");
    scripted.receive(scripted.header(None), &[clear]);
    scripted.drain();
    assert_eq!(scripted.frames().len(), 0);
    let sealed = scripted.seal(port, port, &[2]);
    let frame =
        scripted.frame(Route::Neighbour { destination: Address::Whole(me) }, Protection::Encrypted, &[]);
    scripted.receive(scripted.header(None), &[Frame { payload: &sealed, ..frame }]);
    scripted.drain();
    let frames = scripted.frames();
    let [(_, answer)] = frames[..] else { panic!("one answer") };
    assert_eq!((answer.protection, answer.payload.len()), (Some(Protection::Encrypted), 138));
    let mut payload = answer.payload.to_vec();
    let key = scripted.daemon.shared_key(&me).unwrap();
    let plaintext = mdp::Repr::parse(key.open(&mut payload).unwrap()).unwrap();
    let mdp::KeyMapping::Answer { signing_key, signature } =
        mdp::KeyMapping::parse(plaintext.payload).unwrap()
    else {
        panic!("an answer")
    };
    assert!(msp_core::mdp::verify(signing_key, me.as_bytes(), signature));
}

/// Everything in `spec/20` section 8, `spec/40` and `spec/80` section 4 that makes a daemon crash or stumble.
#[test]
fn what_crashes_a_daemon_is_counted() {
    let mut scripted = Scripted::up();
    let me = scripted.node.sid();
    let to_me = Route::Neighbour { destination: Address::Whole(me) };
    let big = vec![0x41; 1300];
    let forbidden = [
        (Route::Neighbours, Some(Protection::Encrypted), &b"\x80\x08\x81\x02x"[..]),
        (to_me, None, b"\x80\x08\x81\x02x"),
        (to_me, Some(Protection::Clear), b"\x80\x08\x81\x02"),
        (Route::Neighbours, Some(Protection::Clear), b"\x0f"),
    ];
    for (count, (route, protection, payload)) in forbidden.into_iter().enumerate() {
        let frame = scripted.frame(route, Protection::Clear, &[]);
        scripted.receive(scripted.header(None), &[Frame { protection, payload, ..frame }]);
        assert_eq!(scripted.node.stats().forbidden, count as u64 + 1);
        assert!(scripted.node.poll_datagram().is_none());
    }
    let others = [
        (to_me, Protection::Clear, &big[..]),
        (to_me, Protection::Encrypted, b"short"),
        (to_me, Protection::Signed, b"short"),
        (to_me, Protection::Clear, b""),
        (to_me, Protection::Clear, b"\xff\xff\xff\xff\xff\xff"),
        (Route::Neighbours, Protection::Clear, b"\x03\x02"),
        (Route::Neighbours, Protection::Clear, b"\x03\xf0\x00"),
        (Route::Neighbour { destination: Address::Previous }, Protection::Clear, b"\x80\x08\x81\x02x"),
        (Route::Neighbour { destination: Address::Prefix(&[]) }, Protection::Clear, b"\x80\x08\x81\x02x"),
        (
            Route::Neighbour { destination: Address::PointToPointReceiver },
            Protection::Clear,
            b"\x80\x08\x81\x02x",
        ),
    ];
    for (route, protection, payload) in others {
        let frame = scripted.frame(route, protection, &[]);
        // What follows such a frame is still read.
        let next = scripted.frame(to_me, Protection::Clear, b"\x80\x08\x81\x02next");
        scripted.receive(scripted.header(None), &[Frame { payload, ..frame }, next]);
        let datagrams: Vec<_> = core::iter::from_fn(|| scripted.node.poll_datagram()).collect();
        let [.., last] = &datagrams[..] else { panic!("the next frame") };
        assert_eq!(last.payload, &b"next"[..]);
        assert!(datagrams.len() == 1 || payload.len() == 1300, "{payload:?}");
    }
    for packet in [&b""[..], b"\x01", b"\x08", &[0xff; 1500], &[0; 9000], &[1; 40]] {
        scripted.node.handle_packet(scripted.now, INTERFACE, address(2), packet);
        scripted.node.handle_packet(scripted.now, InterfaceId(200), address(2), packet);
    }
    scripted.drain();
    assert!(scripted.node.is_reachable(&scripted.daemon.sid()));
    for (_, packet) in &scripted.sent {
        for frame in Packet::parse(packet).unwrap().frames().map(Result::unwrap) {
            let broadcast = matches!(frame.route, Route::Neighbours | Route::Flood { .. });
            assert!(!broadcast || frame.protection == Some(Protection::Clear));
            assert!(frame.payload.len() < 1200 && frame.payload != b"\x05");
        }
    }
}

#[test]
fn a_daemon_that_starts_again_is_heard_at_once() {
    let mut scripted = Scripted::up();
    for sequence in 1..=20 {
        scripted.receive(scripted.header(Some(sequence)), &[]);
    }
    assert_eq!(scripted.node.stats().duplicate_packets, 0);
    scripted.receive(scripted.header(Some(20)), &[]);
    assert_eq!(scripted.node.stats().duplicate_packets, 1);
    // It numbers no packets before it knows that it is heard, then from the start.
    scripted.receive(scripted.header(None), &[]);
    for sequence in 1..=20 {
        scripted.receive(scripted.header(Some(sequence)), &[]);
    }
    assert_eq!(scripted.node.stats().duplicate_packets, 1);
}

#[test]
fn a_daemon_that_starts_again_may_reuse_the_numbers_of_its_frames() {
    let mut scripted = Scripted::up();
    let frame = scripted.frame(Route::Neighbours, Protection::Clear, b"\x80\x08\x81\x02x");
    for (sequence, duplicates) in [(Some(1), 0), (Some(2), 1), (None, 1), (None, 2), (Some(1), 3)] {
        scripted.receive(scripted.header(sequence), &[frame]);
        assert_eq!(scripted.node.stats().duplicate_frames, duplicates, "in packet {sequence:?}");
    }
}

#[test]
fn packets_from_elsewhere_do_not_draw_ours_there() {
    let mut scripted = Scripted::up();
    let mut forged = Vec::new();
    scripted.header(None).emit(&mut forged);
    scripted.node.handle_packet(scripted.now, INTERFACE, address(66), &forged);
    scripted.send(scripted.daemon.sid(), b"x").unwrap();
    scripted.drain();
    let to: Vec<_> = scripted.sent.iter().map(|(to, _)| *to).collect();
    assert_eq!(to, [Destination::Unicast(address(2))]);
}

#[test]
fn hearing_a_neighbour_in_a_better_way_is_reported_soon() {
    let mut scripted = Scripted::new();
    scripted.receive(Header { unicast: false, ..scripted.header(None) }, &[]);
    scripted.run(ms(450));
    scripted.sent.clear();
    scripted.receive(scripted.header(None), &[]);
    scripted.run(ms(5));
    let [(_, frame)] = scripted.frames()[..] else { panic!("one announcement") };
    let first = linkstate::Repr::parse_all(&frame.payload[1..]).next().unwrap().unwrap();
    assert!(first.unicast && first.broadcast, "it is heard in both ways, and prefers unicast");
}

#[test]
fn a_neighbour_that_does_not_hear_us_yet_is_told_by_all_means_and_often() {
    let mut scripted = Scripted::new();
    scripted.receive(scripted.header(None), &[]);
    scripted.run(ms(450));
    let told = |scripted: &Scripted, to: Destination| {
        let packets = scripted.sent.iter().filter(|(destination, _)| *destination == to);
        packets.filter(|(_, packet)| Packet::parse(packet).unwrap().frames().next().is_some()).count()
    };
    assert_eq!(told(&scripted, Destination::Unicast(address(2))), 5);
    assert_eq!(told(&scripted, Destination::Broadcast), 5);
}

#[test]
fn a_node_alone_searches_less_and_less_often() {
    let mut scripted = Scripted::new();
    scripted.run(ms(9600));
    assert_eq!(scripted.sent.len(), 20, "every 500 ms at first");
    scripted.run(ms(50_000));
    assert_eq!(scripted.sent.len(), 30, "then every 5 s");
}

/// Streams outlive ten seconds of silence, so the neighbour must be found again within that.
#[test]
fn a_node_that_has_lost_its_neighbour_searches_as_at_first() {
    let mut scripted = Scripted::new();
    scripted.run(ms(60_000));
    scripted.receive(scripted.header(None), &[]);
    scripted.run(ms(2400)); // it is heard no more, and soon gone
    scripted.sent.clear();
    scripted.run(ms(10_000));
    let searches = scripted.sent.iter().filter(|(to, _)| *to == Destination::Broadcast).count();
    assert_eq!(searches, 20);
}

#[test]
fn a_twin_of_a_neighbour_that_proved_its_key_does_not_take_its_place() {
    let mut scripted = Scripted::up();
    let daemon = scripted.daemon.sid();
    let mut twin = *daemon.as_bytes();
    twin[31] ^= 1;
    let twin = Sid::new(twin);
    let short = Address::Prefix(&daemon.as_bytes()[..6]);
    let sealed = scripted.seal(Port::from(300), Port::from(300), b"mine");
    let destination = Address::Whole(scripted.node.sid());
    for (twin_is_there, header) in [(false, scripted.header(None)), (true, scripted.header(None))] {
        if twin_is_there {
            scripted.receive(Header { sender: Address::Whole(twin), ..header }, &[]);
            let me = Address::Whole(scripted.node.sid());
            let record = linkstate::Repr {
                interface: Some(0),
                unicast: true,
                ..linkstate::Repr::new(Address::Sender, Some(me))
            };
            let mut payload = vec![0x05];
            record.emit(&mut payload);
            let frame = scripted.frame(Route::Neighbours, Protection::Clear, &[]);
            scripted.receive(
                Header { sender: Address::Whole(twin), ..header },
                &[Frame { payload: &payload, ..frame }],
            );
        }
        let frame = scripted.frame(Route::Neighbours, Protection::Encrypted, &[]);
        let frame = Frame { route: Route::Neighbour { destination }, payload: &sealed, ..frame };
        scripted.receive(Header { sender: short, ..header }, &[frame]);
        let datagram = scripted.node.poll_datagram().unwrap();
        assert_eq!((datagram.from.sid, &datagram.payload[..]), (daemon, &b"mine"[..]));
    }
}

//! A node that meets abbreviated addresses (`spec/30` section 5).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scripted;

use msp_core::wire::address::{Address, explain_items};
use msp_core::wire::linkstate;
use msp_core::wire::overlay::{Frame, Header, PLEASE_EXPLAIN, Packet, Route};
use msp_core::{Destination, Identity, InterfaceConfig, InterfaceId, Protection, Sid};
use scripted::{Scripted, address, ms};

/// A datagram with one byte.
const DATAGRAM: &[u8] = b"\x80\x08\x81\x02x";

/// The daemon passes on a datagram from a node whose SID it abbreviates.
fn pass_on(scripted: &mut Scripted, sources: &[Address<'_>]) {
    let frames: Vec<_> = sources
        .iter()
        .map(|source| Frame {
            source: Some(*source),
            ..scripted.frame(Route::Neighbours, Protection::Clear, DATAGRAM)
        })
        .collect();
    scripted.receive(scripted.header(None), &frames);
}

/// The daemon sends items of a please-explain frame.
fn explain(scripted: &mut Scripted, items: &[Address<'_>]) {
    let mut payload = Vec::new();
    items.iter().for_each(|item| item.emit(&mut payload));
    let frame = scripted.frame(Route::Neighbours, Protection::Clear, &[]);
    let frame = Frame { legacy_type: Some(PLEASE_EXPLAIN), payload: &payload, ..frame };
    scripted.receive(scripted.header(None), &[frame]);
}

/// What the node asks about or explains to the daemon, in each packet.
fn explained(scripted: &Scripted) -> Vec<Vec<Address<'_>>> {
    let frames = scripted.frames();
    let frames = frames.iter().filter(|(_, frame)| frame.legacy_type == Some(PLEASE_EXPLAIN));
    frames.map(|(_, frame)| explain_items(frame.payload).collect()).collect()
}

#[test]
fn a_prefix_is_asked_about_once_in_a_packet() {
    let mut scripted = Scripted::up();
    let [a, b] = [Address::Prefix(&[7, 7]), Address::Prefix(&[8, 8, 8])];
    pass_on(&mut scripted, &[a, b, a, Address::Prefix(&[])]);
    scripted.drain();
    assert_eq!(explained(&scripted), [[a, b]]);
    assert_eq!(scripted.node.stats().unresolved, 4);
}

#[test]
fn a_question_has_at_most_256_bytes() {
    let mut scripted = Scripted::up();
    let prefixes: Vec<[u8; 7]> = (0..40).map(|number| [number, 7, 7, 7, 7, 7, 7]).collect();
    let sources: Vec<Address<'_>> = prefixes.iter().map(|prefix| Address::Prefix(prefix)).collect();
    pass_on(&mut scripted, &sources);
    scripted.drain();
    assert_eq!(explained(&scripted), [&sources[..32]], "of 8 bytes each");
}

#[test]
fn an_answer_is_believed_for_a_second() {
    let far = Identity::from_seed([9; 32]);
    let prefix = far.sid();
    let prefix = Address::Prefix(&prefix.as_bytes()[..3]);
    for answer in [Address::Whole(far.sid()), Address::SigningKey(far.signing_key())] {
        for (wait, believed) in [(999, 1), (1000, 0)] {
            let mut scripted = Scripted::up();
            pass_on(&mut scripted, &[prefix]);
            scripted.run(ms(wait));
            explain(&mut scripted, &[answer]);
            pass_on(&mut scripted, &[prefix]);
            let from: Vec<Sid> = core::iter::from_fn(|| scripted.node.poll_datagram())
                .map(|datagram| datagram.from.sid)
                .collect();
            assert_eq!(from, vec![far.sid(); believed], "{answer:?} after {wait} ms");
        }
    }
}

#[test]
fn what_nobody_can_be_is_not_believed() {
    let mut scripted = Scripted::up();
    pass_on(&mut scripted, &[Address::Prefix(&[0, 0])]);
    explain(&mut scripted, &[Address::Whole(Sid::new([0; 32]))]);
    pass_on(&mut scripted, &[Address::Prefix(&[0, 0])]);
    assert!(scripted.node.poll_datagram().is_none());
    assert_eq!(scripted.node.stats().unresolved, 2);
}

#[test]
fn a_question_is_answered_with_all_that_it_can_mean_up_to_eight() {
    let mut scripted = Scripted::up();
    pass_on(&mut scripted, &[Address::Prefix(&[9])]); // makes it curious
    let known: Vec<Sid> = (0..10)
        .map(|number| {
            let mut sid = [7; 32];
            sid[1] = number;
            Sid::new(sid)
        })
        .collect();
    let items: Vec<Address<'_>> = known.iter().map(|sid| Address::Whole(*sid)).collect();
    explain(&mut scripted, &items);
    scripted.drain();
    scripted.sent.clear();
    explain(&mut scripted, &[Address::Prefix(&[7, 3])]);
    scripted.drain();
    assert_eq!(explained(&scripted), [[items[3]]]);
    scripted.run(ms(600));
    scripted.sent.clear();
    explain(&mut scripted, &[Address::Prefix(&[7])]);
    scripted.drain();
    assert_eq!(explained(&scripted), [&items[..8]]);
}

#[test]
fn answers_to_many_questions_have_at_most_320_bytes() {
    let mut scripted = Scripted::up();
    pass_on(&mut scripted, &[Address::Prefix(&[9])]); // makes it curious
    let known: Vec<Sid> =
        (0..10).map(|number| Sid::new([7, number].repeat(16).try_into().unwrap())).collect();
    let items: Vec<Address<'_>> = known.iter().map(|sid| Address::Whole(*sid)).collect();
    explain(&mut scripted, &items);
    scripted.drain();
    scripted.sent.clear();
    explain(&mut scripted, &[Address::Prefix(&[7]); 3]);
    scripted.drain();
    // Eight, and one more of the next eight: each has a byte and a SID.
    assert_eq!(explained(&scripted), [[&items[..8], &items[..1]].concat()]);
}

#[test]
fn a_question_to_a_stranger_goes_both_ways_from_the_interface_where_it_was_heard() {
    for (number, broadcast) in [(0, true), (1, false), (2, true)] {
        let mut scripted = Scripted::new();
        scripted.node.add_interface(InterfaceConfig::unicast());
        scripted.node.add_interface(InterfaceConfig::broadcast());
        scripted.drain();
        scripted.sent.clear();
        let mut packet = Vec::new();
        let prefix = Address::Prefix(&[7, 7]);
        Header { sender: prefix, ..scripted.header(None) }.emit(&mut packet);
        scripted.node.handle_packet(scripted.now, InterfaceId(number), address(2), &packet);
        scripted.drain();
        let to: Vec<Destination> = scripted.sent.iter().map(|(to, _)| *to).collect();
        let unicast = Destination::Unicast(address(2));
        assert_eq!(to, [unicast, Destination::Broadcast][..1 + usize::from(broadcast)]);
        for (to, packet) in &scripted.sent {
            let packet = Packet::parse(packet).unwrap();
            let named = (number > 0).then_some(number);
            assert_eq!((packet.header().interface, packet.header().unicast), (named, *to == unicast));
            let frame = packet.frames().next().unwrap().unwrap();
            assert_eq!(explain_items(frame.payload).collect::<Vec<_>>(), [prefix]);
        }
    }
}

#[test]
fn a_prefix_that_two_share_means_neither() {
    let mut scripted = Scripted::up();
    let [one, two] = [1, 2].map(|last| {
        let mut sid = [7; 32];
        sid[31] = last;
        Sid::new(sid)
    });
    let short = Address::Prefix(&[7; 6]);
    let meet = |scripted: &mut Scripted, sid: Sid| {
        scripted.receive(Header { sender: Address::Whole(sid), ..scripted.header(None) }, &[]);
        pass_on(scripted, &[short]);
        core::iter::from_fn(|| scripted.node.poll_datagram()).map(|it| it.from.sid).collect::<Vec<_>>()
    };
    assert_eq!(meet(&mut scripted, one), [one]);
    pass_on(&mut scripted, &[Address::Prefix(&[9])]); // makes it curious
    explain(&mut scripted, &[Address::Whole(one)]);
    assert_eq!(meet(&mut scripted, one), [one], "it is known in two ways, but one");
    assert_eq!(meet(&mut scripted, two), []);
}

#[test]
fn what_a_neighbour_says_of_itself_and_of_us_is_not_kept_as_a_way() {
    let mut scripted = Scripted::up();
    let (daemon, me) = (scripted.daemon.sid(), scripted.node.sid());
    let other = Identity::from_seed([9; 32]).sid();
    let heard = |sid| linkstate::Repr::new(Address::Whole(sid), Some(Address::Whole(other)));
    scripted.link_state(&[heard(daemon), heard(me)]);
    scripted.drain();
    scripted.sent.clear();
    let prefixes = [daemon, me].map(|sid| sid.as_bytes()[..4].to_vec());
    explain(&mut scripted, &[Address::Prefix(&prefixes[0]), Address::Prefix(&prefixes[1])]);
    scripted.drain();
    assert_eq!(explained(&scripted), [[Address::Whole(daemon)]], "as a neighbour, and once");
}

use super::super::report::{Announcement, Report};
use super::*;
use Transport::{Broadcast, Unicast};

const EXPIRY: Duration = Duration::from_millis(2500);

const fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 4110))
}

fn neighbour() -> Neighbour {
    Neighbour::new(at(0), Sid::new([2; 32]), Standing::Heard, &NodeConfig::default())
}

/// A packet without a number from host 2 on interface 0.
fn arrival(transport: Transport) -> Arrival {
    Arrival {
        interface: InterfaceId(0),
        from: address(2),
        peer_interface: 0,
        transport,
        sequence: None,
        introduces: true,
    }
}

fn hear(neighbour: &mut Neighbour, now: u64, packet: Arrival) -> bool {
    neighbour.hear(at(now), EXPIRY, &packet)
}

/// A packet is heard, read and accepted.
fn accept(neighbour: &mut Neighbour, now: u64, packet: Arrival, delay: Option<u64>) {
    hear(neighbour, now, packet);
    neighbour.accept(at(now), &packet, delay.map(Duration::from_millis));
}

/// The neighbour reports that it hears us.
fn confirm(neighbour: &mut Neighbour, now: u64, transport: Transport) -> bool {
    neighbour.confirm(at(now), EXPIRY, (InterfaceId(0), transport, false), &mut None, (None, None))
}

/// It is heard by unicast, was told so at time 0, and hears us.
fn told() -> Neighbour {
    let mut neighbour = neighbour();
    accept(&mut neighbour, 0, Arrival { sequence: Some(0), ..arrival(Unicast) }, None);
    confirm(&mut neighbour, 0, Unicast);
    announce(&mut neighbour, 0).unwrap();
    neighbour
}

fn announce(neighbour: &mut Neighbour, now: u64) -> Option<Report> {
    neighbour.announce(at(now), &NodeConfig::default(), Announcement::Whole)
}

#[test]
fn every_stream_of_packets_has_numbers_of_its_own() {
    let mut neighbour = neighbour();
    let unicast = Arrival { sequence: Some(7), ..arrival(Unicast) };
    let streams = [
        unicast,
        Arrival { transport: Broadcast, ..unicast },
        Arrival { peer_interface: 1, ..unicast },
        Arrival { interface: InterfaceId(1), ..unicast },
    ];
    for packet in streams {
        assert!(hear(&mut neighbour, 0, packet));
        neighbour.accept(at(0), &packet, None);
        assert!(!hear(&mut neighbour, 0, packet), "{packet:?}");
    }
}

#[test]
fn the_address_moves_when_the_old_one_was_silent_for_the_expiry_time() {
    let mut neighbour = neighbour();
    let elsewhere = Arrival { from: address(3), ..arrival(Unicast) };
    hear(&mut neighbour, 0, arrival(Unicast));
    hear(&mut neighbour, 1000, arrival(Unicast));
    hear(&mut neighbour, 3499, elsewhere);
    assert!(neighbour.is_at(InterfaceId(0), address(2)) && !neighbour.is_at(InterfaceId(1), address(2)));
    assert!(neighbour.is_at_host("10.0.0.2:9".parse().unwrap()) && !neighbour.is_at_host(address(3)));
    hear(&mut neighbour, 3500, elsewhere);
    assert!(neighbour.is_at(InterfaceId(0), address(3)) && !neighbour.is_at_host(address(2)));
}

#[test]
fn a_fifth_link_takes_the_place_of_a_silent_one_or_else_of_the_last_that_nothing_proves() {
    let on = |interface| Arrival { interface: InterfaceId(interface), ..arrival(Unicast) };
    let heard = |neighbour: &Neighbour| {
        (0..6).filter(|interface| neighbour.is_at(InterfaceId(*interface), address(2))).collect::<Vec<u8>>()
    };
    let mut neighbour = neighbour();
    (0..5).for_each(|interface| _ = hear(&mut neighbour, 0, on(interface)));
    assert_eq!(heard(&neighbour), [0, 1, 2, 4]);
    neighbour.prove(at(0), EXPIRY, &on(4));
    hear(&mut neighbour, 0, on(5));
    assert_eq!(heard(&neighbour), [0, 1, 4, 5]);
    for (now, interface) in [(2499, 0), (2499, 4), (2499, 5), (2500, 2)] {
        hear(&mut neighbour, now, on(interface));
    }
    assert_eq!(heard(&neighbour), [0, 2, 4, 5], "1 was silent");
}

#[test]
fn a_unicast_packet_without_number_that_introduces_itself_is_the_first_after_a_restart() {
    let forgets = |numbered: Option<u8>, packet: Arrival| {
        let mut neighbour = neighbour();
        accept(&mut neighbour, 0, Arrival { sequence: numbered, ..packet }, None);
        neighbour.frames.record(at(0), 5);
        assert!(hear(&mut neighbour, 1, packet), "never a copy");
        !neighbour.frames.is_duplicate(at(1), 5)
    };
    assert!(forgets(Some(1), arrival(Unicast)));
    assert!(!forgets(None, arrival(Unicast)), "it gave no numbers before");
    assert!(!forgets(Some(1), arrival(Broadcast)));
    assert!(!forgets(Some(1), Arrival { introduces: false, ..arrival(Unicast) }));
}

#[test]
fn unicast_is_reported_as_long_as_it_is_heard_and_a_change_is_announced_soon() {
    let mut neighbour = neighbour();
    hear(&mut neighbour, 0, arrival(Broadcast));
    let report = announce(&mut neighbour, 0).unwrap();
    assert_eq!((report.transport, report.acks.len()), (Broadcast, 0));
    hear(&mut neighbour, 10, arrival(Broadcast));
    assert_eq!(neighbour.announce_at, at(20), "nothing has changed");
    hear(&mut neighbour, 11, Arrival { peer_interface: 3, ..arrival(Unicast) });
    assert_eq!(neighbour.announce_at, at(16));
    let report = announce(&mut neighbour, 16).unwrap();
    assert_eq!((report.transport, report.peer_interface), (Unicast, 3));
    hear(&mut neighbour, 2510, arrival(Broadcast));
    assert_eq!(announce(&mut neighbour, 2510).unwrap().transport, Unicast);
    assert_eq!(announce(&mut neighbour, 2511).unwrap().transport, Broadcast);
    assert!(announce(&mut neighbour, 5010).is_none(), "nothing is heard any more");
}

#[test]
fn a_neighbour_that_asks_for_acknowledgments_without_numbers_is_reminded() {
    let mut neighbour = told();
    accept(&mut neighbour, 10, arrival(Unicast), None);
    assert_eq!(neighbour.announce_at, at(15), "it has started again");
    announce(&mut neighbour, 10);
    accept(&mut neighbour, 10, arrival(Unicast), None);
    accept(&mut neighbour, 10, arrival(Broadcast), Some(4));
    assert_eq!(neighbour.announce_at, at(510));
    accept(&mut neighbour, 10, arrival(Unicast), Some(4));
    assert_eq!(neighbour.announce_at, at(60));
    accept(&mut neighbour, 20, arrival(Unicast), Some(4));
    assert_eq!(neighbour.announce_at, at(60), "it is not put off");

    let mut neighbour = self::neighbour();
    accept(&mut neighbour, 1, arrival(Unicast), Some(4));
    assert_eq!(neighbour.announce_at, at(5), "it was told nothing yet that it could have missed");
}

#[test]
fn an_acknowledgment_is_due_after_a_delay_or_at_once_after_a_gap() {
    let mut neighbour = told();
    let number = |sequence| Arrival { sequence: Some(sequence), ..arrival(Unicast) };
    accept(&mut neighbour, 10, number(1), None);
    assert_eq!(neighbour.due(at(490)), None, "nobody asked");
    accept(&mut neighbour, 10, number(2), Some(4));
    accept(&mut neighbour, 12, number(3), Some(4));
    assert_eq!([13, 14].map(|now| neighbour.due(at(now))), [None, Some(Announcement::Ack)]);
    neighbour.announce(at(14), &NodeConfig::default(), Announcement::Ack);
    assert_eq!(neighbour.due(at(499)), None);
    accept(&mut neighbour, 20, number(5), None);
    assert_eq!(neighbour.due(at(20)), Some(Announcement::Ack));
    assert_eq!(neighbour.due(at(500)), Some(Announcement::Whole));

    let mut neighbour = self::neighbour();
    accept(&mut neighbour, 0, number(1), None);
    accept(&mut neighbour, 0, number(9), None);
    assert_eq!(neighbour.due(at(4)), None, "it does not know yet which of its packets we hear");
}

#[test]
fn six_acknowledgments_are_kept_for_packets_that_come_faster_than_they_are_answered() {
    let (mut neighbour, node) = (told(), NodeConfig::default());
    let number = |neighbour: &mut Neighbour, sequence: u8| {
        accept(neighbour, 10, Arrival { sequence: Some(sequence), ..arrival(Unicast) }, None);
    };
    (1..=255).for_each(|sequence| number(&mut neighbour, sequence));
    let acks = neighbour.announce(at(10), &node, Announcement::Ack).unwrap().acks;
    let newest: Vec<u8> = acks.iter().map(|ack| ack.sequence).collect();
    assert_eq!(newest, [32, 64, 96, 128, 160, 192, 255]);

    (0..40).for_each(|sequence| number(&mut neighbour, sequence));
    hear(&mut neighbour, 2510, Arrival { peer_interface: 1, ..arrival(Unicast) });
    let report = neighbour.announce(at(2510), &node, Announcement::Ack).unwrap();
    assert_eq!((report.peer_interface, report.acks.len()), (1, 0), "they were of another stream");
}

#[test]
fn an_acknowledgment_of_several_packets_repeats_those_before() {
    let (mut neighbour, node) = (told(), NodeConfig::default());
    let mut ack = |packets: core::ops::RangeInclusive<u8>| {
        for sequence in packets {
            accept(&mut neighbour, 10, Arrival { sequence: Some(sequence), ..arrival(Unicast) }, None);
        }
        let report = neighbour.announce(at(10), &node, Announcement::Ack).unwrap();
        report.acks.iter().map(|ack| ack.sequence).collect::<Vec<u8>>()
    };
    assert_eq!(ack(1..=16), [16]);
    assert_eq!(ack(17..=32), [32]);
    assert_eq!(ack(33..=48), [17, 48]);
    assert_eq!(ack(49..=50), [50], "few packets may be one at a time");
}

#[test]
fn numbers_begin_after_what_the_neighbour_has_seen() {
    let first = |transport, ack: Option<u8>| {
        let (mut neighbour, mut broadcasts) = (neighbour(), None);
        hear(&mut neighbour, 0, arrival(Unicast));
        let ack = ack.map(|sequence| Ack { sequence, mask: 0 });
        neighbour.confirm(at(0), EXPIRY, (InterfaceId(0), transport, false), &mut broadcasts, (ack, None));
        neighbour.confirm(at(1), EXPIRY, (InterfaceId(0), transport, false), &mut broadcasts, (None, None));
        [neighbour.count_unicast(at(1)), neighbour.count_unicast(at(1)), broadcasts]
    };
    assert_eq!(first(Unicast, Some(77)), [Some(256 + 78), Some(256 + 79), None]);
    assert_eq!(first(Unicast, None), [Some(257), Some(258), None]);
    assert_eq!(first(Broadcast, Some(77)), [None, None, Some(256 + 77)]);
}

#[test]
fn a_report_that_we_are_heard_holds_for_the_expiry_time() {
    let mut neighbour = neighbour();
    assert!(!confirm(&mut neighbour, 0, Unicast), "there is no address to send to");
    assert!(!neighbour.is_up(at(0)) && neighbour.standing == Standing::Heard);
    hear(&mut neighbour, 0, arrival(Unicast));
    assert!(confirm(&mut neighbour, 0, Unicast));
    assert!(!confirm(&mut neighbour, 1000, Unicast), "no news");
    assert_eq!(neighbour.standing, Standing::Confirmed);
    hear(&mut neighbour, 3000, arrival(Unicast));
    assert_eq!(neighbour.expire_at(EXPIRY), at(3500), "before it would be silent");
    assert!(neighbour.is_up(at(3499)) && !neighbour.goes_down(at(3499)));
    assert!(!neighbour.is_up(at(3500)) && neighbour.goes_down(at(3500)) && !neighbour.goes_down(at(3500)));
    assert_eq!(neighbour.standing, Standing::Heard);
    assert_eq!(neighbour.expire_at(EXPIRY), at(5500));
    assert!(confirm(&mut neighbour, 4000, Unicast));

    for standing in [Standing::Configured, Standing::Authentic] {
        let mut neighbour = Neighbour::new(at(0), Sid::new([2; 32]), standing, &NodeConfig::default());
        hear(&mut neighbour, 0, arrival(Unicast));
        confirm(&mut neighbour, 0, Unicast);
        assert!(neighbour.goes_down(at(2500)));
        assert_eq!(neighbour.standing, standing);
    }
}

#[test]
fn the_way_to_it_is_the_reported_one_and_else_where_it_is_heard() {
    let mut neighbour = neighbour();
    assert_eq!(neighbour.path(at(0), EXPIRY), None);
    hear(&mut neighbour, 0, Arrival { from: address(3), interface: InterfaceId(1), ..arrival(Broadcast) });
    let by_chance = Some((InterfaceId(1), Unicast, address(3)));
    assert_eq!(neighbour.path(at(2499), EXPIRY), by_chance);
    hear(&mut neighbour, 2000, arrival(Broadcast));
    confirm(&mut neighbour, 2000, Broadcast);
    hear(&mut neighbour, 3000, Arrival { from: address(3), interface: InterfaceId(1), ..arrival(Unicast) });
    assert_eq!(neighbour.path(at(4499), EXPIRY), Some((InterfaceId(0), Broadcast, address(2))));
    assert_eq!(neighbour.path(at(4500), EXPIRY), by_chance);
    assert_eq!(neighbour.path(at(5500), EXPIRY), None, "heard last at 3000");
}

#[test]
fn announcements_come_fast_and_then_less_and_less_often_until_it_hears_us() {
    let wait = |neighbour: &mut Neighbour| {
        let now = neighbour.announce_at;
        let _ = neighbour.announce(now, &NodeConfig::default(), Announcement::Whole);
        (neighbour.announce_at - now).as_millis()
    };
    let mut neighbour = neighbour();
    assert_eq!([(); 7].map(|()| wait(&mut neighbour)), [20, 40, 80, 160, 320, 500, 500]);
    let mut neighbour = self::neighbour();
    hear(&mut neighbour, 0, arrival(Unicast));
    confirm(&mut neighbour, 0, Unicast);
    assert_eq!([(); 2].map(|()| wait(&mut neighbour)), [500, 500]);
    assert!(neighbour.goes_down(at(2500)));
    assert_eq!(wait(&mut neighbour), 20, "once more");
}

#[test]
fn who_asks_who_we_are_is_told_at_once_and_for_the_expiry_time() {
    let mut neighbour = neighbour();
    hear(&mut neighbour, 0, arrival(Unicast));
    assert!(!neighbour.knows_us(at(0)));
    confirm(&mut neighbour, 0, Unicast);
    assert!(neighbour.knows_us(at(0)));
    announce(&mut neighbour, 0);
    neighbour.introduce(at(100), EXPIRY);
    assert_eq!(neighbour.due(at(100)), Some(Announcement::Whole));
    hear(&mut neighbour, 2000, arrival(Unicast));
    confirm(&mut neighbour, 2000, Unicast);
    assert!(!neighbour.knows_us(at(2599)) && neighbour.knows_us(at(2600)));
}

#[test]
fn the_deadline_is_whatever_comes_first() {
    let mut neighbour = told();
    assert_eq!(neighbour.deadline(EXPIRY), at(500), "the next announcement");
    assert!(!neighbour.is_ready(at(499)) && neighbour.is_ready(at(500)));
    accept(&mut neighbour, 10, Arrival { sequence: Some(1), ..arrival(Unicast) }, Some(4));
    assert_eq!(neighbour.deadline(EXPIRY), at(14), "an acknowledgment");
    neighbour.explain.push(0);
    assert_eq!(neighbour.deadline(EXPIRY), Instant::ZERO, "an explanation");
    assert!(neighbour.is_ready(at(10)));
    neighbour.explain.clear();
    assert!(!neighbour.is_ready(at(10)));
}

/// A packet in its name from somewhere else, and from an interface that it may have.
fn forged(peer_interface: u8) -> Arrival {
    Arrival { from: address(66), peer_interface, ..arrival(Unicast) }
}

fn links(neighbour: &Neighbour) -> Vec<u8> {
    neighbour.links.iter().map(|link| link.peer_interface).collect()
}

#[test]
fn the_link_that_is_proven_first_comes_first() {
    let mut neighbour = neighbour();
    let at_host = |neighbour: &Neighbour, host| neighbour.is_at(InterfaceId(0), address(host));
    hear(&mut neighbour, 0, forged(7));
    hear(&mut neighbour, 1, Arrival { from: address(66), ..arrival(Unicast) });
    hear(&mut neighbour, 1, arrival(Unicast));
    announce(&mut neighbour, 2).unwrap();
    assert!(at_host(&neighbour, 66), "who came first");
    neighbour.prove(at(3), EXPIRY, &arrival(Unicast));
    assert!(at_host(&neighbour, 2));
    assert_eq!((links(&neighbour), neighbour.announce_at), (Vec::from([0, 7]), at(3) + PROMPT));
    // Recordings, from elsewhere and from a link that is not there.
    neighbour.prove(at(4), EXPIRY, &Arrival { from: address(66), ..arrival(Unicast) });
    neighbour.prove(at(4), EXPIRY, &forged(7));
    neighbour.prove(at(4), EXPIRY, &forged(9));
    assert!(at_host(&neighbour, 2));
    assert_eq!(links(&neighbour), [0, 7]);
    // It was silent and has moved; what is said of where it is now is open again.
    hear(&mut neighbour, 2503, Arrival { from: address(66), ..arrival(Unicast) });
    assert!(at_host(&neighbour, 66));
    neighbour.prove(at(2504), EXPIRY, &Arrival { from: address(3), ..arrival(Unicast) });
    assert_eq!(links(&neighbour), [7, 0], "behind what was proven before");
    assert_eq!(neighbour.links[1].address, address(3));
}

#[test]
fn made_up_links_take_each_others_place_while_the_others_are_heard() {
    let mut neighbour = neighbour();
    hear(&mut neighbour, 0, arrival(Unicast));
    neighbour.prove(at(0), EXPIRY, &arrival(Unicast));
    (1..=4).for_each(|n| _ = hear(&mut neighbour, n.into(), forged(n)));
    assert_eq!(links(&neighbour), [0, 1, 2, 4]);
    hear(&mut neighbour, 2400, arrival(Unicast));
    hear(&mut neighbour, 2500, forged(5));
    assert_eq!(links(&neighbour), [0, 1, 2, 5], "none is silent yet");
    hear(&mut neighbour, 2501, forged(6));
    assert_eq!(links(&neighbour), [0, 2, 5, 6], "one is");
    [2, 5, 6].iter().for_each(|n| neighbour.prove(at(2502), EXPIRY, &forged(*n)));
    hear(&mut neighbour, 2503, forged(7));
    assert_eq!(links(&neighbour), [0, 2, 5, 7]);
}

#[test]
fn one_that_does_not_answer_is_told_five_times() {
    let mut neighbour = neighbour();
    hear(&mut neighbour, 0, arrival(Unicast));
    let told = |neighbour: &mut Neighbour, until: Instant| {
        let mut times = Vec::new();
        while let Some(now) = Some(neighbour.deadline(EXPIRY)).filter(|at| *at < until) {
            assert_eq!(neighbour.due(now), Some(Announcement::Whole));
            neighbour.announce(now, &NodeConfig::default(), Announcement::Whole);
            times.push(now);
        }
        times
    };
    assert_eq!(told(&mut neighbour, at(2500)), [5, 25, 65, 145, 305].map(at));
    assert_eq!((neighbour.due(at(2499)), neighbour.deadline(EXPIRY)), (None, at(2500)));
    hear(&mut neighbour, 2000, arrival(Unicast));
    assert_eq!(neighbour.due(at(2000)), Some(Announcement::Whole));
    assert_eq!(told(&mut neighbour, at(4500)).len(), 5);
    confirm(&mut neighbour, 4000, Unicast);
    assert_eq!(neighbour.due(at(4400)), Some(Announcement::Whole), "while it hears us, no matter how often");
}

/// The neighbour reports that it hears us by unicast, and broadcasts as well.
fn share(neighbour: &mut Neighbour, now: u64, ack: Option<u8>) -> bool {
    let ack = ack.map(|sequence| Ack { sequence, mask: u32::MAX });
    neighbour.confirm(at(now), EXPIRY, (InterfaceId(0), Unicast, true), &mut None, (ack, None))
}

#[test]
fn unicast_lasts_as_long_as_broadcasts_come_and_is_told_with_them() {
    let mut neighbour = neighbour();
    hear(&mut neighbour, 0, arrival(Unicast));
    hear(&mut neighbour, 10_000, arrival(Broadcast));
    let flags = |neighbour: &mut Neighbour, now| {
        announce(neighbour, now).map(|report| (report.transport == Unicast, report.audible))
    };
    assert_eq!(flags(&mut neighbour, 11_249), Some((true, true)));
    assert_eq!(flags(&mut neighbour, 11_250), Some((true, false)), "it has time to send something else");
    assert_eq!(flags(&mut neighbour, 12_500), None);
}

#[test]
fn who_hears_broadcasts_is_told_alone_only_when_others_are_not_told_with_it() {
    let (mut neighbour, config) = (neighbour(), NodeConfig::default());
    hear(&mut neighbour, 0, arrival(Unicast));
    announce(&mut neighbour, 0);
    assert_eq!(neighbour.shares(at(0), EXPIRY), None);
    share(&mut neighbour, 0, None);
    assert_eq!(neighbour.shares(at(0), EXPIRY), Some(InterfaceId(0)));
    neighbour.announce(at(400), &config, Announcement::Shared);
    assert_eq!([1399, 1400].map(|now| neighbour.due(at(now))), [None, Some(Announcement::Whole)]);
    confirm(&mut neighbour, 600, Unicast);
    neighbour.announce(at(601), &config, Announcement::Shared);
    assert_eq!(neighbour.due(at(605)), Some(Announcement::Whole), "it says that it hears none any more");
    confirm(&mut neighbour, 2000, Unicast);
    let shares = [2499, 2500].map(|now| neighbour.shares(at(now), EXPIRY));
    assert_eq!(shares, [Some(InterfaceId(0)), None], "as it did at 0");
    share(&mut neighbour, 2600, None);
    assert_eq!(neighbour.shares(at(5100), EXPIRY), None, "it is down");
}

#[test]
fn broadcasts_take_the_place_of_unicast_packets_that_nothing_acknowledges() {
    let (mut neighbour, config) = (neighbour(), NodeConfig::default());
    hear(&mut neighbour, 0, arrival(Unicast));
    announce(&mut neighbour, 0);
    share(&mut neighbour, 0, None);
    let mut transport = |now: u64, sends: bool, ack| {
        if sends {
            neighbour.count_unicast(at(now));
        }
        hear(&mut neighbour, now, arrival(Broadcast));
        share(&mut neighbour, now, ack);
        neighbour.announce(at(now), &config, Announcement::Shared);
        neighbour.path(at(now), EXPIRY).map(|path| path.1)
    };
    assert_eq!(transport(1000, true, None), Some(Unicast));
    assert_eq!(transport(3499, false, None), Some(Unicast));
    assert_eq!(transport(3500, false, None), Some(Broadcast));
    assert_eq!(transport(3600, true, Some(2)), Some(Unicast));
    assert_eq!(transport(9000, false, Some(2)), Some(Unicast), "all has come");
    assert_eq!(transport(9000, true, Some(2)), Some(Unicast));
    assert_eq!(transport(11_500, true, Some(2)), Some(Broadcast), "the same acknowledgment again is no news");
}

#[test]
fn a_shared_report_about_an_earlier_run_is_not_believed() {
    let mut neighbour = neighbour();
    hear(&mut neighbour, 0, arrival(Broadcast));
    hear(&mut neighbour, 0, arrival(Unicast));
    assert!(!share(&mut neighbour, 0, None), "nothing was sent to it yet");
    announce(&mut neighbour, 1);
    assert!(!share(&mut neighbour, 2, Some(9)), "it acknowledges what never was");
    announce(&mut neighbour, 3);
    announce(&mut neighbour, 4);
    assert!(share(&mut neighbour, 5, Some(9)), "it does not notice");
    assert_eq!(neighbour.count_unicast(at(5)), Some(256 + 10));
}

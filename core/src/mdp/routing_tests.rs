use super::*;

const fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

fn sid(number: u8) -> Sid {
    Sid::new([number; 32])
}

/// Node 0, which may know so many others, with neighbours that lose nothing.
fn routing(limit: usize, neighbours: &[u8]) -> Routing {
    let mut routing = Routing::new(sid(0), limit, at(0));
    for neighbour in neighbours {
        assert!(routing.set_link(at(0), sid(*neighbour), Some(0)));
    }
    routing
}

/// The neighbour says that `receiver` comes after `transmitter`.
fn hear(routing: &mut Routing, seconds: u64, neighbour: u8, [transmitter, receiver]: [u8; 2], loss: u8) {
    let link = Link { transmitter: sid(transmitter), version: 1, loss };
    routing.hear(at(seconds), sid(neighbour), sid(receiver), Some(link));
}

/// The next hop, the hops and the loss of the way to a node.
fn way(routing: &Routing, to: u8) -> Option<(Sid, u8, u16)> {
    routing.way(&sid(to)).map(|way| (way.next_hop, way.hops, way.loss))
}

/// Those that are reached, among the first 100.
fn reached(routing: &Routing) -> Vec<u8> {
    (0..100).filter(|number| routing.way(&sid(*number)).is_some()).collect()
}

#[test]
fn the_way_that_loses_least_is_taken_and_of_such_the_shortest() {
    let mut routing = routing(100, &[1, 2]);
    for (neighbour, link, loss) in [(1, [1, 9], 6), (2, [2, 3], 2), (2, [3, 4], 2), (2, [4, 9], 2)] {
        hear(&mut routing, 0, neighbour, link, loss);
    }
    routing.update(at(0));
    assert_eq!(way(&routing, 9), Some((sid(2), 4, 0)), "losses of 2 do not count");
    hear(&mut routing, 0, 1, [1, 9], 0);
    routing.update(at(0));
    assert_eq!(way(&routing, 9), Some((sid(1), 2, 0)));
    routing.set_link(at(0), sid(1), Some(5));
    routing.update(at(0));
    assert_eq!(way(&routing, 9), Some((sid(2), 4, 0)));
    assert_eq!(way(&routing, 1), Some((sid(1), 1, 5)));
    routing.set_link(at(0), sid(1), None);
    routing.update(at(0));
    assert_eq!(reached(&routing), [2, 3, 4, 9]);
}

#[test]
fn a_way_that_leads_through_us_is_none() {
    let mut routing = routing(100, &[1]);
    hear(&mut routing, 0, 1, [0, 5], 0);
    hear(&mut routing, 0, 1, [5, 6], 0);
    routing.update(at(0));
    assert_eq!(reached(&routing), [1]);
}

#[test]
fn what_a_neighbour_does_not_repeat_is_forgotten_after_25_seconds() {
    let mut routing = routing(100, &[1]);
    for link in [[1, 2], [2, 3], [2, 4]] {
        hear(&mut routing, 0, 1, link, 0);
    }
    for seconds in (5..25).step_by(5) {
        [[1, 2], [2, 4]].into_iter().for_each(|link| hear(&mut routing, seconds, 1, link, 0));
        routing.update(at(seconds));
        assert_eq!(reached(&routing), [1, 2, 3, 4], "after {seconds} s");
    }
    routing.update(at(25));
    assert_eq!(reached(&routing), [1, 2, 4]);
    routing.update(at(30));
    assert!(routing.index_of(&sid(3)).is_none() && routing.index_of(&sid(4)).is_some());
}

/// Room for 8 others, which one neighbour takes all before a second one comes.
#[test]
fn where_there_is_no_room_for_all_each_neighbour_gets_its_share() {
    let mut routing = routing(10, &[1, 2]);
    (10..20).for_each(|receiver| hear(&mut routing, 0, 1, [1, receiver], 0));
    // One that the other one tells of as well.
    [17, 20, 21].into_iter().for_each(|receiver| hear(&mut routing, 0, 2, [2, receiver], 0));
    routing.update(at(0));
    assert_eq!(reached(&routing), [1, 2, 10, 11, 12, 17], "the last ones go of which nobody else tells");
    routing.update(at(5));
    (20..30).for_each(|receiver| hear(&mut routing, 5, 2, [2, receiver], 0));
    routing.update(at(5));
    assert_eq!(reached(&routing), [1, 2, 10, 11, 12, 17, 20, 21, 22, 23], "there is room again");
}

#[test]
fn a_number_is_given_again_when_nobody_tells_of_its_node_any_more() {
    let mut routing = routing(100, &[1, 2]);
    hear(&mut routing, 0, 1, [1, 7], 0);
    hear(&mut routing, 0, 2, [2, 8], 0);
    routing.update(at(0));
    let [first, second] = [7, 8].map(|number| routing.index_of(&sid(number)));
    routing.forget_neighbour(&sid(1));
    routing.update(at(5));
    assert_eq!(reached(&routing), [2, 8]);
    routing.update(at(10));
    assert_eq!([7, 8].map(|number| routing.index_of(&sid(number))), [None, second]);
    hear(&mut routing, 10, 2, [2, 9], 0);
    hear(&mut routing, 10, 2, [9, 6], 0);
    let new = [9, 6].map(|number| routing.index_of(&sid(number)));
    assert!(first.is_some() && new.contains(&first), "{new:?}");
}

#[test]
fn a_change_that_frames_do_not_notice_waits_for_a_tick() {
    let millis = |seconds, millis| Some(at(seconds) + Duration::from_millis(millis));
    let mut routing = routing(100, &[1, 2]);
    routing.set_telling(at(0), true);
    hear(&mut routing, 0, 1, [1, 9], 6);
    routing.update(at(0));
    (0..4).for_each(|seconds| _ = routing.announce(at(seconds), at(seconds), false, &mut Vec::new()));
    hear(&mut routing, 4, 2, [2, 9], 0);
    routing.update(at(4));
    assert_eq!(way(&routing, 9), Some((sid(2), 2, 0)));
    assert_eq!(routing.announce_at(), millis(4, 500), "it is better, and the old one would do");
    hear(&mut routing, 4, 2, [2, 8], 0);
    hear(&mut routing, 4, 2, [8, 9], 0);
    routing.update(at(4));
    assert_eq!(routing.announce_at(), millis(4, 5), "there is a new node");
    (4..7).for_each(|seconds| {
        _ = routing.announce(at(seconds) + SWEEP / 10, at(seconds) + SWEEP / 10, false, &mut Vec::new())
    });
    routing.hear(at(7), sid(2), sid(9), None);
    routing.update(at(7));
    assert_eq!(way(&routing, 9), Some((sid(1), 2, 6)));
    assert_eq!(routing.announce_at(), millis(7, 5), "the old one is gone");
}

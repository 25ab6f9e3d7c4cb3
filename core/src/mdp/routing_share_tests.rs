//! Neighbours that tell of nodes, each named by a number, and what a node makes of it.

use super::*;

const N: u8 = 100;
const M: u8 = 101;

fn sid(number: u8) -> Sid {
    Sid::new([number; 32])
}

fn at(seconds: u64) -> Instant {
    Instant::from_millis(1000 * seconds)
}

/// The routes of node 1, with at most `limit` nodes beside its neighbours, which are N and M and hear it without loss.
fn routing(limit: usize) -> Routing {
    let mut routing = Routing::new(sid(1), limit, at(0));
    for neighbour in [N, M] {
        assert!(routing.set_link(at(0), sid(neighbour), Some(0)), "it did not hear us before");
        assert!(!routing.set_link(at(0), sid(neighbour), Some(0)));
    }
    routing.update(at(0));
    routing
}

impl Routing {
    /// A neighbour tells that `receiver` is next to `transmitter`, which loses so much.
    fn is_told(&mut self, now: Instant, neighbour: u8, (receiver, transmitter): (u8, u8), loss: u8) {
        let link = Link { transmitter: sid(transmitter), version: 1, loss };
        self.hear(now, sid(neighbour), sid(receiver), Some(link));
        self.update(now);
    }

    /// The neighbour, the hops and the loss of the way to a node.
    fn goes(&self, to: u8) -> Option<(u8, u8, u16)> {
        self.way(&sid(to)).map(|way| (way.next_hop.as_bytes()[0], way.hops, way.loss))
    }

    fn matches(&self, number: u8) -> bool {
        self.matching(&[number]).any(|it| it == sid(number))
    }
}

#[test]
fn the_way_with_the_least_loss_is_taken_and_of_these_the_shortest() {
    let mut routing = routing(50);
    assert_eq!((routing.goes(N), routing.goes(M), routing.goes(1)), (Some((N, 1, 0)), Some((M, 1, 0)), None));
    routing.is_told(at(1), N, (10, N), LOSS_IGNORED + 1);
    routing.is_told(at(1), N, (11, 10), 4);
    assert_eq!((routing.goes(10), routing.goes(11)), (Some((N, 2, 3)), Some((N, 3, 7))));
    // A longer way without loss, which little loss does not change.
    routing.is_told(at(2), M, (20, M), LOSS_IGNORED);
    routing.is_told(at(2), M, (11, 20), 0);
    assert_eq!((routing.goes(10), routing.goes(11)), (Some((N, 2, 3)), Some((M, 3, 0))));
    routing.is_told(at(3), N, (11, N), 0);
    assert_eq!(routing.goes(11), Some((N, 2, 0)));
    // As good as the one that there is.
    routing.is_told(at(4), M, (11, M), 0);
    assert_eq!(routing.goes(11), Some((N, 2, 0)));
    routing.is_told(at(5), N, (11, N), 3);
    assert_eq!(routing.goes(11), Some((M, 2, 0)));
    routing.is_told(at(6), N, (11, N), 0);
    assert_eq!(routing.goes(11), Some((M, 2, 0)));
}

/// What M says of a node behind N does not make N lead there.
#[test]
fn a_way_follows_the_tree_of_its_first_hop() {
    let mut routing = routing(50);
    routing.is_told(at(1), M, (N, M), 0);
    routing.is_told(at(1), M, (10, N), 0);
    assert_eq!((routing.goes(N), routing.goes(10)), (Some((N, 1, 0)), None));
    routing.set_link(at(2), sid(N), Some(9));
    routing.update(at(2));
    assert_eq!((routing.goes(N), routing.goes(10)), (Some((M, 2, 0)), Some((M, 3, 0))));
}

#[test]
fn a_way_has_31_hops_at_most() {
    let mut routing = routing(50);
    for number in 2..40 {
        routing.is_told(at(1), N, (number, if number == 2 { N } else { number - 1 }), 0);
    }
    routing.update(at(2));
    assert_eq!((routing.goes(31), routing.goes(32)), (Some((N, 31, 0)), None));
}

#[test]
fn a_neighbour_that_does_not_hear_us_leads_nowhere() {
    for forgotten in [false, true] {
        let mut routing = routing(50);
        routing.is_told(at(1), N, (10, N), 0);
        assert_eq!(routing.links(), 2);
        if forgotten {
            routing.forget_neighbour(&sid(N));
        } else {
            assert!(!routing.set_link(at(2), sid(N), None));
        }
        routing.update(at(2));
        assert_eq!((routing.goes(N), routing.goes(10), routing.links()), (None, None, 1));
        assert!(routing.set_link(at(3), sid(N), Some(0)), "it is back");
        routing.update(at(3));
        assert_eq!(routing.goes(10), (!forgotten).then_some((N, 2, 0)));
        assert!(!routing.set_link(at(4), sid(99), None) && !routing.indices.contains_key(&sid(99)));
    }
}

#[test]
fn nothing_is_recorded_of_the_node_itself_and_of_who_tells() {
    let mut routing = routing(50);
    for (receiver, transmitter) in [(1, 10), (N, 10), (11, 1), (12, 12), (13, N)] {
        routing.is_told(at(1), N, (receiver, transmitter), 0);
    }
    let known = [1, N, 11, 12, 13].map(|number| routing.is_known_to(&sid(N), &sid(number)));
    assert_eq!(known, [false, false, false, false, true]);
    assert!(!routing.is_known_to(&sid(M), &sid(13)) && !routing.is_known_to(&sid(99), &sid(13)));
    // It reaches the node through us now, or not at all.
    routing.is_told(at(2), N, (13, 1), 0);
    assert_eq!((routing.is_known_to(&sid(N), &sid(13)), routing.goes(13)), (false, None));
}

/// Whatever was told last is forgotten after 20 to 25 seconds; the first that is told starts the clock.
#[test]
fn what_is_not_repeated_is_forgotten() {
    let mut routing = Routing::new(sid(1), 50, at(0));
    routing.set_link(at(0), sid(N), Some(0));
    assert_eq!(routing.update_at(), Some(at(0)));
    routing.update(at(100));
    assert_eq!(routing.update_at(), None);
    let until = 124;
    routing.is_told(at(100), N, (10, N), 0);
    assert_eq!(routing.update_at(), Some(at(105)));
    for seconds in 101..=until {
        routing.is_told(at(seconds), N, (11, N), 0);
        assert_eq!(routing.goes(10), Some((N, 2, 0)), "after {seconds} s");
    }
    routing.update(at(125));
    routing.update(at(130));
    assert_eq!((routing.goes(10), routing.goes(11)), (None, Some((N, 2, 0))));
    assert!(!routing.matches(10) && routing.matches(11), "it has no number any more");
    let entries = routing.entries.len();
    routing.is_told(at(131), N, (12, N), 0);
    assert_eq!(routing.entries.len(), entries, "another one has its number");
}

/// One that has started again repeats what still holds within ten seconds.
#[test]
fn what_a_neighbour_told_before_it_started_again_is_forgotten_sooner() {
    let mut routing = routing(50);
    routing.update(at(100));
    routing.is_told(at(100), N, (10, N), 0);
    routing.is_told(at(100), N, (11, N), 0);
    routing.is_told(at(100), M, (12, M), 0);
    routing.doubt_tree(&sid(N));
    routing.doubt_tree(&sid(99));
    routing.update(at(105));
    assert!([10, 11, 12].iter().all(|number| routing.goes(*number).is_some()));
    routing.is_told(at(106), N, (11, N), 0);
    routing.update(at(110));
    assert_eq!([10, 11, 12].map(|number| routing.goes(number).is_some()), [false, true, true]);
}

#[test]
fn a_name_is_known_as_long_as_a_neighbour_tells_of_it() {
    let mut routing = routing(50);
    for neighbour in [N, M] {
        routing.is_told(at(1), neighbour, (10, neighbour), 0);
    }
    routing.is_told(at(1), N, (11, N), 0);
    assert!(routing.matches(10) && routing.matches(11) && routing.matches(N) && !routing.matches(12));
    routing.is_told(at(1), N, (M, N), 0);
    routing.forget_neighbour(&sid(N));
    routing.update(at(10));
    assert_eq!([10, 11, N, M].map(|number| routing.matches(number)), [true, false, false, true]);
    routing.set_link(at(11), sid(N), Some(0));
    routing.is_told(at(11), N, (M, N), 0);
    routing.forget_neighbour(&sid(M));
    assert_eq!([10, N, M].map(|number| routing.matches(number)), [false, true, true], "N tells of M");
}

/// N has told of as many as there is place for. When it is gone, M can.
#[test]
fn there_are_never_more_nodes_than_there_is_place_for() {
    let mut routing = routing(8);
    let count = |routing: &Routing, numbers: core::ops::Range<u8>| {
        numbers.filter(|number| routing.goes(*number).is_some()).count()
    };
    (10..20).for_each(|number| routing.is_told(at(1), N, (number, N), 0));
    (20..30).for_each(|number| routing.is_told(at(1), M, (number, M), 0));
    // The neighbours themselves have places, too.
    assert_eq!((count(&routing, 10..20), count(&routing, 20..30)), (6, 0));
    routing.forget_neighbour(&sid(N));
    [10, 20].into_iter().for_each(|seconds| routing.update(at(seconds)));
    (20..30).for_each(|number| routing.is_told(at(21), M, (number, M), 0));
    // What N itself had is free later.
    assert_eq!((count(&routing, 10..20), count(&routing, 20..30)), (0, 6));
}

/// N has told of as many as there is place for. With M there, each has half of that.
#[test]
fn places_are_shared_out_among_those_who_want_them() {
    let mut routing = routing(8);
    let tell = |routing: &mut Routing, now| {
        (10..20).for_each(|number| routing.is_told(now, N, (number, N), 0));
        (20..30).chain([15]).for_each(|number| routing.is_told(now, M, (number, M), 0));
    };
    let count = |routing: &Routing, numbers: core::ops::Range<u8>| {
        numbers.filter(|number| routing.goes(*number).is_some()).count()
    };
    tell(&mut routing, at(1));
    // The neighbours themselves have places, too.
    assert_eq!((count(&routing, 10..20), count(&routing, 20..30)), (6, 0));
    for seconds in 2..12 {
        tell(&mut routing, at(seconds));
        assert!(routing.indices.len() <= 9);
    }
    assert_eq!((count(&routing, 10..20), count(&routing, 20..30)), (3, 3));
    assert!(routing.goes(15).is_some(), "both tell of it");
    // What M does not need is for N.
    for seconds in 12..60 {
        (10..20).for_each(|number| routing.is_told(at(seconds), N, (number, N), 0));
        routing.is_told(at(seconds), M, (20, M), 0);
    }
    assert_eq!((count(&routing, 10..20), count(&routing, 20..30)), (5, 1));
}

/// Sixteen times in a row, then every 4 ms.
#[test]
fn ways_are_looked_for_at_a_bounded_rate() {
    let mut routing = routing(50);
    let now = at(10);
    let mut looked = 0;
    for number in 10..40 {
        routing.is_told(now, N, (number, N), 0);
        looked += usize::from(routing.goes(number).is_some());
    }
    assert_eq!(looked, 17);
    let next = routing.update_at().unwrap_or_default();
    assert!(now < next && next <= now + PAUSE, "{next:?}");
    routing.update(next);
    assert_eq!(routing.goes(39), Some((N, 2, 0)));
}

/// Neighbours come and go: their numbers are given to others.
#[test]
fn there_is_always_a_number_for_a_neighbour() {
    let mut routing = Routing::new(sid(1), 4, at(0));
    for number in 2..=250 {
        routing.set_link(at(1), sid(number), Some(0));
        routing.update(at(1));
        if number > 10 {
            routing.forget_neighbour(&sid(number));
        }
    }
    assert!(routing.indices.len() <= 4 + 10 + SLACK + 2, "{}", routing.indices.len());
    routing.update(at(2));
    assert!((2..=10).all(|number| routing.goes(number).is_some()));
}

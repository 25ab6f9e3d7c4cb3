//! Lines of nodes of which some are ours and some are daemons. Each hears only the next ones.

use crate::daemon::Daemon;
use crate::lab::Lab;
use crate::matrix::Run;
use crate::ours::{Ours, Route};
use crate::process::{Process, until};
use crate::report::say;
use crate::scratch::{assert_same, noise};
use crate::{lab, possible};

/// One place of a line.
#[derive(Debug)]
enum Station<'a> {
    /// With the node that runs there.
    Ours(Ours<'a>, Process),
    Theirs(Daemon<'a>),
}

impl Station<'_> {
    fn sid(&self) -> &str {
        match self {
            Self::Ours(ours, _) => ours.sid(),
            Self::Theirs(daemon) => daemon.sid(),
        }
    }

    fn listen(&self, arguments: &[&str], input: Option<&[u8]>) -> Process {
        match self {
            Self::Ours(ours, _) => ours.listen(arguments, input),
            Self::Theirs(daemon) => daemon.listen(arguments, input),
        }
    }

    fn connect(&self, sid: &str, port: &str, input: Option<&[u8]>) -> Process {
        match self {
            Self::Ours(ours, _) => ours.spawn(&["connect", sid, port], input),
            Self::Theirs(daemon) => daemon.spawn(&["msp", "connect", sid, port], input),
        }
    }

    /// In the order of their addresses.
    fn routes(&self) -> Vec<Route> {
        let mut routes = match self {
            Self::Ours(ours, _) => ours.routes(),
            Self::Theirs(daemon) => daemon.routes().iter().map(|route| route.full(daemon.sid())).collect(),
        };
        routes.sort();
        routes
    }
}

/// A line, as `kinds` says: `o` is one of ours, `s` is a servald.
fn line<'a>(lab: &'a Lab, kinds: &str) -> Vec<Station<'a>> {
    let station = |(place, kind)| match kind {
        's' => Station::Theirs(Daemon::start(lab, place)),
        _ => {
            let (ours, node) = Ours::shared(lab, place);
            Station::Ours(ours, node)
        }
    };
    (0..).zip(kinds.chars()).map(station).collect()
}

/// Waits until all know how all others are reached, and say the same of it.
#[track_caller]
fn await_routes(line: &[Station<'_>]) {
    for (here, station) in line.iter().enumerate() {
        let others = (0..line.len()).filter(|&there| there != here);
        let route = |there: usize| {
            let (next, previous) = if here < there { (here + 1, there - 1) } else { (here - 1, there + 1) };
            let [sid, next_hop, previous_hop] =
                [there, next, previous].map(|place| line[place].sid().to_owned());
            Route { sid, next_hop, previous_hop }
        };
        let mut expected: Vec<_> = others.map(route).collect();
        expected.sort();
        until(&format!("at place {here}, {expected:#?}"), || (station.routes() == expected).then_some(()));
    }
}

/// Carries bytes both ways from the first to the last and from the last to the first, and compares them.
#[track_caller]
fn carry(line: &[Station<'_>], length: usize) {
    let ends = [&line[0], &line[line.len() - 1]];
    for [here, there] in [ends, [ends[1], ends[0]]] {
        let (port, up, down) = (Run::port(), noise(1, length), noise(2, length));
        let listener = there.listen(&[&port], Some(&down));
        let connector = here.connect(there.sid(), &port, Some(&up));
        let (connector, listener) = (connector.finish(), listener.finish());
        assert_same("from the listener to the connector", &connector.output, &down);
        assert_same("from the connector to the listener", &listener.output, &up);
    }
}

/// Without loss, the routes are what they must be, and tunnels go through with it.
#[track_caller]
fn meet(test: &str, kinds: &str) {
    let Some(lab) = lab(test, kinds.len() as u8) else { return };
    let line = line(&lab, kinds);
    await_routes(&line);
    for loss in [0, 10] {
        lab.lose(loss);
        carry(&line, 50_000);
        say(&format!("{kinds}: 50 kB both ways, from either end, with {loss} % loss on each link"));
    }
    assert!(lab.lost() > 0, "nothing was lost on the way");
}

#[test]
fn nodes_of_ours_meet_through_a_daemon() {
    meet("nodes_of_ours_meet_through_a_daemon", "oso");
}

#[test]
fn daemons_meet_through_a_node_of_ours() {
    meet("daemons_meet_through_a_node_of_ours", "sos");
}

#[test]
fn both_take_turns() {
    meet("both_take_turns", "osos");
}

#[test]
fn a_daemon_is_behind_two_nodes_of_ours() {
    meet("a_daemon_is_behind_two_nodes_of_ours", "soos");
}

/// The nodes on the way from the first one to `far` and back.
fn there_and_back<'a>(line: &'a [Station<'_>], far: usize) -> Vec<&'a str> {
    (0..=far).chain((0..far).rev()).map(|place| line[place].sid()).collect()
}

#[test]
fn a_daemon_traces_the_way_through_nodes_of_ours() {
    let Some(lab) = lab("a_daemon_traces_the_way_through_nodes_of_ours", 4) else { return };
    let line = line(&lab, "soso");
    await_routes(&line);
    let Station::Theirs(daemon) = &line[0] else { unreachable!() };
    for far in 1..line.len() {
        let trace = daemon.run(&["mdp", "trace", line[far].sid()]);
        trace.assert_status("servald mdp trace", 0);
        let text = trace.text();
        let passed: Vec<_> = text.lines().filter_map(|line| Some(line.split_once(':')?.1)).collect();
        assert_eq!(passed, there_and_back(&line, far), "{text}");
    }
}

#[test]
fn ours_traces_the_way_through_daemons() {
    let Some(lab) = lab("ours_traces_the_way_through_daemons", 4) else { return };
    let line = line(&lab, "osos");
    await_routes(&line);
    let Station::Ours(ours, _) = &line[0] else { unreachable!() };
    for far in 1..line.len() {
        let trace = ours.spawn(&["trace", "--json", line[far].sid()], Some(b"")).finish();
        trace.assert_status("msp trace", 0);
        let text = trace.text();
        let sid = |line| Some(str::split_once(line, "\"sid\":\"")?.1.split_once('"')?.0);
        let passed: Vec<_> = text.lines().filter_map(sid).collect();
        // Without itself.
        let expected = there_and_back(&line, far);
        assert_eq!(passed, expected[1..expected.len() - 1], "{text}");
    }
}

/// A search goes to all, and is passed on by those between.
#[test]
fn services_are_found_beyond_a_node_of_either_kind() {
    let Some(lab) = lab("services_are_found_beyond_a_node_of_either_kind", 4) else { return };
    let line = line(&lab, "osos");
    await_routes(&line);
    let (Station::Ours(first, _), Station::Theirs(last)) = (&line[0], &line[3]) else { unreachable!() };
    let port = Run::port();
    let _offer = last.listen(&["--forward=1", "--service=far", &port], Some(b""));
    let found = first.spawn(&["find", "-vv", "far"], Some(b"")).finish();
    found.assert_status("msp find", 0);
    assert!(found.text().starts_with(&format!("{} {port} far ", last.sid())), "{}", found.text());
}

/// Something is said, `happening` happens, and then more is said both ways on the same connection.
#[track_caller]
fn talk_through(here: &Station<'_>, there: &Station<'_>, happening: impl FnOnce()) {
    let port = Run::port();
    let mut listener = there.listen(&[&port], None);
    let mut connector = here.connect(there.sid(), &port, None);
    connector.type_in(b"before\n");
    listener.output_line("what was said before", |line| (line == "before").then_some(()));
    happening();
    connector.type_in(b"after\n");
    listener.type_in(b"after\n");
    listener.output_line("what was said after", |line| (line == "after").then_some(()));
    connector.output_line("what was said after", |line| (line == "after").then_some(()));
    connector.finish_input();
    listener.finish_input();
    for (name, process) in [("the connector", connector), ("the listener", listener)] {
        process.finish().assert_status(name, 0);
    }
}

/// What it has counted starts again, and it knows nothing of its neighbours.
#[test]
fn daemons_go_on_when_the_node_of_ours_between_them_starts_again() {
    let Some(lab) = lab("daemons_go_on_when_the_node_of_ours_between_them_starts_again", 3) else { return };
    let mut line = line(&lab, "sos");
    for signal in ["TERM", "KILL"] {
        await_routes(&line);
        let Station::Ours(between, mut node) = line.remove(1) else { unreachable!() };
        talk_through(&line[0], &line[1], || {
            node.signal(signal);
            // Only then the socket is free.
            until("the end of the node", || node.has_ended().then_some(()));
            node = between.share();
        });
        line.insert(1, Station::Ours(between, node));
    }
}

/// From node 0 to node 2 there are two ways, through one daemon or the other.
#[test]
fn a_stream_goes_through_another_daemon_when_a_link_is_cut() {
    const NODES: u8 = 4;
    if !possible("a_stream_goes_through_another_daemon_when_a_link_is_cut") {
        return;
    }
    let lab = Lab::ring(NODES);
    let ring = line(&lab, "osos");
    let way = || ring[0].routes().into_iter().find(|route| route.sid == ring[2].sid());
    let way = until("a route", way).next_hop;
    talk_through(&ring[0], &ring[2], || lab.link(if way == ring[1].sid() { 1 } else { 2 }).lose(100));
}

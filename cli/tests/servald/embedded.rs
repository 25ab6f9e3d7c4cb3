//! Our node and the daemon as neighbours, and with another node between them. How streams between them go is in
//! `scenarios`.

use std::net::TcpListener;
use std::thread;

use crate::daemon::Daemon;
use crate::exchange::{Turn, exchange, serve};
use crate::lab;
use crate::lab::Lab;
use crate::ours::Ours;
use crate::process::{Process, until};
use crate::scratch::{assert_same, noise};

/// The nodes of most tests.
const OURS: u8 = 0;
const THEIRS: u8 = 1;

#[test]
fn a_listener_is_a_neighbour_of_the_daemon() {
    let Some(lab) = lab("a_listener_is_a_neighbour_of_the_daemon", 2) else { return };
    let (ours, theirs) = (Ours::new(&lab, OURS, &[]), Daemon::start(&lab, THEIRS));
    let listener = ours.listen(&["600"], None);
    theirs.route_to(ours.sid());
    let peers = theirs.run(&["id", "peers"]);
    assert!(peers.text().to_lowercase().contains(&ours.sid().to_lowercase()), "{}", peers.text());
    drop(listener);
}

#[test]
fn a_configured_peer_is_a_neighbour_without_broadcasts() {
    let Some(lab) = lab("a_configured_peer_is_a_neighbour_without_broadcasts", 2) else { return };
    let peer = format!("--peer={}:4110", Lab::address_left(THEIRS));
    let ours = Ours::new(&lab, OURS, &["--no-broadcast", &peer]);
    let theirs = Daemon::start(&lab, THEIRS);
    let _listener = ours.listen(&["600"], None);
    assert!(theirs.route_to(ours.sid()).contains("UNICAST"));
}

#[test]
fn we_answer_the_ping_of_the_daemon() {
    let Some(lab) = lab("we_answer_the_ping_of_the_daemon", 2) else { return };
    let (ours, theirs) = (Ours::new(&lab, OURS, &[]), Daemon::start(&lab, THEIRS));
    let _listener = ours.listen(&["600"], None);
    theirs.route_to(ours.sid());
    let ping = theirs.run(&["mdp", "ping", ours.sid(), "3"]);
    ping.assert_status("servald mdp ping", 0);
    assert!(ping.text().contains(" 3 packets received"), "{}", ping.text());
    assert!(ping.text().contains("ENCRYPTED SIGNED"), "{}", ping.text());
}

#[test]
fn the_daemon_answers_our_ping_and_again_after_a_restart() {
    let Some(lab) = lab("the_daemon_answers_our_ping_and_again_after_a_restart", 2) else { return };
    let (ours, theirs) = (Ours::new(&lab, OURS, &[]), Daemon::start(&lab, THEIRS));
    // Every run is a new node with the same SID: what the daemon remembers of the one before must not matter.
    for round in 0..4 {
        let ping = ours.spawn(&["ping", theirs.sid()], None).finish();
        ping.assert_status(&format!("msp ping, run {round}"), 0);
        assert!(ping.text().contains(" 0 % lost"), "run {round}: {}\n{}", ping.text(), ping.errors);
    }
}

#[test]
fn the_daemon_answers_a_ping_to_its_address() {
    let Some(lab) = lab("the_daemon_answers_a_ping_to_its_address", 2) else { return };
    let ours = Ours::new(&lab, OURS, &["--no-broadcast"]);
    let theirs = Daemon::start(&lab, THEIRS);
    let target = format!("{}@{}:4110", theirs.sid(), Lab::address_left(THEIRS));
    ours.spawn(&["ping", &target], None).finish().assert_status("msp ping", 0);
}

#[test]
fn we_answer_a_daemon_that_has_started_again() {
    let Some(lab) = lab("we_answer_a_daemon_that_has_started_again", 2) else { return };
    let (ours, theirs) = (Ours::new(&lab, OURS, &[]), Daemon::start(&lab, THEIRS));
    let _listener = ours.listen(&["600"], None);
    for round in 0..3 {
        theirs.route_to(ours.sid());
        // What it counts from the start again may look like copies, but only for 1.2 s.
        let ping = theirs.run(&["mdp", "ping", ours.sid(), "4"]);
        let answered =
            ["2", "3", "4"].iter().any(|count| ping.text().contains(&format!(" {count} packets rec")));
        assert!(answered, "start {round}: {}", ping.text());
        theirs.restart();
    }
}

/// What goes up from the connector and down from the listener where their standard streams are joined.
struct Traffic {
    up: Vec<u8>,
    down: Vec<u8>,
}

impl Traffic {
    fn new(length: usize) -> Self {
        Self { up: noise(1, length), down: noise(2, length) }
    }

    /// Waits for both ends and compares what came out.
    #[track_caller]
    fn assert_arrived(&self, listener: Process, connector: Process) {
        let (listener, connector) = (listener.finish(), connector.finish());
        assert_same("from the listener to the connector", &connector.output, &self.down);
        assert_same("from the connector to the listener", &listener.output, &self.up);
        connector.assert_status("the connector", 0);
        listener.assert_status("the listener", 0);
    }
}

/// Our connector, their listener.
#[track_caller]
fn join_ours_to_theirs(ours: &Ours<'_>, target: &str, theirs: &Daemon<'_>, length: usize) {
    let traffic = Traffic::new(length);
    let listener = theirs.spawn(&["msp", "listen", "600"], Some(&traffic.down));
    let mut connector = ours.spawn(&["connect", target, "600"], None);
    connector.feed(traffic.up.clone());
    traffic.assert_arrived(listener, connector);
}

/// Their connector, our listener.
#[track_caller]
fn join_theirs_to_ours(theirs: &Daemon<'_>, ours: &Ours<'_>, length: usize) {
    let traffic = Traffic::new(length);
    let mut listener = ours.listen(&["601"], None);
    listener.feed(traffic.down.clone());
    theirs.route_to(ours.sid());
    let connector = theirs.spawn(&["msp", "connect", ours.sid(), "601"], Some(&traffic.up));
    traffic.assert_arrived(listener, connector);
}

#[test]
fn standard_streams_join_without_broadcasts() {
    let Some(lab) = lab("standard_streams_join_without_broadcasts", 2) else { return };
    let (ours, theirs) = (Ours::new(&lab, OURS, &["--no-broadcast"]), Daemon::start(&lab, THEIRS));
    let target = format!("{}@{}:4110", theirs.sid(), Lab::address_left(THEIRS));
    join_ours_to_theirs(&ours, &target, &theirs, 100_000);
}

#[test]
fn a_daemon_that_hears_only_broadcasts_gets_everything_by_broadcast() {
    let Some(lab) = lab("a_daemon_that_hears_only_broadcasts_gets_everything_by_broadcast", 2) else {
        return;
    };
    let ours = Ours::new(&lab, OURS, &[]);
    let settings = "interfaces.0.prefer_unicast=off\ninterfaces.0.unicast.send=off\n";
    let theirs = Daemon::start_with(&lab, THEIRS, settings);
    join_ours_to_theirs(&ours, theirs.sid(), &theirs, 100_000);
    join_theirs_to_ours(&theirs, &ours, 100_000);
    assert!(theirs.route_to(ours.sid()).contains("BROADCAST"));
}

/// `links` TCP connections at once from where `theirs` is not to where it is, or the other way round.
///
/// The end at the daemon is the first to end its direction: its tunnel program takes a connection that both
/// sides have ended for a broken one, and drops what it has not read from it yet.
#[track_caller]
fn assert_forwarded(lab: &Lab, from: u8, server: TcpListener, links: usize, length: usize) {
    let (client_end, server_end) =
        if from == THEIRS { (Turn::First, Turn::Second) } else { (Turn::Second, Turn::First) };
    let answer = noise(99, length);
    let server = serve(server, links, answer.clone(), server_end);
    let clients: Vec<_> = (0..links)
        .map(|link| {
            let stream = lab.connect(from, FORWARD);
            let request = noise(link as u64, length - link * 100);
            (request.clone(), thread::spawn(move || exchange(stream, request, client_end).unwrap()))
        })
        .collect();
    let mut requests = Vec::new();
    for (request, client) in clients {
        assert_same("the answer", &client.join().unwrap(), &answer);
        requests.push(request);
    }
    let mut came = server.join().unwrap();
    came.sort();
    requests.sort();
    for (came, request) in came.iter().zip(&requests) {
        assert_same("the request", came, request);
    }
}

/// A port of TCP that nothing else uses: the namespaces are the test's own.
const FORWARD: u16 = 9001;

#[test]
fn many_connections_from_the_daemon_share_a_tunnel() {
    let Some(lab) = lab("many_connections_from_the_daemon_share_a_tunnel", 2) else { return };
    let (ours, theirs) = (Ours::new(&lab, OURS, &[]), Daemon::start(&lab, THEIRS));
    let server = lab.listen(OURS);
    let target = format!("--forward={}", server.local_addr().unwrap().port());
    let _listener = ours.listen(&[&target, "600"], None);
    theirs.route_to(ours.sid());
    let _connector =
        theirs.spawn(&["msp", "connect", &format!("--forward={FORWARD}"), ours.sid(), "600"], None);
    assert_forwarded(&lab, THEIRS, server, 10, 50_000);
}

#[test]
fn many_connections_to_the_daemon_share_a_tunnel() {
    let Some(lab) = lab("many_connections_to_the_daemon_share_a_tunnel", 2) else { return };
    let (ours, theirs) = (Ours::new(&lab, OURS, &[]), Daemon::start(&lab, THEIRS));
    let server = lab.listen(THEIRS);
    let target = format!("--forward={}", server.local_addr().unwrap().port());
    let _listener = theirs.spawn(&["msp", "listen", &target, "600"], None);
    let _connector = ours.spawn(&["connect", &format!("--forward={FORWARD}"), theirs.sid(), "600"], None);
    assert_forwarded(&lab, OURS, server, 10, 50_000);
}

#[test]
fn a_connection_outlives_a_cut_that_neighbours_do_not() {
    let Some(lab) = lab("a_connection_outlives_a_cut_that_neighbours_do_not", 2) else { return };
    let (ours, theirs) = (Ours::new(&lab, OURS, &[]), Daemon::start(&lab, THEIRS));
    let mut listener = theirs.spawn(&["msp", "listen", "600"], None);
    let mut connector = ours.spawn(&["connect", theirs.sid(), "600"], None);
    connector.type_in(b"before\n");
    listener.output_line("what was said before", |line| (line == "before").then_some(()));
    lab.lose(100);
    connector.type_in(b"ours\n");
    listener.type_in(b"theirs\n");
    theirs.no_route_to(ours.sid());
    lab.lose(0);
    listener.output_line("what was said meanwhile", |line| (line == "ours").then_some(()));
    connector.output_line("what was said meanwhile", |line| (line == "theirs").then_some(()));
    connector.finish_input();
    listener.finish_input();
    connector.finish().assert_status("our connector", 0);
    listener.finish().assert_status("their listener", 0);
}

#[track_caller]
fn join_ours_to_ours(here: &Ours<'_>, between: &Daemon<'_>, there: &Ours<'_>, length: usize) {
    let traffic = Traffic::new(length);
    let mut listener = there.listen(&["600"], None);
    listener.feed(traffic.down.clone());
    between.route_to(there.sid());
    let mut connector = here.spawn(&["connect", there.sid(), "600"], None);
    connector.feed(traffic.up.clone());
    traffic.assert_arrived(listener, connector);
}

#[test]
fn two_of_ours_meet_through_a_daemon_between_them() {
    let Some(lab) = lab("two_of_ours_meet_through_a_daemon_between_them", 3) else { return };
    let (here, between, there) = (Ours::new(&lab, 0, &[]), Daemon::start(&lab, 1), Ours::new(&lab, 2, &[]));
    join_ours_to_ours(&here, &between, &there, 300_000);
}

#[test]
fn nothing_is_lost_over_two_lossy_hops() {
    let Some(lab) = lab("nothing_is_lost_over_two_lossy_hops", 3) else { return };
    lab.lose(10);
    let (here, between, there) = (Ours::new(&lab, 0, &[]), Daemon::start(&lab, 1), Ours::new(&lab, 2, &[]));
    join_ours_to_ours(&here, &between, &there, 200_000);
    assert!(lab.lost() > 0, "nothing was lost on the way");
}

#[test]
fn ours_meets_a_daemon_behind_a_daemon() {
    let Some(lab) = lab("ours_meets_a_daemon_behind_a_daemon", 3) else { return };
    let ours = Ours::new(&lab, 0, &[]);
    let (between, there) = (Daemon::start(&lab, 1), Daemon::start(&lab, 2));
    between.route_to(there.sid());
    join_ours_to_theirs(&ours, there.sid(), &there, 300_000);
    join_theirs_to_ours(&there, &ours, 300_000);
}

/// The address in the place of a line of `msp trace`.
fn hops(output: &str) -> Vec<&str> {
    output.lines().skip(1).filter_map(|line| line.split_whitespace().nth(2)).collect()
}

#[test]
fn traces_go_both_ways_between_neighbours() {
    let Some(lab) = lab("traces_go_both_ways_between_neighbours", 2) else { return };
    let (ours, theirs) = (Ours::new(&lab, OURS, &[]), Daemon::start(&lab, THEIRS));
    let trace = ours.spawn(&["trace", theirs.sid()], None).finish();
    trace.assert_status("msp trace", 0);
    assert_eq!(hops(&trace.text()), [theirs.sid()]);
    let _listener = ours.listen(&["600"], None);
    theirs.route_to(ours.sid());
    let trace = theirs.run(&["mdp", "trace", ours.sid()]);
    trace.assert_status("servald mdp trace", 0);
    assert!(trace.text().contains(ours.sid()), "{}", trace.text());
}

#[test]
fn traces_pass_a_daemon_between_two_of_ours() {
    let Some(lab) = lab("traces_pass_a_daemon_between_two_of_ours", 3) else { return };
    let (here, between, there) = (Ours::new(&lab, 0, &[]), Daemon::start(&lab, 1), Ours::new(&lab, 2, &[]));
    let _listener = there.listen(&["600"], None);
    between.route_to(there.sid());
    let trace = here.spawn(&["trace", there.sid()], None).finish();
    trace.assert_status("msp trace", 0);
    assert_eq!(hops(&trace.text()), [between.sid(), there.sid(), between.sid()]);
}

#[test]
fn traces_begin_at_a_daemon_that_we_are_clients_of() {
    let Some(lab) = lab("traces_begin_at_a_daemon_that_we_are_clients_of", 2) else { return };
    let (ours, theirs) = (Ours::new(&lab, OURS, &[]), Daemon::start(&lab, THEIRS));
    let client = Ours::through(&lab, THEIRS, theirs.instance());
    let _listener = ours.listen(&["600"], None);
    theirs.route_to(ours.sid());
    let trace = client.spawn(&["trace", ours.sid()], None).finish();
    trace.assert_status("msp trace", 0);
    assert_eq!(hops(&trace.text()), [ours.sid()]);
}

#[test]
fn peers_and_routes_are_those_of_the_daemon_that_we_are_clients_of() {
    let name = "peers_and_routes_are_those_of_the_daemon_that_we_are_clients_of";
    let Some(lab) = lab(name, 2) else { return };
    let (ours, theirs) = (Ours::new(&lab, OURS, &[]), Daemon::start(&lab, THEIRS));
    let client = Ours::through(&lab, THEIRS, theirs.instance());
    let _listener = ours.listen(&["600"], None);
    theirs.route_to(ours.sid());
    for command in ["peers", "routes"] {
        let shown = client.spawn(&[command, "--json"], None).finish();
        shown.assert_status(command, 0);
        let line = shown.text();
        assert!(line.contains(&format!("\"sid\":\"{}\"", ours.sid())), "{line}");
        // The daemon says on which interface, too.
        assert!(line.contains("\"interface\":\"left\""), "{line}");
        // We see the same of the daemon, as soon as it has told that it hears us.
        let theirs = format!("\"sid\":\"{}\"", theirs.sid());
        until(&format!("{theirs} among our {command}"), || {
            let shown = ours.spawn(&[command, "--json"], None).finish();
            shown.text().contains(&theirs).then_some(())
        });
    }
}

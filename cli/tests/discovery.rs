//! Services that are found by name.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Place, Program, listen};
use rustix::process::Signal;

fn text(program: Program) -> String {
    String::from_utf8(program.succeeded()).unwrap()
}

/// `msp find` among these.
fn find(places: &[&Place], arguments: &str) -> Program {
    let peers: String = places.iter().map(|place| format!(" --peer={}", place.udp)).collect();
    Program::start(&format!("find {arguments}{peers}"))
}

#[test]
fn services_are_found_by_name() {
    let (_web, web) = listen("--service=web --forward=9 80");
    let (_ssh, ssh) = listen("--service=ssh --forward=9 22");
    let (_nameless, nameless) = listen("--forward=9 23");
    let all = [&web, &ssh, &nameless];
    let found = text(find(&all, ""));
    let mut lines: Vec<&str> = found.lines().map(|line| line.rsplitn(3, ' ').nth(2).unwrap()).collect();
    lines.sort_unstable();
    let mut expected = [format!("{} 80 web", web.sid), format!("{} 22 ssh", ssh.sid)];
    expected.sort_unstable();
    assert_eq!(lines, expected);

    let found = text(find(&all, "s* --json"));
    let start = format!("{{\"sid\":\"{}\",\"port\":22,\"name\":\"ssh\",\"round_trip_ms\":", ssh.sid);
    assert!(found.starts_with(&start) && found.ends_with("}\n") && found.lines().count() == 1, "{found}");

    let message = find(&all, "mail --time=1").failed(1);
    assert!(message.contains("nobody answered"), "{message}");
}

#[test]
fn a_connection_by_name_and_then_the_service_is_no_more() {
    let (mut listener, place) = listen("--service=files 700");
    let peer = format!("--peer={}", place.udp);
    let mut connector = Program::start(&format!("connect --service=files {peer}"));
    connector.input(b"request", false);
    listener.input(b"answer", false);
    // The one connection that is carried is taken, while it is still open.
    let mut line = listener.take_stdin();
    let quiet = (0..20).find_map(|_| {
        let ended = Program::start(&format!("find --time=1 {peer}")).ended();
        (ended.status == 1).then_some(ended.stderr)
    });
    let message = quiet.unwrap_or_default();
    assert!(message.contains("nobody answered"), "{message}");
    std::io::Write::write_all(&mut line, b"!").unwrap();
    drop(line);
    connector.input(b"", true);
    assert_eq!(connector.succeeded(), b"answer!");
    assert_eq!(listener.succeeded(), b"request");
}

#[test]
fn one_of_several_is_connected_to() {
    let (mut one, here) = listen("--service=files 700");
    let (_other, there) = listen("--service=mail 700");
    let peers = format!("--peer={} --peer={}", here.udp, there.udp);
    let mut connector = Program::start(&format!("connect --service=files --prefer=nearest {peers}"));
    connector.input(b"request", true);
    one.input(b"answer", true);
    assert_eq!(connector.succeeded(), b"answer");
    assert_eq!(one.succeeded(), b"request");
}

#[test]
fn a_signal_while_it_searches_is_one_before_the_end() {
    for (options, status) in [("", 1), ("--once --forward=0", 1), ("--forward=0", 0)] {
        let mut connector = Program::start(&format!("connect -v --service=web {options}"));
        connector.line("limits:");
        connector.signal(Signal::TERM);
        let ended = connector.ended();
        assert_eq!(ended.status, status, "{options}: {}", ended.stderr);
        assert_eq!(ended.stderr.contains("by a signal, before the end"), status == 1, "{}", ended.stderr);
    }
}

#[test]
fn nobody_has_the_service() {
    let (_listener, place) = listen("--forward=9 80");
    let message = Program::start(&format!("connect --service=web --peer={}", place.udp)).failed(4);
    assert!(message.contains("nobody has the service 'web'"), "{message}");
}

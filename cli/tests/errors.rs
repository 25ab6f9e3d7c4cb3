//! What goes wrong has a line that says so and an exit status that scripts can act on.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Directory, Program, is_ignored, listen, place};
use rustix::process::Signal;
use std::fs::{self, Permissions};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

const SID: &str = "4701D08488451F545A409FB58AE3E58581CA40AC3F7F114698CD71DEAC73CA01";

#[track_caller]
fn refused(arguments: &str, status: i32, reason: &str) {
    let message = Program::start(arguments).failed(status);
    assert!(message.contains(reason), "{message}");
}

#[test]
fn wrong_usage() {
    refused("connect 12 80", 2, "64 hexadecimal digits");
    refused(&format!("connect {} 80", "0".repeat(64)), 2, "reserved");
    refused(&format!("connect {SID} 2147483648"), 2, "0 to 2147483647");
    refused("listen 99999999999", 2, "0 to 2147483647");
    refused("listen --forward=70000 80", 2, "65535");
    refused(&format!("connect {SID}@nowhere 80"), 2, "HOST:PORT");
    refused("listen --forward=0 80", 2, "TCP port 0");
    refused("listen", 2, "MDPPORT");
    refused("listen 7", 2, "MDP port 7 is reserved");
    refused("dance", 2, "dance");
    refused("listen --service=w.b 80", 2, "no '.'");
    refused("connect --service=w*b", 2, "no '*'");
    refused(&format!("connect --service=web {SID} 80"), 2, "--service");
    refused("connect --service=web --prefer=best", 2, "'first' or 'nearest'");
    refused(&format!("connect --prefer=nearest {SID} 80"), 2, "--prefer");
    refused("connect", 2, "MDPPORT");
    refused("find --time=0", 2, "1 to 3600");
    refused("listen \u{1b}[2J", 2, "\\u{1b}[2J");
}

/// What would be ignored is refused.
#[test]
fn a_daemon_needs_no_address_of_the_far_end() {
    let home = Directory::new();
    let daemon = format!("--servald={}", home.join("nowhere"));
    for command in ["connect", "ping"] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_msp"));
        program.args([command, &daemon, &format!("{SID}@host:4110")]);
        program.args((command == "connect").then_some("80"));
        let message = Program::spawn(&mut program, home.path()).failed(2);
        assert!(message.contains("leave out @host:4110"), "{message}");
    }
}

#[test]
fn a_host_that_does_not_exist() {
    // A label of more than 63 characters has no chance in any name service, so none is asked.
    let name = format!("{}.invalid", "a".repeat(64));
    refused(&format!("connect {SID}@{name}:4110 80"), 4, "cannot find the host");
    refused(&format!("listen --forward={name}:22 80"), 4, "cannot find the host");
    refused(&format!("ping --peer={name}:4110 {SID}"), 4, "cannot find the host");
    refused(&format!("connect {SID}@[::1]:4110 80"), 4, "no IPv4 address");
}

#[test]
fn a_port_in_use() {
    let home = Directory::new();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp = taken.local_addr().unwrap();
    for command in ["listen 80".to_owned(), format!("connect {SID} 80")] {
        let message = Program::with_home(&format!("{command} --udp={udp}"), home.path()).failed(3);
        assert!(message.contains(&udp.to_string()) && message.contains("--udp=0.0.0.0:0"), "{message}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    refused(&format!("connect --forward={port} {SID} 80"), 3, &format!("127.0.0.1:{port}"));
}

#[test]
fn a_peer_that_does_not_answer() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let connector = Program::start(&format!("connect {SID}@{address} 80"));
    let ping = Program::start(&format!("ping --count=1 {SID}@{address}"));
    let message = connector.failed(4);
    assert!(message.contains("never answered"), "{message}");
    let message = ping.failed(4);
    assert!(message.contains("does not answer"), "{message}");
}

#[test]
fn a_port_where_nobody_listens() {
    let (_listener, mut place) = listen("--forward=9 80");
    place.port = "81".to_owned();
    let message = Program::start(&format!("connect {}", place.direct())).failed(5);
    assert!(message.contains("nothing listens"), "{message}");
}

#[test]
fn an_interruption_is_no_end() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        if is_ignored(signal) {
            continue;
        }
        let (mut listener, place) = listen("-v 47");
        let connector = Program::start(&format!("connect {}", place.direct()));
        listener.line("link 0: open");
        connector.signal(signal);
        connector.failed(1);
        let ended = listener.ended();
        assert_eq!(ended.status, 1, "{}", ended.stderr);
        assert!(ended.stderr.contains("aborted by the peer"), "{}", ended.stderr);
    }
}

/// Nothing has come to its end, though nothing was open either.
#[test]
fn an_interruption_before_the_only_connection() {
    for arguments in ["listen 47", "listen --once --forward=9 47"] {
        let home = Directory::new();
        let mut listener = Program::with_home(&format!("{arguments} --udp=127.0.0.1:0"), home.path());
        place(&mut listener);
        listener.signal(Signal::TERM);
        let ended = listener.ended();
        assert_eq!(ended.status, 1, "{}", ended.stderr);
        assert!(ended.stderr.contains("by a signal"), "{}", ended.stderr);
    }
}

/// A shell's `nohup`, or one that runs it in the background of a script.
#[test]
fn a_signal_that_was_ignored_stays_so() {
    let home = Directory::new();
    let script =
        format!("trap '' HUP; exec {} listen --udp=127.0.0.1:0 --no-broadcast 47", env!("CARGO_BIN_EXE_msp"));
    let mut listener = Program::spawn(Command::new("sh").args(["-c", &script]), home.path());
    let place = place(&mut listener);
    listener.signal(Signal::HUP);
    let mut connector = Program::start(&format!("connect {}", place.direct()));
    connector.input(b"a", true);
    listener.input(b"b", true);
    assert_eq!(connector.succeeded(), b"b");
    assert_eq!(listener.succeeded(), b"a");
}

#[test]
fn ping_answers() {
    let (_listener, place) = listen("--forward=9 80");
    let ping = Program::start(&format!("ping --count=2 {}@{}", place.sid, place.udp));
    let output = String::from_utf8(ping.succeeded()).unwrap();
    assert!(output.contains("2 sent, 2 answered, 0 % lost"), "{output}");
}

#[test]
fn what_cannot_go_through_a_daemon() {
    let home = Directory::new();
    let refused = |arguments: &str, reason: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_msp"));
        let message = Program::spawn(command.args(arguments.split(' ')), home.path()).failed(2);
        assert!(message.contains(reason), "{message}");
    };
    refused("demo --servald", "leave out --servald");
    for command in ["listen --forward=9 80".to_owned(), format!("connect --forward=0 {SID} 80")] {
        refused(
            &format!("{command} --servald=/nowhere --max-connections=1001"),
            "no more than 1000 connections",
        );
    }
}

#[test]
fn the_demonstration() {
    let ended = Program::start("demo --size=1").ended();
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("1000000 bytes"), "{}", ended.stderr);
    assert!(ended.stderr.contains("every loss was repaired"), "{}", ended.stderr);
}

fn id(home: &Path, arguments: &str) -> Program {
    Program::with_home(&format!("id {arguments}"), home)
}

#[test]
fn an_identity_is_made_once_and_for_its_owner_only() {
    let home = Directory::new();
    let programs = [0; 8].map(|_| id(home.path(), ""));
    let mut sids = programs.map(Program::succeeded).to_vec();
    sids.dedup();
    assert_eq!(sids.len(), 1, "all of them have the same");
    assert_eq!(sids[0].len(), 65);
    let file = home.path().join(".config/msp/identity");
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing is left over");
}

#[test]
fn a_new_identity_keeps_the_old_one() {
    let home = Directory::new();
    let file = home.path().join("key");
    let arguments = format!("--identity={}", file.display());
    let first = id(home.path(), &arguments).succeeded();
    let ended = id(home.path(), &format!("--new {arguments}")).ended();
    assert_eq!(ended.status, 0);
    assert_ne!(ended.stdout, first);
    assert!(ended.stderr.contains("key.old.1"), "{}", ended.stderr);
    assert_eq!(id(home.path(), &arguments).succeeded(), ended.stdout);
    let kept = format!("--identity={}.old.1", file.display());
    assert_eq!(id(home.path(), &kept).succeeded(), first);
}

#[test]
fn an_identity_that_cannot_be_used() {
    let home = Directory::new();
    let path = home.join("key");
    let refused = |reason: &str| {
        let message = id(home.path(), &format!("--identity={path}")).failed(6);
        assert!(message.contains(reason) && message.contains(&path), "{message}");
    };
    fs::write(&path, format!("{}\n", "1".repeat(64))).unwrap();
    for mode in [0o644, 0o640, 0o602] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        refused(&format!("chmod 600 {path}"));
    }
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    id(home.path(), &format!("--identity={path}")).succeeded();
    for text in ["", "11", "no identity at all"] {
        fs::write(&path, text).unwrap();
        refused("no identity");
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    refused("not a regular file");
    let message = Program::with_home("id --identity=/dev/null/key", home.path()).failed(6);
    assert!(message.contains("/dev/null/key"), "{message}");
}

#[test]
fn an_identity_in_use() {
    let home = Directory::new();
    let mut listener = Program::with_home("listen --udp=127.0.0.1:0 80", home.path());
    let place = place(&mut listener);
    let message = Program::with_home("listen --udp=127.0.0.1:0 81", home.path()).failed(6);
    assert!(message.contains("another program uses it"), "{message}");

    let path = home.path().join(".config/msp/identity");
    let connect = format!("connect --udp=127.0.0.1:0 {}", place.direct());
    let message =
        Program::with_home(&format!("{connect} --identity={}", path.display()), home.path()).failed(6);
    assert!(message.contains("another program uses it"), "{message}");

    // Not named, it is not insisted on.
    let mut connector = Program::with_home(&connect, home.path());
    connector.input(b"a", true);
    listener.input(b"b", true);
    assert_eq!(connector.succeeded(), b"b");
    assert_eq!(listener.succeeded(), b"a");
}

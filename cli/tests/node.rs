//! `msp node`, and the programs that go through it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Directory, Ended, Program, assert_same, bytes, listen, megabytes, seed};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;

/// A machine, as far as programs of one user see it, with a node that runs on it.
struct Machine {
    home: Directory,
    node: Program,
    sid: String,
    udp: String,
}

impl Machine {
    /// With a node that knows another one.
    fn new(peer: Option<&Self>) -> Self {
        let home = Directory::new();
        let (node, sid, udp) = start_node(home.path(), peer);
        Self { home, node, sid, udp }
    }

    /// A program that has nothing said about its node.
    fn start(&self, arguments: &str) -> Program {
        start(arguments, self.home.path())
    }

    /// A listener that is ready.
    fn listen(&self, arguments: &str) -> Program {
        let mut listener = self.start(&format!("listen {arguments}"));
        listener.line("msp connect");
        listener
    }

    fn socket(&self) -> std::path::PathBuf {
        self.home.path().join("run/mdp.2.socket")
    }

    fn stop(self) -> Ended {
        self.node.signal(Signal::TERM);
        let ended = self.node.ended();
        assert_eq!(fs::read_dir(self.home.path().join("run")).unwrap().count(), 0, "nothing is left over");
        ended
    }
}

fn start(arguments: &str, home: &Path) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_msp"));
    Program::spawn(command.args(arguments.split_whitespace()), home)
}

fn start_node(home: &Path, peer: Option<&Machine>) -> (Program, String, String) {
    let peer = peer.map(|peer| format!("--peer={}", peer.udp)).unwrap_or_default();
    let mut node = Program::with_home(&format!("node --udp=127.0.0.1:0 {peer}"), home);
    let sid = node.line("node").split(' ').next().unwrap().to_owned();
    let udp = node.line("127.0.0.1:");
    (node, sid, format!("127.0.0.1:{udp}"))
}

#[test]
fn a_node_tells_of_the_programs_that_go_through_it() {
    let machine = Machine::new(None);
    assert_eq!(machine.start("status --json").ended().status, 1, "there is none");
    let listener = machine.listen("47");
    let ended = machine.start("status --json").ended();
    let text = String::from_utf8(ended.stdout).unwrap();
    assert!(text.contains("mdp.client.msp.47.socket\",\"ports\":\"47\""), "{text}");
    listener.signal(Signal::TERM);
    listener.ended();
    machine.stop();
}

#[test]
fn programs_go_through_the_nodes_of_their_machines() {
    let there = Machine::new(None);
    let here = Machine::new(Some(&there));
    let file = fs::metadata(there.socket()).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(fs::metadata(there.home.path().join("run")).unwrap().mode() & 0o777, 0o700);

    let sent = [bytes(seed(), megabytes() << 20), bytes(seed(), 100_000)];
    let mut listener = there.start("listen -v 47");
    assert!(listener.line("listening on MDP port 47").contains("through the node in"));
    assert_eq!(listener.line("msp connect"), format!("{} 47", there.sid));
    let mut connector = here.start(&format!("connect -v {} 47", there.sid));
    connector.line("going on through the node in");
    for (program, sent) in [(&mut listener, &sent[0]), (&mut connector, &sent[1])] {
        let (mut input, sent) = (program.take_stdin(), sent.clone());
        std::thread::spawn(move || std::io::Write::write_all(&mut input, &sent));
    }
    assert_same(&connector.succeeded(), &sent[0]);
    assert_same(&listener.succeeded(), &sent[1]);
    for machine in [here, there] {
        assert_eq!(machine.stop().status, 0);
    }
}

#[test]
fn a_ping_and_a_look_go_through_the_node_too() {
    let there = Machine::new(None);
    let here = Machine::new(Some(&there));
    let mut ping = here.start(&format!("ping -v --count=1 {}", there.sid));
    ping.line("going on through the node in");
    ping.succeeded();
    // Also of the node itself.
    here.start(&format!("ping --count=1 {}", here.sid)).succeeded();
    let peers = String::from_utf8(here.start("peers --json").succeeded()).unwrap();
    assert!(peers.contains(&there.sid), "{peers}");
}

/// Each of them answers, of its own node and of another.
#[test]
fn services_of_programs_that_share_a_node_are_all_found() {
    let there = Machine::new(None);
    let here = Machine::new(Some(&there));
    let _listeners =
        ["red", "blue"].map(|name| there.listen(&format!("--forward=9 --service={name} 4{}", name.len())));
    for machine in [&there, &here] {
        let output = String::from_utf8(machine.start("find --time=3").succeeded()).unwrap();
        let found =
            |service: &str| output.lines().any(|line| line.starts_with(&format!("{} {service}", there.sid)));
        assert!(found("43 red") && found("44 blue"), "{output}");
    }
}

/// Two programs of one machine need no network.
#[test]
fn programs_of_one_node_connect_with_each_other() {
    let machine = Machine::new(None);
    let mut listener = machine.listen("47");
    let mut connector = machine.start(&format!("connect {} 47", machine.sid));
    connector.input(b"hello", true);
    listener.input(b"welcome", true);
    assert_eq!(connector.succeeded(), b"welcome");
    assert_eq!(listener.succeeded(), b"hello");
    // A port is for one.
    let listener = machine.listen("--forward=9 48");
    let message = machine.start("listen --forward=9 48").failed(3);
    assert!(message.contains("another msp listens on it through the node in"), "{message}");
    drop(listener);
    machine.listen("--forward=9 48");
}

#[test]
fn who_says_which_node_has_it() {
    let machine = Machine::new(None);
    let (mut listener, place) = listen("47");
    let identity = machine.home.join("another");
    let options = format!("--udp=127.0.0.1:0 --identity={identity}");
    let mut connector =
        Program::with_home(&format!("connect -v {options} {}", place.direct()), machine.home.path());
    assert!(connector.line("node").contains("at UDP 127.0.0.1"));
    connector.input(b"hello", true);
    listener.input(b"", true);
    connector.succeeded();
    assert_eq!(listener.succeeded(), b"hello");
}

/// What holds for a Serval daemon that restarts does so here.
#[test]
fn a_connection_outlives_a_node_that_is_killed_and_started_again() {
    let there = Machine::new(None);
    let here = Machine::new(Some(&there));
    let sent = bytes(seed(), 1_000_000);
    let mut listener = there.listen("-v 47");
    let mut connector = here.start(&format!("connect -v {} 47", there.sid));
    connector.input(&sent[..500_000], false);
    listener.line("link 0: open");
    here.node.signal(Signal::KILL);
    let Machine { home, node, .. } = here;
    node.ended();
    connector.line("no daemon is running");
    let (_again, sid, _) = start_node(home.path(), Some(&there));
    connector.line(&format!("connected to the daemon, whose address is {sid}"));
    connector.input(&sent[500_000..], true);
    listener.input(b"", true);
    connector.succeeded();
    assert_same(&listener.succeeded(), &sent);
}

#[test]
fn there_is_one_node_in_a_directory() {
    let machine = Machine::new(None);
    let run = machine.home.join("run");
    let other = Directory::new();
    let second = |arguments: &str| {
        Program::with_home(&format!("node --udp=127.0.0.1:0 --run={run} {arguments}"), other.path())
    };
    let message = second("").failed(3);
    assert!(message.contains("another node serves in") && message.contains("--run"), "{message}");
    let message = Program::with_home("node --udp=127.0.0.1:0", machine.home.path()).failed(6);
    assert!(message.contains("another program uses it"), "{message}");
    machine.node.signal(Signal::KILL);
    machine.node.ended();
    let mut next = second("");
    next.line("node");
    next.signal(Signal::INT);
    let status = if common::is_ignored(Signal::INT) { None } else { Some(next.ended().status) };
    assert!(status.is_none_or(|status| status == 0));
    // A directory of others is not used.
    let open = other.path().join("open");
    fs::create_dir(&open).unwrap();
    let message =
        Program::with_home(&format!("node --udp=127.0.0.1:0 --run={}", open.display()), other.path());
    assert!(message.failed(3).contains("other users can get at it"));
}

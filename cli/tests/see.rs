//! Programs that run are asked what they know.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::{DEADLINE, Directory, Program, listen, place};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;

/// Both ends of a stream over which something has gone and comes back, in one run directory.
struct Mesh {
    home: Directory,
    listener: Program,
    connector: Program,
    /// The address of the listener.
    sid: String,
    stream: TcpStream,
}

impl Mesh {
    fn new() -> Self {
        let echo = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = echo.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut stream, _) = echo.accept().unwrap();
            let mut copy = stream.try_clone().unwrap();
            std::io::copy(&mut stream, &mut copy)
        });
        let home = Directory::new();
        let start = |name: &str, arguments: &str| {
            let identity = home.join(name);
            let node = format!("--identity={identity} --udp=127.0.0.1:0");
            Program::with_home(&format!("{arguments} {node}"), home.path())
        };
        let mut listener = start("a", &format!("listen --forward={port} 47"));
        let place = place(&mut listener);
        let mut connector = start("b", &format!("connect --forward=0 {}", place.direct()));
        let line = connector.line("TCP connections to");
        let mut stream = TcpStream::connect(line.split_whitespace().next().unwrap()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"hello").unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
        Self { home, listener, connector, sid: place.sid, stream }
    }

    fn see(&self, arguments: &str) -> Program {
        Program::with_home(arguments, self.home.path())
    }

    /// The lines that a command writes.
    fn lines(&self, arguments: &str) -> Vec<String> {
        let output = String::from_utf8(self.see(arguments).succeeded()).unwrap();
        output.lines().map(str::to_owned).collect()
    }

    /// The lines of a command once there are `count` with all of these parts: nodes learn from each other what they tell.
    fn lines_with(&self, arguments: &str, count: usize, parts: &[&str]) -> Vec<String> {
        let shown = (0..500).find_map(|_| {
            let output = String::from_utf8(self.see(arguments).ended().stdout).unwrap();
            let lines: Vec<String> = output.lines().map(str::to_owned).collect();
            (lines.iter().filter(|line| has(line, parts)).count() == count).then_some(lines)
        });
        shown.unwrap_or_else(|| panic!("{arguments} never shows {count} of {parts:?}"))
    }

    fn files(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.home.path().join("run")).unwrap();
        files.map(|entry| entry.unwrap().path()).collect()
    }
}

fn has(line: &str, parts: &[&str]) -> bool {
    parts.iter().all(|part| line.contains(part))
}

#[test]
fn both_ends_of_a_stream_are_shown() {
    let mesh = Mesh::new();
    let shown = mesh.lines("status --json");
    let [first, second] = &shown[..] else { panic!("{shown:?}") };
    let (listener, connector) = if first.contains("listen 47") { (first, second) } else { (second, first) };
    let pid = |program: &Program| format!("\"pid\":{},", program.id());
    let counts = ["\"received_bytes\":5,", "\"state\":\"open\"", "\"extended\":true", "\"unread_bytes\":0,"];
    assert!(has(listener, &counts) && has(connector, &counts), "{shown:?}");
    assert!(has(listener, &[&pid(&mesh.listener), "\"port\":47,", "\"initiator\":false,"]), "{listener}");
    let to = format!("\"peer\":\"{}\",\"peer_port\":47,", mesh.sid);
    assert!(has(connector, &[&pid(&mesh.connector), &to, "\"initiator\":true,"]), "{connector}");
    let table = mesh.lines("status");
    let heads = table.iter().filter(|line| line.starts_with("msp ")).count();
    assert_eq!(
        (heads, table.len()),
        (2, 7),
        "two titles, headings and streams, and a line between: {table:?}"
    );
    let row = table.iter().find(|line| line.starts_with(&mesh.sid[..12])).unwrap();
    assert!(has(row, &["*:47 ", " open ", " 5 B ", " yes"]), "{row}");
}

#[test]
fn neighbours_and_routes_are_shown() {
    let mesh = Mesh::new();
    let up = ["\"state\":\"up\"", "\"address\":\"127.0.0.1:", "\"sent_by\":\"unicast\""];
    let peers = mesh.lines_with("peers --json", 2, &up);
    assert_eq!(peers.len(), 2, "each has the other: {peers:?}");
    let [next_hop, sid] = ["next_hop", "sid"].map(|name| format!("\"{name}\":\"{}\"", mesh.sid));
    mesh.lines_with("routes --json", 1, &["\"hops\":1,", &next_hop, &sid]);
    for command in ["peers", "routes"] {
        let table = mesh.lines(command);
        assert!(table.iter().any(|line| line.ends_with(&mesh.sid)), "{table:?}");
    }
}

#[test]
fn files_go_with_their_programs_and_what_is_left_of_others_is_removed() {
    let mesh = Mesh::new();
    assert_eq!(mesh.files().len(), 2);
    mesh.connector.signal(rustix::process::Signal::TERM);
    let Mesh { home, listener, connector, stream, sid } = mesh;
    assert_eq!(connector.ended().status, 0);
    let mesh = Mesh { connector: Program::with_home("id", home.path()), home, listener, sid, stream };
    assert_eq!(mesh.files().len(), 1, "that of the listener");
    mesh.listener.signal(rustix::process::Signal::KILL);
    let Mesh { home, listener, .. } = mesh;
    assert_eq!(listener.ended().status, -1);
    let left = std::fs::read_dir(home.path().join("run")).unwrap().count();
    assert_eq!(left, 1);
    let message = Program::with_home("status", home.path()).failed(4);
    assert!(message.contains("no msp runs here"), "{message}");
    assert_eq!(std::fs::read_dir(home.path().join("run")).unwrap().count(), 0);
}

#[test]
fn scripts_learn_from_the_exit_status() {
    let home = Directory::new();
    let identity = home.join("identity");
    let see = |arguments: &str| Program::with_home(arguments, home.path());
    assert!(see("peers").failed(4).contains("no msp runs here"));
    let mut listener = see(&format!("listen --udp=127.0.0.1:0 --identity={identity} 47"));
    place(&mut listener);
    for command in ["peers", "routes", "status"] {
        let ended = see(command).ended();
        assert_eq!(ended.status, 1, "{}", ended.stderr);
        let text = String::from_utf8(ended.stdout).unwrap();
        assert!(text.starts_with("msp listen 47, pid ") && text.lines().count() == 1, "{text}");
        assert!(see(&format!("{command} --json")).ended().stdout.is_empty());
    }
    assert!(see("status --watch=0").failed(2).contains("1 to 86400"));
    // It is not to be trusted, and nobody is asked.
    std::os::unix::fs::symlink(home.path().join("run"), home.path().join("link")).unwrap();
    let link = format!("status --run={}", home.join("link"));
    assert!(see(&link).failed(4).contains("no directory"));
}

/// A directory in which nothing can be made is no reason not to carry connections.
#[test]
fn without_a_run_directory_all_goes_on() {
    let home = Directory::new();
    std::fs::write(home.path().join("run"), "").unwrap();
    let mut listener = Program::with_home(
        &format!("listen -v --udp=127.0.0.1:0 --identity={} 47", home.join("id")),
        home.path(),
    );
    assert!(listener.line("`msp status` cannot see this program").contains("run directory"));
    place(&mut listener);
}

#[test]
fn watching_looks_again_and_appends_where_there_is_no_terminal() {
    let mesh = Mesh::new();
    let mut watcher = std::process::Command::new(env!("CARGO_BIN_EXE_msp"))
        .args(["status", "--json", "--watch=1"])
        .env("MSP_RUN", mesh.home.join("run"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = std::io::BufReader::new(watcher.stdout.take().unwrap());
    let lines: Vec<_> = std::io::BufRead::lines(stdout).take(4).map(Result::unwrap).collect();
    watcher.kill().unwrap();
    watcher.wait().unwrap();
    assert!(lines.iter().all(|line| line.starts_with('{') && line.ends_with('}')), "{lines:?}");
}

#[test]
fn ping_and_trace_speak_json() {
    let (_listener, place) = listen("--forward=9 80");
    let far_end = format!("{}@{}", place.sid, place.udp);
    let lines = |arguments: &str| {
        let output = Program::start(&format!("{arguments} --json {far_end}")).succeeded();
        String::from_utf8(output).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let sid = format!("{{\"sid\":\"{}\"", place.sid);
    let echoes = lines("ping --count=1");
    let [echo, summary] = &echoes[..] else { panic!("{echoes:?}") };
    assert!(has(echo, &[&sid, "\"echo\":1,\"round_trip_ms\":"]) && !echo.contains("null"), "{echo}");
    assert!(has(summary, &[&sid, "\"sent\":1,\"answered\":1,\"min_ms\":"]), "{summary}");
    let hops = lines("trace");
    let [hop] = &hops[..] else { panic!("{hops:?}") };
    assert!(has(hop, &["{\"hop\":1,\"way\":\"there\",", &place.sid, "\"round_trip_ms\":"]), "{hop}");
    let table = String::from_utf8(Program::start(&format!("trace {far_end}")).succeeded()).unwrap();
    assert!(table.starts_with("HOP  WAY    SID ") && table.lines().count() == 2, "{table}");
}

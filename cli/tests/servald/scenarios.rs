//! What the tunnel program of the reference is tested with (`spec/70` section 7), in all combinations of ends.

use std::fmt::{self, Display};
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::matrix::{GOOD, Run, Statuses, all_pairs, connectors, test};
use crate::process::LIMIT;
use crate::scratch::noise;
use crate::side::End;
use crate::streams::{STDIO, STDIO_TO_TCP, Shape, TCP, TCP_TO_STDIO, carry};

#[test]
fn hello_both_ways() {
    test("hello", all_pairs, &[STDIO, STDIO_TO_TCP, TCP_TO_STDIO, TCP], |run, shape| {
        carry(run, shape, b"hello\n", b"hi\n");
    });
}

#[test]
fn bytes_both_ways() {
    test("50 kB each way", all_pairs, &[STDIO, STDIO_TO_TCP, TCP_TO_STDIO, TCP], |run, shape| {
        carry(run, shape, &noise(1, 50_000), &noise(2, 50_000));
    });
}

/// Where all the bytes of a connection go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OneWay {
    shape: Shape,
    up: bool,
}

impl OneWay {
    const ALL: [Self; 4] = [
        Self { shape: STDIO, up: true },
        Self { shape: STDIO, up: false },
        Self { shape: TCP, up: true },
        Self { shape: TCP, up: false },
    ];

    fn carry(self, run: &Run<'_>, length: usize) {
        let bytes = noise(3, length);
        if self.up {
            carry(run, self.shape, &bytes, b"");
        } else {
            carry(run, self.shape, b"", &bytes);
        }
    }
}

impl Display for OneWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.shape, if self.up { "up" } else { "down" })
    }
}

#[test]
fn one_side_sends_nothing() {
    test("64 kB one way", all_pairs, &OneWay::ALL, |run, way| way.carry(run, 64_000));
}

#[test]
#[ignore = "takes minutes"]
fn a_long_text_with_latency() {
    test("1 MiB, 10 ms", all_pairs, &OneWay::ALL, |run, way| {
        run.lab.delay(Duration::from_millis(10));
        way.carry(run, 1 << 20);
    });
}

#[test]
#[ignore = "takes minutes"]
fn an_idle_connection_is_kept_alive() {
    test("idle for 20 s", all_pairs, &[STDIO], |run, _| {
        let port = Run::port();
        let mut listener = run.listener.listen(&[&port], None);
        let mut connector = run.connect(&[], &port, None);
        connector.type_in(b"before\n");
        listener.output_line("what was said before", |line| (line == "before").then_some(()));
        thread::sleep(Duration::from_secs(20));
        listener.type_in(b"after\n");
        connector.output_line("what was said after", |line| (line == "after").then_some(()));
        connector.finish_input();
        listener.finish_input();
        run.ended(run.connector, connector, GOOD);
        run.ended(run.listener, listener, GOOD);
    });
}

/// Where the connector takes its bytes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Stdio,
    Tcp,
}

impl Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Stdio { "stdio" } else { "TCP" })
    }
}

const FROM: [From; 2] = [From::Stdio, From::Tcp];

/// Connects, and waits until the connector has seen that nothing comes of it.
#[track_caller]
fn connect_in_vain(run: &Run<'_>, from: From, to: (&str, &str), expected: Statuses) {
    let (sid, port) = to;
    if from == From::Stdio {
        let connector = run.connect_to(sid, &[], port, Some(b"hello\n"));
        run.ended(run.connector, connector, expected);
        return;
    }
    let entrance = run.lab.free_port(run.connector.node);
    let options = ["--once", &format!("--forward={entrance}")];
    let connector = run.connect_to(sid, &options, port, Some(b""));
    let mut stream = run.lab.connect(run.connector.node, entrance);
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let _ = stream.write_all(b"hello\n");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer, b"", "an answer came from nowhere");
    run.ended(run.connector, connector, expected);
}

#[test]
fn a_refused_target() {
    test("refused target", all_pairs, &FROM, |run, from| {
        let port = Run::port();
        let target = format!("--forward={}", run.lab.free_port(run.listener.node));
        let listener = run.listener.listen(&[&target, &port], Some(b""));
        run.await_route();
        connect_in_vain(run, from, (run.listener.sid(), &port), Statuses { ours: 5, servald: 0 });
        listener.signal("TERM");
        run.ended(run.listener, listener, GOOD);
    });
}

#[test]
fn a_peer_that_cannot_be_reached() {
    const NOBODY: &str = "4701D08488451F545A409FB58AE3E58581CA40AC3F7F114698CD71DEAC73CA01";
    test("unreachable peer", connectors, &FROM, |run, from| {
        let start = Instant::now();
        connect_in_vain(run, from, (NOBODY, &Run::port()), Statuses { ours: 4, servald: 1 });
        assert!(start.elapsed() < Duration::from_secs(20), "it took {:?}", start.elapsed());
    });
}

#[test]
fn a_node_without_a_listener() {
    test("no listener", all_pairs, &FROM, |run, from| {
        // A node is there, at least.
        let other = run.listener.listen(&["--forward=1", &Run::port()], Some(b""));
        run.await_route();
        // Ours refuses, a daemon keeps silent.
        let refuses = run.listener.end == End::Embedded;
        let expected = Statuses { ours: if refuses { 5 } else { 4 }, servald: i32::from(!refuses) };
        connect_in_vain(run, from, (run.listener.sid(), &Run::port()), expected);
        other.signal("TERM");
        run.ended(run.listener, other, GOOD);
    });
}

/// Who goes away in the middle of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Killed {
    Client,
    Server,
}

impl Display for Killed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Client { "client" } else { "server" })
    }
}

#[test]
fn a_program_is_killed_in_the_middle_of_a_transfer() {
    test("killed", all_pairs, &[Killed::Client, Killed::Server], |run, killed| {
        let port = Run::port();
        let server = run.lab.listen(run.listener.node);
        let target = format!("--forward={}", server.local_addr().unwrap().port());
        let entrance = run.lab.free_port(run.connector.node);
        let listener = run.listener.listen(&[&target, &port], Some(b""));
        let connector = run.connect(&[&format!("--forward={entrance}")], &port, Some(b""));

        let client = run.lab.connect(run.connector.node, entrance);
        (&client).write_all(b"hello\n").unwrap();
        let (served, _) = server.accept().unwrap();
        let (dying, other) = if killed == Killed::Client { (client, served) } else { (served, client) };
        thread::scope(|scope| {
            let writing = scope.spawn(|| flood(&other));
            // Its socket is closed with much that it has not read, as when a program is killed.
            dying.set_read_timeout(Some(LIMIT)).unwrap();
            (&dying).read_exact(&mut [0; 10_000]).expect("the middle of a transfer");
            drop(dying);
            writing.join().unwrap();
        });
        drop(other);

        // A late packet of the first connection may open one more at the reference, with nothing in it.
        thread::spawn(move || server.incoming().for_each(|stream| drop(thread::spawn(|| answer(stream?)))));
        let mut client = run.lab.connect(run.connector.node, entrance);
        client.set_read_timeout(Some(LIMIT)).unwrap();
        client.write_all(b"again\n").unwrap();
        let mut line = [0; 6];
        client.read_exact(&mut line).expect("the next connection carries an answer");
        assert_eq!(&line, b"there\n");
        drop(client);
        for (side, process) in [(run.connector, connector), (run.listener, listener)] {
            process.signal("TERM");
            run.ended(side, process, GOOD);
        }
    });
}

/// Answers a line.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    let mut line = [0; 6];
    stream.read_exact(&mut line)?;
    assert_eq!(&line, b"again\n");
    stream.write_all(b"there\n")
}

/// Writes until the other end is gone.
#[track_caller]
fn flood(mut stream: &TcpStream) {
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    let chunk = noise(4, 10_000);
    let start = Instant::now();
    while stream.write_all(&chunk).is_ok() {
        assert!(start.elapsed() < LIMIT, "it never ends");
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// A program that gets a signal.
#[derive(Debug, Clone, Copy)]
struct Signalled {
    connector: bool,
    signal: &'static str,
}

impl Display for Signalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.signal, if self.connector { "connector" } else { "listener" })
    }
}

#[test]
fn a_signal_in_the_middle_of_a_conversation() {
    let signalled = |connector| ["TERM", "KILL"].map(|signal| Signalled { connector, signal });
    test("signal", all_pairs, [true, false].map(signalled).as_flattened(), |run, signalled| {
        let port = Run::port();
        let mut listener = run.listener.listen(&[&port], None);
        let mut connector = run.connect(&[], &port, None);
        connector.type_in(b"hello\n");
        listener.output_line("a greeting", |line| (line == "hello").then_some(()));
        listener.type_in(b"hi\n");
        connector.output_line("a greeting", |line| (line == "hi").then_some(()));
        let (connector, listener) = ((run.connector, connector), (run.listener, listener));
        let ((side, process), (far_side, far)) =
            if signalled.connector { (connector, listener) } else { (listener, connector) };
        process.signal(signalled.signal);
        if signalled.signal == "TERM" {
            run.ended(side, process, Statuses { ours: 1, servald: 0 });
            run.ended(far_side, far, Statuses { ours: 1, servald: 0 });
        } else {
            run.ended(far_side, far, Statuses { ours: 1, servald: 1 });
        }
    });
}

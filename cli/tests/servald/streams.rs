//! Carries bytes both ways between any two ends, and sees to it that all of them arrive.

use std::fmt::{self, Display};
use std::thread::{self, JoinHandle};

use crate::exchange::{Turn, exchange, serve};
use crate::matrix::{GOOD, Run};
use crate::process::Process;
use crate::scratch::assert_same;
use crate::side::{End, Side};

/// What a program joins its stream to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Local {
    Stdio,
    Tcp,
}

/// What both programs join their streams to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) connector: Local,
    pub(crate) listener: Local,
}

pub(crate) const STDIO: Shape = Shape { connector: Local::Stdio, listener: Local::Stdio };
pub(crate) const TCP: Shape = Shape { connector: Local::Tcp, listener: Local::Tcp };
pub(crate) const STDIO_TO_TCP: Shape = Shape { connector: Local::Stdio, listener: Local::Tcp };
pub(crate) const TCP_TO_STDIO: Shape = Shape { connector: Local::Tcp, listener: Local::Stdio };

impl Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |local| if local == Local::Stdio { "stdio" } else { "TCP" };
        write!(f, "{} to {}", name(self.connector), name(self.listener))
    }
}

/// Carries `up` to the listener and `down` to the connector over one connection that ends well.
#[track_caller]
pub(crate) fn carry(run: &Run<'_>, shape: Shape, up: &[u8], down: &[u8]) {
    let port = Run::port();
    let (up_turn, down_turn) = turns(run);
    let mut listener = listen(run, shape.listener, &port, down, down_turn);
    let mut connector = connect(run, shape.connector, &port, up, up_turn);
    connector.feed(up, down, up_turn);
    listener.feed(down, up, down_turn);
    let came_down = connector.finish(run, run.connector);
    let came_up = listener.finish(run, run.listener);
    assert_same("from the listener to the connector", &came_down, down);
    assert_same("from the connector to the listener", &came_up, up);
}

/// When each end, the connector first, ends its direction.
///
/// The reference goes first: its tunnel program takes a TCP connection or a pipe that both sides have ended for
/// a broken one, and drops what it has not read from it yet.
fn turns(run: &Run<'_>) -> (Turn, Turn) {
    match (run.connector.end, run.listener.end) {
        (End::Servald, _) => (Turn::First, Turn::Second),
        (_, End::Servald) => (Turn::Second, Turn::First),
        _ => (Turn::First, Turn::First),
    }
}

/// One end of a connection.
#[derive(Debug)]
struct Joined {
    process: Process,
    /// The TCP connection, and what comes out of it; `None` for standard input and output.
    link: Option<JoinHandle<Vec<u8>>>,
}

fn listen(run: &Run<'_>, local: Local, port: &str, bytes: &[u8], turn: Turn) -> Joined {
    if local == Local::Stdio {
        return Joined { process: run.listener.listen(&[port], input(bytes, turn)), link: None };
    }
    let server = run.lab.listen(run.listener.node);
    let target = format!("--forward={}", server.local_addr().unwrap().port());
    let served = serve(server, 1, bytes.to_vec(), turn);
    let process = run.listener.listen(&["--once", &target, port], Some(b""));
    Joined { process, link: Some(thread::spawn(|| served.join().unwrap().remove(0))) }
}

fn connect(run: &Run<'_>, local: Local, port: &str, bytes: &[u8], turn: Turn) -> Joined {
    if local == Local::Stdio {
        return Joined { process: run.connect(&[], port, input(bytes, turn)), link: None };
    }
    let entrance = run.lab.free_port(run.connector.node);
    let process = run.connect(&["--once", &format!("--forward={entrance}")], port, Some(b""));
    let stream = run.lab.connect(run.connector.node, entrance);
    let bytes = bytes.to_vec();
    Joined { process, link: Some(thread::spawn(move || exchange(stream, bytes, turn).unwrap())) }
}

/// Everything at once, if it need not wait for anything.
fn input(bytes: &[u8], turn: Turn) -> Option<&[u8]> {
    (turn == Turn::First).then_some(bytes)
}

impl Joined {
    /// Writes to a standard input that has not got everything at the start.
    #[track_caller]
    fn feed(&mut self, bytes: &[u8], expected: &[u8], turn: Turn) {
        if self.link.is_none() && turn == Turn::Second {
            self.process.type_in(bytes);
            self.process.output_length(expected.len());
            self.process.finish_input();
        }
    }

    /// What came out of it.
    #[track_caller]
    fn finish(self, run: &Run<'_>, side: &Side<'_>) -> Vec<u8> {
        let received = self.link.map(|link| link.join().expect("the TCP connection ends well"));
        let ended = run.ended(side, self.process, GOOD);
        received.unwrap_or(ended.output)
    }
}

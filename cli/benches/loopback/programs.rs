//! Two programs, with a TCP connection at either end.

use crate::common::{Directory, Program, connect_forward, listen};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Clock ticks in a second, as /proc counts them for programs.
const TICKS: f64 = 100.0;
/// How long idle programs are watched.
const IDLE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Figures {
    /// Megabytes in a second.
    pub(crate) rate: f64,
    /// Seconds of processor time for a gigabyte.
    pub(crate) cpu: f64,
}

impl Figures {
    pub(crate) fn new(bytes: usize, time: Duration, cpu: f64) -> Self {
        Self { rate: bytes as f64 / 1e6 / time.as_secs_f64(), cpu: cpu / (bytes as f64 / 1e9) }
    }
}

#[derive(Debug)]
pub(crate) struct Programs {
    server: TcpListener,
    entrance: SocketAddr,
    /// The one that connects, and the one that listens.
    ends: [Program; 2],
    /// The nodes that they go through, if they have none of their own.
    nodes: Vec<(Program, Directory)>,
}

impl Programs {
    pub(crate) fn start() -> Self {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let (listener, place) = listen(&format!("-vv --forward={address} 80"));
        let (connector, entrance) = connect_forward(&format!("-vv {}", place.direct()));
        Self { server, entrance, ends: [connector, listener], nodes: Vec::new() }
    }

    /// The same, each through the `msp node` of its machine: four processes.
    pub(crate) fn start_through_nodes() -> Self {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let node = |peer: &str| {
            let home = Directory::new();
            let mut node = Program::with_home(&format!("node --udp=127.0.0.1:0 {peer}"), home.path());
            let sid = node.line("node").split(' ').next().unwrap().to_owned();
            let udp = node.line("127.0.0.1:");
            (node, home, sid, udp)
        };
        let (there, far, sid, udp) = node("");
        let (here, near, ..) = node(&format!("--peer=127.0.0.1:{udp}"));
        let start = |arguments: &str, home: &Directory| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_msp"));
            Program::spawn(command.args(arguments.split(' ')), home.path())
        };
        let mut listener = start(&format!("listen --forward={address} 80"), &far);
        listener.line("msp connect");
        let mut connector = start(&format!("connect --forward=0 {sid} 80"), &near);
        let line = connector.line("TCP connections to");
        let entrance = line.split_whitespace().next().unwrap().parse().unwrap();
        Self { server, entrance, ends: [connector, listener], nodes: vec![(there, far), (here, near)] }
    }

    pub(crate) fn carry(&self, megabytes: usize) -> Figures {
        let all = || self.ends.iter().chain(self.nodes.iter().map(|(node, _)| node));
        let cpu = || all().map(|program| cpu_seconds(&program.id().to_string())).sum::<f64>();
        let (start, before) = (Instant::now(), cpu());
        let entrance = self.entrance;
        let sender = thread::spawn(move || {
            let mut client = TcpStream::connect(entrance).unwrap();
            let piece = vec![7; 1_000_000];
            for _ in 0..megabytes {
                client.write_all(&piece).unwrap();
            }
            client.shutdown(Shutdown::Write).unwrap();
            client.read_to_end(&mut Vec::new()).unwrap();
        });
        let (mut connection, _) = self.server.accept().unwrap();
        let (mut bytes, mut buffer) = (0, vec![0; 1 << 18]);
        loop {
            match connection.read(&mut buffer).unwrap() {
                0 => break,
                count => bytes += count,
            }
        }
        let figures = Figures::new(bytes, start.elapsed(), cpu() - before);
        drop(connection);
        sender.join().unwrap();
        assert_eq!(bytes, megabytes * 1_000_000);
        figures
    }

    pub(crate) fn report_packets(self, megabytes: usize) {
        let ids = self.ends.each_ref().map(|end| end.id().to_string());
        let mut counter = Command::new("perf");
        counter.args(["stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p", &ids.join(",")]);
        let counter = counter.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().ok();
        // It says nothing when it has begun.
        thread::sleep(Duration::from_millis(500));
        let start = Instant::now();
        self.carry(megabytes);
        let time = start.elapsed();
        let calls = counter.and_then(|counter| {
            let pid = rustix::process::Pid::from_child(&counter);
            rustix::process::kill_process(pid, Signal::INT).ok()?;
            let said = counter.wait_with_output().ok()?;
            let said = String::from_utf8_lossy(&said.stderr).into_owned();
            said.lines().find_map(|line| line.split(',').next()?.parse::<f64>().ok())
        });
        let memory = ids.map(|id| status(&id, "VmHWM:"));
        // Each says at its end what its socket has done.
        let sent: Vec<f64> = self
            .ends
            .into_iter()
            .map(|end| {
                end.signal(Signal::TERM);
                let said = end.ended().stderr;
                let (_, rest) = said.split_once("{ sent: ").unwrap_or_else(|| panic!("no count in {said}"));
                rest.split(',').next().unwrap().parse().unwrap()
            })
            .collect();
        let packets = sent[0] + sent[1];
        println!(
            "packets a second: {:.0} there, {:.0} back",
            sent[0] / time.as_secs_f64(),
            sent[1] / time.as_secs_f64()
        );
        println!("bytes of the connection in a packet there: {:.0}", megabytes as f64 * 1e6 / sent[0]);
        match calls {
            Some(calls) => println!("system calls of both for a packet: {:.2}", calls / packets),
            None => println!("system calls: perf may not count them"),
        }
        println!("most memory, kB: {} to send, {} to receive", memory[0], memory[1]);
    }

    /// With one connection open on which nothing happens.
    pub(crate) fn report_idle(self) {
        let mut client = TcpStream::connect(self.entrance).unwrap();
        client.write_all(b"hello").unwrap();
        let (mut connection, _) = self.server.accept().unwrap();
        connection.read_exact(&mut [0; 5]).unwrap();
        thread::sleep(Duration::from_secs(2));
        let ids = self.ends.each_ref().map(|end| end.id().to_string());
        let woken = || ids.each_ref().map(|id| status(id, "voluntary_ctxt_switches:"));
        let cpu = || ids.iter().map(|id| cpu_seconds(id)).sum::<f64>();
        let (before, used) = (woken(), cpu());
        thread::sleep(IDLE);
        let (after, used) = (woken(), cpu() - used);
        let rates = [0, 1].map(|end| (after[end] - before[end]) as f64 / IDLE.as_secs_f64());
        println!("idle, one connection: {:.1} and {:.1} wake-ups a second", rates[0], rates[1]);
        println!("idle, processor time of both: {:.2} %", 100.0 * used / IDLE.as_secs_f64());
    }
}

/// Processor time of a process.
pub(crate) fn cpu_seconds(id: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    // The name before it may hold anything. Then comes field 3; time of its own and of the kernel are 14 and 15.
    let (_, rest) = stat.rsplit_once(')').unwrap();
    rest.split_whitespace().skip(11).take(2).map(|field| field.parse::<f64>().unwrap()).sum::<f64>() / TICKS
}

/// A number that /proc tells of a process.
fn status(id: &str, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

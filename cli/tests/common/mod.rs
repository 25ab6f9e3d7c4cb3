//! Runs the program, each time with a configuration directory of its own and on the loopback address only.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[cfg(target_os = "linux")]
pub mod usage;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Every wait ends after this long, with a failure.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// A directory that goes away with this.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("msp-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> String {
        self.0.join(name).into_os_string().into_string().unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program, as it was started. It is killed when this is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<String>,
    said: String,
    _home: Option<Directory>,
}

/// How the program has ended.
#[derive(Debug)]
pub struct Ended {
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Program {
    /// `msp` with these arguments, separated by spaces, and a node on any port of the loopback address.
    pub fn start(arguments: &str) -> Self {
        let home = Directory::new();
        let mut program = Self::with_home(&format!("{arguments} --udp=127.0.0.1:0"), home.path());
        program._home = Some(home);
        program
    }

    /// `msp` with just these arguments and this home directory.
    pub fn with_home(arguments: &str, home: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_msp"));
        command.args(arguments.split_whitespace()).arg("--no-broadcast");
        Self::spawn(&mut command, home)
    }

    /// Any command, with this home directory and no other environment.
    pub fn spawn(command: &mut Command, home: &Path) -> Self {
        command.env_clear().env("HOME", home).env("MSP_RUN", home.join("run"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (mut child_stdout, child_stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (stdout_sender, stdout) = channel();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = child_stdout.read_to_end(&mut bytes);
            let _ = stdout_sender.send(bytes);
        });
        let (stderr_sender, stderr) = channel();
        thread::spawn(move || {
            for line in BufReader::new(child_stderr).lines().map_while(Result::ok) {
                let _ = stderr_sender.send(line);
            }
        });
        let stdin = child.stdin.take();
        Self { child, stdin, stdout, stderr, said: String::new(), _home: None }
    }

    /// The rest of the first line on standard error that begins with `start`, without `msp: `.
    pub fn line(&mut self, start: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let line = self
                .next_line(deadline)
                .unwrap_or_else(|| panic!("it ended without {start:?}: {}", self.said));
            let line = line.trim_start_matches("msp:").trim_start();
            if let Some(rest) = line.strip_prefix(start) {
                return rest.trim().to_owned();
            }
        }
    }

    fn next_line(&mut self, deadline: Instant) -> Option<String> {
        match self.stderr.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                self.said.push_str(&line);
                self.said.push('\n');
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("it takes too long; it has said: {}", self.said),
        }
    }

    /// Writes to its standard input, and closes that if told so.
    pub fn input(&mut self, bytes: &[u8], end: bool) {
        self.stdin.as_mut().unwrap().write_all(bytes).unwrap();
        if end {
            self.stdin = None;
        }
    }

    /// Its standard input, to be written to by someone else.
    pub fn take_stdin(&mut self) -> ChildStdin {
        self.stdin.take().unwrap()
    }

    /// Everything it wrote to standard output, once that is closed.
    pub fn output(&mut self) -> Vec<u8> {
        self.stdout.recv_timeout(DEADLINE).expect("standard output ends")
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kilobytes of memory that it has resident.
    #[cfg(target_os = "linux")]
    pub fn resident(&self) -> u64 {
        usage::resident(self.child.id())
    }

    /// File descriptors that it has open.
    #[cfg(target_os = "linux")]
    pub fn descriptors(&self) -> usize {
        usage::descriptors(self.child.id())
    }

    /// Leaves it this many file descriptors, those that it has included.
    #[cfg(target_os = "linux")]
    pub fn limit_descriptors(&self, count: u64) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let limit = rustix::process::Rlimit { current: Some(count), maximum: Some(count) };
        rustix::process::prlimit(Some(pid), rustix::process::Resource::Nofile, limit).unwrap();
    }

    /// Waits for its end. Standard input stays as it is.
    pub fn ended(mut self) -> Ended {
        let deadline = Instant::now() + DEADLINE;
        while self.next_line(deadline).is_some() {}
        let status = self.child.wait().unwrap().code().unwrap_or(-1);
        let stdout = self.stdout.recv_timeout(DEADLINE).unwrap_or_default();
        Ended { status, stdout, stderr: std::mem::take(&mut self.said) }
    }

    /// Waits for its end, which must be a good one.
    #[track_caller]
    pub fn succeeded(self) -> Vec<u8> {
        let ended = self.ended();
        assert_eq!(ended.status, 0, "{}", ended.stderr);
        ended.stdout
    }

    /// Waits for its end, which must have this status and a reason of one line, and returns that.
    #[track_caller]
    pub fn failed(self, status: i32) -> String {
        let ended = self.ended();
        assert_eq!(ended.status, status, "{}", ended.stderr);
        let lines: Vec<&str> = ended.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "{}", ended.stderr);
        lines[0].to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a listener is.
#[derive(Debug, Clone)]
pub struct Place {
    pub sid: String,
    pub udp: SocketAddr,
    pub port: String,
}

impl Place {
    /// The arguments that reach it at another UDP address.
    pub fn at(&self, udp: SocketAddr) -> String {
        format!("{}@{udp} {}", self.sid, self.port)
    }

    /// The arguments that reach it.
    pub fn direct(&self) -> String {
        self.at(self.udp)
    }
}

/// Starts `msp listen` and waits until it says where it is.
pub fn listen(arguments: &str) -> (Program, Place) {
    let mut program = Program::start(&format!("listen {arguments}"));
    let place = place(&mut program);
    (program, place)
}

/// Waits until a listener says where it is.
pub fn place(program: &mut Program) -> Place {
    let command = program.line("msp connect");
    let (sid, rest) = command.split_once('@').unwrap();
    let (udp, port) = rest.split_once(' ').unwrap();
    Place { sid: sid.to_owned(), udp: udp.parse().unwrap(), port: port.to_owned() }
}

/// Starts `msp connect --forward=0` and waits until it says at which TCP address.
pub fn connect_forward(arguments: &str) -> (Program, SocketAddr) {
    let mut program = Program::start(&format!("connect --forward=0 {arguments}"));
    let line = program.line("TCP connections to");
    let address = line.split_whitespace().next().unwrap().parse().unwrap();
    (program, address)
}

/// Whether this process, and so whatever it starts, ignores a signal: what a script runs in the background does so
/// with SIGINT, and the program respects that.
pub fn is_ignored(signal: rustix::process::Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    ignored >> (signal.as_raw() - 1) & 1 != 0
}

/// `count` bytes that look random, the same for the same seed.
pub fn bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// Says where two texts of bytes part, and no more: they may be long.
#[track_caller]
pub fn assert_same(received: &[u8], sent: &[u8]) {
    let common = received.iter().zip(sent).take_while(|(a, b)| a == b).count();
    assert!(
        received == sent,
        "{} bytes received, {} sent; they differ from byte {common}",
        received.len(),
        sent.len()
    );
}

/// The seed of a test: `MSP_TEST_SEED`, or a new one. It is printed, and shown if the test fails.
pub fn seed() -> u64 {
    let given = std::env::var("MSP_TEST_SEED").ok().map(|text| text.parse().expect("a number"));
    let seed = given.unwrap_or_else(|| {
        let random = msp_mio::random().unwrap();
        u64::from_le_bytes(*random.first_chunk().unwrap())
    });
    println!("MSP_TEST_SEED={seed}");
    seed
}

/// Megabytes of a bulk transfer: `MSP_TEST_MEGABYTES`, or 4.
pub fn megabytes() -> usize {
    std::env::var("MSP_TEST_MEGABYTES").ok().map_or(4, |text| text.parse().expect("a number"))
}

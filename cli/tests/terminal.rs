//! A person at a terminal, who types lines and keys that have a meaning there.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{DEADLINE, Directory, Place, is_ignored, listen};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// `msp connect` at a terminal of its own.
struct Typist {
    program: Child,
    /// Where keys are pressed and the screen is read.
    keys: File,
    /// The terminal, as the program has it.
    terminal: File,
    screen: Vec<u8>,
    _home: Directory,
}

impl Typist {
    fn connect(place: &Place) -> Self {
        let keys: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keys).unwrap();
        unlockpt(&keys).unwrap();
        let path = ptsname(&keys, Vec::new()).unwrap();
        let path = std::ffi::OsStr::from_bytes(path.to_bytes());
        let terminal = File::options().read(true).write(true).open(path).unwrap();
        let home = Directory::new();
        // The terminal becomes the one that sends signals.
        let mut command = Command::new("setsid");
        command.args(["--ctty", env!("CARGO_BIN_EXE_msp"), "connect", "--udp=127.0.0.1:0", "--no-broadcast"]);
        command.args(place.direct().split(' ')).env_clear();
        command.env("HOME", home.path()).env("MSP_RUN", home.join("run"));
        let [stdin, stdout, stderr] = [0; 3].map(|_| terminal.try_clone().unwrap());
        let program = command.stdin(stdin).stdout(stdout).stderr(stderr).spawn().unwrap();
        Self { program, keys: keys.into(), terminal, screen: Vec::new(), _home: home }
    }

    fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).unwrap();
    }

    /// Waits until the screen shows a text.
    fn sees(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.screen).contains(text) {
            let mut ready = [PollFd::new(&self.keys, PollFlags::IN)];
            let count = poll(&mut ready, Some(&DEADLINE.try_into().unwrap())).unwrap();
            assert_eq!(count, 1, "it never shows {text:?}, but {:?}", String::from_utf8_lossy(&self.screen));
            let mut bytes = [0; 1024];
            let count = self.keys.read(&mut bytes).unwrap();
            self.screen.extend_from_slice(&bytes[..count]);
        }
    }

    fn is_blocking(&self) -> bool {
        !fcntl_getfl(&self.terminal).unwrap().contains(OFlags::NONBLOCK)
    }

    fn status(&mut self) -> i32 {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.program.try_wait().unwrap() {
                return status.code().unwrap();
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// The shell reads from the same terminal when the program has ended, and expects to wait for keys.
#[test]
fn lines_are_carried_and_the_terminal_is_left_as_it_was() {
    let (mut listener, place) = listen("47");
    let mut typist = Typist::connect(&place);
    typist.press(b"hello\n");
    listener.input(b"hi\n", false);
    typist.sees("hi\r\n");
    assert!(typist.is_blocking());
    // Ctrl-D ends what is typed, and not what the other end has to say.
    typist.press(b"\x04");
    assert_eq!(listener.output(), b"hello\n");
    listener.input(b"bye\n", true);
    typist.sees("bye\r\n");
    assert_eq!(typist.status(), 0);
    assert!(typist.is_blocking());
    assert_eq!(listener.ended().status, 0);
}

#[test]
fn control_c_is_told_to_the_other_end() {
    if is_ignored(Signal::INT) {
        return;
    }
    let (mut listener, place) = listen("-v 47");
    let mut typist = Typist::connect(&place);
    listener.line("link 0: open");
    typist.press(b"\x03");
    typist.sees("by a signal");
    assert_eq!(typist.status(), 1);
    listener.line("MDP port 47: aborted by the peer");
}

#[test]
fn a_terminal_that_is_closed_is_told_to_the_other_end() {
    if is_ignored(Signal::HUP) {
        return;
    }
    let (mut listener, place) = listen("47");
    let mut typist = Typist::connect(&place);
    listener.input(b"hi\n", false);
    typist.sees("hi\r\n");
    let null = || File::open("/dev/null").unwrap();
    (typist.keys, typist.terminal) = (null(), null());
    assert_eq!(typist.status(), 1);
    listener.line("MDP port 47: aborted by the peer");
}

//! A running program whose output is collected, and that does not outlive its test.

#![allow(dead_code, reason = "each test target uses a part of it")]

use std::io::{Read, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::scratch::file_of;

/// How long any condition may take before the test gives up: not a measure, only an end.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Runs `ready` until it has a value. For conditions that nothing announces.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "gave up waiting: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// What came out of one pipe so far.
#[derive(Debug, Default)]
struct Capture {
    state: Mutex<(Vec<u8>, bool)>,
    changed: Condvar,
}

impl Capture {
    fn of(mut pipe: impl Read + Send + 'static) -> Arc<Self> {
        let capture = Arc::new(Self::default());
        let filled = Arc::clone(&capture);
        std::thread::spawn(move || {
            let mut chunk = vec![0; 64 << 10];
            loop {
                let count = pipe.read(&mut chunk).unwrap_or(0);
                let mut state = filled.state.lock().unwrap();
                state.0.extend_from_slice(&chunk[..count]);
                state.1 = count == 0;
                filled.changed.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        capture
    }

    /// Waits until `found` has a value, the pipe has ended or the time is up.
    fn wait<T>(&self, mut found: impl FnMut(&[u8], bool) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + LIMIT;
        let mut state = self.state.lock().unwrap();
        loop {
            let value = found(&state.0, state.1);
            let left = deadline.saturating_duration_since(Instant::now());
            if value.is_some() || state.1 || left.is_zero() {
                return value;
            }
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.state.lock().unwrap().0.clone()
    }
}

/// A program under way. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    writer: Option<JoinHandle<()>>,
    output: Arc<Capture>,
    errors: Arc<Capture>,
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Exit status; `None` after a signal.
    pub(crate) status: Option<i32>,
    pub(crate) output: Vec<u8>,
    pub(crate) errors: String,
}

impl Ended {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    #[track_caller]
    pub(crate) fn assert_status(&self, what: &str, status: i32) {
        assert_eq!(self.status, Some(status), "exit status of {what}; it said:\n{}", self.errors);
    }
}

impl Process {
    /// Starts a program. Its standard input is a file with all of `input`, else a pipe, open until it is fed or the
    /// end is waited for.
    #[track_caller]
    pub(crate) fn start(name: &str, command: &mut Command, input: Option<&[u8]>) -> Self {
        Self::reading(name, command, input.map_or_else(Stdio::piped, |input| file_of(input).into()))
    }

    #[track_caller]
    fn reading(name: &str, command: &mut Command, input: Stdio) -> Self {
        let mut child = command
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let output = Capture::of(child.stdout.take().unwrap());
        let errors = Capture::of(child.stderr.take().unwrap());
        let input = child.stdin.take();
        Self { name: name.to_owned(), child, input, writer: None, output, errors }
    }

    /// Gives the program its whole standard input, ended with end of file. Does not wait for it to be read.
    pub(crate) fn feed(&mut self, bytes: Vec<u8>) {
        let mut input = self.input.take().expect("standard input is fed once");
        // A program may end before it has read everything: what it did with it is what tests look at.
        self.writer = Some(std::thread::spawn(move || drop(input.write_all(&bytes))));
    }

    /// Writes to the standard input and leaves it open.
    pub(crate) fn type_in(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().expect("standard input is open");
        input.write_all(bytes).unwrap();
        input.flush().unwrap();
    }

    /// Ends the standard input.
    pub(crate) fn finish_input(&mut self) {
        self.input = None;
    }

    /// Waits for a line of standard error that `found` likes.
    #[track_caller]
    pub(crate) fn error_line<T>(&self, what: &str, mut found: impl FnMut(&str) -> Option<T>) -> T {
        let value = self.errors.wait(|bytes, ended| lines(bytes, ended).iter().find_map(|line| found(line)));
        value.unwrap_or_else(|| panic!("{} never said {what}, but:\n{}", self.name, self.said()))
    }

    /// The same for standard output.
    #[track_caller]
    pub(crate) fn output_line<T>(&self, what: &str, mut found: impl FnMut(&str) -> Option<T>) -> T {
        let value = self.output.wait(|bytes, ended| lines(bytes, ended).iter().find_map(|line| found(line)));
        value.unwrap_or_else(|| panic!("{} never printed {what}, but:\n{}", self.name, self.said()))
    }

    /// Waits until so much has come on standard output.
    #[track_caller]
    pub(crate) fn output_length(&self, length: usize) {
        let came = self.output.wait(|bytes, _| (bytes.len() >= length).then_some(()));
        assert!(came.is_some(), "{} never printed {length} bytes; it said:\n{}", self.name, self.said());
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether the program has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Sends a signal, by name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name} of {}", self.name);
    }

    /// Waits for the end of the program: of its output first, because that can be waited for with a limit.
    #[track_caller]
    pub(crate) fn finish(mut self) -> Ended {
        self.finish_input();
        let ended = self.output.wait(|_, ended| ended.then_some(())).is_some()
            && self.errors.wait(|_, ended| ended.then_some(())).is_some();
        assert!(ended, "{} does not end; it said:\n{}", self.name, self.said());
        let status = self.child.wait().unwrap().code();
        if let Some(writer) = self.writer.take() {
            writer.join().unwrap();
        }
        Ended { status, output: self.output.bytes(), errors: self.said() }
    }

    /// What has come on standard error.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&self.errors.bytes()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("--- {} said:\n{}", self.name, self.said());
        }
    }
}

/// Complete lines; also the last one without its end once nothing more can come.
fn lines(bytes: &[u8], ended: bool) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let whole = if ended { text.len() } else { text.rfind('\n').map_or(0, |end| end + 1) };
    text[..whole].lines().map(str::to_owned).collect()
}

/// Runs a command to its end, with nothing on its standard input.
#[track_caller]
pub(crate) fn run(name: &str, command: &mut Command) -> Ended {
    Process::reading(name, command, Stdio::null()).finish()
}

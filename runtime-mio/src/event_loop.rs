//! The loop of a runtime: what waits, and what ends it.

use mio::event::Event;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use rustix::event::{PollFd, PollFlags, Timespec};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const WAKER: Token = Token(0);
const SIGNALS: Token = Token(1);
/// Tokens of what it drives count from here.
pub(crate) const FIRST: Token = Token(2);

/// Events taken from the kernel at once.
const EVENTS: usize = 256;

/// From this on, a millisecond more does no harm.
const COARSE: Duration = Duration::from_millis(100);

/// A poll of its own.
pub(crate) struct EventLoop {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    stops_asked: Arc<AtomicU32>,
    stops_taken: u32,
    signals: Option<Signals>,
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop").field("poll", &self.poll).finish_non_exhaustive()
    }
}

impl EventLoop {
    pub(crate) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let events = Events::with_capacity(EVENTS);
        Ok(Self { poll, events, waker, stops_asked: Arc::default(), stops_taken: 0, signals: None })
    }

    pub(crate) fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Waits for events, at most for `timeout`.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        match poll(&mut self.poll, &mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => self.events.clear(),
            Err(error) => return Err(error),
        }
        if self.events.iter().any(|event| event.token() == SIGNALS) {
            let signals = self.signals.iter_mut().flat_map(Signals::pending).count();
            self.stops_asked.fetch_add(u32::try_from(signals).unwrap_or(1), Ordering::Relaxed);
        }
        Ok(())
    }

    /// What it has waited for.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter()
    }

    /// Whether there was another request to stop.
    pub(crate) fn take_stop(&mut self) -> bool {
        let stop = self.stops_asked.load(Ordering::Relaxed) != self.stops_taken;
        self.stops_taken = self.stops_taken.wrapping_add(stop.into());
        stop
    }

    /// Whether there was any request to stop.
    pub(crate) fn was_stopped(&self) -> bool {
        self.stops_asked.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn stopper(&self) -> Stopper {
        Stopper { asked: Arc::clone(&self.stops_asked), waker: Arc::clone(&self.waker) }
    }

    /// Takes signals as requests to stop, but for those that are ignored.
    pub(crate) fn stop_on_signals(&mut self) -> io::Result<()> {
        let ignored = ignored_signals();
        let taken = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|number| ignored >> (number - 1) & 1 == 0);
        let mut signals = Signals::new(taken)?;
        self.registry().register(&mut signals, SIGNALS, Interest::READABLE)?;
        self.signals = Some(signals);
        Ok(())
    }
}

/// Does what [`Poll::poll`] does, and is not late: that rounds the timeout up to whole milliseconds where the system's
/// call counts them, while paced packets are due every few microseconds.
///
/// # Errors
///
/// As for [`Poll::poll`].
pub fn poll(poll: &mut Poll, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
    let Some(short) = timeout.filter(|timeout| !timeout.is_zero() && *timeout < COARSE) else {
        return poll.poll(events, timeout);
    };
    // What waits for the poll as for a file counts nanoseconds. A file is readable when there are events.
    let mut files = [PollFd::new(poll.registry(), PollFlags::IN)];
    let timeout = Timespec::try_from(short).map_err(io::Error::other)?;
    rustix::event::poll(&mut files, Some(&timeout))?;
    poll.poll(events, Some(Duration::ZERO))
}

/// Ends the run of a [`Runtime`](crate::Runtime) from another thread.
#[derive(Debug, Clone)]
pub struct Stopper {
    asked: Arc<AtomicU32>,
    waker: Arc<Waker>,
}

impl Stopper {
    /// Asks the runtime to tell its peers and end. The second time, it ends at once.
    pub fn stop(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.waker.wake() {
            log::error!("cannot wake the loop to stop it: {error}");
        }
    }
}

/// The signals that this process ignores, signal 1 in the lowest bit. None where the system has no such
/// file.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

//! Waiting for sockets and for time.

use async_io::{Async, Timer};
use msp_sockets::Handle;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Turns in one poll before the executor's other tasks get their share.
pub(crate) const TURNS_PER_POLL: usize = 8;

/// A socket in the reactor.
#[derive(Debug)]
pub(crate) struct Watched(Async<Handle>);

impl Watched {
    pub(crate) fn new(handle: Handle) -> io::Result<Self> {
        Async::new_nonblocking(handle).map(Self)
    }

    /// Whether it can be read, and written, as far as that is wanted. What is wanted and not yet so is waited for.
    pub(crate) fn poll(&self, cx: &mut Context<'_>, (read, write): (bool, bool)) -> io::Result<(bool, bool)> {
        let readable = read && is_ready(self.0.poll_readable(cx))?;
        let writable = write && is_ready(self.0.poll_writable(cx))?;
        Ok((readable, writable))
    }
}

fn is_ready(poll: Poll<io::Result<()>>) -> io::Result<bool> {
    match poll {
        Poll::Ready(result) => result.map(|()| true),
        Poll::Pending => Ok(false),
    }
}

/// A timer.
#[derive(Debug)]
pub(crate) struct Sleep {
    timer: Timer,
    /// When it fires.
    armed: Option<Instant>,
}

impl Sleep {
    pub(crate) fn new() -> Self {
        Self { timer: Timer::never(), armed: None }
    }

    /// Ready when `timeout`, from now, is over. A timer that fires too early is left alone: to set it again takes a
    /// system call, and most deadlines are put off long before they come.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, timeout: Option<Duration>) -> Poll<()> {
        let Some(timeout) = timeout else { return Poll::Pending };
        if timeout.is_zero() {
            return Poll::Ready(());
        }
        let deadline = Instant::now() + timeout;
        if self.armed.is_none_or(|armed| armed > deadline) {
            self.timer.set_at(deadline);
            self.armed = Some(deadline);
        }
        Pin::new(&mut self.timer).poll(cx).map(|_| self.armed = None)
    }
}

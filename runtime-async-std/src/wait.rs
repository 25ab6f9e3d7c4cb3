//! Waiting for a socket and for time.

use async_io::{Async, Timer};
use msp_sockets::{Handle, Socket};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// A socket in the reactor, and a timer.
#[derive(Debug)]
pub(crate) struct Wait {
    socket: Async<Handle>,
    timer: Timer,
    /// When the timer fires.
    armed: Option<Instant>,
}

impl Wait {
    pub(crate) fn new(handle: Handle) -> io::Result<Self> {
        Ok(Self { socket: Async::new_nonblocking(handle)?, timer: Timer::never(), armed: None })
    }

    /// Ready when `socket` is, which is told so, or when `timeout` is over.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
        timeout: Option<Duration>,
    ) -> Poll<io::Result<()>> {
        if timeout == Some(Duration::ZERO) {
            return Poll::Ready(Ok(()));
        }
        let readable = is_ready(self.socket.poll_readable(cx))?;
        let writable = socket.is_blocked() && is_ready(self.socket.poll_writable(cx))?;
        socket.ready(readable, writable);
        if readable || writable || self.poll_timer(cx, timeout) {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    /// True if the time is over. A timer that fires too early is left alone: to set it again takes a system call, and
    /// most deadlines are put off long before they come.
    fn poll_timer(&mut self, cx: &mut Context<'_>, timeout: Option<Duration>) -> bool {
        let Some(timeout) = timeout else { return false };
        let deadline = Instant::now() + timeout;
        if self.armed.is_none_or(|armed| armed > deadline) {
            self.timer.set_at(deadline);
            self.armed = Some(deadline);
        }
        let fired = Pin::new(&mut self.timer).poll(cx).is_ready();
        if fired {
            self.armed = None;
        }
        fired
    }
}

fn is_ready(poll: Poll<io::Result<()>>) -> io::Result<bool> {
    match poll {
        Poll::Ready(result) => result.map(|()| true),
        Poll::Pending => Ok(false),
    }
}

//! The future that moves packets.

use crate::shared::{Phase, Shared, State};
use crate::wait::{Sleep, TURNS_PER_POLL, Watched};
use msp_core::Instant;
use msp_sockets::{LAST_TURNS, Socket};
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// What moves the packets of a [`Node`](crate::Node): a future to be spawned on any executor, or to be polled beside
/// others. It ends with the node. If it is dropped before, the node and its streams end at once.
///
/// Its sockets and timers are those of `async-io`, which has a thread of its own where none is lent to it.
#[must_use = "nothing happens until it is spawned"]
pub struct Driver {
    shared: Arc<Shared>,
    socket: Socket,
    watched: Vec<Watched>,
    sleep: Sleep,
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>, socket: Socket) -> io::Result<Self> {
        let watched = socket.handles().into_iter().map(Watched::new).collect::<io::Result<_>>()?;
        Ok(Self { shared, socket, watched, sleep: Sleep::new() })
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { shared, socket, watched, sleep } = self.get_mut();
        for _ in 0..TURNS_PER_POLL {
            let turn = shared.with(|state, now| {
                state.sleep(cx);
                let host = &mut state.host;
                let received = socket.receive(&mut |incoming| host.handle_incoming(now, incoming));
                host.handle_timeout(now);
                state.dispatch(now);
                let host = &mut state.host;
                let sent = socket.transmit(now, &mut |buffer| host.poll_transmit(now, buffer));
                state.dispatch(now);
                let progress = received || sent;
                advance(state, now, socket.is_blocked(), progress);
                let mut deadline = state.host.poll_timeout();
                match state.phase {
                    Phase::Running | Phase::LastWords(_) => {}
                    Phase::Closing(until) => deadline = Some(deadline.map_or(until, |at| at.min(until))),
                    Phase::Ended => return None,
                }
                Some(socket.timeout_after(now, progress, deadline))
            });
            let Some(timeout) = turn else { return Poll::Ready(()) };
            if timeout == Some(Duration::ZERO) {
                continue;
            }
            let wanted = (true, socket.waits_for_room());
            let found = watched.iter().try_fold((false, false), |(readable, writable), watched| {
                let (read, write) = watched.poll(cx, wanted)?;
                io::Result::Ok((readable | read, writable | write))
            });
            match found {
                Ok((false, false)) if sleep.poll(cx, timeout).is_pending() => return Poll::Pending,
                Ok((readable, writable)) => socket.ready(readable, writable),
                Err(error) => {
                    log::error!("the node ends, because its socket cannot be waited for: {error}");
                    return Poll::Ready(());
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.with(|state, _| state.end());
    }
}

/// Brings the end of the node nearer.
fn advance(state: &mut State, now: Instant, is_blocked: bool, progress: bool) {
    if let Phase::Closing(until) = state.phase
        && (state.host.is_idle() || now >= until)
    {
        state.host.uplink().shutdown(now);
        state.phase = Phase::LastWords(LAST_TURNS);
    }
    if let Phase::LastWords(turns) = state.phase {
        let said = !progress && !is_blocked && state.host.uplink().is_closed();
        if said || turns == 0 {
            state.end();
        } else {
            state.phase = Phase::LastWords(turns - 1);
        }
    }
}

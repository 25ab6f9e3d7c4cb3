//! What waits, and what moves packets.

use crate::clock::Clock;
use crate::daemon::{DaemonSocket, Sent};
use crate::udp::Udp;
use mio::{Events, Poll, Token, Waker};
use msp_core::Instant;
use msp_core::mdp::{Incoming, InterfaceId, Transmit};
use signal_hook_mio::v1_0::Signals;
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const SOCKET: Token = Token(0);
pub(crate) const ACCEPTOR: Token = Token(1);
const WAKER: Token = Token(2);
pub(crate) const SIGNALS: Token = Token(3);
/// Tokens of links count from here.
pub(crate) const FIRST_LINK: usize = 4;

/// Turns to hand the last packets to the kernel or a daemon.
pub(crate) const LAST_TURNS: usize = 100;
/// Events taken from the kernel at once.
const EVENTS: usize = 256;
/// The shortest sleep of a turn that moved nothing, so that no mistake can turn into a busy loop. It is
/// also what mio rounds to.
const MIN_SLEEP: Duration = Duration::from_millis(1);
/// How long to wait for the kernel to take UDP packets before trying again unasked.
const BLOCKED_SLEEP: Duration = Duration::from_millis(10);

/// Everything of a runtime but the protocols: what waits and what moves packets.
pub(crate) struct Wires {
    pub(crate) poll: Poll,
    pub(crate) socket: Socket,
    /// No daemon was there to take what was sent.
    unreachable: bool,
    pub(crate) waker: Arc<Waker>,
    clock: Clock,
    pub(crate) stops_asked: Arc<AtomicU32>,
    stops_taken: u32,
    pub(crate) signals: Option<Signals>,
}

impl fmt::Debug for Wires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wires").field("socket", &self.socket).finish_non_exhaustive()
    }
}

/// The way out of this process.
#[derive(Debug)]
pub(crate) enum Socket {
    /// To other nodes, an interface of ours.
    Udp(Udp, InterfaceId),
    /// To a daemon.
    Daemon(DaemonSocket),
}

impl Wires {
    pub(crate) fn new(mut socket: Socket, clock: Clock) -> io::Result<Self> {
        let poll = Poll::new()?;
        match &mut socket {
            Socket::Udp(udp, _) => udp.register(poll.registry(), SOCKET)?,
            Socket::Daemon(daemon) => daemon.register(poll.registry(), SOCKET)?,
        }
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let stops_asked = Arc::new(AtomicU32::new(0));
        Ok(Self {
            poll,
            socket,
            unreachable: false,
            waker,
            clock,
            stops_asked,
            stops_taken: 0,
            signals: None,
        })
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(crate) fn events() -> Events {
        Events::with_capacity(EVENTS)
    }

    /// Hands over what has come in, or a share of it. True if there was anything.
    pub(crate) fn receive(&mut self, mut handle: impl FnMut(Incoming<'_>)) -> bool {
        if std::mem::take(&mut self.unreachable) {
            handle(Incoming::Unreachable);
        }
        match &mut self.socket {
            Socket::Udp(udp, interface) => {
                let interface = *interface;
                udp.receive(|from, bytes| handle(Incoming::Packet { interface, from, bytes }))
            }
            Socket::Daemon(daemon) => daemon.receive(|packet| handle(Incoming::Reply(packet))),
        }
    }

    /// Sends what `poll` has, or a share of it. True if anything was sent, and there may be more to do.
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        poll: impl FnMut(&mut Vec<u8>) -> Option<Transmit>,
    ) -> bool {
        match &mut self.socket {
            Socket::Udp(udp, _) => udp.transmit(now, poll),
            Socket::Daemon(daemon) => {
                let sent = daemon.transmit(poll);
                self.unreachable |= sent == Sent::Unreachable;
                sent != Sent::Nothing
            }
        }
    }

    /// Whether packets wait for the kernel to take them.
    pub(crate) fn is_blocked(&self) -> bool {
        matches!(&self.socket, Socket::Udp(udp, _) if udp.is_blocked())
    }

    /// Waits for events until `deadline`, or takes only those that are there if `progress` says that the
    /// turn at `now` moved something and there may be more to do. Events of the socket and the signals
    /// are taken care of.
    pub(crate) fn wait(
        &mut self,
        events: &mut Events,
        now: Instant,
        progress: bool,
        deadline: Option<Instant>,
    ) -> io::Result<()> {
        let timeout = if progress { Some(Duration::ZERO) } else { self.sleep(now, deadline) };
        match self.poll.poll(events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
            Err(error) => return Err(error),
        }
        if let Socket::Udp(udp, _) = &mut self.socket
            && udp.is_blocked()
            && events.is_empty()
        {
            udp.retry();
        }
        for event in events.iter() {
            match event.token() {
                SOCKET => match &mut self.socket {
                    Socket::Udp(udp, _) => udp.ready(event),
                    Socket::Daemon(daemon) => daemon.ready(event),
                },
                SIGNALS => {
                    let signals = self.signals.iter_mut().flat_map(Signals::pending).count();
                    self.stops_asked.fetch_add(u32::try_from(signals).unwrap_or(1), Ordering::Relaxed);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn sleep(&self, now: Instant, deadline: Option<Instant>) -> Option<Duration> {
        if self.is_blocked() {
            // The stack has more to send and says so; it has to wait for the kernel.
            let wanted = deadline.map_or(BLOCKED_SLEEP, |at| at.since(now));
            return Some(wanted.clamp(MIN_SLEEP, BLOCKED_SLEEP));
        }
        let deadline = deadline?;
        let left = deadline.since(self.clock.now());
        Some(if deadline <= now { left.max(MIN_SLEEP) } else { left })
    }

    /// Whether there was another request to stop.
    pub(crate) fn take_stop(&mut self) -> bool {
        let stop = self.stops_asked.load(Ordering::Relaxed) != self.stops_taken;
        self.stops_taken = self.stops_taken.wrapping_add(stop.into());
        stop
    }
}

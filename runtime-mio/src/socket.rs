//! The way out of this process, with its place in a poll and the clock.

use crate::clock::Clock;
use crate::daemon::{DaemonSocket, Sent};
use crate::udp::Udp;
use mio::event::Event;
use mio::{Registry, Token};
use msp_core::Instant;
use msp_core::mdp::{Incoming, InterfaceId, Transmit};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// The shortest sleep after a turn that moved nothing, so that no mistake can turn into a busy loop. It is
/// also what mio rounds to.
const MIN_SLEEP: Duration = Duration::from_millis(1);

/// What moves packets.
#[derive(Debug)]
pub(crate) struct Socket {
    kind: Kind,
    token: Token,
    clock: Clock,
    /// No daemon was there to take what was sent.
    unreachable: bool,
}

#[derive(Debug)]
enum Kind {
    /// To other nodes, an interface of ours.
    Udp(Box<Udp>, InterfaceId),
    /// To a daemon.
    Daemon(DaemonSocket),
}

impl Socket {
    pub(crate) fn udp(
        mut udp: Udp,
        interface: InterfaceId,
        clock: Clock,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        udp.register(registry, token)?;
        Ok(Self { kind: Kind::Udp(Box::new(udp), interface), token, clock, unreachable: false })
    }

    pub(crate) fn daemon(
        daemon: DaemonSocket,
        clock: Clock,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        daemon.register(registry, token)?;
        Ok(Self { kind: Kind::Daemon(daemon), token, clock, unreachable: false })
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(crate) fn token(&self) -> Token {
        self.token
    }

    /// The UDP address. `None` at a daemon.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Udp(udp, _) => Some(udp.local_addr()),
            Kind::Daemon(_) => None,
        }
    }

    /// Remembers what the event said; the work is done in the next turn. False if it is about something else.
    pub(crate) fn ready(&mut self, event: &Event) -> bool {
        if event.token() != self.token {
            return false;
        }
        match &mut self.kind {
            Kind::Udp(udp, _) => udp.ready(event),
            Kind::Daemon(daemon) => daemon.ready(event),
        }
        true
    }

    /// Hands over what has come in, or a share of it. True if there was anything.
    pub(crate) fn receive(&mut self, mut handle: impl FnMut(Incoming<'_>)) -> bool {
        if std::mem::take(&mut self.unreachable) {
            handle(Incoming::Unreachable);
        }
        match &mut self.kind {
            Kind::Udp(udp, interface) => {
                let interface = *interface;
                udp.receive(|from, bytes| handle(Incoming::Packet { interface, from, bytes }))
            }
            Kind::Daemon(daemon) => daemon.receive(|packet| handle(Incoming::Reply(packet))),
        }
    }

    /// Sends what `poll` has, or a share of it. True if anything was sent, and there may be more to do.
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        poll: impl FnMut(&mut Vec<u8>) -> Option<Transmit>,
    ) -> bool {
        match &mut self.kind {
            Kind::Udp(udp, _) => udp.transmit(now, poll),
            Kind::Daemon(daemon) => {
                let sent = daemon.transmit(poll);
                self.unreachable |= sent == Sent::Unreachable;
                sent != Sent::Nothing
            }
        }
    }

    /// Whether packets wait for the kernel to take them.
    pub(crate) fn is_blocked(&self) -> bool {
        matches!(&self.kind, Kind::Udp(udp, _) if udp.is_blocked())
    }

    /// How long to sleep when the next thing to do is due at `deadline`.
    pub(crate) fn timeout(&self, deadline: Option<Instant>) -> Option<Duration> {
        let left = deadline.map(|at| at.since(self.now()));
        if self.is_blocked() {
            // There is more to send, so something is due; it has to wait for the kernel.
            return Some(left.unwrap_or(Udp::RETRY).clamp(MIN_SLEEP, Udp::RETRY));
        }
        left
    }

    /// The same after a turn at `now` that did all there was to do, or else made some progress.
    pub(crate) fn timeout_after(
        &self,
        now: Instant,
        progress: bool,
        deadline: Option<Instant>,
    ) -> Option<Duration> {
        if progress {
            return Some(Duration::ZERO);
        }
        let overdue = deadline.is_some_and(|at| at <= now);
        self.timeout(deadline).map(|left| if overdue { left.max(MIN_SLEEP) } else { left })
    }
}

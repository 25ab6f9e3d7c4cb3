//! How one neighbour is heard: its interfaces on ours, by unicast and by broadcast.

use super::history::History;
use super::loss::patience;
use super::{InterfaceId, Transport};
use crate::Instant;
use core::net::SocketAddr;
use core::time::Duration;

/// The header of a packet that came, as far as a neighbour is concerned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) interface: InterfaceId,
    pub(super) from: SocketAddr,
    pub(super) peer_interface: u8,
    pub(super) transport: Transport,
    pub(super) sequence: Option<u8>,
    /// It holds the whole SID of its sender, or nothing else than who that is.
    pub(super) introduces: bool,
}

/// One way in which the neighbour is heard: by one transport.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Inbound {
    pub(super) heard: Option<Instant>,
    pub(super) history: History,
    /// Packets, lost ones included, since the last acknowledgment.
    pub(super) unreported: u8,
    /// Packets since a frame has asked for one.
    pub(super) unasked: u8,
    /// The same, since the last one that was kept for later.
    pub(super) uncovered: u8,
    /// How many more times everyone is told which packets came.
    pub(super) told: u8,
}

/// The neighbour's interface as it is heard on one of ours.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) interface: InterfaceId,
    /// The number of the neighbour's interface, to be echoed to it.
    pub(super) peer_interface: u8,
    pub(super) address: SocketAddr,
    pub(super) address_heard: Instant,
    /// More than packets that anyone can send speaks for the address.
    pub(super) proven: bool,
    pub(super) unicast: Inbound,
    pub(super) broadcast: Inbound,
}

impl Link {
    pub(super) fn is_way_of(&self, packet: &Arrival) -> bool {
        (self.interface, self.peer_interface) == (packet.interface, packet.peer_interface)
    }

    pub(super) fn inbound(&mut self, transport: Transport) -> &mut Inbound {
        match transport {
            Transport::Unicast => &mut self.unicast,
            Transport::Broadcast => &mut self.broadcast,
        }
    }

    /// How it is heard, if at all. One that was heard by unicast still is while its broadcasts come: it may have nothing
    /// to send to us alone.
    pub(super) fn transport(&self, now: Instant, expiry: Duration) -> Option<Transport> {
        let patience = self.patience(expiry);
        let alive = |inbound: &Inbound| inbound.heard.is_some_and(|heard| now - heard < patience);
        let broadcast = alive(&self.broadcast);
        if alive(&self.unicast) || (broadcast && self.unicast.heard.is_some()) {
            Some(Transport::Unicast)
        } else {
            broadcast.then_some(Transport::Broadcast)
        }
    }

    /// Whether its broadcasts come, which it is told soon enough to send something else before it counts as silent.
    pub(super) fn is_audible(&self, now: Instant, expiry: Duration) -> bool {
        self.broadcast.heard.is_some_and(|heard| now - heard < self.patience(expiry) / 2)
    }

    /// How long it may be silent.
    fn patience(&self, expiry: Duration) -> Duration {
        let missing = self.broadcast.history.missing().or_else(|| self.unicast.history.missing());
        patience(expiry, missing.unwrap_or(0))
    }

    /// When it is gone unless it is heard again.
    pub(super) fn silent_at(&self, expiry: Duration) -> Option<Instant> {
        let heard = self.unicast.heard.max(self.broadcast.heard)?;
        Some(heard + self.patience(expiry))
    }

    /// Of 15 packets, how many are missing: of broadcasts if they have numbers, since they come at all times.
    pub(super) fn missing(&self, now: Instant, expiry: Duration, transport: Transport) -> Option<u8> {
        let broadcasts = self.broadcast.history.missing().filter(|_| self.is_audible(now, expiry));
        broadcasts.or_else(|| match transport {
            Transport::Unicast => self.unicast.history.missing(),
            Transport::Broadcast => self.broadcast.history.missing(),
        })
    }
}

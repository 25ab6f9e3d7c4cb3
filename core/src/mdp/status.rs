//! What a node can tell people about its neighbours and its routes.

use super::config::NodeConfig;
use super::neighbour::Neighbour;
use super::node::Node;
use super::{InterfaceId, Transport};
use crate::{Instant, Sid};
use core::net::SocketAddr;
use core::time::Duration;

/// A neighbour: a node of which packets come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NeighbourStatus {
    /// Who it is, or claims to be until it has sealed something.
    pub sid: Sid,
    /// The interface on which it is reached, or heard if it does not hear us.
    pub interface: InterfaceId,
    /// Where it is heard from.
    pub address: SocketAddr,
    /// Packets go to it alone, as it asked; else to everyone on the interface.
    pub unicast: bool,
    /// It says that it hears us. If not, it is only heard.
    pub up: bool,
    /// From a packet to its acknowledgment, smoothed; `None` before the first measurement.
    pub round_trip: Option<Duration>,
    /// Of 15 packets to it, how many it missed lately, as it says; 3 and less are told as 0 (`spec/50` section 3).
    pub loss_to: Option<u8>,
    /// Of 15 packets from it, how many were missed here lately, told like that.
    pub loss_from: Option<u8>,
    /// Frames that wait to be sent to it.
    pub queued: usize,
    /// Frames that were sent to it and not acknowledged yet.
    pub in_flight: usize,
    /// Frames that were sent to it again, since it became a neighbour.
    pub retransmissions: u64,
}

/// A node that can be reached, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteStatus {
    /// The node.
    pub sid: Sid,
    /// Links on the way, 1 to a neighbour.
    pub hops: u8,
    /// The neighbour that passes on what goes there; the node itself if it is a neighbour.
    pub next_hop: Sid,
    /// The last node before it; this node if it is a neighbour.
    pub previous_hop: Sid,
    /// The loss of all links on the way together: of 15 packets on each, more than 2 (`spec/50` section 7).
    pub drop_rate: u32,
    /// The interface on which the next hop is reached.
    pub interface: InterfaceId,
}

impl Node {
    /// The neighbours that are heard now, in the order of their addresses.
    pub fn neighbours(&self) -> impl Iterator<Item = NeighbourStatus> {
        self.neighbours.values().filter_map(|neighbour| neighbour.status(self.now, &self.config))
    }

    /// The nodes that can be reached now, in the order of their addresses.
    pub fn routes(&self) -> impl Iterator<Item = RouteStatus> {
        self.routing.reached().filter_map(|sid| {
            let way = self.routing.way(&sid)?;
            let (interface, ..) = self.neighbours.get(&way.next_hop)?.path(self.now, self.config.expiry)?;
            Some(RouteStatus {
                sid,
                hops: way.hops,
                next_hop: way.next_hop,
                previous_hop: way.last.transmitter,
                drop_rate: way.loss.into(),
                interface,
            })
        })
    }
}

impl Neighbour {
    fn status(&self, now: Instant, config: &NodeConfig) -> Option<NeighbourStatus> {
        let (interface, transport, address) = self.path(now, config.expiry)?;
        let up = self.is_up(now);
        Some(NeighbourStatus {
            sid: self.sid,
            interface,
            address,
            unicast: transport == Transport::Unicast,
            up,
            round_trip: self.outbox.round_trip(),
            loss_to: self.loss_to().filter(|_| up),
            loss_from: self.loss_from(now, config.expiry),
            queued: self.outbox.unsent(),
            in_flight: self.outbox.in_flight(),
            retransmissions: self.retransmissions,
        })
    }
}

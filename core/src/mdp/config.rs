//! What a node can be told, and what it counts.

use super::hop_repair::HopRepair;
use core::time::Duration;

/// The largest UDP payload without fragments on Ethernet and Wi-Fi.
pub(super) const MAX_PACKET: usize = 1472;
/// The least of settings that are times.
const LEAST: Duration = Duration::from_millis(10);
/// With 60,000 nodes further away they can be counted in 16 bits.
const MAX_NEIGHBOURS: usize = 5_000;

/// Settings of a [`Node`](super::Node). The defaults suit Wi-Fi and Ethernet and are those of the
/// reference daemon where it has them.
///
/// # Memory
///
/// Whatever others send, a node that is asked for its packets holds no more bytes than
///
/// ```text
/// 120,000 + max_neighbours * 2,000 + max_subscribers * 500 + receive_queue * 1,700
///         + max_neighbours * (max_subscribers + max_neighbours) * 24
///         + answer_rate * 8 * (mtu + 300) + relay_queue * (mtu + 400)
/// ```
///
/// and for each neighbour to which the program itself sends, `(send_queue + 512) * (mtu.max(1200) + 430)` more: what waits
/// and what is on its way.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NodeConfig {
    /// The largest UDP payload that is sent, in bytes, unless to a neighbour to whom larger ones, up to 1472, were seen
    /// to pass. From 512 to 1472; 1200 by default.
    pub mtu: usize,
    /// Time between two announcements to each neighbour, at least 10 ms; 500 ms by default. Neighbours
    /// forget a node after 2500 ms.
    pub tick: Duration,
    /// Time between two broadcasts while there are no neighbours, at least [`NodeConfig::tick`]; 5 s by
    /// default. The first 20 come with each tick.
    pub search_tick: Duration,
    /// A neighbour that was silent for so long is gone, at least two ticks; 2500 ms by default.
    pub expiry: Duration,
    /// A frame whose sender asks for it is acknowledged after this long; 4 ms by default.
    pub ack_delay: Duration,
    /// A frame that could not be delivered for so long is given up, at least 10 ms; 1000 ms by default.
    pub frame_lifetime: Duration,
    /// Neighbours that are remembered, at most 5,000; 128 by default.
    pub max_neighbours: usize,
    /// Nodes further away that are remembered, at most 60,000; 512 by default.
    pub max_subscribers: usize,
    /// Whether to pass on what others send to each other, and to tell them that it can; true by default.
    pub relay: bool,
    /// Frames of others, and news of routes, that are kept at a time in order to be passed on; 512 by default.
    /// Those of one host are two thirds of them at most.
    pub relay_queue: usize,
    /// Datagrams of this node that wait for one neighbour, and at most as many that are passed on; 64 by default. The hosts
    /// that these come from have equal shares of the way, and so have the sources behind each.
    pub send_queue: usize,
    /// Received datagrams that wait for [`Node::poll_datagram`](super::Node::poll_datagram); 256 by
    /// default.
    pub receive_queue: usize,
    /// Answers of the built-in services, echo, key mapping and service discovery, that one neighbour can draw in
    /// a second; 128 by default, 0 for none. All neighbours together can draw four times as many.
    pub answer_rate: u32,
    /// How frames are sent again that are lost on the way to a neighbour. Not promptly only to measure what that is worth.
    pub(crate) hop_repair: HopRepair,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            mtu: 1200,
            tick: Duration::from_millis(500),
            search_tick: Duration::from_secs(5),
            expiry: Duration::from_millis(2500),
            ack_delay: Duration::from_millis(4),
            frame_lifetime: Duration::from_millis(1000),
            max_neighbours: 128,
            max_subscribers: 512,
            relay: true,
            relay_queue: 512,
            send_queue: 64,
            receive_queue: 256,
            answer_rate: 128,
            hop_repair: HopRepair::Prompt,
        }
    }
}

impl NodeConfig {
    /// Brings every setting into its range.
    pub(super) fn clamped(mut self) -> Self {
        self.mtu = self.mtu.clamp(512, MAX_PACKET);
        self.tick = self.tick.max(LEAST);
        self.frame_lifetime = self.frame_lifetime.max(LEAST);
        self.search_tick = self.search_tick.max(self.tick);
        self.expiry = self.expiry.max(self.tick * 2);
        self.max_neighbours = self.max_neighbours.clamp(1, MAX_NEIGHBOURS);
        self.send_queue = self.send_queue.max(1);
        self.receive_queue = self.receive_queue.max(1);
        self
    }
}

/// An interface of a [`Node`](super::Node): one UDP socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InterfaceConfig {
    /// Whether to announce the node to everyone on the network, and to send by broadcast where a
    /// neighbour asks for that. False by default.
    pub broadcast: bool,
}

impl InterfaceConfig {
    /// An interface where neighbours are found by broadcast.
    #[must_use]
    pub const fn broadcast() -> Self {
        Self { broadcast: true }
    }

    /// An interface for [peers](super::Node::add_peer) whose addresses are known, and for nodes that know this one.
    #[must_use]
    pub const fn unicast() -> Self {
        Self { broadcast: false }
    }
}

/// What a [`Node`](super::Node) has counted since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeStats {
    /// UDP payloads received, whatever they were.
    pub packets_received: u64,
    /// UDP payloads sent.
    pub packets_sent: u64,
    /// Of those received, our own that a broadcast brought back.
    pub own_packets: u64,
    /// Packets received again, and dropped.
    pub duplicate_packets: u64,
    /// Packets or frames that made no sense.
    pub malformed: u64,
    /// Packets from a new neighbour for which there was no place.
    pub neighbours_refused: u64,
    /// Addresses that abbreviate no known SID, or several.
    pub unresolved: u64,
    /// Frames received again, and dropped.
    pub duplicate_frames: u64,
    /// Frames that did not come from whom they name: not opened, badly signed, or from an impossible SID.
    pub unauthentic: u64,
    /// Frames that nobody may send, such as an encrypted broadcast or a datagram without data.
    pub forbidden: u64,
    /// Datagrams for this node, link state not counted.
    pub datagrams_received: u64,
    /// Datagrams for this node that found the queue full.
    pub datagrams_dropped: u64,
    /// Datagrams that were handed to a neighbour.
    pub datagrams_sent: u64,
    /// Datagrams that were given up because there was no way, or a full queue, for too long.
    pub datagrams_expired: u64,
    /// Answers of the built-in services for which there was no room.
    pub answers_dropped: u64,
    /// Frames sent again.
    pub retransmissions: u64,
    /// Frames of others that were passed on, or are about to be.
    pub frames_relayed: u64,
    /// Frames of others to which no neighbour leads, or that have come too far.
    pub frames_undeliverable: u64,
    /// Frames of others for which there was no room. Their senders try again, but for broadcasts.
    pub frames_refused: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_setting_keeps_a_node_from_working() {
        let zero = Duration::ZERO;
        let least = NodeConfig {
            mtu: 0,
            tick: zero,
            search_tick: zero,
            expiry: zero,
            frame_lifetime: zero,
            max_neighbours: 0,
            send_queue: 0,
            receive_queue: 0,
            ..NodeConfig::default()
        };
        let least = least.clamped();
        let times = [least.tick, least.search_tick, least.expiry, least.frame_lifetime];
        assert_eq!((least.mtu, times.map(|time| time.as_millis())), (512, [10, 10, 20, 10]));
        assert_eq!((least.max_neighbours, least.send_queue, least.receive_queue), (1, 1, 1));
        let most = NodeConfig { mtu: 9000, max_neighbours: 99_999, ..NodeConfig::default() }.clamped();
        assert_eq!((most.mtu, most.max_neighbours), (1472, 5_000));
    }
}

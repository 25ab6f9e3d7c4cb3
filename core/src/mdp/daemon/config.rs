//! What a client of a daemon can be told, and what it counts.

use crate::wire::client::Payload;
use core::time::Duration;

/// Settings of a [`Daemon`](super::Daemon).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DaemonConfig {
    /// A request that is not answered within this time is repeated, then after twice the time, and so on;
    /// 10 ms to 10 s, 250 ms by default. The same holds for an absent daemon.
    pub first_retry: Duration,
    /// The longest time between two such attempts; 4 s by default.
    pub last_retry: Duration,
    /// A port at which nothing was received for so long is bound again, because a daemon forgets its ports
    /// when it restarts, and tells nobody; at least 100 ms, 5 s by default.
    pub rebind_interval: Duration,
    /// Ports that can be bound at once, and those that were released until the daemon is told; 528 by default, which
    /// is for 256 streams, see [`DaemonConfig::for_streams`].
    pub max_ports: usize,
    /// Datagrams that are sent within [`DaemonConfig::burst_interval`], 1 to 8; 8 by default. The kernel keeps
    /// 10 for a socket and drops the others (`spec/80` section 3).
    pub burst: usize,
    /// See [`DaemonConfig::burst`]; 5 ms by default, the time for which a daemon gathers small datagrams into
    /// one packet, so that they arrive in one burst.
    pub burst_interval: Duration,
    /// Datagrams that wait to be sent; 64 by default.
    pub send_queue: usize,
    /// Received datagrams that wait for [`Daemon::poll_datagram`](super::Daemon::poll_datagram); 256 by
    /// default.
    pub receive_queue: usize,
    /// There is no daemon but a node of this project with [`Clients`](crate::mdp::Clients): it is told what no daemon
    /// understands, see [`DaemonConfig::for_node`]. False by default.
    pub is_node: bool,
}

impl DaemonConfig {
    /// Bytes of data that one datagram holds at most.
    pub const MAX_PAYLOAD_LEN: usize = Payload::MAX_LEN;
    /// Streams that a [`Host`](crate::Host) has through a daemon at most. Those that were opened here have a port each,
    /// and one port is asked for at a time: after a restart of the daemon it takes more than a second to have so many
    /// again, and streams end that are not heard for ten.
    pub const MAX_STREAMS: usize = 2000;

    /// Ports that are for other things than streams: listeners, queries, the discovery of services.
    const OTHER_PORTS: usize = 8;

    /// The usual settings, with as many ports as so many streams can need, or [`DaemonConfig::MAX_STREAMS`].
    #[must_use]
    pub fn for_streams(streams: usize) -> Self {
        Self { max_ports: 2 * (streams.min(Self::MAX_STREAMS) + Self::OTHER_PORTS), ..Self::default() }
    }

    /// The same for the client of a node of this project: whose socket waits for room instead of losing datagrams, so
    /// that they need no pace, and who sees to the losses of its streams itself.
    #[must_use]
    pub fn for_node(streams: usize) -> Self {
        Self { burst_interval: Duration::ZERO, is_node: true, ..Self::for_streams(streams) }
    }

    /// How many streams have a port each, at the same time, even if all before them were released just now.
    pub(super) fn max_streams(&self) -> usize {
        (self.max_ports / 2).saturating_sub(Self::OTHER_PORTS).clamp(1, Self::MAX_STREAMS)
    }

    /// Brings every setting into its range.
    pub(super) fn clamped(mut self) -> Self {
        self.first_retry = self.first_retry.clamp(Duration::from_millis(10), Duration::from_secs(10));
        self.last_retry = self.last_retry.max(self.first_retry);
        self.rebind_interval = self.rebind_interval.max(Duration::from_millis(100));
        self.max_ports = self.max_ports.max(1);
        self.burst = self.burst.clamp(1, 8);
        self.send_queue = self.send_queue.max(1);
        self.receive_queue = self.receive_queue.max(1);
        self
    }

    /// Time to wait after this many failures in a row.
    pub(super) fn retry(&self, failures: u32) -> Duration {
        self.first_retry.saturating_mul(1 << failures.min(16)).min(self.last_retry)
    }
}

impl Default for DaemonConfig {
    fn default() -> Self {
        Self {
            first_retry: Duration::from_millis(250),
            last_retry: Duration::from_secs(4),
            rebind_interval: Duration::from_secs(5),
            max_ports: 528,
            burst: 8,
            burst_interval: Duration::from_millis(5),
            send_queue: 64,
            receive_queue: 256,
            is_node: false,
        }
    }
}

/// What a [`Daemon`](super::Daemon) has counted since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DaemonStats {
    /// Datagrams on the socket that made no sense.
    pub malformed: u64,
    /// Datagrams for a port or an identity that is not ours, and answers to nothing that was asked.
    pub unexpected: u64,
    /// Sent datagrams that the daemon refused, which is routine when it is congested or has restarted.
    pub refused: u64,
    /// Requests for a port.
    pub binds: u64,
    /// Times that the daemon was found gone, or silent.
    pub losses: u64,
    /// Datagrams for this client.
    pub datagrams_received: u64,
    /// Of these, those that found the queue full.
    pub datagrams_dropped: u64,
    /// Datagrams handed to the daemon.
    pub datagrams_sent: u64,
    /// Datagrams that were given up because the daemon was lost.
    pub datagrams_expired: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn attempts_come_less_and_less_often() {
        let config = DaemonConfig::default();
        let waits = [0, 1, 2, 3, 4, 5, 40, u32::MAX].map(|failures| config.retry(failures));
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 4000, 4000, 4000].map(ms));
        let config = DaemonConfig { last_retry: Duration::MAX, ..config };
        assert_eq!(config.retry(u32::MAX), ms(250 << 16));
    }

    #[test]
    fn there_are_ports_for_every_stream() {
        for streams in [1, 256, DaemonConfig::MAX_STREAMS] {
            assert_eq!(DaemonConfig::for_streams(streams).max_streams(), streams);
        }
        assert_eq!(DaemonConfig::default().max_ports, DaemonConfig::for_streams(256).max_ports);
        assert_eq!(DaemonConfig::for_streams(usize::MAX).max_streams(), DaemonConfig::MAX_STREAMS);
        let [few, many] =
            [1, usize::MAX].map(|max_ports| DaemonConfig { max_ports, ..DaemonConfig::default() });
        assert_eq!((few.max_streams(), many.max_streams()), (1, DaemonConfig::MAX_STREAMS));
    }

    #[test]
    fn settings_are_brought_into_their_range() {
        let none = DaemonConfig {
            first_retry: Duration::ZERO,
            last_retry: Duration::ZERO,
            rebind_interval: Duration::ZERO,
            max_ports: 0,
            burst: 0,
            burst_interval: Duration::ZERO,
            send_queue: 0,
            receive_queue: 0,
            is_node: false,
        };
        let none = none.clamped();
        assert_eq!([none.first_retry, none.last_retry, none.rebind_interval], [ms(10), ms(10), ms(100)]);
        assert_eq!([none.max_ports, none.burst, none.send_queue, none.receive_queue], [1; 4]);
        let much = DaemonConfig { first_retry: Duration::MAX, burst: 11, ..DaemonConfig::default() };
        let much = much.clamped();
        assert_eq!((much.first_retry, much.last_retry, much.burst), (ms(10_000), ms(10_000), 8));
    }
}

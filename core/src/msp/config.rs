//! What an embedder can set.

use super::receive;
use super::replay::Replays;
use super::schedule::Schedule;
use super::send;
use core::time::Duration;

/// Limits and timers of an [`Endpoint`](super::Endpoint).
///
/// What strangers can make an endpoint keep is bounded by [`Config::max_memory`], whatever they do. When a
/// limit is hit, [`Event::LimitReached`](super::Event::LimitReached) says so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Messages per stream that may be queued or unacknowledged; of these, no more than 64 that have not been sent
    /// yet, and no more than 256 on their way to a peer that does not tell what has arrived. 1 to 16,384; default
    /// 2047: what a fast and long path holds while a lost message is repaired.
    pub send_window: u16,
    /// Messages per stream that are kept while they wait to be consumed or for an earlier one. A stream begins with
    /// 256, and gets all when the user has consumed the first few as they came. 1 to 16,384; default 2048.
    pub receive_window: u16,
    /// Bytes of messages to send that all streams together may keep, each counted with 64 more for what
    /// belongs to it. Beyond it, a stream still takes messages while it has fewer than eight. Default 4 MiB.
    pub send_memory: usize,
    /// Bytes of received messages that all streams together may keep, counted in the same way. The streams
    /// of one peer may keep no more than is left free, so that no peer has more than half, and a half-open
    /// stream none of it until its peer names it in extended packets. Beyond it, a stream still keeps up to eight
    /// messages, so that none stands still. Default 8 MiB.
    pub receive_memory: usize,
    /// Streams that may exist at once, both ways. The last eighth of them can be opened only here, or by
    /// peers with a stream in use. Default 256.
    pub max_streams: usize,
    /// A stream that a peer opens is refused if there are as many with this peer. Default 128.
    pub max_streams_per_peer: usize,
    /// Accepted streams that are half-open: the peer has not shown yet that it hears what is sent to it, or no
    /// message has gone over it, neither consumed here nor acknowledged by the peer. Beyond it, a new one takes the place of the oldest one of the peer with the most, of those without a
    /// stream in use; if the new one's peer has as many, the new one is refused. At least 1; default 128.
    pub max_half_open: usize,
    /// Streams that all peers together may open in a second, and as many at once. One beyond it is ignored:
    /// its peer tries again in a moment. Peers without a stream in use get half of what may come at once.
    /// At least 1; default 200.
    pub new_streams: u32,
    /// The same for each peer. Default 100.
    pub new_streams_per_peer: u32,
    /// Packets with FIRST that are remembered, so that a recorded one opens no second stream. Up to 224
    /// bytes each, if every one is from another peer; 8 if all are from one. When there is no room, the peer
    /// with the most forgets its oldest. Needs [fingerprints](crate::Datagram::fingerprint). Default 8192.
    pub replay_memory: usize,
    /// Whether to speak in extended packets with peers that do, too (`docs/msp-extensions.md`): they tell more about
    /// what has arrived, and bind every packet to its stream. Others notice nothing. Default true.
    pub extended: bool,
    /// Whether to take messages of more than [`MAX_MESSAGE`](super::MAX_MESSAGE) bytes, and to send them over ways
    /// that carry them, with peers that do, too. Needs `extended`, and a [`Node`](crate::Node) at both ends. Default true.
    pub large_messages: bool,
    /// An acknowledgment is sent after this long without sending anything. At most 3 s towards a reference
    /// daemon (`spec/10` B); default 1.5 s. Up to 128 idle streams to the same listener share one packet if both ends
    /// speak in extended packets.
    pub keep_alive: Duration,
    /// A stream fails after hearing nothing for this long (`spec/10` A.8). Default 10 s.
    pub idle_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            send_window: 2047,
            receive_window: 2048,
            send_memory: 4 << 20,
            receive_memory: 8 << 20,
            max_streams: 256,
            max_streams_per_peer: 128,
            max_half_open: 128,
            new_streams: 200,
            new_streams_per_peer: 100,
            replay_memory: 8192,
            extended: true,
            large_messages: true,
            keep_alive: Duration::from_millis(1500),
            idle_timeout: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// Bytes that an endpoint with this configuration keeps at most, whatever its peers and its user do:
    ///
    /// - [`send_memory`](Self::send_memory) and [`receive_memory`](Self::receive_memory), eight messages of
    ///   each stream both ways beyond that, and room for as many segments as the windows allow;
    /// - 224 bytes for each of [`replay_memory`](Self::replay_memory);
    /// - 3 KiB for each stream, and 64 KiB.
    ///
    /// It counts what the allocator is asked for, and messages to send as if nobody else kept them. Few
    /// programs ever come near: most of it is the windows of streams that nobody reads.
    #[must_use]
    pub fn max_memory(&self) -> usize {
        let Self { send_window, receive_window, send_memory, receive_memory, .. } = self.clone().clamped();
        let stream = Schedule::STREAM_BYTES
            + receive::max_bytes(receive_window.into())
            + send::max_bytes(send_window.into());
        send_memory
            .saturating_add(receive_memory)
            .saturating_add(self.max_streams.saturating_mul(stream))
            .saturating_add(self.replay_memory.saturating_mul(Replays::MAX_BYTES_EACH))
            .saturating_add(64 << 10)
    }

    /// The same, with every field within its range.
    pub(crate) fn clamped(mut self) -> Self {
        self.send_window = self.send_window.clamp(1, 1 << 14);
        self.receive_window = self.receive_window.clamp(1, 1 << 14);
        self.max_half_open = self.max_half_open.max(1);
        self.new_streams = self.new_streams.max(1);
        self.new_streams_per_peer = self.new_streams_per_peer.max(1);
        self.keep_alive = self.keep_alive.max(Duration::from_millis(100));
        self.idle_timeout = self.idle_timeout.max(self.keep_alive * 2);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the bound is made of, term by term, so that none is forgotten.
    #[test]
    fn the_bound_is_the_sum_of_what_streams_may_keep() {
        let none = Config {
            max_streams: 0,
            send_memory: 0,
            receive_memory: 0,
            replay_memory: 0,
            ..Config::default()
        };
        assert_eq!(none.max_memory(), 64 << 10);
        let with = |set: fn(&mut Config)| {
            let mut config = none.clone();
            set(&mut config);
            config.max_memory() - none.max_memory()
        };
        assert_eq!(with(|it| it.send_memory = 1000), 1000);
        assert_eq!(with(|it| it.receive_memory = 1000), 1000);
        assert_eq!(with(|it| it.replay_memory = 10), 10 * Replays::MAX_BYTES_EACH);

        let windows = |send, receive| {
            let config =
                Config { max_streams: 10, send_window: send, receive_window: receive, ..none.clone() };
            config.max_memory() - none.max_memory()
        };
        let least = windows(1, 1);
        let messages = 8 * (1387 + 64) + 8 * (1536 + 64);
        assert!(least > 10 * (Schedule::STREAM_BYTES + messages), "and the arrays");
        assert!(least < 10 * (Schedule::STREAM_BYTES + messages + 1000), "of one or two segments");
        // An array doubles; that of the sender has room for the end, too.
        let [receive, send] = [windows(1, 2) - least, windows(2, 1) - least].map(|bytes| bytes / 10);
        assert_eq!(windows(1, 4) - least, 10 * 3 * receive);
        assert_eq!(windows(3, 1) - least, 10 * send);
        assert_eq!(windows(4, 1) - least, 10 * 3 * send);
        assert!(receive > 0 && send > 0);
    }
}

//! What an embedder can set.

use core::time::Duration;

/// Limits and timers of an [`Endpoint`](super::Endpoint).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Messages per stream that may be queued or unacknowledged, and the most that are on their way at
    /// once. 1 to 16,384; default 256.
    pub send_window: u16,
    /// Messages per stream that are kept while they wait to be consumed or for an earlier one. 1 to
    /// 16,384; default 512, twice what such an endpoint sends.
    pub receive_window: u16,
    /// Bytes of received messages that all streams together may keep. Beyond it, a stream still keeps up to
    /// eight messages, so that none stands still. Default 2 MiB.
    pub receive_memory: usize,
    /// Streams that may exist at once, both ways, those that end included. Default 256.
    pub max_streams: usize,
    /// Packets with FIRST that are remembered, so that a recorded one opens no second stream. Up to 224
    /// bytes each, if every one is from another peer; 8 if all are from one. When there is no room, the peer
    /// with the most forgets its oldest. Needs [fingerprints](crate::Datagram::fingerprint). Default 8192.
    pub replay_memory: usize,
    /// An acknowledgment is sent after this long without sending anything. At most 3 s towards a reference
    /// daemon (`spec/10` B); default 1.5 s.
    pub keep_alive: Duration,
    /// A stream fails after hearing nothing for this long (`spec/10` A.8). Default 10 s.
    pub idle_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            send_window: 256,
            receive_window: 512,
            receive_memory: 2 << 20,
            max_streams: 256,
            replay_memory: 8192,
            keep_alive: Duration::from_millis(1500),
            idle_timeout: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// The same, with every field within its range.
    pub(crate) fn clamped(mut self) -> Self {
        self.send_window = self.send_window.clamp(1, 1 << 14);
        self.receive_window = self.receive_window.clamp(1, 1 << 14);
        self.keep_alive = self.keep_alive.max(Duration::from_millis(100));
        self.idle_timeout = self.idle_timeout.max(self.keep_alive * 2);
        self
    }
}

//! What can be known about a stream.

use core::time::Duration;

/// Figures about one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Smoothed round-trip time, `None` before the first sample.
    pub round_trip: Option<Duration>,
    /// Segments that may be on their way at once; with a peer that tells what has arrived, full ones of all streams
    /// to it together.
    pub congestion_window: usize,
    /// Data segments sent, retransmissions included.
    pub sent: u64,
    /// Data segments sent again.
    pub retransmitted: u64,
    /// Copies of data segments that were sent before anything could tell whether they had arrived.
    pub copies: u64,
    /// Data segments received, duplicates included.
    pub received: u64,
    /// Data segments received that were known already.
    pub duplicates: u64,
}

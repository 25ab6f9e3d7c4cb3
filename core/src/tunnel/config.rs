//! What an embedder can set.

/// Limits of a tunnel, and when it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TunnelConfig {
    /// Carry one link, then end with [`Action::Finished`](super::Action::Finished). Without it the tunnel
    /// runs until [shutdown](super::Tunnel::shutdown). Standard input and output are one link, so a
    /// tunnel that joins them always sets this. Default false.
    pub once: bool,
    /// Links that may exist at once. Beyond it a listening tunnel aborts a new stream and a connecting
    /// tunnel accepts no connection. At least 1; default 128.
    pub max_links: usize,
    /// Links of a listening tunnel that may wait for their dial to succeed or fail. Beyond it a new stream
    /// is aborted. At least 1; default 32.
    pub max_half_open: usize,
    /// Bytes from the local side that all links together may keep until the peer has acknowledged them.
    /// Every link gets its share, but at least eight messages. Default 4 MiB.
    pub send_memory: usize,
}

impl Default for TunnelConfig {
    fn default() -> Self {
        Self { once: false, max_links: 128, max_half_open: 32, send_memory: 4 << 20 }
    }
}

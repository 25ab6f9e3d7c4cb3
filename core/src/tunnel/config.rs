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
    ///
    /// How many of them one peer may have, how many may wait for their dial, how fast they may begin and what
    /// they may keep is for [`msp::Config`](crate::msp::Config) to say. Every link gets its share of
    /// [`send_memory`](crate::msp::Config::send_memory).
    pub max_links: usize,
}

impl Default for TunnelConfig {
    fn default() -> Self {
        Self { once: false, max_links: 128 }
    }
}

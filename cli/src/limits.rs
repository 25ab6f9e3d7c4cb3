//! What peers may take, as the options say.

use crate::args::Limits;
use msp_core::tunnel::TunnelConfig;
use msp_core::{DaemonConfig, msp};

/// Connections at once through a daemon, as [`settings`] has streams for them.
pub(crate) const MAX_THROUGH_DAEMON: u32 = DaemonConfig::MAX_STREAMS as u32 / 2;

/// The settings of the tunnel and of its streams.
pub(crate) fn settings(limits: &Limits) -> (TunnelConfig, msp::Config) {
    let Limits { connections, per_peer, rate, memory } = *limits;
    let (mut tunnel, mut streams) = (TunnelConfig::default(), msp::Config::default());
    tunnel.max_links = connections as usize;
    // A stream may outlive its connection, until the peer knows its end.
    streams.max_streams = 2 * tunnel.max_links;
    streams.max_streams_per_peer = per_peer as usize;
    streams.max_half_open = tunnel.max_links.div_ceil(2);
    streams.new_streams = rate.saturating_mul(2);
    streams.new_streams_per_peer = rate;
    // More is received than sent while a message is missing: all that follows it waits.
    streams.send_memory = ((memory as usize) << 20) / 3;
    streams.receive_memory = 2 * streams.send_memory;
    (tunnel, streams)
}

/// Tells what is in force.
pub(crate) fn log(limits: &Limits) {
    let Limits { connections, per_peer, rate, memory } = limits;
    let peers = if *per_peer == u32::MAX {
        String::new()
    } else {
        format!(", {per_peer} of one peer, {rate} new ones a second of one peer and twice as many of all")
    };
    log::info!("limits: {connections} connections at once{peers}; {memory} MB of data on its way");
}

/// The option that sets a limit.
pub(crate) fn option(limit: msp::Limit) -> &'static str {
    match limit {
        msp::Limit::StreamsPerPeer => "--max-per-peer",
        msp::Limit::NewStreams | msp::Limit::NewStreamsPerPeer => "--max-rate",
        _ => "--max-connections",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_options_are_the_usual_settings() {
        let limits = Limits { connections: 128, per_peer: 128, rate: 100, memory: 12 };
        let (tunnel, mut streams) = settings(&limits);
        streams.max_half_open = msp::Config::default().max_half_open;
        assert_eq!((tunnel, streams), (TunnelConfig::default(), msp::Config::default()));
    }

    #[test]
    fn one_connection_is_possible() {
        let limits = Limits { connections: 1, per_peer: 1, rate: 1, memory: 1 };
        let (tunnel, streams) = settings(&limits);
        assert_eq!((tunnel.max_links, streams.max_streams, streams.max_half_open), (1, 2, 1));
        assert_eq!((streams.new_streams, streams.send_memory / 1000), (2, 349));
    }

    #[test]
    fn a_daemon_has_ports_for_the_most_connections_through_it() {
        let limits = Limits { connections: MAX_THROUGH_DAEMON, per_peer: 1, rate: 1, memory: 1 };
        assert_eq!(settings(&limits).1.max_streams, DaemonConfig::MAX_STREAMS);
    }
}

//! What logs say.

use msp_core::Port;
use msp_core::mdp::{DaemonEvent, NodeEvent, UplinkEvent};
use msp_core::msp::Limit;
use msp_core::tunnel::{EndReason, TunnelEvent};

/// How a tunnel reports what happens to it.
#[derive(Debug)]
pub(crate) struct Report {
    /// Streams that peers open are carried to standard input and output.
    pub(crate) stdio: bool,
    /// Only one link is carried.
    pub(crate) once: bool,
    /// What sets a limit.
    pub(crate) limit_name: fn(Limit) -> &'static str,
}

impl Report {
    pub(crate) fn log(&self, event: &TunnelEvent) {
        match event {
            TunnelEvent::Opened { link, peer } => log::info!("link {link}: open, peer {peer}"),
            TunnelEvent::Closed { link, peer, reason, received, sent } => {
                // What was opened by strangers and has carried nothing is not worth a line each.
                let is_idle = !self.stdio && *received == 0;
                let expected = self.once || *reason == EndReason::Finished || is_idle;
                let level = if expected { log::Level::Info } else { log::Level::Warn };
                log::log!(
                    level,
                    "link {link}: {reason}; peer {peer}, {received} bytes received, {sent} sent"
                );
            }
            TunnelEvent::LimitReached { peer } => {
                let name = (self.limit_name)(Limit::Streams);
                log::warn!("too many connections: one with {peer} was not carried; {name} allows no more");
            }
            TunnelEvent::PeerLimited { limit, peer } => {
                let name = (self.limit_name)(*limit);
                log::warn!("{limit}: {peer} was held off; {name} allows no more");
            }
            TunnelEvent::Uplink(event) => log_uplink(event),
            _ => {}
        }
    }
}

/// Logs what has happened below the streams.
pub fn log_uplink(event: &UplinkEvent) {
    match event {
        UplinkEvent::Node(NodeEvent::NeighbourUp { sid, address, .. }) => {
            log::info!("neighbour {sid} at UDP {address}");
        }
        UplinkEvent::Node(NodeEvent::NeighbourDown { sid }) => log::info!("neighbour {sid} is gone"),
        UplinkEvent::Node(_) => {}
        UplinkEvent::Daemon(event @ (DaemonEvent::Up { .. } | DaemonEvent::Bound { .. })) => {
            log::info!("{event}");
        }
        UplinkEvent::Daemon(DaemonEvent::Refused { port: Port::DISCOVERY }) => {
            log::warn!(
                "the service cannot be found: another program offers one through the same daemon already"
            );
        }
        UplinkEvent::Daemon(event) => log::warn!("{event}"),
    }
}

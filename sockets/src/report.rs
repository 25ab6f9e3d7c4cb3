//! What logs say.

use msp_core::Port;
use msp_core::mdp::{DaemonEvent, NodeEvent, UplinkEvent};

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

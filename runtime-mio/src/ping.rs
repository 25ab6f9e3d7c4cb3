//! The loop that drives a ping.

use crate::runtime::{Error, Runtime, Wires, random};
use msp_core::Sid;
use msp_core::mdp::{Ping, PingConfig, PingEvent, PingSummary};

impl Runtime {
    /// Asks `peer` for echoes and reports every event, until there is nothing more to wait for or it is
    /// stopped.
    ///
    /// # Errors
    ///
    /// If the system fails. A peer that does not answer is no error here, but shows in the summary.
    pub fn ping(
        self,
        peer: Sid,
        config: PingConfig,
        mut on_event: impl FnMut(PingEvent),
    ) -> Result<PingSummary, Error> {
        let Self { node, mut wires, .. } = self;
        let mut ping = Ping::new(config, node, peer, random()?, wires.now());
        let mut events = Wires::events();
        loop {
            let now = wires.now();
            if wires.take_stop() {
                ping.stop();
            }
            let interface = wires.interface;
            let received = wires.udp.receive(|from, packet| ping.handle_packet(now, interface, from, packet));
            if ping.poll_timeout().is_some_and(|at| at <= now) {
                ping.handle_timeout(now);
            }
            while let Some(event) = ping.poll_event() {
                on_event(event);
                if let PingEvent::Done(summary) = event {
                    return Ok(summary);
                }
            }
            let sent = wires.udp.transmit(now, |buffer| ping.poll_transmit(now, buffer));
            wires.wait(&mut events, now, received || sent, ping.poll_timeout())?;
        }
    }
}

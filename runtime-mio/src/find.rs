//! The loop that looks for services.

use crate::runtime::{Error, Runtime, Wires, random};
use msp_core::mdp::{Find, FindConfig, FindEvent};
use std::ops::ControlFlow;

impl Runtime {
    /// Looks for services and reports every event, until the time is over, `on_event` wants no more, or it is
    /// stopped. Gives itself back, such as to connect to what was found.
    ///
    /// # Errors
    ///
    /// If the system fails. That nobody answers is no error here.
    pub fn find(
        self,
        config: FindConfig,
        mut on_event: impl FnMut(FindEvent) -> ControlFlow<()>,
    ) -> Result<Self, Error> {
        let Self { node, streams, mut wires } = self;
        let mut find = Find::new(config, node, random()?, wires.now());
        let mut events = Wires::events();
        loop {
            let now = wires.now();
            if wires.take_stop() {
                find.stop();
            }
            let interface = wires.interface;
            let received = wires.udp.receive(|from, packet| find.handle_packet(now, interface, from, packet));
            if find.poll_timeout().is_some_and(|at| at <= now) {
                find.handle_timeout(now);
            }
            while let Some(event) = find.poll_event() {
                let done = event == FindEvent::Done;
                if on_event(event).is_break() || done {
                    return Ok(Self { node: find.into_node(), streams, wires });
                }
            }
            let sent = wires.udp.transmit(now, |buffer| find.poll_transmit(now, buffer));
            wires.wait(&mut events, now, received || sent, find.poll_timeout())?;
        }
    }
}

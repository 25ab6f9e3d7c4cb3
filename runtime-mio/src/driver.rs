//! A tunnel with a loop of its own.

use crate::event_loop::EventLoop;
use crate::runtime::Runtime;
use crate::tunnel::Tunnel;
use msp_core::msp::Limit;
use msp_core::tunnel::{Outcome, TunnelConfig, TunnelEvent};
use msp_core::{Addr, Port};
use msp_sockets::{Error, Source, StatusSocket, Target};
use std::io;

impl Runtime {
    /// A tunnel that carries the streams that peers open to `port`, see [`Node::listen`](crate::Node::listen).
    ///
    /// # Errors
    ///
    /// As for [`Node::listen`](crate::Node::listen).
    pub fn listen(self, port: Port, target: Target, config: TunnelConfig) -> Result<Driver, Error> {
        Ok(Driver { tunnel: self.node.listen(port, target, config)?, own: self.own })
    }

    /// A tunnel that opens a stream to `remote` for every connection of `source`, see
    /// [`Node::connect`](crate::Node::connect).
    ///
    /// # Errors
    ///
    /// As for [`Node::connect`](crate::Node::connect).
    pub fn connect(self, remote: Addr, source: Source, config: TunnelConfig) -> Result<Driver, Error> {
        Ok(Driver { tunnel: self.node.connect(remote, source, config)?, own: self.own })
    }
}

/// A [`Tunnel`] that is ready to [run](Driver::run).
#[derive(Debug)]
#[must_use = "nothing happens until it runs"]
pub struct Driver {
    tunnel: Tunnel,
    own: EventLoop,
}

impl Driver {
    /// Warnings that a limit was hit call what sets it by this name.
    pub fn name_limits(mut self, name: fn(Limit) -> &'static str) -> Self {
        self.tunnel.name_limits(name);
        self
    }

    /// Answers what it is asked about itself, see [`Tunnel::answer_at`].
    ///
    /// # Errors
    ///
    /// As for [`Tunnel::answer_at`].
    pub fn answer_at(mut self, status: StatusSocket) -> io::Result<Self> {
        self.tunnel.answer_at(status)?;
        Ok(self)
    }

    /// Carries bytes until the tunnel ends or is [stopped](crate::Stopper).
    ///
    /// # Errors
    ///
    /// If the system fails in what everything depends on. What befalls a stream is no error here.
    pub fn run(self) -> io::Result<Outcome> {
        self.run_with(|_| ())
    }

    /// The same, and `on_event` is told what happens.
    ///
    /// # Errors
    ///
    /// As for [`Driver::run`].
    pub fn run_with(self, mut on_event: impl FnMut(&TunnelEvent)) -> io::Result<Outcome> {
        let Self { mut tunnel, mut own } = self;
        loop {
            if own.take_stop() {
                tunnel.shutdown();
            }
            tunnel.turn();
            while let Some(event) = tunnel.poll_event() {
                on_event(&event);
            }
            if let Some(outcome) = tunnel.outcome() {
                return Ok(outcome);
            }
            own.wait(tunnel.timeout())?;
            for event in own.events() {
                tunnel.handle_event(event);
            }
        }
    }
}

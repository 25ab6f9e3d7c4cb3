//! A node with a loop of its own.

use crate::event_loop::{EventLoop, FIRST, Stopper};
use crate::node::Node;
use msp_core::mdp::{Instance, Service};
use msp_core::msp;
use msp_core::{Host, Identity, Instant, Port, Sid};
use msp_sockets::{BindError, Config, RunDirectory};
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;

/// A [`Node`] with a loop of its own, ready to do one thing.
#[derive(Debug)]
pub struct Runtime {
    pub(crate) node: Node,
    pub(crate) own: EventLoop,
}

impl Runtime {
    /// A node with this identity, bound and knowing its peers, but silent until it is told what to do.
    ///
    /// # Errors
    ///
    /// As for [`Node::bind`].
    pub fn bind(identity: Identity, config: &Config) -> Result<Self, BindError> {
        let own = EventLoop::new().map_err(|source| BindError { address: config.udp, source })?;
        Ok(Self { node: Node::bind(identity, config, own.registry(), FIRST)?, own })
    }

    /// A client of the daemon of `instance`, see [`Node::attach`].
    ///
    /// # Errors
    ///
    /// As for [`Node::attach`].
    pub fn attach(instance: &Instance, port: Option<Port>, streams: msp::Config) -> io::Result<Self> {
        let own = EventLoop::new()?;
        Ok(Self { node: Node::attach(instance, port, streams, own.registry(), FIRST)?, own })
    }

    /// A client of the node that runs in this directory, see [`Node::attach_to_node`].
    ///
    /// # Errors
    ///
    /// As for [`Node::attach_to_node`].
    pub fn attach_to_node(
        directory: &RunDirectory,
        port: Option<Port>,
        streams: msp::Config,
    ) -> io::Result<Self> {
        let own = EventLoop::new()?;
        Ok(Self { node: Node::attach_to_node(directory, port, streams, own.registry(), FIRST)?, own })
    }

    /// Its streams, what happens to them, and what is below.
    pub const fn host(&mut self) -> &mut Host {
        self.node.host()
    }

    /// Answers those who look for `service`, as long as it can be reached.
    pub fn set_service(&mut self, service: Service) {
        let now = self.node.now();
        self.node.host.uplink().set_service(now, Some(service));
    }

    /// The address on the mesh; that of a daemon is known later.
    #[must_use]
    pub fn sid(&self) -> Option<Sid> {
        self.node.sid()
    }

    /// The UDP address that is bound, see [`Node::local_addr`].
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.node.local_addr()
    }

    /// The UDP addresses of all interfaces, see [`Node::local_addrs`].
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.node.local_addrs()
    }

    /// A handle that ends the run from another thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.own.stopper()
    }

    /// Whether a [`Stopper`] or a signal has asked it to end.
    #[must_use]
    pub fn was_stopped(&self) -> bool {
        self.own.was_stopped()
    }

    /// Has SIGINT, SIGTERM and SIGHUP end the run as a [`Stopper`] does, in this whole process. Those that
    /// are ignored, as `nohup` has it, stay so.
    ///
    /// # Errors
    ///
    /// If the handlers cannot be installed.
    pub fn stop_on_signals(&mut self) -> io::Result<()> {
        self.own.stop_on_signals()
    }

    /// Drives streams until `step` has a result. It is called in every turn with the time and whether there was
    /// another request to [stop](Stopper), takes events, and does with streams what it wants.
    ///
    /// A program that ends before [`Host::is_idle`] leaves its peers in doubt about their last messages.
    ///
    /// # Errors
    ///
    /// If the system fails in what everything depends on.
    pub fn run<T>(
        &mut self,
        mut step: impl FnMut(&mut Host, Instant, bool) -> ControlFlow<T>,
    ) -> io::Result<T> {
        let Self { node, own } = self;
        loop {
            node.turn();
            let now = node.now();
            if let ControlFlow::Break(result) = step(&mut node.host, now, own.take_stop()) {
                return Ok(result);
            }
            own.wait(node.timeout())?;
            for event in own.events() {
                node.handle_event(event);
            }
        }
    }
}

//! A tunnel with its sockets, in anybody's loop.

use crate::node::Node;
use crate::socket::{readiness, register};
use mio::event::Event;
use mio::{Registry, Token};
use msp_core::msp::Limit;
use msp_core::tunnel::{Outcome, TunnelConfig, TunnelEvent};
use msp_core::{Addr, Port};
use msp_sockets::{Error, Part, Source, StatusSocket, Target, Watch};
use std::io;
use std::time::Duration;

/// The token of the first link, from that of the socket on.
const FIRST_LINK: usize = 3 + Part::ASKERS as usize;

impl Node {
    /// A tunnel that carries the streams that peers open to `port`. With [`TunnelConfig::once`] it ends with
    /// the first; with [`Target::Stdio`] that is implied, and standard output is closed when the peer has
    /// finished.
    ///
    /// # Errors
    ///
    /// If the port cannot be listened on.
    pub fn listen(self, port: Port, target: Target, config: TunnelConfig) -> Result<Tunnel, Error> {
        let Self { host, socket, token, registry, .. } = self;
        Tunnel::new(msp_sockets::Tunnel::listen(host, socket, port, target, config)?, registry, token)
    }

    /// A tunnel that opens a stream to `remote` for every connection of `source`. With
    /// [`TunnelConfig::once`] it ends with the first; with [`Source::Stdio`] that is implied, and standard
    /// output is closed when the peer has finished.
    ///
    /// # Errors
    ///
    /// If `remote` cannot be anybody's address, or the system lacks something.
    pub fn connect(self, remote: Addr, source: Source, config: TunnelConfig) -> Result<Tunnel, Error> {
        let Self { host, socket, token, registry, .. } = self;
        Tunnel::new(msp_sockets::Tunnel::connect(host, socket, remote, source, config)?, registry, token)
    }
}

/// A tunnel inside the caller's [`mio::Poll`], beside whatever else waits there. [`Node::listen`] and
/// [`Node::connect`] make it.
///
/// Its loop is that of a [`Node`], until there is an [outcome](Tunnel::outcome). It takes the token of the node that
/// it was made of and those above it: they are counted up with every TCP connection, and none is used again. So the
/// caller's own tokens are below, and a second tunnel in the same poll begins far above the first.
#[derive(Debug)]
#[must_use = "nothing happens until it is driven"]
pub struct Tunnel {
    tunnel: msp_sockets::Tunnel,
    registry: Registry,
    /// The token of the socket.
    first: Token,
    /// What is registered, in the order of the tokens.
    parts: Vec<Part>,
}

impl Tunnel {
    fn new(tunnel: msp_sockets::Tunnel, registry: Registry, first: Token) -> Result<Self, Error> {
        let mut tunnel = Self { tunnel, registry, first, parts: Vec::new() };
        tunnel.watch()?;
        Ok(tunnel)
    }

    /// Warnings that a limit was hit call what sets it by this name.
    pub fn name_limits(&mut self, name: fn(Limit) -> &'static str) {
        self.tunnel.name_limits(name);
    }

    /// Answers at `status` from now on what it is asked about itself, as `msp status` does.
    ///
    /// # Errors
    ///
    /// If the system cannot wait for it.
    pub fn answer_at(&mut self, status: StatusSocket) -> io::Result<()> {
        self.tunnel.answer_at(status);
        self.watch()
    }

    /// Remembers what an event says; the work is done in the next [turn](Tunnel::turn). False if the event is not
    /// about this tunnel, or about a connection that has ended.
    pub fn handle_event(&mut self, event: &Event) -> bool {
        let place = self.parts.binary_search_by_key(&event.token(), |part| self.token_of(*part));
        let Some(part) = place.ok().and_then(|place| self.parts.get(place)) else { return false };
        self.tunnel.ready(*part, readiness(event));
        true
    }

    /// Does a bounded share of everything that can be done now.
    pub fn turn(&mut self) {
        self.tunnel.turn();
        // It fails only at the beginning: links that cannot be registered end, and there are no other parts.
        let _ = self.watch();
    }

    /// How long to wait for events before the next [turn](Tunnel::turn).
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        self.tunnel.timeout()
    }

    /// What has happened, oldest first. It is logged as well, as soon as it is taken.
    pub fn poll_event(&mut self) -> Option<TunnelEvent> {
        self.tunnel.poll_event()
    }

    /// How it has ended, once its last packets are on their way.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        self.tunnel.outcome()
    }

    /// Ends it: the peers are told, and then there is an [outcome](Tunnel::outcome). The second time, it ends at
    /// once.
    pub fn shutdown(&mut self) {
        self.tunnel.shutdown();
    }

    /// Registers what is new.
    fn watch(&mut self) -> io::Result<()> {
        while let Some(watch) = self.tunnel.poll_watch() {
            match watch {
                // The node has registered it.
                Watch::Begin(Part::Socket(place), _) => {
                    // They share a token.
                    if place == 0 {
                        self.note(Part::Socket(place));
                    }
                }
                Watch::Begin(part, handle) => {
                    let token = self.token_of(part);
                    match register(&self.registry, token, &handle) {
                        Ok(()) => self.note(part),
                        Err(error) if matches!(part, Part::Acceptor | Part::Questions) => return Err(error),
                        Err(error) => self.tunnel.unwatched(part, error),
                    }
                }
                // It was closed, which takes it out of the poll.
                Watch::End(part) => {
                    if let Ok(place) = self.parts.binary_search(&part) {
                        self.parts.remove(place);
                    }
                }
            }
        }
        Ok(())
    }

    /// It is registered. What comes later has the larger token, most of the time.
    fn note(&mut self, part: Part) {
        if let Err(place) = self.parts.binary_search(&part) {
            self.parts.insert(place, part);
        }
    }

    /// Parts have tokens in their order. Links are numbered in the order in which they begin, and no machine lives to see them wrap.
    fn token_of(&self, part: Part) -> Token {
        let Token(first) = self.first;
        Token(match part {
            Part::Socket(_) => first,
            Part::Acceptor => first.wrapping_add(1),
            Part::Questions => first.wrapping_add(2),
            Part::Asker(place) => first.wrapping_add(3 + usize::from(place)),
            Part::Link(id) => first.wrapping_add(FIRST_LINK).wrapping_add(id.get() as usize),
        })
    }
}

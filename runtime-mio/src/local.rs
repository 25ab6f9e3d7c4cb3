//! The local side of a link, whatever it is.

use crate::stdio::StdioLink;
use crate::tcp::TcpLink;
use mio::Registry;
use mio::event::Event;
use msp_core::Instant;
use msp_core::tunnel::{CloseKind, Tunnel};

/// The local side of a link.
#[derive(Debug)]
pub(crate) enum Local {
    Tcp(TcpLink),
    Stdio(StdioLink),
}

impl Local {
    pub(crate) fn ready(&mut self, event: &Event) {
        match self {
            Self::Tcp(link) => link.ready(event),
            Self::Stdio(link) => link.ready(),
        }
    }

    /// Moves bytes both ways. True if it did anything.
    pub(crate) fn turn(
        &mut self,
        registry: &Registry,
        tunnel: &mut Tunnel,
        now: Instant,
        buffer: &mut [u8],
    ) -> bool {
        match self {
            Self::Tcp(link) => link.turn(registry, tunnel, now, buffer),
            Self::Stdio(link) => link.turn(tunnel, now),
        }
    }

    pub(crate) fn shutdown_write(&mut self) {
        match self {
            Self::Tcp(link) => link.shutdown_write(),
            Self::Stdio(link) => link.shutdown_write(),
        }
    }

    pub(crate) fn close(self, kind: CloseKind) {
        if let Self::Tcp(link) = self {
            link.close(kind);
        }
    }
}

//! The local side of a link, whatever it is.

use crate::stdio::StdioLink;
use crate::tcp::TcpLink;
use mio::Registry;
use mio::event::Event;
use msp_core::Instant;
use msp_core::tunnel::{CloseKind, LinkId, Tunnel};
use std::io;

/// The local side of a link.
#[derive(Debug)]
pub(crate) enum Local {
    Tcp(TcpLink),
    Stdio(StdioLink),
}

/// What has become of a local side.
#[derive(Debug)]
pub(crate) enum LocalError {
    /// It could not be had.
    Unreachable(io::Error),
    /// It was there, and broke.
    Broken(io::Error),
}

impl Local {
    pub(crate) fn id(&self) -> LinkId {
        match self {
            Self::Tcp(link) => link.id(),
            Self::Stdio(link) => link.id(),
        }
    }

    pub(crate) fn ready(&mut self, event: &Event) {
        match self {
            Self::Tcp(link) => link.ready(event),
            Self::Stdio(link) => link.ready(),
        }
    }

    /// Moves bytes both ways. True if it did anything.
    ///
    /// # Errors
    ///
    /// Once, if it fails. The tunnel is to be told.
    pub(crate) fn turn(
        &mut self,
        registry: &Registry,
        tunnel: &mut Tunnel,
        now: Instant,
        buffer: &mut [u8],
    ) -> Result<bool, LocalError> {
        match self {
            Self::Tcp(link) => link.turn(registry, tunnel, now, buffer),
            Self::Stdio(link) => link.turn(tunnel, now).map_err(LocalError::Broken),
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

//! The local side of a link, whatever it is.

use crate::handle::Handle;
use crate::stdio::StdioLink;
use crate::tcp::TcpLink;
use crate::tunnel::Readiness;
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

    /// What to wait for, if that is not known yet.
    pub(crate) fn take_new(&mut self) -> Option<Handle> {
        match self {
            Self::Tcp(link) => link.take_new(),
            Self::Stdio(link) => link.take_new(),
        }
    }

    pub(crate) fn ready(&mut self, readiness: Readiness) {
        match self {
            Self::Tcp(link) => link.ready(readiness),
            Self::Stdio(link) => link.ready(),
        }
    }

    /// Whether it waits until it can be read, and written.
    pub(crate) fn wanted(&self) -> (bool, bool) {
        match self {
            Self::Tcp(link) => link.wanted(),
            Self::Stdio(_) => (true, false),
        }
    }

    /// Moves bytes both ways. True if it did anything.
    ///
    /// # Errors
    ///
    /// Once, if it fails. The tunnel is to be told.
    pub(crate) fn turn(
        &mut self,
        tunnel: &mut Tunnel,
        now: Instant,
        buffer: &mut [u8],
    ) -> Result<bool, LocalError> {
        match self {
            Self::Tcp(link) => link.turn(tunnel, now, buffer),
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

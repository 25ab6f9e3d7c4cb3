//! What a client of a daemon has come to.

use crate::Port;
use alloc::vec::Vec;

/// What is ready to send.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// A whole datagram for the socket.
    Data(Vec<u8>),
    /// The release of a port, after what was sent from it.
    Close(Port),
}

/// How far the client is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// What waits is still sent, and then the release of everything.
    Closing,
    Closed,
}

/// What is known about the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contact {
    Unknown,
    Up,
    Lost,
}

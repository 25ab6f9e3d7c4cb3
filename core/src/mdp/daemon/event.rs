//! What a client of a daemon tells, and why it binds no port.

use crate::{Port, Sid};
use core::fmt;

/// Something that happened between a client and its daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DaemonEvent {
    /// The daemon answers.
    Up {
        /// Its primary identity, the address that datagrams come from.
        sid: Sid,
    },
    /// No daemon is there. Attempts go on.
    Absent,
    /// The daemon is there, and does not answer. Attempts go on.
    Silent,
    /// A port is ours, for the first time or again.
    Bound {
        /// Which.
        port: Port,
    },
    /// A port is not to be had, most likely because another program has it. Attempts go on.
    Refused {
        /// Which.
        port: Port,
    },
}

impl fmt::Display for DaemonEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up { sid } => write!(f, "connected to the daemon, whose address is {sid}"),
            Self::Absent => f.write_str("no daemon is running"),
            Self::Silent => f.write_str("the daemon does not answer"),
            Self::Bound { port } => write!(f, "MDP port {port} is bound"),
            Self::Refused { port } => {
                write!(f, "the daemon refuses MDP port {port}; another program may have it")
            }
        }
    }
}

/// Why a port was not bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BindError {
    /// Nobody can have this port: it is 0.
    Reserved(Port),
    /// Too many ports are bound.
    TooMany,
    /// The client is shut down.
    Closed,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserved(port) => write!(f, "MDP port {port} cannot be bound"),
            Self::TooMany => f.write_str("too many MDP ports are bound"),
            Self::Closed => f.write_str("the connection to the daemon is closed"),
        }
    }
}

impl core::error::Error for BindError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    #[test]
    fn people_are_told_what_happened() {
        let sid = Sid::new([0xab; 32]);
        assert!(DaemonEvent::Up { sid }.to_string().ends_with(&format!("{sid}")));
        assert_eq!(DaemonEvent::Absent.to_string(), "no daemon is running");
        assert_eq!(DaemonEvent::Silent.to_string(), "the daemon does not answer");
        let port = Port::from(512);
        assert_eq!(DaemonEvent::Bound { port }.to_string(), "MDP port 512 is bound");
        assert!(DaemonEvent::Refused { port }.to_string().contains("refuses MDP port 512"));
        assert_eq!(BindError::Reserved(Port::ANY).to_string(), "MDP port 0 cannot be bound");
        assert!(BindError::TooMany.to_string().contains("too many"));
        assert!(BindError::Closed.to_string().contains("closed"));
    }
}

//! How things fail.

use msp_core::Addr;
use msp_core::msp::{self, CloseReason};
use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};

/// Why a stream has ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamError {
    /// The stream has failed, or was ended by the peer.
    Closed(CloseReason),
    /// The node was closed or dropped, or what drives it.
    NodeEnded,
}

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// It is empty, or longer than [`MAX_MESSAGE`](msp_core::msp::MAX_MESSAGE), or this end was closed.
    Refused(msp::SendError),
    /// The stream has ended.
    Ended(StreamError),
}

/// Why a port cannot be listened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenError {
    /// It is taken, or reserved.
    Refused(msp::ListenError),
    /// The node has ended.
    NodeEnded,
}

/// Why a stream could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// It was not even tried.
    Impossible(msp::ConnectError),
    /// It was tried, and this became of it.
    Failed {
        /// The other end.
        remote: Addr,
        /// Why.
        source: StreamError,
    },
}

impl StreamError {
    /// The kind of an [`io::Error`] that comes closest.
    #[must_use]
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::Closed(CloseReason::Refused) => ErrorKind::ConnectionRefused,
            Self::Closed(CloseReason::PeerReset | CloseReason::PeerRestarted) => ErrorKind::ConnectionReset,
            Self::Closed(CloseReason::TimedOut) => ErrorKind::TimedOut,
            Self::Closed(CloseReason::Unreachable) => ErrorKind::HostUnreachable,
            Self::Closed(_) | Self::NodeEnded => ErrorKind::ConnectionAborted,
        }
    }
}

impl SendError {
    /// The kind of an [`io::Error`] that comes closest.
    #[must_use]
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::Refused(msp::SendError::Finished) => ErrorKind::BrokenPipe,
            Self::Refused(_) => ErrorKind::InvalidInput,
            Self::Ended(error) => error.kind(),
        }
    }
}

impl ListenError {
    /// The kind of an [`io::Error`] that comes closest.
    #[must_use]
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::Refused(msp::ListenError::InUse(_)) => ErrorKind::AddrInUse,
            Self::Refused(_) => ErrorKind::InvalidInput,
            Self::NodeEnded => ErrorKind::NotConnected,
        }
    }
}

impl ConnectError {
    /// The kind of an [`io::Error`] that comes closest.
    #[must_use]
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::Impossible(msp::ConnectError::TooManyStreams) => ErrorKind::QuotaExceeded,
            Self::Impossible(_) => ErrorKind::InvalidInput,
            Self::Failed { source, .. } => source.kind(),
        }
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(reason) => write!(f, "the stream has ended: {reason}"),
            Self::NodeEnded => f.write_str("the stream has ended with its node"),
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::Ended(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::NodeEnded => f.write_str("the node has ended"),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Impossible(error) => error.fmt(f),
            Self::Failed { remote, source } => write!(f, "no stream to {remote}: {source}"),
        }
    }
}

impl Error for StreamError {}
impl Error for SendError {}
impl Error for ListenError {}
impl Error for ConnectError {}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        Self::new(error.kind(), error)
    }
}

impl From<SendError> for io::Error {
    fn from(error: SendError) -> Self {
        Self::new(error.kind(), error)
    }
}

impl From<ListenError> for io::Error {
    fn from(error: ListenError) -> Self {
        Self::new(error.kind(), error)
    }
}

impl From<ConnectError> for io::Error {
    fn from(error: ConnectError) -> Self {
        Self::new(error.kind(), error)
    }
}

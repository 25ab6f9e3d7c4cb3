//! What a tunnel wants done, and what it reports.

use crate::mdp::UplinkEvent;
use crate::msp::{CloseReason, Limit, StreamId};
use crate::{Addr, Port, Sid};
use core::fmt;

/// A local connection of a tunnel, a TCP connection or standard input and output, with its stream. Never
/// reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub(super) StreamId);

impl LinkId {
    /// Its number. A link that begins later has a larger one.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.get(), f)
    }
}

impl fmt::Debug for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Something that the driver of a tunnel has to do on the local side.
///
/// Every link ends with exactly one `Close`, whatever else happened to it, and nothing about the link
/// follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Open the local side of this new link: connect to the TCP target, or take standard input and
    /// output. Answer with [`local_opened`](super::Tunnel::local_opened) or
    /// [`local_failed`](super::Tunnel::local_failed). Only a peer that owns its address gets this far,
    /// because the stream began with an encrypted packet.
    Dial(LinkId),
    /// The peer has finished and everything was written: shut down writing, keep reading.
    ShutdownWrite(LinkId),
    /// Close the local side and forget the link.
    Close(LinkId, CloseKind),
    /// No further local connection is wanted: close the TCP listener.
    StopAccepting,
    /// The tunnel has ended; nothing more is to be sent. Comes once, as the last action.
    Finished(Outcome),
}

/// How the local side of a link is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseKind {
    /// Everything was carried both ways: an ordinary close.
    Clean,
    /// Something was lost. Close so that the local program sees an error and not an end of file: TCP sends
    /// a reset if its linger time is zero.
    Abort,
}

/// Why a link has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// Both directions were carried to their end.
    Finished,
    /// The local side could not be opened; the peer was refused.
    DialFailed,
    /// The local side broke; the peer was told of an abort.
    LocalFailed,
    /// The peer aborted the stream.
    PeerReset,
    /// The peer refused the stream: nothing listens there, or what it forwards to refused.
    Refused,
    /// The peer has fallen silent.
    TimedOut,
    /// The peer has never answered.
    Unreachable,
    /// One end has restarted, and the two spoke of different streams.
    PeerRestarted,
    /// Nothing had gone over the stream yet, and others needed its place.
    Displaced,
    /// The tunnel was [shut down](super::Tunnel::shutdown).
    Shutdown,
}

impl EndReason {
    /// How the local side is closed for this reason.
    pub(super) fn close_kind(self) -> CloseKind {
        if self == Self::Finished { CloseKind::Clean } else { CloseKind::Abort }
    }

    /// How a tunnel ends with its only link.
    pub(super) fn outcome(self) -> Outcome {
        if self == Self::Finished { Outcome::Clean } else { Outcome::Failed(self) }
    }
}

impl From<CloseReason> for EndReason {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::Finished => Self::Finished,
            CloseReason::Reset => Self::Shutdown,
            CloseReason::PeerReset => Self::PeerReset,
            CloseReason::Refused => Self::Refused,
            CloseReason::TimedOut => Self::TimedOut,
            CloseReason::Unreachable => Self::Unreachable,
            CloseReason::PeerRestarted => Self::PeerRestarted,
            CloseReason::Displaced => Self::Displaced,
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "finished",
            Self::DialFailed => "the local target could not be reached",
            Self::LocalFailed => "the local connection broke",
            Self::PeerReset => "aborted by the peer",
            Self::Refused => "refused by the peer",
            Self::TimedOut => "the peer has fallen silent",
            Self::Unreachable => "the peer has never answered",
            Self::PeerRestarted => "one end has restarted",
            Self::Displaced => "made room for another one before anything had gone over it",
            Self::Shutdown => "aborted here",
        })
    }
}

/// How a tunnel has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The one link of [`TunnelConfig::once`](super::TunnelConfig::once) was carried to its end.
    Clean,
    /// That link ended in another way.
    Failed(EndReason),
    /// The tunnel was [shut down](super::Tunnel::shutdown) before its end.
    Interrupted,
    /// The daemon refuses the port that was to be listened on, most likely because another program has it.
    PortRefused,
}

/// Something for logs and status displays. It needs no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TunnelEvent {
    /// A link and its stream have begun.
    Opened {
        /// The new link.
        link: LinkId,
        /// The other end of its stream.
        peer: Addr,
    },
    /// A link has ended.
    Closed {
        /// The link, unknown from now on.
        link: LinkId,
        /// The other end of its stream.
        peer: Addr,
        /// Why.
        reason: EndReason,
        /// Bytes from the peer that were written to the local side.
        received: u64,
        /// Bytes of the local side that were given to the stream. If the reason is
        /// [`EndReason::Finished`], the peer has acknowledged them all.
        sent: u64,
    },
    /// A stream was aborted at once, or a local connection not accepted, because of the limits in
    /// [`TunnelConfig`](super::TunnelConfig). Reported at most once in ten seconds.
    LimitReached {
        /// The other end of the stream.
        peer: Addr,
    },
    /// A peer has had as much as [`msp::Config`](crate::msp::Config) lets it have.
    PeerLimited {
        /// Of what.
        limit: Limit,
        /// The other end of the stream that was not opened, or was ended for another one.
        peer: Addr,
    },
    /// Peers can open streams to this address now. Comes again when a daemon has lost the port and given it
    /// back.
    Listening {
        /// The address of the node, or of the daemon.
        sid: Sid,
        /// The port.
        port: Port,
    },
    /// Something happened below.
    Uplink(UplinkEvent),
}

//! What an endpoint reports, and how it fails.

use super::StreamId;
use crate::{Addr, Port};
use core::fmt;

/// Something happened to a stream.
///
/// `Readable` and `Writable` are hints: what can be read and sent is what the
/// [`Stream`](super::Stream) says. Each is queued at most once per stream until it is taken, so the queue is
/// bounded. Exactly one `Closed` ends every stream; nothing about the stream follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A peer opened a stream to a listening port.
    Accepted {
        /// The new stream.
        stream: StreamId,
        /// Who opened it.
        peer: Addr,
        /// The listening port.
        port: Port,
    },
    /// The peer of a stream that was opened here has answered for the first time.
    Connected {
        /// The stream.
        stream: StreamId,
    },
    /// There are messages to receive.
    Readable {
        /// The stream.
        stream: StreamId,
    },
    /// After a refusal with [`SendError::WouldBlock`], there is room to send, or the stream has failed.
    Writable {
        /// The stream.
        stream: StreamId,
    },
    /// Every message of the peer has been received; it will send no more. Sent when the last one has
    /// arrived in order, which may be before it is consumed.
    PeerFinished {
        /// The stream.
        stream: StreamId,
    },
    /// The stream has ended. If it failed, everything that was received in order was handed out before.
    Closed {
        /// The stream, unknown from now on.
        stream: StreamId,
        /// Why.
        reason: CloseReason,
    },
    /// A limit was hit. Reported at most once in ten seconds for each limit;
    /// [`EndpointStats`](super::EndpointStats) counts every time.
    LimitReached {
        /// Which.
        limit: Limit,
        /// Who hit it, not always the one to blame.
        peer: Addr,
    },
}

/// Something of which a peer has had as much as it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// [`Config::max_streams`](super::Config::max_streams). The stream was refused.
    Streams,
    /// [`Config::max_streams_per_peer`](super::Config::max_streams_per_peer). The stream was refused.
    StreamsPerPeer,
    /// [`Config::max_half_open`](super::Config::max_half_open). The stream was refused, or another one.
    HalfOpen,
    /// [`Config::new_streams`](super::Config::new_streams). The peer has to try again.
    NewStreams,
    /// [`Config::new_streams_per_peer`](super::Config::new_streams_per_peer). The peer has to try again.
    NewStreamsPerPeer,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Streams => "too many streams",
            Self::StreamsPerPeer => "too many streams of one peer",
            Self::HalfOpen => "too many streams that nothing has gone over yet",
            Self::NewStreams => "too many new streams at once",
            Self::NewStreamsPerPeer => "too many new streams of one peer at once",
        })
    }
}

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// Both ends finished, and every message of both was acknowledged.
    Finished,
    /// It was [reset](super::Stream::reset) here.
    Reset,
    /// The peer aborted it.
    PeerReset,
    /// The peer aborted it before it accepted any data: nothing listens there, or what it forwards to
    /// refused.
    Refused,
    /// The peer has fallen silent.
    TimedOut,
    /// The peer has never answered.
    Unreachable,
    /// One end has restarted, and the two speak of different streams with the same ports.
    PeerRestarted,
    /// Nothing had gone over it yet, and others needed its place.
    Displaced,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "finished",
            Self::Reset => "aborted here",
            Self::PeerReset => "aborted by the peer",
            Self::Refused => "refused by the peer",
            Self::TimedOut => "the peer has fallen silent",
            Self::Unreachable => "the peer has never answered",
            Self::PeerRestarted => "one end has restarted",
            Self::Displaced => "made room for another one before anything had gone over it",
        })
    }
}

/// Why a message was not taken for sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The send window is full; [`Event::Writable`] tells when to try again.
    WouldBlock,
    /// A message has at most this many bytes.
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// A message has at least one byte.
    Empty,
    /// This end has finished.
    Finished,
    /// The stream has ended, for this reason.
    Closed(CloseReason),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WouldBlock => f.write_str("the send window is full"),
            Self::TooLarge { max } => write!(f, "a message has at most {max} bytes"),
            Self::Empty => f.write_str("a message has at least one byte"),
            Self::Finished => f.write_str("this end of the stream has finished"),
            Self::Closed(reason) => write!(f, "the stream has ended: {reason}"),
        }
    }
}

/// Why a port cannot be listened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenError {
    /// The port is listened on already.
    InUse(Port),
    /// Port 0 belongs to nobody, and some ports to the node itself.
    Reserved(Port),
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(port) => write!(f, "MDP port {port} is listened on already"),
            Self::Reserved(port) => write!(f, "MDP port {port} is reserved, choose one from 19 on"),
        }
    }
}

/// Why a stream cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// There are as many streams as [`Config::max_streams`](super::Config::max_streams) allows.
    TooManyStreams,
    /// This address belongs to nobody.
    InvalidAddress(Addr),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyStreams => f.write_str("there are as many streams as the configuration allows"),
            Self::InvalidAddress(addr) => write!(f, "{addr} is no address that a stream can be opened to"),
        }
    }
}

/// Why a datagram was ignored. The peer learns nothing from it, except a refusal where the protocol wants
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatagramError {
    /// It was not encrypted, so anyone could have sent it.
    NotEncrypted,
    /// It is no MSP packet.
    Malformed,
    /// It belongs to no stream.
    UnknownStream,
    /// It would open a stream, and there are too many, or nothing listens.
    Refused,
    /// It would open a stream, and too many were opened just now. Nothing answers it, so that the peer tries
    /// again.
    TooSoon,
    /// It is an exact copy of a packet with FIRST that came before. Nothing answers it.
    Replayed,
}

impl fmt::Display for DatagramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotEncrypted => "stream packet was not encrypted",
            Self::Malformed => "not a stream packet",
            Self::UnknownStream => "packet belongs to no stream",
            Self::Refused => "stream refused",
            Self::TooSoon => "too many streams were opened just now",
            Self::Replayed => "copy of a packet that opened a stream before",
        })
    }
}

impl core::error::Error for SendError {}
impl core::error::Error for ListenError {}
impl core::error::Error for ConnectError {}
impl core::error::Error for DatagramError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn people_are_told_which_limit_it_is() {
        let named = [
            (Limit::Streams, "too many streams"),
            (Limit::StreamsPerPeer, "too many streams of one peer"),
            (Limit::HalfOpen, "too many streams that nothing has gone over yet"),
            (Limit::NewStreams, "too many new streams at once"),
            (Limit::NewStreamsPerPeer, "too many new streams of one peer at once"),
        ];
        for (limit, name) in named {
            assert_eq!(limit.to_string(), name);
        }
    }
}

//! What a stream looks like at one moment, for people.

use super::connection::{Connection, Role};
use super::endpoint::Endpoint;
use super::paths::Path;
use super::stats::Stats;
use super::stream::StreamId;
use crate::{Addr, Instant, Port};
use core::fmt;

/// How far a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamState {
    /// Nothing was heard of the peer yet.
    Connecting,
    /// Both ends may send.
    Open,
    /// This end has finished, the peer may send.
    Finished,
    /// The peer has finished, this end may send.
    PeerFinished,
    /// Both have finished, or it was aborted: what is on its way or was not read yet is left.
    Closing,
}

impl fmt::Display for StreamState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Connecting => "connecting",
            Self::Open => "open",
            Self::Finished => "finished",
            Self::PeerFinished => "peer-finished",
            Self::Closing => "closing",
        })
    }
}

/// A stream at one moment. Bytes are those of messages, without what carries them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamStatus {
    /// Which.
    pub stream: StreamId,
    /// Its port here.
    pub port: Port,
    /// The other end.
    pub peer: Addr,
    /// It was opened here, not by the peer.
    pub is_initiator: bool,
    /// How far it is.
    pub state: StreamState,
    /// Both ends are of our kind, and use the extensions.
    pub is_extended: bool,
    /// Bytes that the peer has acknowledged.
    pub sent: u64,
    /// Bytes that were consumed here.
    pub received: u64,
    /// The same in about the last second.
    pub send_rate: u64,
    /// The same in about the last second.
    pub receive_rate: u64,
    /// Bytes that wait to be sent or to be acknowledged.
    pub unacknowledged: usize,
    /// Bytes that have arrived in order and wait to be consumed.
    pub unread: usize,
    /// The share of lost packets among the latest hundred or so that all streams have sent to this peer, in parts of a
    /// million. `None` where that is not known: a peer of another kind does not tell what has arrived.
    pub loss: Option<u32>,
    /// Bytes a second, with what carries them, that the way to the peer has lately taken of all streams. `None` as
    /// for `loss`.
    pub capacity: Option<u64>,
    /// Round trip, window, and packets counted.
    pub stats: Stats,
}

impl Endpoint {
    /// Its streams as they are by `now`, the oldest first, without those of which the end was reported.
    pub fn statuses(&self, now: Instant) -> impl Iterator<Item = StreamStatus> {
        let now = now.max(self.now());
        self.slots.iter().filter(|(_, slot)| !slot.reported).map(move |(id, slot)| {
            let path = self.schedule.paths.get(&slot.connection.peer.sid);
            let mut status = slot.connection.status(now, *id, path);
            status.unread = status.unread.saturating_sub(slot.read);
            status
        })
    }
}

impl Connection {
    fn status(&self, now: Instant, stream: StreamId, path: Option<&Path>) -> StreamStatus {
        let reporting = path.filter(|_| self.send.has_reports());
        StreamStatus {
            stream,
            port: self.local,
            peer: self.peer,
            is_initiator: self.role == Role::Initiator,
            state: self.state(),
            is_extended: self.form.is_tagged(),
            sent: self.outbound.total(),
            received: self.inbound.total(),
            send_rate: self.outbound.rate(now),
            receive_rate: self.inbound.rate(now),
            unacknowledged: self.send.payload_bytes(),
            unread: self.receive.peek().map(bytes::Bytes::len).sum(),
            loss: reporting.and_then(Path::loss),
            capacity: reporting.map(|path| path.rate.rate()).filter(|rate| *rate > 0),
            stats: self.stats(path),
        }
    }

    fn state(&self) -> StreamState {
        match (self.send.is_finished(), self.receive.is_complete()) {
            _ if self.closed().is_some() => StreamState::Closing,
            _ if !self.has_heard_peer() => StreamState::Connecting,
            (false, false) => StreamState::Open,
            (true, false) => StreamState::Finished,
            (false, true) => StreamState::PeerFinished,
            (true, true) => StreamState::Closing,
        }
    }
}

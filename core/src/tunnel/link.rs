//! One link: bytes of a local connection to and from the messages of its stream.

use crate::msp::Stream;
use crate::{Addr, Instant};
use alloc::vec::Vec;
use bytes::Bytes;

/// Messages that are read ahead of what can be sent: enough to fill a turn of the driver, and no more, since a keystroke
/// on the same connection waits behind them.
const MAX_UNSENT: usize = 16;

/// What has become of the local connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Local {
    /// It is being opened.
    Dialling,
    Open,
    /// The driver has been or will be told to close it.
    Closing,
}

/// From the local side to the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outbound {
    Open,
    /// The local side has ended, its last bytes are staged.
    Ending,
    /// The stream was finished.
    Ended,
}

/// From the peer to the local side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inbound {
    Open,
    /// The peer has finished, everything was written.
    Ended,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: Addr,
    pub(super) local: Local,
    outbound: Outbound,
    inbound: Inbound,
    /// The last bytes that came, at most a message, while others before them wait to be sent. So many small
    /// pieces go as one message, and none waits longer than it would have to.
    staged: Vec<u8>,
    /// Bytes of the first readable message that were written to the local side.
    written: usize,
    /// Bytes written to the local side.
    pub(super) received: u64,
    /// Bytes that the stream has taken.
    pub(super) sent: u64,
}

impl Link {
    pub(super) const fn new(peer: Addr, local: Local) -> Self {
        Self {
            peer,
            local,
            outbound: Outbound::Open,
            inbound: Inbound::Open,
            staged: Vec::new(),
            written: 0,
            received: 0,
            sent: 0,
        }
    }

    /// The local side has nothing left to do: all its bytes came, and it has got all of the peer.
    pub(super) fn is_done_locally(&self) -> bool {
        self.outbound != Outbound::Open && self.inbound == Inbound::Ended
    }

    /// [`Link::flush`] may have something to do.
    pub(super) fn is_waiting(&self) -> bool {
        !self.staged.is_empty()
    }

    /// Bytes that may be read from the local side, when at most `share` messages may be unacknowledged.
    pub(super) fn read_budget(&self, stream: &Stream<'_>, share: usize) -> usize {
        match self.outbound {
            Outbound::Open => room(stream, share) * stream.max_message(),
            Outbound::Ending | Outbound::Ended => 0,
        }
    }

    /// Gives bytes of the local side, no more than the read budget, to the stream. The last of them, if they
    /// make no full message, are left to [`Link::flush`].
    pub(super) fn push(&mut self, now: Instant, stream: &mut Stream<'_>, share: usize, mut data: &[u8]) {
        let longest = stream.max_message();
        if !self.staged.is_empty() {
            let (piece, rest) = data.split_at(data.len().min(longest.saturating_sub(self.staged.len())));
            self.staged.extend_from_slice(piece);
            self.flush(now, stream, share);
            data = rest;
        }
        let mut messages = data.chunks_exact(longest);
        for message in &mut messages {
            self.send(now, stream, Bytes::copy_from_slice(message));
        }
        self.staged.extend_from_slice(messages.remainder());
    }

    /// Sends what is staged as soon as waiting longer cannot make it more, and then the end of the local
    /// side.
    pub(super) fn flush(&mut self, now: Instant, stream: &mut Stream<'_>, share: usize) {
        let ripe = self.staged.len() >= stream.max_message() || stream.unsent() == 0;
        if !self.staged.is_empty() && ripe && room(stream, share) > 0 {
            self.send(now, stream, Bytes::copy_from_slice(&self.staged));
            self.staged.clear();
        }
        if self.outbound == Outbound::Ending && self.staged.is_empty() {
            self.outbound = Outbound::Ended;
            stream.finish(now);
        }
    }

    /// The local side sends no more.
    pub(super) fn end_outbound(&mut self, now: Instant, stream: &mut Stream<'_>, share: usize) {
        self.outbound = Outbound::Ending;
        self.flush(now, stream, share);
    }

    /// Bytes for the local side.
    pub(super) fn output<'a>(&self, stream: Stream<'a>) -> impl Iterator<Item = &'a [u8]> {
        let mut skip = self.written;
        stream.into_messages().map(move |message| {
            let start = core::mem::take(&mut skip).min(message.len());
            &message[start..]
        })
    }

    /// `count` bytes of the output were written. Only whole messages are acknowledged.
    pub(super) fn consume(&mut self, now: Instant, stream: &mut Stream<'_>, mut count: usize) {
        while count > 0 {
            let Some(length) = stream.peek().map(Bytes::len) else { return };
            let step = count.min(length.saturating_sub(self.written));
            self.written += step;
            self.received += step as u64;
            count -= step;
            if self.written == length {
                self.written = 0;
                stream.recv(now);
            }
        }
    }

    /// Whether the local side is to be told, now and once, that the peer sends no more.
    pub(super) fn end_inbound(&mut self, stream: &Stream<'_>) -> bool {
        let ends = self.inbound == Inbound::Open && stream.recv_finished();
        if ends {
            self.inbound = Inbound::Ended;
        }
        ends
    }

    /// There is room. What a stream that has failed refuses is lost, as it reports itself.
    fn send(&mut self, now: Instant, stream: &mut Stream<'_>, message: Bytes) {
        let length = message.len() as u64;
        if stream.send_bytes(now, message).is_ok() {
            self.sent += length;
        }
    }
}

/// Messages that are to be given to the stream now. None if it has failed.
fn room(stream: &Stream<'_>, share: usize) -> usize {
    let unacknowledged = share.saturating_sub(stream.unacknowledged());
    stream.capacity().min(unacknowledged).min(MAX_UNSENT.saturating_sub(stream.unsent()))
}

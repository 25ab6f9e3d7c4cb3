//! The handle of one stream.

use super::MAX_MESSAGE;
use super::event::{CloseReason, SendError};
use super::schedule::{Schedule, Slot};
use super::stats::Stats;
use crate::{Addr, Instant};
use bytes::{Buf, Bytes};
use core::fmt;

/// Names a stream of one [`Endpoint`](super::Endpoint). Never used again after the stream has ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub(crate) u64);

impl StreamId {
    /// Its number. A stream that begins later has a larger one.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream {}", self.0)
    }
}

/// A stream, borrowed from its [`Endpoint`](super::Endpoint).
///
/// Messages keep their boundaries. Consuming a message acknowledges it, so a receiver that stops calling
/// [`Stream::recv`] stops the sender: that is the flow control of MSP.
#[derive(Debug)]
pub struct Stream<'a> {
    pub(super) id: StreamId,
    pub(super) slot: &'a mut Slot,
    pub(super) schedule: &'a mut Schedule,
}

impl<'a> Stream<'a> {
    /// Its name.
    #[must_use]
    pub const fn id(&self) -> StreamId {
        self.id
    }

    /// The other end.
    #[must_use]
    pub fn peer(&self) -> Addr {
        self.slot.connection.peer
    }

    /// The longest message that the way to the peer carries, as far as is known now: [`MAX_MESSAGE`], or more between
    /// two nodes of ours in one hop. Bytes are cut into such.
    pub(crate) fn max_message(&self) -> usize {
        let connection = &self.slot.connection;
        let path = self.schedule.paths.get(&connection.peer.sid);
        path.map_or(MAX_MESSAGE, |path| path.carriage.max_message()).min(connection.max_message())
    }

    /// Queues one message of 1 to [`MAX_MESSAGE`] bytes, whole or not at all.
    ///
    /// # Errors
    ///
    /// See [`SendError`]; the message was not queued then.
    pub fn send(&mut self, now: Instant, message: Bytes) -> Result<(), SendError> {
        self.send_up_to(now, message, MAX_MESSAGE)
    }

    /// The same for some of many bytes: of up to [`Stream::max_message`], as it is now or was before.
    pub(crate) fn send_bytes(&mut self, now: Instant, bytes: Bytes) -> Result<(), SendError> {
        self.send_up_to(now, bytes, self.slot.connection.max_message())
    }

    fn send_up_to(&mut self, now: Instant, message: Bytes, max: usize) -> Result<(), SendError> {
        let capacity = self.schedule.capacity(&self.slot.connection);
        let connection = &mut self.slot.connection;
        if let Some(reason) = connection.closed() {
            return Err(SendError::Closed(reason));
        } else if connection.send.is_finished() {
            return Err(SendError::Finished);
        } else if message.is_empty() {
            return Err(SendError::Empty);
        } else if message.len() > max {
            return Err(SendError::TooLarge { max });
        } else if capacity == 0 {
            self.schedule.refuse_send(self.id, self.slot);
            return Err(SendError::WouldBlock);
        }
        connection.send.push(message);
        self.settle(now);
        Ok(())
    }

    /// Messages that [`Stream::send`] takes now. When it is 0, [`Event::Writable`](super::Event::Writable)
    /// follows only a refused `send`.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.schedule.capacity(&self.slot.connection)
    }

    /// Messages queued here that the peer has not acknowledged, the end of the stream counted as one.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.slot.connection.send.len()
    }

    /// Messages queued here that have not been sent yet, the end of the stream counted as one.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.slot.connection.send.unsent()
    }

    /// The message that [`Stream::recv`] will return next.
    #[must_use]
    pub fn peek(&self) -> Option<&Bytes> {
        self.slot.connection.receive.peek().next()
    }

    /// All messages that [`Stream::recv`] will return as things are, without consuming them: to write several in
    /// one go.
    pub fn into_messages(self) -> impl Iterator<Item = &'a Bytes> {
        self.slot.connection.receive.peek()
    }

    /// Consumes the next message, and so acknowledges it; what is left of it after a [`Stream::read`].
    pub fn recv(&mut self, now: Instant) -> Option<Bytes> {
        let now = self.schedule.advance(now);
        let mut message = self.slot.connection.pop(now);
        if let Some(message) = &mut message {
            message.advance(core::mem::take(&mut self.slot.read));
        }
        self.settle(now);
        message
    }

    /// Whether the peer has finished and every message of it was consumed.
    #[must_use]
    pub fn recv_finished(&self) -> bool {
        self.slot.connection.receive.is_finished()
    }

    /// Ends this direction once everything queued has been sent; the other stays open. Doing it twice, or
    /// after the end, does nothing.
    pub fn finish(&mut self, now: Instant) {
        self.slot.connection.finish();
        self.settle(now);
    }

    /// Aborts the stream: both ends lose what is not delivered yet.
    pub fn reset(&mut self, now: Instant) {
        let now = self.schedule.advance(now);
        self.slot.connection.abort(now, CloseReason::Reset);
        self.slot.abandoned = true;
        self.settle(now);
    }

    /// Figures about it.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let connection = &self.slot.connection;
        connection.stats(self.schedule.paths.get(&connection.peer.sid))
    }

    fn settle(&mut self, now: Instant) {
        self.schedule.advance(now);
        self.schedule.settle(self.id, self.slot);
    }
}

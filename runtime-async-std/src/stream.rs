//! A stream.

use crate::error::{SendError, StreamError};
use crate::half::{Handle, ReadHalf, WriteHalf};
use crate::shared::Shared;
use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite, IoSlice};
use msp_core::Addr;
use msp_core::msp::{Stats, StreamId};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A reliable two-way stream, of bytes or of messages.
///
/// As bytes it is [`AsyncRead`] and [`AsyncWrite`]. As messages, which keep their boundaries, it has
/// [`send`](MspStream::send) and [`recv`](MspStream::recv). Both can be used on one stream: every message is bytes,
/// and every write is one message or more.
///
/// # How it ends
///
/// - [`MspStream::close`] ends this direction after everything written, without waiting for the peer, which reads an
///   end of file. The other direction goes on. A close that waited would stand still where both ends close before
///   they read.
/// - [`MspStream::delivered`] waits until the peer has got everything, the end included.
/// - A stream that was closed can be dropped: what was written is still delivered, and then the peer is told if there
///   is nobody to read what it sends.
/// - **Dropping a stream that was not closed aborts it.** What is not delivered yet is lost at both ends, and both
///   are told: the peer by an error, this end by a line in the log. That is so that a task that fails or is cancelled
///   does not look to the peer like the regular end of what it had to say.
///
/// # Cancelling
///
/// Every method and every poll is cancel-safe: a future that is dropped before it is ready has neither sent nor
/// received anything.
///
/// # Back-pressure
///
/// A write waits while there are as many unacknowledged messages as
/// [`send_window`](msp_core::msp::Config::send_window) allows. A message is acknowledged when the peer's program has
/// read it, so a slow reader stops the writer, and memory is bounded at both ends. Flushing does nothing: everything
/// written is sent as soon as the network takes it. Each write is a message of its own, so wrap it in a `BufWriter` to
/// write many small pieces.
#[derive(Debug)]
pub struct MspStream {
    read: ReadHalf,
    write: WriteHalf,
}

impl MspStream {
    pub(crate) fn new(shared: Arc<Shared>, id: StreamId, peer: Addr) -> Self {
        let handle = Arc::new(Handle::new(shared, id, peer));
        Self { read: ReadHalf(Arc::clone(&handle)), write: WriteHalf(handle) }
    }

    /// The other end.
    #[must_use]
    pub fn peer(&self) -> Addr {
        self.read.0.peer()
    }

    /// Figures about it, until it has ended.
    #[must_use]
    pub fn stats(&self) -> Option<Stats> {
        self.read.0.stats()
    }

    /// Waits until the peer has answered for the first time.
    ///
    /// # Errors
    ///
    /// If it refuses, or cannot be reached.
    pub async fn connected(&self) -> Result<(), StreamError> {
        self.write.0.connected().await
    }

    /// Sends one message of 1 to [`MAX_MESSAGE`](msp_core::msp::MAX_MESSAGE) bytes: waits until there is room for
    /// it.
    ///
    /// # Errors
    ///
    /// If it is too long or empty, this end was closed, or the stream has ended. It was not sent then.
    pub async fn send(&mut self, message: impl Into<Bytes>) -> Result<(), SendError> {
        self.write.send(message).await
    }

    /// The next message; `None` when the peer has closed its end and all was received. Of a message that was read in
    /// part, the rest.
    ///
    /// # Errors
    ///
    /// If the stream has failed. Everything that had arrived was received before.
    pub async fn recv(&mut self) -> Result<Option<Bytes>, StreamError> {
        self.read.recv().await
    }

    /// Ends this direction after everything written, as `close` of `AsyncWriteExt` does, which async-std lacks. The
    /// other direction goes on. Does not wait.
    ///
    /// # Errors
    ///
    /// If the stream has ended.
    pub async fn close(&mut self) -> Result<(), StreamError> {
        self.write.close().await
    }

    /// Waits until the peer's program has got everything that was written, and after closing, the end as well.
    ///
    /// # Errors
    ///
    /// If the stream fails before, so that the peer may lack some of it.
    pub async fn delivered(&mut self) -> Result<(), StreamError> {
        self.write.delivered().await
    }

    /// Both directions, each for a task of its own. The stream lives until both are dropped.
    #[must_use]
    pub fn split(self) -> (ReadHalf, WriteHalf) {
        (self.read, self.write)
    }
}

impl AsyncRead for MspStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.read).poll_read(cx, buffer)
    }
}

impl AsyncWrite for MspStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write_vectored(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_close(cx)
    }
}

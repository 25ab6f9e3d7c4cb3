//! The two directions of a stream.

use crate::error::{SendError, StreamError};
use crate::shared::Shared;
use bytes::Bytes;
use futures_io::{AsyncRead, AsyncWrite};
use msp_core::Addr;
use msp_core::msp::{Stats, StreamId};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

/// What the halves have in common. The stream is released with it.
#[derive(Debug)]
pub(crate) struct Handle {
    shared: Arc<Shared>,
    id: StreamId,
    peer: Addr,
    /// This end was closed.
    closed: AtomicBool,
}

/// What comes from the peer of an [`MspStream`](crate::MspStream), see there.
#[derive(Debug)]
pub struct ReadHalf(pub(crate) Arc<Handle>);

/// What goes to the peer of an [`MspStream`](crate::MspStream), see there.
#[derive(Debug)]
pub struct WriteHalf(pub(crate) Arc<Handle>);

impl ReadHalf {
    /// See [`MspStream::recv`](crate::MspStream::recv).
    ///
    /// # Errors
    ///
    /// See there.
    pub async fn recv(&mut self) -> Result<Option<Bytes>, StreamError> {
        let Handle { shared, id, .. } = &*self.0;
        poll_fn(|cx| shared.with(|state, now| state.poll_recv(cx, *id, |stream| stream.recv(now)))).await
    }
}

impl WriteHalf {
    /// See [`MspStream::send`](crate::MspStream::send).
    ///
    /// # Errors
    ///
    /// See there.
    pub async fn send(&mut self, message: impl Into<Bytes>) -> Result<(), SendError> {
        let (Handle { shared, id, .. }, message) = (&*self.0, message.into());
        poll_fn(|cx| {
            shared.with(|state, now| state.poll_send(cx, *id, |stream| stream.send(now, message.clone())))
        })
        .await
    }

    /// See [`MspStream::close`](crate::MspStream::close).
    ///
    /// # Errors
    ///
    /// See there.
    pub async fn close(&mut self) -> Result<(), StreamError> {
        self.0.finish()
    }

    /// See [`MspStream::delivered`](crate::MspStream::delivered).
    ///
    /// # Errors
    ///
    /// See there.
    pub async fn delivered(&mut self) -> Result<(), StreamError> {
        let Handle { shared, id, .. } = &*self.0;
        poll_fn(|cx| shared.with(|state, _| state.poll_delivered(cx, *id))).await
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if buffer.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let Handle { shared, id, .. } = &*self.0;
        let read = shared.with(|state, now| {
            let some = |count| if count > 0 { Some(count) } else { None };
            state.poll_recv(cx, *id, |stream| some(stream.read(now, buffer)))
        });
        read.map_ok(|count| count.unwrap_or(0)).map_err(io::Error::from)
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let Handle { shared, id, .. } = &*self.0;
        let written = shared.with(|state, now| state.poll_send(cx, *id, |stream| stream.write(now, data)));
        written.map_err(io::Error::from)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.finish().map_err(io::Error::from))
    }
}

impl Handle {
    pub(crate) const fn new(shared: Arc<Shared>, id: StreamId, peer: Addr) -> Self {
        Self { shared, id, peer, closed: AtomicBool::new(false) }
    }

    pub(crate) const fn peer(&self) -> Addr {
        self.peer
    }

    pub(crate) fn stats(&self) -> Option<Stats> {
        self.shared.with(|state, _| state.host.endpoint().stream(self.id).map(|stream| stream.stats()))
    }

    fn finish(&self) -> Result<(), StreamError> {
        self.closed.store(true, Ordering::Relaxed);
        self.shared.with(|state, now| state.finish(now, self.id))
    }

    pub(crate) async fn connected(&self) -> Result<(), StreamError> {
        poll_fn(|cx| self.shared.with(|state, _| state.poll_connected(cx, self.id))).await
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let closed = self.closed.load(Ordering::Relaxed);
        self.shared.with(|state, now| state.release(now, self.id, closed));
    }
}

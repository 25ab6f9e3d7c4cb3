//! Where streams come from that peers open.

use crate::shared::Shared;
use crate::stream::MspStream;
use futures_core::Stream;
use msp_core::Port;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The streams that peers open to one port, in the order in which they come. It ends with its node.
///
/// Few of them wait to be accepted; those beyond are refused, and so are those that wait when it is dropped.
#[derive(Debug)]
#[must_use = "dropping it refuses all streams"]
pub struct MspListener {
    shared: Arc<Shared>,
    port: Port,
}

impl MspListener {
    pub(crate) fn new(shared: Arc<Shared>, port: Port) -> Self {
        Self { shared, port }
    }

    /// The port that it listens on.
    #[must_use]
    pub const fn port(&self) -> Port {
        self.port
    }

    /// How many streams may wait to be accepted; 64 if it is not set. More than
    /// [`max_half_open`](msp_core::msp::Config::max_half_open) never wait.
    pub fn set_backlog(&mut self, streams: usize) {
        self.shared.with(|state, _| state.set_backlog(self.port, streams));
    }

    /// The next stream; `None` when the node has ended. Cancel-safe: no stream is lost if it is dropped.
    pub async fn accept(&mut self) -> Option<MspStream> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    fn poll_accept(&self, cx: &Context<'_>) -> Poll<Option<MspStream>> {
        let accepted = self.shared.with(|state, _| state.poll_accept(cx, self.port));
        accepted.map(|stream| stream.map(|(id, peer)| MspStream::new(Arc::clone(&self.shared), id, peer)))
    }
}

impl Stream for MspListener {
    type Item = MspStream;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<MspStream>> {
        self.poll_accept(cx)
    }
}

impl Drop for MspListener {
    fn drop(&mut self) {
        self.shared.with(|state, now| state.stop_listening(now, self.port));
    }
}

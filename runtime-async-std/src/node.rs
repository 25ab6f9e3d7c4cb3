//! A node, and how it is driven.

use crate::driver::Driver;
use crate::error::{ConnectError, ListenError};
use crate::listener::MspListener;
use crate::shared::{Phase, Shared};
use crate::stream::MspStream;
use msp_core::mdp::{Instance, Uplink};
use msp_core::{Addr, Host, Identity, Port, Sid, msp};
use msp_sockets::{BindError, Config, RunDirectory, Socket};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// Streams that wait to be accepted, if a listener is not [told otherwise](MspListener::set_backlog).
const BACKLOG: usize = 64;

/// A node on a UDP socket, or a client of a daemon that runs already, with its streams.
///
/// Its [`Driver`] does the work. Dropping the node ends it at once: its streams fail here with
/// [`NodeEnded`](crate::StreamError::NodeEnded), and peers learn of it only when they have heard nothing for long
/// enough. [`Node::close`] tells them.
#[derive(Debug)]
pub struct Node {
    shared: Arc<Shared>,
    local_addr: Option<SocketAddr>,
}

impl Node {
    /// A node with this identity on the UDP socket of `config`, and what has to be spawned for it to do anything.
    ///
    /// # Errors
    ///
    /// If the UDP address cannot be bound, or a peer is of the other IP version.
    pub fn bind(identity: Identity, config: &Config) -> Result<(Self, Driver), BindError> {
        let (host, socket) = msp_sockets::bind(identity, config)?;
        Self::new(host, socket).map_err(|source| BindError { address: config.udp, source })
    }

    /// A client of the daemon of `instance`, which has a node and an identity of its own, and what has to be spawned
    /// for it to do anything. `port` is the MDP port to listen on, if there is one: it names the socket, so that what
    /// an earlier client has left behind at the daemon is taken over. The daemon need not run yet.
    ///
    /// # Errors
    ///
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) if another program listens on this port through this daemon; otherwise
    /// what the system lacks.
    pub fn attach(
        instance: &Instance,
        port: Option<Port>,
        streams: msp::Config,
    ) -> io::Result<(Self, Driver)> {
        let (host, socket) = msp_sockets::attach(instance, port, streams)?;
        Self::new(host, socket)
    }

    /// The same for the node that runs in this directory and serves other programs, as `msp node` does.
    ///
    /// # Errors
    ///
    /// As for [`Node::attach`]; or if the path of the directory is not absolute, or too long.
    pub fn attach_to_node(
        directory: &RunDirectory,
        port: Option<Port>,
        streams: msp::Config,
    ) -> io::Result<(Self, Driver)> {
        let (host, socket) = msp_sockets::attach_to_node(directory, port, streams)?;
        Self::new(host, socket)
    }

    fn new(host: Host, socket: Socket) -> io::Result<(Self, Driver)> {
        let local_addr = socket.local_addr();
        let shared = Arc::new(Shared::new(host, socket.clock()));
        let driver = Driver::new(Arc::clone(&shared), socket)?;
        Ok((Self { shared, local_addr }, driver))
    }

    /// [`Node::bind`], driven by async-std.
    ///
    /// # Errors
    ///
    /// As for [`Node::bind`].
    #[cfg(feature = "async-std")]
    pub fn spawn(identity: Identity, config: &Config) -> Result<Self, BindError> {
        let (node, driver) = Self::bind(identity, config)?;
        async_std::task::spawn(driver);
        Ok(node)
    }

    /// [`Node::attach`], driven by async-std.
    ///
    /// # Errors
    ///
    /// As for [`Node::attach`].
    #[cfg(feature = "async-std")]
    pub fn spawn_attached(instance: &Instance, port: Option<Port>, streams: msp::Config) -> io::Result<Self> {
        let (node, driver) = Self::attach(instance, port, streams)?;
        async_std::task::spawn(driver);
        Ok(node)
    }

    /// Its address on the mesh; that of a daemon is known later.
    #[must_use]
    pub fn sid(&self) -> Option<Sid> {
        self.shared.with(|state, _| state.host.sid())
    }

    /// The UDP address that is bound, with the port that the system chose if it was asked to. `None` for a client
    /// of a daemon.
    #[must_use]
    pub const fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// Does something with what is below the streams, such as adding a peer to a node. Its datagrams are taken by
    /// the streams.
    pub fn with_uplink<T>(&self, act: impl FnOnce(&mut Uplink) -> T) -> T {
        self.shared.with(|state, _| {
            let result = act(state.host.uplink());
            state.wake_driver();
            result
        })
    }

    /// Accepts streams to `port` from now on.
    ///
    /// # Errors
    ///
    /// If the port is listened on already or reserved, or the node has ended.
    pub fn listen(&self, port: Port) -> Result<MspListener, ListenError> {
        self.shared.with(|state, _| state.listen(port, BACKLOG))?;
        Ok(MspListener::new(Arc::clone(&self.shared), port))
    }

    /// Opens a stream, and waits until the peer has answered. If that is not waited for to the end, the stream is
    /// aborted.
    ///
    /// # Errors
    ///
    /// If there are too many streams, or the peer refuses or cannot be reached.
    pub async fn connect(&self, remote: Addr) -> Result<MspStream, ConnectError> {
        let stream = self.open(remote)?;
        match stream.connected().await {
            Ok(()) => Ok(stream),
            Err(source) => Err(ConnectError::Failed { remote, source }),
        }
    }

    /// Opens a stream to which can be written at once: the first messages need not wait until the peer has answered
    /// once. [`MspStream::connected`] tells when it has.
    ///
    /// # Errors
    ///
    /// If there are too many streams, or the node has ended.
    pub fn open(&self, remote: Addr) -> Result<MspStream, ConnectError> {
        let id = self.shared.with(|state, now| state.open(now, remote))?;
        Ok(MspStream::new(Arc::clone(&self.shared), id, remote))
    }

    /// Ends the node: listeners end, streams are aborted, but for those that were closed and wait for the last
    /// acknowledgments, and the peers are told. Takes a few seconds if they do not answer. If that is not waited for
    /// to the end, the node ends at once.
    pub async fn close(self) {
        self.shared.with(|state, now| state.close(now));
        poll_fn(|cx| self.shared.with(|state, _| state.poll_ended(cx))).await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shared.with(|state, _| {
            if state.phase != Phase::Ended {
                state.end();
            }
        });
    }
}

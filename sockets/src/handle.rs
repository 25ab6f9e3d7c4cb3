//! What runtimes wait for.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::sync::Arc;

/// A socket to wait for. It stays open as long as there is such a handle of it.
#[derive(Debug)]
pub enum Handle {
    /// To other nodes.
    Udp(Arc<UdpSocket>),
    /// To a daemon.
    Daemon(Arc<UnixDatagram>),
    /// A TCP connection.
    Tcp(Arc<TcpStream>),
    /// A TCP listener.
    Listener(Arc<TcpListener>),
    /// Threads wake by it.
    Wakes(Arc<UnixStream>),
    /// Those who ask connect to it.
    Questions(Arc<UnixListener>),
    /// One that asks.
    Asker(Arc<UnixStream>),
}

impl Handle {
    /// Whether it is waited for until it can be written, too. The system does not tell when a daemon's
    /// socket has room.
    #[must_use]
    pub const fn waits_for_room(&self) -> bool {
        matches!(self, Self::Udp(_) | Self::Tcp(_) | Self::Asker(_))
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp(socket) => socket.as_fd(),
            Self::Daemon(socket) => socket.as_fd(),
            Self::Tcp(socket) => socket.as_fd(),
            Self::Listener(socket) => socket.as_fd(),
            Self::Wakes(socket) | Self::Asker(socket) => socket.as_fd(),
            Self::Questions(socket) => socket.as_fd(),
        }
    }
}

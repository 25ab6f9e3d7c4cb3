//! The socket of a client of a daemon.

use msp_core::Port;
use msp_core::mdp::{Instance, Transmit};
use std::io::{self, ErrorKind};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;

/// System calls to send, and as many to receive, before the other work of a turn gets its share.
const CALLS_PER_TURN: usize = 64;
/// Longer than any datagram of a daemon.
const BUFFER: usize = 2048;

/// A unix socket with a name of its own, which talks to the daemon of one instance.
///
/// It is not connected, because that would tie it to the daemon that runs now and not to the next. What comes
/// from others than the daemon is dropped.
#[derive(Debug)]
pub(crate) struct DaemonSocket {
    socket: Arc<UnixDatagram>,
    daemon: SocketAddr,
    readable: bool,
    buffer: Vec<u8>,
    packet: Vec<u8>,
}

/// Whether a daemon of `instance` runs now.
#[must_use]
pub fn is_daemon_running(instance: &Instance) -> bool {
    let connect = |daemon| UnixDatagram::unbound()?.connect_addr(&daemon);
    address(&instance.daemon_file()).and_then(connect).is_ok()
}

/// What has become of packets to the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// There was none.
    Nothing,
    /// They were sent, and there may be more.
    Something,
    /// Nobody was there to take them.
    Unreachable,
}

impl DaemonSocket {
    /// A socket with the name of one that serves `port`, or of one that serves none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AddrInUse`] if another program serves that port through this daemon; otherwise if the system
    /// cannot make the socket.
    pub(crate) fn bind(instance: &Instance, port: Option<Port>) -> io::Result<Self> {
        let daemon = address(&instance.daemon_file())?;
        let names = port.map_or_else(|| instance.client_files(), |port| vec![instance.client_file(port)]);
        let mut socket = Err(ErrorKind::AddrInUse.into());
        for name in names {
            socket = address(&name).and_then(|name| UnixDatagram::bind_addr(&name));
            if !matches!(&socket, Err(error) if error.kind() == ErrorKind::AddrInUse) {
                break;
            }
        }
        let socket: UnixDatagram = socket?;
        socket.set_nonblocking(true)?;
        let socket = Arc::new(socket);
        Ok(Self { socket, daemon, readable: true, buffer: vec![0; BUFFER], packet: Vec::new() })
    }

    /// What to wait for.
    pub(crate) fn socket(&self) -> &Arc<UnixDatagram> {
        &self.socket
    }

    /// Remembers that the socket is ready; the work is done in the next turn.
    pub(crate) fn ready(&mut self, readable: bool) {
        self.readable |= readable;
    }

    /// Sends packets until `poll` has none or the turn has had its share.
    pub(crate) fn transmit(&mut self, mut poll: impl FnMut(&mut Vec<u8>) -> Option<Transmit>) -> Sent {
        let mut sent = Sent::Nothing;
        for _ in 0..CALLS_PER_TURN {
            if poll(&mut self.packet).is_none() {
                break;
            }
            sent = Sent::Something;
            match self.socket.send_to_addr(&self.packet, &self.daemon) {
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => {
                    return Sent::Unreachable;
                }
                // A full queue above all: to a datagram that is loss, and what sent it knows how to repair it.
                Err(error) => log::debug!("to the daemon: {error}"),
            }
        }
        sent
    }

    /// Receives datagrams of the daemon until there is none or the turn has had its share. True if there were any.
    pub(crate) fn receive(&mut self, mut handle: impl FnMut(&[u8])) -> bool {
        let mut progress = false;
        for _ in 0..CALLS_PER_TURN {
            if !self.readable {
                break;
            }
            match self.socket.recv_from(&mut self.buffer) {
                Ok((length, from)) => {
                    progress = true;
                    if is_same(&from, &self.daemon) {
                        handle(&self.buffer[..length]);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                // The error of an earlier packet; taking it has cleared it.
                Err(error) => log::debug!("from the daemon: {error}"),
            }
        }
        progress
    }
}

/// The address of the socket that stands for a file: in the abstract namespace on Linux, as daemons have it there.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn address(file: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;
    SocketAddr::from_abstract_name(Instance::abstract_name(file))
}

/// The address of the socket that is a file.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn address(file: &[u8]) -> io::Result<SocketAddr> {
    use std::os::unix::ffi::OsStrExt as _;
    SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(file))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_same(a: &SocketAddr, b: &SocketAddr) -> bool {
    use std::os::linux::net::SocketAddrExt as _;
    a.as_abstract_name().is_some() && a.as_abstract_name() == b.as_abstract_name()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn is_same(a: &SocketAddr, b: &SocketAddr) -> bool {
    a.as_pathname().is_some() && a.as_pathname() == b.as_pathname()
}

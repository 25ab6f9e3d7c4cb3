//! TCP connections as links of a tunnel, and the listener they come from.

use crate::handle::Handle;
use crate::local::LocalError;
use crate::tunnel::Readiness;
use msp_core::Instant;
use msp_core::tunnel::{CloseKind, LinkId, Tunnel};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Reads, and as many writes, of one connection before the other work of a turn gets its share.
const CALLS_PER_TURN: usize = 4;
/// Messages written in one call.
const MAX_SLICES: usize = 32;
/// Connections accepted per turn.
pub(crate) const ACCEPTS_PER_TURN: usize = 16;
/// Out of file descriptors or memory: the listener rests this long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// The connection is being made; these addresses are tried if it fails.
    Connecting(VecDeque<SocketAddr>),
    Open,
    /// It broke; the tunnel has been told and will have it closed.
    Failed,
}

/// A TCP connection. The events are edge-triggered, so what they said is remembered until the kernel
/// says otherwise.
#[derive(Debug)]
pub(crate) struct TcpLink {
    id: LinkId,
    stream: Arc<TcpStream>,
    /// It is not waited for yet.
    is_new: bool,
    state: State,
    readable: bool,
    writable: bool,
    read_closed: bool,
    /// An event told of an error.
    troubled: bool,
}

impl TcpLink {
    /// Begins to connect to the first of `targets` that answers.
    pub(crate) fn connect(id: LinkId, targets: &[SocketAddr]) -> io::Result<Self> {
        let mut targets: VecDeque<SocketAddr> = targets.iter().copied().collect();
        let stream = dial(&mut targets)?;
        Ok(Self::new(id, stream, State::Connecting(targets)))
    }

    /// Takes a connection that was accepted.
    pub(crate) fn accepted(id: LinkId, stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        prepare(&stream);
        Ok(Self { readable: true, writable: true, ..Self::new(id, stream, State::Open) })
    }

    fn new(id: LinkId, stream: TcpStream, state: State) -> Self {
        let (readable, writable, read_closed, troubled) = (false, false, false, false);
        Self { id, stream: Arc::new(stream), is_new: true, state, readable, writable, read_closed, troubled }
    }

    pub(crate) fn id(&self) -> LinkId {
        self.id
    }

    /// The connection, if it is not waited for yet: it is a new one, or another address is tried.
    pub(crate) fn take_new(&mut self) -> Option<Handle> {
        std::mem::take(&mut self.is_new).then(|| Handle::Tcp(Arc::clone(&self.stream)))
    }

    /// Remembers that it is ready; the work is done in the next turn.
    pub(crate) fn ready(&mut self, readiness: Readiness) {
        self.readable |= readiness.readable;
        self.writable |= readiness.writable;
        self.troubled |= readiness.failed;
    }

    /// What it waits for.
    pub(crate) fn wanted(&self) -> (bool, bool) {
        (!self.readable && !self.read_closed, !self.writable)
    }

    /// Moves bytes both ways, as far as both sides allow and the turn's share goes. True if it did
    /// anything.
    ///
    /// # Errors
    ///
    /// Once, when the connection cannot be made or breaks.
    pub(crate) fn turn(
        &mut self,
        tunnel: &mut Tunnel,
        now: Instant,
        buffer: &mut [u8],
    ) -> Result<bool, LocalError> {
        let result = match self.state {
            State::Connecting(_) => self.check_connected(tunnel, now).map_err(LocalError::Unreachable),
            State::Open => self.carry(tunnel, now, buffer).map_err(LocalError::Broken),
            State::Failed => Ok(false),
        };
        result.inspect_err(|_| self.state = State::Failed)
    }

    fn check_connected(&mut self, tunnel: &mut Tunnel, now: Instant) -> io::Result<bool> {
        if !self.writable {
            return Ok(false);
        }
        let error = match self.stream.take_error()? {
            Some(error) => error,
            None => match self.stream.peer_addr() {
                Ok(_) => {
                    prepare(&self.stream);
                    self.state = State::Open;
                    self.readable = true;
                    tunnel.local_opened(now, self.id);
                    return Ok(true);
                }
                // The event was an early one: the connection is still being made.
                Err(error) if error.kind() == ErrorKind::NotConnected => {
                    self.writable = false;
                    return Ok(false);
                }
                Err(error) => error,
            },
        };
        let State::Connecting(targets) = &mut self.state else { return Err(error) };
        if targets.is_empty() {
            return Err(error);
        }
        self.stream = Arc::new(dial(targets)?);
        self.is_new = true;
        self.writable = false;
        Ok(true)
    }

    fn carry(&mut self, tunnel: &mut Tunnel, now: Instant, buffer: &mut [u8]) -> io::Result<bool> {
        let wrote = self.write(tunnel, now)?;
        let read = self.read(tunnel, now, buffer)?;
        // Without anything to write and leave to read, nothing else would notice a reset.
        if std::mem::take(&mut self.troubled)
            && let Some(error) = self.stream.take_error()?
        {
            return Err(error);
        }
        Ok(wrote || read)
    }

    fn write(&mut self, tunnel: &mut Tunnel, now: Instant) -> io::Result<bool> {
        let mut progress = false;
        for _ in 0..CALLS_PER_TURN {
            if !self.writable {
                break;
            }
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let mut count = 0;
            for (slice, bytes) in slices.iter_mut().zip(tunnel.output(self.id)) {
                *slice = IoSlice::new(bytes);
                count += 1;
            }
            if count == 0 {
                break;
            }
            match (&*self.stream).write_vectored(&slices[..count]) {
                Ok(written) => {
                    tunnel.consume(now, self.id, written);
                    progress = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(progress)
    }

    fn read(&mut self, tunnel: &mut Tunnel, now: Instant, buffer: &mut [u8]) -> io::Result<bool> {
        let mut progress = false;
        for _ in 0..CALLS_PER_TURN {
            let budget = tunnel.read_budget(self.id).min(buffer.len());
            if !self.readable || self.read_closed || budget == 0 {
                break;
            }
            match (&*self.stream).read(&mut buffer[..budget]) {
                Ok(0) => {
                    self.read_closed = true;
                    tunnel.local_eof(now, self.id);
                    progress = true;
                }
                Ok(count) => {
                    let taken = tunnel.local_data(now, self.id, &buffer[..count]);
                    debug_assert_eq!(taken, count, "the read budget was granted");
                    progress = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(progress)
    }

    /// Tells the local program that no more comes.
    pub(crate) fn shutdown_write(&mut self) {
        // If this fails, the connection is gone, and reading from it will say so.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes the connection. After an abort the local program sees a reset, not an end of file.
    pub(crate) fn close(self, kind: CloseKind) {
        if kind == CloseKind::Abort {
            let _ = SockRef::from(&*self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

/// Sends small writes at once: the tunnel sits between programs that have their own idea of batching.
fn prepare(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        log::debug!("TCP_NODELAY: {error}");
    }
}

/// Begins to connect to the first of `targets` that is not refused at once, and takes it off the list.
fn dial(targets: &mut VecDeque<SocketAddr>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::InvalidInput, "there is no address to connect to");
    while let Some(target) = targets.pop_front() {
        match begin_to_connect(target) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn begin_to_connect(target: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&target.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}

/// The TCP listener of a connecting tunnel.
#[derive(Debug)]
pub(crate) struct Acceptor {
    listener: Arc<TcpListener>,
    readable: bool,
    paused_until: Option<Instant>,
}

impl Acceptor {
    pub(crate) fn new(listener: TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self { listener: Arc::new(listener), readable: true, paused_until: None })
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle::Listener(Arc::clone(&self.listener))
    }

    pub(crate) fn is_readable(&self) -> bool {
        self.readable
    }

    pub(crate) fn ready(&mut self) {
        self.readable = true;
    }

    /// When to try again after a pause.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.paused_until
    }

    /// The next connection that waits.
    pub(crate) fn accept(&mut self, now: Instant) -> Option<TcpStream> {
        if self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        self.paused_until = None;
        while self.readable {
            match self.listener.accept() {
                Ok((stream, _)) => return Some(stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) if is_of_one_connection(&error) => {}
                // Most likely there is no free file descriptor: the connection waits in the kernel.
                Err(error) => {
                    log::warn!("cannot accept TCP connections for now: {error}");
                    self.paused_until = Some(now + ACCEPT_PAUSE);
                    break;
                }
            }
        }
        None
    }
}

/// Whether accepting failed because of the connection that came, so that the next one may do better.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Interrupted
            | ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::NetworkUnreachable
            | ErrorKind::PermissionDenied
            | ErrorKind::TimedOut
    )
}

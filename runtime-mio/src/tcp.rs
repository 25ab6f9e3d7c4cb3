//! TCP connections as links of a tunnel, and the listener they come from.

use crate::local::LocalError;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use msp_core::Instant;
use msp_core::tunnel::{CloseKind, LinkId, Tunnel};
use socket2::SockRef;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
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
    token: Token,
    stream: TcpStream,
    state: State,
    readable: bool,
    writable: bool,
    read_closed: bool,
    /// An event told of an error.
    troubled: bool,
}

impl TcpLink {
    /// Begins to connect to the first of `targets` that answers.
    pub(crate) fn connect(
        registry: &Registry,
        token: Token,
        id: LinkId,
        targets: &[SocketAddr],
    ) -> io::Result<Self> {
        let mut targets: VecDeque<SocketAddr> = targets.iter().copied().collect();
        let stream = dial(registry, token, &mut targets)?;
        Ok(Self::new(token, id, stream, State::Connecting(targets)))
    }

    /// Takes a connection that was accepted.
    pub(crate) fn accepted(
        registry: &Registry,
        token: Token,
        id: LinkId,
        mut stream: TcpStream,
    ) -> io::Result<Self> {
        prepare(&stream);
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { readable: true, writable: true, ..Self::new(token, id, stream, State::Open) })
    }

    fn new(token: Token, id: LinkId, stream: TcpStream, state: State) -> Self {
        let (readable, writable, read_closed, troubled) = (false, false, false, false);
        Self { id, token, stream, state, readable, writable, read_closed, troubled }
    }

    pub(crate) fn id(&self) -> LinkId {
        self.id
    }

    /// Remembers what the event said; the work is done in the next turn.
    pub(crate) fn ready(&mut self, event: &Event) {
        // An error or a hang-up shows in the next call, so both directions are worth a try.
        let closed = event.is_error() || event.is_read_closed() || event.is_write_closed();
        self.readable |= event.is_readable() || closed;
        self.writable |= event.is_writable() || closed;
        self.troubled |= event.is_error();
    }

    /// Moves bytes both ways, as far as both sides allow and the turn's share goes. True if it did
    /// anything.
    ///
    /// # Errors
    ///
    /// Once, when the connection cannot be made or breaks.
    pub(crate) fn turn(
        &mut self,
        registry: &Registry,
        tunnel: &mut Tunnel,
        now: Instant,
        buffer: &mut [u8],
    ) -> Result<bool, LocalError> {
        let result = match self.state {
            State::Connecting(_) => {
                self.check_connected(registry, tunnel, now).map_err(LocalError::Unreachable)
            }
            State::Open => self.carry(tunnel, now, buffer).map_err(LocalError::Broken),
            State::Failed => Ok(false),
        };
        result.inspect_err(|_| self.state = State::Failed)
    }

    fn check_connected(
        &mut self,
        registry: &Registry,
        tunnel: &mut Tunnel,
        now: Instant,
    ) -> io::Result<bool> {
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
        self.stream = dial(registry, self.token, targets)?;
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
            match self.stream.write_vectored(&slices[..count]) {
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
            match self.stream.read(&mut buffer[..budget]) {
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
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
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
fn dial(registry: &Registry, token: Token, targets: &mut VecDeque<SocketAddr>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(ErrorKind::InvalidInput, "there is no address to connect to");
    while let Some(target) = targets.pop_front() {
        match TcpStream::connect(target) {
            Ok(mut stream) => {
                registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The TCP listener of a connecting tunnel.
#[derive(Debug)]
pub(crate) struct Acceptor {
    listener: TcpListener,
    readable: bool,
    paused_until: Option<Instant>,
}

impl Acceptor {
    pub(crate) fn new(
        registry: &Registry,
        token: Token,
        listener: std::net::TcpListener,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listener);
        registry.register(&mut listener, token, Interest::READABLE)?;
        Ok(Self { listener, readable: true, paused_until: None })
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

//! The socket of a node in a poll.

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use msp_sockets::Socket;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Registers a socket, to be told of it by [`ready`].
pub(crate) fn register(registry: &Registry, token: Token, socket: &Socket) -> io::Result<()> {
    let handle = socket.handle();
    let read = Interest::READABLE;
    let interest = if socket.waits_for_room() { read | Interest::WRITABLE } else { read };
    registry.register(&mut SourceFd(&handle.as_fd().as_raw_fd()), token, interest)
}

/// Remembers what the event said; the work is done in the next turn. False if it is about something else.
pub(crate) fn ready(socket: &mut Socket, token: Token, event: &Event) -> bool {
    let is_ours = event.token() == token;
    if is_ours {
        socket.ready(event.is_readable(), event.is_writable());
    }
    is_ours
}

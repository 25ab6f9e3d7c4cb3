//! Sockets in a poll.

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use msp_sockets::{Handle, Readiness};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Registers what is to be waited for.
pub(crate) fn register(registry: &Registry, token: Token, handle: &Handle) -> io::Result<()> {
    let read = Interest::READABLE;
    let interest = if handle.waits_for_room() { read | Interest::WRITABLE } else { read };
    registry.register(&mut SourceFd(&handle.as_fd().as_raw_fd()), token, interest)
}

/// What an event says. An error or a hang-up shows in the next call, so both directions are worth a try.
pub(crate) fn readiness(event: &Event) -> Readiness {
    let closed = event.is_error() || event.is_read_closed() || event.is_write_closed();
    let (readable, writable) = (event.is_readable() || closed, event.is_writable() || closed);
    Readiness { readable, writable, failed: event.is_error() }
}

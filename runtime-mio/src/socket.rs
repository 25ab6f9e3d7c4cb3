//! Sockets in a poll.

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use msp_sockets::Handle;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Registers what is to be waited for.
pub(crate) fn register(registry: &Registry, token: Token, handle: &Handle) -> io::Result<()> {
    let read = Interest::READABLE;
    let interest = if handle.waits_for_room() { read | Interest::WRITABLE } else { read };
    registry.register(&mut SourceFd(&handle.as_fd().as_raw_fd()), token, interest)
}

//! Both ends of a TCP connection that carries bytes both ways at once and is half-closed by each side.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::JoinHandle;

use crate::process::LIMIT;

/// When a side ends its direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// As soon as it has sent everything.
    First,
    /// Once the other direction has ended.
    Second,
}

/// Sends `bytes` and returns everything that came until the other side ended its direction.
pub(crate) fn exchange(stream: TcpStream, bytes: Vec<u8>, turn: Turn) -> std::io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let mut sending = stream.try_clone()?;
    let sender = std::thread::spawn(move || {
        sending.write_all(&bytes)?;
        if turn == Turn::First { sending.shutdown(Shutdown::Write) } else { Ok(()) }
    });
    let mut received = Vec::new();
    (&stream).read_to_end(&mut received)?;
    sender.join().unwrap()?;
    Ok(received)
}

/// Takes `count` connections, answers each with `bytes`, and returns what each brought, in order of arrival.
pub(crate) fn serve(
    listener: TcpListener,
    count: usize,
    bytes: Vec<u8>,
    turn: Turn,
) -> JoinHandle<Vec<Vec<u8>>> {
    std::thread::spawn(move || {
        let links: Vec<_> = (0..count)
            .map(|_| {
                let (stream, _) = listener.accept().unwrap();
                let bytes = bytes.clone();
                std::thread::spawn(move || exchange(stream, bytes, turn).unwrap())
            })
            .collect();
        links.into_iter().map(|link| link.join().unwrap()).collect()
    })
}

//! Standard input and output as one link of a tunnel.
//!
//! A thread reads and a thread writes, both blocking. Standard input and output are shared with the
//! programs before and after this one: switched to non-blocking they would surprise a shell, an editor or
//! a pipeline long after this program is gone, and a regular file knows no readiness at all.

use crate::handle::Handle;
use msp_core::Instant;
use msp_core::tunnel::{LinkId, Tunnel};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;

/// Bytes that one read returns, and that are written in one go.
const CHUNK: usize = 16 * 1024;

/// Standard input and output, carried by two threads that each hold at most two chunks.
#[derive(Debug)]
pub(crate) struct StdioLink {
    id: LinkId,
    /// From the reading thread; an empty chunk is the end of the input.
    input: Receiver<io::Result<Vec<u8>>>,
    /// What was read and exceeded the read budget, from this index on.
    unread: (Vec<u8>, usize),
    /// To the writing thread; `None` after the last byte.
    output: Option<SyncSender<Vec<u8>>>,
    /// From the writing thread: bytes written.
    written: Receiver<io::Result<usize>>,
    writing: bool,
    failed: bool,
    /// The threads write to it when they have done something.
    wakes: Arc<UnixStream>,
    /// That is not waited for yet.
    is_new: bool,
}

impl StdioLink {
    /// Takes standard input and output.
    pub(crate) fn open(id: LinkId) -> io::Result<Self> {
        let (waker, wakes) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        wakes.set_nonblocking(true)?;
        let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let (input_sender, input) = sync_channel(1);
        let (output, output_receiver) = sync_channel(1);
        let (written_sender, written) = sync_channel(1);
        let waker_of_reader = Arc::new(waker);
        let waker_of_writer = Arc::clone(&waker_of_reader);
        thread::Builder::new()
            .name("stdin".into())
            .spawn(move || read_all(stdin, &input_sender, &waker_of_reader))?;
        thread::Builder::new()
            .name("stdout".into())
            .spawn(move || write_all(stdout, &output_receiver, &written_sender, &waker_of_writer))?;
        let output = Some(output);
        let (unread, wakes) = ((Vec::new(), 0), Arc::new(wakes));
        Ok(Self { id, input, unread, output, written, writing: false, failed: false, wakes, is_new: true })
    }

    /// What to wait for, if that is not known yet.
    pub(crate) fn take_new(&mut self) -> Option<Handle> {
        std::mem::take(&mut self.is_new).then(|| Handle::Wakes(Arc::clone(&self.wakes)))
    }

    /// Takes what has woken it, so that it tells of the next time; the work is done in the next turn.
    pub(crate) fn ready(&mut self) {
        while (&*self.wakes).read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
    }

    pub(crate) fn id(&self) -> LinkId {
        self.id
    }

    /// Moves bytes both ways, as far as both sides allow. True if it did anything.
    ///
    /// # Errors
    ///
    /// Once, when one of them fails.
    pub(crate) fn turn(&mut self, tunnel: &mut Tunnel, now: Instant) -> io::Result<bool> {
        if self.failed {
            return Ok(false);
        }
        let wrote = self.write(tunnel, now).map_err(|error| of("standard output", &error));
        let result = wrote.and_then(|wrote| {
            let read = self.read(tunnel, now).map_err(|error| of("standard input", &error))?;
            Ok(wrote || read)
        });
        self.failed = result.is_err();
        result
    }

    fn write(&mut self, tunnel: &mut Tunnel, now: Instant) -> io::Result<bool> {
        let mut progress = false;
        if self.writing {
            match self.written.try_recv() {
                Ok(count) => {
                    self.writing = false;
                    tunnel.consume(now, self.id, count?);
                    progress = true;
                }
                Err(TryRecvError::Empty) => return Ok(false),
                Err(TryRecvError::Disconnected) => return Err(ErrorKind::BrokenPipe.into()),
            }
        }
        let Some(output) = &self.output else { return Ok(progress) };
        let mut chunk = Vec::new();
        for bytes in tunnel.output(self.id) {
            chunk.extend_from_slice(&bytes[..bytes.len().min(CHUNK - chunk.len())]);
        }
        if !chunk.is_empty() {
            // There is room for it: the thread has reported the last chunk as written.
            self.writing = output.try_send(chunk).is_ok();
            progress = true;
        }
        Ok(progress)
    }

    fn read(&mut self, tunnel: &mut Tunnel, now: Instant) -> io::Result<bool> {
        let mut progress = false;
        if tunnel.read_budget(self.id) == 0 {
            return Ok(false);
        }
        if self.unread.1 == self.unread.0.len() {
            match self.input.try_recv() {
                Ok(chunk) => self.unread = (chunk?, 0),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return Ok(false),
            }
            progress = true;
            if self.unread.0.is_empty() {
                tunnel.local_eof(now, self.id);
                return Ok(true);
            }
        }
        let taken = tunnel.local_data(now, self.id, &self.unread.0[self.unread.1..]);
        self.unread.1 += taken;
        Ok(progress || taken > 0)
    }

    /// Tells the program after this one that no more comes: everything was written before.
    pub(crate) fn shutdown_write(&mut self) {
        self.output = None;
    }
}

/// An error that says where it is from.
fn of(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Reads to the end, no further ahead than the channel has room.
fn read_all(mut stdin: File, chunks: &SyncSender<io::Result<Vec<u8>>>, waker: &UnixStream) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let chunk = match stdin.read(&mut buffer) {
            Ok(count) => Ok(buffer[..count].to_vec()),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let more = chunk.as_ref().is_ok_and(|chunk| !chunk.is_empty());
        // Fails when the link is gone, and so is whoever would want the rest.
        if chunks.send(chunk).is_err() || wake(waker).is_err() || !more {
            return;
        }
    }
}

/// Writes until there is nothing more to come, then closes standard output, so that whoever reads it sees
/// its end while this end still sends.
fn write_all(
    mut stdout: File,
    chunks: &Receiver<Vec<u8>>,
    written: &SyncSender<io::Result<usize>>,
    waker: &UnixStream,
) {
    for chunk in chunks {
        let result = stdout.write_all(&chunk).map(|()| chunk.len());
        let failed = result.is_err();
        if written.send(result).is_err() || wake(waker).is_err() || failed {
            return;
        }
    }
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&null);
    }
}

/// Has the loop take a turn. A socket that is full does so already.
fn wake(mut waker: &UnixStream) -> io::Result<()> {
    match waker.write(&[0]) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

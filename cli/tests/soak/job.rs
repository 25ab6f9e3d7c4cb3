//! What a client and a server say to each other over one TCP connection. Both know every byte beforehand.

use crate::common::{DEADLINE, bytes};
use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Who sends when, and how it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Both send at once, and each ends its direction when it has sent everything.
    AtOnce,
    /// The server answers when it has seen the end of the request.
    AnswerAfterEnd,
    /// The client sends when it has seen the end of what the server has to say.
    AskAfterEnd,
    /// The server gives back message after message.
    Messages,
    ClientAborts,
    ServerAborts,
}

const MANNERS: [Manner; 6] = [
    Manner::AtOnce,
    Manner::AnswerAfterEnd,
    Manner::AskAfterEnd,
    Manner::Messages,
    Manner::ClientAborts,
    Manner::ServerAborts,
];

/// One connection. The client tells it to the server in its first bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Job {
    pub(crate) manner: Manner,
    /// Decides the bytes.
    pub(crate) seed: u64,
    /// Bytes from the client and from the server.
    pub(crate) up: u32,
    pub(crate) down: u32,
    /// Of the client, after each read, or after each message.
    pub(crate) pause: Duration,
}

/// Bytes in a message, and in a read of a client that pauses.
const MESSAGE: usize = 8 * 1024;
const HEADER_LEN: usize = 17;

impl Job {
    /// Connects to `entrance` and does the client's part.
    pub(crate) fn run(&self, entrance: SocketAddr) -> Result<()> {
        let stream = &self.open(entrance)?;
        match self.manner {
            Manner::AtOnce => thread::scope(|scope| {
                let sending = scope.spawn(|| self.send(stream, self.up()));
                self.receive(stream, &self.down())?;
                sending.join().map_err(|_| "the sender panicked")?
            }),
            Manner::AnswerAfterEnd => {
                self.send(stream, self.up())?;
                self.receive(stream, &self.down())
            }
            Manner::AskAfterEnd => {
                self.receive(stream, &self.down())?;
                self.send(stream, self.up())
            }
            Manner::Messages => {
                for message in self.up().chunks(MESSAGE) {
                    self.write(stream, message)?;
                    self.read(stream, message)?;
                    thread::sleep(self.pause);
                }
                stream.shutdown(Shutdown::Write)?;
                self.receive(stream, &[])
            }
            Manner::ClientAborts => {
                self.write(stream, &self.up())?;
                // To close with something unread is to abort.
                stream.peek(&mut [0])?;
                Ok(())
            }
            Manner::ServerAborts => match self.write(stream, &self.up()) {
                Ok(()) => self.receive_until_abort(stream, &self.down()),
                Err(error) if is_abort(&*error) => Ok(()),
                Err(error) => Err(error),
            },
        }
    }

    /// Bytes that arrive, both ways.
    pub(crate) fn bytes(&self) -> u64 {
        match self.manner {
            Manner::Messages => 2 * u64::from(self.up),
            Manner::ClientAborts | Manner::ServerAborts => 0,
            _ => u64::from(self.up) + u64::from(self.down),
        }
    }

    fn open(&self, entrance: SocketAddr) -> Result<TcpStream> {
        let stream = TcpStream::connect(entrance)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        self.write(&stream, &self.header())?;
        Ok(stream)
    }

    /// The server's part.
    fn answer(&self, stream: &TcpStream) -> Result<()> {
        match self.manner {
            Manner::AtOnce | Manner::AskAfterEnd => thread::scope(|scope| {
                let sending = scope.spawn(|| self.send(stream, self.down()));
                self.receive(stream, &self.up())?;
                sending.join().map_err(|_| "the sender panicked")?
            }),
            Manner::AnswerAfterEnd => {
                self.receive(stream, &self.up())?;
                self.send(stream, self.down())
            }
            Manner::Messages => {
                for message in self.up().chunks(MESSAGE) {
                    self.read(stream, message)?;
                    self.write(stream, message)?;
                }
                self.receive(stream, &[])?;
                Ok(stream.shutdown(Shutdown::Write)?)
            }
            Manner::ClientAborts => {
                self.write(stream, &[0])?;
                self.receive_until_abort(stream, &self.up())
            }
            Manner::ServerAborts => {
                self.write(stream, &self.down())?;
                stream.peek(&mut [0])?;
                Ok(())
            }
        }
    }

    fn up(&self) -> Vec<u8> {
        bytes(self.seed, self.up as usize)
    }

    fn down(&self) -> Vec<u8> {
        bytes(!self.seed, self.down as usize)
    }

    fn header(&self) -> Vec<u8> {
        let mut header = vec![self.manner as u8];
        header.extend(self.seed.to_le_bytes());
        header.extend(self.up.to_le_bytes());
        header.extend(self.down.to_le_bytes());
        header
    }

    fn from_header(header: &[u8; HEADER_LEN]) -> Option<Self> {
        Some(Self {
            manner: *MANNERS.get(usize::from(header[0]))?,
            seed: u64::from_le_bytes(*header[1..].first_chunk()?),
            up: u32::from_le_bytes(*header[9..].first_chunk()?),
            down: u32::from_le_bytes(*header[13..].first_chunk()?),
            pause: Duration::ZERO,
        })
    }

    fn write(&self, mut stream: &TcpStream, bytes: &[u8]) -> Result<()> {
        Ok(stream.write_all(bytes)?)
    }

    /// Sends these bytes and ends this direction.
    fn send(&self, stream: &TcpStream, bytes: Vec<u8>) -> Result<()> {
        self.write(stream, &bytes)?;
        Ok(stream.shutdown(Shutdown::Write)?)
    }

    /// Reads just these bytes.
    fn read(&self, stream: &TcpStream, expected: &[u8]) -> Result<()> {
        let mut place = 0;
        while place < expected.len() {
            let count = read_expected(stream, &expected[place..])?;
            if count == 0 {
                return Err(format!("an end after {place} of {} bytes", expected.len()).into());
            }
            place += count;
            if self.manner != Manner::Messages {
                thread::sleep(self.pause);
            }
        }
        Ok(())
    }

    /// Reads just these bytes, and the end.
    fn receive(&self, mut stream: &TcpStream, expected: &[u8]) -> Result<()> {
        self.read(stream, expected)?;
        match stream.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(format!("more than the {} bytes that were sent", expected.len()).into()),
        }
    }

    /// Reads as many of these bytes as come, until an error says that more was meant to.
    fn receive_until_abort(&self, stream: &TcpStream, sent: &[u8]) -> Result<()> {
        let mut place = 0;
        loop {
            match read_expected(stream, &sent[place..]) {
                Ok(0) => return Err("an aborted connection ended as if it were complete".into()),
                Ok(count) => place += count,
                Err(error) if is_abort(&*error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// A connection on which one message has come back, and which is silent then.
pub(crate) fn open_idle(entrance: SocketAddr) -> Result<TcpStream> {
    let job = Job { manner: Manner::Messages, seed: 0, up: 1, down: 0, pause: Duration::ZERO };
    let stream = job.open(entrance)?;
    job.write(&stream, &job.up())?;
    job.read(&stream, &job.up())?;
    Ok(stream)
}

/// A server for all jobs. It tells what goes wrong.
pub(crate) fn serve(failures: Sender<String>) -> SocketAddr {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    thread::spawn(move || {
        for stream in server.incoming() {
            let failures = failures.clone();
            thread::spawn(move || {
                if let Err(error) = stream.map_err(Into::into).and_then(answer) {
                    let _ = failures.send(format!("server: {error}"));
                }
            });
        }
    });
    address
}

fn answer(mut stream: TcpStream) -> Result<()> {
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header)?;
    let job = Job::from_header(&header).ok_or("a wrong first byte")?;
    job.answer(&stream).map_err(|error| format!("{job:?}: {error}").into())
}

/// Reads once, at most as much as is expected, or one byte to see that there is an end.
fn read_expected(mut stream: &TcpStream, expected: &[u8]) -> Result<usize> {
    let mut buffer = [0; MESSAGE];
    let most = expected.len().clamp(1, MESSAGE);
    let count = stream.read(&mut buffer[..most])?;
    if expected.get(..count) == Some(&buffer[..count]) { Ok(count) } else { Err("wrong bytes".into()) }
}

fn is_abort(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    matches!(kind, Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
}

//! What a program does with its stream in a trial.

use crate::Instant;
use crate::msp::carriage::LARGE_MESSAGE;
use crate::msp::{CloseReason, Event, StreamId};
use crate::testing::Streams;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

/// The first byte of a message that asks for an answer, and of one that does not.
const ASKS: u8 = b'?';
const TELLS: u8 = b'.';
/// A small message.
pub const SMALL: usize = 64;

static QUESTION: [u8; SMALL] = [ASKS; SMALL];
static PIECE: [u8; LARGE_MESSAGE] = [TELLS; LARGE_MESSAGE];

/// What one end of a stream does by itself.
#[derive(Debug, Clone)]
pub enum Role {
    /// Sends this many bytes in messages of full size as fast as it can, then finishes.
    Bulk {
        /// Bytes that it has not sent yet.
        left: u64,
    },
    /// Sends a small message, waits for the answer, pauses, and so on; then finishes.
    Ask {
        /// Each pause but the first, the next one last. The first question has none.
        pauses: Vec<Duration>,
        /// When the next question is due, and when the one was asked that waits for its answer.
        next: Option<Instant>,
        /// See `next`.
        asked: Option<Instant>,
        /// How long answers took.
        times: Vec<Duration>,
    },
    /// Answers what asks for an answer, and counts all bytes.
    Serve {
        /// Answers that it owes.
        owed: usize,
        /// Bytes that it has received, and when it received the last of them.
        received: u64,
        /// See `received`.
        latest: Instant,
    },
}

impl Role {
    /// Sends without end.
    pub const ENDLESS: Self = Self::Bulk { left: u64::MAX };

    /// Asks at `now`, then again after each of these pauses.
    #[must_use]
    pub const fn asking(now: Instant, pauses: Vec<Duration>) -> Self {
        Self::Ask { pauses, next: Some(now), asked: None, times: Vec::new() }
    }

    pub(super) const fn serving(now: Instant) -> Self {
        Self::Serve { owed: 0, received: 0, latest: now }
    }
}

/// A program with its stream.
#[derive(Debug)]
pub struct Talk {
    /// What it does.
    pub role: Role,
    /// How the stream has ended.
    pub closed: Option<CloseReason>,
    readable: bool,
    writable: bool,
    peer_finished: bool,
    finished: bool,
}

impl Talk {
    pub(super) const fn new(role: Role) -> Self {
        Self { role, closed: None, readable: false, writable: true, peer_finished: false, finished: false }
    }

    pub(super) const fn note(&mut self, event: Event) {
        match event {
            Event::Readable { .. } => self.readable = true,
            Event::Writable { .. } => self.writable = true,
            Event::PeerFinished { .. } => self.peer_finished = true,
            Event::Closed { reason, .. } => self.closed = Some(reason),
            _ => {}
        }
    }

    /// Does what it can do now. Returns whether there was anything.
    pub(super) fn act(&mut self, now: Instant, streams: &mut Streams<'_>, id: StreamId) -> bool {
        if self.closed.is_some() {
            return false;
        }
        self.read(now, streams, id) | self.write(now, streams, id) | self.end(now, streams, id)
    }

    pub(super) fn act_at(&self) -> Option<Instant> {
        match self.role {
            Role::Ask { next, .. } => next.filter(|_| self.closed.is_none()),
            Role::Bulk { .. } | Role::Serve { .. } => None,
        }
    }

    fn read(&mut self, now: Instant, streams: &mut Streams<'_>, id: StreamId) -> bool {
        if !core::mem::take(&mut self.readable) {
            return false;
        }
        let mut any = false;
        while let Some(message) = streams.recv(now, id) {
            any = true;
            match &mut self.role {
                Role::Serve { owed, received, latest } => {
                    *owed += usize::from(message.first() == Some(&ASKS));
                    *received += message.len() as u64;
                    *latest = now;
                }
                Role::Ask { pauses, next, asked, times } => {
                    times.extend(asked.take().map(|at| now - at));
                    *next = pauses.pop().map(|pause| now + pause);
                }
                Role::Bulk { .. } => {}
            }
        }
        any
    }

    fn write(&mut self, now: Instant, streams: &mut Streams<'_>, id: StreamId) -> bool {
        let mut any = false;
        while self.writable {
            let message = match &self.role {
                Role::Bulk { left } if *left > 0 => Bytes::from_static(&PIECE)
                    .slice(..streams.max_message(id).min(usize::try_from(*left).unwrap_or(usize::MAX))),
                Role::Ask { next: Some(at), .. } if *at <= now => Bytes::from_static(&QUESTION),
                Role::Serve { owed: 1.., .. } => Bytes::from_static(&PIECE[..SMALL]),
                _ => break,
            };
            let length = message.len() as u64;
            self.writable = streams.send(now, id, message);
            if !self.writable {
                break;
            }
            any = true;
            match &mut self.role {
                Role::Bulk { left } => *left -= length,
                Role::Ask { next, asked, .. } => *asked = next.take(),
                Role::Serve { owed, .. } => *owed -= 1,
            }
        }
        any
    }

    fn end(&mut self, now: Instant, streams: &mut Streams<'_>, id: StreamId) -> bool {
        let done = match &self.role {
            Role::Bulk { left } => *left == 0,
            Role::Ask { next, asked, .. } => next.is_none() && asked.is_none(),
            Role::Serve { owed, .. } => self.peer_finished && *owed == 0,
        };
        if !done || self.finished {
            return false;
        }
        self.finished = true;
        streams.finish(now, id);
        true
    }
}

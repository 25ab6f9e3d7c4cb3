//! What a program does with its stream.

use super::stack::Streams;
use crate::msp::{CloseReason, Event, StreamId};
use crate::{Addr, Instant};
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

/// The first message of a program begins with its key.
const KEY_LEN: usize = 4;

/// When a program reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// At once.
    Eager,
    /// So many messages at a time, after each of these intervals.
    Slow {
        /// Messages.
        messages: u16,
        /// The interval.
        every: Duration,
    },
    /// Never.
    Stopped,
}

/// What a program does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Messages that it sends, as fast as it can.
    pub messages: u32,
    /// Their lengths are 1 to this, in bytes.
    pub longest: u16,
    /// It finishes after the last message.
    pub finish: bool,
    /// When it reads.
    pub reader: Reader,
}

impl Plan {
    /// Sends nothing, reads all, and leaves the end to the other.
    pub const IDLE: Self = Self { messages: 0, longest: 1024, finish: false, reader: Reader::Eager };

    /// Sends so many messages of any length, then finishes; reads all.
    #[must_use]
    pub const fn sending(messages: u32) -> Self {
        Self { messages, finish: true, ..Self::IDLE }
    }
}

/// A program at one end of a stream. It knows no more of the stream than the events tell.
#[derive(Debug)]
pub struct Program {
    /// Unlike that of any other program.
    pub key: u32,
    /// What it does by itself.
    pub plan: Plan,
    /// It opened the stream.
    pub initiator: bool,
    /// The peer from which the stream was accepted.
    pub accepted_from: Option<Addr>,
    /// Messages that its end of the stream has taken.
    pub sent: Vec<Bytes>,
    /// Messages that it has received.
    pub received: Vec<Bytes>,
    /// Segments that its end of the stream has copied, see [`Stats::copies`](crate::msp::Stats::copies).
    pub copies: u64,
    /// It has finished.
    pub finished: bool,
    /// It has reset the stream.
    pub reset: bool,
    /// The node has forgotten the stream in a restart.
    pub lost: bool,
    /// How the stream has ended.
    pub closed: Option<CloseReason>,
    peer_finished: bool,
    readable: bool,
    writable: bool,
    read_at: Option<Instant>,
}

impl Program {
    pub(super) const fn new(key: u32, plan: Plan, from: Option<Addr>) -> Self {
        Self {
            key,
            plan,
            initiator: from.is_none(),
            accepted_from: from,
            sent: Vec::new(),
            received: Vec::new(),
            copies: 0,
            finished: false,
            reset: false,
            lost: false,
            closed: None,
            peer_finished: false,
            readable: false,
            writable: true,
            read_at: None,
        }
    }

    /// The next message that it sends, of this length if that is possible.
    #[must_use]
    pub fn message(&self, length: usize) -> Bytes {
        let number = self.sent.len() as u64;
        let mut state = mix(u64::from(self.key) << 32 | number);
        let mut message = Vec::with_capacity(length + KEY_LEN);
        if number == 0 {
            message.extend_from_slice(&self.key.to_le_bytes());
        }
        while message.len() < length {
            message.extend_from_slice(&state.to_le_bytes());
            state = mix(state);
        }
        message.truncate(length.max(if number == 0 { KEY_LEN } else { 1 }));
        message.into()
    }

    /// The key of the program at the other end, once something of it has come.
    #[must_use]
    pub fn peer_key(&self) -> Option<u32> {
        let key = self.received.first()?.first_chunk::<KEY_LEN>()?;
        Some(u32::from_le_bytes(*key))
    }

    /// Whether something of the one has come to the other.
    pub(super) fn is_with(&self, other: &Self) -> bool {
        self.peer_key() == Some(other.key) || other.peer_key() == Some(self.key)
    }

    pub(super) fn note(&mut self, event: Event) {
        assert_eq!(self.closed, None, "{event:?} after the end");
        match event {
            Event::Readable { .. } => self.readable = true,
            Event::Writable { .. } => self.writable = true,
            Event::PeerFinished { .. } => {
                assert!(!core::mem::replace(&mut self.peer_finished, true), "finished twice");
            }
            Event::Closed { reason, .. } => self.closed = Some(reason),
            Event::Accepted { .. } | Event::Connected { .. } | Event::LimitReached { .. } => {}
        }
    }

    /// Does what it can do now. Returns whether there was anything.
    pub(super) fn act(&mut self, now: Instant, streams: &mut Streams<'_>, id: StreamId) -> bool {
        if self.closed.is_some() || self.lost {
            return false;
        }
        self.copies = streams.copies(id).unwrap_or(self.copies);
        self.read_by_itself(now, streams, id) | self.write_by_itself(now, streams, id)
    }

    pub(super) fn act_at(&self) -> Option<Instant> {
        self.read_at.filter(|_| self.closed.is_none() && self.readable)
    }

    /// Reads up to `count` messages.
    pub fn read(&mut self, now: Instant, streams: &mut Streams<'_>, id: StreamId, count: usize) -> usize {
        for n in 0..count {
            let Some(message) = streams.recv(now, id) else {
                self.readable = false;
                return n;
            };
            self.received.push(message);
        }
        count
    }

    /// Sends a message of this length, if the stream takes it.
    pub fn write(&mut self, now: Instant, streams: &mut Streams<'_>, id: StreamId, length: usize) -> bool {
        let message = self.message(length);
        let taken = !self.finished && streams.send(now, id, message.clone());
        if taken {
            self.sent.push(message);
        }
        self.writable = taken;
        taken
    }

    /// Finishes.
    pub fn finish(&mut self, now: Instant, streams: &mut Streams<'_>, id: StreamId) {
        streams.finish(now, id);
        self.finished = true;
    }

    fn read_by_itself(&mut self, now: Instant, streams: &mut Streams<'_>, id: StreamId) -> bool {
        if !self.readable || self.read_at.is_some_and(|at| now < at) {
            return false;
        }
        match self.plan.reader {
            Reader::Eager => self.read(now, streams, id, usize::MAX) > 0,
            Reader::Slow { messages, every } => {
                self.read_at = Some(now + every);
                self.read(now, streams, id, messages.into()) > 0
            }
            Reader::Stopped => false,
        }
    }

    fn write_by_itself(&mut self, now: Instant, streams: &mut Streams<'_>, id: StreamId) -> bool {
        let mut acted = false;
        while self.writable && self.plan.messages > 0 && !self.finished {
            let lengths = u64::from(self.plan.longest.max(1));
            let length = mix(u64::from(self.key) + self.sent.len() as u64) % lengths + 1;
            acted |= self.write(now, streams, id, length as usize);
            self.plan.messages -= u32::from(self.writable);
        }
        if self.plan.messages == 0 && self.plan.finish && !self.finished {
            self.finish(now, streams, id);
            acted = true;
        }
        acted
    }
}

/// Another number, unlike those of others (the finalizer of splitmix64).
const fn mix(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

//! Two endpoints and the link between them.

use super::Link;
use crate::msp::{CloseReason, Config, Endpoint, Event, MAX_MESSAGE, Stream, StreamId};
use crate::wire::msp::Repr;
use crate::{Addr, Datagram, Instant, Port, Protection, Sid};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

/// An end of a [`Pair`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The first endpoint, which opens streams.
    A,
    /// The second, which listens on [`Pair::PORT`].
    B,
}

impl Side {
    /// The other end.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Its address.
    #[must_use]
    pub const fn sid(self) -> Sid {
        Sid::new([self as u8 + 0x55; 32])
    }
}

/// Two endpoints joined by a link each way, in virtual time that jumps from one event to the next. What the
/// contract says about timers is checked at every step.
#[derive(Debug)]
pub struct Pair {
    /// The time.
    pub now: Instant,
    /// The ends, see [`Side`].
    pub ends: [Endpoint; 2],
    /// The links that lead away from each side.
    pub links: [Link; 2],
    /// Events that each side has reported, oldest first.
    pub events: [Vec<Event>; 2],
    /// Bytes that each side has consumed by [`Pair::drain`], by stream.
    pub received: [BTreeMap<StreamId, Vec<u8>>; 2],
    /// Packets that each side has sent, in order.
    pub transcript: Vec<(Side, Vec<u8>)>,
    /// Whether to keep the transcript.
    pub record: bool,
    /// Streams that have not ended.
    streams: [BTreeSet<StreamId>; 2],
}

impl Pair {
    /// Where B listens.
    pub const PORT: u16 = 512;

    /// A pair whose links have the seeds `seed` and `seed + 1` and are shaped by `shape`.
    #[must_use]
    pub fn new(seed: u64, shape: impl Fn(Link) -> Link) -> Self {
        Self::with_config(seed, &Config::default(), shape)
    }

    /// The same with a configuration for both ends.
    ///
    /// # Panics
    ///
    /// Never: nothing else listens on the port.
    #[must_use]
    pub fn with_config(seed: u64, config: &Config, shape: impl Fn(Link) -> Link) -> Self {
        let end = |side: Side| {
            let mut bytes = [side as u8; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            Endpoint::new(config.clone(), bytes)
        };
        let mut ends = [end(Side::A), end(Side::B)];
        assert_eq!(ends[1].listen(Self::PORT.into()), Ok(()));
        Self {
            now: Instant::ZERO,
            ends,
            links: [shape(Link::new(2 * seed)), shape(Link::new(2 * seed + 1))],
            events: Default::default(),
            received: Default::default(),
            transcript: Vec::new(),
            record: false,
            streams: Default::default(),
        }
    }

    /// Where B listens.
    #[must_use]
    pub fn address() -> Addr {
        Addr::new(Side::B.sid(), Self::PORT.into())
    }

    /// Opens a stream from A to B.
    ///
    /// # Panics
    ///
    /// If the endpoint refuses.
    #[allow(clippy::expect_used, reason = "the caller is a test")]
    pub fn connect(&mut self) -> StreamId {
        let id = self.ends[0].connect(self.now, Self::address()).expect("a free stream");
        self.streams[0].insert(id);
        id
    }

    /// A stream of one side that has not ended.
    ///
    /// # Panics
    ///
    /// If it has.
    #[allow(clippy::expect_used, reason = "the caller is a test")]
    pub fn stream(&mut self, side: Side, id: StreamId) -> Stream<'_> {
        self.ends[side as usize].stream(id).expect("an open stream")
    }

    /// A stream of one side, unless it has ended.
    pub fn open(&mut self, side: Side, id: StreamId) -> Option<Stream<'_>> {
        self.ends[side as usize].stream(id)
    }

    /// The first stream that B has accepted.
    #[must_use]
    pub fn accepted(&self) -> Option<StreamId> {
        self.events[1].iter().find_map(|event| match event {
            Event::Accepted { stream, .. } => Some(*stream),
            _ => None,
        })
    }

    /// Queues as much of `data` as fits, from `*offset` on, in messages of the largest size; then finishes.
    pub fn feed(&mut self, side: Side, id: StreamId, data: &[u8], offset: &mut usize) {
        let now = self.now;
        let Some(mut stream) = self.ends[side as usize].stream(id) else { return };
        while *offset < data.len() {
            let end = data.len().min(*offset + MAX_MESSAGE);
            if stream.send(now, Bytes::copy_from_slice(&data[*offset..end])).is_err() {
                return;
            }
            *offset = end;
        }
        stream.finish(now);
    }

    /// Consumes everything that one side can receive.
    pub fn drain(&mut self, side: Side) {
        for id in self.streams[side as usize].clone() {
            while let Some(message) = self.ends[side as usize].stream(id).and_then(|mut s| s.recv(self.now)) {
                self.received[side as usize].entry(id).or_default().extend_from_slice(&message);
            }
        }
    }

    /// Why a stream has ended, once it has.
    ///
    /// # Panics
    ///
    /// If it was reported to have ended twice.
    #[must_use]
    pub fn close_reason(&self, side: Side, id: StreamId) -> Option<CloseReason> {
        let mut reasons = self.events[side as usize].iter().filter_map(|event| match event {
            Event::Closed { stream, reason } if *stream == id => Some(*reason),
            _ => None,
        });
        let reason = reasons.next();
        assert_eq!(reasons.next(), None, "closed twice");
        reason
    }

    /// Takes what both endpoints have to give, then goes to the next event and handles it. Returns false when
    /// there is none before `until`, and stays there.
    ///
    /// # Panics
    ///
    /// If an endpoint breaks the contract about timers.
    pub fn step(&mut self, until: Instant) -> bool {
        for side in [Side::A, Side::B] {
            self.flush(side);
        }
        let timers = self.ends.iter().filter_map(Endpoint::poll_timeout);
        let arrivals = self.links.iter().filter_map(Link::next_arrival);
        let next = timers.chain(arrivals).min();
        let Some(next) = next.filter(|next| *next <= until) else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(next);
        for side in [Side::A, Side::B] {
            while let Some(packet) = self.links[side.other() as usize].pop(self.now) {
                let Some((header, payload)) = packet.split_first_chunk::<8>() else { continue };
                let [a, b, c, d, e, f, g, h] = *header;
                let (Some(from), Some(to)) = (
                    Port::new(u32::from_le_bytes([a, b, c, d])),
                    Port::new(u32::from_le_bytes([e, f, g, h])),
                ) else {
                    continue;
                };
                let from = Addr::new(side.other().sid(), from);
                let payload = Bytes::copy_from_slice(payload);
                let datagram = Datagram::new(from, to, Protection::Encrypted, payload);
                let end = &mut self.ends[side as usize];
                // What it makes of the packet is for counters only.
                let _ = end.handle_datagram(self.now, datagram);
            }
            self.flush(side);
        }
        true
    }

    /// Steps until `done`, which may act on the pair. Returns whether that happened within `limit`.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            if done(self) {
                return true;
            }
            if !self.step(end) {
                return done(self);
            }
        }
    }

    /// Lets this much time pass.
    pub fn run(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    fn flush(&mut self, side: Side) {
        let mut buffer = Vec::new();
        let end = &mut self.ends[side as usize];
        end.handle_timeout(self.now);
        loop {
            let transmit = end.poll_transmit(self.now, &mut buffer);
            let Some(transmit) = transmit else { break };
            assert!(buffer.len() >= 3 || Repr::parse(&buffer) == Ok(Repr::Stop), "never send {buffer:?}");
            if self.record {
                self.transcript.push((side, buffer.clone()));
            }
            let mut packet = Vec::with_capacity(8 + buffer.len());
            packet.extend_from_slice(&transmit.from.get().to_le_bytes());
            packet.extend_from_slice(&transmit.to.port.get().to_le_bytes());
            packet.extend_from_slice(&buffer);
            self.links[side as usize].push(self.now, packet);
        }
        while let Some(event) = end.poll_event() {
            match event {
                Event::Accepted { stream, .. } => _ = self.streams[side as usize].insert(stream),
                Event::Closed { stream, .. } => _ = self.streams[side as usize].remove(&stream),
                _ => {}
            }
            self.events[side as usize].push(event);
        }
        assert!(end.poll_timeout().is_none_or(|at| at > self.now), "{side:?} spins at {:?}", self.now);
    }
}

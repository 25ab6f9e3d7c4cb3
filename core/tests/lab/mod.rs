//! An honest client and a server that is under attack, in virtual time.
//!
//! Both ends are endpoints; what lies below is played by the lab, which gives each packet the fingerprint that
//! sealing it would. An attacker brings any datagram at any time with [`Lab::inject`].

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use bytes::Bytes;
use core::time::Duration;
use msp_core::msp::{CloseReason, Config, DatagramError, Endpoint, Event, Limit, StreamId};
use msp_core::{Addr, Datagram, Fingerprint, Instant, Port, Protection, Sid};
use std::collections::BTreeMap;

/// The honest client in [`Lab::ends`].
pub const CLIENT: usize = 0;
/// The server that is under attack.
pub const SERVER: usize = 1;
/// Where it listens.
pub const PORT: u16 = 512;

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The `n`th node: the client, the server, and then the others.
pub fn sid(n: u32) -> Sid {
    let mut bytes = [0x55; 32];
    bytes[..4].copy_from_slice(&n.to_le_bytes());
    Sid::new(bytes)
}

pub struct Lab {
    pub now: Instant,
    pub ends: [Endpoint; 2],
    /// Streams that the server has accepted, with their peers.
    pub accepted: Vec<(StreamId, Addr)>,
    /// What each end has consumed.
    pub received: BTreeMap<(usize, StreamId), Vec<u8>>,
    /// Limits that an end has reported, and who hit them.
    pub limits: Vec<(Limit, Addr)>,
    /// Streams that can be written to again.
    pub writable: Vec<(usize, StreamId)>,
    /// How streams have ended.
    pub closed: BTreeMap<(usize, StreamId), CloseReason>,
    /// Every datagram that the two ends have sent each other, by its receiver.
    pub recorded: Vec<(usize, Datagram)>,
    /// Packets that each end has sent, whoever they went to.
    pub sent: [usize; 2],
    /// The application at each end consumes what there is.
    pub reads: [bool; 2],
    /// Every `n`th packet between the two is lost; 0 for none.
    pub lose: usize,
    /// Streams whose application does not read.
    unread: Vec<(usize, StreamId)>,
    wire: BTreeMap<(Instant, usize), (usize, Datagram)>,
    sealed: usize,
}

/// One way takes as long.
pub const DELAY: Duration = ms(10);

impl Lab {
    pub fn new(config: &Config) -> Self {
        let end = |n: u32| Endpoint::new(config.clone(), [n as u8 + 1; 32]);
        let mut ends = [end(0), end(1)];
        ends[SERVER].listen(PORT.into()).unwrap();
        Self {
            now: Instant::from_millis(1000),
            ends,
            accepted: Vec::new(),
            received: BTreeMap::new(),
            limits: Vec::new(),
            writable: Vec::new(),
            closed: BTreeMap::new(),
            recorded: Vec::new(),
            sent: [0; 2],
            reads: [true; 2],
            lose: 0,
            unread: Vec::new(),
            wire: BTreeMap::new(),
            sealed: 0,
        }
    }

    /// The client opens a stream and sends `messages` on it.
    pub fn connect(&mut self, messages: &[&'static str]) -> StreamId {
        let id = self.ends[CLIENT].connect(self.now, Addr::new(sid(1), PORT.into())).unwrap();
        for message in messages {
            self.send(CLIENT, id, message);
        }
        id
    }

    pub fn send(&mut self, end: usize, id: StreamId, message: &'static str) {
        self.ends[end].stream(id).unwrap().send(self.now, Bytes::from_static(message.as_bytes())).unwrap();
    }

    /// Ends one direction, if the stream is still there.
    pub fn finish(&mut self, end: usize, id: StreamId) {
        self.ends[end].stream(id).into_iter().for_each(|mut stream| stream.finish(self.now));
    }

    /// The stream that the server has accepted last.
    pub fn last_accepted(&self) -> StreamId {
        self.accepted.last().unwrap().0
    }

    /// A stream over which a message went each way, by its names at the client and at the server.
    pub fn established(&mut self) -> (StreamId, StreamId) {
        let client = self.connect(&["hello"]);
        self.run(ms(50));
        let server = self.last_accepted();
        self.send(SERVER, server, "welcome");
        self.run(ms(200));
        (client, server)
    }

    /// What the server has received on its last stream, as text.
    pub fn text(&self, end: usize, id: StreamId) -> String {
        self.received.get(&(end, id)).map_or_else(String::new, |it| String::from_utf8(it.clone()).unwrap())
    }

    /// Someone brings a datagram to an end.
    pub fn inject(&mut self, end: usize, datagram: Datagram) -> Result<(), DatagramError> {
        let result = self.ends[end].handle_datagram(self.now, datagram);
        self.pump();
        result
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.pump();
            let timers = self.ends.iter().filter_map(Endpoint::poll_timeout);
            let arrival = self.wire.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = timers.chain(arrival).min().filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (to, datagram) = entry.remove();
                let _ = self.ends[to].handle_datagram(self.now, datagram);
            }
        }
        self.now = until;
    }

    /// Does something once in each `interval`, `count` times.
    pub fn repeat(&mut self, count: u32, interval: Duration, mut act: impl FnMut(&mut Self, u32)) {
        for n in 0..count {
            act(self, n);
            self.run(interval);
        }
    }

    fn pump(&mut self) {
        for end in [CLIENT, SERVER] {
            self.ends[end].handle_timeout(self.now);
            while self.transmit(end) || self.serve(end) {}
            self.ends[end].handle_timeout(self.now);
            let due = self.ends[end].poll_timeout().is_some_and(|at| at <= self.now);
            assert!(!due, "end {end} spins at {:?}", self.now);
        }
    }

    fn transmit(&mut self, end: usize) -> bool {
        let mut buffer = Vec::new();
        let Some(outgoing) = self.ends[end].poll_transmit(self.now, &mut buffer) else { return false };
        self.sent[end] += 1;
        if outgoing.to.sid == sid(1 - end as u32) {
            self.sealed += 1;
            let from = Addr::new(sid(end as u32), outgoing.from);
            let datagram = Datagram {
                fingerprint: Some(Fingerprint(self.sealed as u64)),
                ..Datagram::new(from, outgoing.to.port, Protection::Encrypted, Bytes::from(buffer))
            };
            if self.lose == 0 || !self.sealed.is_multiple_of(self.lose) {
                self.wire.insert((self.now + DELAY, self.sealed), (1 - end, datagram.clone()));
            }
            self.recorded.push((1 - end, datagram));
        }
        true
    }

    fn serve(&mut self, end: usize) -> bool {
        let Some(event) = self.ends[end].poll_event() else { return self.read(end) };
        match event {
            Event::Accepted { stream, peer, .. } => self.accepted.push((stream, peer)),
            Event::Closed { stream, reason } => {
                assert_eq!(self.closed.insert((end, stream), reason), None, "{stream:?} closed twice");
            }
            Event::Writable { stream } => self.writable.push((end, stream)),
            Event::LimitReached { limit, peer } => self.limits.push((limit, peer)),
            Event::Readable { stream } if self.reads[end] => self.read_stream(end, stream),
            Event::Readable { stream } => self.unread.push((end, stream)),
            _ => {}
        }
        true
    }

    /// What was left unread, once the application reads again.
    fn read(&mut self, end: usize) -> bool {
        let unread = std::mem::take(&mut self.unread);
        let (now, later) = unread.into_iter().partition(|(of, _)| *of == end && self.reads[end]);
        self.unread = later;
        let now: Vec<(usize, StreamId)> = now;
        now.iter().for_each(|(end, stream)| self.read_stream(*end, *stream));
        !now.is_empty()
    }

    fn read_stream(&mut self, end: usize, id: StreamId) {
        while let Some(message) = self.ends[end].stream(id).and_then(|mut stream| stream.recv(self.now)) {
            self.received.entry((end, id)).or_default().extend_from_slice(&message);
        }
    }
}

/// A packet that `from` has made itself.
pub fn forged(from: Addr, packet: &[u8]) -> Datagram {
    Datagram::new(from, Port::from(PORT), Protection::Encrypted, Bytes::copy_from_slice(packet))
}

/// A data packet.
pub fn data(flags: u8, ack: u16, seq: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![flags];
    packet.extend_from_slice(&ack.to_le_bytes());
    packet.extend_from_slice(&seq.to_le_bytes());
    packet.extend_from_slice(payload);
    packet
}

pub const SHUTDOWN: u8 = 1;
pub const ACK: u8 = 2;
pub const FIRST: u8 = 4;
pub const STOP: u8 = 8;

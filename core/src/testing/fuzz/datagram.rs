//! An endpoint with a hostile peer.

use super::Input;
use crate::msp::{Config, Endpoint, Event, MAX_MESSAGE, StreamId};
use crate::wire::extended::{self, Acknowledgment, Body, Offer, Range, Settings, Tag, Timestamp};
use crate::wire::msp::Repr;
use crate::{Addr, Datagram, Instant, Port, Protection, Seq, Sid};
use alloc::vec::Vec;
use bytes::Bytes;
use core::num::NonZeroU32;
use core::time::Duration;

const LISTENING: u16 = 512;
/// What fits into a datagram on every way.
const LONGEST_EXTENDED: usize = 1041;
/// More than this in answer to one packet is no answer.
const MANY: usize = 10_000;

/// An endpoint with streams both ways, a peer that sends anything, a user that does anything, and time that
/// passes or goes back: nothing panics, everything sent is a good packet, timers neither spin nor
/// oversleep, and every stream ends once the peer is silent and the user has read everything.
///
/// # Panics
///
/// When it is not so.
pub fn datagram(input: &[u8]) {
    let mut input = Input(input);
    let mut endpoint = Endpoint::new(Config::default(), [2; 32]);
    assert_eq!(endpoint.listen(LISTENING.into()), Ok(()));
    let mut state = State {
        endpoint,
        now: Instant::from_millis(1000),
        peer: Addr::new(Sid::new([3; 32]), 600.into()),
        local: LISTENING.into(),
        sent: Vec::new(),
        newest: Seq(0),
        streams: Vec::new(),
        buffer: Vec::new(),
    };
    while state.step(&mut input).is_some() {
        state.drain();
    }
    state.end();
}

struct State {
    endpoint: Endpoint,
    now: Instant,
    peer: Addr,
    /// The last port that a packet came from, and how the packet began.
    local: Port,
    sent: Vec<u8>,
    /// The number of the message that was sent last in an extended packet.
    newest: Seq,
    streams: Vec<StreamId>,
    buffer: Vec<u8>,
}

impl State {
    /// Does the next operation of `input`.
    fn step(&mut self, input: &mut Input<'_>) -> Option<()> {
        let operation = input.u8()?;
        // The upper bits choose what it is done to.
        let choice = operation >> 4;
        let stream = self.streams.len().checked_sub(1).map(|last| self.streams[last.min(choice.into())]);
        let now = self.now;
        match operation & 0x0f {
            0..4 => {
                let is_report = operation & 0x0f == 3 && choice & 8 != 0;
                let to = if choice & 1 == 0 { LISTENING.into() } else { self.local };
                let mut payload = if is_report { self.report(input)? } else { input.slice()?.to_vec() };
                if !is_report && choice & 2 != 0 {
                    self.fit(&mut payload);
                }
                let payload = Bytes::from(payload);
                // Why it was ignored is for counters only.
                let _ = self
                    .endpoint
                    .handle_datagram(now, Datagram::new(self.peer, to, Protection::Encrypted, payload));
            }
            4 => self.now += Duration::from_micros(100 * u64::from(input.u16()?)),
            5 => self.now = self.endpoint.poll_timeout().map_or(now, |at| at.max(now)),
            6 => {
                let earlier = now - Duration::from_millis(input.u16()?.into());
                self.endpoint.handle_timeout(earlier);
            }
            7 => {
                if let Ok(stream) = self.endpoint.connect(now, self.peer) {
                    self.streams.push(stream);
                }
            }
            8 => self.peer.port = Port::from(600 + u16::from(choice)),
            operation => {
                let mut stream = self.endpoint.stream(stream?)?;
                match operation {
                    9..12 => {
                        let size = usize::from(input.u16()?) % (MAX_MESSAGE + 2);
                        let taken = stream.send(now, Bytes::from(alloc::vec![7; size])).is_ok();
                        assert!(!taken || (1..=MAX_MESSAGE).contains(&size), "took {size} bytes");
                    }
                    12 | 13 => {
                        let waiting = stream.peek().cloned();
                        assert_eq!(stream.recv(now), waiting);
                    }
                    14 => stream.finish(now),
                    _ => stream.reset(now),
                }
            }
        }
        Some(())
    }

    /// Makes a packet one of the connection that was sent on last: with its tag, and the answer to its offer.
    fn fit(&self, packet: &mut [u8]) {
        let tag = match (extended::Repr::parse(&self.sent), Offer::parse(&self.sent)) {
            (Ok(repr), _) => repr.tag.0.get().to_le_bytes(),
            (_, Some(Offer { nonce })) => {
                if let Some(settings) = packet.get_mut(6..8) {
                    settings.copy_from_slice(&nonce.to_le_bytes());
                }
                [1; 4]
            }
            _ => return,
        };
        if let Some([flags, rest @ ..]) = packet.get_mut(..5) {
            *flags = 0x10 | *flags & 0x09;
            rest.copy_from_slice(&tag);
        }
    }

    /// A packet of the connection that was sent on last: it reports anything of what was sent, and may hold more.
    fn report(&self, input: &mut Input<'_>) -> Option<Vec<u8>> {
        let shape = input.u8()?;
        let near = |byte: u8| Seq(self.newest.0.wrapping_add_signed((byte as i8).into()));
        let (tag, settings, time) = match (extended::Repr::parse(&self.sent), Offer::parse(&self.sent)) {
            (Ok(repr), _) => (repr.tag, None, repr.time),
            (_, Some(Offer { nonce })) => {
                let settings = Settings { nonce, features: input.u8()?, max_message: input.u16()? };
                (Tag(NonZeroU32::MIN), Some(settings), None)
            }
            _ => (Tag(NonZeroU32::MIN), None, None),
        };
        let window = if shape & 1 == 0 { Acknowledgment::NO_LIMIT } else { input.u8()?.into() };
        let mut report =
            Acknowledgment { consumed: near(input.u8()?), window, ranges: [].into_iter().collect() };
        for _ in 0..shape >> 1 & 3 {
            let (missing, received) = (input.u8()?.into(), input.u8()?.into());
            report.ranges.push(Range { missing, received });
        }
        let echo = match shape >> 3 & 3 {
            0 => None,
            1 => Some(Timestamp(input.u16()?)),
            _ => time,
        };
        let echo = echo.map(|timestamp| extended::Echo { timestamp, held: shape });
        let payload = if shape & 0x20 != 0 { input.slice()? } else { &[] };
        let body = match shape >> 5 & 3 {
            0 => Body::Empty,
            2 => Body::Probe(900),
            _ => {
                let seq = Seq(input.u8()?.into());
                Body::Data(extended::Data { seq, shutdown: shape & 0x10 != 0, part: None, payload })
            }
        };
        let time = Some(Timestamp(input.u8()?.into())).filter(|_| shape & 0x80 != 0);
        let mut packet = Vec::new();
        let acknowledgment = Some((report, echo));
        extended::Repr { tag, settings, time, acknowledgment, prompt: shape & 0x80 != 0, body }
            .emit(&mut packet);
        Some(packet)
    }

    /// The peer is silent from now on; the user reads what there is.
    fn end(&mut self) {
        let end = self.now + Duration::from_secs(60);
        loop {
            for id in self.streams.clone() {
                while self.endpoint.stream(id).and_then(|mut stream| stream.recv(self.now)).is_some() {}
            }
            self.drain();
            let Some(next) = self.endpoint.poll_timeout() else { break };
            assert!(next < end, "something goes on after a minute of silence");
            self.now = next;
        }
        assert!(self.streams.is_empty() && self.endpoint.is_idle(), "no end: {:?}", self.streams);
    }

    /// Takes all that the endpoint has to give.
    fn drain(&mut self) {
        self.endpoint.handle_timeout(self.now);
        let mut taken = 0;
        while let Some(outgoing) = self.endpoint.poll_transmit(self.now, &mut self.buffer) {
            let packet = Repr::parse(&self.buffer);
            let good = matches!(packet, Ok(Repr::Stop | Repr::Ack { .. } | Repr::Data { .. }));
            let is_extended = extended::Repr::parse(&self.buffer).is_ok();
            let most = if is_extended { LONGEST_EXTENDED } else { Repr::DATA_HEADER_LEN + MAX_MESSAGE };
            assert!((good || is_extended) && self.buffer.len() <= most, "sent {packet:?}");
            if let Ok(extended::Repr { body: Body::Data(data), .. }) = extended::Repr::parse(&self.buffer) {
                self.newest = data.seq;
            }
            self.sent.clone_from(&self.buffer);
            assert_eq!(outgoing.to.sid, self.peer.sid);
            self.local = outgoing.from;
            taken += 1;
            assert!(taken < MANY);
        }
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Accepted { stream, .. } => self.streams.push(stream),
                Event::Closed { stream, .. } => {
                    assert!(self.streams.contains(&stream), "{stream:?} closed twice, or never began");
                    self.streams.retain(|other| *other != stream);
                    assert!(self.endpoint.stream(stream).is_none());
                }
                _ => {}
            }
            taken += 1;
            assert!(taken < MANY);
        }
        let next = self.endpoint.poll_timeout();
        assert!(next.is_none_or(|at| at > self.now), "spins: {next:?} at {:?}", self.now);
    }
}

//! Asks a node for echoes (`spec/60` section 2).

use super::{Datagram, Uplink};
use crate::wire::mdp::Protection;
use crate::{Addr, Instant, Port, Rng, Sid};
use alloc::collections::VecDeque;
use core::time::Duration;

/// Events that may wait; with more, requests wait as well.
const MAX_EVENTS: usize = 64;

/// How to ask for echoes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PingConfig {
    /// Requests to send; `None` for no end until [`Ping::stop`]. 5 by default.
    pub count: Option<u32>,
    /// Time from one request to the next, 10 ms to 1 hour; 1 s by default.
    pub interval: Duration,
    /// A request that is not answered within this time is lost, up to 1 minute; 5 s by default. The first
    /// request waits as long for the node to be reachable.
    pub timeout: Duration,
}

impl Default for PingConfig {
    fn default() -> Self {
        Self { count: Some(5), interval: Duration::from_secs(1), timeout: Duration::from_secs(5) }
    }
}

/// What has become of the requests. They are numbered from 1; each is reported once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PingEvent {
    /// A way to the node is known; given once, before the first request, unless none was found in time.
    Reachable,
    /// A request was answered.
    Reply {
        /// Which.
        sequence: u32,
        /// Time from the request to the answer.
        round_trip: Duration,
    },
    /// A request was not answered in time. An answer that comes later changes nothing.
    Lost {
        /// Which.
        sequence: u32,
    },
    /// There is nothing more to wait for; the last event.
    Done(PingSummary),
}

/// What a [`Ping`] has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PingSummary {
    /// Requests sent.
    pub sent: u32,
    /// Requests answered in time.
    pub received: u32,
    /// The shortest round trip; zero if there was none, like the two below.
    pub min: Duration,
    /// The mean of the round trips.
    pub average: Duration,
    /// The longest round trip.
    pub max: Duration,
}

/// Asks one node for echoes through an [`Uplink`], and tells which came back and when.
///
/// Whoever drives the uplink calls [`Ping::update`] when a packet has come in or [`Ping::poll_timeout`] has come,
/// and then takes the events and what the uplink has to send.
///
/// Requests start when there is a way to the remote node, so that the search for it is no part of the
/// first round trip.
#[derive(Debug)]
pub struct Ping {
    config: PingConfig,
    local: Port,
    remote: Addr,
    /// The wire carries sequence numbers from a random start.
    base: u32,
    state: State,
    /// Requests without an answer, oldest first.
    outstanding: VecDeque<Request>,
    summary: PingSummary,
    total: Duration,
    events: VecDeque<PingEvent>,
    now: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Until this time for a way to the remote node.
    Searching {
        until: Instant,
    },
    /// The next request is due at this time.
    Asking {
        next: Instant,
    },
    /// All requests are sent.
    Waiting,
    Done,
}

#[derive(Debug, Clone, Copy)]
struct Request {
    sequence: u32,
    at: Instant,
    payload: [u8; 12],
}

impl Ping {
    /// Asks `remote`, which must not be the node that asks: it does not answer itself. The numbers on the wire
    /// follow from `seed`, 32 bytes that nobody can guess.
    #[must_use]
    pub fn new(config: PingConfig, remote: Sid, seed: [u8; 32], now: Instant) -> Self {
        let config = PingConfig {
            interval: config.interval.clamp(Duration::from_millis(10), Duration::from_secs(3600)),
            timeout: config.timeout.min(Duration::from_secs(60)),
            ..config
        };
        let mut rng = Rng::new(seed);
        let local = Port::random(&mut rng, 0);
        Self {
            config,
            local,
            remote: Addr::new(remote, Port::ECHO),
            base: u32::from_le_bytes(rng.bytes()),
            state: State::Searching { until: now + config.timeout },
            outstanding: VecDeque::new(),
            summary: PingSummary::default(),
            total: Duration::ZERO,
            events: VecDeque::new(),
            now,
        }
    }

    /// What was seen so far.
    #[must_use]
    pub const fn summary(&self) -> PingSummary {
        self.summary
    }

    /// Sends no more and waits no longer: [`PingEvent::Done`] follows.
    pub fn stop(&mut self) {
        self.outstanding.clear();
        self.finish();
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<PingEvent> {
        self.events.pop_front()
    }

    /// When to call [`Ping::update`] and then take the events, besides whenever the uplink asks for it.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.events.is_empty() {
            return Some(self.now);
        }
        let own = match self.state {
            State::Searching { until: at } | State::Asking { next: at } => Some(at),
            State::Waiting | State::Done => None,
        };
        let lost = self.outstanding.front().map(|request| request.at + self.config.timeout);
        own.into_iter().chain(lost).min().map(|at| at.max(self.now))
    }

    /// Takes what has come in, and does what is due. Early or repeated calls do nothing.
    pub fn update(&mut self, now: Instant, uplink: &mut Uplink) {
        self.now = self.now.max(now);
        while let Some(datagram) = uplink.poll_datagram() {
            self.handle_datagram(&datagram);
        }
        // Whether it is ready is asked below.
        while uplink.poll_event().is_some() {}
        while let Some(request) = self.outstanding.front()
            && request.at + self.config.timeout <= self.now
        {
            self.events.push_back(PingEvent::Lost { sequence: request.sequence });
            self.outstanding.pop_front();
        }
        if let State::Searching { until } = self.state {
            // Without a port the search comes to its end, and nothing is answered.
            let _ = uplink.bind(self.now, self.local);
            let reachable = uplink.is_ready(self.local, &self.remote.sid);
            if reachable {
                self.events.push_back(PingEvent::Reachable);
            }
            if reachable || until <= self.now {
                self.state = State::Asking { next: self.now };
            }
        }
        if let State::Asking { next } = self.state {
            if self.config.count.is_some_and(|count| self.summary.sent >= count) {
                self.state = State::Waiting;
            } else if next <= self.now && self.events.len() < MAX_EVENTS {
                self.send(uplink);
            }
        }
        if self.state == State::Waiting && self.outstanding.is_empty() {
            self.finish();
        }
    }

    fn send(&mut self, uplink: &mut Uplink) {
        let sequence = self.summary.sent + 1;
        let mut payload = [0; 12];
        payload[..4].copy_from_slice(&self.base.wrapping_add(sequence).to_le_bytes());
        payload[4..].copy_from_slice(&(self.now.as_micros() / 1000).to_le_bytes());
        // What cannot be sent is lost, as on the way.
        let _ = uplink.send(self.now, self.local, self.remote, Protection::Encrypted, &payload);
        self.outstanding.push_back(Request { sequence, at: self.now, payload });
        self.summary.sent = sequence;
        let last = self.config.count.unwrap_or(u32::MAX) <= sequence;
        self.state =
            if last { State::Waiting } else { State::Asking { next: self.now + self.config.interval } };
    }

    /// Takes an answer; anything else is ignored. Only an encrypted one is from the remote node for sure.
    fn handle_datagram(&mut self, datagram: &Datagram) {
        let Datagram { from, to, protection: Protection::Encrypted, payload, .. } = datagram else { return };
        let is_answer = |request: &Request| request.payload[..] == **payload;
        let Some(index) = self.outstanding.iter().position(is_answer) else { return };
        if *from != self.remote || *to != self.local {
            return;
        }
        let Some(request) = self.outstanding.remove(index) else { return };
        let round_trip = self.now - request.at;
        let first = self.summary.received == 0;
        self.total += round_trip;
        self.summary.received += 1;
        self.summary.min = if first { round_trip } else { self.summary.min.min(round_trip) };
        self.summary.max = self.summary.max.max(round_trip);
        self.summary.average = self.total / self.summary.received;
        self.events.push_back(PingEvent::Reply { sequence: request.sequence, round_trip });
    }

    fn finish(&mut self) {
        if self.state != State::Done {
            self.state = State::Done;
            self.events.push_back(PingEvent::Done(self.summary));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mdp::{Identity, Node, NodeConfig};
    use bytes::Bytes;

    /// The way onto the mesh of a node without neighbours.
    fn alone() -> Uplink {
        let identity = Identity::from_seed([1; 32]);
        Node::new(NodeConfig::default(), identity, [3; 32], Instant::ZERO).into()
    }

    /// Two requests on their way, and the answer to the first.
    fn asked() -> (Ping, Datagram) {
        let config = PingConfig { timeout: Duration::from_secs(2), ..PingConfig::default() };
        let mut ping = Ping::new(config, Identity::from_seed([2; 32]).sid(), [4; 32], Instant::ZERO);
        ping.update(Instant::from_millis(2000), &mut alone());
        ping.update(Instant::from_millis(3000), &mut alone());
        let payload = Bytes::copy_from_slice(&ping.outstanding[0].payload);
        let answer = Datagram::new(ping.remote, ping.local, Protection::Encrypted, payload);
        (ping, answer)
    }

    #[test]
    fn an_answer_counts_once_and_in_time() {
        let (mut ping, answer) = asked();
        ping.handle_datagram(&answer);
        ping.handle_datagram(&answer);
        let reply = PingEvent::Reply { sequence: 1, round_trip: Duration::from_secs(1) };
        assert_eq!(ping.poll_event(), Some(reply));
        assert_eq!(ping.poll_event(), None);

        let (mut ping, answer) = asked();
        ping.update(Instant::from_millis(4000), &mut alone());
        ping.handle_datagram(&answer);
        assert_eq!(ping.poll_event(), Some(PingEvent::Lost { sequence: 1 }));
        assert_eq!(ping.poll_event(), None);
    }

    #[test]
    fn what_is_no_answer_from_the_remote_node_is_ignored() {
        let (mut ping, answer) = asked();
        let stranger = Sid::new([9; 32]);
        let port = Port::from(8);
        let payload = Bytes::copy_from_slice(&[answer.payload.as_ref(), b"."].concat());
        let forgeries = [
            Datagram { from: Addr::new(stranger, Port::ECHO), ..answer.clone() },
            Datagram { from: Addr::new(ping.remote.sid, port), ..answer.clone() },
            Datagram { to: port, ..answer.clone() },
            Datagram { protection: Protection::Clear, ..answer.clone() },
            Datagram { protection: Protection::Signed, ..answer.clone() },
            Datagram { payload, ..answer.clone() },
            Datagram { payload: Bytes::from_static(&[0; 12]), ..answer },
        ];
        for forgery in forgeries {
            ping.handle_datagram(&forgery);
            assert_eq!(ping.poll_event(), None, "{forgery:?}");
        }
    }

    #[test]
    fn requests_wait_while_nobody_takes_the_events() {
        let mut uplink = alone();
        let config = PingConfig { count: None, interval: Duration::ZERO, timeout: Duration::ZERO };
        let mut ping = Ping::new(config, Sid::new([2; 32]), [4; 32], Instant::ZERO);
        for n in 0..100 {
            ping.update(Instant::from_millis(10 * n), &mut uplink); // each is lost at once
        }
        assert_eq!(ping.summary().sent, 64);
        assert_eq!(ping.poll_event(), Some(PingEvent::Lost { sequence: 1 }));
        ping.update(Instant::from_millis(1000), &mut uplink);
        assert_eq!(ping.summary().sent, 65);
    }

    /// The payload of `spec/60` section 2.
    #[test]
    fn requests_carry_a_sequence_number_and_the_time_in_milliseconds() {
        let (ping, _) = asked();
        let [first, second] = [0, 1].map(|n| ping.outstanding[n].payload);
        let number = |payload: [u8; 12]| u32::from_le_bytes(*payload.first_chunk().unwrap());
        assert_eq!(number(second), number(first).wrapping_add(1));
        assert_eq!(second[4..], 3000_u64.to_le_bytes());
        assert_ne!(number(first), 1);
        assert!(ping.local.get() >= Port::FIRST_APPLICATION);
    }
}

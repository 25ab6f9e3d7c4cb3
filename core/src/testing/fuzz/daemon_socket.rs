//! A client of a daemon that says anything, is there or not, and loses datagrams.

use super::Input;
use crate::mdp::{Daemon, DaemonConfig, DaemonEvent, Datagram};
use crate::testing::{Servald, assert_harmless};
use crate::wire::client::{ANY, Reply, ReplyKind, Request};
use crate::{Addr, Instant, Port, Protection, Sid};
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

const SID: Sid = Sid::new([1; 32]);
const OTHER: Sid = Sid::new([2; 32]);
/// The client under test, and another that wants the same ports.
const OURS: usize = 0;
const RIVAL: usize = 1;
/// More than this in answer to one datagram is no answer.
const MANY: usize = 10_000;
const MAX_EVENTS: usize = 256;

/// A client of a daemon that answers as it should, or not, or with anything, and stops and starts; a user that
/// binds, sends, releases and ends; and time that passes or goes back. Nothing panics, nothing is sent that
/// aborts a daemon, bursts are short, one question is asked at a time, timers neither spin nor oversleep,
/// memory is bounded, and once all is well again, datagrams pass and the end leaves nothing behind.
///
/// # Panics
///
/// When it is not so.
pub fn daemon_socket(input: &[u8]) {
    let mut input = Input(input);
    let now = Instant::from_millis(1000);
    let mut state = State {
        daemon: Daemon::new(config(), now),
        servald: Servald::new(SID),
        now,
        deaf: false,
        wanted: BTreeSet::new(),
        over: false,
        absent_at: None,
        sent: VecDeque::new(),
        asked: None,
    };
    while state.step(&mut input).is_some() {
        let (waiting, config) = (state.daemon.waiting(), config());
        assert!(waiting <= config.send_queue + config.max_ports, "{waiting} wait");
    }
    state.heal();
}

struct State {
    daemon: Daemon,
    servald: Servald,
    now: Instant,
    /// What is sent is lost on the way.
    deaf: bool,
    /// The ports that the user has taken.
    wanted: BTreeSet<Port>,
    /// The user has ended it.
    over: bool,
    /// Nobody was there at this time, so nothing is to be sent now.
    absent_at: Option<Instant>,
    /// When the last ones were sent.
    sent: VecDeque<Instant>,
    /// When a port was asked for, until anything is heard.
    asked: Option<Instant>,
}

/// Small limits, so that an input can reach them.
fn config() -> DaemonConfig {
    DaemonConfig { max_ports: 4, send_queue: 4, receive_queue: 4, ..DaemonConfig::default() }
}

impl State {
    /// Does the next operation of `input`.
    fn step(&mut self, input: &mut Input<'_>) -> Option<()> {
        let operation = input.u8()?;
        // The upper bits choose what it is done to.
        let choice = operation >> 4;
        let port = Port::from(u16::from(choice));
        let now = self.now;
        match operation & 0x0f {
            0 => self.receive(input.slice()?),
            1 | 2 => {
                let reply = made_up(operation & 0x0f, input.u8()?, port, input.slice()?);
                self.receive(&reply);
            }
            3 => _ = self.receive_real(),
            4 => while self.receive_real() {},
            5 => _ = self.servald.poll(OURS),
            6 => self.pass(Duration::from_micros(100 * u64::from(input.u16()?))),
            7 => self.pass(self.daemon.poll_timeout().map_or(Duration::ZERO, |at| at.since(now))),
            8 => self.daemon.handle_timeout(now - Duration::from_millis(input.u16()?.into())),
            9 => {
                let result = self.daemon.bind(now, port);
                assert!(result.is_err() || (port != Port::ANY && !self.over), "bound {port}");
                if result.is_ok() {
                    self.wanted.insert(port);
                }
                assert!(self.wanted.len() <= config().max_ports);
            }
            10 => {
                self.daemon.release(now, port);
                if self.wanted.remove(&port) {
                    self.asked = None;
                }
            }
            11 | 12 => self.send(port, input.u8()?, input.u16()?),
            13 => self.transmit(),
            14 => self.rival(choice, input.u8()?),
            _ => match choice {
                0..4 => self.servald.stop(),
                4..8 => self.servald.start(SID),
                8 => self.servald.start(OTHER),
                9 => self.not_there(),
                10 => self.deaf = true,
                11 => self.deaf = false,
                15 => {
                    self.daemon.shutdown(now);
                    self.over = true;
                    self.wanted.clear();
                }
                _ => self.take(),
            },
        }
        Some(())
    }

    fn receive(&mut self, packet: &[u8]) {
        self.asked = None;
        self.daemon.handle_packet(self.now, packet);
    }

    /// What the model has answered. False if it has not.
    fn receive_real(&mut self) -> bool {
        let packet = self.servald.poll(OURS);
        packet.map(|packet| self.receive(&packet)).is_some()
    }

    fn send(&mut self, from: Port, choice: u8, size: u16) {
        let sid = [SID, OTHER, Sid::BROADCAST, ANY][usize::from(choice & 3)];
        let to = Addr::new(sid, Port::from(u16::from(choice >> 4)));
        let protection = match choice >> 2 & 3 {
            0 => Protection::Clear,
            1 => Protection::Signed,
            _ => Protection::Encrypted,
        };
        let payload = alloc::vec![7; usize::from(size) % 1200];
        let had_room = self.daemon.has_room(from);
        if self.daemon.send(self.now, from, to, protection, &payload).is_ok() {
            assert!(had_room && self.wanted.contains(&from));
        }
    }

    /// The other client binds a port, or gives one or all of its ports back.
    fn rival(&mut self, choice: u8, what: u8) {
        let local = Addr::new(ANY, Port::from(u16::from(choice)));
        let mut request = Vec::new();
        if what & 1 == 0 { Request::Bind { local } } else { Request::Close { local } }.emit(&mut request);
        self.servald.receive(RIVAL, &request);
    }

    /// Lets time pass. Before the time that the client has asked for, there is nothing to do.
    fn pass(&mut self, time: Duration) {
        self.drain();
        let due = self.daemon.poll_timeout();
        assert!(due.is_none_or(|at| at > self.now), "spins: {due:?} at {:?}", self.now);
        self.now += time;
        self.daemon.handle_timeout(self.now);
        if due.is_none_or(|due| self.now < due) {
            assert!(!self.daemon.poll_transmit(self.now, &mut Vec::new()), "should be due: {due:?}");
            assert_eq!(self.daemon.poll_event(), None, "should be due: {due:?}");
            assert_eq!(self.daemon.poll_datagram(), None, "should be due: {due:?}");
        }
    }

    /// Takes all that the client has to give. Sending may fail, which is an event.
    fn drain(&mut self) {
        self.daemon.handle_timeout(self.now);
        self.transmit();
        self.take();
    }

    fn transmit(&mut self) {
        let mut packet = Vec::new();
        while self.daemon.poll_transmit(self.now, &mut packet) {
            assert_harmless(&packet);
            assert!(self.absent_at != Some(self.now), "nobody is there");
            self.sent.push_back(self.now);
            if self.sent.len() > 8 {
                let first = self.sent.pop_front();
                assert!(first.is_some_and(|at| self.now.since(at) >= config().burst_interval), "a burst");
            }
            if let Ok(Request::Bind { .. }) = Request::parse(&packet) {
                let patience = config().first_retry;
                assert!(self.asked.is_none_or(|at| self.now.since(at) >= patience), "two questions");
                self.asked = Some(self.now);
            }
            if !self.deaf && !self.servald.receive(OURS, &packet) {
                self.not_there();
            }
        }
    }

    fn not_there(&mut self) {
        self.daemon.handle_unreachable(self.now);
        self.asked = None;
        self.absent_at = Some(self.now);
    }

    /// What the user takes.
    fn take(&mut self) {
        let mut received = 0;
        while let Some(datagram) = self.daemon.poll_datagram() {
            assert!(!datagram.payload.is_empty() && !datagram.from.sid.is_reserved());
            received += 1;
        }
        assert!(received <= config().receive_queue, "{received} datagrams");
        let mut events = 0;
        while let Some(event) = self.daemon.poll_event() {
            assert!(!matches!(event, DaemonEvent::Up { sid } if sid.is_reserved()));
            events += 1;
        }
        assert!(events <= MAX_EVENTS, "{events} events");
    }

    /// The daemon is there from now on, and nobody is in the way.
    fn heal(&mut self) {
        self.servald.start(SID);
        self.deaf = false;
        self.rival(0, 1);
        let port = Port::MAX;
        if !self.over {
            self.run();
            // There is room if nothing waits for its release.
            if self.daemon.bind(self.now, port).is_ok() {
                self.wanted.insert(port);
            }
            assert!(!self.wanted.is_empty(), "no port can be had");
            self.run();
            for port in self.wanted.clone() {
                assert!(self.daemon.is_bound(port), "{port} is not bound");
                assert_eq!(self.servald.owner(port), Some(OURS), "the daemon has lost {port}");
                let me = Addr::new(SID, port);
                let sent = self.daemon.send(self.now, port, me, Protection::Encrypted, b"healed");
                assert_eq!(sent, Ok(()), "from {port}");
                self.transmit();
                while self.receive_real() {}
                let expected = Datagram::new(me, port, Protection::Encrypted, b"healed"[..].into());
                assert_eq!(self.daemon.poll_datagram(), Some(expected));
                self.run();
            }
            self.daemon.shutdown(self.now);
            self.run();
            assert_eq!(self.servald.bound(), 0, "ports are left behind");
        }
        self.run();
        assert!(self.daemon.is_closed(), "no end");
        assert_eq!(self.daemon.poll_timeout(), None);
    }

    /// Lets everything pass for as long as the longest retry takes, and then some.
    fn run(&mut self) {
        let end = self.now + Duration::from_secs(20);
        for _ in 0..MANY {
            self.drain();
            while self.receive_real() {
                self.drain();
            }
            match self.daemon.poll_timeout() {
                Some(next) if next < end => self.pass(next.since(self.now)),
                _ => return self.now = end,
            }
        }
        unreachable!("it does not come to rest");
    }
}

/// A datagram that a daemon could send, but did not.
pub(super) fn made_up(operation: u8, what: u8, port: Port, payload: &[u8]) -> Vec<u8> {
    let sid = [SID, SID, SID, OTHER, Sid::BROADCAST, ANY, SID, SID][usize::from(what & 7)];
    let kind = match what >> 3 & 7 {
        0 | 1 => ReplyKind::Bound,
        2 | 3 => ReplyKind::Refused,
        4 => ReplyKind::Done,
        5 => ReplyKind::Data { protection: Protection::Clear, payload },
        _ => ReplyKind::Data { protection: Protection::Encrypted, payload },
    };
    let remote = if operation == 1 { ANY } else { OTHER };
    let mut datagram = Vec::new();
    let remote = Addr::new(remote, Port::from(u16::from(what >> 6)));
    Reply { local: Addr::new(sid, port), remote, kind, qos: what, ttl: what }.emit(&mut datagram);
    datagram
}

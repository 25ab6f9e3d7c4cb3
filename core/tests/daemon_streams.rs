//! Streams of two clients of one daemon, in virtual time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use msp_core::mdp::{DaemonEvent, UplinkEvent};
use msp_core::msp::{CloseReason, Config, Event, StreamId};
use msp_core::testing::Servald;
use msp_core::tunnel::{Action, Outcome, Tunnel, TunnelConfig};
use msp_core::{Addr, Daemon, DaemonConfig, Host, Incoming, Instant, Port, Sid};
use std::time::Duration;

const CLIENT: usize = 0;
const SERVER: usize = 1;
const PORT: u16 = 512;
const SID: Sid = Sid::new([7; 32]);

/// A daemon and what two programs run on it.
struct Machine {
    now: Instant,
    servald: Servald,
    hosts: [Host; 2],
    /// What the server has received, in order.
    received: Vec<Bytes>,
    closed: Vec<CloseReason>,
    /// Messages that the client has still to send.
    left: u32,
    stream: Option<StreamId>,
    /// Every so many datagrams, one finds a full queue, either way.
    full: Option<usize>,
    datagrams: usize,
}

impl Machine {
    fn new(messages: u32) -> Self {
        let now = Instant::from_millis(1000);
        let host = |n: u8| Host::new(Daemon::new(DaemonConfig::default(), now), Config::default(), [n; 32]);
        let mut hosts = [host(1), host(2)];
        hosts[SERVER].endpoint().listen(PORT.into()).unwrap();
        let stream = hosts[CLIENT].endpoint().connect(now, Addr::new(SID, PORT.into())).unwrap();
        let servald = Servald::new(SID);
        let (received, closed) = (Vec::new(), Vec::new());
        let (left, stream) = (messages, Some(stream));
        Self { now, servald, hosts, received, closed, left, stream, full: None, datagrams: 0 }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..1_000_000 {
            while self.turn() {}
            let next = self.hosts.iter().filter_map(Host::poll_timeout).min();
            let Some(next) = next.filter(|at| *at < end) else { break };
            assert!(next > self.now, "spins at {:?}", self.now);
            self.now = next;
            self.hosts.iter_mut().for_each(|host| host.handle_timeout(next));
        }
        self.now = end;
    }

    /// True if anything has happened.
    fn turn(&mut self) -> bool {
        let mut moved = self.produce();
        let mut buffer = Vec::new();
        for (client, host) in self.hosts.iter_mut().enumerate() {
            while host.poll_transmit(self.now, &mut buffer).is_some() {
                moved = true;
                self.datagrams += 1;
                let is_full = self.full.is_some_and(|every| self.datagrams.is_multiple_of(every));
                if !is_full && !self.servald.receive(client, &buffer) {
                    host.handle_incoming(self.now, Incoming::Unreachable);
                }
            }
            while let Some(reply) = self.servald.poll(client) {
                moved = true;
                self.datagrams += 1;
                if self.full.is_some_and(|every| self.datagrams.is_multiple_of(every)) {
                    continue;
                }
                host.handle_incoming(self.now, Incoming::Reply(&reply));
            }
            while host.poll_uplink_event().is_some() {}
            while let Some(event) = host.poll_event() {
                moved = true;
                if let Event::Closed { reason, .. } = event {
                    self.closed.push(reason);
                }
                let (Event::Readable { stream } | Event::PeerFinished { stream }) = event else { continue };
                // It may have ended with its last message.
                let Some(mut stream) = host.endpoint().stream(stream) else { continue };
                while let Some(message) = stream.recv(self.now) {
                    self.received.push(message);
                }
                if client == SERVER && stream.recv_finished() {
                    stream.finish(self.now);
                }
            }
        }
        moved
    }

    /// The client sends what it can.
    fn produce(&mut self) -> bool {
        let (now, before) = (self.now, self.left);
        let stream = self.stream.and_then(|id| self.hosts[CLIENT].endpoint().stream(id));
        let Some(mut stream) = stream else { return false };
        while self.left > 0 && stream.send(now, Bytes::from(self.left.to_be_bytes().to_vec())).is_ok() {
            self.left -= 1;
        }
        if self.left == 0 {
            stream.finish(now);
            self.stream = None;
        }
        self.left < before
    }

    fn assert_carried(&self, messages: u32) {
        let expected: Vec<_> = (1..=messages).rev().map(|n| Bytes::from(n.to_be_bytes().to_vec())).collect();
        assert!(self.received == expected, "{} of {messages}", self.received.len());
        assert_eq!(self.closed, [CloseReason::Finished; 2]);
    }
}

/// The peer gives up by itself in this time.
#[test]
fn a_stream_that_is_reset_while_no_daemon_is_there_is_forgotten_in_time() {
    let start = Instant::from_millis(1000);
    let mut host = Host::new(Daemon::new(DaemonConfig::default(), start), Config::default(), [1; 32]);
    let stream = host.endpoint().connect(start, Addr::new(SID, PORT.into())).unwrap();
    host.endpoint().stream(stream).unwrap().reset(start);
    let (mut now, mut buffer) = (start, Vec::new());
    for _ in 0..1000 {
        host.handle_timeout(now);
        while host.poll_transmit(now, &mut buffer).is_some() {
            host.handle_incoming(now, Incoming::Unreachable);
        }
        while host.poll_event().is_some() || host.poll_uplink_event().is_some() {}
        if host.is_idle() {
            return assert_eq!(now.since(start), Duration::from_secs(10));
        }
        now = host.poll_timeout().unwrap();
    }
    panic!("it is never forgotten");
}

/// There are never more streams than ports, not even when many ports are being given back.
#[test]
fn every_stream_has_a_port_or_is_refused() {
    const STREAMS: usize = 30;
    let (now, remote) = (Instant::from_millis(1000), Addr::new(SID, PORT.into()));
    let daemon = Daemon::new(DaemonConfig::for_streams(STREAMS), now);
    let mut host = Host::new(daemon, Config::default(), [1; 32]);
    let (mut servald, mut buffer) = (Servald::new(SID), Vec::new());
    for round in 0..10 {
        let now = now + Duration::from_secs(round);
        let streams: Vec<_> = std::iter::from_fn(|| host.endpoint().connect(now, remote).ok()).collect();
        assert_eq!(streams.len(), STREAMS);
        // Time for questions and answers, and not for the words that come after them.
        for millis in 0..500 {
            let now = now + Duration::from_millis(millis);
            host.handle_timeout(now);
            while host.poll_transmit(now, &mut buffer).is_some() {
                assert!(servald.receive(CLIENT, &buffer));
            }
            while let Some(reply) = servald.poll(CLIENT) {
                host.handle_incoming(now, Incoming::Reply(&reply));
            }
        }
        assert_eq!(servald.bound(), STREAMS, "in round {round}");
        let later = now + Duration::from_millis(500);
        for stream in streams {
            host.endpoint().stream(stream).unwrap().reset(later);
        }
        while host.poll_event().is_some() {}
    }
}

#[test]
fn a_stream_goes_through_and_gives_its_port_back() {
    let mut machine = Machine::new(2000);
    machine.run(Duration::from_millis(10));
    assert_eq!(machine.servald.bound(), 2);
    machine.run(Duration::from_secs(30));
    machine.assert_carried(2000);
    assert_eq!(machine.servald.owner(PORT.into()), Some(SERVER));
    assert_eq!(machine.servald.bound(), 1, "that of the listener");
    let now = machine.now;
    machine.hosts.iter_mut().for_each(|host| host.uplink().shutdown(now));
    machine.run(Duration::from_secs(1));
    assert_eq!(machine.servald.bound(), 0);
    assert!(machine.hosts.iter_mut().all(|host| host.uplink().is_closed()));
}

/// As when it was killed: the daemon knows clients by nothing but the name of their socket.
#[test]
fn the_next_client_of_that_name_gives_back_the_ports_of_streams() {
    let mut machine = Machine::new(2000);
    machine.run(Duration::from_millis(10));
    assert_eq!(machine.servald.bound(), 2);
    let now = machine.now;
    machine.hosts[CLIENT] = Host::new(Daemon::new(DaemonConfig::default(), now), Config::default(), [3; 32]);
    machine.run(Duration::from_secs(1));
    assert_eq!(machine.servald.bound(), 2, "it has nothing to say yet");
    let remote = Addr::new(SID, PORT.into());
    let stream = machine.hosts[CLIENT].endpoint().connect(now, remote).unwrap();
    (machine.stream, machine.left) = (Some(stream), 5);
    machine.received.clear();
    machine.run(Duration::from_secs(30));
    assert_eq!((machine.received.len(), machine.servald.bound()), (5, 1), "only the listener has one");
    assert_eq!(machine.closed, [CloseReason::Finished, CloseReason::Finished, CloseReason::TimedOut]);
}

/// Neither the client's kernel nor the daemon says what it has dropped.
#[test]
fn what_finds_a_full_queue_is_sent_again() {
    for every in [7, 10, 33] {
        let mut machine = Machine::new(2000);
        machine.full = Some(every);
        machine.run(Duration::from_secs(60));
        machine.assert_carried(2000);
    }
}

#[test]
fn a_stream_outlives_a_restart_of_the_daemon() {
    let mut machine = Machine::new(5000);
    machine.run(Duration::from_millis(200));
    assert!(!machine.received.is_empty() && machine.received.len() < 5000);
    machine.servald.stop();
    machine.run(Duration::from_secs(3));
    machine.servald.start(SID);
    machine.run(Duration::from_secs(60));
    machine.assert_carried(5000);
}

#[test]
fn a_stream_ends_in_time_when_the_daemon_stays_away() {
    let mut machine = Machine::new(5000);
    machine.run(Duration::from_millis(200));
    machine.servald.stop();
    machine.run(Duration::from_secs(11));
    assert_eq!(machine.closed, [CloseReason::TimedOut; 2]);
    machine.servald.start(SID);
    machine.run(Duration::from_secs(10));
    assert_eq!(machine.servald.owner(PORT.into()), Some(SERVER), "the listener has its port again");
}

/// What waits for the daemon when a tunnel ends is more than the pace allows at once.
#[test]
fn a_tunnel_that_has_finished_says_its_last_words_and_then_nothing() {
    let mut servald = Servald::new(SID);
    let mut now = Instant::from_millis(1000);
    let host = Host::new(Daemon::new(DaemonConfig::default(), now), Config::default(), [3; 32]);
    let remote = Addr::new(Sid::new([9; 32]), Port::from(PORT));
    let mut tunnel = Tunnel::connect(host, remote, TunnelConfig::default()).unwrap();
    let links: Vec<_> = (0..20).map(|_| tunnel.local_accepted(now).unwrap()).collect();
    let (mut buffer, mut stopped, mut finished) = (Vec::new(), false, false);
    for _ in 0..1000 {
        tunnel.handle_timeout(now);
        let mut moves = true;
        while moves {
            moves = false;
            while tunnel.poll_transmit(now, &mut buffer).is_some() {
                moves = true;
                servald.receive(0, &buffer);
            }
            while let Some(reply) = servald.poll(0) {
                moves = true;
                tunnel.handle_incoming(now, Incoming::Reply(&reply));
            }
            moves |= std::iter::from_fn(|| tunnel.poll_event()).count() > 0;
            while let Some(action) = tunnel.poll_action() {
                moves = true;
                assert!(!finished, "{action:?} after the last action");
                finished = matches!(action, Action::Finished(_));
            }
        }
        if !stopped && servald.bound() == links.len() {
            stopped = true;
            tunnel.shutdown(now);
            tunnel.shutdown(now); // at once, whatever waits
            let last = std::iter::from_fn(|| tunnel.poll_action()).last();
            assert_eq!(last, Some(Action::Finished(Outcome::Interrupted)));
            finished = true;
            continue;
        }
        let Some(next) = tunnel.poll_timeout() else { break };
        assert!(next > now, "spins at {now:?}");
        now = next;
    }
    assert_eq!((finished, servald.bound(), tunnel.poll_timeout()), (true, 0, None));
    tunnel.handle_incoming(now, Incoming::Unreachable);
    assert_eq!((tunnel.poll_action(), tunnel.poll_event(), tunnel.poll_timeout()), (None, None, None));
}

#[test]
fn a_tunnel_tells_that_the_port_it_listens_on_is_anothers() {
    let now = Instant::from_millis(1000);
    let mut servald = Servald::new(SID);
    let mut machine = Machine::new(0);
    machine.run(Duration::from_millis(10));
    std::mem::swap(&mut servald, &mut machine.servald);
    let host = Host::new(Daemon::new(DaemonConfig::default(), now), Config::default(), [3; 32]);
    let mut tunnel = Tunnel::listen(host, Port::from(PORT), TunnelConfig::default()).unwrap();
    let (mut now, mut buffer) = (now, Vec::new());
    let outcome = (0..1000).find_map(|_| {
        tunnel.handle_timeout(now);
        while tunnel.poll_transmit(now, &mut buffer).is_some() {
            servald.receive(2, &buffer);
        }
        while let Some(reply) = servald.poll(2) {
            tunnel.handle_incoming(now, Incoming::Reply(&reply));
        }
        while let Some(event) = tunnel.poll_event() {
            let bound = msp_core::tunnel::TunnelEvent::Uplink(UplinkEvent::Daemon(DaemonEvent::Bound {
                port: PORT.into(),
            }));
            assert_ne!(event, bound);
        }
        if let Some(Action::Finished(outcome)) = tunnel.poll_action() {
            return Some(outcome);
        }
        now = tunnel.poll_timeout()?;
        None
    });
    assert_eq!(outcome, Some(Outcome::PortRefused));
}

//! Clients of a model daemon, in virtual time.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop where it stands")]

use core::time::Duration;
use msp_core::testing::{Servald, assert_harmless};
use msp_core::wire::client::{ANY, Reply, ReplyKind, Request};
use msp_core::{Addr, Daemon, DaemonConfig, DaemonEvent, Datagram, Instant, Port, Protection, Rng, Sid};

pub const SID: Sid = Sid::new([0xa5; 32]);
pub const P: Port = Port::ECHO;
pub const Q: Port = Port::MAX;
/// Everything a client has.
pub const ALL: Request<'static> = Request::Close { local: Addr::new(ANY, Port::ANY) };

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub const fn bind(port: Port) -> Request<'static> {
    Request::Bind { local: Addr::new(ANY, port) }
}

pub const fn close(port: Port) -> Request<'static> {
    Request::Close { local: Addr::new(ANY, port) }
}

/// A datagram from a daemon, about a port of its primary identity.
pub fn reply(port: Port, remote: Addr, kind: ReplyKind<'_>) -> Vec<u8> {
    let mut datagram = Vec::new();
    Reply { local: Addr::new(SID, port), remote, kind, qos: 0, ttl: 0 }.emit(&mut datagram);
    datagram
}

pub fn bound(port: Port) -> Vec<u8> {
    reply(port, Addr::new(ANY, Port::ANY), ReplyKind::Bound)
}

pub fn refused(port: Port) -> Vec<u8> {
    reply(port, Addr::new(ANY, Port::ANY), ReplyKind::Refused)
}

/// A client whose daemon is played by the test.
pub struct Alone {
    pub now: Instant,
    pub daemon: Daemon,
}

impl Alone {
    pub fn new(config: DaemonConfig) -> Self {
        let now = Instant::from_millis(1000);
        Self { now, daemon: Daemon::new(config, now) }
    }

    /// With these ports bound, and nothing left to do.
    pub fn bound(ports: &[Port]) -> Self {
        let mut alone = Self::new(DaemonConfig::default());
        for port in ports {
            alone.daemon.bind(alone.now, *port).unwrap();
            assert_eq!(alone.sent().last(), Some(&emitted(&bind(*port))));
            alone.daemon.handle_packet(alone.now, &bound(*port));
        }
        alone.events();
        alone
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        self.daemon.handle_timeout(self.now);
    }

    /// Lets time pass to the next timer; how much that was.
    pub fn skip(&mut self) -> Duration {
        let next = self.daemon.poll_timeout().unwrap();
        let time = next.since(self.now);
        self.pass(time);
        time
    }

    /// Takes everything that is to be sent now.
    pub fn sent(&mut self) -> Vec<Vec<u8>> {
        let mut buffer = b"anything".to_vec();
        let mut sent = Vec::new();
        while self.daemon.poll_transmit(self.now, &mut buffer) {
            assert_harmless(&buffer);
            sent.push(buffer.clone());
        }
        assert!(buffer.is_empty());
        sent
    }

    /// That this is sent now, and nothing else.
    #[track_caller]
    pub fn expect(&mut self, requests: &[Request<'_>]) {
        let sent = self.sent();
        let read: Vec<_> = sent.iter().map(|datagram| Request::parse(datagram).unwrap()).collect();
        assert_eq!(read, requests);
    }

    pub fn events(&mut self) -> Vec<DaemonEvent> {
        std::iter::from_fn(|| self.daemon.poll_event()).collect()
    }

    pub fn send(&mut self, from: Port, payload: &[u8]) {
        let to = Addr::new(Sid::new([9; 32]), P);
        self.daemon.send(self.now, from, to, Protection::Encrypted, payload).unwrap();
    }
}

pub fn emitted(request: &Request<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.emit(&mut bytes);
    bytes
}

/// Clients of one daemon, and the socket between.
pub struct Net {
    pub now: Instant,
    pub servald: Servald,
    pub clients: Vec<Client>,
    /// Of a thousand datagrams each way, so many are lost.
    pub loss: u64,
    rng: Rng,
}

pub struct Client {
    pub daemon: Daemon,
    pub events: Vec<DaemonEvent>,
    pub received: Vec<Datagram>,
    /// When it has sent something.
    pub sent: Vec<Instant>,
}

impl Net {
    pub fn new(seed: u64, clients: usize) -> Self {
        let now = Instant::from_millis(1000);
        let client = |_| Client {
            daemon: Daemon::new(DaemonConfig::default(), now),
            events: Vec::new(),
            received: Vec::new(),
            sent: Vec::new(),
        };
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let clients = (0..clients).map(client).collect();
        Self { now, servald: Servald::new(SID), clients, loss: 0, rng: Rng::new(bytes) }
    }

    pub fn bind(&mut self, client: usize, port: Port) {
        self.clients[client].daemon.bind(self.now, port).unwrap();
    }

    /// Sends from one port at the daemon to another.
    pub fn send(&mut self, client: usize, from: Port, to: Port, payload: &[u8]) -> bool {
        let to = Addr::new(self.servald.sid(), to);
        self.clients[client].daemon.send(self.now, from, to, Protection::Encrypted, payload).is_ok()
    }

    pub fn payloads(&self, client: usize) -> Vec<&[u8]> {
        self.clients[client].received.iter().map(|datagram| &*datagram.payload).collect()
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..100_000 {
            while self.turn() {}
            let timers = self.clients.iter().map(|client| client.daemon.poll_timeout());
            let next = timers.flatten().min().unwrap_or(end);
            assert!(next > self.now, "spins at {:?}", self.now);
            self.now = next.min(end);
            if next > end {
                for client in &mut self.clients {
                    client.daemon.handle_timeout(end);
                }
                return;
            }
        }
        panic!("no end at {:?}", self.now);
    }

    /// Carries what there is. Whether there was anything.
    fn turn(&mut self) -> bool {
        let Self { now, ref mut servald, ref mut clients, loss, ref mut rng } = *self;
        let mut lost = || rng.below(1000) < loss;
        let mut buffer = Vec::new();
        let mut moved = false;
        for (number, client) in clients.iter_mut().enumerate() {
            client.daemon.handle_timeout(now);
            while client.daemon.poll_transmit(now, &mut buffer) {
                moved = true;
                client.sent.push(now);
                if !lost() && !servald.receive(number, &buffer) {
                    client.daemon.handle_unreachable(now);
                }
            }
            while let Some(datagram) = servald.poll(number) {
                moved = true;
                if !lost() {
                    client.daemon.handle_packet(now, &datagram);
                }
            }
            client.events.extend(std::iter::from_fn(|| client.daemon.poll_event()));
            client.received.extend(std::iter::from_fn(|| client.daemon.poll_datagram()));
        }
        moved
    }
}

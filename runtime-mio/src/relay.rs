//! A UDP relay that loses, repeats and reorders packets, for tests and demonstrations on a machine that has no bad
//! link.

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};
use msp_core::Rng;
use socket2::SockRef;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const FRONT: Token = Token(0);
const WAKER: Token = Token(1);
/// The sockets of clients count from here.
const FIRST_CLIENT: usize = 2;
/// Clients beyond it are not served.
const MAX_CLIENTS: usize = 64;
/// Packets on their way; more are lost, as in any queue.
const MAX_DELAYED: usize = 4096;
/// Packets that change their place come this much later, in milliseconds.
const REORDER_DELAY: u64 = 8;

/// What the relay does to packets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayConfig {
    /// Packets of 100 that are lost. Default 0.
    pub loss: u8,
    /// Packets of 100 that come up to 8 ms late, behind others that were sent after them. Default 0.
    pub reorder: u8,
    /// Packets of 100 that come twice. Default 0.
    pub duplicate: u8,
    /// Delay of every packet. Default 0.
    pub delay: Duration,
    /// Start of the random numbers.
    pub seed: u64,
}

impl RelayConfig {
    /// A relay that loses `loss` packets of 100, chosen by `seed`.
    #[must_use]
    pub fn new(loss: u8, seed: u64) -> Self {
        Self { loss, reorder: 0, duplicate: 0, delay: Duration::ZERO, seed }
    }
}

/// Packets that a relay has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayStats {
    /// Packets that were passed on, both ways.
    pub passed: u64,
    /// Packets that were lost, both ways.
    pub lost: u64,
}

#[derive(Debug, Default)]
struct Counters {
    passed: AtomicU64,
    lost: AtomicU64,
}

/// What the owner tells the worker.
#[derive(Debug, Default)]
struct Switches {
    ended: AtomicBool,
    blackout: AtomicBool,
}

/// A relay between a UDP address of its own and a target. It ends when it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    counters: Arc<Counters>,
    switches: Arc<Switches>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Relay {
    /// Starts a relay to `target` on a free port of the loopback address.
    ///
    /// # Errors
    ///
    /// If the system has no socket or thread for it.
    pub fn start(target: SocketAddr, config: RelayConfig) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut front = bind()?;
        poll.registry().register(&mut front, FRONT, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let address = front.local_addr()?;
        let (counters, switches) = (Arc::new(Counters::default()), Arc::new(Switches::default()));
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&config.seed.to_le_bytes());
        let worker = Worker {
            poll,
            target,
            rng: Rng::new(seed),
            config,
            front,
            clients: BTreeMap::new(),
            delayed: BTreeMap::new(),
            count: 0,
            counters: Arc::clone(&counters),
            switches: Arc::clone(&switches),
        };
        let thread = thread::Builder::new().name("relay".into()).spawn(move || worker.run())?;
        Ok(Self { address, counters, switches, waker, thread: Some(thread) })
    }

    /// Where clients send to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Loses every packet from now on, or no longer.
    pub fn set_blackout(&self, blackout: bool) {
        self.switches.blackout.store(blackout, Ordering::Relaxed);
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> RelayStats {
        let Counters { passed, lost } = &*self.counters;
        RelayStats { passed: passed.load(Ordering::Relaxed), lost: lost.load(Ordering::Relaxed) }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.switches.ended.store(true, Ordering::Relaxed);
        if self.waker.wake().is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// Which way a packet goes: from a client to the target, or back to the client.
#[derive(Debug, Clone, Copy)]
enum Way {
    Out(Token),
    Back(Token),
}

#[derive(Debug)]
struct Client {
    address: SocketAddr,
    /// The target sees the client at this socket.
    socket: UdpSocket,
}

#[derive(Debug)]
struct Worker {
    poll: Poll,
    target: SocketAddr,
    config: RelayConfig,
    rng: Rng,
    front: UdpSocket,
    clients: BTreeMap<Token, Client>,
    /// By time, then in the order of arrival.
    delayed: BTreeMap<(Instant, u64), (Way, Vec<u8>)>,
    count: u64,
    counters: Arc<Counters>,
    switches: Arc<Switches>,
}

impl Worker {
    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(64);
        let mut buffer = vec![0; 65_535];
        while !self.switches.ended.load(Ordering::Relaxed) {
            let next = self.delayed.first_key_value().map(|((at, _), _)| at.duration_since(Instant::now()));
            match self.poll.poll(&mut events, next) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    FRONT => self.receive_from_clients(&mut buffer)?,
                    WAKER => {}
                    token => self.receive_from_target(token, &mut buffer),
                }
            }
            self.send_due();
        }
        Ok(())
    }

    fn receive_from_clients(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        while let Some((count, from)) = receive(&self.front, buffer) {
            if let Some(token) = self.client(from)? {
                self.take(Way::Out(token), &buffer[..count]);
            }
        }
        Ok(())
    }

    fn receive_from_target(&mut self, token: Token, buffer: &mut [u8]) {
        while let Some((count, from)) =
            self.clients.get(&token).and_then(|client| receive(&client.socket, buffer))
        {
            if from == self.target {
                self.take(Way::Back(token), &buffer[..count]);
            }
        }
    }

    /// The client at this address, which may be new.
    fn client(&mut self, address: SocketAddr) -> io::Result<Option<Token>> {
        if let Some((token, _)) = self.clients.iter().find(|(_, client)| client.address == address) {
            return Ok(Some(*token));
        }
        if self.clients.len() == MAX_CLIENTS {
            return Ok(None);
        }
        let token = Token(FIRST_CLIENT + self.clients.len());
        let mut socket = bind()?;
        self.poll.registry().register(&mut socket, token, Interest::READABLE)?;
        self.clients.insert(token, Client { address, socket });
        Ok(Some(token))
    }

    /// Loses a packet, or queues it for when it is due, or twice.
    fn take(&mut self, way: Way, packet: &[u8]) {
        if self.happens(self.config.loss) || self.switches.blackout.load(Ordering::Relaxed) {
            self.counters.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.queue(way, packet);
        if self.happens(self.config.duplicate) {
            self.queue(way, packet);
        }
    }

    fn queue(&mut self, way: Way, packet: &[u8]) {
        if self.delayed.len() == MAX_DELAYED {
            self.counters.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut due = Instant::now() + self.config.delay;
        if self.happens(self.config.reorder) {
            due += Duration::from_millis(1 + self.rng.below(REORDER_DELAY));
        }
        self.count += 1;
        self.delayed.insert((due, self.count), (way, packet.to_vec()));
    }

    fn happens(&mut self, of_100: u8) -> bool {
        self.rng.below(100) < of_100.into()
    }

    fn send_due(&mut self) {
        let now = Instant::now();
        while let Some(first) = self.delayed.first_entry().filter(|first| first.key().0 <= now) {
            let (way, packet) = first.remove();
            let (Way::Out(token) | Way::Back(token)) = way;
            let Some(client) = self.clients.get(&token) else { continue };
            let sent = match way {
                Way::Out(_) => client.socket.send_to(&packet, self.target),
                Way::Back(_) => self.front.send_to(&packet, client.address),
            };
            let counter = if sent.is_ok() { &self.counters.passed } else { &self.counters.lost };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A socket with room for bursts, so that only the relay decides what is lost.
fn bind() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into())?;
    SockRef::from(&socket).set_recv_buffer_size(1 << 20)?;
    Ok(socket)
}

/// The next packet that waits at this socket.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
    // An error is that of a packet sent before; the bound only guards against a socket that has no other.
    (0..16)
        .map_while(|_| match socket.recv_from(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            result => Some(result),
        })
        .find_map(Result::ok)
}

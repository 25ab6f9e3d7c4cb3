//! What is between two nodes: a relay that loses packets and takes its time.

#![allow(dead_code, reason = "each test target uses a part of it")]

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use msp_core::Rng;

/// The UDP port of every Serval node.
const PORT: u16 = 4110;
/// Packets on their way; more are lost, as in any queue.
const QUEUE: usize = 4096;
/// How long a packet may wait for those before it where the rate is limited.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often a thread that waits looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(100);

/// A network with a node on it, and the addresses there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shore {
    pub(crate) node: Ipv4Addr,
    /// The air's own, at which the node sees the other node.
    pub(crate) air: Ipv4Addr,
    pub(crate) broadcast: Ipv4Addr,
}

/// Carries the packets of two nodes, broadcasts as broadcasts. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Air(Arc<State>);

#[derive(Debug)]
struct State {
    /// Percent.
    loss: AtomicU8,
    /// Microseconds.
    delay: AtomicU64,
    /// Nanoseconds that a byte takes.
    pace: AtomicU64,
    /// When the last packet of each direction has left.
    busy: [Mutex<Instant>; 2],
    heard: AtomicU64,
    lost: AtomicU64,
    ended: AtomicBool,
}

/// A packet, where it goes and when.
type Due = (Instant, Vec<u8>, SocketAddrV4);

/// From one node to the other, alone or to all.
#[derive(Debug, Clone, Copy)]
struct Way {
    direction: usize,
    node: Ipv4Addr,
    to: SocketAddrV4,
}

impl Air {
    /// To be called in a namespace that is on both shores.
    pub(crate) fn between(shores: [Shore; 2], seed: u64) -> Self {
        let state = State {
            loss: AtomicU8::new(0),
            delay: AtomicU64::new(0),
            pace: AtomicU64::new(0),
            busy: [Instant::now(); 2].map(Mutex::new),
            heard: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        };
        let air = Self(Arc::new(state));
        let own = shores.map(|shore| bind(shore.air));
        for (from, to) in [(0, 1), (1, 0)] {
            let (sender, receiver) = sync_channel(QUEUE);
            let sockets = [
                (own[from].try_clone().unwrap(), shores[to].node),
                (bind(shores[from].broadcast), shores[to].broadcast),
            ];
            for (number, (socket, address)) in (0..).zip(sockets) {
                let (state, sender) = (Arc::clone(&air.0), sender.clone());
                let to = SocketAddrV4::new(address, PORT);
                let way = Way { direction: from, node: shores[from].node, to };
                let rng = rng(seed, [from as u8, number]);
                thread::spawn(move || state.take(&socket, way, rng, &sender));
            }
            let out = own[to].try_clone().unwrap();
            thread::spawn(move || deliver(receiver, &out));
        }
        air
    }

    /// Loses `percent` of all packets from now on, either way.
    pub(crate) fn lose(&self, percent: u8) {
        self.0.loss.store(percent, Relaxed);
    }

    /// Delays every packet from now on.
    pub(crate) fn delay(&self, delay: Duration) {
        self.0.delay.store(delay.as_micros() as u64, Relaxed);
    }

    /// Carries so many bytes in a second from now on, each way.
    pub(crate) fn limit(&self, rate: u64) {
        self.0.pace.store(1_000_000_000 / rate, Relaxed);
    }

    /// How many packets it has been given so far.
    pub(crate) fn heard(&self) -> u64 {
        self.0.heard.load(Relaxed)
    }

    /// How many packets it has lost so far.
    pub(crate) fn lost(&self) -> u64 {
        self.0.lost.load(Relaxed)
    }
}

impl Drop for Air {
    fn drop(&mut self) {
        self.0.ended.store(true, Relaxed);
    }
}

impl State {
    fn take(&self, socket: &UdpSocket, way: Way, mut rng: Rng, queue: &SyncSender<Due>) {
        let mut buffer = [0; 2048];
        while !self.ended.load(Relaxed) {
            let count = match socket.recv_from(&mut buffer) {
                Ok((count, from)) if from.ip() == way.node => count,
                // A broadcast of its own.
                Ok(_) => continue,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(error) => panic!("the air receives: {error}"),
            };
            self.heard.fetch_add(1, Relaxed);
            // What is lost has taken its time.
            let left = self.leave(way.direction, count);
            let lost = rng.below(100) < self.loss.load(Relaxed).into();
            let due = left.filter(|_| !lost).map(|left| (left, buffer[..count].to_vec(), way.to));
            if due.is_none_or(|due| queue.try_send(due).is_err()) {
                self.lost.fetch_add(1, Relaxed);
            }
        }
    }

    /// When a packet of this length, that has come now, is at the other end, if there is room for it.
    fn leave(&self, direction: usize, length: usize) -> Option<Instant> {
        let now = Instant::now();
        let mut busy = self.busy[direction].lock().unwrap();
        if *busy > now + PATIENCE {
            return None;
        }
        *busy = now.max(*busy) + Duration::from_nanos(self.pace.load(Relaxed) * length as u64);
        Some(*busy + Duration::from_micros(self.delay.load(Relaxed)))
    }
}

/// Until the last of those that take packets has ended.
fn deliver(queue: Receiver<Due>, out: &UdpSocket) {
    for (due, packet, to) in queue {
        let left = due.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            thread::sleep(left);
        }
        // A node that is not there hears nothing.
        let _ = out.send_to(&packet, to);
    }
}

fn bind(address: Ipv4Addr) -> UdpSocket {
    let socket = UdpSocket::bind((address, PORT)).unwrap();
    socket.set_broadcast(true).unwrap();
    socket.set_read_timeout(Some(GLANCE)).unwrap();
    socket
}

fn rng(seed: u64, stream: [u8; 2]) -> Rng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..10].copy_from_slice(&stream);
    Rng::new(bytes)
}

//! Clients of all kinds, for as long as the test lasts.

use crate::job::{Job, Manner};
use msp_core::Rng;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Connections of a burst, all at once.
const BURST: u64 = 30;

/// Connections that there are at once, at most.
pub(crate) const MOST: usize = 13 + BURST as usize;

/// The connections that a client has at once, again and again.
type Jobs = fn(&mut Rng) -> Vec<Job>;

/// Kinds of clients, and how many there are of each.
const KINDS: [(&str, usize, Jobs); 7] = [
    ("bulk", 2, |rng| vec![job(Manner::AtOnce, rng, 2_000_000, 2_000_000, 0)]),
    ("requests", 3, |rng| vec![job(Manner::Messages, rng, 60_000, 0, 0)]),
    // Longer than a stream waits for its peer: it must be kept alive.
    ("idle", 3, |rng| vec![job(Manner::Messages, rng, 9_000, 0, 12_000)]),
    ("slow reader", 1, |rng| vec![job(Manner::AtOnce, rng, 1_000, 2_000_000, 20)]),
    ("half-close", 2, |rng| {
        let manner = if rng.below(2) == 0 { Manner::AnswerAfterEnd } else { Manner::AskAfterEnd };
        vec![job(manner, rng, 100_000, 100_000, 0)]
    }),
    ("aborted", 2, |rng| {
        let manner = if rng.below(2) == 0 { Manner::ClientAborts } else { Manner::ServerAborts };
        vec![job(manner, rng, 100_000, 10_000, 0)]
    }),
    ("burst", 1, |rng| (0..BURST).map(|_| job(Manner::AtOnce, rng, 3_000, 3_000, 0)).collect()),
];

fn job(manner: Manner, rng: &mut Rng, up: u64, down: u64, pause: u64) -> Job {
    Job {
        manner,
        seed: rng.below(u64::MAX),
        // An aborted one must have something that its peer has not read.
        up: 1 + rng.below(up) as u32,
        down: rng.below(down + 1) as u32,
        pause: Duration::from_millis(pause),
    }
}

#[derive(Default)]
struct Done {
    streams: AtomicU64,
    bytes: AtomicU64,
}

pub(crate) struct Load {
    failures: Receiver<String>,
    done: Arc<Done>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts the clients; they end some time after `end`.
    pub(crate) fn start(
        entrance: SocketAddr,
        seed: u64,
        end: Instant,
        (sender, failures): (Sender<String>, Receiver<String>),
    ) -> Self {
        let done = Arc::new(Done::default());
        let mut clients = Vec::new();
        for (name, count, jobs) in KINDS {
            for _ in 0..count {
                let (done, sender) = (Arc::clone(&done), sender.clone());
                let mut start = [clients.len() as u8; 32];
                start[..8].copy_from_slice(&seed.to_le_bytes());
                let mut rng = Rng::new(start);
                clients.push(thread::spawn(move || {
                    while Instant::now() < end {
                        run(name, &jobs(&mut rng), entrance, &done, &sender);
                    }
                }));
            }
        }
        Self { failures, done, clients }
    }

    /// Connections that have ended well so far, and the bytes that have arrived by them.
    pub(crate) fn done(&self) -> (u64, u64) {
        (self.done.streams.load(Ordering::Relaxed), self.done.bytes.load(Ordering::Relaxed))
    }

    /// Waits this long.
    ///
    /// # Panics
    ///
    /// When a client or the server reports a failure by then.
    pub(crate) fn watch(&self, duration: Duration) {
        match self.failures.recv_timeout(duration) {
            Ok(failure) => panic!("{failure}"),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => unreachable!("the server has a sender"),
        }
    }

    /// Waits until all clients have ended.
    pub(crate) fn join(&mut self) {
        for client in self.clients.drain(..) {
            client.join().unwrap();
        }
    }
}

/// Has these connections at once.
fn run(name: &str, jobs: &[Job], entrance: SocketAddr, done: &Done, failures: &Sender<String>) {
    thread::scope(|scope| {
        for job in jobs {
            scope.spawn(move || match job.run(entrance) {
                Ok(()) => {
                    done.streams.fetch_add(1, Ordering::Relaxed);
                    done.bytes.fetch_add(job.bytes(), Ordering::Relaxed);
                }
                Err(error) => {
                    let _ = failures.send(format!("{name}, {job:?}: {error}"));
                }
            });
        }
    });
}

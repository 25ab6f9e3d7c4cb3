//! TCP connections through the mesh.
//!
//! A tunnel is a future that carries bytes until it ends: with the first connection if
//! [`TunnelConfig::once`] says so, or when it is [stopped](Stopper). It holds a node of its own. To drop it ends it at
//! once; peers then learn of it only when they have heard nothing for long enough.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use msp_async_std::tunnel::{self, Carrier, Source};
//! use msp_async_std::{Config, random};
//! use msp_core::{Addr, Identity, tunnel::TunnelConfig};
//!
//! let mut config = Config::default();
//! config.peers.push("192.0.2.7:4110".parse()?);
//! let carrier = Carrier::bind(Identity::from_seed(random()?), &config)?;
//!
//! let sid = "4701D08488451F545A409FB58AE3E58581CA40AC3F7F114698CD71DEAC73CA01".parse()?;
//! let entrance = Source::Tcp(std::net::TcpListener::bind("127.0.0.1:8080")?);
//! let outcome = tunnel::connect(carrier, Addr::new(sid, 80.into()), entrance, TunnelConfig::default())?.await;
//! # Ok(())
//! # }
//! ```

use crate::wait::{Sleep, TURNS_PER_POLL, Watched};
use msp_core::mdp::Instance;
pub use msp_core::tunnel::{Outcome, TunnelConfig, TunnelEvent};
use msp_core::{Addr, Host, Identity, Port, Sid, msp};
use msp_sockets::{BindError, Config, Part, Readiness, Socket, Watch};
pub use msp_sockets::{Error, Source, Target};
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// What carries a tunnel: a node on a UDP socket, or a client of a daemon.
#[derive(Debug)]
pub struct Carrier {
    host: Host,
    socket: Socket,
}

impl Carrier {
    /// A node with this identity, bound and knowing its peers.
    ///
    /// # Errors
    ///
    /// If the UDP address cannot be bound, or a peer is of the other IP version.
    pub fn bind(identity: Identity, config: &Config) -> Result<Self, BindError> {
        let (host, socket) = msp_sockets::bind(identity, config)?;
        Ok(Self { host, socket })
    }

    /// A client of the daemon of `instance`, see [`Node::attach`](crate::Node::attach).
    ///
    /// # Errors
    ///
    /// As for [`Node::attach`](crate::Node::attach).
    pub fn attach(instance: &Instance, port: Option<Port>, streams: msp::Config) -> io::Result<Self> {
        let (host, socket) = msp_sockets::attach(instance, port, streams)?;
        Ok(Self { host, socket })
    }

    /// Its address on the mesh; that of a daemon is known later, see [`TunnelEvent::Listening`].
    #[must_use]
    pub fn sid(&self) -> Option<Sid> {
        self.host.sid()
    }

    /// The UDP address that is bound. `None` for a client of a daemon.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.socket.local_addr()
    }
}

/// A tunnel that carries the streams that peers open to `port` to TCP connections, or the first one to standard input
/// and output.
///
/// # Errors
///
/// If the port cannot be listened on, or the system lacks something.
pub fn listen(carrier: Carrier, port: Port, target: Target, config: TunnelConfig) -> Result<Tunnel, Error> {
    let Carrier { host, socket } = carrier;
    Tunnel::new(msp_sockets::Tunnel::listen(host, socket, port, target, config)?)
}

/// A tunnel that opens a stream to `remote` for every TCP connection that it accepts, or one for standard input and
/// output.
///
/// # Errors
///
/// If `remote` cannot be anybody's address, or the system lacks something.
pub fn connect(
    carrier: Carrier,
    remote: Addr,
    source: Source,
    config: TunnelConfig,
) -> Result<Tunnel, Error> {
    let Carrier { host, socket } = carrier;
    Tunnel::new(msp_sockets::Tunnel::connect(host, socket, remote, source, config)?)
}

/// A tunnel: a future of how it has ended.
#[must_use = "nothing happens until it is awaited or spawned"]
pub struct Tunnel {
    tunnel: msp_sockets::Tunnel,
    parts: BTreeMap<Part, Watched>,
    sleep: Sleep,
    stop: Arc<Mutex<Stop>>,
    on_event: Box<dyn FnMut(&TunnelEvent) + Send>,
}

/// Ends a [`Tunnel`] from anywhere.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<Mutex<Stop>>);

#[derive(Debug, Default)]
struct Stop {
    asked: u32,
    waker: Option<Waker>,
}

impl Stopper {
    /// Asks the tunnel to tell its peers and end. The second time, it ends at once.
    pub fn stop(&self) {
        let mut stop = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stop.asked = stop.asked.saturating_add(1);
        let waker = stop.waker.take();
        drop(stop);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("tunnel", &self.tunnel).finish_non_exhaustive()
    }
}

impl Tunnel {
    fn new(tunnel: msp_sockets::Tunnel) -> Result<Self, Error> {
        let mut tunnel = Self {
            tunnel,
            parts: BTreeMap::new(),
            sleep: Sleep::new(),
            stop: Arc::default(),
            on_event: Box::new(|_| ()),
        };
        tunnel.watch()?;
        Ok(tunnel)
    }

    /// Has `on_event` told what happens. It is logged anyway.
    pub fn on_event(mut self, on_event: impl FnMut(&TunnelEvent) + Send + 'static) -> Self {
        self.on_event = Box::new(on_event);
        self
    }

    /// A handle that ends it.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// Has the reactor tell of what is new.
    fn watch(&mut self) -> io::Result<()> {
        while let Some(watch) = self.tunnel.poll_watch() {
            match watch {
                Watch::Begin(part, handle) => {
                    // The connection before it is taken out first.
                    self.parts.remove(&part);
                    match Watched::new(handle) {
                        Ok(watched) => {
                            self.parts.insert(part, watched);
                        }
                        Err(error) if !matches!(part, Part::Link(_) | Part::Asker(_)) => return Err(error),
                        Err(error) => self.tunnel.unwatched(part, error),
                    }
                }
                Watch::End(part) => {
                    self.parts.remove(&part);
                }
            }
        }
        Ok(())
    }

    fn take_stops(&self, cx: &Context<'_>) -> u32 {
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        stop.waker = Some(cx.waker().clone());
        std::mem::take(&mut stop.asked)
    }

    /// Ready when a part is, which the tunnel is told, or when it is time for another turn.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut ready = false;
        for (part, watched) in &self.parts {
            match watched.poll(cx, self.tunnel.wanted(*part)) {
                Ok((false, false)) => {}
                Ok((readable, writable)) => {
                    ready = true;
                    self.tunnel.ready(*part, Readiness { readable, writable, failed: false });
                }
                Err(error) => self.tunnel.unwatched(*part, error),
            }
        }
        if ready { Poll::Ready(()) } else { self.sleep.poll(cx, self.tunnel.timeout()) }
    }
}

impl Future for Tunnel {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = self.get_mut();
        for _ in 0..TURNS_PER_POLL {
            for _ in 0..this.take_stops(cx) {
                this.tunnel.shutdown();
            }
            this.tunnel.turn();
            // It fails only at the beginning: links that cannot be watched end, and there are no other parts.
            let _ = this.watch();
            while let Some(event) = this.tunnel.poll_event() {
                (this.on_event)(&event);
            }
            if let Some(outcome) = this.tunnel.outcome() {
                return Poll::Ready(outcome);
            }
            let busy = this.tunnel.timeout() == Some(std::time::Duration::ZERO);
            if !busy && this.poll_wait(cx).is_pending() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

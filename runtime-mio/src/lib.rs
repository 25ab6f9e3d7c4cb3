//! MSP streams, the MSP tunnel and an MDP node on [mio]: sockets, a clock and a loop around [`msp_core`], which
//! takes every protocol decision.
//!
//! # In your loop
//!
//! A [`Node`] is a UDP socket, or a client of a daemon that runs already, registered in a [`mio::Poll`] of yours with
//! a token of yours. It has streams, see [`Host::endpoint`](msp_core::Host::endpoint); or it becomes a [`Tunnel`],
//! which carries TCP connections. Either is driven by the same three calls, shown at [`Node`]: `handle_event` for
//! what the poll has told, `turn` to do the work, `timeout` for how long to wait next.
//!
//! # In a loop of its own
//!
//! A [`Runtime`] is a node with a loop. It does one thing, in the thread that runs it, until that is done or
//! [stopped](Stopper):
//!
//! - [`run`](Runtime::run) drives streams;
//! - [`listen`](Runtime::listen) carries the streams that peers open to TCP connections that it makes, or
//!   the first one to standard input and output;
//! - [`connect`](Runtime::connect) opens a stream for every TCP connection that it accepts, or one for
//!   standard input and output;
//! - [`ping`](Runtime::ping) asks a peer for echoes;
//! - [`trace`](Runtime::trace) asks which way packets take to a peer;
//! - [`identify`](Runtime::identify) tells its address;
//! - [`find`](Runtime::find) looks for services, and is one after which there may be another;
//! - [`serve`](Runtime::serve) relays, and serves the node to other programs, which
//!   [`attach_to_node`](Runtime::attach_to_node).
//!
//! ```no_run
//! use msp_core::{Addr, Identity, Port, tunnel::TunnelConfig};
//! use msp_mio::{Config, Runtime, Source};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = Config::default();
//! config.peers.push("192.0.2.7:4110".parse()?);
//! let runtime = Runtime::bind(Identity::from_seed(msp_mio::random()?), &config)?;
//!
//! let web = Addr::new("4701D08488451F545A409FB58AE3E58581CA40AC3F7F114698CD71DEAC73CA01".parse()?, 80.into());
//! let listener = std::net::TcpListener::bind("127.0.0.1:8080")?;
//! let outcome = runtime.connect(web, Source::Tcp(listener), TunnelConfig::default())?.run()?;
//! # Ok(())
//! # }
//! ```
//!
//! # What to know
//!
//! There is one thread and one loop, edge-triggered, with a bounded share of every turn for each socket.
//! When nothing is to be done it sleeps until the next protocol timer. Only standard input and output have
//! a thread each, because they may be anything.
//!
//! An open stream takes about 8 KiB when nothing is on its way: 1,000 between two nodes of one process, which has both
//! ends of each, made its resident memory grow by 15.8 MiB (x86-64 Linux,
//! `cargo test -p msp-mio --test poll -- --ignored --nocapture`).
//!
//! What happens below streams and to tunnels is reported through the [`log`] crate: a link that breaks as a warning,
//! links and neighbours that come and go as info.
#![forbid(unsafe_code)]

mod ask;
mod driver;
mod event_loop;
mod node;
#[cfg(feature = "relay")]
pub mod relay;
mod runtime;
mod serve;
mod socket;
mod tunnel;

pub use driver::Driver;
pub use event_loop::{Stopper, poll};
pub use msp_sockets::{
    About, BindError, Config, DEFAULT_PORT, Error, RunDirectory, Source, StatusSocket, Target,
    is_daemon_running, is_node_running, random,
};
pub use node::Node;
pub use runtime::Runtime;
pub use serve::Server;
pub use tunnel::Tunnel;

//! What every runtime of [`msp_core`] does with sockets, but for waiting until they are ready.
//!
//! Runtimes differ in how they wait: in a poll with tokens, or in a future with wakers. Nothing else about sockets
//! depends on it: how they are set up, how packets are batched, which errors are a loss and which are the end, what
//! share of a turn each gets, when to try again. That is here, so that it is decided once. The core has no place
//! for it, because it has no sockets. Programs want `msp-mio` or `msp-async-std`, not this.
//!
//! All sockets are non-blocking, and remember what they were told about readiness until the kernel says otherwise.
//! A runtime waits for them edge-triggered, tells them [`Socket::ready`], and calls them in turns, each of which does a
//! bounded share of the work:
//!
//! ```text
//! loop:
//!   progress = socket.receive(..) | socket.transmit(..)
//!   wait for the socket, no longer than socket.timeout_after(now, progress, deadline); socket.ready(..)
//! ```
#![forbid(unsafe_code)]

mod asking;
mod broadcast;
mod clients;
mod clock;
mod config;
mod daemon;
mod dump;
mod handle;
mod local;
mod names;
mod plugs;
mod report;
mod run;
mod show;
mod socket;
mod status;
mod stdio;
mod table;
mod tcp;
mod tunnel;
mod udp;

pub use asking::{Answer, ask};
pub use clients::{ClientsSocket, is_node_running};
pub use clock::Clock;
pub use config::{BindError, Config, DEFAULT_PORT};
pub use daemon::is_daemon_running;
pub use dump::ask_daemon;
pub use handle::Handle;
pub use report::log_uplink;
pub use run::RunDirectory;
pub use show::{About, Carried, Question, Topic, answer};
pub use socket::{LAST_TURNS, Socket, attach, attach_to_node, bind, random};
pub use status::StatusSocket;
pub use table::{Cell, Column, Format, Millis, Table, escape, object};
pub use tunnel::{Error, Part, Readiness, Source, Target, Tunnel, Watch};

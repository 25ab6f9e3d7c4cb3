//! MSP: reliable, ordered, two-way streams of messages over datagrams (`spec/10`).
//!
//! ```text
//!            listen, connect                 send, recv, finish, reset
//!                  |                                   |
//!              Endpoint --- owns many --- connections, seen as Stream handles
//!                  |                                   |
//!   handle_datagram, poll_transmit        send buffer, receive buffer, RTT, window, pacer
//! ```
//!
//! An [`Endpoint`] is all streams of one node. It takes and gives datagrams that somebody else encrypts,
//! routes and delivers, most of the time: they may be lost, repeated, delayed and reordered.

mod ack_timer;
mod admission;
mod bytes;
pub(crate) mod carriage;
mod config;
mod connection;
mod copies;
mod cumulative;
mod endpoint;
mod event;
mod first_message;
mod form;
mod meter;
mod parts;
pub(crate) mod paths;
mod peers;
pub(crate) mod receive;
mod refusals;
mod replay;
mod roll_call;
mod schedule;
pub(crate) mod selective;
pub(crate) mod send;
mod stats;
mod status;
mod stream;
mod turns;

pub use admission::EndpointStats;
pub use config::Config;
pub use endpoint::{Endpoint, Outgoing};
pub use event::{CloseReason, ConnectError, DatagramError, Event, Limit, ListenError, SendError};
pub use stats::Stats;
pub use status::{StreamState, StreamStatus};
pub use stream::{Stream, StreamId};
pub(crate) use turns::Room;

/// Bytes in the longest message that is sent (`spec/10` A.2). Longer ones are received.
pub const MAX_MESSAGE: usize = 1024;

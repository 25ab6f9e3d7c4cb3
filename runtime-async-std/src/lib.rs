//! MSP streams as futures: sockets and a task around [`msp_core`], which takes every protocol decision.
//!
//! A [`Node`] is a node on a UDP socket, or a client of a daemon that runs already. It
//! [connects](Node::connect) to others and [listens](Node::listen) for them, and has streams, [`MspStream`], that are
//! used like TCP connections: they are [`AsyncRead`](futures_io::AsyncRead) and
//! [`AsyncWrite`](futures_io::AsyncWrite). Those who like messages better have [`MspStream::send`] and
//! [`MspStream::recv`].
//!
//! ```no_run
//! # #[cfg(feature = "async-std")]
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use async_std::prelude::*;
//! use msp_async_std::{Config, Node, random};
//! use msp_core::{Addr, Identity};
//!
//! let mut config = Config::default();
//! config.peers.push("192.0.2.7:4110".parse()?);
//! let node = Node::spawn(Identity::from_seed(random()?), &config)?;
//!
//! let sid = "4701D08488451F545A409FB58AE3E58581CA40AC3F7F114698CD71DEAC73CA01".parse()?;
//! let mut stream = node.connect(Addr::new(sid, 80.into())).await?;
//! stream.write_all(b"hello").await?;
//! stream.close().await?;
//! let mut answer = Vec::new();
//! stream.read_to_end(&mut answer).await?;
//! node.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! TCP connections are carried by a [`tunnel`], a future as well.
//!
//! # Executors
//!
//! **async-std is discontinued** ([RUSTSEC-2025-0052]): it gets no fixes any more, and its authors recommend smol.
//! This crate is for programs that are on it, and for those that have left it. All that it takes of async-std is to
//! spawn one task, in [`Node::spawn`] and [`Node::spawn_attached`]; without the feature `async-std`, which is on by
//! default, there is nothing of it. The rest is [`async_io`], on which async-std and smol are both built, and the traits of
//! `futures-io`. With another executor, [`Node::bind`] and [`Node::attach`] give a [`Driver`] to spawn: the example
//! `smol` does.
//!
//! [RUSTSEC-2025-0052]: https://rustsec.org/advisories/RUSTSEC-2025-0052.html
//!
//! # What to know
//!
//! - **Keep the [`Node`]** as long as its streams: to drop it ends them.
//! - **Close streams**: to drop one that was not closed aborts it. See [`MspStream`].
//! - Everything can be cancelled at any await without losing or repeating anything.
//! - Nothing is queued here but streams that wait to be accepted, of which there are few. Messages wait in the core,
//!   within [`msp_core::msp::Config`], so back-pressure is that of the protocol.
//! - One lock is around the host. It is held for single calls and single turns of the driver, never across an await.
//! - A stream takes little: of 1,000, with both ends in one process, each end takes 1.7 kB of memory, as
//!   `cargo run --release -p msp-async-std --example many` tells. The example `speed` compares tunnels on this runtime
//!   with those on mio.
#![forbid(unsafe_code)]

mod driver;
mod error;
mod half;
mod listener;
mod node;
mod shared;
mod stream;
pub mod tunnel;
mod wait;

pub use driver::Driver;
pub use error::{ConnectError, ListenError, SendError, StreamError};
pub use half::{ReadHalf, WriteHalf};
pub use listener::MspListener;
pub use msp_sockets::{
    BindError, Config, DEFAULT_PORT, RunDirectory, is_daemon_running, is_node_running, random,
};
pub use node::Node;
pub use stream::MspStream;

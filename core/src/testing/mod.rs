//! Simulated networks and bodies of fuzz targets. Needs std; never part of a program.
//!
//! Time is virtual and goes exactly from one event to the next, so that hours pass in moments and a wake-up that is
//! missing shows. Everything comes from a seed, which is printed when a test fails.
//!
//! | | |
//! | --- | --- |
//! | [`Link`] | one direction of a link: delay, jitter, rate, queue, loss one by one and in bursts, copies, reordering, damage, outages |
//! | [`Network`] | stations of any kind and number, the links between them, and the checks of what the contract says of timers |
//! | [`Mesh`] | a network of nodes alone |
//! | [`Topology`], [`Walk`] | who is linked with whom: lines, grids, networks as people build them, nodes that walk |
//! | [`Party`] | a station with streams, ours or those of the [`Reference`], bare or on a node, and [`Program`]s that use them |
//! | [`Scenario`] | parties, links and what is sent in one line, or all of it from a seed |
//! | [`check`], [`conclude`] | what must be true of parties whatever has happened, and after everything has healed |
//! | [`Pair`], [`TunnelPair`] | two endpoints, two tunnels, for tests that look closely |
//! | [`Servald`] | a daemon behind its local socket |
//! | [`trial`] | how fast all that is over links of given rate, delay and loss |
//! | [`fuzz`] | the bodies of the fuzz targets |

mod agenda;
pub mod fuzz;
mod link;
mod mesh;
mod network;
mod ops;
mod pair;
mod party;
mod program;
mod reference;
mod scenario;
mod servald;
mod stack;
mod stations;
mod topology;
pub mod trial;
mod tunnel;
mod world;

pub use link::{Link, Traffic};
pub use mesh::{Mesh, NodeStation};
pub use network::{Network, Receiver, Station};
pub use ops::Op;
pub use pair::{Pair, Side};
pub use party::{PORT, Party};
pub use program::{Plan, Program, Reader};
pub use reference::Reference;
pub use scenario::{Report, Scenario};
pub use servald::{Servald, assert_harmless};
pub use stack::{Kind, Stack, Streams, node_of};
pub use stations::Stations;
pub use topology::{Edge, Topology, Walk};
pub use tunnel::{CLIENT, Dial, End, SERVER, Socket, TunnelPair, pattern};
pub use world::{Weather, check, conclude};

use crate::Rng;

/// A generator of random numbers from a short seed.
fn rng(seed: u64) -> Rng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    Rng::new(bytes)
}

/// The seed of a test: the one in the variable `MSP_TEST_SEED` if it is set, so that a failure can be
/// replayed, else `default`. It is printed, which `cargo test` shows when the test fails.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "a test may read its environment")]
pub fn seed(default: u64) -> u64 {
    let seed = std::env::var("MSP_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    std::eprintln!("MSP_TEST_SEED={seed}");
    seed
}

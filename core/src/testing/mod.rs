//! Simulated links and bodies of fuzz targets. Needs std; never part of a program.

pub mod fuzz;
mod link;
mod mesh;
mod pair;
mod servald;
mod tunnel;

pub use link::Link;
pub use mesh::{Mesh, Station};
pub use pair::{Pair, Side};
pub use servald::{Servald, assert_harmless};
pub use tunnel::{CLIENT, Dial, End, SERVER, Socket, TunnelPair, pattern};

/// The seed of a test: the one in the variable `MSP_TEST_SEED` if it is set, so that a failure can be
/// replayed, else `default`. It is printed, which `cargo test` shows when the test fails.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "a test may read its environment")]
pub fn seed(default: u64) -> u64 {
    let seed = std::env::var("MSP_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    std::eprintln!("MSP_TEST_SEED={seed}");
    seed
}

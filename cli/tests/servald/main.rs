//! Against the reference daemon, an unmodified build that `MSP_TEST_SERVALD` names, in network namespaces that
//! are joined by relays which lose packets.
//!
//! ```text
//! MSP_TEST_SERVALD=~/serval-dna/servald cargo test -p msp-cli --test servald -- --include-ignored
//! ```
//!
//! Without the daemon, or the right to make namespaces, the tests say on standard error that they were skipped,
//! and pass.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop where it stands")]

#[path = "../common/air.rs"]
mod air;
mod bindings;
mod bulk;
mod client;
#[path = "../common/mod.rs"]
mod common;
mod daemon;
mod embedded;
#[path = "../common/exchange.rs"]
mod exchange;
mod finish;
#[path = "../common/lab.rs"]
mod lab;
mod matrix;
mod mixed;
#[path = "../common/ours.rs"]
mod ours;
mod ports;
#[path = "../common/process.rs"]
mod process;
#[path = "../common/report.rs"]
mod report;
mod scenarios;
#[path = "../common/scratch.rs"]
mod scratch;
mod side;
mod streams;

use lab::Lab;
use report::skip;

/// Whether there can be labs and daemons here; if not, says why `test` is skipped.
fn possible(test: &str) -> bool {
    let missing = match daemon::program() {
        Some(_) => Lab::missing(),
        None => Some("MSP_TEST_SERVALD does not name a servald".to_owned()),
    };
    if let Some(why) = &missing {
        skip(test, why);
    }
    missing.is_none()
}

/// A lab, or the reason why the test is skipped.
fn lab(test: &str, length: u8) -> Option<Lab> {
    possible(test).then(|| Lab::chain(length))
}

//! Nodes of ours in network namespaces that form a mesh: the real program over many hops that lose packets.
//!
//! Without the right to make namespaces, the tests say on standard error that they were skipped, and pass.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop where it stands")]

#[path = "../common/air.rs"]
mod air;
#[path = "../common/mod.rs"]
mod common;
#[path = "../common/lab.rs"]
mod lab;
mod line;
#[path = "../common/ours.rs"]
mod ours;
#[path = "../common/process.rs"]
mod process;
mod radios;
#[path = "../common/report.rs"]
mod report;
mod ring;
#[path = "../common/scratch.rs"]
mod scratch;

use lab::Lab;
use ours::Ours;
use process::Process;
use report::skip;

/// Whether there can be labs here; if not, says why `test` is skipped.
fn possible(test: &str) -> bool {
    let missing = Lab::missing();
    if let Some(why) = &missing {
        skip(test, why);
    }
    missing.is_none()
}

/// A node at each of the first `count` places, which all programs there share.
fn nodes(lab: &Lab, count: u8) -> Vec<(Ours<'_>, Process)> {
    (0..count).map(|place| Ours::shared(lab, place)).collect()
}

//! The `msp` program together with programs that others wrote: the reference daemon (`servald`) and what
//! people use a tunnel for (`programs`).
//!
//! A test whose other program is missing says on standard error that it was skipped, and passes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop where it stands")]

mod daemon;
mod exchange;
mod lab;
mod ours;
mod process;
mod programs;
mod scratch;
mod servald;
mod ssh;
mod tunnel;

use std::io::Write as _;

/// Says why a test did nothing. It goes past the capture of the test harness: a skipped test must not look
/// like one that ran.
fn skip(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped {test}: {why}");
}

//! The `msp` program together with what people use a tunnel for.
//!
//! A test whose other program is missing says on standard error that it was skipped, and passes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop where it stands")]

#[path = "../common/exchange.rs"]
mod exchange;
#[path = "../common/process.rs"]
mod process;
mod programs;
#[path = "../common/report.rs"]
mod report;
#[path = "../common/scratch.rs"]
mod scratch;
mod ssh;
mod tunnel;

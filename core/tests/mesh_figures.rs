//! How well nodes relay, in a small version of `cargo bench -p msp-core --bench mesh`: no change goes unseen.
//!
//! The figures are those of `snapshots/mesh.txt`. To keep new ones, after having looked at the difference:
//!
//! ```text
//! MSP_TEST_BLESS=1 cargo test -p msp-core --test mesh_figures
//! cargo bench -p msp-core --bench mesh -- --bless
//! ```
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use msp_core::testing::trial::{MeshEffort, mesh_report};
use std::{env, fs};

const FIGURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots/mesh.txt");

#[test]
#[allow(clippy::disallowed_methods, reason = "a test may read its environment")]
fn the_figures_are_as_before() {
    let figures = mesh_report(&MeshEffort::small(), &|_| false);
    if env::var("MSP_TEST_BLESS").is_ok() {
        fs::write(FIGURES, &figures).unwrap();
    }
    let before = fs::read_to_string(FIGURES).unwrap();
    assert!(figures == before, "the figures differ from those in {FIGURES}:\n{figures}");
}

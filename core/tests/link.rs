//! How fast the protocol is, in a small version of `cargo bench -p msp-core --bench link`: no change goes unseen.
//!
//! The figures are those of `snapshots/link.txt`. To keep new ones, after having looked at the difference:
//!
//! ```text
//! MSP_TEST_BLESS=1 cargo test -p msp-core --test link
//! cargo bench -p msp-core --bench link -- --bless
//! ```

use msp_core::testing::trial::{Effort, report};
use std::{env, fs};

const FIGURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots/link.txt");

#[test]
#[allow(clippy::disallowed_methods, reason = "a test may read its environment")]
fn the_figures_are_as_before() {
    let figures = report(&Effort::small(), &|_| false);
    if env::var("MSP_TEST_BLESS").is_ok() {
        fs::write(FIGURES, &figures).unwrap();
    }
    let before = fs::read_to_string(FIGURES).unwrap();
    let changed = |(before, now): &(&str, &str)| before != now;
    for (before, now) in before.lines().zip(figures.lines()).filter(changed) {
        println!("- {before}\n+ {now}");
    }
    assert!(figures == before, "the figures have changed; `tests/link.rs` says what to do");
}

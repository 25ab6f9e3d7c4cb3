//! Sequences of operations that are legal in any order, from quickcheck, in the form that fuzz targets have them.
//! What is found here can be put into the corpus as it is. `QUICKCHECK_TESTS=n` runs so many of each.
#![allow(clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test may read its environment")]

use msp_core::testing::{fuzz, seed};
use quickcheck::{Arbitrary, Gen};
use std::panic::catch_unwind;

/// Runs a body on `count` random inputs, unless told otherwise, and shrinks the one that fails.
fn every(body: fn(&[u8]), count: u64) {
    let first = seed(1);
    let count = std::env::var("QUICKCHECK_TESTS").ok().and_then(|n| n.parse().ok()).unwrap_or(count);
    for seed in first..first + count {
        let input = Vec::<u8>::arbitrary(&mut Gen::from_size_and_seed(400, seed));
        let fails = |input: &Vec<u8>| catch_unwind(|| body(input)).is_err();
        if fails(&input) {
            let mut least = input;
            while let Some(less) = least.shrink().find(fails) {
                least = less;
            }
            panic!("MSP_TEST_SEED={seed}: {least:?}");
        }
    }
}

#[test]
fn pairs_deliver_what_was_sent_or_both_ends_know() {
    every(fuzz::pair, 300);
}

#[test]
fn the_reference_delivers_the_same() {
    every(fuzz::differential, 100);
}

//! Any bytes through every parser.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| msp_core::testing::fuzz::wire(input));

#[cfg(not(fuzzing))]
fn main() {}

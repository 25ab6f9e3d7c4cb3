//! Any bytes through every parser.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| msp_core::testing::fuzz::wire(input));

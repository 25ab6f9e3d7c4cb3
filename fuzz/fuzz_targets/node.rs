//! A node, with streams on it, in hostile company.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| msp_core::testing::fuzz::node(input));

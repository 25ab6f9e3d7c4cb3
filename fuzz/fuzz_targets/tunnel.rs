//! Two tunnels and an enemy between them.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| msp_core::testing::fuzz::tunnel(input));

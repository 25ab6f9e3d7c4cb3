//! A host in hostile company.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| msp_core::testing::fuzz::host(input));

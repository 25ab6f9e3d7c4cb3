//! Any datagram into an endpoint with a hostile peer.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| msp_core::testing::fuzz::datagram(input));

//! Any datagram into an endpoint with a hostile peer.
#![cfg_attr(fuzzing, no_main)]

msp_fuzz::target!(msp_core::testing::fuzz::datagram);

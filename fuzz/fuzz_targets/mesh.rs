//! A node that relays, with neighbours that lie.
#![cfg_attr(fuzzing, no_main)]

msp_fuzz::target!(msp_core::testing::fuzz::mesh);

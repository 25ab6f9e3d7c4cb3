//! Two tunnels and an enemy between them.
#![cfg_attr(fuzzing, no_main)]

msp_fuzz::target!(msp_core::testing::fuzz::tunnel);

//! Streams through a daemon that says anything.
#![cfg_attr(fuzzing, no_main)]

msp_fuzz::target!(msp_core::testing::fuzz::daemon_streams);

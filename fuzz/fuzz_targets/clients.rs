//! The server of a node's local socket, with programs that send it anything.
#![cfg_attr(fuzzing, no_main)]

msp_fuzz::target!(msp_core::testing::fuzz::clients);

//! The same on streams of ours and of the reference.
#![cfg_attr(fuzzing, no_main)]

msp_fuzz::target!(msp_core::testing::fuzz::differential);

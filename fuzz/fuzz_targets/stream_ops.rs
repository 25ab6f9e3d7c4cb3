//! The two windows of a stream, each against a model.
#![cfg_attr(fuzzing, no_main)]

msp_fuzz::target!(msp_core::testing::fuzz::stream_ops);

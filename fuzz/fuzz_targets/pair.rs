//! Two endpoints and whatever happens to them and between them.
#![cfg_attr(fuzzing, no_main)]

msp_fuzz::target!(msp_core::testing::fuzz::pair);

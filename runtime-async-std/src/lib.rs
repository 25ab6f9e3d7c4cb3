//! MSP streams for async-std.
//!
//! Nothing is here yet. The crate holds the place of a second runtime, which will share every decision
//! with `msp-mio` because all of them are in `msp-core`.

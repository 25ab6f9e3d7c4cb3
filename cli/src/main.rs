//! The `msp` program.

fn main() {}

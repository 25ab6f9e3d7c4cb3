//! Simulated links and bodies of fuzz targets. Needs std; never part of a program.

pub mod fuzz;
mod link;

pub use link::Link;

//! The MSP tunnel on mio.

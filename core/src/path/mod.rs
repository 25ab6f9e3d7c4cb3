//! What a sender learns about a path: its round-trip time, and how much it holds.
//!
//! The same for the path to the far end of a stream and for the one hop to a neighbour.

mod congestion;
mod rate;
mod rtt;

pub(crate) use congestion::{Congestion, Pacer};
pub(crate) use rate::{Loss, Rate, Sent};
pub(crate) use rtt::RoundTrip;

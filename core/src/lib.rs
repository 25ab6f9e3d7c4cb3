//! Sans-I/O Serval MDP and MSP.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "testing"))]
extern crate std;

mod addr;
mod host;
pub mod mdp;
pub mod msp;
mod rng;
mod seq;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
pub mod tunnel;
pub mod wire;

pub use addr::{Addr, ParsePortError, ParseSidError, Port, Sid};
pub use host::Host;
pub use mdp::{
    Datagram, Destination, Identity, InterfaceConfig, InterfaceId, Node, NodeConfig, NodeEvent, NodeStats,
    SendDatagramError, Transmit,
};
pub use rng::Rng;
pub use seq::Seq;
pub use time::Instant;
pub use wire::mdp::Protection;

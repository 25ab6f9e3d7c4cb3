//! Where a node lives.

use msp_core::msp;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

/// The UDP port of a Serval node.
pub const DEFAULT_PORT: u16 = 4110;

/// Where a node lives, and what its peers may take.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The UDP address to bind. Port 0 takes any free port. Default `0.0.0.0:4110`.
    pub udp: SocketAddr,
    /// UDP addresses of further interfaces, such as those of other radios; at most 15. Each is an interface of the node
    /// like [`Config::udp`]. Default none.
    pub more_udp: Vec<SocketAddr>,
    /// Whether to look for neighbours on the networks of the interfaces: by broadcast with IPv4, and with IPv6 by
    /// multicast to the link-local group `ff12::4110`, which the reference daemon does not know. They go to the port of
    /// the interface, or to [`DEFAULT_PORT`] if that is 0. Default true.
    pub broadcast: bool,
    /// Nodes to reach by unicast. Default none.
    pub peers: Vec<SocketAddr>,
    /// Limits of its streams.
    pub streams: msp::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            udp: (Ipv4Addr::UNSPECIFIED, DEFAULT_PORT).into(),
            more_udp: Vec::new(),
            broadcast: true,
            peers: Vec::new(),
            streams: msp::Config::default(),
        }
    }
}

/// Why a node could not be made.
#[derive(Debug)]
pub struct BindError {
    /// The UDP address that was to be bound.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot bind UDP address {}: {}", self.address, self.source)
    }
}

impl std::error::Error for BindError {}

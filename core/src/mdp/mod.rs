//! The MDP node: encrypted datagrams between identities, over links that lose packets.
//!
//! [`Node`] is a node of the mesh: it finds neighbours by broadcast or at configured addresses, acknowledges and
//! retransmits hop by hop, finds the shortest ways to all others, tells its neighbours, and passes on what is for others,
//! unless [`NodeConfig::relay`] says otherwise.
//!
//! [`Daemon`] takes its place where a daemon of the mesh runs already: it is a client of that one. [`Uplink`] is
//! either. [`Clients`] make of a node what others can be clients of.

mod announce;
mod clients;
mod config;
mod contact;
mod crypto;
mod daemon;
mod datagram;
mod directory;
mod discovery;
mod explain;
mod find;
mod history;
mod hop_repair;
mod identify;
mod identity;
mod inbound;
mod keyring;
mod keys;
mod linkstate;
mod loss;
mod neighbour;
mod node;
mod outbox;
mod ping;
mod queue;
mod receive;
mod relay;
mod report;
mod routing;
mod send;
mod services;
mod status;
mod trace;
mod transmit;
mod uplink;

pub use clients::{ClientName, ClientStatus, Clients, ClientsConfig, ClientsStats};
pub use config::{InterfaceConfig, NodeConfig, NodeStats};
pub use crypto::{Nonces, SharedKey};
pub use daemon::{BindError, Daemon, DaemonConfig, DaemonEvent, DaemonStats, Instance, InstanceError};
pub use datagram::{Datagram, Fingerprint, SendDatagramError};
pub use discovery::{ParseServiceError, Service, ServiceName, ServicePattern};
pub use find::{Find, FindConfig, FindEvent, Wanted};
#[cfg(feature = "testing")]
pub(crate) use hop_repair::HopRepair;
pub use identify::Identify;
pub use identity::{Identity, sid_of_signing_key, verify, verify_datagram};
pub use keyring::{Keyring, KeyringError, KeyringIdentity};
pub use node::{Destination, InterfaceId, Node, NodeEvent, Transmit};
pub use ping::{Ping, PingConfig, PingEvent, PingSummary};
pub use status::{NeighbourStatus, RouteStatus};
pub use trace::{Trace, TracePath};
pub use uplink::{Incoming, Uplink, UplinkEvent};

/// Who sends again what is lost on the hop to a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repair {
    /// The node, which keeps it until the neighbour acknowledges it.
    Hop,
    /// Whoever sends the datagram, if the neighbour is its destination: then an acknowledgment from there
    /// tells as much. On the way to others, the node.
    Sender,
}

/// One of the two ways to send on an interface. Each is a stream of packets with numbers of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Unicast,
    Broadcast,
}

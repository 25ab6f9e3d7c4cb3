//! What people are told of clients.

use super::{ClientName, Clients};
use crate::Port;
use alloc::vec::Vec;

/// A program that has ports of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientStatus {
    /// Its socket.
    pub name: ClientName,
    /// Its ports, in order.
    pub ports: Vec<Port>,
    /// Datagrams that it has sent, to others on the mesh or here.
    pub sent: u64,
    /// Datagrams that have come for it.
    pub received: u64,
    /// Datagrams and answers that it has not taken yet.
    pub queued: usize,
}

impl Clients {
    /// The programs that have ports, in the order of their names.
    pub fn statuses(&self) -> impl Iterator<Item = ClientStatus> {
        let with_ports = self.clients.iter().filter(|(_, inbox)| !inbox.ports.is_empty());
        with_ports.map(|(name, inbox)| ClientStatus {
            name: name.clone(),
            ports: inbox.ports.iter().copied().collect(),
            sent: inbox.sent,
            received: inbox.received,
            queued: inbox.len(),
        })
    }
}

//! What a node's clients may take, and what is counted.

use core::time::Duration;

/// Limits of [`Clients`](super::Clients).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientsConfig {
    /// Programs that can have ports at once; 64 by default.
    pub max_clients: usize,
    /// Ports that all of them can have together; 8192 by default.
    pub max_ports: usize,
    /// Datagrams that wait for one client; 256 by default. What finds no room is lost, and counted.
    pub queue: usize,
    /// What a client sends waits so long for room on the way to its destination, and everything that clients send
    /// after it; 20 ms by default. Then it is lost, and counted, and for a second nothing waits for that destination.
    pub patience: Duration,
}

impl Default for ClientsConfig {
    fn default() -> Self {
        Self { max_clients: 64, max_ports: 8192, queue: 256, patience: Duration::from_millis(20) }
    }
}

/// What [`Clients`](super::Clients) have counted since their start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientsStats {
    /// Datagrams of clients that were too short to be answered, or came from a socket without a name.
    pub malformed: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Clients that were found gone.
    pub gone: u64,
    /// Datagrams of clients that were sent, to others on the mesh or here.
    pub datagrams_sent: u64,
    /// Datagrams of clients for which there was no room, or no way, for too long.
    pub datagrams_expired: u64,
    /// Datagrams that were handed to clients.
    pub datagrams_received: u64,
    /// Datagrams for a client that found its queue full.
    pub datagrams_dropped: u64,
    /// Datagrams for a port that nobody has.
    pub unbound: u64,
}

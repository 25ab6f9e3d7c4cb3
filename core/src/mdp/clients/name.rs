//! How clients are told apart.

use alloc::sync::Arc;
use core::borrow::Borrow;

/// A client, by the name of its socket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientName(Arc<[u8]>);

impl ClientName {
    /// Bytes in the longest name of a unix socket.
    pub const MAX_LEN: usize = 108;

    /// The socket with this name, whatever that means to its owner; `None` if it has no name, or one that is too long.
    #[must_use]
    pub fn new(name: &[u8]) -> Option<Self> {
        (1..=Self::MAX_LEN).contains(&name.len()).then(|| Self(name.into()))
    }

    /// The name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for ClientName {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

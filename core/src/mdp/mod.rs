//! MDP: encrypted datagrams between identities.

mod crypto;
mod identity;

pub use crypto::{Nonces, SharedKey};
pub use identity::{Identity, sid_of_signing_key, verify, verify_datagram};

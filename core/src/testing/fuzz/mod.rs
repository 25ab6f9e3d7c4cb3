//! Bodies of the fuzz targets, also replayed over the committed corpus by `cargo test`.

mod clients;
mod daemon_socket;
mod daemon_streams;
mod datagram;
mod forge;
mod mesh;
mod node;
mod stream_ops;
mod tunnel;
mod user;
mod wire;

pub use super::ops::{differential, pair};
pub use clients::clients;
pub use daemon_socket::daemon_socket;
pub use daemon_streams::daemon_streams;
pub use datagram::datagram;
pub use mesh::mesh;
pub use node::node;
pub use stream_ops::stream_ops;
pub use tunnel::tunnel;
pub use wire::wire;

/// The bytes that a fuzzer gives, from which operations are read until there are no more.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn u8(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes([self.u8()?, self.u8()?]))
    }

    /// A byte that tells a length, and as many bytes, or those that there are.
    fn slice(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u8()?).min(self.0.len());
        let (slice, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(slice)
    }
}

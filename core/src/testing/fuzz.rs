//! Bodies of the fuzz targets, also replayed over the committed corpus by `cargo test`.

use crate::wire::msp;
use alloc::vec::Vec;

/// Every parser accepts any bytes, and what it made of them reads back the same.
///
/// # Panics
///
/// When a codec does not round-trip.
pub fn wire(input: &[u8]) {
    if let Ok(repr) = msp::Repr::parse(input) {
        let mut emitted = Vec::new();
        repr.emit(&mut emitted);
        assert_eq!(emitted.len(), repr.buffer_len());
        assert_eq!(msp::Repr::parse(&emitted), Ok(repr));
    }
}

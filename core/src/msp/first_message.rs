//! The first message of a peer, by which its stream is told from another one between the same ports.

use crate::Seq;

/// A hash of it, while its number can only be that of a copy.
#[derive(Debug, Default)]
pub(crate) struct FirstMessage(Option<u64>);

impl FirstMessage {
    /// A message with that number has come.
    pub(crate) fn note(&mut self, seq: Seq, payload: &[u8]) {
        if seq == Seq(0) {
            self.0.get_or_insert_with(|| fnv1a(payload));
        } else if seq == Seq(1 << 15) {
            self.0 = None; // the next with the number 0 is another one
        }
    }

    /// Whether a message with the number 0 is not the one that has come before.
    pub(crate) fn differs_from(&self, payload: &[u8]) -> bool {
        self.0.is_some_and(|hash| hash != fnv1a(payload))
    }
}

/// FNV-1a, to tell one message from another. Not against an adversary, who needs the peer's key to get here.
fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_counts_until_half_of_the_numbers_have_passed() {
        let mut first = FirstMessage::default();
        assert!(!first.differs_from(b"a"));
        first.note(Seq(1), b"b");
        assert!(!first.differs_from(b"a"), "not known yet");
        first.note(Seq(0), b"a");
        first.note(Seq(0), b"b");
        first.note(Seq(0x7fff), b"c");
        assert!(!first.differs_from(b"a") && first.differs_from(b"b"));
        first.note(Seq(0x8000), b"d");
        assert!(!first.differs_from(b"b"));
        first.note(Seq(0), b"b");
        assert!(first.differs_from(b"a"));
    }

    #[test]
    fn every_byte_counts() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_ne!(fnv1a(b"ab"), fnv1a(b"ba"));
    }
}

//! Random numbers from a seed.

use core::fmt;
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

/// Bytes that nobody can predict who does not know the seed: SHA-512 of the seed and a counter.
///
/// The same seed gives the same bytes, so a test replays from one number; a program passes 32 bytes from
/// the operating system. It serves ports, broadcast identifiers, nonce prefixes and jitter, a few calls a
/// second at most, so speed is of no concern.
pub struct Rng {
    seed: Zeroizing<[u8; 32]>,
    counter: u64,
}

impl Rng {
    /// A generator that starts from `seed`.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        Self { seed: Zeroizing::new(seed), counter: 0 }
    }

    /// `N` random bytes, at most 64.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        const { assert!(N <= 64) };
        let hash = Sha512::new().chain_update(*self.seed).chain_update(self.counter.to_le_bytes()).finalize();
        self.counter += 1;
        let mut bytes = [0; N];
        bytes.copy_from_slice(&hash[..N]);
        bytes
    }

    /// A random number below `bound`, 0 if `bound` is 0. The bias is below 2⁻³² for bounds under 2³².
    pub fn below(&mut self, bound: u64) -> u64 {
        u64::from_le_bytes(self.bytes()).checked_rem(bound).unwrap_or(0)
    }
}

/// Hides the seed.
impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rng").field("counter", &self.counter).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_same_bytes_and_no_repeats() {
        let (mut a, mut b) = (Rng::new([7; 32]), Rng::new([7; 32]));
        let first: [u8; 32] = a.bytes();
        assert_eq!(first, b.bytes());
        assert_ne!(first, a.bytes());
        assert_ne!(first, Rng::new([8; 32]).bytes());
        assert_eq!(a.below(0), 0);
        assert!((0..100).all(|_| a.below(3) < 3));
    }
}

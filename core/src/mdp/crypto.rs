//! Encryption of datagrams (`spec/40` section 3.1): X25519, XSalsa20, Poly1305.

use super::Fingerprint;
use crate::Rng;
use core::fmt;
use crypto_box::aead::AeadInPlace;
use crypto_box::{Nonce, PublicKey, SalsaBox, SecretKey, Tag};

/// What two identities share, and nobody else knows. It encrypts both ways.
pub struct SharedKey(SalsaBox);

impl SharedKey {
    /// Bytes in front of the ciphertext: the nonce and the authenticator.
    pub const OVERHEAD: usize = Self::NONCE_LEN + Self::TAG_LEN;
    const NONCE_LEN: usize = 24;
    const TAG_LEN: usize = 16;

    pub(super) fn new(public: &PublicKey, secret: &SecretKey) -> Self {
        Self(SalsaBox::new(public, secret))
    }

    /// Encrypts in place: `frame` holds [`SharedKey::OVERHEAD`] bytes of any value, then the plaintext.
    /// Afterwards it holds nonce, authenticator and ciphertext. A shorter frame, which has no room for
    /// them, is left alone.
    pub fn seal(&self, nonce: &[u8; 24], frame: &mut [u8]) {
        let Some((head, plaintext)) = frame.split_at_mut_checked(Self::OVERHEAD) else { return };
        let (nonce_field, tag_field) = head.split_at_mut(Self::NONCE_LEN);
        nonce_field.copy_from_slice(nonce);
        // Fails only for messages of 2^64 bytes; then the authenticator stays wrong and nobody accepts it.
        if let Ok(tag) = self.0.encrypt_in_place_detached(Nonce::from_slice(nonce), b"", plaintext) {
            tag_field.copy_from_slice(&tag);
        }
    }

    /// Decrypts in place what [`SharedKey::seal`] has made. `None` if it was not sealed with this key, or
    /// was changed.
    pub fn open<'a>(&self, frame: &'a mut [u8]) -> Option<&'a mut [u8]> {
        let (head, ciphertext) = frame.split_at_mut_checked(Self::OVERHEAD)?;
        let (nonce, tag) = head.split_at(Self::NONCE_LEN);
        let (nonce, tag) = (Nonce::from_slice(nonce), Tag::from_slice(tag));
        self.0.decrypt_in_place_detached(nonce, b"", ciphertext, tag).ok()?;
        Some(ciphertext)
    }

    /// Tells a sealed frame from all others, if it opens. `None` if it is too short for that.
    #[must_use]
    pub fn fingerprint(frame: &[u8]) -> Option<Fingerprint> {
        let (_, tag) = frame.first_chunk::<{ Self::OVERHEAD }>()?.split_at(Self::NONCE_LEN);
        tag.first_chunk().map(|bytes| Fingerprint(u64::from_be_bytes(*bytes)))
    }
}

/// Shows nothing.
impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey")
    }
}

/// Nonces, each given once: 16 random bytes, then a counter of 64 bits.
///
/// The counter cannot repeat while the program runs, and the random part cannot meet that of another run.
/// The first bit is 0, as the wire wants it (`spec/40` section 3.1); the reference daemon clears it in the
/// byte that counts, and so uses each nonce twice in 256. Here it is in the random part.
#[derive(Debug)]
pub struct Nonces {
    prefix: [u8; 16],
    counter: u64,
}

impl Nonces {
    /// Nonces whose random part comes from `rng`.
    pub fn new(rng: &mut Rng) -> Self {
        let mut prefix: [u8; 16] = rng.bytes();
        prefix[0] &= 0x7f;
        Self { prefix, counter: 0 }
    }

    /// A nonce that was never given before.
    pub fn generate(&mut self) -> [u8; 24] {
        let mut nonce = [0; 24];
        nonce[..16].copy_from_slice(&self.prefix);
        nonce[16..].copy_from_slice(&self.counter.to_be_bytes());
        self.counter += 1;
        nonce
    }

    /// A number that no other node gives, as far as chance goes, and this one never again.
    pub(super) fn number(&mut self) -> [u8; 8] {
        let counter = self.counter.to_le_bytes();
        self.counter += 1;
        core::array::from_fn(|byte| self.prefix[byte] ^ counter[byte])
    }

    /// Whether `frame` was sealed with one of these nonces: then it was sent from here, and whoever sends it back
    /// wants it to be taken for an answer. Both ends share one key, so it would open.
    #[must_use]
    pub fn has_made(&self, frame: &[u8]) -> bool {
        frame.starts_with(&self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Identity;
    use alloc::collections::BTreeSet;
    use alloc::vec;

    #[test]
    fn only_the_two_can_open_and_any_flipped_bit_shows() {
        let [a, b, c] = [1, 2, 3].map(|n| Identity::from_seed([n; 32]));
        let mut frame = vec![0; SharedKey::OVERHEAD];
        frame.extend_from_slice(b"hello");
        a.shared_key(&b.sid()).unwrap().seal(&[9; 24], &mut frame);
        assert!(frame.starts_with(&[9; 24]) && !frame.ends_with(b"hello"));
        let key = b.shared_key(&a.sid()).unwrap();
        for bit in 0..8 * frame.len() {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(key.open(&mut changed).is_none(), "bit {bit}");
        }
        assert!(c.shared_key(&a.sid()).unwrap().open(&mut frame.clone()).is_none());
        assert!(key.open(&mut frame[..39]).is_none());
        assert_eq!(key.open(&mut frame).as_deref(), Some(&b"hello"[..]));
    }

    #[test]
    fn the_fingerprint_is_that_of_a_sealed_frame_with_its_nonce() {
        let [a, b] = [1, 2].map(|n| Identity::from_seed([n; 32]));
        let sealed = |nonce| {
            let mut frame = vec![0; SharedKey::OVERHEAD + 5];
            a.shared_key(&b.sid()).unwrap().seal(&[nonce; 24], &mut frame);
            frame
        };
        let fingerprint = SharedKey::fingerprint(&sealed(9)).unwrap();
        assert_eq!(fingerprint.0.to_be_bytes(), sealed(9)[24..32]);
        assert_eq!(SharedKey::fingerprint(&sealed(9)), Some(fingerprint));
        assert_ne!(SharedKey::fingerprint(&sealed(8)), Some(fingerprint));
        assert_eq!(SharedKey::fingerprint(&sealed(9)[..40]), Some(fingerprint));
        assert_eq!(SharedKey::fingerprint(&sealed(9)[..39]), None);
    }

    #[test]
    fn nonces_do_not_repeat_and_keep_the_first_bit_clear() {
        let mut seen = BTreeSet::new();
        for seed in 0..10 {
            let mut nonces = Nonces::new(&mut Rng::new([seed; 32]));
            for _ in 0..1000 {
                let nonce = nonces.generate();
                assert_eq!(nonce[0] & 0x80, 0);
                assert!(seen.insert(nonce));
            }
        }
    }
}

//! Identities: a seed in, an address out (`spec/40` section 1).

use super::crypto::SharedKey;
use crate::Sid;
use core::fmt;
use crypto_box::{PublicKey, SecretKey};
use curve25519_dalek::MontgomeryPoint;
use curve25519_dalek::scalar::clamp_integer;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

/// The secret of a node, from which its address and its signing key follow.
///
/// A combined identity: the address is the X25519 form of the Ed25519 signing key. The secrets are erased
/// from memory when it is dropped.
pub struct Identity {
    seed: Zeroizing<[u8; 32]>,
    signing: SigningKey,
    secret: SecretKey,
    sid: Sid,
}

impl Identity {
    /// The identity that follows from 32 random bytes. The same seed gives the same identity.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let signing = SigningKey::from_bytes(&seed);
        let secret = SecretKey::from_bytes(signing.to_scalar_bytes());
        let sid = Sid::new(*secret.public_key().as_bytes());
        Self { seed: Zeroizing::new(seed), signing, secret, sid }
    }

    /// Its address.
    #[must_use]
    pub const fn sid(&self) -> Sid {
        self.sid
    }

    /// Its Ed25519 public key.
    #[must_use]
    pub fn signing_key(&self) -> [u8; 32] {
        self.signing.verifying_key().to_bytes()
    }

    /// The seed, for storing it. Whoever has it is this node.
    #[must_use]
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The secret of which the address is the public key, as it is stored: clamped.
    pub(super) fn x25519_secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(clamp_integer(self.secret.to_bytes()))
    }

    /// The Ed25519 signature of `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing.sign(message).to_bytes()
    }

    /// The signature of a clear-text datagram, which covers its SHA-512 hash (`spec/40` section 3.2).
    #[must_use]
    pub fn sign_datagram(&self, plaintext: &[u8]) -> [u8; 64] {
        self.sign(&Sha512::digest(plaintext))
    }

    /// The key that this identity and `peer` share. `None` if nobody can own that address: a point of low
    /// order, with which every identity would share the same, public key, or a second way to write the address
    /// of somebody else, who would be taken for another one.
    #[must_use]
    pub fn shared_key(&self, peer: &Sid) -> Option<SharedKey> {
        // X25519 ignores the highest bit. No address has it set, as it is a number below 2^255 - 19.
        if peer.as_bytes()[Sid::LEN - 1] & 0x80 != 0 {
            return None;
        }
        // Every secret is a multiple of 8 and so takes a point of low order to zero, as does this power of 2,
        // which is no secret.
        let power_of_2 = [0; 32];
        let product = MontgomeryPoint(*peer.as_bytes()).mul_clamped(power_of_2);
        let public = PublicKey::from_bytes(*peer.as_bytes());
        (product.0 != [0; 32]).then(|| SharedKey::new(&public, &self.secret))
    }
}

/// Shows the address only.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("sid", &self.sid).finish_non_exhaustive()
    }
}

/// The address of the combined identity with this Ed25519 public key; `None` if it is no such key.
#[must_use]
pub fn sid_of_signing_key(signing_key: &[u8; 32]) -> Option<Sid> {
    let key = VerifyingKey::from_bytes(signing_key).ok()?;
    Some(Sid::new(key.to_montgomery().0))
}

/// Whether `signature` is that of `message` by the owner of `signing_key`.
#[must_use]
pub fn verify(signing_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let signature = Signature::from_bytes(signature);
    VerifyingKey::from_bytes(signing_key).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}

/// Whether `signature` is that of a clear-text datagram, see [`Identity::sign_datagram`].
#[must_use]
pub fn verify_datagram(signing_key: &[u8; 32], plaintext: &[u8], signature: &[u8; 64]) -> bool {
    verify(signing_key, &Sha512::digest(plaintext), signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use core::array::from_fn;

    /// The test vector of `spec/40` section 1, accepted by the reference daemon.
    #[test]
    fn address_follows_from_seed() {
        let identity = Identity::from_seed(from_fn(|n| n as u8));
        let sid: Sid = "4701d08488451f545a409fb58ae3e58581ca40ac3f7f114698cd71deac73ca01".parse().unwrap();
        let hex: Sid = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8".parse().unwrap();
        let secret: Sid = "3894eea49c580aef816935762be049559d6d1440dede12e6a125f1841fff8e6f".parse().unwrap();
        assert_eq!(identity.sid(), sid);
        assert_eq!(identity.signing_key(), *hex.as_bytes());
        assert_eq!(*identity.x25519_secret(), *secret.as_bytes());
        assert_eq!(sid_of_signing_key(&identity.signing_key()), Some(sid));
        assert!(!format!("{identity:?}").contains("000102"));
    }

    #[test]
    fn signatures_verify_and_forgeries_do_not() {
        let identity = Identity::from_seed([7; 32]);
        let mut signature = identity.sign_datagram(b"hello");
        let key = identity.signing_key();
        assert!(verify_datagram(&key, b"hello", &signature));
        assert!(!verify_datagram(&key, b"hellp", &signature));
        assert!(!verify(&key, b"hello", &signature));
        signature[0] ^= 1;
        assert!(!verify_datagram(&key, b"hello", &signature));
        assert!(!verify_datagram(&[0xff; 32], b"hello", &signature));
    }

    #[test]
    fn addresses_of_low_order_share_no_key() {
        let identity = Identity::from_seed([7; 32]);
        let number = |low: u8, middle, high| from_fn(|n| [low, middle, high][usize::from(n > 0) + n / 31]);
        let order_8 = [
            "E0EB7A7C3B41B8AE1656E3FAF19FC46ADA098DEB9C32B1FD866205165F49B800",
            "5F9C95BCA3508C24B1D0B1559C83EF5B04445CC4581C8E86D8224EDDD09F1157",
        ];
        // Of the order 4, 1 and 2: p - 1, p and p + 1, and what is the same modulo p.
        let others = [(0, 0, 0), (1, 0, 0), (0xec, 0xff, 0x7f), (0xed, 0xff, 0x7f), (0xee, 0xff, 0x7f)];
        let others = others.map(|(low, middle, high)| number(low, middle, high));
        for bytes in order_8.map(|text| *text.parse::<Sid>().unwrap().as_bytes()).iter().chain(&others) {
            // The highest bit has no meaning.
            for high in [0, 0x80] {
                let mut bytes = *bytes;
                bytes[31] |= high;
                assert!(identity.shared_key(&Sid::new(bytes)).is_none(), "{bytes:02x?}");
            }
        }
        assert!(identity.shared_key(&Sid::new(number(9, 0, 0))).is_some(), "the base point");
        assert!(identity.shared_key(&identity.sid()).is_some());
    }

    #[test]
    fn a_second_way_to_write_an_address_shares_no_key() {
        let [a, b] = [1, 2].map(|n| Identity::from_seed([n; 32]));
        let mut alias = *b.sid().as_bytes();
        alias[31] |= 0x80;
        assert!(a.shared_key(&b.sid()).is_some() && a.shared_key(&Sid::new(alias)).is_none());
    }
}

//! The keyring of a reference daemon, `serval.keyring` (`spec/40` section 5): read, never written.

use super::Identity;
use crate::Sid;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use crypto_box::SecretKey;
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

const PAGE: usize = 4096;
/// The first page: a bitmap of the slots in use, then the salt.
const BITMAP: usize = 2048;
/// Each other page is a slot: its salt and its authenticator, then what is encrypted.
const SLOT_SALT: usize = 32;
const MAC: usize = 64;

/// The file that holds the identities of a reference daemon.
///
/// Which slots open depends on the PINs: there is no list of what is in it.
pub struct Keyring<'a> {
    bitmap: &'a [u8],
    salt: &'a [u8],
    slots: &'a [u8],
}

impl<'a> Keyring<'a> {
    /// Slots that a keyring can have here, in use or not. The format has room for 16383; a daemon makes 15 of
    /// them at first.
    pub const MAX_SLOTS: usize = 255;
    /// Bytes of the longest file that can be read.
    pub const MAX_LEN: usize = (1 + Self::MAX_SLOTS) * PAGE;

    /// Takes the bytes of a whole file.
    ///
    /// # Errors
    ///
    /// If this is no keyring, or one with more than [`Keyring::MAX_SLOTS`] slots.
    pub fn parse(file: &'a [u8]) -> Result<Self, KeyringError> {
        if file.len() > Self::MAX_LEN {
            return Err(KeyringError::TooLong);
        }
        if file.len() < 2 * PAGE || !file.len().is_multiple_of(PAGE) {
            return Err(KeyringError::Length);
        }
        let (head, slots) = file.split_at(PAGE);
        let (bitmap, salt) = head.split_at(BITMAP);
        Ok(Self { bitmap, salt, slots })
    }

    /// The identities that these PINs open, in the order of the file; both PINs are empty unless the owner has
    /// set them. One that is there twice is given once. Wrong PINs and damaged slots look alike: they give
    /// nothing.
    ///
    /// It takes a few hashes and two multiplications of a point at most for each of [`Keyring::MAX_SLOTS`]
    /// slots, and the memory of one slot at a time, whatever the file holds.
    #[must_use]
    pub fn open(&self, keyring_pin: &[u8], pin: &[u8]) -> Vec<KeyringIdentity> {
        let mut identities: Vec<KeyringIdentity> = Vec::new();
        for (number, slot) in (1..).zip(self.slots.chunks_exact(PAGE)) {
            if self.bitmap[number / 8] >> (number % 8) & 1 == 0 {
                continue;
            }
            let opened = self.open_slot(slot, keyring_pin, pin);
            identities.extend(opened.filter(|new| identities.iter().all(|known| known.sid() != new.sid())));
        }
        identities
    }

    fn open_slot(&self, slot: &[u8], keyring_pin: &[u8], pin: &[u8]) -> Option<KeyringIdentity> {
        let (salt, rest) = slot.split_at_checked(SLOT_SALT)?;
        let (mac, ciphertext) = rest.split_at_checked(MAC)?;
        let key = hash(&[salt, pin, salt, keyring_pin]);
        let nonce = hash(&[keyring_pin, self.salt, keyring_pin, pin]);
        let mut plaintext = Zeroizing::new(ciphertext.to_vec());
        XSalsa20::new_from_slices(&key[..32], &nonce[..24]).ok()?.try_apply_keystream(&mut plaintext).ok()?;
        let (rotation, ring) = plaintext.split_first_chunk_mut::<2>()?;
        let start = usize::from(u16::from_be_bytes(*rotation)) % ring.len();
        ring.rotate_left(start);
        let record = find_identity(ring)?;
        (record.authenticator(salt, pin)[..] == *mac).then(|| record.into_identity())
    }
}

/// Shows no bytes: the salts help to try PINs.
impl fmt::Debug for Keyring<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("slots", &(self.slots.len() / PAGE)).finish_non_exhaustive()
    }
}

/// An identity from a keyring.
#[derive(Debug)]
pub enum KeyringIdentity {
    /// One of which both keys follow from one seed.
    Combined(Box<Identity>),
    /// One from before that, with this address. Its signing key has nothing to do with its address, so it
    /// cannot be an [`Identity`].
    Old(Sid),
}

impl KeyringIdentity {
    /// Its address.
    #[must_use]
    pub const fn sid(&self) -> Sid {
        match self {
            Self::Combined(identity) => identity.sid(),
            Self::Old(sid) => *sid,
        }
    }
}

/// Why a file is no keyring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyringError {
    /// A keyring is some pages of 4096 bytes, two at least.
    Length,
    /// It has more than [`Keyring::MAX_SLOTS`] slots.
    TooLong,
}

impl fmt::Display for KeyringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("its length is not that of a keyring: some pages of 4096 bytes"),
            Self::TooLong => write!(f, "it is longer than {} bytes", Keyring::MAX_LEN),
        }
    }
}

impl core::error::Error for KeyringError {}

/// The record of a slot that makes it an identity.
enum Record {
    Combined(Box<Identity>),
    Old(Zeroizing<[u8; 32]>),
}

impl Record {
    /// The hash that shows that slot and PIN belong together. Nobody without the PIN can make use of it, and
    /// there is nobody to time how long comparing takes.
    fn authenticator(&self, salt: &[u8], pin: &[u8]) -> Zeroizing<[u8; 64]> {
        match self {
            Self::Combined(identity) => {
                let (signing_key, sid) = (identity.signing_key(), identity.sid());
                let secret = identity.x25519_secret();
                hash(&[salt, identity.seed(), &signing_key, &*secret, &signing_key, sid.as_bytes(), pin])
            }
            Self::Old(secret) => hash(&[salt, &**secret, sid_of_secret(secret).as_bytes(), pin]),
        }
    }

    fn into_identity(self) -> KeyringIdentity {
        match self {
            Self::Combined(identity) => KeyringIdentity::Combined(identity),
            Self::Old(secret) => KeyringIdentity::Old(sid_of_secret(&secret)),
        }
    }
}

/// The one record of an identity among those of a slot. `None` if there is none, or more than one, or if these
/// are no records.
fn find_identity(mut records: &[u8]) -> Option<Record> {
    let mut found = None;
    while let Some((&kind, rest)) = records.split_first().filter(|(kind, _)| **kind != 0) {
        let (length, rest) = match kind {
            1 | 3 => (32, rest),
            2 | 4 => (96, rest),
            _ => {
                let (length, rest) = rest.split_first_chunk()?;
                (usize::from(u16::from_be_bytes(*length)), rest)
            }
        };
        let (data, rest) = rest.split_at_checked(length)?;
        if kind == 1 || kind == 6 {
            let key = Zeroizing::new(<[u8; 32]>::try_from(data).ok()?);
            if found.replace((kind, key)).is_some() {
                return None;
            }
        }
        records = rest;
    }
    // The keys follow only now, so that no slot can ask for many.
    found.map(|(kind, key)| {
        if kind == 6 { Record::Combined(Box::new(Identity::from_seed(*key))) } else { Record::Old(key) }
    })
}

fn sid_of_secret(secret: &[u8; 32]) -> Sid {
    Sid::new(*SecretKey::from_bytes(*secret).public_key().as_bytes())
}

fn hash(parts: &[&[u8]]) -> Zeroizing<[u8; 64]> {
    let mut hasher = Sha512::new();
    for part in parts {
        hasher.update(part);
    }
    Zeroizing::new(hasher.finalize().into())
}

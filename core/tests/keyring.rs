//! Keyrings of the reference daemon: recorded ones, ones that are made here, and damaged ones.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::Daemon;
use msp_core::mdp::{Keyring, KeyringError, KeyringIdentity};
use msp_core::testing::seed;
use msp_core::{Identity, Rng, Sid};
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use sha2::{Digest, Sha512};
use std::fs;
use std::path::Path;

const PAGE: usize = 4096;
/// Bytes for records in a slot.
const RING: usize = 3998;

fn recorded(daemon: Daemon) -> Vec<u8> {
    file(&format!("{daemon:?}"))
}

fn file(name: &str) -> Vec<u8> {
    let path = format!("tests/vectors/keyrings/{name}.serval.keyring");
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn open(file: &[u8], keyring_pin: &str, pin: &str) -> Vec<KeyringIdentity> {
    Keyring::parse(file).unwrap().open(keyring_pin.as_bytes(), pin.as_bytes())
}

fn sids(identities: &[KeyringIdentity]) -> Vec<Sid> {
    identities.iter().map(KeyringIdentity::sid).collect()
}

fn sha512(parts: &[&[u8]]) -> [u8; 64] {
    Sha512::digest(parts.concat()).into()
}

fn random(default_seed: u64) -> Rng {
    let bytes = seed(default_seed).to_le_bytes();
    Rng::new(std::array::from_fn(|index| bytes[index % 8]))
}

/// A keyring with random salts, and random bytes where nothing is.
struct Writer {
    rng: Rng,
    file: Vec<u8>,
    keyring_pin: &'static str,
}

impl Writer {
    fn new(rng: Rng, slots: usize, keyring_pin: &'static str) -> Self {
        let mut writer = Self { rng, file: vec![0; PAGE / 2], keyring_pin };
        while writer.file.len() < (1 + slots) * PAGE {
            let bytes = writer.rng.bytes::<64>();
            writer.file.extend(bytes);
        }
        writer
    }

    /// Puts `records` into a slot; `authenticated` is what the MAC covers between the salt and the PIN.
    fn write(&mut self, slot: usize, rotation: u16, pin: &str, records: &[u8], authenticated: &[u8]) {
        self.file[slot / 8] |= 1 << (slot % 8);
        let page = slot * PAGE..(slot + 1) * PAGE;
        let (pin, keyring_pin, keyring_salt) =
            (pin.as_bytes(), self.keyring_pin.as_bytes(), self.file[PAGE / 2..PAGE].to_vec());
        let (salt, rest) = self.file[page].split_at_mut(32);
        let (mac, data) = rest.split_at_mut(64);
        mac.copy_from_slice(&sha512(&[salt, authenticated, pin]));
        data[..2].copy_from_slice(&rotation.to_be_bytes());
        for (offset, byte) in records.iter().chain(&[0]).take(RING).enumerate() {
            data[2 + (usize::from(rotation) + offset) % RING] = *byte;
        }
        let key = sha512(&[salt, pin, salt, keyring_pin]);
        let nonce = sha512(&[keyring_pin, &keyring_salt, keyring_pin, pin]);
        XSalsa20::new_from_slices(&key[..32], &nonce[..24]).unwrap().apply_keystream(data);
    }

    /// The identity of a recorded daemon, with other records before and behind it.
    fn write_combined(&mut self, slot: usize, rotation: u16, pin: &str, daemon: Daemon) {
        let records = [&tag()[..], &combined(daemon), &[3; 33], &[4; 97]].concat();
        self.write(slot, rotation, pin, &records, &authenticated(daemon));
    }

    /// An identity of the old kind with the address of a recorded daemon.
    fn write_old(&mut self, slot: usize, rotation: u16, pin: &str, daemon: Daemon) {
        let secret = daemon.key::<32>("box_sk");
        let records = [&[1][..], &secret, &[2; 97]].concat();
        self.write(slot, rotation, pin, &records, &[secret, daemon.key("sid")].concat());
    }
}

fn tag() -> Vec<u8> {
    [&[5, 0, 9][..], b"name\0text"].concat()
}

fn combined(daemon: Daemon) -> Vec<u8> {
    [&[6, 0, 32][..], &daemon.key::<32>("sign_seed")].concat()
}

fn authenticated(daemon: Daemon) -> Vec<u8> {
    let public = daemon.key::<32>("sign_pk_identity");
    [&daemon.key::<64>("sign_sk_64")[..], &daemon.key::<32>("box_sk"), &public, &daemon.key::<32>("sid")]
        .concat()
}

#[test]
fn recorded_keyrings_open() {
    for daemon in [Daemon::A, Daemon::B] {
        let file = recorded(daemon);
        let identities = open(&file, "", "");
        let [KeyringIdentity::Combined(identity)] = &identities[..] else { panic!("{identities:?}") };
        assert_eq!(identity.sid(), daemon.sid());
        assert_eq!(identity.signing_key(), daemon.key("sign_pk_identity"));
        assert_eq!(identity.seed(), &daemon.key("sign_seed"));
        for (keyring_pin, pin) in [("1", ""), ("", "1"), ("1", "1"), ("\0", ""), ("", "\0")] {
            assert!(open(&file, keyring_pin, pin).is_empty(), "{keyring_pin:?} {pin:?}");
        }
    }
}

#[test]
fn pins_choose_what_opens() {
    let mut rng = Rng::new([1; 32]);
    for rotation in [0, 1, 3950, 3997, 3998, u16::MAX, u16::from_be_bytes(rng.bytes())] {
        let mut writer = Writer::new(Rng::new(rng.bytes()), 15, "ring");
        writer.write_combined(1, rotation, "", Daemon::A);
        writer.write_combined(9, rotation, "secret", Daemon::B);
        writer.write_combined(15, rotation, "secret", Daemon::A);
        let file = writer.file;
        assert_eq!(sids(&open(&file, "ring", "")), [Daemon::A.sid()]);
        assert_eq!(sids(&open(&file, "ring", "secret")), [Daemon::B.sid(), Daemon::A.sid()]);
        for (keyring_pin, pin) in [("", ""), ("", "secret"), ("ring", "ring"), ("rin", "gsecret")] {
            assert!(open(&file, keyring_pin, pin).is_empty(), "{keyring_pin:?} {pin:?}");
        }
    }
}

#[test]
fn an_identity_in_two_slots_is_one() {
    let mut writer = Writer::new(Rng::new([2; 32]), 3, "");
    writer.write_combined(1, 5, "", Daemon::B);
    writer.write_combined(3, 6, "", Daemon::B);
    assert_eq!(sids(&open(&writer.file, "", "")), [Daemon::B.sid()]);
}

#[test]
fn a_slot_not_in_use_stays_closed() {
    let mut writer = Writer::new(Rng::new([3; 32]), 2, "");
    writer.write_combined(2, 0, "", Daemon::A);
    writer.file[0] = 0b0000_0010;
    assert!(open(&writer.file, "", "").is_empty());
    writer.file[0] = 0b0000_0100;
    assert_eq!(open(&writer.file, "", "").len(), 1);
}

/// The secret of an address needs no seed: such an identity has one key to encrypt and another one to sign.
#[test]
fn an_old_identity_is_told_from_a_combined_one() {
    let mut writer = Writer::new(Rng::new([4; 32]), 1, "");
    writer.write_old(1, 77, "", Daemon::A);
    let identities = open(&writer.file, "", "");
    assert!(
        matches!(identities[..], [KeyringIdentity::Old(old)] if old == Daemon::A.sid()),
        "{identities:?}"
    );
}

/// The tests of programs use it.
#[test]
fn the_keyring_with_pins_is_what_its_description_says() {
    let mut writer = Writer::new(Rng::new([7; 32]), 4, "ring");
    writer.write_combined(1, 300, "secret", Daemon::A);
    writer.write_combined(3, 3990, "secret", Daemon::B);
    writer.write_old(4, 5, "old", Daemon::A);
    assert_eq!(sids(&open(&writer.file, "ring", "secret")), [Daemon::A.sid(), Daemon::B.sid()]);
    assert!(writer.file == file("pins"), "the file is another one");
}

#[test]
fn records_that_make_no_identity_give_none() {
    let mut writer = Writer::new(Rng::new([5; 32]), 1, "");
    let mut opens = |records: &[u8], authenticated: &[u8]| {
        writer.write(1, 0, "", records, authenticated);
        open(&writer.file, "", "").len()
    };
    let (a, b) = (authenticated(Daemon::A), authenticated(Daemon::B));
    let (one, other) = (combined(Daemon::A), combined(Daemon::B));
    assert_eq!(opens(&one, &a), 1);
    assert_eq!(opens(&one, &b), 0, "another one's MAC");
    assert_eq!(opens(&[], &[]), 0, "no record");
    assert_eq!(opens(&tag(), &[]), 0, "no record of an identity");
    assert_eq!(opens(&[&[0], &one[..]].concat(), &a), 0, "behind the end");
    assert_eq!(opens(&[&one[..], &other].concat(), &[&a[..], &b].concat()), 0, "two identities");
    assert_eq!(opens(&[&one[..], &[5, 0xff, 0xff]].concat(), &a), 0, "a record that is too long");
    for length in [0, 31, 33] {
        let seed = [&[6, 0, length][..], &[7; 33][..usize::from(length)]].concat();
        assert_eq!(opens(&seed, &a), 0, "{length} bytes of seed");
    }
    let mut filling = [&one[..], &[5, 0x0f, 0x78], &[1; 0xf78]].concat();
    assert_eq!(filling.len(), RING);
    assert_eq!(opens(&filling, &a), 1, "no room for an end");
    filling[one.len() + 2] += 1;
    assert_eq!(opens(&filling, &a), 0, "a record that the end cuts off");
}

#[test]
fn lengths_that_no_keyring_has() {
    for length in [0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE - 1, 2 * PAGE + 1] {
        assert_eq!(Keyring::parse(&vec![0xff; length]).err(), Some(KeyringError::Length), "{length}");
    }
    let longest = vec![0xff; Keyring::MAX_LEN + PAGE];
    assert_eq!(Keyring::parse(&longest).err(), Some(KeyringError::TooLong));
    assert!(open(&longest[PAGE..], "", "").is_empty(), "it takes no time and opens nothing");
}

#[test]
fn what_is_cut_off_gives_nothing_wrong() {
    let file = recorded(Daemon::A);
    let end = (slot_in_use(&file) + 1) * PAGE;
    for length in 0..=file.len() {
        match Keyring::parse(&file[..length]) {
            Err(error) => assert_eq!(error, KeyringError::Length),
            Ok(keyring) if length < end => assert!(keyring.open(b"", b"").is_empty(), "{length}"),
            Ok(keyring) => assert_eq!(sids(&keyring.open(b"", b"")), [Daemon::A.sid()], "the slot is whole"),
        }
    }
}

/// One bit, anywhere in what the identity depends on: the salt, the slot's salt, its MAC, its record, and so on.
#[test]
fn what_is_damaged_gives_nothing_wrong() {
    let sound = recorded(Daemon::A);
    let slot = slot_in_use(&sound) * PAGE;
    let mut rng = random(1);
    let mut file = sound.clone();
    let mut lost = 0;
    let anywhere = (0..1000).map(|_| slot + usize::from(u16::from_be_bytes(rng.bytes())) % PAGE);
    for at in (PAGE / 2..PAGE).chain(slot..slot + 96).chain(anywhere) {
        file[at] ^= 1 << (at % 8);
        match &open(&file, "", "")[..] {
            [] => lost += 1,
            [KeyringIdentity::Combined(identity)] => assert_eq!(identity.seed(), &Daemon::A.key("sign_seed")),
            others => panic!("byte {at}: {others:?}"),
        }
        file[at] = sound[at];
    }
    assert!(lost >= PAGE / 2 + 96, "salts and MAC matter: {lost}");
}

/// The only slot in use.
fn slot_in_use(file: &[u8]) -> usize {
    let slots: Vec<usize> = (0..16).filter(|slot| file[slot / 8] >> (slot % 8) & 1 == 1).collect();
    assert_eq!(slots.len(), 1);
    slots[0]
}

/// Bytes that decrypt to whatever one wants are the worst that a file can hold.
#[test]
fn any_records_are_read() {
    let mut rng = random(2);
    let mut writer = Writer::new(Rng::new([6; 32]), 1, "");
    for _ in 0..2000 {
        let records: Vec<u8> = (0..8).flat_map(|_| rng.bytes::<48>()).map(|byte| byte % 8).collect();
        writer.write(1, u16::from_be_bytes(rng.bytes()), "", &records, b"");
        assert!(open(&writer.file, "", "").is_empty());
    }
}

#[test]
fn no_secret_is_shown() {
    let file = recorded(Daemon::A);
    let keyring = Keyring::parse(&file).unwrap();
    assert_eq!(format!("{keyring:?}"), "Keyring { slots: 15, .. }");
    let identity = Identity::from_seed(Daemon::A.key("sign_seed"));
    let expected = format!("[Combined({identity:?})]");
    assert_eq!(format!("{:?}", keyring.open(b"", b"")), expected);
}

//! What this crate makes of traffic recorded from the reference daemon: the same as the daemon.

mod common;

use common::{Daemon, Datagram, Frame, Msp, frames};
use msp_core::mdp::{SharedKey, sid_of_signing_key, verify, verify_datagram};
use msp_core::wire::{mdp, msp};
use msp_core::{Identity, Port, Protection, Seq16};

/// The recorded datagrams of one kind.
fn datagrams(protection: Protection) -> impl Iterator<Item = (Frame, Datagram)> {
    frames()
        .filter_map(|mut frame| frame.datagram.take().map(|datagram| (frame, datagram)))
        .filter(move |(_, datagram)| datagram.protection == protection)
}

#[test]
fn the_recorded_keys_follow_from_the_seeds() {
    for daemon in [Daemon::A, Daemon::B] {
        let identity = daemon.identity();
        assert_eq!(identity.sid(), daemon.sid());
        assert_eq!(identity.signing_key(), daemon.key("sign_pk_identity"));
        assert_eq!(identity.sid().as_bytes(), &daemon.key("box_pk"));
        assert_eq!(sid_of_signing_key(&identity.signing_key()), Some(daemon.sid()));
        let [seed, public]: [[u8; 32]; 2] =
            [&daemon.key::<64>("sign_sk_64")[..32], &daemon.key::<64>("sign_sk_64")[32..]]
                .map(|half| half.try_into().unwrap());
        assert_eq!((&seed, public), (identity.seed(), identity.signing_key()));
    }
}

#[test]
fn encrypted_frames_open_for_both_ends_and_seal_to_the_same_bytes() {
    let [a, b] = [Daemon::A, Daemon::B].map(Daemon::identity);
    let keys = [a.shared_key(&b.sid()).unwrap(), b.shared_key(&a.sid()).unwrap()];
    let mut count = 0;
    for (frame, datagram) in datagrams(Protection::Encrypted) {
        assert_ne!(Some(frame.source), frame.destination);
        for key in &keys {
            assert_eq!(key.open(&mut frame.body.clone()).as_deref(), Some(&*datagram.plaintext));
            let mut sealed = vec![0; SharedKey::OVERHEAD];
            sealed.extend_from_slice(&datagram.plaintext);
            key.seal(frame.body[..24].try_into().unwrap(), &mut sealed);
            assert_eq!(sealed, frame.body);
        }
        count += 1;
    }
    assert_eq!(count, 93, "all were seen");
}

#[test]
fn a_third_identity_opens_nothing() {
    let other = Identity::from_seed([7; 32]);
    let keys = [Daemon::A, Daemon::B].map(|daemon| other.shared_key(&daemon.sid()).unwrap());
    for (frame, _) in datagrams(Protection::Encrypted) {
        assert!(keys.iter().all(|key| key.open(&mut frame.body.clone()).is_none()));
    }
}

#[test]
fn signed_frames_verify_and_sign_to_the_same_bytes() {
    let mut count = 0;
    for (frame, datagram) in datagrams(Protection::Signed) {
        let identity = frame.source.identity();
        let (plaintext, signature) = frame.body.split_last_chunk().unwrap();
        assert_eq!(plaintext, datagram.plaintext);
        assert!(verify_datagram(&identity.signing_key(), plaintext, signature));
        assert_eq!(&identity.sign_datagram(plaintext), signature);
        let other = Identity::from_seed([7; 32]);
        assert!(!verify_datagram(&other.signing_key(), plaintext, signature));
        count += 1;
    }
    assert_eq!(count, 15, "all were seen");
}

#[test]
fn ports_read_and_write_the_same() {
    for (frame, datagram) in
        [Protection::Clear, Protection::Signed, Protection::Encrypted].into_iter().flat_map(datagrams)
    {
        let repr = mdp::Repr::parse(&datagram.plaintext).unwrap();
        let expected = mdp::Repr {
            destination: datagram.destination,
            source: datagram.source,
            payload: &datagram.payload,
        };
        assert_eq!(repr, expected, "{frame:?}");
        let mut emitted = Vec::new();
        repr.emit(&mut emitted);
        assert_eq!(emitted, datagram.plaintext);
        assert_eq!(repr.buffer_len(), emitted.len());
    }
}

#[test]
fn key_mapping_reads_and_writes_the_same_and_holds_good_signatures() {
    let (mut requests, mut answers) = (0, 0);
    for (frame, datagram) in datagrams(Protection::Encrypted) {
        if datagram.destination != Port::KEY_MAPPING {
            continue;
        }
        let message = mdp::KeyMapping::parse(&datagram.payload).unwrap();
        match message {
            mdp::KeyMapping::Request => requests += 1,
            mdp::KeyMapping::Answer { signing_key, signature } => {
                let identity = frame.source.identity();
                assert_eq!(signing_key, &identity.signing_key());
                assert!(verify(signing_key, identity.sid().as_bytes(), signature));
                assert_eq!(signature, &identity.sign(identity.sid().as_bytes()));
                answers += 1;
            }
            mdp::KeyMapping::Other => panic!("{datagram:?}"),
        }
        let mut emitted = Vec::new();
        message.emit(&mut emitted);
        assert_eq!(emitted, datagram.payload);
    }
    assert_eq!((requests, answers), (2, 2));
}

#[test]
fn msp_packets_read_and_write_the_same() {
    let mut count = 0;
    for (_, datagram) in datagrams(Protection::Encrypted) {
        let Some(recorded) = &datagram.msp else { continue };
        let repr = msp::Repr::parse(&datagram.payload).unwrap();
        assert_eq!(repr, expected(recorded));
        let mut emitted = Vec::new();
        repr.emit(&mut emitted);
        assert_eq!(emitted, datagram.payload);
        assert_eq!(repr.buffer_len(), emitted.len());
        count += 1;
    }
    assert!(count > 50, "{count} packets");
}

/// The packet with these fields.
fn expected(recorded: &Msp) -> msp::Repr<'_> {
    if recorded.flags & 0x08 != 0 {
        return msp::Repr::Stop;
    }
    let first = recorded.flags & 0x04 != 0;
    let ack = recorded.ack.filter(|_| recorded.flags & 0x02 != 0).map(Seq16);
    match recorded.sequence {
        None => msp::Repr::Ack { first, ack },
        Some(seq) => msp::Repr::Data {
            first,
            ack,
            seq: Seq16(seq),
            shutdown: recorded.flags & 0x01 != 0,
            payload: recorded.data.as_deref().unwrap_or_default(),
        },
    }
}

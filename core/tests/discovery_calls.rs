//! Calls for a service to everyone, as those make them who look for it through the reference daemon (`spec/60`
//! section 5).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod scripted;

use msp_core::mdp::Service;
use msp_core::wire::address::Address;
use msp_core::wire::mdp::{KeyMapping, Repr};
use msp_core::wire::overlay::{Frame, Hops, Route};
use msp_core::{Identity, Port, Protection};
use scripted::{Scripted, ms};

const ASKING: u16 = 300;

fn daemon() -> Identity {
    Identity::from_seed([2; 32])
}

/// A node with the service "foo", next to a daemon.
fn offering() -> Scripted {
    let mut scripted = Scripted::up();
    let service = Service { name: "foo".parse().unwrap(), port: 512.into() };
    scripted.node.set_service(Some(service));
    scripted
}

/// The daemon floods a call, signed or clear; with what protection, and what, the node has answered.
fn call(
    scripted: &mut Scripted,
    signer: Option<&Identity>,
    query: &[u8],
) -> Vec<(Option<Protection>, Vec<u8>)> {
    let mut payload = Vec::new();
    Repr { destination: Port::DISCOVERY, source: ASKING.into(), payload: query }.emit(&mut payload);
    if let Some(signer) = signer {
        payload.extend_from_slice(&signer.sign_datagram(&payload));
    }
    let protection = if signer.is_some() { Protection::Signed } else { Protection::Clear };
    let id = scripted.now.as_micros().to_be_bytes();
    let frame = scripted.frame(Route::Flood { id, hops: Hops(31) }, protection, &[]);
    scripted.sent.clear();
    scripted.receive(scripted.header(None), &[Frame { payload: &payload, ..frame }]);
    scripted.run(ms(10));
    let answers = scripted.frames();
    let answers = answers.iter().filter(|(_, frame)| frame.payload.first() != Some(&0x05));
    answers.map(|(_, frame)| (frame.protection, frame.payload.to_vec())).collect()
}

/// The node has asked for the key that makes signatures worth something.
fn tell_key(scripted: &mut Scripted) {
    let me = scripted.node.sid();
    let (signing_key, signature) = (daemon().signing_key(), daemon().sign(daemon().sid().as_bytes()));
    let mut answer = Vec::new();
    KeyMapping::Answer { signing_key: &signing_key, signature: &signature }.emit(&mut answer);
    let sealed = scripted.seal(Port::KEY_MAPPING, Port::KEY_MAPPING, &answer);
    let to_me = Route::Neighbour { destination: Address::Whole(me) };
    let frame = scripted.frame(to_me, Protection::Encrypted, &[]);
    scripted.receive(scripted.header(None), &[Frame { payload: &sealed, ..frame }]);
    scripted.run(ms(10));
}

fn answer() -> Vec<u8> {
    let mut answer = Vec::new();
    let payload = b"foo.msp.port=512";
    Repr { destination: ASKING.into(), source: Port::DISCOVERY, payload }.emit(&mut answer);
    answer
}

#[test]
fn a_signed_call_is_answered_signed_once_the_key_of_the_caller_is_known() {
    let mut scripted = offering();
    let asked = call(&mut scripted, Some(&daemon()), b"foo.*\0");
    assert!(matches!(asked[..], [(Some(Protection::Encrypted), _)]), "for the key: {asked:?}");
    tell_key(&mut scripted);
    let [(Some(Protection::Signed), payload)] = &call(&mut scripted, Some(&daemon()), b"foo.*\0")[..] else {
        panic!("one signed answer")
    };
    assert_eq!(payload[..payload.len() - 64], answer());
    assert_eq!(call(&mut scripted, Some(&daemon()), b"bar.*\0"), []);
}

#[test]
fn a_clear_call_is_answered_in_the_clear() {
    let mut scripted = offering();
    let clear = vec![(Some(Protection::Clear), answer())];
    assert_eq!(call(&mut scripted, None, b"*"), clear);
    assert_eq!(call(&mut scripted, None, b"bar.*\0"), []);
}

#[test]
fn a_call_with_a_bad_signature_is_not_answered() {
    let mut scripted = offering();
    call(&mut scripted, Some(&daemon()), b"foo.*\0");
    tell_key(&mut scripted);
    let another = Identity::from_seed([9; 32]);
    assert_eq!(call(&mut scripted, Some(&another), b"foo.*\0"), []);
    assert_eq!(call(&mut scripted, Some(&daemon()), b"foo.*\0").len(), 1);
}

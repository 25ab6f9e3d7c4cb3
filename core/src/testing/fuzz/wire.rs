//! Any bytes through every parser.

use crate::mdp::Keyring;
use crate::wire::address::{Address, explain_items};
use crate::wire::{client, extended, linkstate, mdp, msp, overlay, roll, routes, trace};
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
    if let Ok(repr) = extended::Repr::parse(input) {
        let mut emitted = Vec::new();
        repr.emit(&mut emitted);
        assert_eq!(emitted.len(), repr.buffer_len());
        assert_eq!(extended::Repr::parse(&emitted), Ok(repr));
    }
    if let Ok(repr) = roll::Repr::parse(input) {
        let mut emitted = Vec::new();
        repr.emit(&mut emitted);
        assert_eq!((emitted.len(), &*emitted), (repr.buffer_len(), input));
    }
    if let Ok(repr) = trace::Repr::parse(input) {
        let mut emitted = Vec::new();
        repr.emit(&mut emitted);
        assert_eq!((emitted.len(), &*emitted), (repr.buffer_len(), input));
    }
    if let Ok(repr) = mdp::Repr::parse(input) {
        let mut emitted = Vec::new();
        repr.emit(&mut emitted);
        assert_eq!(emitted.len(), repr.buffer_len());
        assert_eq!(mdp::Repr::parse(&emitted), Ok(repr));
    }
    if let Ok(message) = mdp::KeyMapping::parse(input) {
        let mut emitted = Vec::new();
        message.emit(&mut emitted);
        assert_eq!(emitted.len(), message.buffer_len());
        if message != mdp::KeyMapping::Other {
            assert_eq!(emitted, input);
        }
    }
    if let Ok(keyring) = Keyring::parse(input) {
        let _ = keyring.open(b"", b"");
    }
    socket_datagram(input);
    overlay_packet(input);
    link_state(input);
    for item in explain_items(input) {
        let mut emitted = Vec::new();
        item.emit(&mut emitted);
        assert_eq!(emitted.len(), item.buffer_len());
        assert_eq!(Address::parse(&emitted), Ok((item, &[][..])));
    }
}

fn socket_datagram(input: &[u8]) {
    if let Ok(request) = client::Request::parse(input) {
        let mut emitted = Vec::new();
        request.emit(&mut emitted);
        assert_eq!((emitted.len(), &*emitted), (request.buffer_len(), input));
    }
    if let Ok(entry) = routes::Entry::parse(input) {
        let mut emitted = Vec::new();
        entry.emit(&mut emitted);
        assert_eq!(routes::Entry::parse(&emitted), Ok(entry));
    }
    if let Ok(reply) = client::Reply::parse(input) {
        let mut emitted = Vec::new();
        reply.emit(&mut emitted);
        assert_eq!((emitted.len(), &*emitted), (reply.buffer_len(), input));
    }
}

fn overlay_packet(input: &[u8]) {
    let Ok(packet) = overlay::Packet::parse(input) else { return };
    let mut emitted = Vec::new();
    packet.header().emit(&mut emitted);
    assert_eq!(emitted.len(), packet.header().buffer_len());
    let mut frames = Vec::new();
    for frame in packet.frames().map_while(Result::ok) {
        let start = emitted.len();
        frame.emit(packet.header().encapsulation, &mut emitted);
        assert_eq!(emitted.len() - start, frame.buffer_len(packet.header().encapsulation));
        frames.push(frame);
    }
    let again = overlay::Packet::parse(&emitted);
    assert_eq!(again.as_ref().map(overlay::Packet::header), Ok(packet.header()));
    assert_eq!(again.map(|packet| packet.frames().collect()), Ok(Ok(frames)));
}

fn link_state(input: &[u8]) {
    let mut emitted = Vec::new();
    let mut records = Vec::new();
    for record in linkstate::Repr::parse_all(input).flatten() {
        let start = emitted.len();
        record.emit(&mut emitted);
        assert_eq!(emitted.len() - start, record.buffer_len());
        records.push(record);
    }
    assert_eq!(linkstate::Repr::parse_all(&emitted).collect::<Result<Vec<_>, _>>(), Ok(records));
}

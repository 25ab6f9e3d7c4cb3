//! Packets that only a liar sends, but sealed and signed as they should be, so that they are read.

use super::Input;
use crate::mdp::SharedKey;
use crate::wire::address::Address;
use crate::wire::linkstate::{self, Ack};
use crate::wire::mdp;
use crate::wire::overlay::{Encapsulation, Frame, Header, Hops, PLEASE_EXPLAIN, Route};
use crate::{Identity, Port, Protection, Sid};
use alloc::vec::Vec;

/// Frames in one packet, records in one message.
const MAX: usize = 6;

/// Several identities that work together, and the name of one that they have no key of.
pub(super) struct Liars {
    pub(super) target: Sid,
    pub(super) honest: Sid,
    liars: [(Identity, SharedKey); 3],
    sealed: u8,
}

impl Liars {
    /// Liars with identities from these seeds, who attack `target`.
    pub(super) fn new(target: Sid, honest: Sid, seeds: [u8; 3]) -> Self {
        let liars = seeds.map(|seed| {
            let identity = Identity::from_seed([seed; 32]);
            let Some(key) = identity.shared_key(&target) else { unreachable!("an honest address") };
            (identity, key)
        });
        Self { target, honest, liars, sealed: 0 }
    }

    /// The keys that they share with their target.
    pub(super) fn keys(&self) -> impl Iterator<Item = &SharedKey> + Clone {
        self.liars.iter().map(|(_, key)| key)
    }

    /// A packet as `input` wants it.
    pub(super) fn packet(&mut self, input: &mut Input<'_>, local: Port) -> Option<Vec<u8>> {
        let head = input.u8()?;
        let who = usize::from(head & 3);
        let sid = self.sid(who);
        let signing_key = self.liars[who % 3].0.signing_key();
        let sender = match head >> 2 & 3 {
            0 | 1 => Address::Whole(sid),
            2 => Address::Prefix(&sid.as_bytes()[..6]),
            _ => Address::SigningKey(signing_key),
        };
        let flags = input.u8()?;
        let header = Header {
            sequenced_frames: flags & 1 != 0,
            encapsulation: if flags & 0x22 == 0x22 { Encapsulation::Single } else { Encapsulation::Multiple },
            sender,
            unicast: flags & 4 == 0,
            interface: if flags & 8 != 0 { Some(input.u8()? & 7) } else { None },
            sequence: if flags & 16 != 0 { input.u8() } else { None },
        };
        let mut packet = Vec::new();
        header.emit(&mut packet);
        for number in 0..MAX {
            if number > 0 && input.u8().is_none_or(|more| more & 1 == 0) {
                break;
            }
            self.frame(input, &header, who, local, &mut packet);
        }
        Some(packet)
    }

    /// Writes a frame, unless the input ends.
    fn frame(
        &mut self,
        input: &mut Input<'_>,
        header: &Header<'_>,
        who: usize,
        local: Port,
        packet: &mut Vec<u8>,
    ) -> Option<()> {
        let kind = input.u8()?;
        let sequence = if header.sequenced_frames { Some(input.u8()?) } else { None };
        let destination = Address::Whole(self.target);
        let route = match kind & 3 {
            0 => Route::Neighbour { destination },
            1 => Route::Neighbours,
            2 => Route::Flood { id: [input.u8()?; 8], hops: Hops(input.u8()?) },
            _ => {
                let next_hop = self.address(input)?;
                // What the target is to pass on is for somebody who may be its neighbour.
                let passed_on = next_hop == Address::Whole(self.target);
                let whom = if kind & 0x40 != 0 { self.honest } else { self.sid(0) };
                let destination = if passed_on { Address::Whole(whom) } else { destination };
                Route::Via { destination, next_hop, hops: Hops(input.u8()?) }
            }
        };
        let source = if kind & 0x80 != 0 { Some(self.address(input)?) } else { None };
        let mut legacy_type = None;
        let (protection, payload) = match kind >> 2 & 7 {
            0 => (Some(Protection::Clear), input.slice()?.to_vec()),
            1 => (Some(Protection::Clear), datagram(input, local)?),
            2 => {
                let mut payload = datagram(input, local)?;
                let signature = self.liars[who % 3].0.sign_datagram(&payload);
                payload.extend_from_slice(&signature);
                (Some(Protection::Signed), payload)
            }
            3 => (Some(Protection::Encrypted), self.seal(who, &datagram(input, local)?)),
            4 => (Some(Protection::Clear), self.link_state(input)?),
            5 => {
                legacy_type = Some(PLEASE_EXPLAIN);
                let mut payload = Vec::new();
                for _ in 0..input.u8()? & 31 {
                    self.address(input)?.emit(&mut payload);
                }
                (Some(Protection::Clear), payload)
            }
            6 => {
                let (liar, port) = (&self.liars[who % 3].0, Port::KEY_MAPPING);
                let signature = liar.sign(self.sid(who).as_bytes());
                let message = [&[2][..], &liar.signing_key(), &signature].concat();
                let mut plaintext = Vec::new();
                mdp::Repr { destination: port, source: port, payload: &message }.emit(&mut plaintext);
                match input.u8()? & 1 {
                    0 => (Some(Protection::Clear), plaintext),
                    _ => (Some(Protection::Encrypted), self.seal(who, &plaintext)),
                }
            }
            _ => {
                legacy_type = input.u8();
                (None, input.slice()?.to_vec())
            }
        };
        let ack_soon = kind & 0x20 != 0;
        let frame = Frame { source, route, protection, ack_soon, legacy_type, sequence, payload: &payload };
        frame.emit(header.encapsulation, packet);
        Some(())
    }

    fn link_state(&self, input: &mut Input<'_>) -> Option<Vec<u8>> {
        let mut message = Vec::new();
        let port = Port::LINK_STATE;
        mdp::Repr { destination: port, source: port, payload: &[] }.emit(&mut message);
        for _ in 0..usize::from(input.u8()?).min(MAX) {
            let flags = input.u8()?;
            let record = linkstate::Repr {
                receiver: self.address(input)?,
                version: 1,
                transmitter: if flags & 1 == 0 { Some(self.address(input)?) } else { None },
                interface: if flags & 2 == 0 { Some(input.u8()? & 3) } else { None },
                broadcast: flags & 4 != 0,
                unicast: flags & 8 != 0,
                ack: if flags & 16 != 0 {
                    let (sequence, mask) = (input.u8()?, u32::from(input.u16()?));
                    Some(Ack { sequence, mask: mask | mask << 16 })
                } else {
                    None
                },
                drop_rate: if flags & 32 != 0 { input.u8() } else { None },
            };
            record.emit(&mut message);
        }
        Some(message)
    }

    /// An address that means something, or bytes of the input.
    fn address<'a>(&self, input: &mut Input<'a>) -> Option<Address<'a>> {
        Some(match input.u8()? {
            kind @ 0..4 => Address::Whole(self.sid(kind.into())),
            4 => Address::Whole(self.target),
            5 => Address::Sender,
            6 => Address::Previous,
            7 => Address::PointToPointReceiver,
            8 => Address::Whole(Sid::new([0; 32])),
            9 => Address::Whole(Sid::new([0xff; 32])),
            10 => Address::SigningKey(self.liars[0].0.signing_key()),
            11 => Address::SigningKey([input.u8()?; 32]),
            12 => Address::Prefix(input.slice()?),
            other => Address::Whole(Sid::new([other; 32])),
        })
    }

    fn sid(&self, who: usize) -> Sid {
        self.liars.get(who).map_or(self.honest, |(identity, _)| identity.sid())
    }

    fn seal(&mut self, who: usize, plaintext: &[u8]) -> Vec<u8> {
        let mut payload = Vec::from([0; SharedKey::OVERHEAD]);
        payload.extend_from_slice(plaintext);
        self.sealed = self.sealed.wrapping_add(1);
        self.liars[who % 3].1.seal(&[self.sealed; 24], &mut payload);
        payload
    }
}

/// A datagram from and to services, streams and others.
fn datagram(input: &mut Input<'_>, local: Port) -> Option<Vec<u8>> {
    let port = |byte| match byte {
        255 => local,
        254 => Port::from(super::node::LISTENING),
        low => Port::from(u16::from(low)),
    };
    let (destination, source) = (port(input.u8()?), port(input.u8()?));
    let mut plaintext = Vec::new();
    mdp::Repr { destination, source, payload: input.slice()? }.emit(&mut plaintext);
    Some(plaintext)
}

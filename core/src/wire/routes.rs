//! The table of routes that a daemon tells its clients (`spec/20` section 9).
//!
//! ```text
//! SID (32) | flags (1) | signing key (32), if told | reachability (1) | hops (1)
//!          | next hop (32), if hops > 1 | previous hop (32), if hops > 2
//!          | interface (1), its state (1), its name, 0, if hops < 2
//! ```

use super::client::{ANY, Header};
use super::{DecodeError, Reader};
use crate::{Addr, Port, Sid};
use alloc::vec::Vec;

/// The command that asks for it.
pub(crate) const COMMAND: u32 = 5;
/// The signing key is told.
const KEY: u8 = 1;
const UP: u8 = 1;

/// How a node is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Not at all; what follows is not told.
    Unreachable = 0,
    /// It is this one.
    Own = 1,
    /// It hears broadcasts.
    Broadcast = 2,
    /// By unicast, and maybe by broadcast, too.
    Unicast = 4,
    /// Through others.
    Indirect = 8,
}

/// An interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interface<'a> {
    /// Its number.
    pub index: u8,
    /// It works.
    pub is_up: bool,
    /// What the daemon calls it.
    pub name: &'a [u8],
}

/// An entry: a node and the way there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The node.
    pub sid: Sid,
    /// How it is reached.
    pub reach: Reach,
    /// Links on the way; 0 to the node itself.
    pub hops: u8,
    /// The first node on the way, if that is another one.
    pub next_hop: Option<Sid>,
    /// The last one before it, if there are several.
    pub previous_hop: Option<Sid>,
    /// On which it is heard, if it is a neighbour; one of its own, if it is the node itself.
    pub interface: Option<Interface<'a>>,
}

/// Appends the request for the table.
pub fn emit_request(buffer: &mut Vec<u8>) {
    let local = Addr::new(ANY, Port::ANY);
    let remote = Addr::new(ANY, Port::new(COMMAND).unwrap_or(Port::ANY));
    Header { local, remote, flags: 0, qos: 0, ttl: 0, payload: &[] }.emit(buffer);
}

impl<'a> Entry<'a> {
    /// Reads an entry. A signing key is passed over.
    ///
    /// # Errors
    ///
    /// If it is cut short.
    pub fn parse(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let sid = Sid::new(reader.array()?);
        if reader.u8()? & KEY != 0 {
            reader.take(Sid::LEN)?;
        }
        let reach = match reader.u8()? {
            bits if bits & Reach::Own as u8 != 0 => Reach::Own,
            bits if bits & Reach::Unicast as u8 != 0 => Reach::Unicast,
            bits if bits & Reach::Broadcast as u8 != 0 => Reach::Broadcast,
            bits if bits & Reach::Indirect as u8 != 0 => Reach::Indirect,
            _ => {
                let (hops, next_hop, previous_hop, interface) = (0, None, None, None);
                return Ok(Self { sid, reach: Reach::Unreachable, hops, next_hop, previous_hop, interface });
            }
        };
        let hops = reader.u8()?;
        let mut hop =
            |told: bool| if told { reader.array().map(|sid| Some(Sid::new(sid))) } else { Ok(None) };
        let (next_hop, previous_hop) = (hop(hops > 1)?, hop(hops > 2)?);
        let interface = if hops < 2 {
            let (index, state) = (reader.u8()?, reader.u8()?);
            let name = reader.rest().split(|byte| *byte == 0).next().unwrap_or_default();
            Some(Interface { index, is_up: state & UP != 0, name })
        } else {
            None
        };
        Ok(Self { sid, reach, hops, next_hop, previous_hop, interface })
    }

    /// Appends the entry, as a daemon would.
    pub fn emit(&self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(self.sid.as_bytes());
        buffer.extend_from_slice(&[0, self.reach as u8]);
        if self.reach == Reach::Unreachable {
            return;
        }
        buffer.push(self.hops);
        for sid in [self.next_hop, self.previous_hop].iter().flatten() {
            buffer.extend_from_slice(sid.as_bytes());
        }
        if let Some(Interface { index, is_up, name }) = self.interface {
            buffer.extend_from_slice(&[index, u8::from(is_up)]);
            buffer.extend_from_slice(name);
            buffer.push(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> [Entry<'static>; 5] {
        let sid = |n| Sid::new([n; 32]);
        let interface = Some(Interface { index: 3, is_up: true, name: b"eth0" });
        let entry = |reach, hops, next_hop, previous_hop, interface| Entry {
            sid: sid(1),
            reach,
            hops,
            next_hop,
            previous_hop,
            interface,
        };
        [
            entry(Reach::Unreachable, 0, None, None, None),
            entry(Reach::Own, 0, None, None, interface),
            entry(Reach::Unicast, 1, None, None, interface),
            entry(Reach::Indirect, 2, Some(sid(2)), None, None),
            entry(Reach::Indirect, 3, Some(sid(2)), Some(sid(3)), None),
        ]
    }

    #[test]
    fn reads_what_it_writes() {
        for entry in entries() {
            let mut bytes = Vec::new();
            entry.emit(&mut bytes);
            assert_eq!(Entry::parse(&bytes), Ok(entry));
            // The name may end with the datagram.
            let cut = if entry.interface.is_some() { bytes.len() - 5 } else { bytes.len() };
            assert!((0..cut).all(|length| Entry::parse(&bytes[..length]).is_err()), "{entry:?}");
        }
    }

    #[test]
    fn a_signing_key_is_passed_over_and_bits_are_told_together() {
        let mut bytes = Vec::new();
        entries()[2].emit(&mut bytes);
        bytes[32] = 3;
        bytes.splice(33..33, [9; 32]);
        assert_eq!(Entry::parse(&bytes), Ok(entries()[2]));
        bytes[65] = 6;
        assert_eq!(Entry::parse(&bytes), Ok(entries()[2]));
    }
}

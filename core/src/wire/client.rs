//! Datagrams on the local socket of a daemon (`spec/20` sections 2 to 6).
//!
//! ```text
//! local SID (32) | local port (4) | remote SID (32) | remote port (4)
//! | flags (1) | QoS (1) | TTL (1) | payload
//! ```
//!
//! Integers are in the byte order of the machine. The two directions have a type each, because an answer that
//! went the other way would be a request. What aborts the daemon cannot be said in a [`Request`]: the types of
//! its fields have no values for that.

use super::mdp::Protection;
use super::{DecodeError, Reader};
use crate::{Addr, Port, Sid};
use alloc::vec::Vec;

/// Bytes before the payload.
pub const HEADER_LEN: usize = 32 + 4 + 32 + 4 + 3;

/// In place of a SID of one's own: the daemon's primary identity; of a remote one: the daemon itself.
pub const ANY: Sid = Sid::new([0; Sid::LEN]);

/// Not encrypted.
const NO_ENCRYPT: u8 = 0x01;
/// Not signed.
const NO_SIGN: u8 = 0x02;
/// Take the local port; it was taken.
pub(crate) const BIND: u8 = 0x04;
/// Give the local port back; a command is done.
pub(crate) const CLOSE: u8 = 0x08;
/// A request was refused.
const ERROR: u8 = 0x10;
/// The client sees to the loss of what it sends. Only a node of this project knows this flag, and no other is told.
pub(crate) const REPAIRS: u8 = 0x40;

/// What a client tells the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// Give me this port. With the SID [`ANY`] it is one of the primary identity, with port 0 the daemon
    /// chooses one.
    Bind {
        /// What to bind.
        local: Addr,
    },
    /// Send this from a port that is mine.
    Send {
        /// What to send.
        message: Message<'a>,
        /// First give me the port.
        bind: bool,
    },
    /// Take this port back. Port 0 stands for all that this client has.
    Close {
        /// What to release.
        local: Addr,
    },
}

/// A datagram for another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Where it comes from.
    pub local: Addr,
    /// Where it goes.
    pub remote: Addr,
    /// How it is protected. To [`Sid::BROADCAST`], it cannot be encrypted.
    pub protection: Protection,
    /// Its place among others that wait.
    pub qos: Qos,
    /// How far it goes.
    pub ttl: Ttl,
    /// The client sends again what is lost, so that nobody else need do it, and finds out by itself which lengths
    /// arrive. For a node of this project; a daemon does not know what that means.
    pub repairs: bool,
    /// Its data.
    pub payload: Payload<'a>,
}

impl<'a> Request<'a> {
    /// Reads a request, as a daemon would.
    ///
    /// # Errors
    ///
    /// If it is cut off, or something that is never sent, such as what aborts the daemon.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, DecodeError> {
        let Header { local, remote, flags, qos, ttl, payload } = Header::parse(datagram)?;
        let qos = Qos::new(qos).ok_or(DecodeError::Invalid)?;
        let ttl = Ttl::new(ttl).ok_or(DecodeError::Invalid)?;
        if (remote, payload) == (NOWHERE, &[][..]) && (qos, ttl) == (Qos::Default, Ttl::DEFAULT) {
            return match flags {
                BIND => Ok(Self::Bind { local }),
                CLOSE => Ok(Self::Close { local }),
                _ => Err(DecodeError::Invalid),
            };
        }
        let repairs = flags & REPAIRS != 0;
        let payload = if repairs { Payload::long(payload) } else { Payload::new(payload) };
        let payload = payload.ok_or(DecodeError::Invalid)?;
        let protection = protection(flags & !(BIND | REPAIRS))?;
        let message = Message { local, remote, protection, qos, ttl, repairs, payload };
        Ok(Self::Send { message, bind: flags & BIND != 0 })
    }

    /// Appends the request to `buffer`.
    pub fn emit(&self, buffer: &mut Vec<u8>) {
        let command = |local, flags| Header { local, remote: NOWHERE, flags, qos: 0, ttl: 0, payload: &[] };
        let header = match *self {
            Self::Bind { local } => command(local, BIND),
            Self::Close { local } => command(local, CLOSE),
            Self::Send { message, bind } => Header {
                local: message.local,
                remote: message.remote,
                flags: protection_flags(message.protection)
                    | if bind { BIND } else { 0 }
                    | if message.repairs { REPAIRS } else { 0 },
                qos: message.qos as u8,
                ttl: message.ttl.0,
                payload: message.payload.0,
            },
        };
        header.emit(buffer);
    }

    /// Bytes that [`Request::emit`] appends.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        match self {
            Self::Bind { .. } | Self::Close { .. } => HEADER_LEN,
            Self::Send { message, .. } => HEADER_LEN + message.payload.0.len(),
        }
    }
}

/// What the daemon tells a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    /// The client's end: with an answer, what it asked for, completed; with data, where they go.
    pub local: Addr,
    /// The other end: with an answer, what the request named; with data, where they come from.
    pub remote: Addr,
    /// What it is.
    pub kind: ReplyKind<'a>,
    /// As in the request; meaningless with data.
    pub qos: u8,
    /// As in the request; meaningless with data.
    pub ttl: u8,
}

/// The kinds of a [`Reply`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyKind<'a> {
    /// The local port is the client's.
    Bound,
    /// A command is done.
    Done,
    /// A request was refused; why is in the daemon's log only.
    Refused,
    /// A datagram that came in.
    Data {
        /// How it came.
        protection: Protection,
        /// Its data.
        payload: &'a [u8],
    },
}

impl<'a> Reply<'a> {
    /// Reads a datagram from the daemon.
    ///
    /// # Errors
    ///
    /// If it is cut off, has flags that no daemon sets, or an answer carries data.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, DecodeError> {
        let Header { local, remote, flags, qos, ttl, payload } = Header::parse(datagram)?;
        let kind = match flags {
            BIND | CLOSE | ERROR if !payload.is_empty() => return Err(DecodeError::Invalid),
            BIND => ReplyKind::Bound,
            CLOSE => ReplyKind::Done,
            ERROR => ReplyKind::Refused,
            _ => ReplyKind::Data { protection: protection(flags)?, payload },
        };
        Ok(Self { local, remote, kind, qos, ttl })
    }

    /// Appends the datagram to `buffer`.
    pub fn emit(&self, buffer: &mut Vec<u8>) {
        let Self { local, remote, kind, qos, ttl } = *self;
        let (flags, payload) = match kind {
            ReplyKind::Bound => (BIND, &[][..]),
            ReplyKind::Done => (CLOSE, &[][..]),
            ReplyKind::Refused => (ERROR, &[][..]),
            ReplyKind::Data { protection, payload } => (protection_flags(protection), payload),
        };
        Header { local, remote, flags, qos, ttl, payload }.emit(buffer);
    }

    /// Bytes that [`Reply::emit`] appends.
    #[must_use]
    pub const fn buffer_len(&self) -> usize {
        match self.kind {
            ReplyKind::Bound | ReplyKind::Done | ReplyKind::Refused => HEADER_LEN,
            ReplyKind::Data { payload, .. } => HEADER_LEN + payload.len(),
        }
    }
}

/// Data that can be sent: neither none, which aborts the daemon that is to deliver them, nor so many that they
/// abort the one that is to send them (`spec/20` section 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload<'a>(&'a [u8]);

impl<'a> Payload<'a> {
    /// Bytes that can be sent at most.
    pub const MAX_LEN: usize = 1100;
    /// The same where [`Message::repairs`] is set.
    pub const MAX_LONG_LEN: usize = 1400;

    /// These bytes; `None` if there are none, or too many.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > Self::MAX_LEN { None } else { Self::long(bytes) }
    }

    /// The same where [`Message::repairs`] is set.
    #[must_use]
    pub const fn long(bytes: &'a [u8]) -> Option<Self> {
        if bytes.is_empty() || bytes.len() > Self::MAX_LONG_LEN { None } else { Some(Self(bytes)) }
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }
}

/// The classes of traffic, each with a queue of its own in the daemon. Others abort it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Qos {
    /// The same as [`Qos::Ordinary`].
    #[default]
    Default = 0,
    /// Of the mesh itself.
    Management = 1,
    /// Voice and video.
    Video = 2,
    /// Everything else.
    Ordinary = 3,
    /// What can wait.
    Opportunistic = 4,
}

impl Qos {
    /// The class with this number.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Default),
            1 => Some(Self::Management),
            2 => Some(Self::Video),
            3 => Some(Self::Ordinary),
            4 => Some(Self::Opportunistic),
            _ => None,
        }
    }
}

/// Hops that a datagram may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ttl(u8);

impl Ttl {
    /// As many as possible.
    pub const DEFAULT: Self = Self(0);

    /// This many: at most 31, or 0 for [`Ttl::DEFAULT`].
    #[must_use]
    pub const fn new(hops: u8) -> Option<Self> {
        if hops <= 31 { Some(Self(hops)) } else { None }
    }

    /// The number, 0 for [`Ttl::DEFAULT`].
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// The remote end of a request that is about a local port only.
const NOWHERE: Addr = Addr::new(ANY, Port::ANY);

/// What both directions have, whether or not it makes sense.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header<'a> {
    pub(crate) local: Addr,
    pub(crate) remote: Addr,
    pub(crate) flags: u8,
    pub(crate) qos: u8,
    pub(crate) ttl: u8,
    pub(crate) payload: &'a [u8],
}

impl<'a> Header<'a> {
    pub(crate) fn parse(datagram: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(datagram);
        Ok(Self {
            local: parse_addr(&mut reader)?,
            remote: parse_addr(&mut reader)?,
            flags: reader.u8()?,
            qos: reader.u8()?,
            ttl: reader.u8()?,
            payload: reader.rest(),
        })
    }

    pub(crate) fn emit(&self, buffer: &mut Vec<u8>) {
        for addr in [self.local, self.remote] {
            buffer.extend_from_slice(addr.sid.as_bytes());
            buffer.extend_from_slice(&addr.port.get().to_ne_bytes());
        }
        buffer.extend_from_slice(&[self.flags, self.qos, self.ttl]);
        buffer.extend_from_slice(self.payload);
    }
}

fn parse_addr(reader: &mut Reader<'_>) -> Result<Addr, DecodeError> {
    let sid = Sid::new(reader.array()?);
    let port = Port::new(u32::from_ne_bytes(reader.array()?)).ok_or(DecodeError::Invalid)?;
    Ok(Addr::new(sid, port))
}

pub(crate) fn protection(flags: u8) -> Result<Protection, DecodeError> {
    const CLEAR: u8 = NO_ENCRYPT | NO_SIGN;
    match flags {
        0 => Ok(Protection::Encrypted),
        NO_ENCRYPT => Ok(Protection::Signed),
        CLEAR => Ok(Protection::Clear),
        _ => Err(DecodeError::Invalid),
    }
}

const fn protection_flags(protection: Protection) -> u8 {
    match protection {
        Protection::Encrypted => 0,
        Protection::Signed => NO_ENCRYPT,
        Protection::Clear => NO_ENCRYPT | NO_SIGN,
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

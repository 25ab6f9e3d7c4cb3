//! Where a datagram comes from and goes to.

use crate::Rng;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

/// The address of an identity on the mesh: its X25519 public key (`spec/40` section 1).
///
/// Written as 64 hexadecimal digits, read in either case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sid([u8; Sid::LEN]);

impl Sid {
    /// Bytes in an address.
    pub const LEN: usize = 32;
    /// In place of an address: every node. No identity has it.
    pub const BROADCAST: Self = Self([0xff; Self::LEN]);

    /// The address with these bytes. Any 32 bytes are accepted; a key that no identity can have is
    /// found out when a packet is to be sealed for it.
    #[must_use]
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// The bytes of the address.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Whether this value is reserved and can belong to no identity: all zeros, all ones, or the number 1
    /// (`spec/40` section 1).
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        let (last, head) = (self.0[Self::LEN - 1], &self.0[..Self::LEN - 1]);
        (head.iter().all(|&byte| byte == 0) && last <= 1) || *self == Self::BROADCAST
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

/// The first six bytes, which is enough to tell addresses apart in a log.
impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02X}"))?;
        f.write_str("*")
    }
}

impl FromStr for Sid {
    type Err = ParseSidError;

    fn from_str(text: &str) -> Result<Self, ParseSidError> {
        let length = text.chars().count();
        if length != 2 * Self::LEN {
            return Err(ParseSidError::Length(length));
        }
        let mut bytes = [0; Self::LEN];
        for (index, digit) in text.chars().enumerate() {
            let value = digit.to_digit(16).ok_or(ParseSidError::Digit(digit))? as u8;
            bytes[index / 2] = bytes[index / 2] << 4 | value;
        }
        let sid = Self(bytes);
        if sid.is_reserved() { Err(ParseSidError::Reserved) } else { Ok(sid) }
    }
}

/// Why a text is not a [`Sid`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseSidError {
    /// It has this many characters, not 64.
    Length(usize),
    /// This character is not a hexadecimal digit.
    Digit(char),
    /// The value is reserved and belongs to no identity.
    Reserved,
}

impl fmt::Display for ParseSidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(n) => {
                write!(f, "an address (SID) has 64 hexadecimal digits, this has {n} characters")
            }
            Self::Digit(c) => {
                let shown: String = c.escape_default().collect();
                write!(f, "an address (SID) has only hexadecimal digits, not '{shown}'")
            }
            Self::Reserved => f.write_str("this address (SID) is reserved and belongs to no node"),
        }
    }
}

impl core::error::Error for ParseSidError {}

/// An MDP port: 0 to 2³¹ − 1, because a datagram carries its destination port shifted by one bit
/// (`spec/40` section 2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(u32);

impl Port {
    /// Key mapping (`spec/40` section 4).
    pub const KEY_MAPPING: Self = Self(1);
    /// Link state (`spec/50` section 2).
    pub const LINK_STATE: Self = Self(2);
    /// Echo (`spec/60` section 2).
    pub const ECHO: Self = Self(7);
    /// Trace (`spec/60` section 3).
    pub const TRACE: Self = Self(8);
    /// Service discovery (`spec/60` section 5).
    pub const DISCOVERY: Self = Self(11);
    /// No port: in a request to a daemon, one of its choice, or all.
    pub const ANY: Self = Self(0);
    /// The largest port.
    pub const MAX: Self = Self(u32::MAX >> 1);

    /// The first that is for applications (`spec/60` section 1).
    pub(crate) const FIRST_APPLICATION: u32 = 257;

    /// One for an application, such that so many more follow. Who knew the random numbers could send to it.
    pub(crate) fn random(rng: &mut Rng, followers: u32) -> Self {
        let ports = Self::MAX.0 - Self::FIRST_APPLICATION - followers;
        Self(Self::FIRST_APPLICATION + rng.below(ports.into()) as u32)
    }

    /// The port with this number, `None` above [`Port::MAX`].
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number <= Self::MAX.0 { Some(Self(number)) } else { None }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl From<u16> for Port {
    fn from(number: u16) -> Self {
        Self(number.into())
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Port {
    type Err = ParsePortError;

    fn from_str(text: &str) -> Result<Self, ParsePortError> {
        text.parse().ok().and_then(Self::new).ok_or(ParsePortError)
    }
}

/// A text is not a [`Port`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsePortError;

impl fmt::Display for ParsePortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an MDP port is a number from 0 to {}", Port::MAX)
    }
}

impl core::error::Error for ParsePortError {}

/// One end of a datagram or stream: a port at an identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addr {
    /// The identity.
    pub sid: Sid,
    /// The port there.
    pub port: Port,
}

impl Addr {
    /// `port` at `sid`.
    #[must_use]
    pub const fn new(sid: Sid, port: Port) -> Self {
        Self { sid, port }
    }

    /// Whether nobody can be reached there: a reserved identity, or port 0.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.sid.is_reserved() || self.port.get() == 0
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sid, self.port)
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{}", self.sid, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    #[test]
    fn sid_reads_either_case_and_shows_upper_case() {
        let text = "4701d08488451f545a409fb58ae3e58581ca40ac3f7f114698cd71deac73ca01";
        let sid: Sid = text.parse().unwrap();
        assert_eq!(sid.to_string(), text.to_uppercase());
        assert_eq!(text.to_uppercase().parse(), Ok(sid));
        assert_eq!(format!("{sid:?}"), "4701D0848845*");
    }

    #[test]
    fn sid_refuses_what_is_not_an_address() {
        assert_eq!("47".parse::<Sid>(), Err(ParseSidError::Length(2)));
        assert_eq!("é".repeat(64).parse::<Sid>(), Err(ParseSidError::Digit('é')));
        assert_eq!("F".repeat(64).parse::<Sid>(), Err(ParseSidError::Reserved));
        assert_eq!("0".repeat(64).parse::<Sid>(), Err(ParseSidError::Reserved));
        assert_eq!(format!("{}1", "0".repeat(63)).parse::<Sid>(), Err(ParseSidError::Reserved));
        assert!(format!("{}2", "0".repeat(63)).parse::<Sid>().is_ok());
        assert!(!ParseSidError::Digit('\x1b').to_string().contains('\x1b'));
    }

    #[test]
    fn port_has_31_bits() {
        assert_eq!("2147483647".parse(), Ok(Port::MAX));
        assert_eq!("2147483648".parse::<Port>(), Err(ParsePortError));
        assert_eq!("-1".parse::<Port>(), Err(ParsePortError));
        assert_eq!(Port::new(1 << 31), None);
    }
}

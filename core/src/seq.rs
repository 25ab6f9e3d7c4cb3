//! Sequence numbers.

use core::fmt;
use core::ops::{Add, Sub};

/// A 16-bit sequence number of an MSP stream, counted per packet and wrapping (`spec/10` A.3).
///
/// Compared as in RFC 1982: `a` is before `b` if the difference `a - b`, as a signed 16-bit number, is
/// negative. It has no `Ord`, because that order is not transitive.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Seq(pub u16);

impl Seq {
    /// Whether `self` comes before `other`.
    #[must_use]
    pub const fn is_before(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i16) < 0
    }

    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// The number before this one; that of 0 is 65535, which acknowledges nothing.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.wrapping_sub(1))
    }
}

impl Add<u16> for Seq {
    type Output = Self;
    fn add(self, count: u16) -> Self {
        Self(self.0.wrapping_add(count))
    }
}

/// How far `self` is after the other, negative if it is before.
impl Sub for Seq {
    type Output = i16;
    fn sub(self, other: Self) -> i16 {
        self.0.wrapping_sub(other.0) as i16
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_wraps() {
        assert!(Seq(0xffff).is_before(Seq(0)));
        assert!(!Seq(0).is_before(Seq(0xffff)));
        assert!(!Seq(7).is_before(Seq(7)));
        assert!(Seq(0).is_before(Seq(0x7fff)));
        assert!(Seq(0x8000).is_before(Seq(0)));
        assert_eq!(Seq(2) - Seq(0xfffe), 4);
        assert_eq!(Seq(0).previous().next(), Seq(0));
        assert_eq!(Seq(0xfffe) + 4, Seq(2));
    }
}

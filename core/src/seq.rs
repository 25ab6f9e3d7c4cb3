//! Sequence numbers.

use core::fmt;
use core::ops::{Add, Sub};

/// A kind of sequence number, counted per packet and wrapping.
macro_rules! serial_number {
    ($(#[$documentation:meta])* $name:ident, $unsigned:ty, $signed:ty) => {
        $(#[$documentation])*
        ///
        /// Compared as in RFC 1982: `a` is before `b` if the difference `a - b`, as a signed number of the same
        /// size, is negative. It has no `Ord`, because that order is not transitive.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $name(pub $unsigned);

        impl $name {
            /// Whether `self` comes before `other`.
            #[must_use]
            pub const fn is_before(self, other: Self) -> bool {
                (self.0.wrapping_sub(other.0) as $signed) < 0
            }

            /// The number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.wrapping_add(1))
            }

            /// The number before this one; that of 0 is the largest, which acknowledges nothing.
            #[must_use]
            pub const fn previous(self) -> Self {
                Self(self.0.wrapping_sub(1))
            }
        }

        impl Add<$unsigned> for $name {
            type Output = Self;
            fn add(self, count: $unsigned) -> Self {
                Self(self.0.wrapping_add(count))
            }
        }

        /// How far `self` is after the other, negative if it is before.
        impl Sub for $name {
            type Output = $signed;
            fn sub(self, other: Self) -> $signed {
                self.0.wrapping_sub(other.0) as $signed
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

serial_number! {
    /// A sequence number of a stream, in 32 bits as in extended packets (`docs/msp-extensions.md`).
    Seq, u32, i32
}

serial_number! {
    /// A sequence number in a packet of the reference wire (`spec/10` A.3): the lower half of a [`Seq`].
    Seq16, u16, i16
}

impl Seq {
    /// The number with this lower half that is nearest to `self`.
    #[must_use]
    pub const fn nearest(self, lower: Seq16) -> Self {
        let distance = lower.0.wrapping_sub(self.0 as u16) as i16;
        Self(self.0.wrapping_add_signed(distance as i32))
    }

    /// What of it is in a packet of the reference wire.
    #[must_use]
    pub const fn lower(self) -> Seq16 {
        Seq16(self.0 as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_wraps() {
        assert!(Seq16(0xffff).is_before(Seq16(0)));
        assert!(!Seq16(0).is_before(Seq16(0xffff)));
        assert!(!Seq16(7).is_before(Seq16(7)));
        assert!(Seq16(0).is_before(Seq16(0x7fff)));
        assert!(Seq16(0x8000).is_before(Seq16(0)));
        assert_eq!(Seq16(2) - Seq16(0xfffe), 4);
        assert_eq!(Seq16(0).previous().next(), Seq16(0));
        assert_eq!(Seq16(0xfffe) + 4, Seq16(2));
        assert!(Seq(u32::MAX).is_before(Seq(0)) && Seq(0x8000_0000).is_before(Seq(0)));
        assert!(Seq(0xffff).is_before(Seq(0x1_0000)));
    }

    #[test]
    fn the_nearest_number_has_the_same_lower_half() {
        for (near, lower, nearest) in [
            (0, 0xffff, u32::MAX),
            (0, 0x7fff, 0x7fff),
            (0, 0x8000, 0xffff_8000),
            (0xffff, 0, 0x1_0000),
            (0x1_0000, 0xffff, 0xffff),
            (0x1234_5678, 0x5678, 0x1234_5678),
            (u32::MAX, 3, 3),
        ] {
            assert_eq!(Seq(near).nearest(Seq16(lower)), Seq(nearest), "{lower:x} near {near:x}");
            assert_eq!(Seq(nearest).lower(), Seq16(lower));
        }
    }
}

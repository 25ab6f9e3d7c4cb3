//! The time that the core is told.

use msp_core::Instant;

/// A monotonic clock that counts from its own start.
#[derive(Debug, Clone, Copy)]
pub struct Clock(std::time::Instant);

impl Clock {
    /// One that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// The time since its start.
    #[must_use]
    pub fn now(self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }
}

//! Asks who we are on the mesh.

use super::Uplink;
use crate::{Instant, Port, Rng, Sid};
use core::time::Duration;

/// How long a daemon may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Asks an [`Uplink`] for its address. A node knows it at once; a daemon tells it with a port that it gives
/// (`spec/20` section 5).
///
/// Whoever drives the uplink calls [`Identify::update`] when a packet has come in or [`Identify::deadline`] has
/// come, until there is an answer.
#[derive(Debug)]
pub struct Identify {
    port: Port,
    deadline: Instant,
}

impl Identify {
    /// Asks from now on. The port follows from `seed`, 32 bytes that nobody can guess.
    #[must_use]
    pub fn new(seed: [u8; 32], now: Instant) -> Self {
        Self { port: Port::random(&mut Rng::new(seed), 0), deadline: now + TIMEOUT }
    }

    /// Two seconds after the start: no answer comes any more.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Takes what has come in. `None` until there is an answer, which is `Some(None)` if none came in time.
    pub fn update(&self, now: Instant, uplink: &mut Uplink) -> Option<Option<Sid>> {
        // Without a port there is no answer.
        let _ = uplink.bind(now, self.port);
        let sid = uplink.sid();
        (sid.is_some() || now >= self.deadline).then_some(sid)
    }
}

//! Whether a node repairs hops, and how the reference daemon does, to measure ours against that.

use super::outbox::Frame;
use crate::Instant;
use core::time::Duration;

/// Who sends frames again that are lost on the way to a neighbour, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "testing"), allow(dead_code, reason = "nodes that others embed are prompt"))]
pub(crate) enum HopRepair {
    /// The node, as soon as acknowledgments show that they are.
    Prompt,
    /// Nobody.
    None,
    /// The node, as the reference daemon does.
    Reference,
}

/// Small frames wait so long for others to share a packet with (`spec/30` section 7).
const AGGREGATION: Duration = Duration::from_millis(5);
/// Frames that are at least so long do not wait, in bytes of their payload.
const LARGE_FRAME: usize = 400;
#[cfg(feature = "testing")]
const INITIAL_RESEND_DELAY: Duration = Duration::from_millis(1000);
const MIN_ROUND_TRIP: Duration = Duration::from_millis(10);
/// The resend delay is this much more than two round trips.
const MARGIN: Duration = Duration::from_millis(40);
/// A gap is reported after this long (`spec/50` section 4).
const GAP_DELAY: Duration = Duration::from_millis(5);
/// A frame is given up when so many newer ones were sent.
const HISTORY: u64 = 64;

/// What the reference daemon does at one hop (`spec/50` sections 4 and 6). Not modelled: its limit of 7 packets in 5 ms,
/// which five messages on their way do not reach, and that it repeats a record of which it learns that it was lost.
#[derive(Debug)]
pub(super) struct ReferenceHop {
    resend_delay: Duration,
    /// In nodes that others embed there is none, and asking for it costs nothing.
    #[cfg(not(feature = "testing"))]
    _never: core::convert::Infallible,
}

impl HopRepair {
    #[cfg(feature = "testing")]
    pub(super) fn reference(self) -> Option<ReferenceHop> {
        (self == Self::Reference).then_some(ReferenceHop { resend_delay: INITIAL_RESEND_DELAY })
    }

    #[cfg(not(feature = "testing"))]
    #[allow(clippy::unused_self, reason = "so that it is called in one way")]
    pub(super) const fn reference(self) -> Option<ReferenceHop> {
        None
    }
}

impl ReferenceHop {
    pub(super) const fn resend_delay(&self) -> Duration {
        self.resend_delay
    }

    /// A packet was acknowledged after this time. The delay only decreases.
    pub(super) fn sample(&mut self, round_trip: Duration) {
        let delay = round_trip.max(MIN_ROUND_TRIP) * 2 + MARGIN;
        self.resend_delay = self.resend_delay.min(delay);
    }

    /// When a frame is sent first.
    pub(super) fn departure(frame: &Frame) -> Instant {
        let is_large = frame.payload.len() >= LARGE_FRAME;
        if is_large { frame.queued } else { frame.queued + AGGREGATION }
    }

    /// Whether a frame after which so many others were numbered is still sent again.
    pub(super) const fn repairs(newer: u64) -> bool {
        newer < HISTORY
    }

    /// When to acknowledge a packet, which asks for it or shows a gap.
    pub(super) fn ack_delay(&self, asks: bool, shows_gap: bool) -> Option<Duration> {
        let gap = shows_gap.then_some(GAP_DELAY);
        gap.into_iter().chain(asks.then_some(self.resend_delay / 3)).min()
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::Sid;
    use crate::wire::mdp::Protection;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    const fn hop() -> ReferenceHop {
        ReferenceHop { resend_delay: INITIAL_RESEND_DELAY }
    }

    #[test]
    fn the_resend_delay_is_a_second_until_there_is_a_round_trip_and_then_only_decreases() {
        let mut hop = hop();
        let delays = [None, Some(40), Some(90), Some(2)].map(|millis| {
            millis.into_iter().for_each(|millis| hop.sample(ms(millis)));
            hop.resend_delay()
        });
        assert_eq!(delays, [1000, 120, 120, 60].map(ms));
    }

    #[test]
    fn acknowledgments_are_due_after_a_third_of_that_or_5_ms_after_a_gap() {
        let mut hop = hop();
        assert_eq!(hop.ack_delay(true, false), Some(Duration::from_secs(1) / 3));
        hop.sample(ms(10));
        assert_eq!(hop.ack_delay(true, false), Some(ms(20)));
        assert_eq!(hop.ack_delay(true, true), Some(ms(5)));
        assert_eq!((hop.ack_delay(false, true), hop.ack_delay(false, false)), (Some(ms(5)), None));
    }

    #[test]
    fn small_frames_wait_for_others() {
        let frame = |length| {
            let payload = alloc::vec![0; length];
            Frame::new(Instant::from_millis(7), Sid::new([1; 32]), Protection::Encrypted, payload)
        };
        let departures = [399, 400].map(|length| ReferenceHop::departure(&frame(length)));
        assert_eq!(departures, [12, 7].map(Instant::from_millis));
    }
}

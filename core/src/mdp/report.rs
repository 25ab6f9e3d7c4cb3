//! What a neighbour is told of how it is heard, and when (`spec/50` section 4).

use super::loss::{missing, significant};
use super::neighbour::{Neighbour, PROMPT};
use super::{NodeConfig, Transport};
use crate::Instant;
use crate::wire::linkstate::Ack;
use core::time::Duration;
use smallvec::SmallVec;

/// After more than so many packets, an acknowledgment repeats what was in those before, which may be lost.
const PACKETS_REPEATED: u8 = 2;
/// Acknowledgments that are kept while packets come faster than they are answered, as in batches.
pub(super) const MAX_OLDER_ACKS: usize = 6;
/// The second announcement to a neighbour that may not hear us comes after this long, each further one after twice the
/// time, up to a tick: the first may be lost, and nothing is known of how long an answer takes.
const EAGER: Duration = Duration::from_millis(20);
/// After so many it has to be heard again first: one packet in somebody else's name is not to draw many.
const MAX_UNANSWERED: u8 = 5;

/// Who does not relay tells each neighbour alone which way it uses, as others would take it for a relay if they heard that:
/// so often at first, and then after so many announcements with others, as it may be forgotten.
const ALONE: u8 = 3;
const SHARED: u8 = 10;

/// How the neighbour is heard best, which is what it is told.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) peer_interface: u8,
    pub(super) transport: Transport,
    /// Its broadcasts come, too, or alone.
    pub(super) audible: bool,
    /// Acknowledgments, the newest last.
    pub(super) acks: SmallVec<[Ack; MAX_OLDER_ACKS + 1]>,
    /// How many packets are missing, if one of the acknowledgments makes it seem otherwise.
    pub(super) missed: Option<u8>,
}

/// Which link-state records are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Announcement {
    /// All of them.
    Whole,
    /// That it is heard, in a broadcast to many.
    Shared,
    /// Only the acknowledgment.
    Ack,
}

impl Neighbour {
    /// When the next announcement of everything is due.
    pub(super) fn whole_at(&self) -> Option<Instant> {
        (self.outbound.is_some() || self.unanswered < MAX_UNANSWERED).then_some(self.announce_at)
    }

    /// Which announcement goes along with a packet that is sent now. One that waits for what else there is to say need
    /// not wait any more.
    pub(super) fn along(&self, now: Instant) -> Option<Announcement> {
        self.due(if self.is_up(now) { now } else { now + PROMPT })
    }

    /// Which announcement is due.
    pub(super) fn due(&self, now: Instant) -> Option<Announcement> {
        if self.whole_at().is_some_and(|at| at <= now) {
            Some(Announcement::Whole)
        } else if self.ack_at.is_some_and(|at| at <= now) {
            Some(Announcement::Ack)
        } else {
            None
        }
    }

    /// What to announce, which counts as done.
    pub(super) fn announce(
        &mut self,
        now: Instant,
        config: &NodeConfig,
        announcement: Announcement,
    ) -> Option<Report> {
        let best = self.best_inbound(now, config.expiry);
        if announcement == Announcement::Whole {
            let up = self.is_up(now);
            self.outbox.set_confirmed(up);
            let eager = EAGER * (1 << self.announced.min(8));
            self.announce_at = now + if up { config.tick } else { eager.min(config.tick) };
            self.announced = self.announced.saturating_add(1);
            (self.alone, self.shared) = (self.alone.saturating_add(u8::from(up)), 0);
            self.unanswered = self.unanswered.saturating_add(1);
        }
        let shared = announcement == Announcement::Shared;
        let is_due_alone = !config.relay && (self.alone < ALONE || self.shared >= SHARED);
        if !shared {
            self.ack_at = None;
        } else if !is_due_alone && self.outbound.is_some_and(|outbound| outbound.audible) {
            self.shared = self.shared.saturating_add(1);
            // Unless it turns out not to be told with others next time.
            self.announce_at = now + config.tick * 2;
        }
        if self.reported != best {
            self.older_acks.clear();
        }
        self.reported = best;
        let (interface, peer_interface, transport) = best?;
        let link = self
            .links
            .iter_mut()
            .find(|link| (link.interface, link.peer_interface) == (interface, peer_interface))?;
        let audible = link.is_audible(now, config.expiry) || transport == Transport::Broadcast;
        let missed = link.missing(now, config.expiry, transport);
        let inbound = link.inbound(transport);
        let mut acks = SmallVec::new();
        if shared {
            // Who waits for it is told alone.
            acks.extend(inbound.history.ack().filter(|_| inbound.told > 0));
        } else {
            acks.extend(self.older_acks.drain(..));
            if inbound.unreported > PACKETS_REPEATED && acks.is_empty() {
                acks.extend(inbound.history.older_ack());
            }
            (inbound.unreported, inbound.uncovered) = (0, 0);
            acks.extend(inbound.history.ack());
        }
        inbound.told = inbound.told.saturating_sub(1);
        // Without an acknowledgment nothing seems to be missing.
        let seems_other = if acks.is_empty() {
            missed.is_some_and(|missed| significant(missed) > 0)
        } else {
            acks.iter().any(|ack| Some(missing(*ack, 15)) != missed)
        };
        Some(Report { peer_interface, transport, audible, acks, missed: missed.filter(|_| seems_other) })
    }

    /// It asked who we are: it is told at once, and with every packet for a while.
    pub(super) fn introduce(&mut self, now: Instant, expiry: Duration) {
        self.introduce_until = now + expiry;
        self.announce_at = now;
    }

    /// Whether it knows whose SID it is that we abbreviate.
    pub(super) fn knows_us(&self, now: Instant) -> bool {
        self.is_up(now) && self.introduce_until <= now
    }
}

//! What a node knows of one neighbour: how it is heard, whether it hears us, and what is on its way.

use super::history::History;
use super::keys::Quota;
use super::loss::{Loss, missing, significant};
use super::node::Interface;
use super::outbox::{Outbox, PacketNumber};
use super::{InterfaceId, NodeConfig, Transport};
use crate::wire::linkstate::Ack;
use crate::{Instant, Sid};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;
use smallvec::SmallVec;

/// Links of one neighbour that are remembered; more than one only if a node has several interfaces.
const MAX_LINKS: usize = 4;
/// An acknowledgment is due at once after this many packets: half of what it can hold (`spec/50` section 4).
const PACKETS_PER_ACK: u8 = 16;
/// After so many packets without a frame that asks for an acknowledgment, gaps are not reported at once any more:
/// their sender sees to its losses itself.
const PACKETS_UNASKED: u8 = 64;
/// After more than so many packets, an acknowledgment repeats what was in those before, which may be lost.
const PACKETS_REPEATED: u8 = 2;
/// Packets that one acknowledgment covers (`spec/50` section 2).
const PACKETS_COVERED: u8 = 32;
/// Acknowledgments that are kept while packets come faster than they are answered, as in batches.
const MAX_OLDER_ACKS: usize = 6;
/// The first announcement to a new neighbour, and the report that it is heard in another way, wait this
/// long for what else there is to say.
const PROMPT: Duration = Duration::from_millis(5);
/// A neighbour that seems to have missed an announcement gets another one after this long.
const REMINDER: Duration = Duration::from_millis(50);
/// The second announcement to a neighbour that may not hear us comes after this long, each further one after twice the
/// time, up to a tick: the first may be lost, and nothing is known of how long an answer takes.
const EAGER: Duration = Duration::from_millis(20);
/// After so many it has to be heard again first: one packet in somebody else's name is not to draw many.
const MAX_UNANSWERED: u8 = 5;

/// Broadcasts of one neighbour, made by it or passed on, that are passed on in a second.
const FLOOD_RATE: u32 = 64;

/// How well a neighbour is known. Those that are known better cannot be displaced by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// A packet named it.
    Heard,
    /// A packet said that it hears us.
    Confirmed,
    /// It is at an address that the user configured.
    Configured,
    /// It sealed a datagram, so the SID is its own.
    Authentic,
}

/// One way in which the neighbour is heard: by one transport.
#[derive(Debug, Clone, Copy, Default)]
struct Inbound {
    heard: Option<Instant>,
    history: History,
    /// Packets, lost ones included, since the last acknowledgment.
    unreported: u8,
    /// Packets since a frame has asked for one.
    unasked: u8,
    /// The same, since the last one that was kept for later.
    uncovered: u8,
}

/// The neighbour's interface as it is heard on one of ours.
#[derive(Debug)]
struct Link {
    interface: InterfaceId,
    /// The number of the neighbour's interface, to be echoed to it.
    peer_interface: u8,
    address: SocketAddr,
    address_heard: Instant,
    /// More than packets that anyone can send speaks for the address.
    proven: bool,
    unicast: Inbound,
    broadcast: Inbound,
}

impl Link {
    fn is_way_of(&self, packet: &Arrival) -> bool {
        (self.interface, self.peer_interface) == (packet.interface, packet.peer_interface)
    }

    fn inbound(&mut self, transport: Transport) -> &mut Inbound {
        match transport {
            Transport::Unicast => &mut self.unicast,
            Transport::Broadcast => &mut self.broadcast,
        }
    }
}

/// The way to the neighbour that it reported to work.
#[derive(Debug, Clone, Copy)]
struct Outbound {
    interface: InterfaceId,
    transport: Transport,
    until: Instant,
    loss: Loss,
}

/// How the neighbour is heard best, which is what it is told.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) peer_interface: u8,
    pub(super) transport: Transport,
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
    /// Only the acknowledgment.
    Ack,
}

#[derive(Debug)]
pub(super) struct Neighbour {
    pub(super) sid: Sid,
    pub(super) standing: Standing,
    pub(super) outbox: Outbox,
    /// Frames that it sent.
    pub(super) frames: History,
    /// The items of a please-explain frame to send.
    pub(super) explain: Vec<u8>,
    /// Answers that it can draw from us.
    pub(super) answers: Quota,
    /// Frames sent to it again.
    pub(super) retransmissions: u64,
    /// Broadcasts of it that may be passed on.
    pub(super) floods: Quota,
    /// More than one packet came from it. A single one may be in the name of a SID that was damaged on the way.
    pub(super) certain: bool,
    /// It seems to have started again.
    pub(super) restarted: bool,
    /// It reaches us directly, and so says that it needs nobody to pass its broadcasts on.
    pub(super) uses_us: bool,
    /// Until then it reaches others through us, so it does.
    pub(super) leads_until: Instant,
    introduce_until: Instant,
    /// In the order in which they are preferred.
    links: SmallVec<[Link; 1]>,
    outbound: Option<Outbound>,
    /// The number of the last unicast packet; `None` while they carry none.
    unicast_number: Option<u64>,
    reported: Option<(InterfaceId, u8, Transport)>,
    /// Acknowledgments of that stream that the next one will not cover.
    older_acks: SmallVec<[Ack; MAX_OLDER_ACKS]>,
    announce_at: Instant,
    announced: u8,
    /// Announcements since it was heard.
    unanswered: u8,
    ack_at: Option<Instant>,
}

impl Neighbour {
    pub(super) fn new(now: Instant, sid: Sid, standing: Standing, config: &NodeConfig) -> Self {
        Self {
            sid,
            standing,
            outbox: Outbox::new(config.hop_repair),
            frames: History::default(),
            explain: Vec::new(),
            answers: Quota::new(Duration::from_secs(1), config.answer_rate),
            retransmissions: 0,
            floods: Quota::new(Duration::from_secs(1), FLOOD_RATE),
            certain: false,
            restarted: false,
            uses_us: false,
            leads_until: now,
            introduce_until: now,
            links: SmallVec::new(),
            outbound: None,
            unicast_number: None,
            reported: None,
            older_acks: SmallVec::new(),
            announce_at: now + PROMPT,
            announced: 0,
            unanswered: 0,
            ack_at: None,
        }
    }

    /// A packet came from it. `false`: it is one that came before.
    pub(super) fn hear(&mut self, now: Instant, expiry: Duration, packet: &Arrival) -> bool {
        self.certain = !self.links.is_empty();
        let is_silent = |link: &Link| now - link.address_heard >= expiry;
        let index = self.links.iter().position(|link| link.is_way_of(packet)).unwrap_or_else(|| {
            if self.links.len() == MAX_LINKS {
                // Anyone can make up links: those that are known best stay while they are heard.
                let silent = self.links.iter().position(is_silent);
                let unproven = || self.links.iter().rposition(|link| !link.proven);
                self.links.remove(silent.or_else(unproven).unwrap_or(MAX_LINKS - 1));
            }
            self.links.push(Link {
                interface: packet.interface,
                peer_interface: packet.peer_interface,
                address: packet.from,
                address_heard: now,
                proven: false,
                unicast: Inbound::default(),
                broadcast: Inbound::default(),
            });
            self.links.len() - 1
        });
        let link = &mut self.links[index];
        // Anyone can name this neighbour as the sender: the address moves only when the old one is silent.
        if link.address == packet.from {
            link.address_heard = now;
        } else if is_silent(link) {
            (link.address, link.address_heard, link.proven) = (packet.from, now, false);
        }
        self.unanswered = 0;
        let inbound = link.inbound(packet.transport);
        inbound.heard = Some(now);
        let is_new = match packet.sequence {
            Some(sequence) => !inbound.history.is_duplicate(now, sequence),
            None => {
                // Its numbers start when it knows that we hear it: without one, it has started again. Then
                // it counts its frames anew too, unless the packet was only damaged.
                let restarted = packet.introduces && packet.transport == Transport::Unicast;
                if restarted && inbound.history.ack().is_some() {
                    self.frames.clear();
                    self.restarted = true;
                }
                inbound.history.clear();
                true
            }
        };
        self.report_changes(now, expiry);
        is_new
    }

    /// The packet came from where the user says that the neighbour is, or held what only the neighbour can have
    /// sealed. The first such packet settles where it is; one that was recorded and sent from elsewhere later
    /// changes nothing.
    pub(super) fn prove(&mut self, now: Instant, expiry: Duration, packet: &Arrival) {
        let unproven = |link: &Link| link.is_way_of(packet) && !link.proven;
        let Some(index) = self.links.iter().position(unproven) else { return };
        let mut link = self.links.remove(index);
        (link.address, link.address_heard, link.proven) = (packet.from, now, true);
        let rank = self.links.iter().position(|link| !link.proven).unwrap_or(self.links.len());
        self.links.insert(rank, link);
        self.report_changes(now, expiry);
    }

    fn report_changes(&mut self, now: Instant, expiry: Duration) {
        if self.reported.is_some() && self.best_inbound(now, expiry) != self.reported {
            self.announce_at = self.announce_at.min(now + PROMPT);
        }
    }

    /// The packet was read: it may be acknowledged, after `delay` if it holds a frame that asks for that.
    pub(super) fn accept(&mut self, now: Instant, packet: &Arrival, delay: Option<Duration>) {
        let Some(sequence) = packet.sequence else {
            if delay.is_some() && packet.transport == Transport::Unicast && self.reported.is_some() {
                // It wants acknowledgments but gives no numbers: it missed that we hear it.
                self.announce_at = self.announce_at.min(now + REMINDER);
            }
            return;
        };
        let reported = self.reported == Some((packet.interface, packet.peer_interface, packet.transport));
        let link = self.links.iter_mut().find(|link| link.is_way_of(packet));
        let Some(inbound) = link.map(|link| link.inbound(packet.transport)) else { return };
        if inbound.uncovered >= PACKETS_COVERED {
            inbound.uncovered = 0;
            if reported && self.older_acks.len() < MAX_OLDER_ACKS {
                self.older_acks.extend(inbound.history.ack());
            }
        }
        let skipped = inbound.history.record(now, sequence);
        inbound.unreported = inbound.unreported.saturating_add(skipped).saturating_add(1);
        inbound.uncovered = inbound.uncovered.saturating_add(skipped).saturating_add(1);
        // A packet that is missing may have asked, too, unless nothing has asked for long.
        inbound.unasked = if delay.is_some() { 0 } else { inbound.unasked.saturating_add(1) };
        let wanted = reported && inbound.unasked < PACKETS_UNASKED;
        let (shows_gap, is_full) = (wanted && skipped > 0, wanted && inbound.unreported >= PACKETS_PER_ACK);
        let delay = if is_full { Some(Duration::ZERO) } else { self.outbox.ack_delay(delay, shows_gap) };
        if let Some(due) = delay.map(|delay| now + delay) {
            self.ack_at = Some(self.ack_at.map_or(due, |at| at.min(due)));
        }
    }

    /// It reports that it hears us, sent on `interface` by `transport`. `broadcast_number` counts the
    /// broadcasts there. Gives whether that is news.
    pub(super) fn confirm(
        &mut self,
        now: Instant,
        expiry: Duration,
        (interface, transport): (InterfaceId, Transport),
        broadcast_number: &mut Option<u64>,
        (ack, missed): (Option<Ack>, Option<u8>),
    ) -> bool {
        if transport == Transport::Unicast && self.address(interface).is_none() {
            return false;
        }
        let news = !self.is_up(now);
        let same = |it: &Outbound| !news && (it.interface, it.transport) == (interface, transport);
        let mut loss = self.outbound.filter(same).map_or_else(|| Loss::new(now), |it| it.loss);
        loss.report(now, ack, missed);
        self.outbound = Some(Outbound { interface, transport, until: now + expiry, loss });
        self.standing = self.standing.max(Standing::Confirmed);
        self.outbox.set_confirmed(true);
        let number = match transport {
            Transport::Unicast => &mut self.unicast_number,
            Transport::Broadcast => broadcast_number,
        };
        // What it has counted until now is from before our start: go on from there.
        let first = 256 + ack.map_or(0, |ack| u64::from(ack.sequence));
        let number = *number.get_or_insert(first);
        if let Some(ack) = ack {
            self.outbox.acknowledge(now, PacketNumber { transport, number }, ack);
        }
        news
    }

    /// Whether it reports that it hears us.
    pub(super) fn is_up(&self, now: Instant) -> bool {
        self.outbound.is_some_and(|outbound| now < outbound.until)
    }

    /// Of 15 packets to it, how many it missed, if it said so.
    pub(super) fn loss_to(&self) -> Option<u8> {
        self.outbound.map(|outbound| outbound.loss.value())
    }

    /// Of 15 packets from it, how many were missed on the link that it is told of.
    pub(super) fn loss_from(&self) -> Option<u8> {
        let (interface, peer_interface, transport) = self.reported?;
        let is_meant = |link: &&Link| (link.interface, link.peer_interface) == (interface, peer_interface);
        let link = self.links.iter().find(is_meant)?;
        let inbound = match transport {
            Transport::Unicast => &link.unicast,
            Transport::Broadcast => &link.broadcast,
        };
        inbound.history.missing().map(significant)
    }

    /// It was up and no longer is. To be asked once.
    pub(super) fn goes_down(&mut self, now: Instant) -> bool {
        let down = self.outbound.is_some_and(|outbound| outbound.until <= now);
        if down {
            (self.outbound, self.announced) = (None, 0);
            if self.standing == Standing::Confirmed {
                self.standing = Standing::Heard;
            }
        }
        down
    }

    /// When it was heard last.
    pub(super) fn heard(&self) -> Instant {
        let times = self.links.iter().flat_map(|link| [link.unicast.heard, link.broadcast.heard]);
        times.flatten().max().unwrap_or(Instant::ZERO)
    }

    /// Whether its broadcasts are to be passed on (`spec/50` section 8).
    pub(super) fn wants_relay(&self, now: Instant) -> bool {
        !self.uses_us || now < self.leads_until
    }

    /// The interface on which it hears what we send to everyone: one on which we hear such packets of it.
    pub(super) fn hears_broadcasts(
        &self,
        now: Instant,
        expiry: Duration,
        interfaces: &[Interface],
    ) -> Option<InterfaceId> {
        let is_audible = |link: &&Link| {
            link.broadcast.heard.is_some_and(|heard| now - heard < expiry)
                && interfaces.get(usize::from(link.interface.0)).is_some_and(|it| it.broadcast)
        };
        self.links.iter().find(is_audible).map(|link| link.interface)
    }

    /// Whether it is heard from `address` on `interface`.
    pub(super) fn is_at(&self, interface: InterfaceId, address: SocketAddr) -> bool {
        self.address(interface) == Some(address)
    }

    /// Whether it is heard from any port of that host.
    pub(super) fn is_at_host(&self, address: SocketAddr) -> bool {
        self.links.iter().any(|link| link.address.ip() == address.ip())
    }

    fn address(&self, interface: InterfaceId) -> Option<SocketAddr> {
        self.links.iter().find(|link| link.interface == interface).map(|link| link.address)
    }

    /// Where and how to send to it: as it reported; else to where it was heard from.
    pub(super) fn path(
        &self,
        now: Instant,
        expiry: Duration,
    ) -> Option<(InterfaceId, Transport, SocketAddr)> {
        let (interface, transport) = match self.outbound {
            Some(outbound) if now < outbound.until => (outbound.interface, outbound.transport),
            _ => (self.best_inbound(now, expiry).map(|(interface, ..)| interface)?, Transport::Unicast),
        };
        let address = self.address(interface).or_else(|| self.links.first().map(|link| link.address))?;
        Some((interface, transport, address))
    }

    /// The number for the next unicast packet, `None` if it goes without.
    pub(super) fn count_unicast(&mut self) -> Option<u64> {
        let number = self.unicast_number.as_mut()?;
        *number += 1;
        Some(*number)
    }

    /// Unicast is preferred, and among links the one known longest, so that it does not change to and fro.
    fn best_inbound(&self, now: Instant, expiry: Duration) -> Option<(InterfaceId, u8, Transport)> {
        let alive = |inbound: &Inbound| inbound.heard.is_some_and(|heard| now - heard < expiry);
        let unicast = self.links.iter().find(|link| alive(&link.unicast));
        let broadcast = || self.links.iter().find(|link| alive(&link.broadcast));
        match unicast {
            Some(link) => Some((link.interface, link.peer_interface, Transport::Unicast)),
            None => broadcast().map(|link| (link.interface, link.peer_interface, Transport::Broadcast)),
        }
    }

    /// When the next announcement of everything is due.
    fn whole_at(&self) -> Option<Instant> {
        (self.outbound.is_some() || self.unanswered < MAX_UNANSWERED).then_some(self.announce_at)
    }

    /// Which announcement goes along with a packet that is sent now. One that waits for what else there is to say need
    /// not wait any more.
    pub(super) fn along(&self, now: Instant) -> Option<Announcement> {
        self.due(if self.is_up(now) { now } else { now + PROMPT })
    }

    /// Which announcement is due.
    fn due(&self, now: Instant) -> Option<Announcement> {
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
            self.unanswered = self.unanswered.saturating_add(1);
        }
        self.ack_at = None;
        let mut acks: SmallVec<_> = self.older_acks.drain(..).collect();
        if self.reported != best {
            acks.clear();
        }
        self.reported = best;
        let (interface, peer_interface, transport) = best?;
        let link = self
            .links
            .iter_mut()
            .find(|link| (link.interface, link.peer_interface) == (interface, peer_interface))?;
        let inbound = link.inbound(transport);
        if inbound.unreported > PACKETS_REPEATED && acks.is_empty() {
            acks.extend(inbound.history.older_ack());
        }
        (inbound.unreported, inbound.uncovered) = (0, 0);
        acks.extend(inbound.history.ack());
        let missed = inbound.history.missing();
        let seems_other = acks.iter().any(|ack| Some(missing(*ack, 15)) != missed);
        Some(Report { peer_interface, transport, acks, missed: missed.filter(|_| seems_other) })
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

    /// Whether there is anything to send.
    pub(super) fn is_ready(&mut self, now: Instant) -> bool {
        self.due(now).is_some() || !self.explain.is_empty() || self.outbox.next(now).is_some()
    }

    /// When it is gone unless it is heard again.
    pub(super) fn silent_at(&self, expiry: Duration) -> Instant {
        self.heard() + expiry
    }

    /// When it is gone, or no longer up, unless it is heard again.
    pub(super) fn expire_at(&self, expiry: Duration) -> Instant {
        let silent = self.silent_at(expiry);
        self.outbound.map_or(silent, |outbound| silent.min(outbound.until))
    }

    /// When it next needs attention.
    pub(super) fn deadline(&self, expiry: Duration) -> Instant {
        let explain = (!self.explain.is_empty()).then_some(Instant::ZERO);
        let deadlines = [explain, self.ack_at, self.whole_at(), self.outbox.deadline()];
        deadlines.into_iter().flatten().fold(self.expire_at(expiry), Instant::min)
    }
}

/// The header of a packet that came, as far as a neighbour is concerned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) interface: InterfaceId,
    pub(super) from: SocketAddr,
    pub(super) peer_interface: u8,
    pub(super) transport: Transport,
    pub(super) sequence: Option<u8>,
    /// It holds the whole SID of its sender, or nothing else than who that is.
    pub(super) introduces: bool,
}

#[cfg(test)]
#[path = "neighbour_tests.rs"]
mod tests;

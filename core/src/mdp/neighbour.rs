//! What a node knows of one neighbour: how it is heard, whether it hears us, and what is on its way.

use super::history::History;
use super::inbound::{Arrival, Inbound, Link};
use super::keys::Quota;
use super::loss::{Loss, patience, significant};
use super::node::Interface;
use super::outbox::{Outbox, PacketNumber};
use super::report::MAX_OLDER_ACKS;
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
/// Everyone is told so often which packets of a neighbour came: broadcasts get lost.
const ACKS_SHARED: u8 = 3;
/// Packets that one acknowledgment covers (`spec/50` section 2).
const PACKETS_COVERED: u8 = 32;
/// The first announcement to a new neighbour, and the report that it is heard in another way, wait this
/// long for what else there is to say.
pub(super) const PROMPT: Duration = Duration::from_millis(5);
/// A neighbour that seems to have missed an announcement gets another one after this long.
const REMINDER: Duration = Duration::from_millis(50);
/// A neighbour to which so many announcements have gone should have noticed that we have started again.
const CONVINCING: u8 = 3;
/// The number before the first one of a stream. It may be counted back from.
const FIRST_NUMBER: u64 = 256;

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

/// The way to the neighbour that it reported to work.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outbound {
    interface: InterfaceId,
    transport: Transport,
    /// It hears broadcasts there, too.
    pub(super) audible: bool,
    /// Until then it is worth a try, since it did not long ago.
    shares_until: Instant,
    until: Instant,
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
    pub(super) introduce_until: Instant,
    /// In the order in which they are preferred.
    pub(super) links: SmallVec<[Link; 1]>,
    pub(super) outbound: Option<Outbound>,
    /// What is lost on the way to it from that interface.
    loss: Option<(InterfaceId, Loss)>,
    /// The number of the last unicast packet; `None` while they carry none.
    unicast_number: Option<u64>,
    /// Since then it has acknowledged no unicast packet, though there were some.
    unheeded: Option<Instant>,
    /// The last acknowledgment of them.
    heeded: Option<Ack>,
    pub(super) reported: Option<(InterfaceId, u8, Transport)>,
    /// Acknowledgments of that stream that the next one will not cover.
    pub(super) older_acks: SmallVec<[Ack; MAX_OLDER_ACKS]>,
    pub(super) announce_at: Instant,
    pub(super) announced: u8,
    /// Of those since it is up, and those with others since the last one.
    pub(super) alone: u8,
    pub(super) shared: u8,
    /// Announcements since it was heard.
    pub(super) unanswered: u8,
    pub(super) ack_at: Option<Instant>,
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
            loss: None,
            unicast_number: None,
            unheeded: None,
            heeded: None,
            reported: None,
            older_acks: SmallVec::new(),
            announce_at: now + PROMPT,
            announced: 0,
            alone: 0,
            shared: 0,
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
                    self.announce_at = self.announce_at.min(now + PROMPT);
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
            // Perhaps it has started again, and has to know where its numbers go on.
            if let Some(link) = self.links.iter_mut().find(|link| link.is_way_of(packet)) {
                link.unicast.told = ACKS_SHARED;
            }
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
        inbound.told = ACKS_SHARED;
        // A packet that is missing may have asked, too, unless nothing has asked for long.
        inbound.unasked = if delay.is_some() { 0 } else { inbound.unasked.saturating_add(1) };
        let wanted = reported && inbound.unasked < PACKETS_UNASKED;
        let (shows_gap, is_full) = (wanted && skipped > 0, wanted && inbound.unreported >= PACKETS_PER_ACK);
        let delay = if is_full { Some(Duration::ZERO) } else { self.outbox.ack_delay(delay, shows_gap) };
        if let Some(due) = delay.map(|delay| now + delay) {
            self.ack_at = Some(self.ack_at.map_or(due, |at| at.min(due)));
        }
    }

    /// It reports that it hears us, sent on `interface` by `transport`, and broadcasts there, if `audible`.
    /// `broadcast_number` counts these. Gives whether that is news.
    pub(super) fn confirm(
        &mut self,
        now: Instant,
        expiry: Duration,
        (interface, transport, audible): (InterfaceId, Transport, bool),
        broadcast_number: &mut Option<u64>,
        (ack, missed): (Option<Ack>, Option<u8>),
    ) -> bool {
        if transport == Transport::Unicast
            && (self.address(interface).is_none() || audible && self.is_memory(ack))
        {
            return false;
        }
        let news = !self.is_up(now);
        let known = self.loss.filter(|(known, _)| *known == interface).map(|(_, loss)| loss);
        let mut loss = known.unwrap_or_else(|| Loss::new(now));
        loss.report(now, ack, missed);
        self.loss = Some((interface, loss));
        let until = now + patience(expiry, loss.value());
        if self.outbound.is_some_and(|it| it.audible && !audible) {
            // What it was told with others has to reach it in another way, too.
            self.announce_at = self.announce_at.min(now + PROMPT);
        }
        let shares_until = if audible { until } else { self.outbound.map_or(now, |it| it.shares_until) };
        self.outbound = Some(Outbound { interface, transport, audible, shares_until, until });
        self.standing = self.standing.max(Standing::Confirmed);
        self.outbox.set_confirmed(true);
        if audible {
            broadcast_number.get_or_insert(FIRST_NUMBER);
        }
        let number = match transport {
            Transport::Unicast => &mut self.unicast_number,
            Transport::Broadcast => broadcast_number,
        };
        // What it has counted until now is from before our start: go on from there.
        let first = FIRST_NUMBER + ack.map_or(0, |ack| u64::from(ack.sequence));
        let number = *number.get_or_insert(first);
        if transport == Transport::Unicast && ack.is_some() && ack != self.heeded {
            self.heeded = ack;
            let all = ack.is_some_and(|ack| ack.sequence == number as u8);
            self.unheeded = self.unheeded.filter(|_| !all).map(|_| now);
        }
        if let Some(ack) = ack {
            self.outbox.acknowledge(now, PacketNumber { transport, number }, ack);
        }
        news
    }

    /// Whether a report that it hears us by unicast, as it may send to everyone, seems to be about an earlier run of this
    /// node. It takes a unicast packet without a number for it to notice.
    fn is_memory(&self, ack: Option<Ack>) -> bool {
        let least = if ack.is_some() { CONVINCING } else { 1 };
        self.unicast_number.is_none() && self.announced < least
    }

    /// Whether it reports that it hears us.
    pub(super) fn is_up(&self, now: Instant) -> bool {
        self.outbound.is_some_and(|outbound| now < outbound.until)
    }

    /// Of 15 packets to it, how many it missed, if it said so.
    pub(super) fn loss_to(&self) -> Option<u8> {
        self.loss.map(|(_, loss)| loss.value())
    }

    /// Of 15 packets from it, how many were missed on the link that it is told of.
    pub(super) fn loss_from(&self, now: Instant, expiry: Duration) -> Option<u8> {
        let (interface, peer_interface, transport) = self.reported?;
        let is_meant = |link: &&Link| (link.interface, link.peer_interface) == (interface, peer_interface);
        let link = self.links.iter().find(is_meant)?;
        link.missing(now, expiry, transport).map(significant)
    }

    /// It was up and no longer is. To be asked once.
    pub(super) fn goes_down(&mut self, now: Instant) -> bool {
        let down = self.outbound.is_some_and(|outbound| outbound.until <= now);
        if down {
            (self.outbound, self.announced, self.alone, self.unheeded) = (None, 0, 0, None);
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
            Some(outbound) if now < outbound.until && outbound.audible && self.is_deaf(now, expiry) => {
                (outbound.interface, Transport::Broadcast)
            }
            Some(outbound) if now < outbound.until => (outbound.interface, outbound.transport),
            _ => (self.best_inbound(now, expiry).map(|(interface, ..)| interface)?, Transport::Unicast),
        };
        let address = self.address(interface).or_else(|| self.links.first().map(|link| link.address))?;
        Some((interface, transport, address))
    }

    /// The interface on which it is told with others how it is heard: it says that it hears broadcasts there, or did.
    pub(super) fn shares(&self, now: Instant, expiry: Duration) -> Option<InterfaceId> {
        let shares =
            |it: &Outbound| it.transport == Transport::Unicast && now < it.until.min(it.shares_until);
        self.outbound.filter(shares).filter(|_| !self.is_deaf(now, expiry)).map(|it| it.interface)
    }

    /// Whether unicast packets do not reach it any more, though it may say so.
    fn is_deaf(&self, now: Instant, expiry: Duration) -> bool {
        let loss = self.loss_to().unwrap_or(0);
        self.unheeded.is_some_and(|since| now - since >= patience(expiry, loss))
    }

    /// The number for the next unicast packet, `None` if it goes without.
    pub(super) fn count_unicast(&mut self, now: Instant) -> Option<u64> {
        let number = self.unicast_number.as_mut()?;
        *number += 1;
        self.unheeded.get_or_insert(now);
        Some(*number)
    }

    /// Unicast is preferred, and among links the one known longest, so that it does not change to and fro.
    pub(super) fn best_inbound(
        &self,
        now: Instant,
        expiry: Duration,
    ) -> Option<(InterfaceId, u8, Transport)> {
        let heard = |transport: Transport| {
            let link = self.links.iter().find(|link| link.transport(now, expiry) == Some(transport))?;
            Some((link.interface, link.peer_interface, transport))
        };
        heard(Transport::Unicast).or_else(|| heard(Transport::Broadcast))
    }

    /// Whether there is anything to send.
    pub(super) fn is_ready(&mut self, now: Instant) -> bool {
        self.due(now).is_some() || !self.explain.is_empty() || self.outbox.next(now).is_some()
    }

    /// When it is gone unless it is heard again.
    pub(super) fn silent_at(&self, expiry: Duration) -> Instant {
        let links = self.links.iter().filter_map(|link| link.silent_at(expiry));
        links.max().unwrap_or(Instant::ZERO + expiry)
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

#[cfg(test)]
#[path = "neighbour_tests.rs"]
mod tests;

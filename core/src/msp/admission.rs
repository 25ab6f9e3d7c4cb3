//! Which streams peers may open, and who makes room for whom.

use super::connection::Role;
use super::endpoint::{Endpoint, Outgoing};
use super::event::{CloseReason, DatagramError, Event, Limit};
use super::form::{Form, Packet, Refusal};
use super::stream::StreamId;
use crate::wire::extended::Offer;
use crate::{Addr, Instant, Port, Sid};
use core::cmp::Reverse;
use core::time::Duration;

/// The same limit is reported no more often.
pub(super) const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Streams that have ended are remembered for [`Endpoint::has_ended_lately`], up to so many for each that may
/// exist.
pub(super) const ENDED_EACH: usize = 8;

/// A stream that a peer had opened and that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) at: Instant,
    pub(super) local: Port,
    pub(super) peer: Addr,
    pub(super) offer: Option<Offer>,
}

/// What an [`Endpoint`] has counted since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndpointStats {
    /// Streams opened here.
    pub connected: u64,
    /// Streams that peers have opened.
    pub accepted: u64,
    /// Datagrams that were not encrypted.
    pub not_encrypted: u64,
    /// Datagrams that are no MSP packets.
    pub malformed: u64,
    /// Packets that belong to no stream.
    pub unknown: u64,
    /// Exact copies of packets with FIRST.
    pub replayed: u64,
    /// Streams that were not opened because nothing listens, or one with the same ports has ended lately.
    pub refused: u64,
    /// Streams that were not opened because of [`Limit::Streams`].
    pub over_streams: u64,
    /// Streams that were not opened because of [`Limit::StreamsPerPeer`].
    pub over_streams_per_peer: u64,
    /// Streams that were not opened, or that made room for another one, because of [`Limit::HalfOpen`].
    pub over_half_open: u64,
    /// Packets with FIRST that were ignored because of [`Limit::NewStreams`].
    pub over_new_streams: u64,
    /// Packets with FIRST that were ignored because of [`Limit::NewStreamsPerPeer`].
    pub over_new_streams_per_peer: u64,
    /// Refusals that were not sent because there were too many.
    pub refusals_dropped: u64,
}

impl Endpoint {
    /// Opens a stream for a packet that belongs to none, if that is what it asks for.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        from: Addr,
        to: Port,
        packet: &Packet,
    ) -> Result<StreamId, DatagramError> {
        let outgoing = Outgoing { from: to, to: from, repairs: false };
        let Some(offer) = packet.opening() else {
            self.stats.unknown += 1;
            if let Some(refusal) = packet.refusal() {
                self.refuse(now, outgoing, refusal);
            }
            return Err(DatagramError::UnknownStream);
        };
        if !self.listeners.contains(&to) || self.has_ended_lately(now, to, from, offer) {
            self.stats.refused += 1;
            self.refuse(now, outgoing, Refusal::Plain);
            return Err(DatagramError::Refused);
        }
        if let Err(limit) = self.admit(now, &from.sid) {
            self.report(now, limit, from);
            return Err(match limit {
                Limit::NewStreams | Limit::NewStreamsPerPeer => DatagramError::TooSoon,
                Limit::Streams | Limit::StreamsPerPeer | Limit::HalfOpen => {
                    self.refuse(now, outgoing, Refusal::Plain);
                    DatagramError::Refused
                }
            });
        }
        self.schedule.peers.on_accepted(now, from.sid, &self.config);
        self.stats.accepted += 1;
        let form = Form::of_listener(&self.config, offer, &mut self.rng);
        let stream = self.open(now, Role::Listener, form, to, from);
        self.schedule.push_event(Event::Accepted { stream, peer: from, port: to });
        Ok(stream)
    }

    /// Makes room for a stream that `peer` opens, if it may.
    fn admit(&mut self, now: Instant, peer: &Sid) -> Result<(), Limit> {
        match self.schedule.peers.admit(now, peer, &self.config) {
            Ok(()) => {}
            Err(Limit::HalfOpen) if self.displace_half_open(now, peer) => {}
            Err(limit) => return Err(limit),
        }
        if self.make_room() { Ok(()) } else { Err(Limit::Streams) }
    }

    /// Ends the oldest half-open stream of the peer that has the most of them and uses none, if that is not
    /// `peer`.
    fn displace_half_open(&mut self, now: Instant, peer: &Sid) -> bool {
        let peers = &self.schedule.peers;
        let half_open = self.slots.iter().filter(|(_, slot)| {
            !slot.used && !peers.is_known(&slot.connection.peer.sid) //
        });
        let with_most =
            half_open.max_by_key(|(id, slot)| (peers.half_open(&slot.connection.peer.sid), Reverse(**id)));
        let Some((id, victim)) = with_most.map(|(id, slot)| (*id, slot.connection.peer)) else {
            return false;
        };
        if peers.half_open(peer) >= peers.half_open(&victim.sid) {
            return false;
        }
        let Some(slot) = self.slots.get_mut(&id) else { return false };
        let outgoing = Outgoing { from: slot.connection.local, to: victim, repairs: false };
        let refusal = slot.connection.form.refusal();
        self.report(now, Limit::HalfOpen, victim);
        self.drop_stream(id, CloseReason::Displaced);
        self.refuse(now, outgoing, refusal);
        true
    }

    /// Makes room for one more slot, if need be that of a stream that has ended and only waits for
    /// retransmissions of its peer. Without that, a peer that opens and ends streams fast would fill the rest.
    pub(super) fn make_room(&mut self) -> bool {
        if self.schedule.is_overfull(self.config.max_streams) {
            return false;
        }
        if self.slots.len() < self.config.max_streams {
            return true;
        }
        let ended = self.slots.iter().find(|(_, slot)| slot.reported).map(|(id, _)| *id);
        ended.is_some_and(|id| {
            self.drop_stream(id, CloseReason::Displaced);
            true
        })
    }

    /// Ends a stream, if it has not, and forgets it.
    fn drop_stream(&mut self, id: StreamId, reason: CloseReason) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        slot.connection.drop_silently(reason);
        slot.abandoned = true;
        self.schedule.settle(id, slot);
        self.remove_if_dead(id);
    }

    fn report(&mut self, now: Instant, limit: Limit, peer: Addr) {
        let stats = &mut self.stats;
        let (index, counter) = match limit {
            Limit::Streams => (0, &mut stats.over_streams),
            Limit::StreamsPerPeer => (1, &mut stats.over_streams_per_peer),
            Limit::HalfOpen => (2, &mut stats.over_half_open),
            Limit::NewStreams => (3, &mut stats.over_new_streams),
            Limit::NewStreamsPerPeer => (4, &mut stats.over_new_streams_per_peer),
        };
        *counter += 1;
        let reported: &mut Option<Instant> = &mut self.reported[index];
        let is_due = reported.is_none_or(|at| now >= at + REPORT_INTERVAL);
        if is_due && !self.schedule.is_overfull(self.config.max_streams) {
            *reported = Some(now);
            self.schedule.push_event(Event::LimitReached { limit, peer });
        }
    }

    /// Whether a packet that seems to open a stream may be a late copy of one that opened a stream which has
    /// ended. Only the offer of an extension has something by which to tell.
    fn has_ended_lately(&mut self, now: Instant, local: Port, peer: Addr, offer: Option<Offer>) -> bool {
        let horizon = now - self.config.idle_timeout;
        self.ended.truncate(self.ended.partition_point(|ended| ended.at >= horizon));
        let offer = offer.filter(|_| self.config.extended);
        self.ended.iter().any(|ended| (ended.local, ended.peer, ended.offer) == (local, peer, offer))
    }

    /// Tells a peer that there is no such connection.
    pub(super) fn refuse(&mut self, now: Instant, outgoing: Outgoing, refusal: Refusal) {
        if !self.refusals.push(now, now + self.config.idle_timeout, outgoing, refusal) {
            self.stats.refusals_dropped += 1;
        }
    }
}

//! First contact: introductions to whoever may be there, and what is to be sent while nobody is known to be.
//!
//! A frame without a way to its destination is held until there is one. Meanwhile it goes along with each
//! introduction, as it may be its destination that hears it, and then the answer takes one round trip, not two. An
//! introduction or its answer may be lost: as long as a frame waits, introductions follow soon, then less and less
//! often.

use super::InterfaceId;
use super::explain::whole_header;
use super::node::{Destination, Interface, Node, Transmit};
use super::outbox::Frame;
use super::transmit::Writer;
use crate::Instant;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

/// Frames that are held.
const MAX_HELD: usize = 16;
/// Introductions that follow soon, as losses come in bursts, and how soon; further ones come each after twice the time.
const SOON: u8 = 8;
const HURRIES: u8 = 12;
const HURRY: Duration = Duration::from_millis(10);
/// As long as frames wait, there is one so often: a stream asks as often whether its peer is there again.
const SEARCH: Duration = Duration::from_millis(250);
/// Those in a hurry hold one frame, and others up to so many bytes in all.
const HURRIED: usize = 512;
/// Broadcasts at the pace of ticks before a node alone slows down: for as long as a stream outlives silence, so
/// that it outlives that of a neighbour that comes back.
const EAGER_SEARCHES: u8 = 20;

/// Frames without a way to their destination.
#[derive(Debug, Default)]
pub(super) struct Held {
    frames: VecDeque<Frame>,
    /// Introductions in a hurry since there was none of them, and when the next one is due.
    hurries: u8,
    hurry_at: Option<Instant>,
}

impl Held {
    pub(super) fn has_room(&self) -> bool {
        self.frames.len() < MAX_HELD
    }

    pub(super) fn push(&mut self, now: Instant, frame: Frame) {
        if self.frames.is_empty() {
            (self.hurries, self.hurry_at) = (0, Some(now));
        }
        self.frames.push_back(frame);
    }

    /// Gives up what is older than `lifetime`; gives how many frames that are.
    pub(super) fn expire(&mut self, now: Instant, lifetime: Duration) -> u64 {
        let before = self.frames.len();
        while self.frames.front().is_some_and(|frame| now - frame.queued >= lifetime) {
            self.frames.pop_front();
        }
        (before - self.frames.len()) as u64
    }

    /// When the first frame is given up.
    pub(super) fn until(&self, lifetime: Duration) -> Option<Instant> {
        self.frames.front().map(|frame| frame.queued + lifetime)
    }

    /// When an introduction is due that is not to wait for a tick.
    pub(super) fn hurry_at(&self) -> Option<Instant> {
        self.hurry_at.filter(|_| !self.frames.is_empty())
    }

    fn hurry(&mut self, now: Instant) {
        let pause = HURRY * (1 << self.hurries.saturating_sub(SOON));
        self.hurry_at = Some(now + if self.hurries < HURRIES { pause } else { SEARCH });
        self.hurries = (self.hurries + 1).min(HURRIES);
    }
}

impl Node {
    /// The next introduction that is due.
    pub(super) fn introduction(&mut self, buffer: &mut Vec<u8>) -> Option<Transmit> {
        if self.held.hurry_at().is_some_and(|at| at <= self.now) {
            self.held.hurry(self.now);
            let interfaces = self.interfaces.iter_mut().map(|interface| &mut interface.tick_at);
            let peers = self.peers.iter_mut().map(|peer| &mut peer.tick_at);
            interfaces.chain(peers).for_each(|at| *at = self.now);
        }
        let (transmit, number, messages) = match self.interface_tick() {
            Some((transmit, number, told)) => {
                let mut messages = self.shared_messages(transmit.interface);
                messages.extend(told);
                (transmit, number, messages)
            }
            None => (self.peer_tick()?, None, Vec::new()),
        };
        whole_header(&self.identity, transmit.interface, transmit.to, number).emit(buffer);
        let (own, mtu) = (self.identity.sid(), self.config.mtu);
        let mut writer = Writer::new(own, own, mtu, &self.routing, &mut self.frame_counter, buffer);
        for frame in &mut self.held.frames {
            // The others go along when there is time.
            if self.held.hurries < HURRIES && writer.len() > HURRIED {
                break;
            }
            writer.neighbour = frame.destination;
            let Some(number) = writer.datagram(frame, frame.number) else { break };
            frame.number = Some(number);
        }
        let mut messages = messages.into_iter().peekable();
        while messages.next_if(|message| writer.control(true, None, message)).is_some() {}
        self.broadcast(transmit.interface, messages);
        Some(transmit)
    }

    /// One to everyone, from which others learn that this node is there, the number of its packet, and what else there is
    /// to say.
    fn interface_tick(&mut self) -> Option<(Transmit, Option<u64>, Vec<Vec<u8>>)> {
        let alone = self.neighbours.is_empty();
        let due = |interface: &Interface| interface.broadcast && interface.tick_at <= self.now;
        let index = self.interfaces.iter().position(due)?;
        let interface = &mut self.interfaces[index];
        interface.searches = if alone { interface.searches.saturating_add(1) } else { 0 };
        let patient = alone && interface.searches >= EAGER_SEARCHES && self.held.frames.is_empty();
        interface.tick_at = self.now + if patient { self.config.search_tick } else { self.config.tick };
        let transmit = Transmit { interface: InterfaceId(index as u8), to: Destination::Broadcast };
        let messages = core::mem::take(&mut interface.messages);
        Some((transmit, interface.count_broadcast(), messages))
    }

    /// The same to a configured address, unless a neighbour there hears from us anyway.
    fn peer_tick(&mut self) -> Option<Transmit> {
        loop {
            let peer = self.peers.iter_mut().find(|peer| peer.tick_at <= self.now)?;
            peer.tick_at = self.now + self.config.tick;
            let (interface, to) = (peer.interface, Destination::Unicast(peer.address));
            if !self.neighbours.values().any(|neighbour| neighbour.is_at(interface, peer.address)) {
                return Some(Transmit { interface, to });
            }
        }
    }

    /// Sends what waited for a way that there is now.
    pub(super) fn release_held(&mut self) {
        for _ in 0..self.held.frames.len() {
            let Some(frame) = self.held.frames.pop_front() else { return };
            let next_hop = self.next_hop(&frame.destination);
            match next_hop.and_then(|sid| self.neighbours.get_mut(&sid)) {
                Some(neighbour) if neighbour.outbox.has_room(None, None, self.config.send_queue) => {
                    neighbour.outbox.push(frame);
                }
                _ => self.held.frames.push_back(frame),
            }
        }
    }
}

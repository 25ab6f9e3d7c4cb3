//! Frames of others that this node passes on, unopened (`spec/30` sections 3 and 6, `spec/50` section 8).

use super::InterfaceId;
use super::config::NodeStats;
use super::explain::whole_header;
use super::node::{Destination, Loose, Node, Transmit};
use super::outbox::Frame;
use super::receive::Outcome;
use crate::Sid;
use crate::wire::address::Address;
use crate::wire::mdp::Protection;
use crate::wire::overlay::{self, Encapsulation, FORBIDDEN_PAYLOAD_LEN, Hops, Route};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::IpAddr;

/// So many neighbours on an interface get together what fewer get each.
pub(super) const MANY: usize = 3;
/// Broadcasts that are remembered, as the reference daemon does (`spec/30` section 6).
const MAX_FLOODS: usize = 1024;

/// Broadcasts that were here, so that each is taken once.
#[derive(Debug, Default)]
pub(super) struct Floods {
    /// Each at the place that its first bytes name; a new one takes the place of an old one.
    ids: Vec<Option<[u8; 8]>>,
}

impl Floods {
    pub(super) fn has(&self, id: &[u8; 8]) -> bool {
        self.ids.get(Self::place(id)).is_some_and(|it| it.as_ref() == Some(id))
    }

    pub(super) fn remember(&mut self, id: [u8; 8]) {
        self.ids.resize(MAX_FLOODS, None);
        self.ids[Self::place(&id)] = Some(id);
    }

    fn place(id: &[u8; 8]) -> usize {
        usize::from(u16::from_le_bytes([id[0], id[1]])) % MAX_FLOODS
    }
}

/// The places of frames that are passed on. Each such frame holds one for as long as it is here.
///
/// A host whose frames they are has at most twice as many as are free, so that there is always one for a newcomer.
#[derive(Debug)]
pub(super) struct Places {
    taken: Arc<()>,
    limit: usize,
    /// Who has some, or had.
    hosts: Vec<(Option<IpAddr>, Arc<()>)>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Place {
    _taken: [Arc<()>; 2],
}

impl Places {
    pub(super) fn new(limit: usize) -> Self {
        Self { taken: Arc::new(()), limit, hosts: Vec::new() }
    }

    /// One for a frame of that host, or of this node itself.
    pub(super) fn take(&mut self, host: Option<IpAddr>) -> Option<Place> {
        let count = |taken: &Arc<()>| Arc::strong_count(taken) - 1;
        let free = self.limit.saturating_sub(count(&self.taken));
        let known = self.hosts.iter().position(|it| it.0 == host);
        let index = known.or_else(|| self.hosts.iter().position(|it| count(&it.1) == 0));
        let index = index.unwrap_or_else(|| {
            self.hosts.push((host, Arc::new(())));
            self.hosts.len() - 1
        });
        let (name, taken) = &mut self.hosts[index];
        *name = host;
        (count(taken) < free.saturating_mul(2))
            .then(|| Place { _taken: [Arc::clone(&self.taken), Arc::clone(taken)] })
    }
}

/// One hop less; `None` if that was the last. The class of service stays.
fn next_hops(hops: Hops) -> Option<Hops> {
    (hops.0 & 0x1f > 1).then(|| Hops(hops.0 - 1))
}

impl Node {
    /// Passes a frame that `sender` handed us on to its `destination`, one of whose neighbours we may be.
    pub(super) fn pass_on(
        &mut self,
        (sender, host): (Sid, IpAddr),
        source: Sid,
        (destination, hops): (Sid, Hops),
        frame: &overlay::Frame<'_>,
    ) -> Outcome {
        let Some(protection) = self.relayed_protection(source, frame) else { return Outcome::Done };
        // Never back to where it came from: who gave it to us does not know better.
        let next_hop = self.relay_hop(&destination).filter(|next_hop| *next_hop != sender);
        let (Some(hops), Some(next_hop)) = (next_hops(hops), next_hop) else {
            self.stats.frames_undeliverable += 1;
            return Outcome::Done;
        };
        let (host, limit) = (Some(host), self.config.send_queue);
        let neighbour =
            self.neighbours.get_mut(&next_hop).filter(|it| it.outbox.has_room(host, Some(source), limit));
        let (Some(neighbour), Some(place)) = (neighbour, self.places.take(host)) else {
            self.stats.frames_refused += 1;
            return Outcome::Refused;
        };
        let frame = Frame::new(self.now, destination, protection, frame.payload.to_vec());
        neighbour.outbox.push(Frame { source: Some(source), host, hops, _place: Some(place), ..frame });
        self.stats.frames_relayed += 1;
        Outcome::Done
    }

    /// Passes a broadcast on to all neighbours, unless the one that it came from says that nobody needs us for that.
    pub(super) fn pass_flood_on(
        &mut self,
        (sender, host): (Sid, IpAddr),
        source: Sid,
        (id, hops): ([u8; 8], Hops),
        frame: &overlay::Frame<'_>,
    ) {
        let now = self.now;
        let wanted = self.config.relay && self.neighbours.get(&sender).is_some_and(|it| it.wants_relay(now));
        let (Some(hops), true) = (next_hops(hops), wanted) else { return };
        let Some(protection) = self.relayed_protection(source, frame) else { return };
        if protection == Protection::Encrypted
            || !self.neighbours.get_mut(&sender).is_some_and(|it| it.floods.take(now))
        {
            self.stats.frames_refused += 1;
            return;
        }
        self.stats.frames_relayed += 1;
        self.flood(Some((sender, host)), Some(source), (id, hops), protection, frame.payload);
    }

    /// Hands a broadcast to all neighbours but `sender`: once for many on an interface, else to each, so that losses
    /// are repaired.
    pub(super) fn flood(
        &mut self,
        sender: Option<(Sid, IpAddr)>,
        source: Option<Sid>,
        (id, hops): ([u8; 8], Hops),
        protection: Protection,
        payload: &[u8],
    ) {
        let frame = overlay::Frame {
            source: source.map(Address::Whole),
            route: Route::Flood { id, hops },
            protection: Some(protection),
            ack_soon: false,
            legacy_type: None,
            sequence: None,
            payload,
        };
        let host = sender.map(|(_, host)| host);
        let is_meant = |sid: &Sid| sender.is_none_or(|(sender, _)| sender != *sid) && Some(*sid) != source;
        let crowded: Vec<InterfaceId> = self.audible(is_meant, MANY);
        for &interface in &crowded {
            let sequence = Some(self.frame_counter.count() as u8);
            let mut packet = self.broadcast_header(interface);
            overlay::Frame { sequence, ..frame }.emit(Encapsulation::Multiple, &mut packet);
            if packet.len() <= self.config.mtu {
                self.push_loose(Loose {
                    transmit: Transmit { interface, to: Destination::Broadcast },
                    packet,
                });
            }
        }
        let Self { now, ref config, ref mut neighbours, ref interfaces, ref mut places, .. } = *self;
        for neighbour in neighbours.values_mut().filter(|it| it.is_up(now) && is_meant(&it.sid)) {
            let heard_on = neighbour.hears_broadcasts(now, config.expiry, interfaces);
            let served = heard_on.is_some_and(|interface| crowded.contains(&interface));
            if served || !neighbour.outbox.has_room(host, source, config.send_queue) {
                continue;
            }
            let Some(place) = places.take(host) else { return };
            let frame = Frame::new(now, Sid::BROADCAST, protection, payload.to_vec());
            neighbour.outbox.push(Frame {
                source,
                host,
                hops,
                flood: Some(id),
                _place: Some(place),
                ..frame
            });
        }
    }

    /// The interfaces on which as many neighbours as that hear broadcasts, of those that are meant.
    pub(super) fn audible(&self, is_meant: impl Fn(&Sid) -> bool, many: usize) -> Vec<InterfaceId> {
        let meant = self.neighbours.values().filter(|it| is_meant(&it.sid));
        let heard =
            meant.filter_map(|it| it.hears_broadcasts(self.now, self.config.expiry, &self.interfaces));
        let mut audible: Vec<InterfaceId> = Vec::new();
        for interface in heard {
            audible.insert(audible.partition_point(|other| *other < interface), interface);
        }
        let hearers = |id: &InterfaceId| audible.iter().filter(|it| *it == id).count();
        let mut enough: Vec<InterfaceId> = audible.iter().copied().filter(|id| hearers(id) >= many).collect();
        enough.dedup();
        enough
    }

    /// A packet for everyone on the interface, without frames yet.
    pub(super) fn broadcast_header(&mut self, id: InterfaceId) -> Vec<u8> {
        let mut packet = Vec::new();
        let number = self.interfaces.get_mut(usize::from(id.0)).and_then(|it| it.count_broadcast());
        whole_header(&self.identity, id, Destination::Broadcast, number).emit(&mut packet);
        packet
    }

    /// How the frame is protected, if it is one that may be passed on.
    fn relayed_protection(&mut self, source: Sid, frame: &overlay::Frame<'_>) -> Option<Protection> {
        let is_datagram = matches!(frame.legacy_type, None | Some(super::receive::DATAGRAM));
        let fits = frame.payload.len() < FORBIDDEN_PAYLOAD_LEN && !frame.payload.is_empty();
        let protection = frame.protection.filter(|_| is_datagram && fits && !source.is_reserved());
        let NodeStats { forbidden, .. } = &mut self.stats;
        *forbidden += u64::from(protection.is_none());
        protection
    }

    /// The neighbour to which a frame of others for `to` goes. Guesses, which serve for our own, would make loops.
    fn relay_hop(&self, to: &Sid) -> Option<Sid> {
        let is_up = |sid: &Sid| self.neighbours.get(sid).is_some_and(|it| it.is_up(self.now));
        let way = self.routing.way(to).map(|way| way.next_hop).filter(is_up);
        way.or(Some(*to).filter(is_up))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    #[test]
    fn the_last_hop_is_the_last_and_the_class_stays() {
        let after =
            [0x7f, 0x41, 0x40, 0x02, 0x22, 0x01, 0x00].map(|hops| next_hops(Hops(hops)).map(|it| it.0));
        assert_eq!(after, [Some(0x7e), None, None, Some(0x01), Some(0x21), None, None]);
    }

    #[test]
    fn a_broadcast_is_known_until_another_takes_its_place() {
        let mut floods = Floods::default();
        let (first, twin, other) = ([1; 8], [1, 1, 1, 1, 1, 1, 1, 2], [0; 8]);
        assert!(!floods.has(&first) && !floods.has(&other));
        floods.remember(first);
        floods.remember(other);
        assert!(floods.has(&first) && floods.has(&other) && !floods.has(&twin));
        floods.remember(twin);
        assert!(!floods.has(&first) && floods.has(&twin));
    }

    const HOSTS: [Option<IpAddr>; 3] =
        [None, Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))), Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)))];

    #[test]
    fn a_place_is_free_again_when_its_frame_is_gone() {
        let mut places = Places::new(2);
        let (first, second) = (places.take(None), places.take(HOSTS[1]));
        assert!(first.is_some() && second.is_some() && HOSTS.iter().all(|host| places.take(*host).is_none()));
        drop(first);
        assert!(places.take(HOSTS[2]).is_some());
    }

    #[test]
    fn whoever_takes_all_places_that_it_gets_leaves_some_to_others() {
        let mut places = Places::new(27);
        let mut taken: Vec<Place> = Vec::new();
        let counts = HOSTS.map(|host| {
            let before = taken.len();
            taken.extend(core::iter::from_fn(|| places.take(host)));
            taken.len() - before
        });
        assert_eq!(counts, [18, 6, 2]);
        drop(taken);
        (0..100).for_each(|n| assert!(places.take(Some(IpAddr::from([10, 0, 1, n]))).is_some()));
        assert_eq!(places.hosts.len(), 3, "only who has places is remembered");
    }
}

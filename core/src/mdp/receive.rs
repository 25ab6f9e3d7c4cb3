//! Packets that come in: from the header through the frames to datagrams (`spec/30`).

use super::config::MAX_PACKET;
use super::datagram::Datagram;
use super::inbound::Arrival;
use super::neighbour::{Neighbour, Standing};
use super::node::Node;
use super::send::SIGNATURE_LEN;
use super::{Fingerprint, InterfaceId, SharedKey, Transport, verify_datagram};
use crate::wire::address::{Address, Context};
use crate::wire::mdp::{self, Protection};
use crate::wire::overlay::{Frame, Header, Hops, PLEASE_EXPLAIN, Packet, Route};
use crate::{Addr, Instant, Port, Sid};
use alloc::boxed::Box;
use bytes::Bytes;
use core::mem;
use core::net::SocketAddr;

/// Neighbours at one host that nothing speaks for but their packets.
const MAX_STRANGERS: usize = 8;

/// The type of a frame that holds a datagram, where it is written out.
pub(super) const DATAGRAM: u8 = 0x30;

/// What became of a frame.
pub(super) enum Outcome {
    /// Nothing more is wanted: the packet that holds it may be acknowledged.
    Done,
    /// It could not be used; sent again, it may be.
    Unusable,
    /// There is no room for it now.
    Refused,
}

/// What is to be done with a frame.
enum Course {
    /// It is for this node.
    Deliver,
    /// It is for that one.
    PassOn(Sid, Hops),
    /// It is for everyone.
    Flood([u8; 8], Hops),
    /// It is for somebody, but nobody here knows for whom.
    Unknown,
    /// It came before, or is for another one and not passed on here.
    Nothing,
}

impl Node {
    /// A packet came in on `interface` from the address `from`.
    ///
    /// Whatever it holds, the worst that it can do is to be counted in [`Node::stats`].
    pub fn handle_packet(&mut self, now: Instant, interface: InterfaceId, from: SocketAddr, packet: &[u8]) {
        self.advance(now);
        self.expire();
        self.stats.packets_received += 1;
        self.question.clear();
        if usize::from(interface.0) >= self.interfaces.len() {
            return;
        }
        // What is longer than any node sends would only fill the queue.
        let Some(packet) = Packet::parse(packet).ok().filter(|_| packet.len() <= MAX_PACKET) else {
            self.stats.malformed += 1;
            return;
        };
        let Some(sender) = self.resolve_sender(interface, from, packet.header()) else {
            self.ask(interface, from, None);
            return;
        };
        if sender == self.sid() {
            self.stats.own_packets += 1;
            return;
        }
        let arrival = Arrival {
            interface,
            from,
            peer_interface: packet.header().interface.unwrap_or(0),
            transport: if packet.header().unicast { Transport::Unicast } else { Transport::Broadcast },
            sequence: packet.header().sequence,
            introduces: matches!(packet.header().sender, Address::Whole(_))
                || packet.frames().next().is_none(),
        };
        if !self.admit(sender, &arrival) {
            self.stats.neighbours_refused += 1;
            return;
        }
        self.handle_frames(sender, &arrival, &packet);
        self.ask(interface, from, Some(sender));
        self.update_routes();
        self.release_held();
    }

    /// Who transmitted the packet. A prefix that several SIDs share means the one at that address.
    fn resolve_sender(
        &mut self,
        interface: InterfaceId,
        from: SocketAddr,
        header: &Header<'_>,
    ) -> Option<Sid> {
        let here = match header.sender {
            Address::Prefix(prefix) if !prefix.is_empty() => {
                let neighbours = self.neighbours.values().filter(|it| it.is_at(interface, from));
                let sids = neighbours.map(|neighbour| neighbour.sid);
                self.best_known(sids.filter(|sid| sid.as_bytes().starts_with(prefix)))
            }
            Address::Whole(_) | Address::SigningKey(_) => None,
            Address::Prefix(_)
            | Address::PointToPointSender
            | Address::PointToPointReceiver
            | Address::Previous
            | Address::Sender => {
                self.stats.malformed += 1;
                return None;
            }
        };
        // There is no sender yet that the address could refer to.
        let mut context = Context::new(self.sid());
        let sid = here.or_else(|| self.resolve(&mut context, header.sender, true))?;
        if sid.is_reserved() {
            self.stats.malformed += 1;
            return None;
        }
        Some(sid)
    }

    /// Whether `sid` is a neighbour now. A flood of strangers displaces only strangers.
    fn admit(&mut self, sid: Sid, arrival: &Arrival) -> bool {
        let is_peer = self.is_peer(arrival.interface, arrival.from);
        let standing = if is_peer { Standing::Configured } else { Standing::Heard };
        if let Some(neighbour) = self.neighbours.get_mut(&sid) {
            if neighbour.standing < standing {
                neighbour.standing = standing;
            }
            return true;
        }
        let is_stranger = |it: &&Neighbour| {
            matches!(it.standing, Standing::Heard | Standing::Configured) && it.is_at_host(arrival.from)
        };
        let strangers = self.neighbours.values().map(Box::as_ref).filter(is_stranger);
        if strangers.clone().count() >= MAX_STRANGERS {
            let least = strangers.min_by_key(|it| (it.standing, it.heard())).map(|it| it.sid);
            if let Some(least) = least {
                self.remove(&least);
            }
        } else if self.neighbours.len() >= self.config.max_neighbours {
            let least = self.neighbours.values().min_by_key(|it| (it.standing, it.heard()));
            let Some(least) = least.filter(|it| it.standing < standing || it.standing == Standing::Heard)
            else {
                return false;
            };
            let least = least.sid;
            self.remove(&least);
        }
        if self.neighbours.is_empty() {
            for interface in &mut self.interfaces {
                interface.tick_at = interface.tick_at.min(self.now + self.config.tick);
            }
        }
        let neighbour = Neighbour::new(self.now, sid, standing, &self.config);
        self.neighbours.insert(sid, Box::new(neighbour));
        true
    }

    fn remove(&mut self, neighbour: &Sid) {
        self.neighbours.remove(neighbour);
        self.routing.forget_neighbour(neighbour);
    }

    fn handle_frames(&mut self, sender: Sid, arrival: &Arrival, packet: &Packet<'_>) {
        let is_peer = self.is_peer(arrival.interface, arrival.from);
        let Some(neighbour) = self.neighbours.get_mut(&sender) else { return };
        let is_new = neighbour.hear(self.now, self.config.expiry, arrival);
        if is_peer {
            neighbour.prove(self.now, self.config.expiry, arrival);
        }
        if mem::take(&mut neighbour.restarted) {
            self.routing.doubt_tree(&sender);
        }
        if !is_new {
            self.stats.duplicate_packets += 1;
            return;
        }
        let mut context = Context::new(sender);
        let mut damaged = false;
        let mut soon = false;
        // Frames that the sender keeps until they are acknowledged.
        let (mut taken, mut refused) = (false, false);
        // What goes to a node that had our address before is not of those packets that are numbered for us.
        let mut is_ours = arrival.transport == Transport::Broadcast || packet.frames().next().is_none();
        for frame in packet.frames() {
            let Ok(frame) = frame else {
                self.stats.malformed += 1;
                damaged = true;
                break;
            };
            let source = match frame.source {
                None => Some(sender),
                Some(address) => self.resolve(&mut context, address, true),
            };
            let Some(course) = self.course(&mut context, frame.route) else { continue };
            is_ours = true;
            // What is wanted here no more, as a broadcast that has come on another way, is not to come again, either.
            soon |= frame.ack_soon;
            if matches!(course, Course::Nothing) {
                continue;
            }
            if frame.sequence.is_some_and(|sequence| self.has_frame(&sender, sequence)) {
                self.stats.duplicate_frames += 1;
                continue;
            }
            let outcome = match source {
                Some(source) if source == self.sid() => Outcome::Done,
                Some(source) => match course {
                    Course::Deliver => self.handle_frame(sender, arrival, source, &frame),
                    Course::PassOn(destination, hops) => {
                        self.pass_on((sender, arrival.from.ip()), source, (destination, hops), &frame)
                    }
                    Course::Flood(id, hops) => {
                        self.floods.remember(id);
                        self.pass_flood_on((sender, arrival.from.ip()), source, (id, hops), &frame);
                        self.handle_frame(sender, arrival, source, &frame)
                    }
                    Course::Unknown | Course::Nothing => Outcome::Unusable,
                },
                None => Outcome::Unusable,
            };
            match (outcome, frame.sequence, self.neighbours.get_mut(&sender)) {
                (Outcome::Unusable, _, neighbour) => {
                    damaged = true;
                    let doubtful = neighbour.is_some_and(|it| it.standing != Standing::Authentic);
                    if let (true, Address::Prefix(prefix)) = (doubtful, packet.header().sender) {
                        // Perhaps another one is meant, which looks like this one.
                        self.note_question(prefix);
                    }
                }
                (Outcome::Refused, ..) => refused = true,
                (Outcome::Done, Some(sequence), Some(neighbour)) => {
                    taken |= frame.ack_soon;
                    neighbour.frames.record(self.now, sequence);
                }
                (Outcome::Done, ..) => {}
            }
        }
        // What is refused comes again, but not if that would bring what was taken once more, which its sender may have
        // numbered anew by then.
        damaged |= refused && !taken;
        if is_ours
            && !damaged
            && let Some(neighbour) = self.neighbours.get_mut(&sender)
        {
            neighbour.accept(self.now, arrival, soon.then_some(self.config.ack_delay));
        }
    }

    /// What is to be done with a frame; `None`: another neighbour is to take it.
    fn course(&mut self, context: &mut Context, route: Route<'_>) -> Option<Course> {
        match route {
            Route::Neighbours => Some(Course::Deliver),
            Route::Flood { id, .. } if self.floods.has(&id) => Some(Course::Nothing),
            Route::Flood { id, hops } => Some(Course::Flood(id, hops)),
            Route::Neighbour { destination } => {
                let destination = self.resolve(context, destination, false);
                (destination == Some(self.sid())).then_some(Course::Deliver)
            }
            Route::Via { destination: written, next_hop, hops } => {
                let destination = self.resolve(context, written, false);
                let next_hop = self.resolve(context, next_hop, false);
                if destination == Some(self.sid()) {
                    return Some(Course::Deliver);
                }
                if next_hop != Some(self.sid()) {
                    return None;
                }
                if !self.config.relay {
                    return Some(Course::Nothing);
                }
                if let (None, Address::Prefix(prefix)) = (destination, written) {
                    self.note_question(prefix);
                }
                Some(destination.map_or(Course::Unknown, |destination| Course::PassOn(destination, hops)))
            }
        }
    }

    fn has_frame(&self, sender: &Sid, sequence: u8) -> bool {
        self.neighbours.get(sender).is_some_and(|it| it.frames.is_duplicate(self.now, sequence))
    }

    /// A frame for this node that was not handled before, made by `source`.
    fn handle_frame(&mut self, sender: Sid, arrival: &Arrival, source: Sid, frame: &Frame<'_>) -> Outcome {
        if source.is_reserved() {
            self.stats.unauthentic += 1;
            return Outcome::Done;
        }
        match frame.legacy_type {
            None | Some(DATAGRAM) => {}
            Some(PLEASE_EXPLAIN) => {
                self.handle_explain(arrival.from, sender, frame.payload);
                return Outcome::Done;
            }
            Some(_) => return Outcome::Done,
        }
        let broadcast = matches!(frame.route, Route::Neighbours | Route::Flood { .. });
        let protection = match frame.protection {
            Some(Protection::Encrypted) if broadcast => None,
            protection => protection,
        };
        let Some(protection) = protection else {
            self.stats.forbidden += 1;
            return Outcome::Done;
        };
        let mut plaintext = mem::take(&mut self.plaintext);
        plaintext.clear();
        plaintext.extend_from_slice(frame.payload);
        let outcome = match self.open(sender, source, protection, &mut plaintext) {
            Some(opened) => {
                if protection == Protection::Encrypted {
                    self.trust(sender, source, arrival);
                }
                let fingerprint = match protection {
                    Protection::Encrypted => SharedKey::fingerprint(frame.payload),
                    Protection::Signed | Protection::Clear => None,
                };
                self.handle_datagram(sender, source, protection, broadcast, fingerprint, opened)
            }
            // Whoever passed it on sent it as it came: again it would be no better.
            None if source != sender && protection == Protection::Encrypted => Outcome::Done,
            None => Outcome::Unusable,
        };
        self.plaintext = plaintext;
        outcome
    }

    /// The datagram in a frame's payload, if it is from `source` as far as `protection` can tell.
    fn open<'a>(
        &mut self,
        sender: Sid,
        source: Sid,
        protection: Protection,
        payload: &'a mut [u8],
    ) -> Option<&'a [u8]> {
        let opened = match protection {
            Protection::Encrypted if self.nonces.has_made(payload) => None,
            Protection::Encrypted => {
                let proved =
                    self.neighbours.get(&source).is_some_and(|it| it.standing == Standing::Authentic);
                let opened = self.keys.open(self.now, &self.identity, (&source, proved), payload);
                opened.map(|plaintext| &*plaintext)
            }
            Protection::Signed => match (self.directory.signing_key(&source), payload.split_last_chunk()) {
                (Some(key), Some((plaintext, signature))) => {
                    const { assert!(SIGNATURE_LEN == 64) };
                    let valid = self.signatures.take(self.now) && verify_datagram(key, plaintext, signature);
                    valid.then_some(plaintext)
                }
                (None, _) => {
                    self.request_key(sender, source);
                    return None;
                }
                (_, None) => None,
            },
            Protection::Clear => Some(&*payload),
        };
        if opened.is_none() {
            self.stats.unauthentic += 1;
        }
        opened
    }

    /// `source` holds the key to its SID, and `sender` brought what it sealed.
    fn trust(&mut self, sender: Sid, source: Sid, arrival: &Arrival) {
        if source != sender {
            if !self.neighbours.contains_key(&source) {
                self.directory.learn_route(self.now, source, sender);
            }
        } else if let Some(neighbour) = self.neighbours.get_mut(&sender) {
            neighbour.standing = Standing::Authentic;
            neighbour.prove(self.now, self.config.expiry, arrival);
        }
    }

    fn handle_datagram(
        &mut self,
        sender: Sid,
        source: Sid,
        protection: Protection,
        broadcast: bool,
        fingerprint: Option<Fingerprint>,
        plaintext: &[u8],
    ) -> Outcome {
        let Ok(datagram) = mdp::Repr::parse(plaintext) else {
            self.stats.malformed += 1;
            return Outcome::Done;
        };
        if datagram.payload.is_empty() {
            self.stats.forbidden += 1;
            return Outcome::Done;
        }
        let is_link_state = datagram.destination == Port::LINK_STATE;
        self.stats.datagrams_received += u64::from(!is_link_state);
        let from = Addr::new(source, datagram.source);
        match datagram.destination {
            Port::LINK_STATE if source == sender => self.handle_link_state(sender, datagram.payload),
            Port::LINK_STATE => {}
            Port::KEY_MAPPING => self.handle_key_mapping(sender, from, protection, datagram.payload),
            Port::ECHO if !self.claimed.contains(&Port::ECHO) => {
                self.handle_echo(sender, from, protection, datagram.payload)
            }
            Port::TRACE if !self.claimed.contains(&Port::TRACE) => {
                self.handle_trace(sender, from, protection, datagram.payload);
            }
            Port::DISCOVERY if self.service.is_some() && !self.claimed.contains(&Port::DISCOVERY) => {
                self.handle_query(sender, from, protection, datagram.payload);
            }
            to if self.datagrams.len() < self.config.receive_queue => {
                let payload = Bytes::copy_from_slice(datagram.payload);
                self.datagrams.push_back(Datagram { from, to, protection, broadcast, payload, fingerprint });
            }
            _ => {
                self.stats.datagrams_dropped += 1;
                return Outcome::Unusable;
            }
        }
        Outcome::Done
    }
}

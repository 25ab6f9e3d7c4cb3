//! Link state: telling neighbours how they are heard, and learning from them (`spec/50` sections 2 to 4).

use super::announce::MAX_MESSAGE;
use super::neighbour::Neighbour;
use super::node::{Node, NodeEvent};
use super::report::{Announcement, Report};
use super::routing::Link;
use super::transmit::PREFIX_LEN;
use super::{InterfaceId, Transport};
use crate::wire::address::{Address, Context};
use crate::wire::linkstate::Repr;
use crate::wire::mdp;
use crate::{Port, Sid};
use alloc::boxed::Box;
use alloc::vec::Vec;

/// Which way to the neighbour itself and past it is to be told to it.
pub(super) struct Use {
    /// The node before it, if frames to it go another way than straight there.
    pub(super) detour: Option<Sid>,
    /// A node to which it is the last on the way.
    pub(super) beyond: Option<Sid>,
}

/// Makes this a message without records.
pub(super) fn begin(message: &mut Vec<u8>) {
    message.clear();
    let port = Port::LINK_STATE;
    mdp::Repr { destination: port, source: port, payload: &[] }.emit(message);
}

/// Writes the records of an announcement to the neighbour `to`, with its address as in `written`.
pub(super) fn emit(written: Address<'_>, report: &Report, uses: Option<&Use>, buffer: &mut Vec<u8>) {
    let hears = Repr {
        interface: Some(report.peer_interface),
        broadcast: report.audible,
        unicast: report.transport == Transport::Unicast,
        drop_rate: report.missed,
        ..Repr::new(Address::Sender, Some(written))
    };
    if report.acks.is_empty() {
        hears.emit(buffer);
    }
    for ack in &report.acks {
        Repr { ack: Some(*ack), ..hears }.emit(buffer);
    }
    if let Some(uses) = uses {
        // "I use this link": makes the neighbour acknowledge promptly, and pass no broadcasts on for us.
        let previous = uses.detour.map_or(Address::Sender, Address::Whole);
        Repr { drop_rate: Some(0), ..Repr::new(written, Some(previous)) }.emit(buffer);
        if let Some(beyond) = uses.beyond {
            // But those who hear only the neighbour need that.
            let beyond = Address::Prefix(&beyond.as_bytes()[..PREFIX_LEN]);
            Repr { drop_rate: Some(0), ..Repr::new(beyond, Some(written)) }.emit(buffer);
        }
    }
}

impl Node {
    /// How neighbours are heard that hear broadcasts on the interface, in messages to everyone there. For those who hear
    /// such a message it is worth as much as one of their own, and all others take nothing from it.
    pub(super) fn shared_messages(&mut self, interface: InterfaceId) -> Vec<Vec<u8>> {
        let Self { now, ref config, ref mut neighbours, ref routing, .. } = *self;
        let mut messages: Vec<Vec<u8>> = Vec::new();
        let mut records = Vec::new();
        let sharing = |it: &&mut Box<Neighbour>| it.shares(now, config.expiry) == Some(interface);
        for neighbour in neighbours.values_mut().filter(sharing) {
            let sid = neighbour.sid;
            let Some(report) = neighbour.announce(now, config, Announcement::Shared) else { continue };
            records.clear();
            let written = Address::Prefix(&sid.as_bytes()[..PREFIX_LEN]);
            // Who tells its routes tells this with them, and who does not relay tells each alone.
            let uses = (config.relay && !routing.is_telling).then_some(Use { detour: None, beyond: None });
            emit(written, &report, uses.as_ref(), &mut records);
            if let Some((beyond, link)) = routing.beyond(&sid) {
                let receiver = Address::Prefix(&beyond.as_bytes()[..PREFIX_LEN]);
                let Link { version, loss, .. } = link;
                Repr { version, drop_rate: Some(loss), ..Repr::new(receiver, Some(written)) }
                    .emit(&mut records);
            }
            match messages.last_mut().filter(|it| it.len() + records.len() <= MAX_MESSAGE) {
                Some(message) => message.extend_from_slice(&records),
                None => {
                    let mut message = Vec::new();
                    begin(&mut message);
                    message.extend_from_slice(&records);
                    messages.push(message);
                }
            }
        }
        messages
    }

    /// A neighbour announced links (`spec/50` section 2).
    pub(super) fn handle_link_state(&mut self, neighbour: Sid, message: &[u8]) {
        let mut context = Context::new(neighbour);
        for record in Repr::parse_all(message) {
            let Ok(record) = record else {
                self.stats.malformed += 1;
                continue;
            };
            let receiver = self.resolve(&mut context, record.receiver, record.transmitter.is_some());
            // Whom else it hears is no concern of ours.
            let ask = receiver != Some(neighbour);
            let transmitter = record.transmitter.map(|address| self.resolve(&mut context, address, ask));
            let Some(receiver) = receiver.filter(|sid| !sid.is_reserved()) else { continue };
            match transmitter {
                Some(Some(transmitter)) if receiver == neighbour && transmitter == self.sid() => {
                    self.handle_confirmation(neighbour, &record);
                }
                _ if receiver == neighbour => {}
                _ if receiver == self.sid() => {
                    if let Some(it) = self.neighbours.get_mut(&neighbour) {
                        it.uses_us = transmitter == Some(Some(neighbour));
                    }
                }
                Some(None) => {}
                Some(Some(transmitter)) => {
                    if transmitter == self.sid()
                        && let Some(it) = self.neighbours.get_mut(&neighbour)
                    {
                        it.leads_until = self.now + self.config.expiry;
                    }
                    let loss = record.drop_rate.unwrap_or(0);
                    let link = Link { transmitter, version: record.version, loss };
                    self.routing.hear(self.now, neighbour, receiver, Some(link));
                }
                None => self.routing.hear(self.now, neighbour, receiver, None),
            }
        }
    }

    /// `sid` hears this node (`spec/50` section 3).
    fn handle_confirmation(&mut self, sid: Sid, record: &Repr<'_>) {
        let transport = match (record.unicast, record.broadcast) {
            (true, _) => Transport::Unicast,
            (false, true) => Transport::Broadcast,
            (false, false) => return,
        };
        let Some(id) = record.interface.map(InterfaceId) else { return };
        let Some(interface) = self.interfaces.get_mut(usize::from(id.0)) else { return };
        if transport == Transport::Broadcast && !interface.broadcast {
            return;
        }
        let Some(neighbour) = self.neighbours.get_mut(&sid) else { return };
        let expiry = self.config.expiry;
        let news = neighbour.confirm(
            self.now,
            expiry,
            (id, transport, record.broadcast && interface.broadcast),
            &mut interface.number,
            (record.ack, record.drop_rate),
        );
        if neighbour.certain {
            let newcomer = self.routing.set_link(self.now, sid, neighbour.loss_to());
            if newcomer {
                self.routing.tell_all(self.now);
            }
        }
        if news && let Some((interface, _, address)) = neighbour.path(self.now, expiry) {
            self.push_event(NodeEvent::NeighbourUp { sid, interface, address });
        }
    }
}

//! Link state: telling neighbours how they are heard, and learning from them (`spec/50`).

use super::neighbour::{Announcement, Report};
use super::node::{Node, NodeEvent};
use super::{InterfaceId, Transport};
use crate::Sid;
use crate::wire::address::{Address, Context};
use crate::wire::linkstate::Repr;
use alloc::vec::Vec;

/// Writes the records of an announcement to the neighbour `to`, with its address as in `written`.
pub(super) fn emit(written: Address<'_>, announcement: Announcement, report: &Report, buffer: &mut Vec<u8>) {
    let hears = Repr {
        interface: Some(report.peer_interface),
        broadcast: report.transport == Transport::Broadcast,
        unicast: report.transport == Transport::Unicast,
        ..Repr::new(Address::Sender, Some(written))
    };
    if report.acks.is_empty() {
        hears.emit(buffer);
    }
    for ack in &report.acks {
        Repr { ack: Some(*ack), ..hears }.emit(buffer);
    }
    if announcement == Announcement::Whole {
        // "I use this link": makes the neighbour acknowledge promptly.
        let uses = Repr { drop_rate: Some(0), ..Repr::new(written, Some(Address::Sender)) };
        uses.emit(buffer);
    }
}

impl Node {
    /// A neighbour announced links (`spec/50` section 2).
    pub(super) fn handle_link_state(&mut self, neighbour: Sid, message: &[u8]) {
        let mut context = Context::new(neighbour);
        for record in Repr::parse_all(message) {
            let Ok(record) = record else {
                self.stats.malformed += 1;
                continue;
            };
            let receiver = self.resolve(&mut context, record.receiver, record.transmitter.is_some());
            let transmitter = record.transmitter.map(|address| self.resolve(&mut context, address, true));
            let Some(receiver) = receiver else { continue };
            match transmitter {
                Some(Some(transmitter)) if receiver == neighbour => {
                    if transmitter == self.sid() {
                        self.handle_confirmation(neighbour, &record);
                    }
                }
                _ if receiver == self.sid() || receiver == neighbour => {}
                Some(Some(transmitter)) if transmitter != self.sid() => {
                    if let Some(hop) = self.directory.route(self.now, &receiver)
                        && !self.neighbours.contains_key(&hop)
                    {
                        self.directory.forget_route(&receiver, &hop);
                    }
                    self.directory.learn_route(self.now, receiver, neighbour, transmitter == neighbour);
                }
                // No path, or one through this node.
                None | Some(Some(_)) => self.directory.forget_route(&receiver, &neighbour),
                Some(None) => {}
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
        let news = neighbour.confirm(self.now, expiry, (id, transport), &mut interface.number, record.ack);
        if news && let Some((interface, _, address)) = neighbour.path(self.now, expiry) {
            self.push_event(NodeEvent::NeighbourUp { sid, interface, address });
        }
    }
}

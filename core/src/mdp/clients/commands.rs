//! What clients ask the node itself (`spec/20` section 9).

use super::{ClientName, Clients, MAX_ANSWERS};
use crate::Sid;
use crate::mdp::{InterfaceId, Node};
use crate::wire::client::{BIND, Header, ReplyKind};
use crate::wire::mdp::Protection;
use crate::wire::routes::{self, Entry, Interface, Reach};
use alloc::vec::Vec;

/// Nothing, which is how a port is bound or given back.
const NOTHING: u32 = 0;
const IDENTITIES: u32 = 2;
const RELOAD: u32 = 3;
const RESCAN: u32 = 6;

impl Clients {
    /// Does what a client asks for.
    pub(super) fn command(&mut self, node: &Node, client: &ClientName, header: &Header<'_>) {
        match header.remote.port.get() {
            // Without a port it is a mistake; the other answer to it was given.
            NOTHING if header.flags & BIND != 0 || self.owns(client, header.local.port) => {}
            IDENTITIES => {
                // There is one, which has no tags.
                if header.payload.is_empty() {
                    let sid = self.sid;
                    self.tell(client, header, sid.as_bytes());
                }
                self.answer(client, header, ReplyKind::Done);
            }
            routes::COMMAND => self.tell_routes(node, client, header),
            // There is nothing to read again.
            RELOAD | RESCAN => self.answer(client, header, ReplyKind::Done),
            _ => self.refuse(client, header),
        }
    }

    fn tell_routes(&mut self, node: &Node, client: &ClientName, header: &Header<'_>) {
        let interface = |index: u8| {
            let name = node.interface_name(InterfaceId(index)).as_bytes();
            Interface { index, is_up: true, name }
        };
        let own = (0..node.interfaces.len()).map(|index| Entry {
            sid: self.sid,
            reach: Reach::Own,
            hops: 0,
            next_hop: None,
            previous_hop: None,
            interface: Some(interface(index as u8)),
        });
        let neighbours: Vec<Sid> = node.neighbours().filter(|it| it.unicast).map(|it| it.sid).collect();
        let others = node.routes().map(|route| Entry {
            sid: route.sid,
            reach: match (route.hops, neighbours.binary_search(&route.sid)) {
                (0 | 1, Ok(_)) => Reach::Unicast,
                (0 | 1, Err(_)) => Reach::Broadcast,
                _ => Reach::Indirect,
            },
            hops: route.hops,
            next_hop: (route.hops > 1).then_some(route.next_hop),
            previous_hop: (route.hops > 2).then_some(route.previous_hop),
            interface: (route.hops < 2).then(|| interface(route.interface.0)),
        });
        let entries: Vec<Entry<'_>> = own.chain(others).collect();
        // Then it has not taken what it was told before.
        if self.clients.get(client).is_none_or(|inbox| inbox.len() + entries.len() >= MAX_ANSWERS) {
            return self.refuse(client, header);
        }
        let mut payload = Vec::new();
        for entry in entries {
            payload.clear();
            entry.emit(&mut payload);
            self.tell(client, header, &payload);
        }
        self.answer(client, header, ReplyKind::Done);
    }

    fn tell(&mut self, client: &ClientName, header: &Header<'_>, payload: &[u8]) {
        self.answer(client, header, ReplyKind::Data { protection: Protection::Encrypted, payload });
    }
}

//! What clients ask the node itself (`spec/20` section 9).

use super::{ClientName, Clients, MAX_ANSWERS};
use crate::Sid;
use crate::mdp::{Node, RouteStatus};
use crate::wire::client::{BIND, Header, ReplyKind};
use crate::wire::mdp::Protection;
use alloc::format;
use alloc::vec::Vec;

/// Nothing, which is how a port is bound or given back.
const NOTHING: u32 = 0;
const IDENTITIES: u32 = 2;
const RELOAD: u32 = 3;
const ROUTES: u32 = 5;
const RESCAN: u32 = 6;

/// How a node is reached: it is this one, by broadcast, by unicast, or through others.
const SELF: u8 = 1;
const BROADCAST: u8 = 2;
const UNICAST: u8 = 4;
const INDIRECT: u8 = 8;
/// The signing key is not told.
const NO_KEY: u8 = 0;
const UP: u8 = 1;

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
            ROUTES => self.tell_routes(node, client, header),
            // There is nothing to read again.
            RELOAD | RESCAN => self.answer(client, header, ReplyKind::Done),
            _ => self.refuse(client, header),
        }
    }

    fn tell_routes(&mut self, node: &Node, client: &ClientName, header: &Header<'_>) {
        let mut entries: Vec<Vec<u8>> = Vec::new();
        for index in 0..node.interfaces.len() {
            let mut entry = entry(&self.sid, SELF, 0);
            interface(index as u8, &mut entry);
            entries.push(entry);
        }
        let neighbours: Vec<Sid> = node.neighbours().filter(|it| it.unicast).map(|it| it.sid).collect();
        entries.extend(node.routes().map(|route| {
            let by_unicast = neighbours.binary_search(&route.sid).is_ok();
            route_entry(&route, by_unicast)
        }));
        // Then it has not taken what it was told before.
        if self.clients.get(client).is_none_or(|inbox| inbox.len() + entries.len() >= MAX_ANSWERS) {
            return self.refuse(client, header);
        }
        entries.iter().for_each(|entry| self.tell(client, header, entry));
        self.answer(client, header, ReplyKind::Done);
    }

    fn tell(&mut self, client: &ClientName, header: &Header<'_>, payload: &[u8]) {
        self.answer(client, header, ReplyKind::Data { protection: Protection::Encrypted, payload });
    }
}

fn route_entry(route: &RouteStatus, by_unicast: bool) -> Vec<u8> {
    let how = match (route.hops, by_unicast) {
        (0 | 1, true) => UNICAST,
        (0 | 1, false) => BROADCAST,
        _ => INDIRECT,
    };
    let mut entry = entry(&route.sid, how, route.hops);
    if route.hops > 1 {
        entry.extend_from_slice(route.next_hop.as_bytes());
    }
    if route.hops > 2 {
        entry.extend_from_slice(route.previous_hop.as_bytes());
    }
    if route.hops <= 1 {
        interface(route.interface.0, &mut entry);
    }
    entry
}

fn entry(sid: &Sid, how: u8, hops: u8) -> Vec<u8> {
    [&sid.as_bytes()[..], &[NO_KEY, how, hops]].concat()
}

fn interface(index: u8, entry: &mut Vec<u8>) {
    entry.extend_from_slice(&[index, UP]);
    entry.extend_from_slice(format!("udp{index}\0").as_bytes());
}

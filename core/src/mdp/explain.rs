//! Please-explain: asking what an abbreviated address means, and answering (`spec/30` section 5).

use super::directory::matching;
use super::neighbour::{Neighbour, Standing};
use super::node::{Destination, Loose, Node, Transmit};
use super::{Identity, InterfaceId};
use crate::wire::address::{Address, Context, explain_items};
use crate::wire::mdp::Protection;
use crate::wire::overlay::{self, Encapsulation, Header, PLEASE_EXPLAIN, Route};
use crate::{Sid, mdp::sid_of_signing_key};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;
use smallvec::SmallVec;

/// Bytes of questions and answers in one frame. It fits into the smallest packet; 1024 are allowed
/// (`spec/30` section 5).
const MAX_EXPLAIN: usize = 320;
/// Bytes of questions that one packet can raise.
const MAX_QUESTION: usize = 256;
/// SIDs that are told in answer to one prefix.
const MAX_MATCHES: usize = 8;
/// Answers come within this time or are not believed.
const PATIENCE: Duration = Duration::from_secs(1);

impl Node {
    /// What an address in a packet stands for. A prefix that means nothing is noted in order to `ask`.
    pub(super) fn resolve(&mut self, context: &mut Context, address: Address<'_>, ask: bool) -> Option<Sid> {
        let mapped = self.sid_of(address);
        let sid = context.resolve(address, |address| match address {
            Address::Prefix(prefix) => self.resolve_prefix(prefix),
            _ => mapped,
        });
        if sid.is_none() {
            self.stats.unresolved += 1;
            if let (true, Address::Prefix(prefix)) = (ask, address) {
                self.note_question(prefix);
            }
        }
        sid
    }

    /// The SID of a signing key, as long as strangers have not made us compute too many.
    fn sid_of(&mut self, address: Address<'_>) -> Option<Sid> {
        match address {
            Address::SigningKey(key) if self.signatures.take(self.now) => sid_of_signing_key(&key),
            _ => None,
        }
    }

    pub(super) fn note_question(&mut self, prefix: &[u8]) {
        let address = Address::Prefix(prefix);
        let known = prefix.is_empty() || explain_items(&self.question).any(|item| item == address);
        if !known && self.question.len() + address.buffer_len() <= MAX_QUESTION {
            address.emit(&mut self.question);
        }
    }

    /// The one known SID that starts with `prefix`. Our own comes first: a neighbour that abbreviates it
    /// so far that another one matches does not know that one.
    fn resolve_prefix(&self, prefix: &[u8]) -> Option<Sid> {
        let own = self.sid();
        if prefix.is_empty() || own.as_bytes().starts_with(prefix) {
            return (!prefix.is_empty()).then_some(own);
        }
        let known = matching(&self.neighbours, prefix).chain(self.routing.matching(prefix));
        self.best_known(known.chain(self.directory.matching(prefix)))
    }

    /// The one of these that is meant: one that proved its key, since anyone can make up a SID that looks
    /// like another's; else a neighbour. `None` if there are several.
    pub(super) fn best_known(&self, sids: impl Iterator<Item = Sid>) -> Option<Sid> {
        let mut best: Option<(Option<bool>, Sid)> = None;
        let mut ambiguous = false;
        for sid in sids {
            let rank = self.neighbours.get(&sid).map(|it| it.standing == Standing::Authentic);
            match best {
                Some((other, _)) if rank < other => {}
                Some((other, twin)) if rank == other => ambiguous |= sid != twin,
                _ => (best, ambiguous) = (Some((rank, sid)), false),
            }
        }
        best.filter(|_| !ambiguous).map(|(_, sid)| sid)
    }

    /// Asks about the prefixes in the packet just read that meant nothing. `sender` transmitted it, unless
    /// that is what was not understood.
    pub(super) fn ask(&mut self, interface: InterfaceId, from: SocketAddr, sender: Option<Sid>) {
        if self.question.is_empty() || !self.asked.allows(self.now, from) {
            return;
        }
        self.curious_until = self.now + PATIENCE;
        // To a neighbour, a question outside of the numbered packets looks as if we had started again.
        let is_meant = |it: &&Neighbour| it.standing == Standing::Authentic && it.is_at(interface, from);
        let sender = sender.or(self.neighbours.values().map(Box::as_ref).find(is_meant).map(|it| it.sid));
        if let Some(neighbour) = sender.and_then(|sid| self.neighbours.get_mut(&sid)) {
            if neighbour.explain.len() + self.question.len() <= MAX_EXPLAIN {
                neighbour.explain.extend_from_slice(&self.question);
            }
            return;
        }
        let Some(broadcast) = self.interfaces.get(usize::from(interface.0)).map(|it| it.broadcast) else {
            return;
        };
        let sequence = self.frame_counter.count_announcement() as u8;
        let frame = overlay::Frame {
            source: None,
            route: Route::Neighbours,
            protection: Some(Protection::Clear),
            ack_soon: false,
            legacy_type: Some(PLEASE_EXPLAIN),
            sequence: Some(sequence),
            payload: &self.question,
        };
        let mut packets: SmallVec<[Loose; 2]> = SmallVec::new();
        let copies = [Some(Destination::Unicast(from)), broadcast.then_some(Destination::Broadcast)];
        for to in copies.into_iter().flatten() {
            let is_broadcast = to == Destination::Broadcast;
            let counter = &mut self.interfaces[usize::from(interface.0)];
            let number = if is_broadcast { counter.count_broadcast() } else { None };
            let mut packet = Vec::new();
            whole_header(&self.identity, interface, to, number).emit(&mut packet);
            frame.emit(Encapsulation::Multiple, &mut packet);
            packets.push(Loose { transmit: Transmit { interface, to }, packet });
        }
        for packet in packets {
            self.push_loose(packet);
        }
    }

    /// A neighbour asks, or answers.
    pub(super) fn handle_explain(&mut self, from: SocketAddr, neighbour: Sid, payload: &[u8]) {
        let mut answers = Vec::new();
        let mut may_answer = None;
        for item in explain_items(payload) {
            match item {
                Address::Prefix(prefix) => {
                    if !*may_answer.get_or_insert_with(|| self.explained.allows(self.now, from)) {
                        continue;
                    }
                    let introduce = self.sid().as_bytes().starts_with(prefix);
                    let Some(asker) = self.neighbours.get_mut(&neighbour) else { return };
                    let taken = asker.explain.len() + answers.len();
                    if introduce {
                        asker.introduce(self.now, self.config.expiry);
                    }
                    let neighbours = matching(&self.neighbours, prefix);
                    let known = neighbours.chain(self.routing.matching(prefix));
                    let matches: BTreeSet<Sid> = known.chain(self.directory.matching(prefix)).collect();
                    let room = MAX_EXPLAIN.saturating_sub(taken) / (1 + Sid::LEN);
                    for sid in matches.into_iter().take(MAX_MATCHES.min(room)) {
                        Address::Whole(sid).emit(&mut answers);
                        self.routing.retell(self.now, &sid);
                    }
                }
                Address::Whole(sid) => self.learn(sid),
                Address::SigningKey(_) => {
                    if let Some(sid) = self.sid_of(item) {
                        self.learn(sid);
                    }
                }
                Address::PointToPointSender
                | Address::PointToPointReceiver
                | Address::Previous
                | Address::Sender => {}
            }
        }
        if let Some(asker) = self.neighbours.get_mut(&neighbour) {
            asker.explain.extend_from_slice(&answers);
        }
    }

    fn learn(&mut self, sid: Sid) {
        if self.now < self.curious_until && !sid.is_reserved() && sid != self.sid() {
            self.directory.learn(self.now, sid);
        }
    }
}

/// The header of a packet that introduces its sender.
pub(super) fn whole_header(
    identity: &Identity,
    interface: InterfaceId,
    to: Destination,
    number: Option<u64>,
) -> Header<'static> {
    Header {
        sequenced_frames: true,
        encapsulation: Encapsulation::Multiple,
        sender: Address::Whole(identity.sid()),
        unicast: to != Destination::Broadcast,
        interface: (interface.0 > 0).then_some(interface.0),
        sequence: number.map(|number| number as u8),
    }
}

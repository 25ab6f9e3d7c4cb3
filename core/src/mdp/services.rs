//! Services of the node itself: echo, trace and key mapping, and service discovery if it has something to tell
//! (`spec/60` section 1).

use super::{Datagram, Node, verify};
use crate::wire::mdp::{KeyMapping, Protection};
use crate::wire::trace;
use crate::{Addr, Instant, Port, Sid};
use alloc::vec::Vec;

/// Ports above this are for applications (`spec/60` section 1).
const LAST_SERVICE: u32 = 63;

impl Node {
    /// Leaves a port to others, or serves it again, if it is one of a service here.
    pub(super) fn claim(&mut self, port: Port, claimed: bool) {
        if claimed && port.get() <= LAST_SERVICE {
            self.claimed.insert(port);
        } else {
            self.claimed.remove(&port);
        }
    }

    /// Echo: what comes goes back (`spec/60` section 2), but not to another echo service.
    ///
    /// What anyone can have written goes back as such. Encrypted, as the reference daemon answers, it would be
    /// this node's word, put into its mouth by whoever asked in the name of the receiver.
    pub(super) fn handle_echo(&mut self, sender: Sid, from: Addr, protection: Protection, payload: &[u8]) {
        let protection = match protection {
            Protection::Encrypted | Protection::Signed => Protection::Encrypted,
            Protection::Clear => Protection::Clear,
        };
        if from.port != Port::ECHO && self.may_answer(sender, &from.sid, protection) {
            self.answer(Port::ECHO, from, protection, payload);
        }
    }

    /// Key mapping: tells our signing key and learns others' (`spec/40` section 4). A key that did not come
    /// encrypted, or that was not asked for, may be anyone's.
    pub(super) fn handle_key_mapping(
        &mut self,
        sender: Sid,
        from: Addr,
        protection: Protection,
        payload: &[u8],
    ) {
        let Ok(message) = KeyMapping::parse(payload) else {
            self.stats.malformed += 1;
            return;
        };
        match message {
            KeyMapping::Request if protection == Protection::Encrypted => {
                if !self.may_answer(sender, &from.sid, protection) {
                    return;
                }
                let signing_key = &self.identity.signing_key();
                let signature = &self.identity.sign(self.sid().as_bytes());
                let answer = KeyMapping::Answer { signing_key, signature };
                let mut message = Vec::with_capacity(answer.buffer_len());
                answer.emit(&mut message);
                self.answer(Port::KEY_MAPPING, from, protection, &message);
            }
            KeyMapping::Answer { signing_key, signature }
                if protection == Protection::Encrypted && self.directory.awaits_key(&from.sid) =>
            {
                if self.signatures.take(self.now) && verify(signing_key, from.sid.as_bytes(), signature) {
                    self.directory.learn_signing_key(self.now, from.sid, *signing_key);
                } else {
                    self.stats.unauthentic += 1;
                }
            }
            KeyMapping::Answer { .. } if protection != Protection::Encrypted => self.stats.unauthentic += 1,
            KeyMapping::Request | KeyMapping::Answer { .. } | KeyMapping::Other => {}
        }
    }

    /// Service discovery: a query for our service is answered with its own protection (`spec/60` section 5), but
    /// not one of another such service, which may answer whatever it gets.
    pub(super) fn handle_query(&mut self, sender: Sid, from: Addr, protection: Protection, query: &[u8]) {
        let answer = self.service.as_ref().and_then(|service| service.answer(query));
        if let Some(answer) = answer.filter(|_| from.port != Port::DISCOVERY)
            && self.may_answer(sender, &from.sid, protection)
        {
            self.answer(Port::DISCOVERY, from, protection, &answer);
        }
    }

    /// Trace: adds this node to the list and passes it on, towards the target, or from there or a dead end back the way it
    /// came (`spec/60` section 3). At its origin, who has asked gets it.
    pub(super) fn handle_trace(&mut self, sender: Sid, from: Addr, protection: Protection, payload: &[u8]) {
        let Ok(mut trace) = trace::Repr::parse(payload) else {
            self.stats.malformed += 1;
            return;
        };
        if protection != Protection::Encrypted || from.port == Port::TRACE {
            return;
        }
        let own = self.sid();
        if trace.origin == own && !trace.passed.is_empty() {
            // Anyone can have made up a list, so that it is the word of who has sent it.
            return self.hand_over_trace(from.sid, from.port, &trace);
        }
        let next = self.next_of_trace(&trace);
        trace.passed.push(own);
        if trace.passed.len() <= trace::Repr::MAX_PASSED && self.may_answer(sender, &next, protection) {
            self.pass_trace(next, from.port, &trace);
        }
    }

    /// The same for one that begins here: a program on this machine wants the answer at `port`.
    pub(super) fn start_trace(&mut self, now: Instant, port: Port, payload: &[u8]) {
        self.advance(now);
        let own = self.sid();
        let Some(mut trace) = trace::Repr::parse(payload).ok().filter(|it| it.origin == own) else { return };
        if port == Port::TRACE || !trace.passed.is_empty() {
            return;
        }
        let next = self.next_of_trace(&trace);
        trace.passed.push(own);
        if next == own {
            self.hand_over_trace(own, port, &trace);
        } else {
            self.pass_trace(next, port, &trace);
        }
    }

    /// Where a trace goes from here.
    fn next_of_trace(&self, trace: &trace::Repr) -> Sid {
        let trace::Repr { origin, ref target, ref passed } = *trace;
        let before = |place: usize| passed[..place].last().copied().unwrap_or(origin);
        match passed.iter().position(|sid| *sid == self.sid()) {
            Some(place) => before(place),
            None if self.is_reachable(target) => {
                self.next_hop(target).unwrap_or_else(|| before(passed.len()))
            }
            None => before(passed.len()),
        }
    }

    fn pass_trace(&mut self, next: Sid, port: Port, trace: &trace::Repr) {
        let mut payload = Vec::with_capacity(trace.buffer_len());
        trace.emit(&mut payload);
        self.answer(port, Addr::new(next, Port::TRACE), Protection::Encrypted, &payload);
    }

    fn hand_over_trace(&mut self, from: Sid, port: Port, trace: &trace::Repr) {
        if self.datagrams.len() >= self.config.receive_queue {
            self.stats.datagrams_dropped += 1;
            return;
        }
        let mut payload = Vec::with_capacity(trace.buffer_len());
        trace.emit(&mut payload);
        let from = Addr::new(from, Port::TRACE);
        self.datagrams.push_back(Datagram::new(from, port, Protection::Encrypted, payload.into()));
    }

    /// Asks `source` for the signing key without which its frames are worth nothing.
    pub(super) fn request_key(&mut self, sender: Sid, source: Sid) {
        let protection = Protection::Encrypted;
        if self.directory.may_request_key(self.now, source) && self.may_answer(sender, &source, protection) {
            let mut message = Vec::new();
            KeyMapping::Request.emit(&mut message);
            let to = Addr::new(source, Port::KEY_MAPPING);
            self.answer(Port::KEY_MAPPING, to, protection, &message);
        }
    }

    /// Whether `sender` may draw one more answer, to `to`.
    fn may_answer(&mut self, sender: Sid, to: &Sid, protection: Protection) -> bool {
        let now = self.now;
        let may = self.neighbours.get_mut(&sender).is_some_and(|it| it.answers.take(now))
            && self.answers.take(now)
            && self.next_hop(to).is_some()
            && (protection != Protection::Encrypted || self.keys.may_get(now, to));
        self.stats.answers_dropped += u64::from(!may);
        may
    }

    /// Sends without a second try: who wants it asks again.
    fn answer(&mut self, from: Port, to: Addr, protection: Protection, payload: &[u8]) {
        if self.send(self.now, from, to, protection, payload).is_err() {
            self.stats.answers_dropped += 1;
        }
    }
}

//! Services that every node offers: echo and key mapping (`spec/60` section 1).

use super::{Node, verify};
use crate::wire::mdp::{KeyMapping, Protection};
use crate::{Addr, Port, Sid};
use alloc::vec::Vec;

impl Node {
    /// Echo: what comes goes back (`spec/60` section 2), but not to another echo service.
    pub(super) fn handle_echo(&mut self, from: Addr, payload: &[u8]) {
        if from.port != Port::ECHO {
            self.answer(Port::ECHO, from, payload);
        }
    }

    /// Key mapping: tells our signing key and learns others' (`spec/40` section 4).
    pub(super) fn handle_key_mapping(&mut self, from: Addr, protection: Protection, payload: &[u8]) {
        let Ok(message) = KeyMapping::parse(payload) else {
            self.stats.malformed += 1;
            return;
        };
        match message {
            KeyMapping::Request if protection == Protection::Encrypted => {
                let signing_key = &self.identity.signing_key();
                let signature = &self.identity.sign(self.sid().as_bytes());
                let answer = KeyMapping::Answer { signing_key, signature };
                let mut message = Vec::with_capacity(answer.buffer_len());
                answer.emit(&mut message);
                self.answer(Port::KEY_MAPPING, from, &message);
            }
            KeyMapping::Answer { signing_key, signature } => {
                if verify(signing_key, from.sid.as_bytes(), signature) {
                    self.directory.learn_signing_key(self.now, from.sid, *signing_key);
                } else {
                    self.stats.unauthentic += 1;
                }
            }
            KeyMapping::Request | KeyMapping::Other => {}
        }
    }

    /// Asks `source` for the signing key without which its frames are worth nothing.
    pub(super) fn request_key(&mut self, source: Sid) {
        if self.directory.may_request_key(self.now, source) {
            let mut message = Vec::new();
            KeyMapping::Request.emit(&mut message);
            self.answer(Port::KEY_MAPPING, Addr::new(source, Port::KEY_MAPPING), &message);
        }
    }

    /// Sends without a second try: who wants it asks again.
    fn answer(&mut self, from: Port, to: Addr, payload: &[u8]) {
        if self.send(self.now, from, to, Protection::Encrypted, payload).is_err() {
            self.stats.answers_dropped += 1;
        }
    }
}

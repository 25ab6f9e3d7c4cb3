//! One sign of life for many idle streams (`docs/msp-extensions.md` section 7).

use super::endpoint::{Endpoint, Outgoing};
use super::event::DatagramError;
use super::form::Refusal;
use super::stream::StreamId;
use crate::wire::roll::{Entry, Kind, Repr};
use crate::{Addr, Instant, Port};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;
use smallvec::SmallVec;

/// An answer that could not be sent for so long tells nothing any more.
const LIFE: Duration = Duration::from_secs(1);

/// Answers to calls that wait to be sent, oldest first.
#[derive(Debug, Default)]
pub(super) struct Answers(VecDeque<(Instant, Outgoing, Repr)>);

impl Answers {
    /// Where the next one goes.
    pub(super) fn front(&self) -> Option<Outgoing> {
        self.0.front().map(|(_, outgoing, _)| *outgoing)
    }

    pub(super) fn pop(&mut self) -> Option<(Outgoing, Repr)> {
        self.0.pop_front().map(|(_, outgoing, repr)| (outgoing, repr))
    }

    /// Adds one. `most` is how many may wait.
    fn push(&mut self, now: Instant, most: usize, outgoing: Outgoing, repr: Repr) {
        while self.0.front().is_some_and(|(at, ..)| *at + LIFE < now || self.0.len() >= most) {
            self.0.pop_front();
        }
        self.0.push_back((now, outgoing, repr));
    }
}

impl Endpoint {
    /// Appends a call of this stream and of others to the same listener that are idle, if it is to be kept alive now and
    /// there are others.
    pub(super) fn call_roll(&mut self, now: Instant, id: StreamId, buffer: &mut Vec<u8>) -> Option<Outgoing> {
        let connection = &self.slots.get(&id)?.connection;
        connection.call_at().filter(|at| *at <= now)?;
        let outgoing = Outgoing { from: connection.local, to: connection.peer, repairs: false };
        // Who is called together now is so the next time, too.
        let others = self.schedule.idle_until(outgoing.to, now + self.config.keep_alive / 2);
        let others = others.filter(|other| *other != id).take(Repr::MAX_ENTRIES - 1);
        let called: SmallVec<[StreamId; Repr::MAX_ENTRIES]> = core::iter::once(id).chain(others).collect();
        if called.len() < 2 {
            return None;
        }
        let entry = |id| {
            let connection = &self.slots.get(id)?.connection;
            Some(Entry { port: connection.local, tag: connection.form.tag()? })
        };
        let entries = called.iter().filter_map(entry).collect();
        Repr { kind: Kind::Call, entries }.emit(buffer);
        for other in called {
            let Some(slot) = self.slots.get_mut(&other) else { continue };
            if other == id {
                let (_, count) = self.schedule.take_turn(slot);
                *count += buffer.len() as u64;
            }
            slot.connection.call(now);
            self.schedule.settle(other, slot);
        }
        Some(outgoing)
    }

    /// Takes a roll.
    pub(super) fn on_roll(
        &mut self,
        now: Instant,
        from: Addr,
        to: Port,
        roll: &Repr,
    ) -> Result<(), DatagramError> {
        let is_call = roll.kind == Kind::Call;
        let (mut known, mut entries) = (false, Vec::new());
        for entry in &roll.entries {
            let (local, peer) =
                if is_call { (to, Addr::new(from.sid, entry.port)) } else { (entry.port, from) };
            let id = self.index.get(&(local, peer));
            let connection = id.and_then(|id| self.slots.get_mut(id)).map(|slot| &mut slot.connection);
            match connection.filter(|connection| connection.is_listed_as(is_call, entry.tag)) {
                // When they are due is looked at when they were due: a call concerns many.
                Some(connection) if is_call => {
                    known = true;
                    entries.extend(connection.on_call(now).then_some(*entry));
                }
                Some(connection) => {
                    known = true;
                    connection.on_answer(now);
                }
                None if is_call => {
                    let outgoing = Outgoing { from: local, to: peer, repairs: false };
                    self.refuse(now, outgoing, Refusal::Extended(entry.tag, None));
                }
                None => {}
            }
        }
        if !entries.is_empty() {
            let most = (self.config.max_streams / 64).max(8);
            let answer = Repr { kind: Kind::Answer, entries };
            self.answers.push(now, most, Outgoing { from: to, to: from, repairs: false }, answer);
        }
        self.stats.unknown += u64::from(!known);
        if known { Ok(()) } else { Err(DatagramError::UnknownStream) }
    }
}

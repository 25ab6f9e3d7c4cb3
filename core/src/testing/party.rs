//! One end of simulated streams: MSP, ours or the reference's, with or without a node below it, and the
//! programs that talk over it.

use super::network::{Receiver, Station};
use super::program::{Plan, Program};
use super::stack::{Kind, Stack, Streams};
use crate::msp::{Config, Event, StreamId};
use crate::{Addr, Instant, Port, Sid};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Where every party listens.
pub const PORT: u16 = 512;

/// A station of a [`Network`](super::Network) that opens and accepts streams.
#[derive(Debug)]
pub struct Party {
    /// The protocol.
    pub stack: Stack,
    /// The programs, by their stream. Those whose stream has ended are among them.
    pub programs: BTreeMap<StreamId, Program>,
    /// Programs of before a restart.
    pub past: Vec<Program>,
    /// What the program of an accepted stream does.
    pub plan: Plan,
    index: usize,
    kind: Kind,
    has_node: bool,
    config: Config,
    /// How often it was started, and how often its identity was lost.
    starts: u8,
    identities: u8,
    /// Programs so far, so that each has a key of its own.
    count: u32,
    /// Packets so far.
    sent: u64,
}

impl Party {
    /// The party with this index. With `has_node`, it is a node with encryption and all; without, the
    /// datagrams of its streams go straight over the links.
    #[must_use]
    pub fn new(index: usize, kind: Kind, has_node: bool, config: Config, plan: Plan, now: Instant) -> Self {
        Self {
            stack: Stack::new(kind, has_node, &config, (index, [0, 0]), now),
            programs: BTreeMap::new(),
            past: Vec::new(),
            plan,
            index,
            kind,
            has_node,
            config,
            starts: 0,
            identities: 0,
            count: 0,
            sent: 0,
        }
    }

    /// Its address.
    #[must_use]
    pub fn sid(&self) -> Sid {
        self.stack.sid()
    }

    /// Whose MSP it speaks.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether packets of its streams with others of which that holds name the stream.
    #[must_use]
    pub fn wants_tags(&self) -> bool {
        self.kind == Kind::Ours && self.config.extended
    }

    /// Opens a stream to `remote`, for a program that does as `plan` says. `None` if there are too many.
    pub fn open(&mut self, now: Instant, remote: Sid, plan: Plan) -> Option<StreamId> {
        let id = self.stack.streams().connect(now, Addr::new(remote, Port::from(PORT)))?;
        self.add(id, plan, None);
        Some(id)
    }

    /// Its program is started anew: nothing is remembered, and if `identity` is false, it is another one.
    pub fn restart(&mut self, now: Instant, identity: bool) {
        self.starts += 1;
        self.identities += u8::from(!identity);
        let names = (self.index, [self.identities, self.starts]);
        self.stack = Stack::new(self.kind, self.has_node, &self.config, names, now);
        for mut program in core::mem::take(&mut self.programs).into_values() {
            program.lost = true;
            self.past.push(program);
        }
    }

    /// All programs that there have been.
    pub fn all_programs(&self) -> impl Iterator<Item = &Program> {
        self.past.iter().chain(self.programs.values())
    }

    /// Whether every stream has ended.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.programs.values().all(|program| program.closed.is_some())
    }

    /// The `n`th program in its order of opening, counted around.
    pub fn program(&mut self, n: usize) -> Option<(StreamId, &mut Program)> {
        let count = self.programs.len().max(1);
        self.programs.iter_mut().nth(n % count).map(|(id, program)| (*id, program))
    }

    /// The streams, and the `n`th program.
    pub fn at(&mut self, n: usize) -> Option<(Streams<'_>, StreamId, &mut Program)> {
        let count = self.programs.len().max(1);
        let (id, program) = self.programs.iter_mut().nth(n % count)?;
        Some((self.stack.streams(), *id, program))
    }

    fn add(&mut self, id: StreamId, plan: Plan, from: Option<Addr>) {
        let key = (self.index as u32 + 1) << 24 | self.count;
        self.count += 1;
        let before = self.programs.insert(id, Program::new(key, plan, from));
        assert!(before.is_none(), "{id:?} twice");
    }
}

impl Station for Party {
    fn handle_packet(&mut self, now: Instant, from: usize, packet: &[u8]) {
        self.stack.handle_packet(now, from, packet);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.stack.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.stack.poll_timeout()
    }

    fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Receiver> {
        self.sent += 1;
        self.stack.poll_transmit(now, self.sent, buffer)
    }

    fn poll_report(&mut self) -> bool {
        let Some(event) = self.stack.streams().poll_event() else {
            return self.stack.poll_node_event();
        };
        if let Event::Accepted { stream, peer, .. } = event {
            self.add(stream, self.plan, Some(peer));
        }
        let (Event::Accepted { stream, .. }
        | Event::Connected { stream }
        | Event::Readable { stream }
        | Event::Writable { stream }
        | Event::PeerFinished { stream }
        | Event::Closed { stream, .. }) = event
        else {
            return true; // of no stream
        };
        let Some(program) = self.programs.get_mut(&stream) else {
            unreachable!("{event:?} of a stream that nobody opened");
        };
        program.note(event);
        true
    }

    fn act(&mut self, now: Instant) -> bool {
        let mut acted = false;
        for (id, program) in &mut self.programs {
            acted |= program.act(now, &mut self.stack.streams(), *id);
        }
        acted
    }

    fn act_at(&self) -> Option<Instant> {
        self.programs.values().filter_map(Program::act_at).min()
    }
}

//! Looks for services on the mesh (`spec/60` section 5).

use super::{Datagram, InterfaceId, Node, Service, ServicePattern, Transmit};
use crate::wire::mdp::Protection;
use crate::{Addr, Instant, Port, Rng, Sid};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

/// Events that may wait; with more, answers are not taken, and come again.
const MAX_EVENTS: usize = 64;
/// Nodes that are asked.
const MAX_NODES: usize = 1024;
/// Queries to each node, as long as it has not answered.
const ATTEMPTS: usize = 5;
/// Time from the first query to the second; each further one takes twice as long.
const FIRST_INTERVAL: Duration = Duration::from_millis(500);
/// How often it looks for nodes that are new.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// The first port that is for applications (`spec/60` section 1).
const FIRST_PORT: u32 = 257;

/// What to look for, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FindConfig {
    /// The services.
    pub pattern: ServicePattern,
    /// The end comes after this long, 100 ms to 1 hour.
    pub time: Duration,
}

/// What a [`Find`] has found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FindEvent {
    /// A node has such a service.
    Found {
        /// The node. It has sealed its answer, so it is nobody else.
        sid: Sid,
        /// The service. Its name is the node's choice: escape it before it is shown.
        service: Service,
        /// Time from the query to the answer.
        round_trip: Duration,
    },
    /// There is nothing more to wait for; the last event.
    Done,
}

/// Asks every node that can be reached, as soon as it can be, for services, and tells each answer as it comes.
/// It owns the [`Node`] through which it asks, and is driven like it.
///
/// Queries are encrypted to each node, and only encrypted answers count. Who answers is not asked again.
#[derive(Debug)]
pub struct Find {
    node: Node,
    config: FindConfig,
    query: Vec<u8>,
    /// The nth query comes from the nth port after this one, so that its answer is told from others.
    first_port: u32,
    asked: BTreeMap<Sid, Asked>,
    look_at: Instant,
    until: Instant,
    state: State,
    events: VecDeque<FindEvent>,
    now: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Looking,
    Done,
}

/// A node that was asked.
#[derive(Debug, Default)]
struct Asked {
    /// When the queries were sent.
    sent: Vec<Instant>,
    answered: bool,
}

impl Asked {
    /// When the next query is due.
    fn next(&self) -> Option<Instant> {
        let attempts = self.sent.len();
        let last = self.sent.last().filter(|_| !self.answered && attempts < ATTEMPTS)?;
        Some(*last + FIRST_INTERVAL * (1 << (attempts - 1)))
    }
}

impl Find {
    /// Looks through `node`, which does not find itself. Its ports follow from `seed`, 32 bytes that nobody can
    /// guess.
    #[must_use]
    pub fn new(config: FindConfig, node: Node, seed: [u8; 32], now: Instant) -> Self {
        let time = config.time.clamp(Duration::from_millis(100), Duration::from_secs(3600));
        let ports = u64::from(Port::MAX.get() - FIRST_PORT) - ATTEMPTS as u64;
        Self {
            node,
            query: config.pattern.query(),
            config,
            first_port: FIRST_PORT + Rng::new(seed).below(ports) as u32,
            asked: BTreeMap::new(),
            look_at: now,
            until: now + time,
            state: State::Looking,
            events: VecDeque::new(),
            now,
        }
    }

    /// The node through which it looks.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// Gives the node back, such as to connect to what was found.
    #[must_use]
    pub fn into_node(self) -> Node {
        self.node
    }

    /// Asks no more and takes no more answers: [`FindEvent::Done`] follows.
    pub fn stop(&mut self) {
        if self.state == State::Looking {
            self.state = State::Done;
            self.events.push_back(FindEvent::Done);
        }
    }

    /// A packet came in, see [`Node::handle_packet`].
    pub fn handle_packet(&mut self, now: Instant, interface: InterfaceId, from: SocketAddr, packet: &[u8]) {
        self.node.handle_packet(now, interface, from, packet);
        self.update(now);
    }

    /// Tells that time has passed. Early or repeated calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.node.handle_timeout(now);
        self.update(now);
    }

    /// The next packet to send, see [`Node::poll_transmit`].
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Transmit> {
        self.node.poll_transmit(now, buffer)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<FindEvent> {
        self.events.pop_front()
    }

    /// When to call [`Find::handle_timeout`] and then the other `poll_` methods.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.events.is_empty() {
            return Some(self.now);
        }
        let own = (self.state == State::Looking).then(|| self.until.min(self.look_at));
        self.node.poll_timeout().into_iter().chain(own).min().map(|at| at.max(self.now))
    }

    /// Does what is due.
    fn update(&mut self, now: Instant) {
        self.now = self.now.max(now);
        let mut look = self.look_at <= self.now;
        // A node that has just come up is asked without delay.
        while self.node.poll_event().is_some() {
            look = true;
        }
        while let Some(datagram) = self.node.poll_datagram() {
            self.handle_datagram(&datagram);
        }
        if self.state == State::Looking && self.until <= self.now {
            self.stop();
        }
        if self.state == State::Looking && look {
            self.look_at = self.now + LOOK_INTERVAL;
            self.ask();
        }
    }

    /// Asks everyone who is due. Where there is no room, it is tried again.
    fn ask(&mut self) {
        for sid in self.node.reachable() {
            let (now, count) = (self.now, self.asked.len());
            let asked = match self.asked.get(&sid) {
                Some(asked) if asked.next().is_none_or(|at| at > now) => continue,
                None if count >= MAX_NODES => continue,
                known => known.map_or(0, |asked| asked.sent.len()),
            };
            let Some(port) = Port::new(self.first_port + asked as u32) else { continue };
            let to = Addr::new(sid, Port::DISCOVERY);
            if self.node.send(now, port, to, Protection::Encrypted, &self.query).is_ok() {
                self.asked.entry(sid).or_default().sent.push(now);
            }
        }
    }

    /// Takes an answer to a query; anything else is ignored.
    fn handle_datagram(&mut self, datagram: &Datagram) {
        let Datagram { from, to, protection: Protection::Encrypted, payload, .. } = datagram else { return };
        if from.port != Port::DISCOVERY || self.state == State::Done {
            return;
        }
        let Some(asked) = self.asked.get_mut(&from.sid).filter(|asked| !asked.answered) else { return };
        let query = to.get().checked_sub(self.first_port).and_then(|index| asked.sent.get(index as usize));
        let Some(sent) = query else { return };
        let mut services = Service::parse_answer(payload);
        services.retain(|service| self.config.pattern.matches(&service.name));
        if self.events.len() + services.len() > MAX_EVENTS {
            return;
        }
        asked.answered = true;
        let (sid, round_trip) = (from.sid, self.now - *sent);
        let found = services.into_iter().map(|service| FindEvent::Found { sid, service, round_trip });
        self.events.extend(found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mdp::{Identity, NodeConfig};
    use bytes::Bytes;

    /// One that has asked another at 1 s and at 1.5 s, and what that one answers to the second query.
    fn asked() -> (Find, Datagram) {
        let identity = |number| Identity::from_seed([number; 32]);
        let node = Node::new(NodeConfig::default(), identity(1), [3; 32], Instant::ZERO);
        let config = FindConfig { pattern: "w*".parse().unwrap(), time: Duration::from_secs(3) };
        let mut find = Find::new(config, node, [4; 32], Instant::ZERO);
        let sid = identity(2).sid();
        let sent = Vec::from([1000, 1500].map(Instant::from_millis));
        find.asked.insert(sid, Asked { sent, answered: false });
        find.handle_timeout(Instant::from_millis(1600));
        let payload = Bytes::from_static(b"web.msp.port=80\nssh.msp.port=22\nwww.msp.port=81");
        let port = Port::new(find.first_port + 1).unwrap();
        let answer = Datagram::new(Addr::new(sid, Port::DISCOVERY), port, Protection::Encrypted, payload);
        (find, answer)
    }

    fn found(find: &mut Find) -> Vec<(&'static str, u64)> {
        core::iter::from_fn(|| find.poll_event())
            .map(|event| match event {
                FindEvent::Found { service, round_trip, .. } => {
                    let name = if service.name.as_str() == "web" { "web" } else { "another" };
                    (name, round_trip.as_millis() as u64)
                }
                FindEvent::Done => ("done", 0),
            })
            .collect()
    }

    #[test]
    fn an_answer_counts_once_for_what_was_asked_and_from_the_query_that_it_answers() {
        let (mut find, answer) = asked();
        find.handle_datagram(&answer);
        find.handle_datagram(&answer);
        assert_eq!(found(&mut find), [("web", 100), ("another", 100)]);

        let (mut find, answer) = asked();
        let to = Port::new(find.first_port).unwrap();
        find.handle_datagram(&Datagram { to, ..answer });
        assert_eq!(found(&mut find)[0], ("web", 600), "to the first query");
    }

    #[test]
    fn what_is_no_answer_of_who_was_asked_is_ignored() {
        let (mut find, answer) = asked();
        let (stranger, port) = (Sid::new([9; 32]), Port::from(12));
        let unasked = Port::new(find.first_port + 2).unwrap();
        let before = Port::new(find.first_port - 1).unwrap();
        let forgeries = [
            Datagram { from: Addr::new(stranger, Port::DISCOVERY), ..answer.clone() },
            Datagram { from: Addr::new(answer.from.sid, port), ..answer.clone() },
            Datagram { to: unasked, ..answer.clone() },
            Datagram { to: before, ..answer.clone() },
            Datagram { protection: Protection::Clear, ..answer.clone() },
            Datagram { protection: Protection::Signed, ..answer },
        ];
        for forgery in forgeries {
            find.handle_datagram(&forgery);
            assert_eq!(found(&mut find), [], "{forgery:?}");
        }
    }

    #[test]
    fn answers_that_nobody_takes_are_few_and_come_again() {
        let (mut find, answer) = asked();
        let (mut sids, sent) = ((10..100).map(|n| Sid::new([n; 32])), Vec::from([Instant::ZERO; 2]));
        find.asked.extend(sids.clone().map(|sid| (sid, Asked { sent: sent.clone(), answered: false })));
        for sid in sids.clone() {
            find.handle_datagram(&Datagram { from: Addr::new(sid, Port::DISCOVERY), ..answer.clone() });
        }
        assert_eq!(found(&mut find).len(), MAX_EVENTS);
        let last = Addr::new(sids.next_back().unwrap(), Port::DISCOVERY);
        find.handle_datagram(&Datagram { from: last, ..answer });
        assert_eq!(found(&mut find).len(), 2);
    }

    #[test]
    fn it_ends_in_time_and_once() {
        let (mut find, answer) = asked();
        find.handle_timeout(Instant::from_millis(3000));
        find.stop();
        find.handle_datagram(&answer);
        find.handle_timeout(Instant::from_millis(4000));
        assert_eq!(found(&mut find), [("done", 0)]);
    }

    #[test]
    fn queries_come_less_and_less_often_until_there_is_an_answer() {
        let mut asked = Asked::default();
        let mut times = Vec::new();
        let mut at = Some(Instant::from_millis(0));
        while let Some(time) = at.filter(|_| times.len() < 10) {
            times.push(time.as_micros() / 1000);
            asked.sent.push(time);
            at = asked.next();
        }
        assert_eq!(times, [0, 500, 1500, 3500, 7500]);
        asked.sent.truncate(1);
        asked.answered = true;
        assert_eq!(asked.next(), None);
    }
}

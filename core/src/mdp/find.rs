//! Looks for services on the mesh (`spec/60` section 5).

use super::{Datagram, Service, ServicePattern, Uplink};
use crate::wire::mdp::Protection;
use crate::{Addr, Instant, Port, Rng, Sid};
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

/// Events that may wait; with more, answers are not taken, and come again.
const MAX_EVENTS: usize = 64;
/// Nodes that are asked.
const MAX_NODES: usize = 1024;
/// Services that are told of one node.
const MAX_TOLD: usize = 8;
/// Queries to each node, as long as it has not answered.
const ATTEMPTS: usize = 5;
/// Time from the first query to the second; each further one takes twice as long.
const FIRST_INTERVAL: Duration = Duration::from_millis(500);
/// How often it looks for nodes that are new.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How much longer than the first answer the nearest is looked for: who has lost a query or two is asked again within
/// this time.
const COMPARE_TIME: Duration = Duration::from_secs(2);

/// What to look for, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FindConfig {
    /// The services.
    pub pattern: ServicePattern,
    /// The end comes after this long, 100 ms to 1 hour; 10 s by default.
    pub time: Duration,
    /// Which of those that have one are told; all by default.
    pub wanted: Wanted,
}

impl FindConfig {
    /// Looks for all services of this kind for 10 s.
    #[must_use]
    pub const fn new(pattern: ServicePattern) -> Self {
        Self { pattern, time: Duration::from_secs(10), wanted: Wanted::All }
    }
}

/// Which of those who have a service a [`Find`] tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wanted {
    /// All, each as it answers.
    #[default]
    All,
    /// The one that answers first, which is the end.
    First,
    /// The one with the shortest round trip, of two that have the same the first. It is told two seconds after the
    /// first answer, or when the time is over. Nobody knows how many hops away an answer comes from: the last hop
    /// of a datagram does not say (`spec/20` section 6).
    Nearest,
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
///
/// Whoever drives the [`Uplink`] calls [`Find::update`] when a packet has come in or [`Find::poll_timeout`] has
/// come, and then takes the events and what the uplink has to send.
///
/// Queries are encrypted to each node, and only encrypted answers count. Who answers is not asked again. A daemon
/// does not say whom it can reach: there a broadcast comes first, and those who answer it are asked.
#[derive(Debug)]
pub struct Find {
    config: FindConfig,
    query: Vec<u8>,
    /// The nth query comes from the nth port after this one, so that its answer is told from others.
    first_port: u32,
    asked: BTreeMap<Sid, Box<Asked>>,
    /// Through a daemon: when everyone was asked who has such a service.
    called: Asked,
    /// Who said so, in order, which is no answer yet: anyone can say it in any name.
    heard: Vec<Sid>,
    look_at: Instant,
    until: Instant,
    state: State,
    /// With [`Wanted::Nearest`]: the best so far.
    nearest: Option<(Duration, FindEvent)>,
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
    /// What it has answered. Several programs may share a node, and each answers by itself.
    told: Vec<Service>,
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
    /// Looks for what `config` says. A node does not find itself; a daemon does. The ports used follow from `seed`,
    /// 32 bytes that nobody can guess.
    #[must_use]
    pub fn new(config: FindConfig, seed: [u8; 32], now: Instant) -> Self {
        let time = config.time.clamp(Duration::from_millis(100), Duration::from_secs(3600));
        Self {
            query: config.pattern.query(),
            config,
            first_port: Port::random(&mut Rng::new(seed), ATTEMPTS as u32).get(),
            asked: BTreeMap::new(),
            called: Asked::default(),
            heard: Vec::new(),
            look_at: now,
            until: now + time,
            state: State::Looking,
            nearest: None,
            events: VecDeque::new(),
            now,
        }
    }

    /// Asks no more and takes no more answers: [`FindEvent::Done`] follows.
    pub fn stop(&mut self) {
        if self.state == State::Looking {
            self.state = State::Done;
            self.events.extend(self.nearest.take().map(|(_, found)| found));
            self.events.push_back(FindEvent::Done);
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<FindEvent> {
        self.events.pop_front()
    }

    /// When to call [`Find::update`] and then take the events, besides whenever the uplink asks for it.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.events.is_empty() {
            return Some(self.now);
        }
        let own = (self.state == State::Looking).then(|| self.until.min(self.look_at));
        own.map(|at| at.max(self.now))
    }

    /// Takes what has come in, and does what is due. Early or repeated calls do nothing.
    pub fn update(&mut self, now: Instant, uplink: &mut Uplink) {
        self.now = self.now.max(now);
        let mut look = self.look_at <= self.now;
        // A node that has just come up is asked without delay.
        while uplink.poll_event().is_some() {
            look = true;
        }
        while let Some(datagram) = uplink.poll_datagram() {
            self.handle_datagram(&datagram);
            look |= self.heard.binary_search(&datagram.from.sid).is_ok()
                && !self.asked.contains_key(&datagram.from.sid);
        }
        if self.state == State::Looking && self.until <= self.now {
            self.stop();
        }
        if self.state == State::Looking && look {
            self.look_at = self.now + LOOK_INTERVAL;
            self.ask(uplink);
        }
        if self.state == State::Done {
            self.ports().for_each(|port| uplink.release(now, port));
        }
    }

    /// Asks everyone who is due. Where there is no room, it is tried again.
    fn ask(&mut self, uplink: &mut Uplink) {
        let now = self.now;
        let nodes = match uplink {
            Uplink::Node(node) => node.reachable(),
            Uplink::Daemon(_) => {
                // A port that cannot be had is one query less.
                for port in self.ports() {
                    let _ = uplink.bind(now, port);
                }
                self.call(uplink);
                self.heard.clone()
            }
        };
        for sid in nodes {
            let count = self.asked.len();
            let asked = match self.asked.get(&sid) {
                Some(asked) if asked.next().is_none_or(|at| at > now) => continue,
                None if count >= MAX_NODES => continue,
                known => known.map_or(0, |asked| asked.sent.len()),
            };
            let Some(port) = self.ports().nth(asked) else { continue };
            let to = Addr::new(sid, Port::DISCOVERY);
            if uplink.send(now, port, to, Protection::Encrypted, &self.query).is_ok() {
                self.asked.entry(sid).or_default().sent.push(now);
            }
        }
    }

    /// Asks who has such a service, if that is due.
    fn call(&mut self, uplink: &mut Uplink) {
        let calls = self.called.sent.len();
        if calls > 0 && self.called.next().is_none_or(|at| at > self.now) {
            return;
        }
        let Some(port) = self.ports().nth(calls) else { return };
        let to = Addr::new(Sid::BROADCAST, Port::DISCOVERY);
        if uplink.send(self.now, port, to, Protection::Signed, &self.query).is_ok() {
            self.called.sent.push(self.now);
        }
    }

    /// The ports from which it asks, in order.
    fn ports(&self) -> impl Iterator<Item = Port> + use<> {
        (self.first_port..).map_while(Port::new).take(ATTEMPTS)
    }

    /// Takes an answer to a query, or to a call; anything else is ignored.
    fn handle_datagram(&mut self, datagram: &Datagram) {
        let Datagram { from, to, protection, payload, .. } = datagram;
        if from.port != Port::DISCOVERY || self.state == State::Done {
            return;
        }
        if *protection != Protection::Encrypted {
            if self.heard.len() < MAX_NODES
                && !self.called.sent.is_empty()
                && let Err(place) = self.heard.binary_search(&from.sid)
            {
                self.heard.insert(place, from.sid);
            }
            return;
        }
        let Some(asked) = self.asked.get_mut(&from.sid) else { return };
        let query = to.get().checked_sub(self.first_port).and_then(|index| asked.sent.get(index as usize));
        let Some(sent) = query else { return };
        let mut services = Service::parse_answer(payload);
        services.retain(|it| self.config.pattern.matches(&it.name) && !asked.told.contains(it));
        services.truncate(MAX_TOLD.saturating_sub(asked.told.len()));
        if self.events.len() + services.len() > MAX_EVENTS {
            return;
        }
        asked.answered = true;
        asked.told.extend_from_slice(&services);
        let (sid, round_trip) = (from.sid, self.now - *sent);
        let mut found = services.into_iter().map(|service| FindEvent::Found { sid, service, round_trip });
        match (self.config.wanted, &self.nearest) {
            (Wanted::All, _) => self.events.extend(found),
            (Wanted::First, _) => {
                if let Some(found) = found.next() {
                    self.events.push_back(found);
                    self.stop();
                }
            }
            (Wanted::Nearest, Some((best, _))) if *best <= round_trip => {}
            (Wanted::Nearest, before) => {
                if let Some(found) = found.next() {
                    if before.is_none() {
                        self.until = self.until.min(self.now + COMPARE_TIME);
                    }
                    self.nearest = Some((round_trip, found));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mdp::{Identity, Node, NodeConfig};
    use bytes::Bytes;

    /// The way onto the mesh of a node without neighbours.
    fn alone() -> Uplink {
        let identity = Identity::from_seed([1; 32]);
        Node::new(NodeConfig::default(), identity, [3; 32], Instant::ZERO).into()
    }

    /// One that has asked another at 1 s and at 1.5 s, and what that one answers to the second query.
    fn asked() -> (Find, Datagram) {
        asked_for(Wanted::All)
    }

    fn asked_for(wanted: Wanted) -> (Find, Datagram) {
        let config = FindConfig { pattern: "w*".parse().unwrap(), time: Duration::from_secs(3), wanted };
        let mut find = Find::new(config, [4; 32], Instant::ZERO);
        let sid = Identity::from_seed([2; 32]).sid();
        let sent = Vec::from([1000, 1500].map(Instant::from_millis));
        find.asked.insert(sid, Box::new(Asked { sent, answered: false, told: Vec::new() }));
        find.update(Instant::from_millis(1600), &mut alone());
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
    fn programs_that_share_a_node_answer_one_by_one() {
        let (mut find, answer) = asked();
        find.handle_datagram(&answer);
        assert_eq!(found(&mut find).len(), 2);
        let payload = Bytes::from_static(b"web.msp.port=80\nweb.msp.port=82");
        find.handle_datagram(&Datagram { payload, ..answer.clone() });
        assert_eq!(found(&mut find), [("web", 100)], "the other is known");
        for n in 0..20 {
            let payload = Bytes::from(alloc::format!("w.msp.port={}", 100 + n));
            find.handle_datagram(&Datagram { payload, ..answer.clone() });
        }
        assert_eq!(found(&mut find).len(), MAX_TOLD - 3, "it could go on for ever");
    }

    #[test]
    fn the_first_answer_is_the_end_for_who_wants_no_more() {
        let (mut find, answer) = asked_for(Wanted::First);
        find.handle_datagram(&answer);
        assert_eq!(found(&mut find), [("web", 100), ("done", 0)]);
        assert_eq!(find.poll_timeout(), None);
    }

    #[test]
    fn the_nearest_is_told_when_others_have_had_time_to_answer() {
        let (mut find, answer) = asked_for(Wanted::Nearest);
        find.until = Instant::from_millis(9000);
        let nearer = Addr::new(Sid::new([9; 32]), Port::DISCOVERY);
        let sent = Vec::from([1000, 1550].map(Instant::from_millis));
        find.asked.insert(nearer.sid, Box::new(Asked { sent, answered: false, told: Vec::new() }));
        find.handle_datagram(&answer);
        assert_eq!(found(&mut find), []);
        find.update(Instant::from_millis(1640), &mut alone());
        find.handle_datagram(&Datagram { from: nearer, ..answer });
        find.update(Instant::from_millis(3599), &mut alone());
        assert_eq!(found(&mut find), []);
        find.update(Instant::from_millis(3600), &mut alone());
        assert_eq!(found(&mut find), [("web", 90), ("done", 0)]);
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
        let asked = || Box::new(Asked { sent: sent.clone(), answered: false, told: Vec::new() });
        find.asked.extend(sids.clone().map(|sid| (sid, asked())));
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
        find.update(Instant::from_millis(3000), &mut alone());
        find.stop();
        find.handle_datagram(&answer);
        find.update(Instant::from_millis(4000), &mut alone());
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

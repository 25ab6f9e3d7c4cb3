//! A network and what happens on it, in one line.

mod random;

use super::Link;
use super::network::Network;
use super::party::Party;
use super::program::{Plan, Reader};
use super::stack::Kind;
use super::world::{Weather, check, conclude};
use crate::Instant;
use crate::msp::Config;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

/// Makes a link what it is to be.
type Shape = Box<dyn Fn(Link) -> Link>;

/// Parties, the links between them, and what they send each other.
///
/// ```
/// # use msp_core::testing::{Kind::{Ours, Reference}, Scenario};
/// # use core::time::Duration;
/// # const fn ms(millis: u64) -> Duration { Duration::from_millis(millis) }
/// let report = Scenario::of(Ours, Reference).over(|link| link.delay(ms(20)).loss(10)).send(50).run(1);
/// assert!(report.packets >= 50);
/// ```
pub struct Scenario {
    kinds: Vec<Kind>,
    has_nodes: bool,
    config: Config,
    /// The links towards parties with a larger index, and the links back.
    shapes: [Shape; 2],
    streams: usize,
    /// What initiators and acceptors do.
    plans: [Plan; 2],
    weather: Weather,
    /// For how long the weather stays as it is.
    duration: Duration,
    restarts: Vec<Restart>,
    /// What random scenarios were made of.
    description: String,
}

/// A party is started anew.
#[derive(Debug, Clone, Copy)]
struct Restart {
    after: Duration,
    party: usize,
    keeps_identity: bool,
}

/// What a scenario came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Packets that all parties have sent until the last stream had ended.
    pub packets: u64,
    /// Those of them that did not arrive.
    pub dropped: u64,
    /// Messages that have arrived.
    pub messages: u64,
    /// Segments that were copied before anything could tell whether they had arrived.
    pub copies: u64,
    /// Time until the last stream had ended.
    pub time: Duration,
    /// A sum over everything that was sent.
    pub transcript: u64,
}

impl Scenario {
    /// Two parties of these kinds, over perfect links. The first opens a stream to the second.
    #[must_use]
    pub fn of(a: Kind, b: Kind) -> Self {
        Self::among(&[a, b])
    }

    /// Parties of these kinds, each linked to each other one. All open streams to their neighbours in turn.
    #[must_use]
    pub fn among(kinds: &[Kind]) -> Self {
        Self {
            kinds: kinds.to_vec(),
            has_nodes: false,
            config: Config::default(),
            shapes: [Box::new(|link| link), Box::new(|link| link)],
            streams: 1,
            plans: [Plan::sending(0), Plan::sending(0)],
            weather: Weather::Calm,
            duration: Duration::from_secs(600),
            restarts: Vec::new(),
            description: String::new(),
        }
    }

    /// All links are like this.
    #[must_use]
    pub fn over(mut self, shape: impl Fn(Link) -> Link + Copy + 'static) -> Self {
        self.shapes = [Box::new(shape), Box::new(shape)];
        self
    }

    /// The links from the second to the first party are like this.
    #[must_use]
    pub fn back(mut self, shape: impl Fn(Link) -> Link + 'static) -> Self {
        self.shapes[1] = Box::new(shape);
        self
    }

    /// Every party is a node, with encryption and repair of the hop.
    #[must_use]
    pub fn with_nodes(mut self) -> Self {
        self.has_nodes = true;
        self
    }

    /// All endpoints of ours have this configuration.
    #[must_use]
    pub fn with_config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Every party opens so many streams to each of its neighbours.
    #[must_use]
    pub fn streams(mut self, streams: usize) -> Self {
        self.streams = streams;
        self
    }

    /// So many messages go from the initiator of each stream to its acceptor.
    #[must_use]
    pub fn send(mut self, messages: u32) -> Self {
        self.plans[0].messages = messages;
        self
    }

    /// So many messages go from the acceptor of each stream to its initiator.
    #[must_use]
    pub fn answer(mut self, messages: u32) -> Self {
        self.plans[1].messages = messages;
        self
    }

    /// No message is longer than this, in bytes.
    #[must_use]
    pub fn longest(mut self, bytes: u16) -> Self {
        self.plans.iter_mut().for_each(|plan| plan.longest = bytes);
        self
    }

    /// When acceptors read.
    #[must_use]
    pub fn reader(mut self, reader: Reader) -> Self {
        self.plans[1].reader = reader;
        self
    }

    /// The network is so bad that streams may fail, but heals after this time.
    #[must_use]
    pub fn rough_for(mut self, duration: Duration) -> Self {
        (self.weather, self.duration) = (self.weather.max(Weather::Rough), duration);
        self
    }

    /// A party is started anew, with its identity or with another one.
    #[must_use]
    pub fn restart(mut self, party: usize, after: Duration, keeps_identity: bool) -> Self {
        self.weather = Weather::Restarts;
        self.restarts.push(Restart { after, party, keeps_identity });
        self
    }

    /// Runs it, and checks that everything holds that must.
    ///
    /// # Panics
    ///
    /// When it does not; the seed is printed then.
    #[allow(clippy::must_use_candidate, reason = "it has checked what matters")]
    pub fn run(&self, seed: u64) -> Report {
        let _guard = PrintOnPanic(format!("MSP_TEST_SEED={seed} {self:?}"));
        let mut network = self.network(seed);
        let good = network.links().all(|link| link.is_good());
        let start = network.now;
        let mut restarts = self.restarts.clone();
        restarts.sort_by_key(|restart| restart.after);
        for restart in restarts {
            network.run((start + restart.after) - network.now);
            let now = network.now;
            network.stations[restart.party].restart(now, restart.keeps_identity);
        }
        network.run_until((start + self.duration) - network.now, |network| {
            network.stations.iter().all(|party| party.is_done() && !party.programs.is_empty())
        });
        check(&network, self.weather);
        conclude(&mut network, self.weather);
        let report = report(&mut network, start);
        // What is not read or finds no room is sent again, by the reference all the time.
        let eager = self.plans.iter().all(|plan| plan.reader == Reader::Eager);
        let fits = self.config.receive_window >= self.config.send_window.max(6);
        if good && eager && fits && report.dropped == 0 && self.restarts.is_empty() {
            self.check_effort(&report);
        }
        report
    }

    /// On a good network, no more packets are sent than messages and copies of the first of them, their
    /// acknowledgments, and keep-alives.
    fn check_effort(&self, report: &Report) {
        let ways = (self.kinds.len() * (self.kinds.len() - 1)) as u64;
        let pairs = ways * self.streams as u64;
        // Until the fates of 16 segments show that nothing gets lost, each that is sent may be copied eight times, if
        // its stream has four at most on their way.
        let most_copies = 8 * (ways * 16 + pairs * 4);
        assert!(report.copies <= most_copies, "{report:?}, at most {most_copies} copies");
        let mut most = 2 * (report.messages + report.copies);
        most += pairs * (16 + 2 * report.time.as_millis() as u64 / 1500);
        if self.has_nodes {
            // Announcements, and acknowledgments of the hop.
            most = 2 * most + pairs * 2 * (20 + report.time.as_millis() as u64 / 250);
        }
        assert!(report.packets <= most, "{report:?}, at most {most} packets");
    }

    fn network(&self, seed: u64) -> Network<Party> {
        let mut network = Network::new(seed);
        for (index, kind) in self.kinds.iter().enumerate() {
            let config = self.config.clone();
            network.place(Party::new(index, *kind, self.has_nodes, config, self.plans[1], network.now));
        }
        let count = self.kinds.len();
        let pairs: Vec<(usize, usize)> = (0..count).flat_map(|b| (0..b).map(move |a| (a, b))).collect();
        for (a, b) in &pairs {
            network.join_one_way(*a, *b, &self.shapes[0]);
            network.join_one_way(*b, *a, &self.shapes[1]);
        }
        let mut opened = Vec::new();
        for (a, b) in pairs {
            opened.push((a, b));
            if count > 2 {
                opened.push((b, a));
            }
        }
        for (from, to) in opened {
            let (remote, now) = (network.stations[to].sid(), network.now);
            for _ in 0..self.streams {
                network.stations[from].open(now, remote, self.plans[0]);
            }
        }
        network
    }
}

fn report(network: &mut Network<Party>, start: Instant) -> Report {
    let mut report = Report {
        packets: 0,
        dropped: 0,
        messages: 0,
        copies: 0,
        time: network.now - start,
        transcript: network.transcript,
    };
    for (packets, dropped) in network.links().map(|link| link.counts()) {
        report.packets += packets;
        report.dropped += dropped;
    }
    for program in network.stations.iter().flat_map(Party::all_programs) {
        report.messages += program.received.len() as u64;
        report.copies += program.copies;
    }
    report
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.kinds)?;
        f.write_str(if self.has_nodes { " with nodes" } else { " bare" })?;
        write!(f, ", {} streams, {:?}, {:?}", self.streams, self.plans, self.weather)?;
        write!(f, " for {:?}, {:?}; {}", self.duration, self.restarts, self.description)
    }
}

/// Says what ran when something fails.
struct PrintOnPanic(String);

impl Drop for PrintOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::eprintln!("{}", self.0);
        }
    }
}

//! Two terminals with a link or several between them, and what is measured there.

use super::case::{Case, OVERHEAD};
use super::cubic::Cubic;
use super::talk::Role;
use super::terminal::Terminal;
use crate::msp::carriage::LARGE_MESSAGE;
use crate::msp::{MAX_MESSAGE, StreamId};
use crate::testing::Topology;
use crate::testing::link::Traffic;
use crate::testing::network::Network;
use crate::testing::stack::Kind;
use crate::{Instant, Rng};
use alloc::vec::Vec;
use core::time::Duration;

/// After this, what is still missing never comes.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Within this, nodes come to know each other.
const MEETING: Duration = Duration::from_secs(60);

/// Terminals. Streams go from the first to one of them; the others relay.
#[derive(Debug)]
pub struct Trial {
    /// All of them, and the links.
    pub network: Network<Terminal>,
    /// When it began.
    pub start: Instant,
    last: usize,
    case: Case,
    rng: Rng,
}

/// What came of a bulk transfer.
#[derive(Debug, Clone)]
pub struct Bulk {
    /// Bytes of messages that each stream has delivered, and those of them in the second half of the time.
    pub received: Vec<u64>,
    /// See `received`.
    pub late: u64,
    /// Bytes of messages that could have been delivered in the time, at this loss and with the headers of the most
    /// frequent packet.
    pub limit: f64,
    /// Bytes of a packet with one message of full size, those of the layers below included.
    pub packet: u64,
    /// See [`Bulk::wire_bytes`]: the least that the loss allows, when every byte is sent until it has arrived, and
    /// never again.
    pub least_wire_bytes: f64,
    /// What went there, and what went back.
    pub there: Traffic,
    /// See `there`.
    pub back: Traffic,
    /// What went there that is not of our streams.
    pub cross: u64,
}

impl Bulk {
    /// The part of what could have been delivered that was.
    #[must_use]
    pub fn goodput(&self) -> f64 {
        self.delivered() / self.limit
    }

    /// The same of the second half.
    #[must_use]
    pub fn late_goodput(&self) -> f64 {
        2.0 * self.late as f64 / self.limit
    }

    /// Bytes that went into the link for each byte that was delivered.
    #[must_use]
    pub fn wire_bytes(&self) -> f64 {
        self.there.bytes as f64 / self.delivered()
    }

    /// Bytes that went back for each byte that was delivered.
    #[must_use]
    pub fn bytes_back(&self) -> f64 {
        self.back.bytes as f64 / self.delivered()
    }

    /// The mean wait in the queue.
    #[must_use]
    pub fn queue(&self) -> Duration {
        let accepted = self.there.packets - self.there.overflowed;
        self.there.waited / u32::try_from(accepted).unwrap_or(u32::MAX).max(1)
    }

    /// Bytes of messages that were delivered.
    #[must_use]
    pub fn delivered(&self) -> f64 {
        self.received.iter().sum::<u64>() as f64
    }
}

impl Trial {
    /// Nodes that know each other, and streams of this kind.
    #[must_use]
    pub fn new(case: Case, kind: Kind, seed: u64) -> Self {
        Self::among(&Topology::line(1), 1, case, kind, seed)
    }

    /// The same with such links among them. Streams go to node `last`.
    ///
    /// # Panics
    ///
    /// If they do not come to know each other.
    #[must_use]
    pub fn among(topology: &Topology, last: usize, case: Case, kind: Kind, seed: u64) -> Self {
        let mut trial = Self::of_strangers(topology, last, case, kind, seed);
        topology.join(&mut trial.network, |link| link.delay(case.round_trip() / 2));
        trial.network.run(Duration::from_secs(2));
        let sid = trial.last().sid();
        let met = trial.network.run_until(MEETING, |network| network.stations[0].hears(&sid));
        assert!(met, "they have not met");
        trial.start = trial.network.now;
        topology.join(&mut trial.network, |link| case.shape(link, trial.start));
        trial
    }

    /// Nodes that have just been started.
    #[must_use]
    pub fn of_strangers(topology: &Topology, last: usize, case: Case, kind: Kind, seed: u64) -> Self {
        let mut rng = crate::testing::rng(seed);
        let mut network = Network::new(rng.below(u64::MAX));
        for index in 0..topology.size {
            let peers = topology.neighbours(index).filter(|other| *other > index);
            network.place(Terminal::new(peers, kind, &mut rng, network.now));
        }
        let start = network.now;
        topology.join(&mut network, |link| case.shape(link, start));
        Self { network, start, last, case, rng }
    }

    /// Where streams go.
    #[must_use]
    pub fn last(&self) -> &Terminal {
        &self.network.stations[self.last]
    }

    /// A program at the first terminal opens a stream to the last.
    pub fn open(&mut self, role: Role) -> StreamId {
        let (now, remote) = (self.network.now, self.last().sid());
        self.network.stations[0].open(now, remote, role)
    }

    /// Endless bulk transfers over this many streams that start at the same time, for `length`.
    #[must_use]
    pub fn bulk(mut self, streams: usize, length: Duration) -> Bulk {
        for _ in 0..streams {
            self.open(Role::ENDLESS);
        }
        self.network.run(length / 2);
        let early: u64 = self.received();
        self.network.run(length / 2);
        let received: Vec<u64> = self.last().received().map(|(bytes, _)| bytes).collect();
        Bulk {
            late: received.iter().sum::<u64>() - early,
            received,
            limit: self.limit() * length.as_secs_f64(),
            packet: self.packet(),
            least_wire_bytes: self.case.rate as f64 / 8.0 / self.limit(),
            there: self.network.link(0, 1).traffic(),
            back: self.network.link(1, 0).traffic(),
            cross: self.network.stations[0].cross.as_ref().map_or(0, |cross| cross.delivered),
        }
    }

    /// The same with a flow of another kind that starts within so long, sometime.
    #[must_use]
    pub fn beside_cubic(mut self, within: Duration, length: Duration) -> Bulk {
        let wait = Duration::from_micros(self.rng.below(within.as_micros() as u64));
        self.network.stations[0].cross = Some(Cubic::new(self.network.now + wait));
        self.bulk(1, length)
    }

    /// How long a transfer of this many bytes takes, from opening its stream to the last byte.
    #[must_use]
    pub fn finish(&mut self, bytes: u64) -> Duration {
        self.open(Role::Bulk { left: bytes });
        let last = self.last;
        self.network.run_until(PATIENCE, |network| network.stations[last].received().any(|it| it.0 == bytes));
        let latest = self.last().received().map(|(_, latest)| latest).next();
        latest.map_or(PATIENCE, |latest| latest - self.start)
    }

    /// How long the answers to small messages take on one stream, one after the other with pauses between the two
    /// times.
    #[must_use]
    pub fn round_trips(&mut self, count: usize, pauses: [Duration; 2]) -> Vec<Duration> {
        // One more for the question that opens the stream.
        let pauses = (0..count).map(|_| self.pause(pauses)).collect();
        self.ask(pauses).split_off(1)
    }

    /// How long it takes from opening a stream until the first answer, again and again.
    #[must_use]
    pub fn first_answers(&mut self, count: usize, pauses: [Duration; 2]) -> Vec<Duration> {
        let one = |_| {
            let pause = self.pause(pauses);
            let times = self.ask(Vec::new());
            self.network.run(pause);
            self.network.stations.iter_mut().for_each(|it| it.talks.retain(|_, talk| talk.closed.is_none()));
            times
        };
        (0..count).flat_map(one).collect()
    }

    /// What the last terminal has received.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.last().received().map(|(bytes, _)| bytes).sum()
    }

    /// Bytes of messages that can be delivered in a second, at this loss and with the headers of the packets that
    /// were sent most often.
    #[must_use]
    pub fn limit(&self) -> f64 {
        // No packet with a short message is as long as one with a large one.
        let is_large = self.network.stations[0].usual_length() > LARGE_MESSAGE as u64;
        let message = if is_large { LARGE_MESSAGE } else { MAX_MESSAGE };
        self.case.passing() as f64 * message as f64 / self.packet() as f64
    }

    fn packet(&self) -> u64 {
        self.network.stations[0].usual_length() + OVERHEAD
    }

    fn ask(&mut self, pauses: Vec<Duration>) -> Vec<Duration> {
        let count = pauses.len() + 1;
        let id = self.open(Role::asking(self.network.now, pauses));
        let mut times = Vec::new();
        self.network.run_until(PATIENCE, |network| {
            let Some(talk) = network.stations[0].talks.get(&id) else { return true };
            let done = talk.closed.is_some()
                || matches!(&talk.role, Role::Ask { times, .. } if times.len() == count);
            if let (true, Role::Ask { times: taken, .. }) = (done, &talk.role) {
                times.clone_from(taken);
            }
            done
        });
        times.resize(count, PATIENCE); // what was not answered
        times
    }

    fn pause(&mut self, [least, most]: [Duration; 2]) -> Duration {
        least + Duration::from_micros(self.rng.below((most - least).as_micros() as u64 + 1))
    }
}

#[cfg(test)]
#[path = "measure_tests.rs"]
mod tests;

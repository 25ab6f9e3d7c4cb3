//! Anything that users, the network and time do, in any order.

use super::Link;
use super::fuzz::Input;
use super::network::{Network, Receiver, Station};
use super::party::Party;
use super::program::{Plan, Reader};
use super::stack::Kind;
use super::world::{Weather, check, conclude};
use crate::Instant;
use crate::msp::Config;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

/// Streams that one sequence of operations may open.
const MAX_STREAMS: usize = 12;
/// When the network has not been good for so long, a stream may fail of silence.
const MAX_BAD: Duration = Duration::from_secs(7);
/// A good network is one that has been good for this long: both ends have sent something.
const GOOD: Duration = Duration::from_secs(2);
/// For ten seconds after its end a stream is not opened again, and networks begin ten seconds after the origin.
const EARLIEST_LATE: Instant = Instant::from_millis(20_000);
/// Packets that someone on the way keeps, to send them again.
const MAX_RECORDED: usize = 256;

/// One thing that happens. Each is legal at any time, so that every part of a sequence is a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Op {
    Open { side: usize },
    Send { side: usize, stream: usize, length: u16 },
    Receive { side: usize, stream: usize, count: u8 },
    Finish { side: usize, stream: usize },
    Reset { side: usize, stream: usize },
    Advance { millis: u16 },
    Next,
    Loss { side: usize, percent: u8 },
    Blackout { side: usize, on: bool },
    Earlier { side: usize, millis: u16 },
    Again { packet: u8 },
    Damaged { packet: u8, place: u8, mask: u8 },
    Garbage { side: usize, length: u8, byte: u8 },
    Restart { side: usize, keeps_identity: bool },
}

impl Op {
    /// The next operation of `input`.
    pub(super) fn read(input: &mut Input<'_>) -> Option<Self> {
        let code = input.u8()?;
        let (side, stream) = (usize::from(code >> 4 & 1), usize::from(code >> 5));
        Some(match code & 0x0f {
            0 => Self::Open { side },
            1..=4 => Self::Send { side, stream, length: input.u16()? % 1100 },
            5 | 6 => Self::Receive { side, stream, count: input.u8()? },
            7 => Self::Finish { side, stream },
            8 | 9 => Self::Advance { millis: u16::from(input.u8()?) << stream },
            10 => Self::Next,
            11 => Self::Loss { side, percent: input.u8()? % 101 },
            12 => Self::Blackout { side, on: stream & 1 != 0 },
            13 => Self::Earlier { side, millis: input.u16()? },
            14 => match input.u8()? % 4 {
                0 | 1 => Self::Again { packet: input.u8()? },
                2 => Self::Damaged { packet: input.u8()?, place: input.u8()?, mask: input.u8()? },
                _ => Self::Garbage { side, length: input.u8()?, byte: input.u8()? },
            },
            _ => match input.u8()? % 8 {
                0 => Self::Restart { side, keeps_identity: stream & 1 != 0 },
                1 | 2 => Self::Reset { side, stream },
                _ => Self::Next,
            },
        })
    }
}

/// Two parties and what is done to them.
#[derive(Debug)]
struct World {
    network: Network<Party>,
    opened: usize,
    weather: Weather,
    /// Whether each link loses packets.
    bad: [bool; 2],
    /// When that last changed, and when the network was last known to be good.
    changed: Instant,
    last_good: Instant,
}

/// Two parties of ours, and whatever `input` does to them and to the network between them: nothing is
/// delivered that was not sent, in order, once; every stream ends, and if all is lost both ends know.
///
/// # Panics
///
/// When it is not so.
pub fn pair(input: &[u8]) {
    let mut input = Input(input);
    let Some(mut world) = World::read(&mut input, [Kind::Ours, Kind::Ours]) else { return };
    while let Some(op) = Op::read(&mut input) {
        world.apply(op);
        check(&world.network, world.weather);
    }
    conclude(&mut world.network, world.weather);
}

/// One stream between two ends of ours, one of ours and one of the reference, and the other way round, under the
/// same operations: unless the network is so bad that it fails, they deliver the same.
///
/// # Panics
///
/// When it is not so.
pub fn differential(input: &[u8]) {
    let kinds = [[Kind::Ours, Kind::Ours], [Kind::Ours, Kind::Reference], [Kind::Reference, Kind::Ours]];
    let delivered = kinds.map(|kinds| deliver(Input(input), kinds));
    let mut known = delivered.into_iter().flatten();
    if let Some(first) = known.next() {
        assert!(known.all(|other| other == first), "different messages");
    }
}

/// What each end of a stream receives. `None` if the stream may fail.
fn deliver(mut input: Input<'_>, kinds: [Kind; 2]) -> Option<[Vec<Bytes>; 2]> {
    let mut world = World::read(&mut input, kinds)?;
    world.apply(Op::Open { side: 0 });
    world.patient(0, 1, false);
    world.network.run(GOOD);
    while let Some(op) = Op::read(&mut input) {
        match op {
            Op::Send { side, length, .. } => world.patient(side, u32::from(length % 8), false),
            Op::Finish { side, .. } => world.patient(side, 0, true),
            Op::Receive { .. } | Op::Advance { .. } | Op::Next | Op::Loss { .. } | Op::Blackout { .. } => {
                world.apply(op);
            }
            _ => {}
        }
    }
    conclude(&mut world.network, world.weather);
    let [a, b] = &*world.network.stations else { return None };
    let received = [a, b].map(|party| party.all_programs().next().map(|it| it.received.clone()));
    let [Some(a), Some(b)] = received else { return None };
    (world.weather == Weather::Calm).then_some([a, b])
}

impl World {
    /// Two parties of these kinds, and a network, as the input has them.
    fn read(input: &mut Input<'_>, kinds: [Kind; 2]) -> Option<Self> {
        let shape = input.u8()?;
        let config = Config {
            send_window: [1, 2, 8, 256][usize::from(shape & 3)],
            receive_window: [1, 4, 32, 512][usize::from(shape >> 2 & 3)],
            extended: shape >> 6 & 1 == 0,
            ..Config::default()
        };
        let has_nodes = shape >> 4 & 3 == 0;
        let [delay, jitter] = [input.u8()?, input.u8()?].map(|millis| Duration::from_millis(millis.into()));
        let mut network = Network::new(1);
        // Programs read when the operations say so.
        let plan = Plan { reader: Reader::Stopped, ..Plan::IDLE };
        for (index, kind) in kinds.into_iter().enumerate() {
            network.place(Party::new(index, kind, has_nodes, config.clone(), plan, network.now));
        }
        network.join(0, 1, |link| link.delay(delay).jitter(jitter).duplicate(3));
        network.recorded = Some(Vec::new());
        let now = network.now;
        let (weather, bad) = (Weather::Calm, [false; 2]);
        Some(Self { network, opened: 0, weather, bad, changed: now, last_good: now })
    }

    /// The program of one side has so many more messages to send, when its stream takes them.
    fn patient(&mut self, side: usize, messages: u32, finish: bool) {
        if let Some((_, program)) = self.network.stations[side].program(0)
            && !program.plan.finish
        {
            program.plan.messages += messages;
            program.plan.finish = finish;
        }
    }

    fn apply(&mut self, op: Op) {
        let now = self.network.now;
        match op {
            Op::Open { side } => {
                let remote = self.network.stations[1 - side].sid();
                let plan = Plan { reader: Reader::Stopped, ..Plan::IDLE };
                let room = self.opened < MAX_STREAMS;
                if room && self.network.stations[side].open(now, remote, plan).is_some() {
                    self.opened += 1;
                }
            }
            Op::Send { side, stream, length } => {
                let Some((mut streams, id, program)) = self.network.stations[side].at(stream) else { return };
                program.write(now, &mut streams, id, length.clamp(1, 1024).into());
            }
            Op::Receive { side, stream, count } => {
                let Some((mut streams, id, program)) = self.network.stations[side].at(stream) else { return };
                program.read(now, &mut streams, id, count.into());
            }
            Op::Finish { side, stream } => {
                let Some((mut streams, id, program)) = self.network.stations[side].at(stream) else { return };
                program.finish(now, &mut streams, id);
            }
            Op::Reset { side, stream } => {
                let Some((mut streams, id, program)) = self.network.stations[side].at(stream) else { return };
                streams.reset(now, id);
                program.reset = true;
                self.weather = self.weather.max(Weather::Rough);
            }
            Op::Advance { millis } => self.network.run(Duration::from_millis(millis.into())),
            Op::Next => _ = self.network.step(now + Duration::from_secs(2)),
            Op::Loss { side, percent } => {
                self.change(side, percent > 0, |link| {
                    link.set_blackout(false);
                    link.set_loss(percent.into());
                });
            }
            Op::Blackout { side, on } => self.change(side, on, |link| {
                link.set_blackout(on);
                link.set_loss(0);
            }),
            Op::Earlier { side, millis } => {
                let earlier = now - Duration::from_millis(millis.into());
                self.network.stations[side].handle_timeout(earlier);
                self.network.stations[side].handle_timeout(earlier);
            }
            Op::Again { packet } => {
                self.note_replay();
                if let Some((from, packet)) = self.recorded(packet) {
                    self.network.send(from, Receiver::Everyone, &packet);
                }
            }
            Op::Damaged { packet, place, mask } => {
                self.note_replay();
                if let Some((from, mut packet)) = self.recorded(packet) {
                    let place = usize::from(place) % packet.len().max(1);
                    packet.get_mut(place).into_iter().for_each(|byte| *byte ^= mask);
                    self.network.send(from, Receiver::Everyone, &packet);
                }
            }
            Op::Garbage { side, length, byte } => {
                let packet = alloc::vec![byte; length.into()];
                self.network.stations[side].handle_packet(now, 1 - side, &packet);
            }
            Op::Restart { side, keeps_identity } => {
                self.weather = Weather::Restarts;
                self.network.stations[side].restart(now, keeps_identity);
            }
        }
        self.judge();
    }

    /// A packet is sent again, perhaps one of a stream that has ended long ago.
    fn note_replay(&mut self) {
        if self.network.now >= EARLIEST_LATE {
            self.weather = self.weather.max(Weather::Replays);
        }
    }

    fn change(&mut self, side: usize, bad: bool, change: impl FnOnce(&mut Link)) {
        self.judge();
        change(self.network.link(side, 1 - side));
        self.bad[side] = bad;
        self.changed = self.network.now;
    }

    /// Whether the network was bad for so long that streams may have failed.
    fn judge(&mut self) {
        let now = self.network.now;
        if self.bad == [false; 2] && now - self.changed >= GOOD {
            self.last_good = now;
        }
        if now - self.last_good > MAX_BAD {
            self.weather = self.weather.max(Weather::Rough);
        }
    }

    /// A packet that went by lately.
    fn recorded(&mut self, number: u8) -> Option<(usize, Vec<u8>)> {
        let packets = self.network.recorded.as_mut()?;
        let surplus = packets.len().saturating_sub(MAX_RECORDED);
        packets.drain(..surplus);
        packets.iter().rev().nth(number.into()).map(|(from, _, packet)| (*from, packet.clone()))
    }
}

//! What one source gets of a relay of which another one wants too much.

use crate::mdp::{InterfaceId, NodeConfig};
use crate::testing::stack::address;
use crate::testing::{Mesh, rng};
use crate::wire::address::Address;
use crate::wire::mdp::Protection;
use crate::wire::overlay::{Encapsulation, Frame, Header, Hops, Route};
use crate::{Addr, Port, Rng, Sid};
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

/// Who wants too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rival {
    /// Nobody.
    None,
    /// Another neighbour of the relay.
    Neighbour,
    /// The same, under new names all the time.
    Liar,
    /// A node behind the same neighbour of the relay.
    Behind,
}

/// What was measured.
#[derive(Debug)]
pub struct Share {
    /// The part of what the relay can send that the source gets, if it wants half.
    pub bulk: f64,
    /// How long its small messages take if it sends nothing else.
    pub small: Vec<Duration>,
    /// Which part of them does not arrive within a second.
    pub lost: f64,
}

/// The stations.
const RIVAL: usize = 0;
const SOURCE: usize = 1;
const RELAY: usize = 2;
const DESTINATION: usize = 3;
/// The relay sends a thousand bytes a millisecond.
const SLOT: Duration = Duration::from_millis(1);
/// Meanwhile its rival sends so many large messages.
const GREED: usize = 5;
/// With all headers and an acknowledgment now and then, a thousand bytes.
const LARGE: usize = 900;
const SMALL: usize = 64;
/// A large message of the source comes so often, or a small one, in slots.
const HALF: u64 = 2;
const SELDOM: u64 = 20;
/// What is on its way at the end may still arrive, in slots.
const REST: u64 = 1000;
const PORT: Port = match Port::new(700) {
    Some(port) => port,
    None => Port::MAX,
};

impl Share {
    /// Measures for so long.
    #[must_use]
    pub fn measure(rival: Rival, length: Duration, seed: u64) -> Self {
        let slots = length.as_millis() as u64;
        let bulk = run(rival, (slots, HALF, LARGE), seed);
        let small = run(rival, (slots, SELDOM, SMALL), seed);
        let sent = slots.div_ceil(SELDOM) as f64;
        Self { bulk: bulk.len() as f64 / slots as f64, lost: 1.0 - small.len() as f64 / sent, small }
    }
}

/// How long each message of the source takes that arrives.
fn run(rival: Rival, (slots, every, size): (u64, u64, usize), seed: u64) -> Vec<Duration> {
    let mut rng = rng(seed);
    let mut mesh = network(rival, seed);
    let source = mesh.stations[SOURCE].node.sid();
    let (start, mut delays) = (mesh.now, BTreeMap::new());
    for slot in 0..slots + REST {
        match rival {
            _ if slot >= slots => {}
            Rival::None => {}
            Rival::Liar => (0..GREED).for_each(|_| lie(&mut mesh, &mut rng)),
            Rival::Neighbour | Rival::Behind => (0..GREED).for_each(|_| send(&mut mesh, RIVAL, slot, LARGE)),
        }
        if slot < slots && slot % every == 0 {
            send(&mut mesh, SOURCE, slot, size);
        }
        mesh.run(SLOT);
        let now = mesh.now;
        for datagram in mesh.stations[DESTINATION].datagrams.drain(..).filter(|it| it.from.sid == source) {
            let slot = datagram.payload.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            delays.entry(slot).or_insert_with(|| now - (start + SLOT * slot as u32));
        }
    }
    delays.into_values().collect()
}

/// Nodes that know each other, with 2 ms from one to the next.
fn network(rival: Rival, seed: u64) -> Mesh {
    let mut mesh = Mesh::new(seed);
    // Who wants too much takes care not to be held up by itself.
    let greedy = NodeConfig { relay_queue: usize::MAX, ..NodeConfig::default() };
    mesh.add(greedy, true);
    (0..4).for_each(|_| _ = mesh.add(NodeConfig::default(), true));
    let way = if rival == Rival::Behind { 4 } else { RELAY };
    for (a, b) in [(RIVAL, way), (SOURCE, way), (4, RELAY), (RELAY, DESTINATION)] {
        mesh.join(a, b, |link| link.delay(Duration::from_millis(2)));
    }
    mesh.run(Duration::from_secs(5));
    mesh.stations[RELAY].per_byte = Duration::from_micros(1);
    mesh
}

/// Sends a message that tells when it was sent. What does not fit is not sent, as a program finds.
fn send(mesh: &mut Mesh, from: usize, slot: u64, size: usize) {
    let (now, to) = (mesh.now, Addr::new(mesh.stations[DESTINATION].node.sid(), PORT));
    let mut payload = vec![0; size];
    payload[..8].copy_from_slice(&slot.to_le_bytes());
    let _ = mesh.stations[from].node.send(now, PORT, to, Protection::Encrypted, &payload);
}

/// The rival passes on what nobody sent.
fn lie(mesh: &mut Mesh, rng: &mut Rng) {
    let now = mesh.now;
    let [me, to] = [RIVAL, DESTINATION].map(|index| mesh.stations[index].node.sid());
    let nobody = Sid::new(rng.bytes());
    let (destination, next_hop) = (Address::Whole(to), Address::Whole(me));
    let frame = Frame {
        source: Some(Address::Whole(nobody)),
        route: Route::Via { destination, next_hop, hops: Hops::DEFAULT },
        protection: Some(Protection::Encrypted),
        ack_soon: false,
        legacy_type: None,
        sequence: None,
        payload: &[0; LARGE],
    };
    let header = Header {
        sequenced_frames: false,
        encapsulation: Encapsulation::Multiple,
        sender: Address::Whole(Sid::new([0xee; 32])),
        unicast: true,
        interface: None,
        sequence: None,
    };
    let mut packet = Vec::new();
    header.emit(&mut packet);
    frame.emit(Encapsulation::Multiple, &mut packet);
    mesh.stations[RIVAL].node.handle_packet(now, InterfaceId(0), address(200), &packet);
}

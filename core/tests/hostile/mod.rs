//! Nodes, and packets that somebody makes up.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use core::net::SocketAddr;
use core::time::Duration;
use msp_core::testing::{Link, Mesh};
use msp_core::wire::address::Address;
use msp_core::wire::linkstate::Repr;
use msp_core::wire::overlay::{Encapsulation, Frame, Header, Hops, PLEASE_EXPLAIN, Packet, Route};
use msp_core::wire::{linkstate, mdp};
use msp_core::{
    Addr, Destination, Identity, Instant, InterfaceConfig, InterfaceId, Node, NodeConfig, Port, Protection,
    Rng, SendDatagramError, Sid,
};

pub const INTERFACE: InterfaceId = InterfaceId(0);
pub const PORT: Port = match Port::new(512) {
    Some(port) => port,
    None => Port::MAX,
};

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The stations of a mesh are hosts 1, 2, ...
pub fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 4110))
}

pub fn rng(seed: u64) -> Rng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    Rng::new(bytes)
}

/// The identity of the station with that index; and of others.
pub fn identity(index: u8) -> Identity {
    Identity::from_seed([index + 1; 32])
}

/// A node alone, with one interface.
pub fn node(config: NodeConfig, broadcast: bool) -> Node {
    let mut node = Node::new(config, identity(0), [99; 32], Instant::from_millis(1000));
    node.add_interface(if broadcast { InterfaceConfig::broadcast() } else { InterfaceConfig::unicast() });
    node
}

/// Two nodes that have found each other, and whose packets are recorded.
pub fn neighbours(seed: u64, link: impl Fn(Link) -> Link) -> Mesh {
    let mut mesh = Mesh::new(seed);
    for _ in 0..2 {
        mesh.add(NodeConfig::default(), true);
    }
    mesh.join(0, 1, |it| link(it.delay(ms(2))));
    mesh.recorded = Some(Vec::new());
    assert!(mesh.run_until(ms(1000), both_up));
    mesh.run(ms(1000));
    mesh
}

pub fn both_up(mesh: &mut Mesh) -> bool {
    let [a, b] = [0, 1].map(|index| mesh.stations[index].node.sid());
    mesh.stations[0].node.is_reachable(&b) && mesh.stations[1].node.is_reachable(&a)
}

pub fn send(mesh: &mut Mesh, from: usize, to: usize, payload: &[u8]) -> Result<(), SendDatagramError> {
    let to = Addr::new(mesh.stations[to].node.sid(), PORT);
    mesh.stations[from].node.send(mesh.now, PORT, to, Protection::Encrypted, payload)
}

/// Sends numbered datagrams, one every `interval`, and does `meanwhile` after each.
pub fn stream(
    mesh: &mut Mesh,
    numbers: core::ops::Range<u32>,
    interval: Duration,
    mut meanwhile: impl FnMut(&mut Mesh),
) {
    for number in numbers {
        let _ = send(mesh, 0, 1, &number.to_le_bytes());
        meanwhile(mesh);
        mesh.run(interval);
    }
}

/// The numbers that the second station received sealed by the first, in order; it forgets them.
pub fn received(mesh: &mut Mesh) -> Vec<u32> {
    let from = Addr::new(mesh.stations[0].node.sid(), PORT);
    let datagrams = mesh.stations[1].datagrams.drain(..);
    let genuine = datagrams.filter(|it| it.protection == Protection::Encrypted && it.from == from);
    genuine
        .map(|it| {
            assert_eq!((it.to, it.broadcast), (PORT, false));
            u32::from_le_bytes(it.payload[..].try_into().unwrap())
        })
        .collect()
}

/// Gives a station a packet that comes from `from`.
pub fn inject(mesh: &mut Mesh, to: usize, from: SocketAddr, packet: &[u8]) {
    let now = mesh.now;
    mesh.stations[to].node.handle_packet(now, INTERFACE, from, packet);
}

/// The header of a packet by unicast, with the whole SID of its sender.
pub fn header(sender: Sid) -> Header<'static> {
    Header {
        sequenced_frames: true,
        encapsulation: Encapsulation::Multiple,
        sender: Address::Whole(sender),
        unicast: true,
        interface: None,
        sequence: None,
    }
}

/// A frame in clear text without number, which is never a duplicate when the header says so, too.
pub fn frame<'a>(route: Route<'a>, payload: &'a [u8]) -> Frame<'a> {
    Frame {
        source: None,
        route,
        protection: Some(Protection::Clear),
        ack_soon: false,
        legacy_type: None,
        sequence: None,
        payload,
    }
}

/// A packet. Frames get numbers from `sequence` on if the header wants them to have any.
pub fn packet(header: Header<'_>, sequence: u8, frames: &[Frame<'_>]) -> Vec<u8> {
    let mut packet = Vec::new();
    header.emit(&mut packet);
    for (index, frame) in frames.iter().enumerate() {
        let number = header.sequenced_frames.then_some(sequence.wrapping_add(index as u8));
        Frame { sequence: number, ..*frame }.emit(header.encapsulation, &mut packet);
    }
    packet
}

/// The same without numbers for packet and frames, so that no copy is taken for a duplicate.
pub fn unnumbered(sender: Sid, frames: &[Frame<'_>]) -> Vec<u8> {
    packet(Header { sequenced_frames: false, ..header(sender) }, 0, frames)
}

/// The plaintext of a datagram.
pub fn plaintext(destination: Port, source: Port, data: &[u8]) -> Vec<u8> {
    let mut plaintext = Vec::new();
    mdp::Repr { destination, source, payload: data }.emit(&mut plaintext);
    plaintext
}

/// What `from` seals for `to`.
pub fn seal(from: &Identity, to: &Sid, nonce: u8, plaintext: &[u8]) -> Vec<u8> {
    let mut payload = vec![0; 40];
    payload.extend_from_slice(plaintext);
    from.shared_key(to).unwrap().seal(&[nonce; 24], &mut payload);
    payload
}

/// What `from` signs.
pub fn sign(from: &Identity, plaintext: &[u8]) -> Vec<u8> {
    [plaintext, &from.sign_datagram(plaintext)].concat()
}

/// "I hear `whom` by unicast."
pub fn hears(whom: Sid) -> linkstate::Repr<'static> {
    linkstate::Repr {
        interface: Some(0),
        unicast: true,
        ..linkstate::Repr::new(Address::Sender, Some(Address::Whole(whom)))
    }
}

/// The datagram that holds these records.
pub fn link_state(records: &[linkstate::Repr<'_>]) -> Vec<u8> {
    let mut payload = plaintext(Port::LINK_STATE, Port::LINK_STATE, &[]);
    records.iter().for_each(|record| record.emit(&mut payload));
    payload
}

/// A packet of each kind that strangers can send.
pub fn strange(random: &mut Rng, number: u32, me: Sid) -> Vec<u8> {
    let sid = Sid::new(random.bytes());
    let route = Route::Neighbour { destination: Address::Whole(me) };
    let echo = plaintext(Port::ECHO, PORT, b"x");
    let way = link_state(&[
        hears(me),
        Repr::new(Address::Whole(Sid::new(random.bytes())), Some(Address::Sender)),
        Repr::new(Address::Whole(Sid::new(random.bytes())), Some(Address::Prefix(&[1, 2]))),
    ]);
    let one = [number as u8 | 1];
    let explain = [&[1, me.as_bytes()[0], 1, number as u8][..], &[0x20], sid.as_bytes()].concat();
    match number % 10 {
        0 => packet(header(sid), 0, &[]),
        1 => packet(Header { unicast: false, interface: Some(3), ..header(sid) }, 0, &[]),
        2 => unnumbered(sid, &[frame(Route::Neighbours, &way)]),
        3 => unnumbered(sid, &[frame(route, &echo)]),
        4 => unnumbered(sid, &[Frame { protection: Some(Protection::Encrypted), ..frame(route, &[7; 100]) }]),
        5 => unnumbered(sid, &[Frame { protection: Some(Protection::Signed), ..frame(route, &[7; 100]) }]),
        6 => packet(Header { sender: Address::Prefix(&one), ..header(sid) }, 0, &[]),
        7 => unnumbered(
            sid,
            &[Frame { legacy_type: Some(PLEASE_EXPLAIN), ..frame(Route::Neighbours, &explain) }],
        ),
        8 => {
            let flood = Route::Flood { id: random.bytes(), hops: Hops::DEFAULT };
            unnumbered(sid, &[frame(flood, &echo)])
        }
        _ => unnumbered(sid, &[frame(route, &plaintext(PORT, PORT, b"clear"))]),
    }
}

/// Whether all frames of a packet are fit for the reference daemon (`spec/80` section 4), apart from what
/// is sealed in them.
pub fn check_sent(packet: &[u8]) {
    assert!(packet.len() <= 1200, "{} bytes", packet.len());
    for frame in Packet::parse(packet).unwrap().frames().map(Result::unwrap) {
        assert!(frame.payload.len() < 1200);
        let broadcast = matches!(frame.route, Route::Neighbours | Route::Flood { .. });
        assert!(frame.protection.is_some() && !(broadcast && frame.protection != Some(Protection::Clear)));
        if frame.legacy_type.is_none() && frame.protection == Some(Protection::Clear) {
            let datagram = mdp::Repr::parse(frame.payload).unwrap();
            assert!(!datagram.payload.is_empty() && datagram.destination != Port::KEY_MAPPING);
        }
    }
}

/// Takes all packets of a node, and gives where they go, and them.
pub fn drain(node: &mut Node, now: Instant) -> Vec<(Destination, Vec<u8>)> {
    let mut packets = Vec::new();
    let mut buffer = Vec::new();
    while let Some(transmit) = node.poll_transmit(now, &mut buffer) {
        check_sent(&buffer);
        packets.push((transmit.to, buffer.clone()));
        assert!(packets.len() < 100_000);
    }
    packets
}

/// Lets `time` pass for a node alone; gives all that it sends.
pub fn pass(node: &mut Node, now: &mut Instant, time: Duration) -> Vec<(Destination, Vec<u8>)> {
    let end = *now + time;
    let mut packets = drain(node, *now);
    loop {
        while node.poll_event().is_some() || node.poll_datagram().is_some() {}
        let Some(next) = node.poll_timeout().filter(|at| *at <= end) else { break };
        *now = next.max(*now);
        node.handle_timeout(*now);
        packets.extend(drain(node, *now));
    }
    *now = end;
    packets
}

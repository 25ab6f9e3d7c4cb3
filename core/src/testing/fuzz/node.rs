//! A node, with streams on it, in hostile company.

use super::Input;
use super::forge::Liars;
use super::user::User;
use crate::mdp::SharedKey;
use crate::msp::Config;
use crate::testing::node_of;
use crate::wire::mdp;
use crate::wire::overlay::{FORBIDDEN_PAYLOAD_LEN, Packet, Route};
use crate::{
    Addr, Destination, Host, Identity, Instant, InterfaceConfig, InterfaceId, Node, NodeConfig, Port,
    Protection, Sid,
};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;

const INTERFACE: InterfaceId = InterfaceId(0);
pub(super) const LISTENING: u16 = 512;
/// The seed of a node that comes last.
const HONEST: u8 = 9;
/// More than this in answer to one packet is no answer.
const MANY: usize = 10_000;

/// A host whose neighbour sends it any datagram in its own name, among liars with several identities who forge
/// whatever they have keys for, on a network that changes, drops, repeats and makes up packets: nothing panics,
/// nothing that may not be sent is sent, memory is bounded, timers neither spin nor oversleep, every stream ends
/// once, at the latest when all fall silent, and then newcomers are served, and led to each other, as if nothing had
/// been.
///
/// # Panics
///
/// When it is not so.
pub fn node(input: &[u8]) {
    let mut input = Input(input);
    let mut state = State::new();
    // They find each other first; the deeper layers are out of reach without that.
    for _ in 0..4 {
        state.exchange();
        state.now += Duration::from_millis(250);
    }
    assert!(node_of(&mut state.host).is_reachable(&state.attacker.sid()));
    while state.step(&mut input).is_some() {
        state.drain();
    }
    state.fall_silent();
    state.meet();
}

struct State {
    host: Host,
    /// What the attacker sends with, so that the host can decrypt it.
    attacker: Node,
    liars: Liars,
    now: Instant,
    user: User,
    /// Where the streams are that the host has opened to the attacker.
    local: Port,
    /// What the host sent last, and what the attacker's node sent last.
    packets: [Vec<u8>; 2],
}

impl State {
    fn new() -> Self {
        let node = |number: u8| {
            let identity = Identity::from_seed([number; 32]);
            let mut node = Node::new(NodeConfig::default(), identity, [number; 32], Instant::ZERO);
            node.add_interface(InterfaceConfig::broadcast());
            node
        };
        let mut host = Host::new(node(1), config(), [3; 32]);
        node_of(&mut host).add_interface(InterfaceConfig::unicast());
        let honest = Identity::from_seed([HONEST; 32]).sid();
        // The first of them is the attacker, whose node runs here.
        let liars = Liars::new(node_of(&mut host).sid(), honest, [2, 4, 5]);
        assert_eq!(host.endpoint().listen(LISTENING.into()), Ok(()));
        let packets = [Vec::new(), Vec::new()];
        let local = Port::from(LISTENING);
        Self { host, attacker: node(2), liars, now: Instant::ZERO, user: User::default(), local, packets }
    }

    /// Does the next operation of `input`.
    fn step(&mut self, input: &mut Input<'_>) -> Option<()> {
        let operation = input.u8()?;
        // The upper bits choose what it is done to.
        let choice = operation >> 4;
        let stream = self.user.chosen(choice);
        let now = self.now;
        match operation & 0x0f {
            3 => {
                let packet = self.liars.packet(input, self.local)?;
                self.receive(choice, &packet);
            }
            0..3 => {
                let from = if choice < 15 { Port::from(u16::from(choice)) } else { Port::from(600) };
                let to = match input.u8()? {
                    255 => self.local,
                    254 => LISTENING.into(),
                    low => Port::from(u16::from(low)),
                };
                let protection = match operation & 0x03 {
                    0 => Protection::Clear,
                    1 => Protection::Signed,
                    _ => Protection::Encrypted,
                };
                let to = Addr::new(node_of(&mut self.host).sid(), to);
                let _ = self.attacker.send(now, from, to, protection, input.slice()?);
                self.deliver_to_host(|_| {});
            }
            4 => self.receive(choice, input.slice()?),
            5 => {
                let (place, mask) = (usize::from(input.u16()?), input.u8()?);
                self.deliver_to_host(|packet| {
                    if let Some(length) = packet.len().checked_sub(1) {
                        packet[place.min(length)] ^= mask;
                    }
                });
            }
            6 => {
                let packet = self.packets[usize::from(choice & 1)].clone();
                self.receive(choice, &packet);
            }
            7 => User::pass(&mut self.host, &mut self.now, Duration::from_millis(input.u8()?.into())),
            8 => self.now = self.host.poll_timeout().map_or(now, |at| at.max(now)),
            9 => self.host.handle_timeout(now - Duration::from_millis(input.u8()?.into())),
            10 => self.exchange(),
            11 => {
                let sid = if choice == 0 { Sid::new([9; 32]) } else { self.attacker.sid() };
                let remote = Addr::new(sid, 600.into());
                if let Ok(stream) = self.host.endpoint().connect(now, remote) {
                    self.user.0.push(stream);
                }
            }
            operation => User::act(&mut self.host, now, stream, operation)?,
        }
        Some(())
    }

    /// Consumes what was received, and lets time pass without a packet until all streams have ended.
    fn fall_silent(&mut self) {
        for _ in 0..MANY {
            self.user.read_all(&mut self.host, self.now);
            self.drain();
            if self.user.0.is_empty() {
                return;
            }
            self.now = self.host.poll_timeout().map_or(self.now, |at| at.max(self.now));
        }
        unreachable!("{} streams outlive their peers", self.user.0.len());
    }

    /// Two nodes that were not there before are heard, answered, and led to each other.
    fn meet(&mut self) {
        let mut nodes = [HONEST, HONEST + 1].map(|number| {
            let identity = Identity::from_seed([number; 32]);
            let mut node = Node::new(NodeConfig::default(), identity, [number; 32], self.now);
            node.add_interface(InterfaceConfig::broadcast());
            node
        });
        // Neither hears the other.
        let echoes = [node_of(&mut self.host).sid(), nodes[1].sid()].map(|sid| Addr::new(sid, Port::ECHO));
        let mut answered = [false; 2];
        let mut packet = Vec::new();
        // Liars are forgotten by then.
        let start = self.now + Duration::from_secs(3);
        for step in 0..100 {
            self.now = start + Duration::from_millis(50) * step;
            self.host.handle_timeout(self.now);
            for (node, number) in nodes.iter_mut().zip(HONEST..) {
                node.handle_timeout(self.now);
                while node.poll_transmit(self.now, &mut packet).is_some() {
                    self.host.handle_packet(self.now, INTERFACE, address(number), &packet);
                }
            }
            while let Some(transmit) = self.host.poll_transmit(self.now, &mut packet) {
                for (node, number) in nodes.iter_mut().zip(HONEST..) {
                    let is_meant = [Destination::Broadcast, Destination::Unicast(address(number))];
                    if transmit.interface == INTERFACE && is_meant.contains(&transmit.to) {
                        node.handle_packet(self.now, INTERFACE, address(1), &packet);
                    }
                }
            }
            let [asker, _] = &mut nodes;
            for echo in echoes {
                if asker.is_reachable(&echo.sid) {
                    let _ = asker.send(self.now, 600.into(), echo, Protection::Encrypted, b"?");
                }
            }
            while let Some(it) = asker.poll_datagram() {
                for (answered, echo) in answered.iter_mut().zip(echoes) {
                    *answered |= it.from == echo && it.payload == b"?"[..];
                }
            }
            if answered == [true; 2] {
                return;
            }
        }
        unreachable!("newcomers are not served, {answered:?}: {:?}", node_of(&mut self.host));
    }

    /// Gives the host a packet from the attacker's address, or from another, on the interface where the attacker
    /// is, on another one, or on one that does not exist.
    fn receive(&mut self, choice: u8, packet: &[u8]) {
        let interface = InterfaceId(choice.saturating_sub(12));
        self.host.handle_packet(self.now, interface, address(2 + (choice >> 1)), packet);
    }

    /// Hands over what the attacker's node sends, changed by `change`.
    fn deliver_to_host(&mut self, mut change: impl FnMut(&mut Vec<u8>)) {
        self.attacker.handle_timeout(self.now);
        let mut packet = Vec::new();
        while self.attacker.poll_transmit(self.now, &mut packet).is_some() {
            change(&mut packet);
            self.host.handle_packet(self.now, INTERFACE, address(2), &packet);
            self.packets[1].clone_from(&packet);
        }
    }

    /// Lets everything pass, both ways.
    fn exchange(&mut self) {
        self.deliver_to_host(|_| {});
        self.drain();
        while let Some(datagram) = self.attacker.poll_datagram() {
            self.local = datagram.from.port;
        }
    }

    /// Takes all that the host has to give; the attacker receives it.
    fn drain(&mut self) {
        self.host.handle_timeout(self.now);
        let mut taken = 0;
        let [packet, _] = &mut self.packets;
        while let Some(transmit) = self.host.poll_transmit(self.now, packet) {
            check_packet(packet, self.liars.keys());
            if transmit.to == Destination::Broadcast || transmit.to == Destination::Unicast(address(2)) {
                self.attacker.handle_packet(self.now, INTERFACE, address(1), packet);
            }
            taken += 1;
            assert!(taken < MANY);
        }
        self.user.take_events(&mut self.host, taken, MANY);
        let Config { max_streams, receive_memory, .. } = config();
        assert!(self.user.0.len() <= max_streams, "{} streams", self.user.0.len());
        let guaranteed = max_streams * 8 * (1536 + 64);
        assert!(self.host.endpoint().received_bytes() <= receive_memory + guaranteed);
        let next = self.host.poll_timeout();
        assert!(next.is_none_or(|at| at > self.now), "spins: {next:?} at {:?}", self.now);
    }
}

/// Few streams and little memory, so that an input can exhaust them.
fn config() -> Config {
    Config { max_streams: 4, receive_memory: 16 << 10, ..Config::default() }
}

/// A packet is short enough, reads back, and holds nothing that harms the reference daemon (`spec/80`
/// section 4). `keys` are those of the host and others.
pub(super) fn check_packet<'a>(packet: &[u8], keys: impl Iterator<Item = &'a SharedKey> + Clone) {
    assert!(packet.len() <= NodeConfig::default().mtu, "{} bytes", packet.len());
    let Ok(packet) = Packet::parse(packet) else { unreachable!("{packet:02x?}") };
    for frame in packet.frames() {
        let Ok(frame) = frame else { unreachable!("{packet:?}") };
        assert!(frame.payload.len() < FORBIDDEN_PAYLOAD_LEN);
        let broadcast = matches!(frame.route, Route::Neighbours | Route::Flood { .. });
        if let (Some(_), Route::Flood { hops, .. } | Route::Via { hops, .. }) = (frame.source, frame.route) {
            assert!((1..31).contains(&(hops.0 & 0x1f)), "{frame:?} has as many hops left as before");
        }
        let mut payload = frame.payload.to_vec();
        let plaintext = match frame.protection {
            _ if frame.legacy_type.is_some() => continue,
            // Passed on: what it holds is the business of its ends.
            Some(_) if frame.source.is_some() => {
                assert!(
                    !broadcast || frame.protection != Some(Protection::Encrypted),
                    "it aborts the daemon"
                );
                continue;
            }
            Some(Protection::Encrypted) => {
                assert!(!broadcast, "an encrypted broadcast aborts the daemon");
                // Others may be meant, whose key is not here.
                if !keys.clone().any(|key| key.open(&mut payload).is_some()) {
                    continue;
                }
                &payload[SharedKey::OVERHEAD..]
            }
            Some(Protection::Clear) => frame.payload,
            Some(Protection::Signed) | None => unreachable!("never sent here: {frame:?}"),
        };
        let Ok(datagram) = mdp::Repr::parse(plaintext) else { unreachable!("{plaintext:02x?}") };
        assert!(!datagram.payload.is_empty(), "no data aborts the daemon");
        assert!(!broadcast || datagram.destination != Port::KEY_MAPPING, "so does key mapping for all");
    }
}

/// The address of the host (1), of the attacker (2), or of somebody else.
pub(super) fn address(number: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)), 4110)
}

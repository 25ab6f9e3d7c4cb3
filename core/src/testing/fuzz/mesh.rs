//! A node that relays between two others, with neighbours that lie.

use super::Input;
use super::forge::Liars;
use super::node::{address, check_packet};
use crate::{
    Addr, Datagram, Destination, Identity, Instant, InterfaceConfig, InterfaceId, Node, NodeConfig, Port,
    Protection, Sid,
};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

const PORT: Port = Port::MAX;
/// The ends are neighbours of the relay on these of its interfaces, and their addresses end with these numbers.
const ENDS: [(InterfaceId, u8); 2] = [(InterfaceId(0), 2), (InterfaceId(1), 3)];
const RELAY: u8 = 1;
/// Packets that the relay sends at once, each of them to several neighbours at the most.
const MANY: usize = 200;

/// Two nodes that reach each other through a third one, whose other neighbours announce, acknowledge, flood, ask and
/// have passed on whatever they like, also in the names of the two; links that lose, damage and repeat packets, and
/// time: nothing panics, nothing that may not be sent is sent, tables and queues are bounded, what is passed on has
/// fewer hops left, timers neither spin nor oversleep, and what is sealed arrives as it was sent. Once the liars are
/// silent, nothing is left of what they said, and the two reach each other.
///
/// # Panics
///
/// When it is not so.
pub fn mesh(input: &[u8]) {
    let mut input = Input(input);
    let mut state = State::new();
    (0..8).for_each(|_| state.pass_with_liars());
    let [a, c] = state.sids();
    assert!(state.ends[0].is_reachable(&c) && state.ends[1].is_reachable(&a));
    while state.step(&mut input).is_some() {
        state.drain();
        state.check();
    }
    state.heal();
}

struct State {
    relay: Node,
    ends: [Node; 2],
    liars: Liars,
    now: Instant,
    /// What the ends have sealed for each other.
    sealed: BTreeSet<Vec<u8>>,
    /// What was received, with what it has in its payload and by whom.
    received: Vec<(usize, Datagram)>,
    /// The ends that nothing comes from.
    cut: [bool; 2],
    /// Of the next eight packets of an end, those that are lost.
    lost: u8,
    /// What is changed in the next packet of an end, and where.
    damage: Option<(usize, u8)>,
    /// What the ends and the relay sent last.
    packets: [Vec<u8>; 3],
}

/// Small tables, so that an input can fill them.
fn config() -> NodeConfig {
    NodeConfig {
        max_neighbours: 6,
        max_subscribers: 8,
        relay_queue: 6,
        send_queue: 4,
        receive_queue: 4,
        ..NodeConfig::default()
    }
}

impl State {
    fn new() -> Self {
        let node = |number: u8, config| {
            Node::new(config, Identity::from_seed([number; 32]), [number; 32], Instant::ZERO)
        };
        let (mut relay, mut ends) = (node(1, config()), [2, 3].map(|n| node(n, NodeConfig::default())));
        relay.add_interface(InterfaceConfig::broadcast());
        relay.add_interface(InterfaceConfig::unicast());
        ends[0].add_interface(InterfaceConfig::broadcast());
        let interface = ends[1].add_interface(InterfaceConfig::unicast());
        ends[1].add_peer(interface, address(RELAY));
        let liars = Liars::new(relay.sid(), ends[0].sid(), [4, 5, 6]);
        Self {
            relay,
            ends,
            liars,
            now: Instant::ZERO,
            sealed: BTreeSet::new(),
            received: Vec::new(),
            cut: [false; 2],
            lost: 0,
            damage: None,
            packets: [const { Vec::new() }; 3],
        }
    }

    fn sids(&self) -> [Sid; 2] {
        self.ends.each_ref().map(Node::sid)
    }

    /// Does the next operation of `input`.
    fn step(&mut self, input: &mut Input<'_>) -> Option<()> {
        let operation = input.u8()?;
        // The upper bits choose what it is done to.
        let choice = operation >> 4;
        let end = usize::from(choice & 1);
        match operation & 0x0f {
            0..4 => {
                let packet = self.liars.packet(input, PORT)?;
                self.receive(choice, &packet);
            }
            4 => self.receive(choice, input.slice()?),
            5 => self.confirm(choice),
            6 => self.send(end, Protection::Encrypted, 4 * usize::from(input.u8()?)),
            7 => {
                let to = Addr::new(Sid::BROADCAST, PORT);
                let _ = self.ends[end].send(self.now, PORT, to, Protection::Clear, input.slice()?);
            }
            8 => self.send(end, Protection::Signed, usize::from(input.u8()?)),
            9 => self.pass(Duration::from_millis(input.u8()?.into()) * u32::from(choice + 1)),
            10 => self.now = self.relay.poll_timeout().map_or(self.now, |at| at.max(self.now)),
            11 => self.relay.handle_timeout(self.now - Duration::from_millis(input.u8()?.into())),
            12 => {
                let packet = self.packets[usize::from(choice % 3)].clone();
                self.receive(choice, &packet);
            }
            13 => match choice {
                0..8 => self.lost = input.u8()?,
                8..12 => self.damage = Some((input.u8()?.into(), input.u8()?)),
                _ => self.cut[end] ^= true,
            },
            14 => self.exchange(),
            _ => self.pass_with_liars(),
        }
        Some(())
    }

    /// Gives the relay a packet, on any of its interfaces or one that does not exist, from any neighbour.
    fn receive(&mut self, choice: u8, packet: &[u8]) {
        let interface = InterfaceId(choice % 5 % 3);
        self.relay.handle_packet(self.now, interface, address(choice), packet);
    }

    /// A liar says that it hears the relay, so that what it says counts.
    fn confirm(&mut self, choice: u8) {
        let (who, interface) = (choice & 3, choice >> 2 & 1);
        // It has no number, is by unicast, and holds the record of one link from the relay to its sender.
        let input = [who, 0, 0x11, 1, 8, 5, 4, interface];
        if let Some(packet) = self.liars.packet(&mut Input(&input), PORT) {
            self.relay.handle_packet(self.now, InterfaceId(interface), address(4 + who), &packet);
        }
    }

    /// An end sends something to the other.
    fn send(&mut self, end: usize, protection: Protection, length: usize) {
        let mut payload = alloc::vec![7; length];
        payload.extend_from_slice(&self.sealed.len().to_le_bytes());
        payload.push(end as u8);
        let to = Addr::new(self.sids()[1 - end], PORT);
        if self.ends[end].send(self.now, PORT, to, protection, &payload).is_ok() {
            self.sealed.insert(payload);
        }
    }

    /// Lets time pass. Before the time that the relay has asked for, it has nothing to do.
    fn pass(&mut self, time: Duration) {
        self.drain();
        let due = self.relay.poll_timeout();
        self.now += time;
        self.relay.handle_timeout(self.now);
        if due.is_none_or(|due| self.now < due) {
            let transmit = self.relay.poll_transmit(self.now, &mut Vec::new());
            assert_eq!(transmit, None, "should be due: {due:?}");
        }
    }

    /// Lets a quarter of a second pass in which all liars stay neighbours and everything passes.
    fn pass_with_liars(&mut self) {
        for who in [0, 5, 2] {
            self.confirm(who);
        }
        self.run(Duration::from_millis(250));
    }

    /// Goes from one thing that is to be done to the next for so long.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..100_000 {
            self.exchange();
            let nodes = self.ends.iter().chain([&self.relay]);
            let next = nodes.filter_map(Node::poll_timeout).min();
            match next.filter(|at| *at < end) {
                Some(next) => self.now = next.max(self.now),
                None => return self.now = end,
            }
        }
        unreachable!("it does not come to rest");
    }

    /// Lets everything pass that passes now.
    fn exchange(&mut self) {
        for _ in 0..MANY {
            let mut moved = self.drain() > 0;
            for (end, (interface, host)) in ENDS.into_iter().enumerate() {
                let mut packet = Vec::new();
                self.ends[end].handle_timeout(self.now);
                while self.ends[end].poll_transmit(self.now, &mut packet).is_some() {
                    moved = true;
                    let lost = self.lost & 1 != 0;
                    self.lost >>= 1;
                    if let Some((place, mask)) = self.damage.take()
                        && let Some(last) = packet.len().checked_sub(1)
                    {
                        packet[place.min(last)] ^= mask;
                    }
                    self.packets[end].clone_from(&packet);
                    if !lost && !self.cut[end] {
                        self.relay.handle_packet(self.now, interface, address(host), &packet);
                    }
                }
                while self.ends[end].poll_event().is_some() {}
                while let Some(datagram) = self.ends[end].poll_datagram() {
                    self.receive_at(end, datagram);
                }
            }
            if !moved {
                return;
            }
        }
        unreachable!("the nodes do not come to rest");
    }

    /// Nobody but the other end can have sealed it, or signed it, for it is not the liars' name.
    fn receive_at(&mut self, end: usize, datagram: Datagram) {
        let is_proved = datagram.protection != Protection::Clear;
        if is_proved && datagram.from == Addr::new(self.sids()[1 - end], PORT) {
            assert!(self.sealed.contains(&datagram.payload[..]), "{datagram:?} was not sent");
            assert_eq!(datagram.payload.last(), Some(&(1 - end as u8)), "it was sent by this end");
        }
        self.received.push((end, datagram));
    }

    /// Takes all that the relay has to give; gives how many packets that was.
    fn drain(&mut self) -> usize {
        self.relay.handle_timeout(self.now);
        let mut taken = 0;
        let mut packet = Vec::new();
        while let Some(transmit) = self.relay.poll_transmit(self.now, &mut packet) {
            check_packet(&packet, self.liars.keys());
            for (end, (interface, host)) in ENDS.into_iter().enumerate() {
                let is_meant = [Destination::Broadcast, Destination::Unicast(address(host))];
                if transmit.interface == interface && is_meant.contains(&transmit.to) {
                    self.ends[end].handle_packet(self.now, InterfaceId(0), address(RELAY), &packet);
                }
            }
            self.packets[2].clone_from(&packet);
            taken += 1;
            assert!(taken < MANY, "a storm");
        }
        while self.relay.poll_event().is_some() || self.relay.poll_datagram().is_some() {}
        let next = self.relay.poll_timeout();
        assert!(next.is_none_or(|at| at > self.now), "spins: {next:?} at {:?}", self.now);
        taken
    }

    fn check(&self) {
        let NodeConfig { max_neighbours, max_subscribers, send_queue, .. } = config();
        let neighbours: Vec<_> = self.relay.neighbours().collect();
        assert!(neighbours.len() <= max_neighbours, "{neighbours:?}");
        for neighbour in &neighbours {
            assert!(neighbour.queued <= 2 * send_queue && neighbour.in_flight <= 1024, "{neighbour:?}");
        }
        let routes: Vec<_> = self.relay.routes().collect();
        assert!(routes.len() <= max_neighbours + max_subscribers, "{routes:?}");
        for route in &routes {
            let is_up = neighbours.iter().any(|it| it.sid == route.next_hop && it.up);
            let is_direct = route.next_hop == route.sid;
            assert!(is_up && is_direct == (route.hops == 1) && route.hops <= 31, "{route:?}");
            assert!(route.sid != self.relay.sid() && !route.sid.is_reserved(), "{route:?}");
        }
    }

    /// The liars fall silent. What neighbours announced, or others in their names, lasts for 25 seconds.
    fn heal(&mut self) {
        (self.lost, self.damage, self.cut) = (0, None, [false; 2]);
        self.run(Duration::from_secs(35));
        let [a, c] = self.sids();
        let mut ends = [a, c];
        ends.sort_unstable();
        let reached: Vec<Sid> = self.relay.routes().map(|route| route.sid).collect();
        assert_eq!(reached, ends, "{:?}", self.relay);
        for end in [0, 1] {
            let mut others = [self.relay.sid(), self.sids()[1 - end]];
            others.sort_unstable();
            let reached: Vec<Sid> = self.ends[end].routes().map(|route| route.sid).collect();
            assert_eq!(reached, others, "at {end}");
        }
        self.received.clear();
        for (end, other) in [(0, c), (1, a)] {
            self.send(end, Protection::Encrypted, 900);
            let all = Addr::new(Sid::BROADCAST, PORT);
            assert_eq!(self.ends[end].send(self.now, PORT, all, Protection::Clear, b"all"), Ok(()));
            let echo = Addr::new(other, Port::ECHO);
            assert_eq!(self.ends[end].send(self.now, PORT, echo, Protection::Encrypted, b"?"), Ok(()));
            self.run(Duration::from_secs(1));
        }
        for end in [0, 1] {
            let came = self.received.iter().filter(|(at, _)| *at == end).map(|(_, datagram)| datagram);
            let [long, all, echo] =
                [909, 3, 1].map(|length| came.clone().filter(|it| it.payload.len() == length).count());
            assert_eq!([long, all, echo], [1; 3], "to {end}");
        }
    }
}

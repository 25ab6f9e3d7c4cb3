//! Streams of programs through nodes that they share, in virtual time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use bytes::Bytes;
use core::net::SocketAddr;
use core::time::Duration;
use msp_core::mdp::{Clients, ClientsConfig, Destination, Identity, Incoming};
use msp_core::msp::{CloseReason, Config, Event, StreamId};
use msp_core::testing::{Link, Network, Receiver, Station, seed};
use msp_core::{Addr, Daemon, DaemonConfig, Host, Instant, InterfaceConfig, InterfaceId, Node, NodeConfig};
use std::collections::VecDeque;

const PORT: u16 = 512;
/// What the kernel keeps for a unix socket.
const QUEUE: usize = 10;

/// A machine: a node, and programs with streams on it. Where it is the only program, the node may be its own.
struct Machine {
    shared: Option<Shared>,
    programs: Vec<Program>,
}

/// A node that programs share.
struct Shared {
    node: Node,
    clients: Clients,
    /// What waits at its socket.
    requests: VecDeque<(usize, Vec<u8>)>,
    /// Every so many datagrams on local sockets, one is lost.
    lose: Option<usize>,
    datagrams: usize,
}

struct Program {
    host: Host,
    /// What waits at its socket, and what found no room at the node's.
    inbox: VecDeque<Vec<u8>>,
    held: Option<Vec<u8>>,
    killed: bool,
    stream: Option<StreamId>,
    /// Messages to send, and their length.
    left: u32,
    length: usize,
    received: Vec<Bytes>,
    closed: Vec<CloseReason>,
}

impl Program {
    fn new(host: Host) -> Self {
        let (inbox, received, closed) = (VecDeque::new(), Vec::new(), Vec::new());
        Self { host, inbox, held: None, killed: false, stream: None, left: 0, length: 0, received, closed }
    }

    fn connect(&mut self, now: Instant, to: Addr, messages: u32, length: usize) {
        self.stream = Some(self.host.endpoint().connect(now, to).unwrap());
        (self.left, self.length) = (messages, length);
    }

    /// Sends and receives what it can on its streams.
    fn act(&mut self, now: Instant) -> bool {
        let mut moved = false;
        if let Some(mut stream) = self.stream.and_then(|id| self.host.endpoint().stream(id)) {
            while self.left > 0 && stream.send(now, message(self.left, self.length)).is_ok() {
                self.left -= 1;
                moved = true;
            }
            if self.left == 0 {
                stream.finish(now);
                self.stream = None;
            }
        }
        while self.host.poll_uplink_event().is_some() {
            moved = true;
        }
        while let Some(event) = self.host.poll_event() {
            moved = true;
            if let Event::Closed { reason, .. } = event {
                self.closed.push(reason);
            }
            let (Event::Readable { stream } | Event::PeerFinished { stream }) = event else { continue };
            let Some(mut stream) = self.host.endpoint().stream(stream) else { continue };
            while let Some(message) = stream.recv(now) {
                self.received.push(message);
            }
            if stream.recv_finished() {
                stream.finish(now);
            }
        }
        moved
    }

    fn received(&self) -> Vec<u8> {
        self.received.concat()
    }
}

fn message(number: u32, length: usize) -> Bytes {
    let mut message = vec![number as u8; length];
    message[..4].copy_from_slice(&number.to_be_bytes());
    message.into()
}

fn sent(messages: u32, length: usize) -> Vec<u8> {
    (1..=messages).rev().map(|number| message(number, length)).collect::<Vec<_>>().concat()
}

impl Shared {
    fn loses(&mut self) -> bool {
        self.datagrams += 1;
        self.lose.is_some_and(|every| self.datagrams.is_multiple_of(every))
    }

    /// Moves datagrams over local sockets, as far as there is room.
    fn exchange(&mut self, now: Instant, programs: &mut [Program]) -> bool {
        let (mut moved, mut buffer) = (false, Vec::new());
        for (index, program) in programs.iter_mut().enumerate().filter(|(_, program)| !program.killed) {
            while self.requests.len() < QUEUE {
                let held = program.held.take().or_else(|| {
                    program.host.poll_transmit(now, &mut buffer).map(|_| std::mem::take(&mut buffer))
                });
                let Some(datagram) = held else { break };
                moved = true;
                if !self.loses() {
                    self.requests.push_back((index, datagram));
                }
            }
        }
        while self.clients.takes_requests() {
            let Some((client, datagram)) = self.requests.pop_front() else { break };
            moved = true;
            self.clients.handle_request(now, &mut self.node, &[client as u8], &datagram);
        }
        self.clients.update(now, &mut self.node);
        while let Some(name) = self.clients.poll_transmit(now, &mut buffer) {
            moved = true;
            let program = &mut programs[usize::from(name.as_bytes()[0])];
            if program.killed {
                self.clients.handle_unreachable(&mut self.node, &name);
            } else if self.loses() {
            } else if program.inbox.len() < QUEUE {
                program.inbox.push_back(buffer.clone());
            } else {
                self.clients.handle_full(now, &name, &buffer);
            }
        }
        for program in programs.iter_mut().filter(|program| !program.killed) {
            while let Some(reply) = program.inbox.pop_front() {
                program.host.handle_incoming(now, Incoming::Reply(&reply));
            }
        }
        moved
    }
}

fn address(index: usize) -> SocketAddr {
    ([10, 0, 0, index as u8 + 1], 4110).into()
}

impl Station for Machine {
    fn handle_packet(&mut self, now: Instant, from: usize, packet: &[u8]) {
        let (interface, from) = (InterfaceId(0), address(from));
        match &mut self.shared {
            Some(shared) => shared.node.handle_packet(now, interface, from, packet),
            None => self.programs[0].host.handle_packet(now, interface, from, packet),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Some(shared) = &mut self.shared {
            shared.node.handle_timeout(now);
            shared.clients.update(now, &mut shared.node);
        }
        self.programs.iter_mut().for_each(|program| program.host.handle_timeout(now));
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let node =
            self.shared.iter().flat_map(|it| [it.node.poll_timeout(), it.clients.poll_timeout(&it.node)]);
        let running = self.programs.iter().filter(|program| !program.killed);
        node.flatten().chain(running.filter_map(|program| program.host.poll_timeout())).min()
    }

    fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Receiver> {
        let transmit = match &mut self.shared {
            Some(shared) => shared.node.poll_transmit(now, buffer)?,
            None => self.programs[0].host.poll_transmit(now, buffer)?,
        };
        Some(match transmit.to {
            Destination::Unicast(to) => {
                Receiver::Station((0..9).find(|index| address(*index) == to).unwrap())
            }
            _ => Receiver::Everyone,
        })
    }

    fn poll_report(&mut self) -> bool {
        self.shared.as_mut().is_some_and(|shared| shared.node.poll_event().is_some())
    }

    fn act(&mut self, now: Instant) -> bool {
        let moved = self.shared.as_mut().is_some_and(|shared| shared.exchange(now, &mut self.programs));
        self.programs.iter_mut().filter(|it| !it.killed).fold(moved, |moved, it| it.act(now) | moved)
    }
}

fn node(index: usize, network: &mut Network<Machine>) -> Node {
    let identity = Identity::from_seed([index as u8 + 1; 32]);
    let mut node = Node::new(NodeConfig::default(), identity, network.seed(), network.now);
    node.add_interface(InterfaceConfig::broadcast());
    node
}

/// Adds a machine whose `programs` share a node.
fn shared(network: &mut Network<Machine>, programs: usize, daemon: &DaemonConfig) -> usize {
    let node = node(network.stations.len(), network);
    let clients = Clients::new(ClientsConfig::default(), node.sid(), network.now);
    let mut program = || {
        let daemon = Daemon::new(daemon.clone(), network.now);
        Program::new(Host::new(daemon, Config::default(), network.seed()))
    };
    let programs = (0..programs).map(|_| program()).collect();
    let shared = Shared { node, clients, requests: VecDeque::new(), lose: None, datagrams: 0 };
    network.place(Machine { shared: Some(shared), programs })
}

/// Adds a machine whose program has a node of its own.
fn alone(network: &mut Network<Machine>) -> usize {
    let host = Host::new(node(network.stations.len(), network), Config::default(), network.seed());
    network.place(Machine { shared: None, programs: vec![Program::new(host)] })
}

fn for_node() -> DaemonConfig {
    DaemonConfig::for_node(256)
}

fn sid(network: &mut Network<Machine>, index: usize) -> msp_core::Sid {
    let machine = &mut network.stations[index];
    machine.shared.as_ref().map_or_else(|| machine.programs[0].host.sid(), |it| Some(it.node.sid())).unwrap()
}

/// Has the first program of machine 0 send to that of machine 1; gives how long it took.
fn transfer(network: &mut Network<Machine>, messages: u32, length: usize) -> Duration {
    let to = Addr::new(sid(network, 1), PORT.into());
    let now = network.now;
    network.stations[1].programs[0].host.endpoint().listen(PORT.into()).unwrap();
    network.stations[0].programs[0].connect(now, to, messages, length);
    let done = network.run_until(Duration::from_secs(300), |network| {
        (0..2).all(|index| network.stations[index].programs[0].closed.len() == 1)
    });
    assert!(done, "{} of {messages} came", network.stations[1].programs[0].received.len());
    let program = &network.stations[1].programs[0];
    assert_eq!(program.closed, [CloseReason::Finished]);
    assert!(program.received() == sent(messages, length));
    network.now.since(now)
}

fn bad(link: Link) -> Link {
    link.delay(Duration::from_millis(10)).loss(10)
}

#[test]
fn streams_of_clients_of_two_nodes_lose_nothing_whatever_is_lost() {
    let seed = seed(1);
    for (number, lose) in [None, Some(7), Some(33)].into_iter().enumerate() {
        for daemon in [for_node(), DaemonConfig::default()] {
            let mut network = Network::new(seed + number as u64);
            for _ in 0..2 {
                let index = shared(&mut network, 1, &daemon);
                network.stations[index].shared.as_mut().unwrap().lose = lose;
            }
            network.join(0, 1, bad);
            transfer(&mut network, 1000, 900);
        }
    }
}

/// As seen from outside, a program on a node that it shares is one that has a node of its own.
#[test]
fn a_client_of_a_node_sends_nearly_as_fast_as_a_node() {
    let fast = |link: Link| link.delay(Duration::from_millis(5)).rate(1_250_000, 64_000).loss(5);
    let mut times = Vec::new();
    for add in [alone, |network: &mut _| shared(network, 1, &for_node())] {
        let mut network = Network::new(seed(1));
        for _ in 0..2 {
            add(&mut network);
        }
        network.join(0, 1, fast);
        times.push(transfer(&mut network, 4000, 1000));
    }
    println!("{:?} alone, {:?} as clients", times[0], times[1]);
    assert!(times[1] < times[0].mul_f64(1.05), "{times:?}");
}

/// Between them nothing goes on the air, which is not even there.
#[test]
fn two_programs_of_one_node_have_streams_with_each_other() {
    let mut network = Network::new(seed(1));
    let machine = shared(&mut network, 2, &for_node());
    let to = Addr::new(sid(&mut network, machine), PORT.into());
    let now = network.now;
    let programs = &mut network.stations[machine].programs;
    programs[1].host.endpoint().listen(PORT.into()).unwrap();
    programs[0].connect(now, to, 2000, 1000);
    let done = network.run_until(Duration::from_secs(30), |network| {
        network.stations[machine].programs.iter().all(|program| program.closed.len() == 1)
    });
    assert!(done && network.stations[machine].programs[1].received() == sent(2000, 1000));
    assert_eq!(network.stations[machine].shared.as_ref().unwrap().node.stats().datagrams_sent, 0);
}

#[test]
fn the_port_of_a_program_that_was_killed_is_the_next_ones() {
    let mut network = Network::new(seed(1));
    let machine = shared(&mut network, 2, &for_node());
    let programs = &mut network.stations[machine].programs;
    programs[0].host.endpoint().listen(PORT.into()).unwrap();
    network.run(Duration::from_secs(1));
    let programs = &mut network.stations[machine].programs;
    programs[0].killed = true;
    programs[1].host.endpoint().listen(PORT.into()).unwrap();
    network.run(Duration::from_secs(2));
    let programs = &mut network.stations[machine].programs;
    let bound = programs[1].host.uplink().is_ready(PORT.into(), &msp_core::Sid::new([9; 32]));
    assert!(bound, "the owner was found gone");
    assert_eq!(network.stations[machine].shared.as_ref().unwrap().clients.len(), 1);
}

#[test]
fn a_stream_outlives_a_restart_of_the_node_that_it_goes_through() {
    let mut network = Network::new(seed(1));
    for _ in 0..2 {
        shared(&mut network, 1, &for_node());
    }
    network.join(0, 1, bad);
    let to = Addr::new(sid(&mut network, 1), PORT.into());
    let now = network.now;
    network.stations[1].programs[0].host.endpoint().listen(PORT.into()).unwrap();
    network.stations[0].programs[0].connect(now, to, 20_000, 1000);
    network.run(Duration::from_secs(1));
    assert!(!network.stations[1].programs[0].received.is_empty());
    for index in 0..2 {
        let fresh = node(index, &mut network);
        let clients = Clients::new(ClientsConfig::default(), fresh.sid(), network.now);
        let now = network.now;
        let machine = &mut network.stations[index];
        let shared = machine.shared.as_mut().unwrap();
        (shared.node, shared.clients) = (fresh, clients);
        // The first datagram after the old one has ended finds nobody.
        machine.programs[0].host.handle_incoming(now, Incoming::Unreachable);
    }
    let done = network.run_until(Duration::from_secs(300), |network| {
        (0..2).all(|index| network.stations[index].programs[0].closed.len() == 1)
    });
    let program = &network.stations[1].programs[0];
    assert!(done && program.received() == sent(20_000, 1000), "{:?}", program.closed);
}

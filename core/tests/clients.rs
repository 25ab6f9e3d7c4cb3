//! Requests of clients to a node, one by one (`spec/20`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use core::time::Duration;
use msp_core::mdp::{ClientName, Clients, ClientsConfig, Identity};
use msp_core::wire::client::{ANY, HEADER_LEN};
use msp_core::wire::overlay::{Packet, Route};
use msp_core::wire::trace;
use msp_core::{Addr, Instant, InterfaceConfig, Node, NodeConfig, Port, Rng, Sid};

const NOTHING: u8 = 0;
const CLEAR: u8 = 0x03;
const BIND: u8 = 0x04;
const CLOSE: u8 = 0x08;
const ERROR: u8 = 0x10;
const REPAIRS: u8 = 0x40;

const P: Port = Port::MAX;

/// What a client got: who, flags, both ends, the payload.
type Got = (u8, u8, Addr, Addr, Vec<u8>);

/// A node without neighbours, and its clients, which are known by a letter.
struct Lab {
    now: Instant,
    node: Node,
    clients: Clients,
}

impl Lab {
    fn new(config: ClientsConfig) -> Self {
        let now = Instant::from_millis(1000);
        let mut node = Node::new(NodeConfig::default(), Identity::from_seed([1; 32]), [2; 32], now);
        node.add_interface(InterfaceConfig::unicast());
        let clients = Clients::new(config, node.sid(), now);
        Self { now, node, clients }
    }

    fn me(&self, port: Port) -> Addr {
        Addr::new(self.node.sid(), port)
    }

    fn tell(&mut self, client: u8, datagram: &[u8]) {
        self.clients.handle_request(self.now, &mut self.node, &[client], datagram);
    }

    /// What the node says, and nothing of it on the air.
    fn got(&mut self) -> Vec<Got> {
        let (mut got, mut buffer) = (Vec::new(), Vec::new());
        while let Some(client) = self.clients.poll_transmit(self.now, &mut buffer) {
            let addr = |at: usize| {
                let port = u32::from_ne_bytes(buffer[at + 32..at + 36].try_into().unwrap());
                Addr::new(Sid::new(buffer[at..at + 32].try_into().unwrap()), Port::new(port).unwrap())
            };
            let payload = buffer[HEADER_LEN..].to_vec();
            got.push((client.as_bytes()[0], buffer[72], addr(0), addr(36), payload));
        }
        assert_eq!(self.node.poll_transmit(self.now, &mut buffer), None, "that is for nobody outside");
        got
    }

    fn ask(&mut self, client: u8, datagram: &[u8]) -> Vec<Got> {
        self.tell(client, datagram);
        self.got()
    }

    fn bind(&mut self, client: u8, port: Port) -> bool {
        let got = self.ask(client, &header(Addr::new(ANY, port), NOWHERE, BIND, b""));
        let bound = (client, BIND, self.me(port), NOWHERE, Vec::new());
        let refused = (client, ERROR, self.me(port), NOWHERE, Vec::new());
        assert!(got.contains(&bound) != got.contains(&refused), "{got:?}");
        got.contains(&bound)
    }
}

const NOWHERE: Addr = Addr::new(ANY, Port::ANY);

fn header(local: Addr, remote: Addr, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    for addr in [local, remote] {
        datagram.extend_from_slice(addr.sid.as_bytes());
        datagram.extend_from_slice(&addr.port.get().to_ne_bytes());
    }
    datagram.extend_from_slice(&[flags, 0, 0]);
    datagram.extend_from_slice(payload);
    datagram
}

fn lab() -> Lab {
    Lab::new(ClientsConfig::default())
}

fn port(number: u16) -> Port {
    Port::from(number)
}

#[test]
fn ports_are_given_in_order_and_given_back() {
    let mut lab = lab();
    let any = header(NOWHERE, NOWHERE, BIND, b"");
    for number in [257, 258] {
        assert_eq!(lab.ask(b'a', &any), [(b'a', BIND, lab.me(port(number)), NOWHERE, Vec::new())]);
    }
    assert!(lab.bind(b'b', port(259)) && lab.bind(b'b', port(259)), "again is no matter");
    assert_eq!(lab.ask(b'a', &any)[0].2.port, port(260));
    let close = header(Addr::new(ANY, port(259)), NOWHERE, CLOSE, b"");
    assert_eq!(lab.ask(b'b', &close), [], "that is not confirmed");
    assert!(lab.bind(b'a', port(259)));
    let all = header(NOWHERE, NOWHERE, CLOSE, b"");
    assert_eq!((lab.ask(b'a', &all), lab.clients.len()), (Vec::new(), 0));
    assert!([257, 258, 259, 260].map(|number| lab.bind(b'c', port(number))) == [true; 4]);
    assert!(!lab.clients.is_empty());
}

#[test]
fn a_port_has_one_owner_who_is_asked_whether_it_still_lives() {
    let mut lab = lab();
    assert!(lab.bind(b'a', P));
    lab.tell(b'b', &header(Addr::new(ANY, P), NOWHERE, BIND, b""));
    let me = lab.me(P);
    let mut got = lab.got();
    got.sort_by_key(|it| it.0);
    assert_eq!(got, [(b'a', BIND, me, NOWHERE, Vec::new()), (b'b', ERROR, me, NOWHERE, Vec::new())]);
    let name = msp_core::mdp::ClientName::new(b"a").unwrap();
    lab.clients.handle_unreachable(&mut lab.node, &name);
    assert!(lab.bind(b'b', P));
    assert_eq!(lab.clients.stats().gone, 1);
}

#[test]
fn what_cannot_be_is_refused_with_its_own_header() {
    let mut lab = lab();
    assert!(lab.bind(b'a', P));
    let (mine, other) = (lab.me(P), Addr::new(Sid::new([9; 32]), P));
    let all = Addr::new(Sid::BROADCAST, P);
    let good = header(mine, other, NOTHING, b"x");
    let changed = |place: usize, value: u8| {
        let mut datagram = good.clone();
        datagram[place] = value;
        datagram
    };
    let foreign = Addr::new(Sid::new([8; 32]), P);
    let refused = [
        ("TTL", changed(74, 32)),
        ("QoS", changed(73, 5)),
        ("encrypted without a signature", changed(72, 0x02)),
        ("reuse", changed(72, 0x20)),
        ("from another identity", header(foreign, other, NOTHING, b"x")),
        ("from all", header(all, other, NOTHING, b"x")),
        ("from a port of nobody", header(lab.me(port(9)), other, NOTHING, b"x")),
        ("without data", header(mine, other, NOTHING, b"")),
        ("to port 0", header(mine, Addr::new(other.sid, Port::ANY), NOTHING, b"x")),
        ("too long", header(mine, other, NOTHING, &[7; 1200])),
        ("too long for here", header(mine, mine, NOTHING, &[7; 1401])),
        ("an encrypted broadcast", header(mine, all, NOTHING, b"x")),
        ("no command", header(mine, Addr::new(ANY, port(9)), NOTHING, b"")),
        ("nothing, of a port of nobody", header(lab.me(port(9)), NOWHERE, NOTHING, b"")),
        ("bind what the node cannot spare", header(lab.me(Port::LINK_STATE), NOWHERE, BIND, b"")),
        ("bind what the node cannot spare", header(lab.me(Port::KEY_MAPPING), NOWHERE, BIND, b"")),
    ];
    for (what, datagram) in &refused {
        let got = lab.ask(b'a', datagram);
        assert_eq!(got.len(), 1, "{what}");
        let (client, flags, local, remote, payload) = &got[0];
        assert_eq!((*client, *flags, payload.len()), (b'a', ERROR, 0), "{what}");
        let mut echo = header(*local, *remote, datagram[72], &datagram[HEADER_LEN..]);
        echo[73..75].copy_from_slice(&datagram[73..75]);
        assert_eq!(&echo, datagram, "{what}");
    }
    assert_eq!(lab.clients.stats().refused, refused.len() as u64);
    let too_long = header(mine, other, REPAIRS, &[7; 1300]);
    assert_eq!(lab.ask(b'a', &too_long), [], "it finds out by itself");
}

#[test]
fn clients_of_one_node_reach_each_other_and_nobody_outside_hears_it() {
    let mut lab = lab();
    assert!(lab.bind(b'a', port(300)) && lab.bind(b'b', port(400)));
    let (a, b) = (lab.me(port(300)), lab.me(port(400)));
    for flags in [NOTHING, 0x01, CLEAR] {
        let got = lab.ask(b'a', &header(Addr::new(ANY, a.port), b, flags, b"hello"));
        assert_eq!(got, [(b'b', flags, b, a, b"hello".to_vec())]);
    }
    let long = [7; 1400];
    assert_eq!(lab.ask(b'b', &header(b, a, REPAIRS, &long)), [(b'a', NOTHING, a, b, long.to_vec())]);
    assert_eq!(lab.ask(b'a', &header(a, lab.me(port(301)), NOTHING, b"x")), [], "nobody is there");
    assert_eq!(lab.clients.stats().unbound, 1);
}

#[test]
fn clients_are_told_of_with_their_ports_and_what_they_have_sent_and_got() {
    let mut lab = lab();
    assert!(lab.bind(b'a', P) && lab.bind(b'a', port(301)) && lab.bind(b'b', port(300)));
    let (to, from) = (lab.me(P), lab.me(port(300)));
    lab.ask(b'b', &header(from, to, CLEAR, b"taken"));
    lab.tell(b'b', &header(from, to, CLEAR, b"not yet"));
    let told =
        lab.clients.statuses().map(|it| (it.name.as_bytes()[0], it.ports, it.sent, it.received, it.queued));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [(b'a', vec![port(301), P], 0, 2, 1), (b'b', vec![port(300)], 2, 0, 0)]
    );
}

#[test]
fn a_broadcast_is_for_those_here_too() {
    let mut lab = lab();
    let all = Addr::new(Sid::BROADCAST, P);
    assert!(lab.bind(b'a', P) && lab.bind(b'b', port(300)));
    let from = lab.me(port(300));
    assert_eq!(lab.ask(b'b', &header(from, all, CLEAR, b"x")), [(b'a', CLEAR, all, from, b"x".to_vec())]);
    let mine = lab.me(P);
    assert_eq!(lab.ask(b'a', &header(mine, all, 0x01, b"x")).len(), 1, "its own comes back");
}

/// What a neighbour that is not meant hears: how far it may go, and in which class.
#[test]
fn the_class_and_the_hops_that_a_client_asks_for_are_on_the_wire() {
    let mut lab = lab();
    let neighbour = Identity::from_seed([9; 32]);
    let mut other = Node::new(NodeConfig::default(), neighbour, [8; 32], lab.now);
    let interface = other.add_interface(InterfaceConfig::unicast());
    let [here, there] = [1, 2].map(|host| ([10, 0, 0, host], 4110).into());
    lab.node.add_peer(interface, there);
    other.add_peer(interface, here);
    let mut buffer = Vec::new();
    for _ in 0..100 {
        while lab.node.poll_transmit(lab.now, &mut buffer).is_some() {
            other.handle_packet(lab.now, interface, here, &buffer);
        }
        while other.poll_transmit(lab.now, &mut buffer).is_some() {
            lab.node.handle_packet(lab.now, interface, there, &buffer);
        }
        lab.now += Duration::from_millis(10);
        lab.node.handle_timeout(lab.now);
        other.handle_timeout(lab.now);
    }
    assert!(lab.node.is_reachable(&other.sid()));
    lab.tell(b'a', &header(Addr::new(ANY, P), NOWHERE, BIND, b""));
    for (qos, ttl, expected) in [(0, 0, 0x7f), (1, 5, 0x25), (2, 31, 0x5f), (3, 1, 0x61), (4, 9, 0x09)] {
        let mut request = header(lab.me(P), Addr::new(Sid::BROADCAST, port(300)), CLEAR, b"whom it reaches");
        request[73..75].copy_from_slice(&[qos, ttl]);
        lab.tell(b'a', &request);
        let mut floods = Vec::new();
        while lab.node.poll_transmit(lab.now, &mut buffer).is_some() {
            let packet = Packet::parse(&buffer).unwrap();
            floods.extend(packet.frames().filter_map(|frame| match frame.unwrap().route {
                Route::Flood { hops, .. } => Some(hops.0),
                _ => None,
            }));
        }
        assert_eq!(floods, [expected], "QoS {qos}, TTL {ttl}");
    }
}

#[test]
fn the_node_answers_echoes_unless_a_client_does() {
    let mut lab = lab();
    assert!(lab.bind(b'a', P));
    let (mine, echo) = (lab.me(P), lab.me(Port::ECHO));
    let request = header(mine, echo, NOTHING, b"ping");
    assert_eq!(lab.ask(b'a', &request), [(b'a', NOTHING, mine, echo, b"ping".to_vec())]);
    assert!(lab.bind(b'b', Port::ECHO));
    assert_eq!(lab.ask(b'a', &request), [(b'b', NOTHING, echo, mine, b"ping".to_vec())]);
    // That would never end.
    assert_eq!(lab.ask(b'b', &header(echo, echo, NOTHING, b"x")).len(), 1, "it is its own");
}

/// One that binds, sends and releases with one request gets the answer to the first, and what it sends goes out.
#[test]
fn a_request_can_bind_send_and_release() {
    let mut lab = lab();
    assert!(lab.bind(b'b', port(400)));
    let (a, b) = (lab.me(port(300)), lab.me(port(400)));
    let bound = (b'a', BIND, a, b, Vec::new());
    let data = (b'b', NOTHING, b, a, b"x".to_vec());
    assert_eq!(lab.ask(b'a', &header(a, b, BIND, b"x")), [bound, data.clone()]);
    assert_eq!(lab.ask(b'a', &header(a, b, CLOSE, b"x")), [data]);
    assert!(lab.bind(b'b', a.port));
}

#[test]
fn a_trace_of_the_node_itself_is_answered_unless_a_program_does_that() {
    let mut lab = lab();
    assert!(lab.bind(b'a', P));
    let (me, mine, trace) = (lab.node.sid(), lab.me(P), lab.me(Port::TRACE));
    let repr = |passed| trace::Repr { origin: me, target: me, passed };
    let emitted = |repr: trace::Repr| {
        let mut payload = Vec::new();
        repr.emit(&mut payload);
        payload
    };
    let question = header(mine, trace, NOTHING, &emitted(repr(Vec::new())));
    lab.tell(b'a', &question);
    lab.clients.update(lab.now, &mut lab.node);
    assert_eq!(lab.got(), [(b'a', NOTHING, mine, trace, emitted(repr(vec![me])))]);
    assert!(lab.bind(b'b', Port::TRACE));
    assert_eq!(lab.ask(b'a', &question), [(b'b', NOTHING, trace, mine, emitted(repr(Vec::new())))]);
}

#[test]
fn all_who_have_services_share_the_port_of_their_discovery() {
    let mut lab = lab();
    assert!(lab.bind(b'a', P) && lab.bind(b'b', Port::DISCOVERY) && lab.bind(b'c', Port::DISCOVERY));
    let (mine, discovery) = (lab.me(P), lab.me(Port::DISCOVERY));
    let mut got = lab.ask(b'a', &header(mine, discovery, NOTHING, b"*"));
    got.sort_by_key(|it| it.0);
    assert_eq!(got, [b'b', b'c'].map(|who| (who, NOTHING, discovery, mine, b"*".to_vec())));
    lab.ask(b'b', &header(NOWHERE, NOWHERE, CLOSE, b""));
    assert_eq!(lab.ask(b'a', &header(mine, discovery, NOTHING, b"*")).len(), 1);
}

#[test]
fn the_node_tells_who_it_is_and_what_it_reaches() {
    let mut lab = lab();
    let me = lab.node.sid();
    let command = |number: u16| Addr::new(ANY, port(number));
    let local = Addr::new(me, Port::ANY);
    let ask = |number, payload: &[u8]| header(NOWHERE, command(number), NOTHING, payload);
    let done = |number| (b'a', CLOSE, local, command(number), Vec::new());
    let entry = |number, payload: Vec<u8>| (b'a', NOTHING, local, command(number), payload);
    assert_eq!(lab.ask(b'a', &ask(2, b"")), [entry(2, me.as_bytes().to_vec()), done(2)]);
    assert_eq!(lab.ask(b'a', &ask(2, b"tag\0value")), [done(2)], "none has a tag");
    let own = [&me.as_bytes()[..], &[0, 1, 0, 0, 1], b"udp0\0"].concat();
    assert_eq!(lab.ask(b'a', &ask(5, b"")), [entry(5, own), done(5)]);
    assert_eq!((lab.ask(b'a', &ask(3, b"")), lab.ask(b'a', &ask(6, b""))), (vec![done(3)], vec![done(6)]));
    for number in [1, 4, 7] {
        assert_eq!(lab.ask(b'a', &ask(number, b"\x01\x02"))[0].1, ERROR);
    }
}

#[test]
fn there_are_never_more_clients_ports_and_datagrams_than_allowed() {
    let mut config = ClientsConfig::default();
    (config.max_clients, config.max_ports, config.queue) = (2, 3, 4);
    let mut lab = Lab::new(config);
    assert!(lab.bind(b'a', port(300)) && lab.bind(b'a', port(301)) && lab.bind(b'b', port(400)));
    assert!(!lab.bind(b'a', port(302)), "too many ports");
    lab.now += Duration::from_secs(1);
    assert!(lab.bind(b'b', port(400)));
    let bind = header(NOWHERE, NOWHERE, BIND, b"");
    let reminded = (b'a', BIND, lab.me(port(300)), NOWHERE, Vec::new());
    assert_eq!(lab.ask(b'c', &bind), [reminded], "perhaps the one that was silent longest is gone");
    // One that has nothing leaves its place.
    lab.ask(b'b', &header(NOWHERE, NOWHERE, CLOSE, b""));
    assert_eq!(lab.ask(b'c', &bind), [(b'c', BIND, lab.me(port(257)), NOWHERE, Vec::new())]);
    lab.ask(b'c', &header(NOWHERE, NOWHERE, CLOSE, b""));

    let (from, to) = (lab.me(port(300)), lab.me(port(301)));
    (0..9).for_each(|_| lab.tell(b'a', &header(from, to, NOTHING, b"x")));
    assert!(!lab.clients.takes_requests(), "they are to wait where they are");
    assert_eq!(lab.got().len(), 4);
    lab.clients.update(lab.now, &mut lab.node);
    assert!(lab.clients.takes_requests());
    assert_eq!(lab.got().len(), 1, "the one that waited; those that were told all the same are lost");
    assert_eq!((lab.clients.stats().datagrams_sent, lab.clients.stats().datagrams_expired), (5, 4));
    // Nobody takes the answers.
    (0..5000).for_each(|_| lab.tell(b'a', &header(NOWHERE, Addr::new(ANY, port(5)), NOTHING, b"")));
    assert_eq!(lab.got().len(), 1028);
}

/// One that is alive and says nothing is not in the way of finding out that another is gone.
#[test]
fn those_that_are_gone_are_found_when_there_is_no_room_for_another() {
    let bind = |number| header(Addr::new(ANY, port(number)), NOWHERE, BIND, b"");
    for (max_clients, max_ports) in [(2, 9), (9, 2)] {
        let mut config = ClientsConfig::default();
        (config.max_clients, config.max_ports) = (max_clients, max_ports);
        let mut lab = Lab::new(config);
        assert!(lab.bind(b'a', port(300)) && lab.bind(b'b', port(400)));
        let mut reminded = Vec::new();
        for _ in 0..2 {
            lab.now += Duration::from_millis(100);
            let got = lab.ask(b'c', &bind(500));
            reminded.extend(got.iter().filter(|it| it.1 == BIND).map(|it| (it.0, it.2.port)));
        }
        assert_eq!(reminded, [(b'a', port(300)), (b'b', port(400))]);
        let gone = ClientName::new(b"b").unwrap();
        lab.clients.handle_unreachable(&mut lab.node, &gone);
        assert!(lab.bind(b'c', port(500)));
    }
}

/// For a while, everything waits; then what is slow is dropped, and nothing else waits any more.
#[test]
fn one_slow_destination_does_not_hold_up_the_others_for_long() {
    let mut config = ClientsConfig::default();
    config.queue = 1;
    let mut lab = Lab::new(config);
    assert!(lab.bind(b'a', port(300)) && lab.bind(b'b', port(400)));
    let (a, b) = (lab.me(port(300)), lab.me(port(400)));
    let slow = header(a, b, NOTHING, b"x");
    lab.tell(b'a', &slow);
    lab.tell(b'a', &slow);
    assert!(!lab.clients.takes_requests());
    let until = lab.now + Duration::from_millis(20);
    // It has no room for what waits: that is given back.
    let mut buffer = Vec::new();
    let client = lab.clients.poll_transmit(lab.now, &mut buffer).unwrap();
    lab.clients.handle_full(lab.now, &client, &buffer);
    for _ in 0..100 {
        let next = lab.clients.poll_timeout(&lab.node).unwrap();
        if next >= until {
            break;
        }
        assert!(next > lab.now, "it does not spin");
        lab.now = next;
        lab.clients.update(lab.now, &mut lab.node);
        assert!(!lab.clients.takes_requests());
        if let Some(client) = lab.clients.poll_transmit(lab.now, &mut buffer) {
            lab.clients.handle_full(lab.now, &client, &buffer);
        }
    }
    lab.now = until;
    lab.clients.update(lab.now, &mut lab.node);
    assert!(lab.clients.takes_requests());
    lab.tell(b'a', &slow);
    assert!(lab.clients.takes_requests(), "that is known now");
    assert_eq!(lab.clients.stats().datagrams_expired, 2);
}

#[test]
fn garbage_is_counted_and_harms_nobody() {
    let seed = msp_core::testing::seed(1);
    let mut rng = Rng::new([seed as u8; 32]);
    let mut lab = lab();
    assert!(lab.bind(b'z', P));
    let mine = lab.me(P);
    for length in (0..HEADER_LEN).chain([2000]) {
        let datagram: Vec<u8> = (0..length).map(|_| rng.below(256) as u8).collect();
        lab.tell(b'a', &datagram);
    }
    lab.clients.handle_request(lab.now, &mut lab.node, b"", &header(NOWHERE, NOWHERE, BIND, b""));
    lab.clients.handle_request(lab.now, &mut lab.node, &[7; 109], &header(NOWHERE, NOWHERE, BIND, b""));
    assert!(lab.clients.stats().malformed as usize >= HEADER_LEN + 2);
    lab.got();
    for _ in 0..20_000 {
        let sids = [ANY, lab.node.sid(), Sid::BROADCAST, Sid::new([rng.below(256) as u8; 32])];
        let mut addr = || {
            let ports = [0, 1, 2, 5, 7, 11, 300, P.get(), rng.below(1 << 31) as u32];
            let sid = sids[rng.below(4) as usize];
            Addr::new(sid, Port::new(ports[rng.below(ports.len() as u64) as usize]).unwrap())
        };
        let (local, remote) = (addr(), addr());
        let payload = vec![7; rng.below(3) as usize * rng.below(800) as usize];
        let mut datagram = header(local, remote, rng.below(256) as u8, &payload);
        datagram[73..75].copy_from_slice(&[rng.below(6) as u8, rng.below(40) as u8]);
        lab.tell(rng.below(100) as u8, &datagram);
        lab.now += Duration::from_micros(rng.below(2000));
        lab.clients.update(lab.now, &mut lab.node);
        let mut buffer = Vec::new();
        while let Some(client) = lab.clients.poll_transmit(lab.now, &mut buffer) {
            match rng.below(10) {
                0 => lab.clients.handle_full(lab.now, &client, &buffer),
                1 if client.as_bytes() != b"z" => lab.clients.handle_unreachable(&mut lab.node, &client),
                _ => {}
            }
        }
        while lab.node.poll_transmit(lab.now, &mut buffer).is_some() {}
    }
    lab.now += Duration::from_secs(2);
    lab.clients.update(lab.now, &mut lab.node);
    lab.got();
    let got = lab.ask(b'z', &header(mine, mine, NOTHING, b"still here"));
    assert_eq!(got, [(b'z', NOTHING, mine, mine, b"still here".to_vec())]);
}

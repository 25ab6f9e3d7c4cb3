//! Service discovery between nodes over simulated links, in virtual time, and as it was recorded.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::frames;
use msp_core::mdp::{Find, FindConfig, FindEvent, Service, ServicePattern, Uplink, Wanted};
use msp_core::testing::{Link, Mesh, Network, Receiver, Station, seed};
use msp_core::{
    Addr, Destination, Identity, Instant, InterfaceConfig, InterfaceId, Node, NodeConfig, Port, Protection,
    Sid,
};
use std::net::SocketAddr;
use std::time::Duration;

const INTERFACE: InterfaceId = InterfaceId(0);

fn service(name: &str, port: u16) -> Service {
    Service { name: name.parse().unwrap(), port: port.into() }
}

fn address(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, index as u8 + 1], 4110))
}

/// One that looks for services, or a node that may have one.
enum Stand {
    Find(Box<(Find, Uplink)>, Vec<FindEvent>),
    Node(Box<Node>),
}

impl Station for Stand {
    fn handle_packet(&mut self, now: Instant, from: usize, packet: &[u8]) {
        match self {
            Self::Find(pair, _) => {
                let (find, uplink) = &mut **pair;
                uplink.handle_packet(now, INTERFACE, address(from), packet);
                find.update(now, uplink);
            }
            Self::Node(node) => node.handle_packet(now, INTERFACE, address(from), packet),
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Find(pair, _) => {
                let (find, uplink) = &mut **pair;
                uplink.handle_timeout(now);
                find.update(now, uplink);
            }
            Self::Node(node) => node.handle_timeout(now),
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Find(pair, _) => {
                let (find, uplink) = &**pair;
                [find.poll_timeout(), uplink.poll_timeout()].into_iter().flatten().min()
            }
            Self::Node(node) => node.poll_timeout(),
        }
    }

    fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Receiver> {
        let transmit = match self {
            Self::Find(pair, _) => pair.1.poll_transmit(now, buffer),
            Self::Node(node) => node.poll_transmit(now, buffer),
        };
        Some(match transmit?.to {
            Destination::Broadcast => Receiver::Everyone,
            Destination::Daemon => unreachable!("there is none"),
            Destination::Unicast(to) => Receiver::Station((0..9).find(|index| address(*index) == to)?),
        })
    }

    fn poll_report(&mut self) -> bool {
        match self {
            Self::Find(pair, events) => {
                let event = pair.0.poll_event();
                let something = event.is_some();
                events.extend(event);
                something
            }
            Self::Node(node) => node.poll_datagram().is_some() | node.poll_event().is_some(),
        }
    }
}

fn sid(index: usize) -> Sid {
    Identity::from_seed([index as u8 + 1; 32]).sid()
}

/// Station 0 looks for `wanted` of `pattern` for 10 seconds, and the others have these services.
fn stations(seed: u64, wanted: Wanted, pattern: &str, services: &[Option<Service>]) -> Network<Stand> {
    let mut network: Network<Stand> = Network::new(seed);
    let mut config = FindConfig::new(pattern.parse().unwrap());
    config.time = Duration::from_secs(10);
    config.wanted = wanted;
    for (index, service) in [&[None], services].concat().into_iter().enumerate() {
        let identity = Identity::from_seed([index as u8 + 1; 32]);
        let mut node = Node::new(NodeConfig::default(), identity, network.seed(), network.now);
        node.add_interface(InterfaceConfig::broadcast());
        node.set_service(service);
        let (seed, now) = (network.seed(), network.now);
        network.place(if index == 0 {
            Stand::Find(Box::new((Find::new(config.clone(), seed, now), node.into())), Vec::new())
        } else {
            Stand::Node(Box::new(node))
        });
    }
    network
}

/// What station 0 is told within 11 seconds.
fn told(mut network: Network<Stand>) -> Vec<FindEvent> {
    network.run(Duration::from_secs(11));
    match network.stations.into_one(0) {
        Stand::Find(_, events) => events,
        Stand::Node(_) => Vec::new(),
    }
}

/// What station 0 finds in a broadcast domain with these services.
fn look(
    seed: u64,
    pattern: &str,
    services: &[Option<Service>],
    shape: impl Fn(Link) -> Link,
) -> Vec<FindEvent> {
    let mut network = stations(seed, Wanted::All, pattern, services);
    network.join_all(shape);
    told(network)
}

/// Who was found, in order; the end must be the last event.
fn found(events: &[FindEvent]) -> Vec<(Sid, Service)> {
    assert_eq!(events.last(), Some(&FindEvent::Done));
    let mut found: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            FindEvent::Found { sid, service, .. } => Some((*sid, service.clone())),
            _ => None,
        })
        .collect();
    found.sort_by_key(|(sid, _)| *sid);
    found
}

#[test]
fn a_clean_link_answers_in_two_delays() {
    let delay = Duration::from_millis(20);
    let events = look(seed(1), "*", &[Some(service("web", 80)), None], |link| link.delay(delay));
    let only = FindEvent::Found { sid: sid(1), service: service("web", 80), round_trip: 2 * delay };
    assert_eq!(events, [only, FindEvent::Done]);
}

#[test]
fn everyone_who_has_it_is_found_once_whatever_is_lost() {
    let services = [Some(service("web", 80)), Some(service("ssh", 22)), None, Some(service("web", 81))];
    let first = seed(1);
    for seed in first..first + 10 {
        let events = look(seed, "w?b", &services, |link| {
            link.delay(Duration::from_millis(10)).loss(30).duplicate(10).reorder(10)
        });
        let mut expected = [(sid(1), service("web", 80)), (sid(4), service("web", 81))];
        expected.sort_by_key(|(sid, _)| *sid);
        assert_eq!(found(&events), expected, "seed {seed}");
    }
}

/// The far one is there first, and the near one a second later.
#[test]
fn one_of_several_is_chosen() {
    let services = [Some(service("web", 80)), Some(service("web", 81))];
    let [far, near] = [30, 10].map(Duration::from_millis);
    let chosen = |wanted| {
        let mut network = stations(seed(1), wanted, "web", &services);
        network.join(0, 1, |link| link.delay(far));
        network.run(Duration::from_secs(1));
        network.join(0, 2, |link| link.delay(near));
        told(network)
    };
    let first = FindEvent::Found { sid: sid(1), service: service("web", 80), round_trip: 2 * far };
    assert_eq!(chosen(Wanted::First), [first, FindEvent::Done]);
    let nearest = FindEvent::Found { sid: sid(2), service: service("web", 81), round_trip: 2 * near };
    assert_eq!(chosen(Wanted::Nearest), [nearest, FindEvent::Done]);
}

#[test]
fn nobody_has_it() {
    let events = look(seed(1), "mail", &[Some(service("web", 80)), None], |link| link);
    assert_eq!(events, [FindEvent::Done]);
}

/// A node that asks and one that has a service, which hear each other.
fn pair(config: NodeConfig) -> Mesh {
    let mut mesh = Mesh::new(seed(1));
    mesh.add(NodeConfig::default(), true);
    mesh.add(config, true);
    mesh.join(0, 1, |link| link);
    mesh.stations[1].node.set_service(Some(service("foo", 512)));
    mesh.run(Duration::from_secs(2));
    mesh
}

/// The first sends `query` from `port`; what the second answers in a second.
fn ask(mesh: &mut Mesh, port: u16, protection: Protection, query: &[u8]) -> Vec<(Protection, Vec<u8>)> {
    let (now, to) = (mesh.now, Addr::new(sid(1), Port::DISCOVERY));
    mesh.stations[0].node.send(now, port.into(), to, protection, query).unwrap();
    mesh.run(Duration::from_secs(1));
    let answers: Vec<_> = mesh.stations[0].datagrams.drain(..).collect();
    for answer in &answers {
        assert_eq!((answer.from, answer.to, answer.broadcast), (to, port.into(), false));
    }
    answers.into_iter().map(|answer| (answer.protection, answer.payload.to_vec())).collect()
}

#[test]
fn an_answer_is_protected_as_the_query_was() {
    let mut mesh = pair(NodeConfig::default());
    let payload = b"foo.msp.port=512".to_vec();
    for protection in [Protection::Encrypted, Protection::Clear, Protection::Signed] {
        // What is signed can only be read when the signer has told its key.
        let answers = (0..3).find_map(|_| {
            Some(ask(&mut mesh, 300, protection, b"foo.*\0")).filter(|answers| !answers.is_empty())
        });
        assert_eq!(answers, Some(vec![(protection, payload.clone())]), "{protection:?}");
        assert_eq!(ask(&mut mesh, 300, protection, b"bar.*\0"), []);
        assert_eq!(ask(&mut mesh, 11, protection, b"*"), [], "another such service");
    }
    assert!(mesh.stations[1].datagrams.is_empty());
}

#[test]
fn without_a_service_queries_are_datagrams_like_others() {
    let mut mesh = pair(NodeConfig::default());
    mesh.stations[1].node.set_service(None);
    assert_eq!(ask(&mut mesh, 300, Protection::Encrypted, b"*"), []);
    assert_eq!(mesh.stations[1].datagrams[0].to, Port::DISCOVERY);
}

#[test]
fn answers_have_the_rate_of_services() {
    let mut config = NodeConfig::default();
    config.answer_rate = 3;
    let mut mesh = pair(config);
    mesh.run(Duration::from_secs(2));
    let (now, to) = (mesh.now, Addr::new(sid(1), Port::DISCOVERY));
    for _ in 0..20 {
        mesh.stations[0].node.send(now, Port::from(300), to, Protection::Encrypted, b"*").unwrap();
    }
    mesh.run(Duration::from_millis(900));
    let count = mesh.stations[0].datagrams.len();
    assert!((3..=6).contains(&count), "{count} answers");
}

#[test]
fn what_the_daemon_sent_is_understood() {
    let (mut queries, mut answers) = (0, 0);
    let recorded = service("echo", 512);
    for datagram in frames().filter_map(|frame| frame.datagram) {
        if datagram.destination == Port::DISCOVERY {
            // The daemon answers whatever it is asked, this node only those who ask for it.
            assert_eq!((&*datagram.payload, recorded.answer(&datagram.payload)), (&b"q"[..], None));
            queries += 1;
        } else if datagram.source == Port::DISCOVERY {
            assert_eq!(Service::parse_answer(&datagram.payload), std::slice::from_ref(&recorded));
            assert_eq!(recorded.answer(&ServicePattern::any().query()).as_ref(), Some(&datagram.payload));
            answers += 1;
        }
    }
    assert_eq!((queries, answers), (3, 3), "all were seen");
}

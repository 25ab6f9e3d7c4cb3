//! Neighbours that lie to a node that relays, and what becomes of the traffic of others.
//!
//! Honest nodes A, B and C stand in a line. The liar is a neighbour of B, and in some tests of A, too.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod hostile;
mod meshes;

use core::net::SocketAddr;
use hostile::{address, frame, hears, inject, link_state, packet, plaintext, rng, seal, unnumbered};
use meshes::{PORT, acquaint, good, has_received, ms, send, sid, way};
use msp_core::testing::{Mesh, Topology, seed};
use msp_core::wire::address::Address;
use msp_core::wire::linkstate::Repr;
use msp_core::wire::overlay::{Encapsulation, Frame, Header, Hops, PLEASE_EXPLAIN, Route};
use msp_core::{Datagram, Identity, Node, Port, Protection, Rng, Sid};

/// The most that a node with the default configuration remembers.
const MOST_NODES: usize = 512 + 64;

/// Who lies, and from where.
struct Liar {
    identity: Identity,
    from: SocketAddr,
    rng: Rng,
    /// The nodes that it is a neighbour of.
    victims: Vec<usize>,
    /// Of its packets, so that none is taken for another.
    sequence: u8,
}

impl Liar {
    fn new(victims: &[usize]) -> Self {
        let (identity, from) = (Identity::from_seed([200; 32]), address(200));
        Self { identity, from, rng: rng(seed(1)), victims: victims.to_vec(), sequence: 0 }
    }

    fn sid(&self) -> Sid {
        self.identity.sid()
    }

    fn tell(&mut self, mesh: &mut Mesh, frames: &[Frame<'_>]) {
        let packet = unnumbered(self.sid(), frames);
        for victim in self.victims.clone() {
            inject(mesh, victim, self.from, &packet);
        }
    }

    fn announce(&mut self, mesh: &mut Mesh, records: &[Repr<'_>]) {
        self.tell(mesh, &[frame(Route::Neighbours, &link_state(records))]);
    }

    /// "I hear you": without it nothing that it says counts.
    fn confirm(&mut self, mesh: &mut Mesh) {
        for victim in self.victims.clone() {
            let payload = link_state(&[hears(sid(mesh, victim))]);
            let packet = unnumbered(self.sid(), &[frame(Route::Neighbours, &payload)]);
            inject(mesh, victim, self.from, &packet);
        }
    }

    /// A frame with a number, which asks for an acknowledgment.
    fn numbered(&mut self, mesh: &mut Mesh, frame: Frame<'_>) {
        self.sequence = self.sequence.wrapping_add(1);
        let header = Header {
            sequenced_frames: true,
            encapsulation: Encapsulation::Multiple,
            sender: Address::Whole(self.sid()),
            unicast: true,
            interface: None,
            sequence: Some(self.sequence),
        };
        let packet = packet(header, self.sequence, &[frame]);
        for victim in self.victims.clone() {
            inject(mesh, victim, self.from, &packet);
        }
    }

    fn stranger(&mut self) -> Sid {
        Sid::new(self.rng.bytes())
    }
}

fn heard_directly<'a>(who: &'a Sid) -> Repr<'a> {
    Repr { drop_rate: Some(0), ..Repr::new(Address::Whole(*who), Some(Address::Sender)) }
}

fn behind<'a>(who: &'a Sid, before: &'a Sid) -> Repr<'a> {
    Repr { drop_rate: Some(0), ..Repr::new(Address::Whole(*who), Some(Address::Whole(*before))) }
}

fn line() -> Mesh {
    let topology = Topology::line(2);
    let mut mesh = Mesh::of(seed(1), &topology, good);
    acquaint(&mut mesh, &topology, ms(10_000));
    mesh.run(ms(10_000));
    mesh
}

/// A and C talk for ten seconds, every 50 ms, while the liar does what it does every millisecond. Gives how many of a
/// hundred datagrams arrive each way.
fn talk(mesh: &mut Mesh, liar: &mut Liar, mut lie: impl FnMut(&mut Mesh, &mut Liar, u32)) -> [u32; 2] {
    let mut arrived = [0, 0];
    let mut sent: Vec<Vec<u8>> = Vec::new();
    let [a, c] = [0, 2].map(|node| sid(mesh, node));
    for millis in 0..10_000_u32 {
        if millis % 400 == 0 {
            liar.confirm(mesh);
        }
        if millis % 50 == 0 {
            let payload = millis.to_le_bytes().to_vec();
            send(mesh, 0, 2, &payload);
            send(mesh, 2, 0, &payload);
            sent.push(payload);
        }
        lie(mesh, liar, millis);
        mesh.run(ms(1));
        check_bounds(&mesh.stations[1].node);
    }
    mesh.run(ms(1000));
    for (way, (from, at)) in [(a, 2), (c, 0)].into_iter().enumerate() {
        let datagrams = core::mem::take(&mut mesh.stations[at].datagrams);
        let sealed = |it: &&Datagram| it.from.sid == from && it.protection == Protection::Encrypted;
        let sealed: Vec<_> = datagrams.iter().filter(sealed).map(|it| it.payload.to_vec()).collect();
        assert!(sealed.iter().all(|payload| sent.contains(payload)), "something forged was delivered");
        arrived[way] = sent.iter().filter(|payload| sealed.contains(payload)).count() as u32 / 2;
    }
    arrived
}

fn check_bounds(node: &Node) {
    assert!(node.neighbours().count() <= 64, "{} neighbours", node.neighbours().count());
    assert!(node.routes().count() <= MOST_NODES, "{} nodes", node.routes().count());
}

/// Packets and bytes that a node has sent.
fn sent(mesh: &Mesh, node: usize) -> [u64; 2] {
    mesh.stations[node].sent
}

#[test]
fn a_hundred_thousand_announced_nodes_displace_nobody() {
    let mut mesh = line();
    let mut liar = Liar::new(&[1]);
    let before = sent(&mesh, 1)[1];
    let arrived = talk(&mut mesh, &mut liar, |mesh, liar, _| {
        let names = [(); 10].map(|()| liar.stranger());
        liar.announce(mesh, &names.each_ref().map(heard_directly));
    });
    assert_eq!(arrived, [100, 100]);
    // It tells of at most 400 bytes every 5 ms, of which this must stay far away.
    let bytes = sent(&mesh, 1)[1] - before;
    eprintln!("{bytes} bytes sent in eleven seconds");
    assert!(bytes < 11 * 40_000, "{bytes} bytes sent in eleven seconds");
    // Those behind it keep their places, too.
    for node in [0, 2] {
        check_bounds(&mesh.stations[node].node);
        assert!(mesh.stations[node].node.is_reachable(&sid(&mesh, 2 - node)));
    }
}

#[test]
fn trees_that_are_none_are_harmless() {
    let mut mesh = line();
    let mut liar = Liar::new(&[1]);
    let names: Vec<Sid> = (0..40).map(|_| liar.stranger()).collect();
    let [a, b, c] = [0, 1, 2].map(|node| sid(&mesh, node));
    let arrived = talk(&mut mesh, &mut liar, |mesh, liar, millis| {
        let pick = |rng: &mut Rng, names: &[Sid]| names[rng.below(names.len() as u64) as usize];
        // Circles among strangers and with those whom everybody knows.
        let all = [&names[..], &[a, b, c, liar.identity.sid()]].concat();
        let pairs: Vec<(Sid, Sid)> =
            (0..8).map(|_| (pick(&mut liar.rng, &all), pick(&mut liar.rng, &all))).collect();
        let mut records: Vec<Repr<'_>> = pairs.iter().map(|(who, before)| behind(who, before)).collect();
        if millis % 3 == 0 {
            records.push(heard_directly(&all[millis as usize % all.len()]));
        }
        liar.announce(mesh, &records);
    });
    assert_eq!(arrived, [100, 100]);
}

/// It says that it is next to everyone, without any loss. It is not believed where the honest way is as short; where
/// its own would be shorter, nothing tells the lie.
#[test]
fn who_claims_to_be_next_to_everyone_gets_only_what_is_farther() {
    let mut mesh = line();
    let mut liar = Liar::new(&[0, 1, 2]);
    let all = [0, 1, 2].map(|node| sid(&mesh, node));
    let arrived = talk(&mut mesh, &mut liar, |mesh, liar, millis| {
        if millis % 20 == 0 {
            liar.announce(mesh, &all.each_ref().map(heard_directly));
        }
    });
    assert_eq!(arrived, [100, 100]);
    assert_eq!((way(&mesh, 0, 2), way(&mesh, 2, 0)), (vec![0, 1, 2], vec![2, 1, 0]));
}

#[test]
fn flapping_costs_its_neighbours_little() {
    let mut mesh = line();
    let mut liar = Liar::new(&[1]);
    let before = [0, 1, 2].map(|node| sent(&mesh, node)[0]);
    let names: Vec<Sid> = (0..20).map(|_| liar.stranger()).collect();
    let arrived = talk(&mut mesh, &mut liar, |mesh, liar, millis| {
        let record = |who: &Sid| match millis % 2 {
            0 => Repr { version: millis as u8, ..Repr::new(Address::Whole(*who), Some(Address::Sender)) },
            _ => Repr { version: 0xff, drop_rate: Some(32), ..Repr::new(Address::Whole(*who), None) },
        };
        // Also of those that everybody reaches otherwise.
        let own = sid(mesh, 2);
        let records: Vec<Repr<'_>> = names[..8].iter().chain([&own]).map(record).collect();
        liar.announce(mesh, &records);
    });
    assert_eq!(arrived, [100, 100]);
    let packets = [0, 1, 2].map(|node| sent(&mesh, node)[0] - before[node]);
    eprintln!("{packets:?} packets sent in eleven seconds");
    // 200 of them hold datagrams, as many acknowledgments; a message of routes every 5 ms would be 2200.
    assert!(packets.iter().all(|count| *count < 3500), "{packets:?} packets sent in eleven seconds");
}

/// Frames in the names of A and C, which are not from them.
#[test]
fn forged_sources_change_no_way_and_deliver_nothing() {
    let mut mesh = line();
    let mut liar = Liar::new(&[1]);
    let [a, b, c] = [0, 1, 2].map(|node| sid(&mesh, node));
    let arrived = talk(&mut mesh, &mut liar, |mesh, liar, millis| {
        let (source, destination) = if millis % 2 == 0 { (a, c) } else { (c, a) };
        let sealed = seal(&liar.identity, &destination, millis as u8, &plaintext(PORT, PORT, &[9; 40]));
        let route = match millis % 3 {
            0 => Route::Neighbour { destination: Address::Whole(b) },
            _ => Route::Via {
                destination: Address::Whole(destination),
                next_hop: Address::Whole(b),
                hops: Hops::DEFAULT,
            },
        };
        let protection = Some(Protection::Encrypted);
        let forged = Frame { source: Some(Address::Whole(source)), protection, ..frame(route, &sealed) };
        liar.tell(mesh, &[forged]);
    });
    assert_eq!(arrived, [100, 100]);
    assert_eq!((way(&mesh, 0, 2), way(&mesh, 2, 0)), (vec![0, 1, 2], vec![2, 1, 0]));
    let retransmissions = mesh.stations[1].node.stats().retransmissions;
    assert!(retransmissions < 200, "what C cannot open was sent again and again: {retransmissions}");
}

/// A thousand floods a second of a kilobyte: most are not passed on.
#[test]
fn floods_at_line_rate_leave_room_for_others() {
    let mut mesh = line();
    let mut liar = Liar::new(&[1]);
    let before = sent(&mesh, 1)[1];
    let arrived = talk(&mut mesh, &mut liar, |mesh, liar, millis| {
        let payload = plaintext(PORT, PORT, &[7; 1000]);
        let mut id = [0; 8];
        id[..4].copy_from_slice(&millis.to_le_bytes());
        liar.tell(mesh, &[frame(Route::Flood { id, hops: Hops::DEFAULT }, &payload)]);
    });
    assert_eq!(arrived, [100, 100]);
    let bytes = sent(&mesh, 1)[1] - before;
    eprintln!("{bytes} bytes sent of {} that came", 10_000 * 1000);
    assert!(bytes < 3_000_000, "{bytes} bytes sent of {}", 10_000 * 1000);
}

/// Questions to the echo service of C that bear the name of A, or that of C itself.
#[test]
fn echoes_in_the_names_of_others_die_out() {
    let mut mesh = line();
    let mut liar = Liar::new(&[1]);
    let [a, b, c] = [0, 1, 2].map(|node| sid(&mesh, node));
    let arrived = talk(&mut mesh, &mut liar, |mesh, liar, millis| {
        let echo = plaintext(Port::ECHO, Port::ECHO, b"round and round");
        for (source, destination) in [(a, c), (c, a), (c, c), (b, c)] {
            let route = Route::Via {
                destination: Address::Whole(destination),
                next_hop: Address::Whole(b),
                hops: Hops(0x1f),
            };
            if millis % 4 == 0 {
                liar.tell(mesh, &[Frame { source: Some(Address::Whole(source)), ..frame(route, &echo) }]);
            }
        }
    });
    eprintln!("{arrived:?} of 100 arrived");
    assert!(arrived.iter().all(|count| *count >= 95), "{arrived:?}");
    let before = [0, 1, 2].map(|node| sent(&mesh, node)[0]);
    mesh.run(ms(5000));
    let packets = [0, 1, 2].map(|node| sent(&mesh, node)[0] - before[node]);
    assert!(packets.iter().all(|count| *count < 200), "{packets:?} packets in five quiet seconds");
}

#[test]
fn questions_for_explanations_draw_few_answers() {
    let mut mesh = line();
    let mut liar = Liar::new(&[1]);
    let before = sent(&mesh, 1);
    let [a, b, c] = [0, 1, 2].map(|node| sid(&mesh, node));
    let arrived = talk(&mut mesh, &mut liar, |mesh, liar, millis| {
        let mut question = Vec::new();
        for who in [a, b, c] {
            question.extend([1, who.as_bytes()[0]]);
        }
        for n in 0..20 {
            question.extend([2, n, millis as u8]);
        }
        let frame = Frame { legacy_type: Some(PLEASE_EXPLAIN), ..frame(Route::Neighbours, &question) };
        liar.tell(mesh, &[frame]);
    });
    assert_eq!(arrived, [100, 100]);
    let after = sent(&mesh, 1);
    let [packets, bytes] = [0, 1].map(|it| after[it] - before[it]);
    eprintln!("{packets} packets, {bytes} bytes in eleven seconds");
    assert!(packets < 3000 && bytes < 400_000, "{packets} packets, {bytes} bytes in eleven seconds");
}

/// A kilobyte every millisecond to be passed on, to nobody that exists.
#[test]
fn frames_for_nobody_are_dropped() {
    let mut mesh = line();
    let mut liar = Liar::new(&[1]);
    let before = sent(&mesh, 1)[1];
    let b = sid(&mesh, 1);
    let arrived = talk(&mut mesh, &mut liar, |mesh, liar, _| {
        let stranger = liar.stranger();
        let route = Route::Via {
            destination: Address::Whole(stranger),
            next_hop: Address::Whole(b),
            hops: Hops::DEFAULT,
        };
        let payload = [7; 1000];
        liar.numbered(
            mesh,
            Frame { protection: Some(Protection::Encrypted), ack_soon: true, ..frame(route, &payload) },
        );
    });
    assert_eq!(arrived, [100, 100]);
    let bytes = sent(&mesh, 1)[1] - before;
    assert!(bytes < 600_000, "{bytes} bytes sent of {}", 10_000 * 1000);
}

/// Two kilobytes every millisecond to be passed on to C over a link that carries a tenth of that: others get through,
/// too.
#[test]
fn who_fills_a_relay_does_not_starve_others() {
    let mut mesh = line();
    for (from, to) in [(1, 2), (2, 1)] {
        mesh.join_one_way(from, to, |link| good(link).rate(200_000, 64_000));
    }
    let mut liar = Liar::new(&[1]);
    let [b, c] = [1, 2].map(|node| sid(&mesh, node));
    let arrived = talk(&mut mesh, &mut liar, |mesh, liar, millis| {
        let route =
            Route::Via { destination: Address::Whole(c), next_hop: Address::Whole(b), hops: Hops::DEFAULT };
        for half in 0..2 {
            let mut payload = vec![half; 1000];
            payload[..4].copy_from_slice(&millis.to_le_bytes());
            liar.numbered(
                mesh,
                Frame { protection: Some(Protection::Encrypted), ack_soon: true, ..frame(route, &payload) },
            );
        }
    });
    eprintln!("{arrived:?} of 100 arrived");
    assert!(arrived.iter().all(|count| *count >= 60), "{arrived:?}");
    let mut quiet = Liar::new(&[]);
    let after = talk(&mut mesh, &mut quiet, |_, _, _| {});
    assert_eq!(after, [100, 100], "after it has stopped");
    send(&mut mesh, 0, 2, b"still");
    mesh.run(ms(500));
    assert!(has_received(&mut mesh, 0, 2, b"still"));
}

//! Nodes over unreliable links, in virtual time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::time::Duration;
use msp_core::testing::{Link, Mesh, seed};
use msp_core::{Addr, NodeConfig, NodeEvent, Port, Protection, SendDatagramError, Sid};
use std::collections::BTreeMap;

const PORT: Port = match Port::new(512) {
    Some(port) => port,
    None => Port::MAX,
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn good(seed: u64) -> Link {
    Link::new(seed).delay(ms(2))
}

/// Two nodes that find each other by broadcast.
fn neighbours(seed: u64, link: impl Fn(u64) -> Link) -> Mesh {
    let mut mesh = Mesh::new(seed);
    mesh.add(NodeConfig::default(), true);
    mesh.add(NodeConfig::default(), true);
    mesh.join(0, 1, link);
    mesh
}

/// Two nodes of which the first has the address of the second.
fn configured(seed: u64, link: impl Fn(u64) -> Link) -> Mesh {
    let mut mesh = Mesh::new(seed);
    mesh.add(NodeConfig::default(), false);
    mesh.add(NodeConfig::default(), false);
    mesh.join(0, 1, link);
    mesh.configure(0, 1);
    mesh
}

fn sid(mesh: &Mesh, index: usize) -> Sid {
    mesh.stations[index].node.sid()
}

fn reach(mesh: &Mesh, from: usize, to: usize) -> bool {
    mesh.stations[from].node.is_reachable(&sid(mesh, to))
}

fn both_up(mesh: &mut Mesh) -> bool {
    reach(mesh, 0, 1) && reach(mesh, 1, 0)
}

fn send(mesh: &mut Mesh, from: usize, to: usize, payload: &[u8]) -> Result<(), SendDatagramError> {
    let to = Addr::new(sid(mesh, to), PORT);
    mesh.stations[from].node.send(mesh.now, PORT, to, Protection::Encrypted, payload)
}

/// Sends `count` numbered datagrams of `length` bytes, one every `interval`, and waits for the last.
fn stream(mesh: &mut Mesh, from: usize, to: usize, count: u32, length: usize, interval: Duration) {
    for number in 0..count {
        let mut payload = vec![number as u8; length];
        payload[..4].copy_from_slice(&number.to_le_bytes());
        send(mesh, from, to, &payload).unwrap();
        mesh.run(interval);
    }
    mesh.run(ms(1500));
}

/// How often each numbered datagram came. All must be whole.
fn received(mesh: &Mesh, index: usize, length: usize) -> BTreeMap<u32, u32> {
    let mut numbers = BTreeMap::new();
    for datagram in &mesh.stations[index].datagrams {
        assert_eq!(datagram.protection, Protection::Encrypted);
        let number = u32::from_le_bytes(datagram.payload[..4].try_into().unwrap());
        assert_eq!(datagram.payload.len(), length);
        assert!(datagram.payload[4..].iter().all(|byte| *byte == number as u8));
        *numbers.entry(number).or_default() += 1;
    }
    numbers
}

fn assert_once(received: &BTreeMap<u32, u32>) {
    let twice: Vec<_> = received.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "delivered more than once: {twice:?}");
}

#[test]
fn two_nodes_find_each_other_by_broadcast() {
    let mut mesh = neighbours(1, good);
    assert!(mesh.run_until(ms(30), both_up), "in {:?}", mesh.now);
    let [a, b] = [0, 1].map(|index| sid(&mesh, index));
    let address = mesh.stations[1].address;
    assert!(
        matches!(mesh.stations[0].events[..], [NodeEvent::NeighbourUp { sid, address: at, .. }] if sid == b && at == address)
    );
    send(&mut mesh, 0, 1, b"hello").unwrap();
    mesh.run(ms(100));
    let [datagram] = &mesh.stations[1].datagrams[..] else { panic!("one datagram") };
    assert_eq!((datagram.from, datagram.to), (Addr::new(a, PORT), PORT));
    assert_eq!((&datagram.payload[..], datagram.protection), (&b"hello"[..], Protection::Encrypted));
    assert_eq!(mesh.stations[0].node.stats().retransmissions, 0);
}

#[test]
fn one_configured_address_is_enough() {
    let mut mesh = configured(1, good);
    assert!(mesh.run_until(ms(50), both_up));
    for (from, to) in [(0, 1), (1, 0)] {
        send(&mut mesh, from, to, b"hello").unwrap();
        mesh.run(ms(10));
        assert_eq!(mesh.stations[to].datagrams.len(), 1);
    }
}

#[test]
fn a_datagram_waits_for_the_way_to_its_destination() {
    let mut mesh = configured(1, good);
    send(&mut mesh, 0, 1, b"early").unwrap();
    assert!(mesh.run_until(ms(30), |mesh| !mesh.stations[1].datagrams.is_empty()));
    mesh.run(ms(3000));
    assert_eq!(mesh.stations[1].datagrams.len(), 1, "it came once");
}

#[test]
fn without_neighbours_a_few_datagrams_wait_for_a_second() {
    let mut mesh = configured(1, good);
    mesh.link(0, 1).set_blackout(true);
    let results: Vec<_> = (0..20).map(|_| send(&mut mesh, 0, 1, b"lost")).collect();
    assert_eq!(results[15], Ok(()));
    assert_eq!(results[16], Err(SendDatagramError::NoRoute));
    assert!(!mesh.stations[0].node.has_room(sid(&mesh, 1)));
    mesh.run(ms(1000));
    assert_eq!(mesh.stations[0].node.stats().datagrams_expired, 16);
    assert!(mesh.stations[0].node.has_room(sid(&mesh, 1)));
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let mut mesh = neighbours(1, good);
    assert!(mesh.run_until(ms(50), both_up));
    assert_eq!(send(&mut mesh, 0, 1, b""), Err(SendDatagramError::Empty));
    let Err(SendDatagramError::TooLarge { max }) = send(&mut mesh, 0, 1, &[0; 2000]) else {
        panic!("too large")
    };
    assert!(max >= 1029, "an MSP packet fits: {max}");
    assert_eq!(send(&mut mesh, 0, 1, &vec![0; max]), Ok(()));
    assert_eq!(send(&mut mesh, 0, 0, b"x"), Err(SendDatagramError::InvalidDestination));
    for reserved in [[0; 32], [0xff; 32]] {
        let to = Addr::new(Sid::new(reserved), PORT);
        let result = mesh.stations[0].node.send(mesh.now, PORT, to, Protection::Encrypted, b"x");
        assert_eq!(result, Err(SendDatagramError::InvalidDestination));
    }
    mesh.run(ms(100));
    assert_eq!(mesh.stations[1].datagrams.len(), 1);
    assert_eq!(mesh.stations[1].datagrams[0].payload.len(), max);
}

#[test]
fn a_full_queue_pushes_back_and_drains() {
    let mut mesh = neighbours(1, good);
    assert!(mesh.run_until(ms(50), both_up));
    let sent = (0..1000).take_while(|_| send(&mut mesh, 0, 1, &[1; 1000]).is_ok()).count();
    assert_eq!(sent, 64);
    assert!(!mesh.stations[0].node.has_room(sid(&mesh, 1)));
    assert_eq!(send(&mut mesh, 0, 1, b"x"), Err(SendDatagramError::WouldBlock));
    mesh.run(ms(10));
    assert!(mesh.stations[0].node.has_room(sid(&mesh, 1)));
    assert_eq!(mesh.stations[1].datagrams.len(), 64);
}

#[test]
fn lost_frames_are_sent_again() {
    let mut mesh = neighbours(seed(3), |seed| Link::new(seed).delay(ms(5)));
    assert!(mesh.run_until(ms(50), both_up));
    for (a, b) in [(0, 1), (1, 0)] {
        mesh.link(a, b).set_loss(30);
    }
    stream(&mut mesh, 0, 1, 500, 100, ms(10));
    let received = received(&mesh, 1, 100);
    assert_once(&received);
    assert!(
        received.len() >= 490,
        "{} of 500 came through, 350 would without retransmission",
        received.len()
    );
    let again = mesh.stations[0].node.stats().retransmissions;
    assert!((150..450).contains(&again), "sent again {again} times, 214 are needed");
}

#[test]
fn bulk_is_delivered_in_full_windows_without_stalls() {
    let link = |seed| Link::new(seed).delay(ms(20)).loss(10);
    let mut mesh = neighbours(seed(4), link);
    assert!(mesh.run_until(ms(5000), both_up));
    for round in 0..20_u32 {
        for number in 256 * round..256 * (round + 1) {
            let mut payload = vec![number as u8; 1024];
            payload[..4].copy_from_slice(&number.to_le_bytes());
            while send(&mut mesh, 0, 1, &payload) == Err(SendDatagramError::WouldBlock) {
                mesh.run(ms(1));
            }
        }
        mesh.run(ms(200));
    }
    let received = received(&mesh, 1, 1024);
    assert_once(&received);
    assert!(received.len() > 4700, "{} of 5120, of which 4608 are not lost at first", received.len());
}

#[test]
fn nothing_is_repeated_on_a_good_link() {
    for link in
        [good, |seed| Link::new(seed).delay(ms(100)), |seed| Link::new(seed).delay(ms(3)).jitter(ms(1))]
    {
        let mut mesh = neighbours(seed(5), link);
        assert!(mesh.run_until(ms(1000), both_up));
        stream(&mut mesh, 0, 1, 300, 1000, ms(3));
        let received = received(&mesh, 1, 1000);
        assert_eq!(received.len(), 300);
        assert_once(&received);
        let again = mesh.stations[0].node.stats().retransmissions;
        assert!(again <= 3, "{again} repeated for nothing");
        let sent = mesh.stations[1].node.stats().packets_sent;
        assert!(sent < 300, "{sent} packets to acknowledge 300");
    }
}

//! Nodes over unreliable links, in virtual time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use core::time::Duration;
use msp_core::testing::{Link, Mesh, seed};
use msp_core::{Addr, InterfaceId, NodeConfig, NodeEvent, Port, Protection, SendDatagramError, Sid};
use std::collections::BTreeMap;

const PORT: Port = match Port::new(512) {
    Some(port) => port,
    None => Port::MAX,
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn good(link: Link) -> Link {
    link.delay(ms(2))
}

/// Two nodes that find each other by broadcast.
fn neighbours(seed: u64, link: impl Fn(Link) -> Link) -> Mesh {
    let mut mesh = Mesh::new(seed);
    mesh.add(NodeConfig::default(), true);
    mesh.add(NodeConfig::default(), true);
    mesh.join(0, 1, link);
    mesh
}

/// Two nodes of which the first has the address of the second.
fn configured(seed: u64, link: impl Fn(Link) -> Link) -> Mesh {
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

/// How often each numbered datagram came. All must be whole, but those that anyone can write.
fn received(mesh: &Mesh, index: usize, length: usize) -> BTreeMap<u32, u32> {
    let mut numbers = BTreeMap::new();
    for datagram in &mesh.stations[index].datagrams {
        if datagram.protection == Protection::Clear {
            continue;
        }
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
    mesh.run(ms(100)); // until it is settled whether by unicast
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
    // It would abort every daemon that it reaches (`spec/40` section 4).
    let to = Addr::new(Sid::BROADCAST, Port::KEY_MAPPING);
    let result = mesh.stations[0].node.send(mesh.now, PORT, to, Protection::Clear, b"x");
    assert_eq!(result, Err(SendDatagramError::InvalidDestination));
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
    let mut mesh = neighbours(seed(3), |link| link.delay(ms(5)));
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
    let link = |link: Link| link.delay(ms(20)).loss(10);
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
    let again = received.values().filter(|count| **count > 1).count();
    assert!(again <= 5, "{again} delivered again, under a new number");
    assert!(received.len() > 4950, "{} of 5120, of which 4608 are not lost at first", received.len());
}

/// Who sends numbers its packets when it knows that it is heard. Until then it holds most of them back. What is said
/// again is lost again now and then.
#[test]
fn a_lost_announcement_is_made_again_for_a_neighbour_that_sends() {
    let first = seed(40);
    let mut slow = 0;
    for seed in first..first + 200 {
        let mut mesh = neighbours(seed, |link| link.delay(ms(5)).loss(30));
        let heard = mesh.run_until(ms(5000), |mesh| mesh.stations[1].node.is_reachable(&sid(mesh, 0)));
        assert!(heard);
        let start = mesh.now;
        while !both_up(&mut mesh) {
            let _ = send(&mut mesh, 0, 1, b"data");
            mesh.run(ms(5));
        }
        slow += usize::from(mesh.now - start > ms(200));
    }
    assert!(slow <= 5, "{slow} of 200 took longer than 200 ms");
}

#[test]
fn nothing_is_repeated_on_a_good_link() {
    for link in [good, |link: Link| link.delay(ms(100)), |link: Link| link.delay(ms(3)).jitter(ms(1))] {
        let mut mesh = neighbours(seed(5), link);
        assert!(mesh.run_until(ms(1000), both_up));
        stream(&mut mesh, 0, 1, 300, 1000, ms(3));
        let received = received(&mesh, 1, 1000);
        assert_eq!(received.len(), 300);
        assert_once(&received);
        let again = mesh.stations[0].node.stats().retransmissions;
        assert!(again <= 6, "{again} of 300 repeated for nothing");
        let sent = mesh.stations[1].node.stats().packets_sent;
        assert!(sent < 300, "{sent} packets to acknowledge 300");
    }
}

/// Streams both ways over bad links; gives how many datagrams came twice and how many frames were not
/// authentic. Nearly all must come, and none changed.
fn bad_link(seed: u64, corruption: u64) -> (u32, u64) {
    let link =
        |link: Link| link.delay(ms(8)).jitter(ms(12)).duplicate(20).reorder(20).loss(10).corrupt(corruption);
    let mut mesh = if seed.is_multiple_of(2) { neighbours(seed, link) } else { configured(seed, link) };
    mesh.run(ms(2000));
    stream(&mut mesh, 0, 1, 300, 200, ms(4));
    stream(&mut mesh, 1, 0, 100, 200, ms(4));
    let mut twice = 0;
    for (index, least) in [(1, 280), (0, 95)] {
        let received = received(&mesh, index, 200);
        assert!(received.len() >= least, "{} came through to {index}", received.len());
        twice += received.values().map(|count| count - 1).sum::<u32>();
    }
    (twice, mesh.stations[1].node.stats().unauthentic)
}

#[test]
fn over_duplicating_and_reordering_links_each_datagram_comes_once() {
    for round in 0..4 {
        assert_eq!(bad_link(seed(60) + round, 0), (0, 0));
    }
}

/// A flipped bit in the number of a frame can make its copy look new, and so can the question about a damaged
/// header, which looks like one after a restart; what the frame carries stays whole.
#[test]
fn corruption_changes_no_datagram() {
    let mut sum = (0, 0);
    for round in 0..4 {
        let (twice, unauthentic) = bad_link(seed(70) + round, 10);
        sum = (sum.0 + twice, sum.1 + unauthentic);
    }
    assert!(sum.0 < 320, "{} of 1600 came twice", sum.0);
    assert!(sum.1 > 40, "corruption was seen: {}", sum.1);
}

#[test]
fn a_restarted_node_is_heard_again_at_once() {
    for (who, pause) in [(0, 0), (1, 0), (0, 700), (1, 700), (0, 4000), (1, 4000)] {
        for broadcast in [true, false] {
            for before in [3_u32, 40, 100, 230, 300] {
                let mut mesh = if broadcast {
                    neighbours(u64::from(before), good)
                } else {
                    configured(u64::from(before), good)
                };
                mesh.run(ms(100));
                for number in 0..before {
                    send(&mut mesh, 0, 1, &number.to_le_bytes()).unwrap();
                    send(&mut mesh, 1, 0, &number.to_le_bytes()).unwrap();
                    mesh.run(ms(1));
                }
                mesh.link(who, 1 - who).set_blackout(true);
                mesh.run(ms(pause));
                mesh.link(who, 1 - who).set_blackout(false);
                mesh.restart(who, NodeConfig::default(), broadcast);
                if !broadcast {
                    mesh.configure(0, 1);
                }
                mesh.run(ms(1000));
                assert!(both_up(&mut mesh), "{who} after {pause} ms");
                for station in &mut mesh.stations {
                    station.datagrams.clear();
                }
                stream(&mut mesh, 0, 1, 50, 8, ms(1));
                stream(&mut mesh, 1, 0, 50, 8, ms(1));
                for index in [0, 1] {
                    let received = received(&mesh, index, 8);
                    assert_eq!(
                        received.len(),
                        50,
                        "{who} after {pause} ms and {before} datagrams, to {index}"
                    );
                    assert_once(&received);
                }
            }
        }
    }
}

#[test]
fn a_silent_neighbour_goes_down_and_comes_back() {
    for broadcast in [true, false] {
        let mut mesh = if broadcast { neighbours(7, good) } else { configured(7, good) };
        assert!(mesh.run_until(ms(100), both_up));
        for (a, b) in [(0, 1), (1, 0)] {
            mesh.link(a, b).set_blackout(true);
        }
        assert!(mesh.run_until(ms(3000), |mesh| !reach(mesh, 0, 1) && !reach(mesh, 1, 0)));
        mesh.run(ms(60_000));
        for (a, b) in [(0, 1), (1, 0)] {
            mesh.link(a, b).set_blackout(false);
        }
        let limit = if broadcast { 5500 } else { 600 };
        assert!(mesh.run_until(ms(limit), both_up), "broadcast {broadcast}");
        let other = sid(&mesh, 1);
        let events = &mesh.stations[0].events[..];
        assert!(matches!(
            events,
            [NodeEvent::NeighbourUp { .. }, NodeEvent::NeighbourDown { sid }, NodeEvent::NeighbourUp { .. }] if *sid == other
        ));
        stream(&mut mesh, 0, 1, 10, 8, ms(1));
        assert_eq!(received(&mesh, 1, 8).len(), 10);
    }
}

#[test]
fn a_neighbour_that_hears_but_is_not_heard_is_not_up() {
    let mut mesh = neighbours(8, good);
    mesh.link(0, 1).set_blackout(true);
    mesh.run(ms(3000));
    assert!(!reach(&mesh, 0, 1), "it does not say that it hears us");
    assert!(!reach(&mesh, 1, 0));
}

#[test]
fn an_address_moves_when_the_old_one_is_silent() {
    let mut mesh = configured(9, good);
    assert!(mesh.run_until(ms(100), both_up));
    // Packets from another address do not draw ours there while the old one speaks.
    let old = mesh.stations[0].address;
    let new = "10.0.0.99:1".parse().unwrap();
    let mut forged = hex("010120");
    forged.extend_from_slice(sid(&mesh, 0).as_bytes());
    forged.push(1);
    for _ in 0..10 {
        let now = mesh.now;
        mesh.stations[1].node.handle_packet(now, InterfaceId(0), new, &forged);
        mesh.run(ms(400));
        assert!(both_up(&mut mesh));
    }
    mesh.stations[0].address = new;
    mesh.run(ms(100));
    assert!(!mesh.run_until(ms(1700), |mesh| !both_up(mesh)), "it lives on by the old address");
    mesh.run(ms(1500));
    assert!(mesh.run_until(ms(600), both_up), "it has moved from {old}");
    stream(&mut mesh, 1, 0, 10, 8, ms(1));
    assert_eq!(received(&mesh, 0, 8).len(), 10);
}

#[test]
fn echo_answers_but_not_an_echo() {
    let mut mesh = neighbours(10, good);
    assert!(mesh.run_until(ms(100), both_up));
    let to = Addr::new(sid(&mesh, 1), Port::ECHO);
    for protection in [Protection::Encrypted, Protection::Clear] {
        for from in [PORT, Port::ECHO] {
            let now = mesh.now;
            mesh.stations[0].node.send(now, from, to, protection, b"ping").unwrap();
            mesh.run(ms(20));
        }
    }
    let [a, b] = &mesh.stations[0].datagrams[..] else { panic!("two answers") };
    for (answer, protection) in [(a, Protection::Encrypted), (b, Protection::Clear)] {
        assert_eq!((answer.from, answer.to, answer.protection), (to, PORT, protection));
        assert_eq!(answer.fingerprint.is_some(), protection == Protection::Encrypted);
        assert_eq!(answer.payload, &b"ping"[..]);
    }
    assert_eq!(mesh.stations[1].node.stats().datagrams_sent, 2);
    assert!(mesh.stations[1].datagrams.is_empty());
}

#[test]
fn signed_datagrams_arrive_once_the_key_is_known() {
    let mut mesh = neighbours(11, good);
    assert!(mesh.run_until(ms(100), both_up));
    let to = Addr::new(sid(&mesh, 1), PORT);
    let now = mesh.now;
    // The first makes the receiver ask for the key; then the same frame comes again.
    mesh.stations[0].node.send(now, PORT, to, Protection::Signed, b"signed").unwrap();
    mesh.run(ms(900));
    let [datagram] = &mesh.stations[1].datagrams[..] else { panic!("one datagram") };
    assert_eq!((datagram.protection, &datagram.payload[..]), (Protection::Signed, &b"signed"[..]));
    assert_eq!(mesh.stations[1].node.stats().unauthentic, 0);
}

#[test]
fn same_seed_same_packets() {
    let run = |seed| {
        let mut mesh = neighbours(seed, |link| link.delay(ms(8)).jitter(ms(12)).loss(10));
        mesh.run(ms(500));
        stream(&mut mesh, 0, 1, 50, 100, ms(5));
        mesh.transcript
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn time_that_goes_back_is_the_last_time_seen() {
    let mut mesh = neighbours(12, good);
    assert!(mesh.run_until(ms(100), both_up));
    let node = &mut mesh.stations[0].node;
    let before = node.poll_timeout();
    node.handle_timeout(msp_core::Instant::ZERO);
    assert_eq!(node.poll_timeout(), before);
    assert!(node.poll_transmit(msp_core::Instant::ZERO, &mut Vec::new()).is_none());
    assert!(both_up(&mut mesh));
}

#[test]
fn an_idle_node_wakes_only_to_announce() {
    let mut mesh = configured(13, good);
    assert!(mesh.run_until(ms(100), both_up));
    mesh.run(ms(1000));
    let before = *mesh.stations[0].node.stats();
    let mut wakes = 0;
    mesh.run_until(ms(10_000), |_| {
        wakes += 1;
        false
    });
    let after = mesh.stations[0].node.stats();
    assert_eq!(after.packets_sent - before.packets_sent, 20, "one packet every 500 ms");
    assert_eq!(after.packets_received - before.packets_received, 20);
    assert!(wakes <= 4 * 20 + 40, "{wakes} wake-ups");
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

//! A client of a daemon that is well, that restarts, that is absent: in virtual time, against a model of it.

mod socket;

use msp_core::testing::{fuzz, seed};
use msp_core::{Addr, DaemonEvent, Datagram, Port, Protection, Sid};
use socket::{Net, P, Q, SID, ms};

const UP: DaemonEvent = DaemonEvent::Up { sid: SID };

const fn bound(port: Port) -> DaemonEvent {
    DaemonEvent::Bound { port }
}

#[test]
fn datagrams_pass_both_ways_with_their_protection() {
    let mut net = Net::new(0, 2);
    net.bind(0, P);
    net.bind(1, Q);
    net.run(ms(10));
    assert_eq!(net.clients[0].events, [UP, bound(P)]);
    assert_eq!(net.clients[1].events, [UP, bound(Q)]);
    assert_eq!(net.clients[0].daemon.sid(), Some(SID));
    assert_eq!((net.servald.owner(P), net.servald.owner(Q)), (Some(0), Some(1)));

    let (there, back) = (Addr::new(SID, Q), Addr::new(SID, P));
    let kinds = [Protection::Encrypted, Protection::Signed, Protection::Clear];
    for protection in kinds {
        net.clients[0].daemon.send(net.now, P, there, protection, b"question").unwrap();
    }
    net.clients[1].daemon.send(net.now, Q, back, Protection::Encrypted, b"answer").unwrap();
    net.run(ms(10));
    let expected = kinds.map(|protection| Datagram::new(back, Q, protection, b"question"[..].into()));
    assert_eq!(net.clients[1].received, expected);
    let expected = Datagram::new(there, P, Protection::Encrypted, b"answer"[..].into());
    assert_eq!(net.clients[0].received, [expected]);
}

#[test]
fn broadcasts_are_told_from_datagrams_for_one() {
    let mut net = Net::new(0, 2);
    net.bind(0, P);
    net.bind(1, Q);
    net.run(ms(10));
    let to = Addr::new(Sid::BROADCAST, Q);
    net.clients[0].daemon.send(net.now, P, to, Protection::Signed, b"all").unwrap();
    net.run(ms(10));
    let expected = Datagram::new(Addr::new(SID, P), Q, Protection::Signed, b"all"[..].into());
    assert_eq!(net.clients[1].received, [Datagram { broadcast: true, ..expected }]);
}

#[test]
fn a_daemon_that_comes_later_is_found() {
    let mut net = Net::new(0, 1);
    net.servald.stop();
    net.bind(0, P);
    net.run(ms(60_000));
    assert_eq!(net.clients[0].events, [DaemonEvent::Absent]);
    // 250, 500, 1000, 2000 ms apart, and then 4 s.
    assert_eq!(net.clients[0].sent.len(), 5 + (60_000 - 3750) / 4000);
    net.servald.start(SID);
    net.run(ms(4000));
    assert_eq!(net.clients[0].events[1..], [UP, bound(P)]);
}

#[test]
fn a_restart_that_is_seen_costs_what_was_under_way() {
    let mut net = Net::new(0, 1);
    net.bind(0, P);
    net.bind(0, Q);
    net.run(ms(10));
    net.servald.stop();
    for _ in 0..3 {
        assert!(net.send(0, P, Q, b"lost"));
    }
    net.run(ms(10));
    assert_eq!(net.clients[0].events[3..], [DaemonEvent::Absent]);
    assert!(!net.clients[0].daemon.is_bound(P) && !net.clients[0].daemon.has_room(Q));
    assert!(!net.send(0, P, Q, b"too early"));
    net.servald.start(SID);
    net.run(ms(250));
    assert_eq!(net.clients[0].events[4..], [UP, bound(P), bound(Q)]);
    assert!(net.send(0, P, Q, b"passes"));
    net.run(ms(10));
    assert_eq!(net.payloads(0), [b"passes"]);
    let stats = net.clients[0].daemon.stats();
    // One was handed out and found nobody, the others waited behind it.
    assert_eq!((stats.losses, stats.datagrams_expired, stats.datagrams_sent), (1, 2, 2));
    assert_eq!((stats.binds, stats.datagrams_received), (4, 1));
}

#[test]
fn a_restart_that_nobody_told_of_is_found_within_seconds() {
    let mut net = Net::new(0, 1);
    net.bind(0, P);
    net.bind(0, Q);
    net.run(ms(10));
    net.servald.stop();
    net.servald.start(SID);
    assert_eq!(net.servald.bound(), 0);
    net.run(ms(4980));
    assert_eq!(net.servald.bound(), 0, "nothing was sent, so nothing was seen");
    net.run(ms(20));
    assert_eq!((net.servald.owner(P), net.servald.owner(Q)), (Some(0), Some(0)));
    assert_eq!(net.clients[0].events, [UP, bound(P), bound(Q)], "to the client it was always there");
}

#[test]
fn a_sender_finds_out_about_a_restart_at_once() {
    let mut net = Net::new(0, 2);
    net.bind(0, P);
    net.bind(1, Q);
    net.run(ms(1000));
    net.servald.stop();
    net.servald.start(SID);
    assert!(net.send(0, P, Q, b"refused"));
    net.run(ms(1));
    assert_eq!(net.servald.owner(P), Some(0));
    assert_eq!(net.clients[0].daemon.stats().refused, 1);
    net.run(ms(5000));
    assert!(net.send(0, P, Q, b"passes"));
    net.run(ms(1));
    assert_eq!(net.payloads(1), [b"passes"]);
}

#[test]
fn a_daemon_may_come_back_as_another() {
    let mut net = Net::new(0, 1);
    net.bind(0, P);
    net.run(ms(10));
    net.servald.stop();
    let other = Sid::new([0x77; 32]);
    net.servald.start(other);
    assert!(net.clients[0].daemon.send(net.now, P, Addr::new(SID, Q), Protection::Encrypted, b"x").is_ok());
    net.run(ms(1000));
    assert_eq!(net.clients[0].events[2..], [DaemonEvent::Up { sid: other }]);
    assert_eq!(net.clients[0].daemon.sid(), Some(other));
}

#[test]
fn a_client_takes_over_what_one_that_crashed_has_left() {
    let mut net = Net::new(0, 1);
    net.bind(0, P);
    net.bind(0, Q);
    net.run(ms(10));
    // Another process under the same name.
    net.clients = Net::new(0, 1).clients;
    net.bind(0, P);
    net.run(ms(10));
    assert_eq!((net.servald.owner(P), net.servald.owner(Q)), (Some(0), None));
}

#[test]
fn a_port_that_another_program_has_is_taken_when_it_becomes_free() {
    let mut net = Net::new(0, 2);
    net.bind(0, P);
    net.run(ms(10));
    net.bind(1, P);
    net.run(ms(249));
    assert_eq!(net.clients[1].events, []);
    net.run(ms(10_000));
    assert_eq!(net.clients[1].events, [DaemonEvent::Refused { port: P }]);
    assert_eq!(net.clients[1].daemon.sid(), None);
    net.clients[0].daemon.release(net.now, P);
    net.run(ms(4000));
    assert_eq!(net.clients[1].events[1..], [UP, bound(P)]);
    assert_eq!(net.servald.owner(P), Some(1));
}

#[test]
fn bursts_fit_the_queue_of_the_kernel() {
    let mut net = Net::new(0, 2);
    net.bind(0, P);
    net.bind(1, Q);
    net.run(ms(100));
    let start = net.now;
    let mut queued = 0_u8;
    while net.clients[0].daemon.has_room(P) {
        assert!(net.send(0, P, Q, &[queued]));
        queued += 1;
    }
    assert!(!net.send(0, P, Q, b"no room"));
    assert_eq!(queued, 64);
    net.run(ms(100));
    let expected: Vec<_> = (0..64).map(|number| vec![number]).collect();
    assert_eq!(net.payloads(1), expected);
    assert_eq!(net.servald.dropped, 0);
    let sent = &net.clients[0].sent;
    assert!(sent.windows(9).all(|nine| nine[8] - nine[0] >= ms(5)));
    assert_eq!(*sent.last().unwrap() - start, ms(7 * 5), "and is no longer than it must be");
}

#[test]
fn many_ports_are_bound_one_after_another() {
    let mut net = Net::new(0, 1);
    let ports: Vec<Port> = (1000..1500_u16).map(Port::from).collect();
    for port in &ports {
        net.bind(0, *port);
    }
    net.run(ms(400));
    assert!(ports.iter().all(|port| net.servald.owner(*port) == Some(0)));
    assert_eq!(net.servald.dropped, 0);
}

#[test]
fn a_client_that_ends_leaves_nothing_behind() {
    let mut net = Net::new(0, 2);
    net.bind(0, P);
    net.bind(0, Q);
    net.bind(1, 300.into());
    net.run(ms(10));
    assert!(net.send(0, P, 300.into(), b"last words"));
    net.clients[0].daemon.shutdown(net.now);
    net.run(ms(10));
    assert_eq!(net.payloads(1), [b"last words"]);
    assert!(net.clients[0].daemon.is_closed() && !net.clients[1].daemon.is_closed());
    assert_eq!(net.servald.bound(), 1);
    assert_eq!(net.clients[0].daemon.poll_timeout(), None);
}

/// Ports come and go, the daemon restarts, and three datagrams in ten are lost. Afterwards all is well.
#[test]
fn it_heals() {
    let base = seed(1);
    for seed in base..base + 50 {
        let mut net = Net::new(seed, 2);
        let mut rng = msp_core::Rng::new([seed as u8; 32]);
        net.loss = 300;
        net.bind(0, P);
        net.bind(1, Q);
        for _ in 0..100 {
            match rng.below(6) {
                0 => net.servald.stop(),
                1 => net.servald.start(SID),
                2 => net.clients[0].daemon.release(net.now, P),
                3 => net.bind(0, P),
                _ => _ = net.send(0, P, Q, b"perhaps"),
            }
            net.run(ms(rng.below(1000)));
        }
        net.loss = 0;
        net.servald.start(SID);
        net.bind(0, P);
        net.run(ms(10_000));
        assert_eq!((net.servald.owner(P), net.servald.owner(Q)), (Some(0), Some(1)), "seed {seed}");
        assert!(net.send(0, P, Q, b"for sure"), "seed {seed}");
        net.run(ms(10));
        assert_eq!(net.payloads(1).last(), Some(&&b"for sure"[..]), "seed {seed}");
    }
}

/// The body of the fuzz target on inputs that nobody has chosen.
#[test]
fn whatever_the_daemon_says() {
    let base = seed(1);
    for seed in base..base + 300 {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = msp_core::Rng::new(bytes);
        let input: Vec<u8> = (0..rng.below(40)).flat_map(|_| rng.bytes::<32>()).collect();
        println!("seed {seed}");
        fuzz::daemon_socket(&input);
    }
}

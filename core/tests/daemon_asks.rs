//! What a client of a daemon asks through it, in virtual time.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use msp_core::mdp::{Find, FindConfig, FindEvent, Identify, Service, Wanted};
use msp_core::testing::Servald;
use msp_core::{Addr, Daemon, DaemonConfig, Incoming, Instant, Port, Protection, Sid, Uplink};
use std::time::Duration;

const SID: Sid = Sid::new([7; 32]);
const START: Instant = Instant::from_millis(1000);
/// The program that asks, and the one that has a service.
const ASKER: usize = 0;
const SERVER: usize = 1;

fn uplink() -> Uplink {
    Daemon::new(DaemonConfig::default(), START).into()
}

/// Hands over everything that waits between programs and daemon.
fn exchange(servald: &mut Servald, now: Instant, uplinks: &mut [Uplink]) {
    let mut buffer = Vec::new();
    let mut moves = true;
    while moves {
        moves = false;
        for (client, uplink) in uplinks.iter_mut().enumerate() {
            uplink.handle_timeout(now);
            while uplink.poll_transmit(now, &mut buffer).is_some() {
                moves = true;
                if !servald.receive(client, &buffer) {
                    uplink.handle_incoming(now, Incoming::Unreachable);
                }
            }
            while let Some(reply) = servald.poll(client) {
                moves = true;
                uplink.handle_incoming(now, Incoming::Reply(&reply));
            }
        }
    }
}

/// Looks for `pattern` for three seconds, where the other program has the service "web".
fn found(pattern: &str, wanted: Wanted) -> (Vec<FindEvent>, Servald) {
    let (mut servald, mut uplinks) = (Servald::new(SID), [uplink(), uplink()]);
    let service = Service { name: "web".parse().unwrap(), port: 80.into() };
    uplinks[SERVER].set_service(START, Some(service));
    let mut config = FindConfig::new(pattern.parse().unwrap());
    config.time = Duration::from_secs(3);
    config.wanted = wanted;
    let mut find = Find::new(config, [3; 32], START);
    let (mut now, mut events) = (START, Vec::new());
    for _ in 0..1000 {
        exchange(&mut servald, now, &mut uplinks);
        find.update(now, &mut uplinks[ASKER]);
        exchange(&mut servald, now, &mut uplinks);
        find.update(now, &mut uplinks[ASKER]);
        events.extend(std::iter::from_fn(|| find.poll_event()));
        while uplinks[SERVER].poll_event().is_some() {}
        if events.last() == Some(&FindEvent::Done) {
            // The release of its ports takes a moment: there is a pace.
            (1..=10).for_each(|n| exchange(&mut servald, now + Duration::from_millis(10 * n), &mut uplinks));
            break;
        }
        let timers = [find.poll_timeout(), uplinks[ASKER].poll_timeout(), uplinks[SERVER].poll_timeout()];
        now = now.max(timers.into_iter().flatten().min().unwrap());
    }
    (events, servald)
}

#[test]
fn a_service_at_the_same_daemon_is_found_once_and_ports_are_given_back() {
    for wanted in [Wanted::All, Wanted::First, Wanted::Nearest] {
        let (events, servald) = found("w*", wanted);
        let [FindEvent::Found { sid, service, .. }, FindEvent::Done] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!((*sid, service.name.as_str(), service.port), (SID, "web", Port::from(80)));
        assert_eq!((servald.bound(), servald.owner(Port::DISCOVERY)), (1, Some(SERVER)));
    }
}

#[test]
fn who_has_something_else_does_not_answer() {
    assert_eq!(found("mail", Wanted::Nearest).0, [FindEvent::Done]);
}

/// Anyone can say so in clear text, in any name.
#[test]
fn what_is_not_encrypted_is_no_answer() {
    let (mut servald, mut uplinks) = (Servald::new(SID), [uplink(), uplink()]);
    uplinks[SERVER].bind(START, Port::DISCOVERY).unwrap();
    let mut config = FindConfig::new("web".parse().unwrap());
    config.time = Duration::from_secs(3);
    let mut find = Find::new(config, [3; 32], START);
    let (mut queries, mut now) = (Vec::new(), START);
    for _ in 0..300 {
        now += Duration::from_millis(10);
        exchange(&mut servald, now, &mut uplinks);
        find.update(now, &mut uplinks[ASKER]);
        while let Some(query) = uplinks[SERVER].poll_datagram() {
            let to = Addr::new(SID, query.from.port);
            let answer = b"web.msp.port=80";
            uplinks[SERVER].send(now, Port::DISCOVERY, to, Protection::Clear, answer).unwrap();
            queries.push(query.protection);
        }
    }
    assert_eq!(queries[..2], [Protection::Signed, Protection::Encrypted], "a call, and then a query");
    assert_eq!(find.poll_event().into_iter().filter(|event| *event != FindEvent::Done).count(), 0);
}

#[test]
fn a_daemon_tells_who_it_is_and_an_absent_one_does_not() {
    let (mut servald, mut uplinks) = (Servald::new(SID), [uplink()]);
    let identify = Identify::new([3; 32], START);
    assert_eq!(identify.update(START, &mut uplinks[0]), None);
    exchange(&mut servald, START, &mut uplinks);
    assert_eq!(identify.update(START, &mut uplinks[0]), Some(Some(SID)));

    servald.stop();
    let mut uplinks = [uplink()];
    assert_eq!(identify.update(START, &mut uplinks[0]), None);
    exchange(&mut servald, START, &mut uplinks);
    assert_eq!(identify.update(identify.deadline(), &mut uplinks[0]), Some(None));
}

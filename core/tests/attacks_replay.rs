//! Packets that were recorded and come again.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod lab;

use core::time::Duration;
use lab::{CLIENT, Lab, PORT, SERVER, data, forged, ms, sid};
use msp_core::msp::{CloseReason, Config, DatagramError, Endpoint, Event};
use msp_core::{Addr, Datagram, Fingerprint, Port};

/// A whole exchange with losses, and every packet of it, in both directions.
fn exchange() -> (Lab, Vec<(usize, Datagram)>) {
    exchange_with(&Config::default())
}

fn exchange_with(config: &Config) -> (Lab, Vec<(usize, Datagram)>) {
    let mut lab = Lab::new(config);
    lab.lose = 5;
    let client = lab.connect(&["one ", "two ", "three "]);
    lab.run(ms(2000));
    let server = lab.last_accepted();
    lab.send(SERVER, server, "answer");
    lab.finish(SERVER, server);
    lab.send(CLIENT, client, "four");
    lab.finish(CLIENT, client);
    lab.run(ms(9000));
    assert_eq!(lab.text(SERVER, server), "one two three four");
    assert_eq!(lab.text(CLIENT, client), "answer");
    assert_eq!(lab.closed[&(SERVER, server)], CloseReason::Finished);
    lab.lose = 0;
    let recorded = lab.recorded.clone();
    assert!(recorded.len() > 12, "{} packets", recorded.len());
    (lab, recorded)
}

/// The packets that arrived: what the server knows.
fn arrived(recorded: &[(usize, Datagram)]) -> impl Iterator<Item = &(usize, Datagram)> {
    recorded.iter().enumerate().filter(|(n, _)| (n + 1) % 5 != 0).map(|(_, packet)| packet)
}

#[test]
fn a_packet_replayed_within_its_stream_changes_nothing() {
    let mut lab = Lab::new(&Config::default());
    let client = lab.connect(&["one ", "two ", "three "]);
    lab.run(ms(100));
    let server = lab.last_accepted();
    lab.send(SERVER, server, "answer");
    lab.run(ms(100));
    for (to, datagram) in lab.recorded.clone() {
        let _ = lab.inject(to, datagram);
        lab.run(ms(100));
    }
    lab.send(CLIENT, client, "four");
    lab.run(ms(100));
    assert_eq!(lab.text(SERVER, server), "one two three four");
    assert_eq!(lab.text(CLIENT, client), "answer");
    assert_eq!((lab.accepted.len(), lab.closed.len()), (1, 0));
}

#[test]
fn no_packet_replayed_after_its_stream_opens_another() {
    for later in [ms(0), ms(5000), ms(10_000), ms(10_001), ms(100_000), ms(86_400_000)] {
        let (mut lab, recorded) = exchange();
        lab.run(later);
        for (to, datagram) in arrived(&recorded) {
            assert!(lab.inject(*to, datagram.clone()).is_err(), "{datagram:?} {later:?} later");
            lab.run(ms(20));
        }
        assert_eq!((lab.accepted.len(), lab.received.len()), (1, 2), "{later:?} later");
    }
}

#[test]
fn a_known_opening_is_ignored_in_silence() {
    let (mut lab, recorded) = exchange();
    lab.run(ms(20_000));
    let sent = lab.sent[SERVER];
    let (_, opening) = recorded.iter().find(|(to, _)| *to == SERVER).unwrap();
    assert_eq!(lab.inject(SERVER, opening.clone()), Err(DatagramError::Replayed));
    lab.run(ms(1000));
    assert_eq!(lab.sent[SERVER], sent);
}

#[test]
fn a_recording_does_not_disturb_a_new_stream_with_the_same_ports() {
    let (mut lab, recorded) = exchange();
    lab.run(ms(20_000));
    let opening = recorded.iter().find(|(to, _)| *to == SERVER).unwrap().1.clone();
    // The client restarts, and happens to use the same port. Its first message is new, its seal is, too.
    let fresh = |packet: &[u8], seal| Datagram {
        fingerprint: Some(Fingerprint(seal)),
        payload: packet.to_vec().into(),
        ..opening.clone()
    };
    assert_eq!(lab.inject(SERVER, fresh(&data(4, 0xffff, 0, b"new"), 1 << 40)), Ok(()));
    assert_eq!(lab.inject(SERVER, fresh(&data(2, 0xffff, 1, b"er"), 1 << 41)), Ok(()));
    let stream = lab.last_accepted();
    for (to, datagram) in arrived(&recorded).filter(|(_, datagram)| datagram.payload[0] & 4 != 0) {
        assert_eq!(lab.inject(*to, datagram.clone()), Err(DatagramError::Replayed));
    }
    assert_eq!(lab.text(SERVER, stream), "newer");
    assert!(!lab.closed.contains_key(&(SERVER, stream)), "taken for a restart of the peer");
}

#[test]
fn a_restarted_client_with_the_same_port_and_message_gets_a_new_stream() {
    let (mut lab, recorded) = exchange();
    lab.run(ms(10_001));
    let (_, opening) = recorded.iter().find(|(to, _)| *to == SERVER).unwrap();
    let sealed_again = Datagram { fingerprint: Some(Fingerprint(1 << 40)), ..opening.clone() };
    assert_eq!(lab.inject(SERVER, sealed_again), Ok(()));
    assert_eq!(lab.accepted.len(), 2);
    assert_eq!(lab.text(SERVER, lab.last_accepted()), "one ");
}

#[test]
fn a_refused_opening_stays_refused() {
    let mut lab = Lab::new(&Config::default());
    let port = Port::from(PORT);
    lab.ends[SERVER].stop_listening(port);
    lab.connect(&["one"]);
    lab.run(ms(1000));
    let (_, opening) = lab.recorded[0].clone();
    lab.ends[SERVER].listen(port).unwrap();
    assert_eq!(lab.inject(SERVER, opening), Err(DatagramError::Replayed));
    assert!(lab.accepted.is_empty());
}

#[test]
fn one_peer_cannot_make_the_server_forget_the_packets_of_another() {
    let mut config = Config::default();
    config.replay_memory = 64;
    let mut lab = Lab::new(&config);
    let client = lab.connect(&["one"]);
    lab.run(ms(100));
    lab.finish(CLIENT, client);
    lab.finish(SERVER, lab.last_accepted());
    lab.run(ms(20_000));
    let (_, opening) = lab.recorded[0].clone();
    for n in 0..10_000 {
        let enemy = lab::forged(Addr::new(sid(7), 600.into()), &data(4, 0xffff, 0, b"x"));
        let _ = lab.inject(SERVER, Datagram { fingerprint: Some(Fingerprint(n)), ..enemy });
    }
    assert_eq!(lab.inject(SERVER, opening), Err(DatagramError::Replayed));
}

/// What remains possible, because the reference wire has no connection identifier: an opening that the server has
/// never seen, or does not remember because it was started again. It opens one stream, in which recorded messages
/// arrive once more, in order and from the start, until the first recorded acknowledgment of an answer that this
/// server has not sent. The answers cannot be read; a client that gets one ends the stream, and so does silence.
#[test]
fn an_opening_that_the_server_does_not_know_opens_one_stream_for_a_moment() {
    let mut config = Config::default();
    config.extended = false;
    let (text, reason, after) = replayed_to_a_stranger(config);
    assert_eq!(text, b"one two three four", "nothing but what was recorded, in order, from the start");
    assert_eq!((reason, after), (CloseReason::PeerRestarted, ms(0)));
}

/// Of a connection with extended packets, it is the messages that were sent before the first answer, and no more:
/// all later packets name the connection.
#[test]
fn of_extended_packets_only_the_offers_can_be_played_again() {
    let (text, reason, after) = replayed_to_a_stranger(Config::default());
    assert_eq!(text, b"one two three ");
    assert_eq!((reason, after), (CloseReason::TimedOut, ms(10_000)));
}

/// Plays a recorded connection to a server that was started again: what the service gets, why and when it ends.
fn replayed_to_a_stranger(mut config: Config) -> (Vec<u8>, CloseReason, Duration) {
    let (lab, recorded) = exchange_with(&config);
    config.replay_memory = 1000;
    let mut server = Endpoint::new(config, [9; 32]);
    server.listen(PORT.into()).unwrap();
    let mut now = lab.now + ms(20_000);
    let mut accepted = Vec::new();
    let mut text = Vec::new();
    let mut closed = None;
    let mut buffer = Vec::new();
    // All but a STOP, which would end it at once.
    for (_, datagram) in arrived(&recorded).filter(|(to, it)| *to == SERVER && it.payload[..] != [8]) {
        for _ in 0..2 {
            let _ = server.handle_datagram(now, datagram.clone());
        }
    }
    while closed.is_none() {
        while let Some(event) = server.poll_event() {
            match event {
                Event::Accepted { stream, .. } => accepted.push(stream),
                Event::Closed { reason, .. } => closed = Some((reason, now)),
                _ => {}
            }
        }
        for id in &accepted {
            while let Some(message) = server.stream(*id).and_then(|mut stream| stream.recv(now)) {
                text.extend_from_slice(&message);
            }
        }
        while server.poll_transmit(now, &mut buffer).is_some() {}
        let Some(next) = server.poll_timeout() else { break };
        now = now.max(next);
        server.handle_timeout(now);
    }
    assert_eq!(accepted.len(), 1, "one stream, however often the packets come");
    let (reason, at) = closed.unwrap();
    (text, reason, at - (lab.now + ms(20_000)))
}

/// A peer that has restarted, and has taken up the stream again from a late packet of its beginning, can never
/// agree with the end that remembers more.
#[test]
fn a_peer_that_takes_back_what_it_acknowledged_is_not_kept_alive_by_that() {
    let peer = Addr::new(sid(1000), 600.into());
    // Its acknowledgments in the end: one less than before, none at all, of what was never sent, and the last one.
    let cases = [(2, 0), (0, 0xffff), (2, 7), (2, 1)];
    let closed = cases.map(|(flags, ack): (u8, u16)| {
        let mut lab = Lab::new(&Config::default());
        lab.inject(SERVER, forged(peer, &data(4, 0xffff, 0, b"x"))).unwrap();
        let stream = lab.last_accepted();
        for message in ["one", "two"] {
            lab.send(SERVER, stream, message);
        }
        lab.run(ms(100));
        lab.inject(SERVER, forged(peer, &data(2, 1, 1, b"y"))).unwrap();
        for _ in 0..15 {
            let [low, high] = ack.to_le_bytes();
            let _ = lab.inject(SERVER, forged(peer, &[flags, low, high]));
            lab.run(ms(1000));
        }
        lab.closed.get(&(SERVER, stream)).copied()
    });
    let gone = Some(CloseReason::TimedOut);
    assert_eq!(closed, [gone, gone, gone, None]);
}

use super::*;
use crate::msp::receive::MESSAGE_OVERHEAD;
use alloc::vec;
use bytes::Bytes;
use core::time::Duration;

const PORT: u16 = 600;

const fn ms(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn peer(number: u8) -> Addr {
    Addr::new(Sid::new([number; 32]), Port::from(700))
}

/// An endpoint that listens.
fn listening() -> Endpoint {
    let mut endpoint = Endpoint::new(Config::default(), [3; 32]);
    endpoint.listen(PORT.into()).unwrap();
    endpoint
}

fn deliver(
    endpoint: &mut Endpoint,
    now: Instant,
    from: Addr,
    packet: &'static [u8],
) -> Result<(), DatagramError> {
    let packet = Bytes::from_static(packet);
    endpoint.handle_datagram(now, Datagram::new(from, PORT.into(), Protection::Encrypted, packet))
}

/// The packets that it sends now, with their receivers.
fn sent(endpoint: &mut Endpoint, now: Instant) -> Vec<(Addr, Vec<u8>)> {
    let mut buffer = Vec::new();
    core::iter::from_fn(|| endpoint.poll_transmit(now, &mut buffer).map(|it| (it.to, buffer.clone())))
        .collect()
}

fn events(endpoint: &mut Endpoint) -> Vec<Event> {
    core::iter::from_fn(|| endpoint.poll_event()).collect()
}

/// An accepted stream with the messages "abc" and "de", and nothing left to report.
fn accepted(endpoint: &mut Endpoint) -> StreamId {
    deliver(endpoint, ms(0), peer(2), b"\x04\xff\xff\x00\x00abc").unwrap();
    deliver(endpoint, ms(0), peer(2), b"\x00\xff\xff\x01\x00de").unwrap();
    let events = events(endpoint);
    let [Event::Accepted { stream, .. }, Event::Readable { .. }] = events[..] else { panic!("{events:?}") };
    stream
}

#[test]
fn services_of_the_node_cannot_be_listened_on() {
    let mut endpoint = listening();
    assert_eq!(endpoint.listen(Port::from(18)), Err(ListenError::Reserved(Port::from(18))));
    assert_eq!(endpoint.listen(Port::from(19)), Ok(()));
    assert_eq!(endpoint.listen(Port::from(19)), Err(ListenError::InUse(Port::from(19))));
}

#[test]
fn refusals_come_in_a_burst_of_32_and_then_every_10_ms() {
    let mut endpoint = listening();
    let mut flood = |now| {
        for _ in 0..100 {
            assert_eq!(
                deliver(&mut endpoint, now, peer(2), b"\x00\xff\xff"),
                Err(DatagramError::UnknownStream)
            );
        }
        sent(&mut endpoint, now).len()
    };
    assert_eq!([1000, 1000, 1010, 1200, 9000].map(|at| flood(ms(at))), [32, 0, 1, 19, 32]);
}

#[test]
fn at_most_64_refusals_wait() {
    let mut endpoint = listening();
    for n in 0..200 {
        let _ = deliver(&mut endpoint, ms(10 * n), peer(2), b"\x00\xff\xff");
    }
    assert!(!endpoint.is_idle());
    assert_eq!(sent(&mut endpoint, ms(2000)), vec![(peer(2), b"\x08".to_vec()); 64]);
    assert!(endpoint.is_idle());
}

#[test]
fn a_refusal_that_cannot_be_sent_waits_until_the_peer_has_given_up() {
    let mut endpoint = listening();
    let _ = deliver(&mut endpoint, ms(0), peer(2), b"\x00\xff\xff");
    let none = |_, _| Room::NoneToPeer;
    for (at, idle) in [(0, false), (9_999, false), (10_000, true)] {
        endpoint.handle_timeout(ms(at));
        assert!(endpoint.poll_transmit_if(ms(at), &mut Vec::new(), none).is_none());
        assert_eq!((endpoint.is_idle(), endpoint.next_timer()), (idle, (!idle).then(|| ms(10_000))));
    }
}

/// It would end that stream.
#[test]
fn a_refusal_is_not_sent_to_who_has_a_stream_by_then() {
    let mut endpoint = listening();
    let _ = deliver(&mut endpoint, ms(0), peer(2), b"\x00\xff\xff");
    deliver(&mut endpoint, ms(1), peer(2), b"\x04\xff\xff\x00\x00abc").unwrap();
    assert!(sent(&mut endpoint, ms(1)).iter().all(|(_, packet)| packet != b"\x08"));
}

#[test]
fn the_ports_of_an_ended_stream_are_free_again_after_the_idle_timeout() {
    let mut endpoint = listening();
    accepted(&mut endpoint);
    endpoint.reset_all(ms(0));
    endpoint.listen(PORT.into()).unwrap();
    deliver(&mut endpoint, ms(10), peer(2), b"\x08").unwrap();
    let first = b"\x04\xff\xff\x00\x00abc";
    assert_eq!(deliver(&mut endpoint, ms(10_010), peer(2), first), Err(DatagramError::Refused));
    let later = ms(10_010) + Duration::from_micros(1);
    assert_eq!(deliver(&mut endpoint, later, peer(2), first), Ok(()));
}

#[test]
fn a_peer_without_room_holds_up_no_other() {
    let mut endpoint = Endpoint::new(Config::default(), [3; 32]);
    for number in [2, 3, 4] {
        let stream = endpoint.connect(ms(0), peer(number)).unwrap();
        endpoint.stream(stream).unwrap().send(ms(0), Bytes::from_static(b"x")).unwrap();
    }
    let mut buffer = Vec::new();
    let mut next = |full: &[u8]| {
        let is_full = |sid| full.iter().any(|number| sid == peer(*number).sid);
        let room = |_, sid| if is_full(sid) { Room::NoneToPeer } else { Room::Free };
        let is_ready = endpoint.has_transmit(room);
        let to = endpoint.poll_transmit_if(ms(0), &mut buffer, room).map(|it| it.to);
        assert_eq!(is_ready, to.is_some());
        to
    };
    assert_eq!(next(&[2, 3, 4]), None);
    assert_eq!(next(&[2]), Some(peer(3)));
    assert_eq!(next(&[2, 3]), Some(peer(4)));
    assert_eq!(next(&[]), Some(peer(2)));
    assert_eq!(next(&[]), None);
}

#[test]
fn readable_is_reported_for_what_is_new_once_until_it_is_taken() {
    let mut endpoint = listening();
    let stream = accepted(&mut endpoint);
    endpoint.stream(stream).unwrap().recv(ms(1)).unwrap();
    assert_eq!(events(&mut endpoint), [], "the second is no news");
    for packet in [b"\x00\xff\xff\x02\x00x", b"\x00\xff\xff\x03\x00x"] {
        deliver(&mut endpoint, ms(2), peer(2), packet).unwrap();
    }
    assert_eq!(events(&mut endpoint), [Event::Readable { stream }]);
    deliver(&mut endpoint, ms(3), peer(2), b"\x00\xff\xff\x05\x00x").unwrap();
    assert_eq!(events(&mut endpoint), [], "4 is missing");
    deliver(&mut endpoint, ms(3), peer(2), b"\x01\xff\xff\x04\x00x").unwrap();
    assert_eq!(events(&mut endpoint), [Event::Readable { stream }, Event::PeerFinished { stream }]);
}

#[test]
fn a_failure_is_reported_once_and_after_the_last_message() {
    let mut endpoint = listening();
    let stream = accepted(&mut endpoint);
    while endpoint.stream(stream).unwrap().send(ms(0), Bytes::from_static(b"x")).is_ok() {}
    deliver(&mut endpoint, ms(1), peer(2), b"\x08").unwrap();
    assert_eq!(
        events(&mut endpoint),
        [Event::Writable { stream }],
        "for who waits to send; there are messages"
    );
    endpoint.stream(stream).unwrap().recv(ms(1)).unwrap();
    assert_eq!(events(&mut endpoint), []);
    endpoint.stream(stream).unwrap().recv(ms(1)).unwrap();
    assert_eq!(events(&mut endpoint), [Event::Closed { stream, reason: CloseReason::PeerReset }]);
    endpoint.handle_timeout(ms(1));
    assert!(endpoint.is_idle() && endpoint.poll_timeout().is_none());
}

#[test]
fn a_stream_that_is_reset_here_only_closes() {
    let mut endpoint = listening();
    let stream = accepted(&mut endpoint);
    assert_eq!(endpoint.received_bytes(), 5 + 2 * MESSAGE_OVERHEAD);
    endpoint.stream(stream).unwrap().recv(ms(0)).unwrap();
    assert_eq!(endpoint.received_bytes(), 2 + MESSAGE_OVERHEAD);
    endpoint.stream(stream).unwrap().reset(ms(0));
    assert_eq!(events(&mut endpoint), [Event::Closed { stream, reason: CloseReason::Reset }]);
    assert!(endpoint.stream(stream).is_none());
    let mut stops = 0;
    while let Some(at) = endpoint.poll_timeout() {
        endpoint.handle_timeout(at);
        stops += sent(&mut endpoint, at).len();
        assert!(stops < 5 && events(&mut endpoint).is_empty());
    }
    assert_eq!((stops, endpoint.received_bytes(), endpoint.is_idle()), (4, 0, true));
}

#[test]
fn a_stream_that_ends_while_it_waits_for_its_turn_leaves_the_others_theirs() {
    let mut endpoint = listening();
    for number in [2, 3, 4] {
        deliver(&mut endpoint, ms(0), peer(number), b"\x04\xff\xff").unwrap();
    }
    deliver(&mut endpoint, ms(0), peer(3), b"\x08").unwrap();
    let answer = b"\x00\xff\xff".to_vec();
    assert_eq!(sent(&mut endpoint, ms(0)), [(peer(2), answer.clone()), (peer(4), answer)]);
}

/// The peer still remembers the stream that had the same ports lately, and refuses another one.
#[test]
fn no_port_is_used_again_for_a_long_time() {
    let mut endpoint = Endpoint::new(Config::default(), [3; 32]);
    let mut ports = BTreeSet::new();
    for number in 0..100_000 {
        let port = endpoint.ephemeral_port(peer(2)).unwrap();
        assert!(EPHEMERAL_PORTS.contains(&port.get()));
        assert!(ports.insert(port), "port {port} again, for stream {number}");
    }
    let other = Endpoint::new(Config::default(), [4; 32]).ephemeral_port(peer(2)).unwrap();
    assert!(!ports.contains(&other), "another start, other ports");
}

#[test]
fn streams_that_only_wait_for_late_packets_make_room_for_new_ones() {
    let config = Config { max_streams: 4, ..Config::default() };
    let mut endpoint = Endpoint::new(config, [3; 32]);
    endpoint.listen(PORT.into()).unwrap();
    for number in 2..12 {
        deliver(&mut endpoint, ms(number.into()), peer(number), b"\x04\xff\xff\x00\x00abc").unwrap();
        for event in events(&mut endpoint) {
            if let Event::Accepted { stream, .. } = event {
                endpoint.stream(stream).unwrap().reset(ms(number.into()));
            }
        }
        assert_eq!(endpoint.slots.len(), usize::from(number - 1).min(4));
    }
}

#[test]
fn a_stream_tells_what_it_has_not_sent_yet() {
    let mut endpoint = listening();
    let stream = accepted(&mut endpoint);
    let unsent = |endpoint: &mut Endpoint| endpoint.stream(stream).unwrap().unsent();
    assert_eq!(unsent(&mut endpoint), 0);
    for count in 1..=3 {
        endpoint.stream(stream).unwrap().send(ms(0), Bytes::from_static(b"x")).unwrap();
        assert_eq!(unsent(&mut endpoint), count);
    }
    assert_eq!(sent(&mut endpoint, ms(0)).len(), 3);
    assert_eq!(unsent(&mut endpoint), 0);
}

/// One that takes all the memory, and one that waits for some.
#[test]
fn a_stream_that_waits_for_memory_is_told_at_once_when_there_is_some() {
    let config = Config { send_memory: 20 * (1024 + MESSAGE_OVERHEAD), ..Config::default() };
    let mut endpoint = Endpoint::new(config, [3; 32]);
    endpoint.listen(PORT.into()).unwrap();
    let [greedy, patient] = [2, 3].map(|number| {
        deliver(&mut endpoint, ms(0), peer(number), b"\x04\xff\xff\x00\x00abc").unwrap();
        let Event::Accepted { stream, .. } = events(&mut endpoint)[0] else { panic!("not accepted") };
        stream
    });
    let message = Bytes::from_static(&[7; 1024]);
    for stream in [greedy, patient] {
        while endpoint.stream(stream).unwrap().send(ms(0), message.clone()).is_ok() {}
    }
    sent(&mut endpoint, ms(0));
    endpoint.stream(greedy).unwrap().recv(ms(0)).unwrap();
    sent(&mut endpoint, ms(0));
    events(&mut endpoint);
    assert!(endpoint.poll_timeout().is_some_and(|at| at > ms(0)), "nothing to take");
    deliver(&mut endpoint, ms(1), peer(2), b"\x08").unwrap();
    assert!(matches!(endpoint.poll_event(), Some(Event::Closed { stream, .. }) if stream == greedy));
    assert_eq!(endpoint.poll_timeout(), Some(ms(1)));
    assert_eq!(events(&mut endpoint), [Event::Writable { stream: patient }]);
}

#[test]
fn a_limit_is_reported_again_after_the_interval_and_not_before() {
    let config = Config { max_streams_per_peer: 1, ..Config::default() };
    let mut endpoint = Endpoint::new(config, [3; 32]);
    endpoint.listen(PORT.into()).unwrap();
    let mut reports = |at| {
        let peer = Addr::new(peer(2).sid, Port::from(900 + at as u16 % 7));
        let _ = deliver(&mut endpoint, ms(at), peer, b"\x04\xff\xff");
        let limit = |event: &Event| matches!(event, Event::LimitReached { .. });
        events(&mut endpoint).iter().filter(|event| limit(event)).count()
    };
    let interval = crate::msp::admission::REPORT_INTERVAL.as_millis() as u64;
    assert_eq!([0, 1, 2, interval].map(&mut reports), [0, 1, 0, 0]);
    assert_eq!(reports(1 + interval), 1);
}

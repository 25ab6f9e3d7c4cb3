use super::*;

const fn ms(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// `count` segments sent at 100 ms on a path of 50 ms, ± 25.
fn sent(count: usize) -> (SendBuffer, RoundTrip) {
    let (mut buffer, mut round_trip) = (SendBuffer::new(), RoundTrip::new());
    round_trip.sample(ms(0), Duration::from_millis(50));
    for _ in 0..count {
        buffer.push(Bytes::from_static(b"x"));
    }
    assert_eq!(send_all(&mut buffer, 100), (0..count as u16).collect::<alloc::vec::Vec<_>>());
    (buffer, round_trip)
}

/// Sends what can be sent and returns the sequence numbers.
fn send_all(buffer: &mut SendBuffer, at: u64) -> alloc::vec::Vec<u16> {
    let mut seqs = alloc::vec::Vec::new();
    while buffer.readiness(1000) == Readiness::Ready {
        seqs.extend(buffer.next(ms(at)).map(|segment| segment.seq.0));
    }
    seqs
}

/// Handles the timers due by then and sends.
fn timeout(buffer: &mut SendBuffer, round_trip: &RoundTrip, at: u64) -> alloc::vec::Vec<u16> {
    buffer.on_timeout(ms(at), round_trip);
    send_all(buffer, at)
}

#[test]
fn samples_come_only_from_segments_sent_once_that_waited_for_nothing() {
    let (mut buffer, round_trip) = sent(4);
    let rtt = |millis| Some(Duration::from_millis(millis));
    let acknowledged = buffer.on_ack(ms(150), Seq(1), true, &round_trip);
    assert_eq!(acknowledged, Acknowledged { count: 2, round_trip: rtt(50), at_most: rtt(50) });
    buffer.on_ack(ms(160), Seq(1), true, &round_trip);
    let acknowledged = buffer.on_ack(ms(300), Seq(3), true, &round_trip);
    assert_eq!(
        acknowledged,
        Acknowledged { count: 2, round_trip: None, at_most: rtt(200) },
        "3 waited for 2"
    );

    let (mut buffer, round_trip) = sent(1);
    assert_eq!(timeout(&mut buffer, &round_trip, 300), [0]);
    let acknowledged = buffer.on_ack(ms(310), Seq(0), true, &round_trip);
    assert_eq!(acknowledged, Acknowledged { count: 1, ..Default::default() }, "of which copy is unknown");
}

#[test]
fn repeated_acknowledgments_resend_the_first_segment_a_round_trip_after_it_was_sent() {
    let (mut buffer, round_trip) = sent(8);
    buffer.on_ack(ms(150), Seq(0), true, &round_trip);
    for _ in 0..3 {
        buffer.on_ack(ms(151), Seq(0), true, &round_trip);
    }
    assert_eq!(buffer.in_flight(), 4, "7 are out, 3 of them have arrived");
    assert_eq!(timeout(&mut buffer, &round_trip, 152), [0; 0], "it may only be late");
    let due = buffer.timeout(&round_trip).unwrap();
    assert_eq!(due, ms(100 + 50 + 50), "a round trip and twice its variation");
    assert_eq!(timeout(&mut buffer, &round_trip, 200), [1]);
    buffer.on_ack(ms(201), Seq(0), true, &round_trip);
    assert_eq!(timeout(&mut buffer, &round_trip, 300), [0; 0], "then after twice the time");
    // An acknowledgment of a part uncovers the next loss (RFC 6582).
    buffer.on_ack(ms(310), Seq(4), true, &round_trip);
    assert_eq!(timeout(&mut buffer, &round_trip, 310), [5]);
    buffer.on_ack(ms(360), Seq(7), true, &round_trip);
    assert_eq!((buffer.len(), buffer.timeout(&round_trip)), (0, None));
}

#[test]
fn after_a_timeout_groups_that_double_are_resent() {
    let (mut buffer, round_trip) = sent(20);
    assert_eq!(timeout(&mut buffer, &round_trip, 299), [0; 0]);
    assert_eq!(timeout(&mut buffer, &round_trip, 350), [0]);
    buffer.on_ack(ms(400), Seq(0), true, &round_trip);
    assert_eq!(send_all(&mut buffer, 400), [1, 2]);
    buffer.on_ack(ms(450), Seq(2), true, &round_trip);
    assert_eq!(send_all(&mut buffer, 450), [3, 4, 5, 6]);
    buffer.on_ack(ms(500), Seq(6), true, &round_trip);
    assert_eq!(send_all(&mut buffer, 500), (7..15).collect::<alloc::vec::Vec<_>>());
    buffer.on_ack(ms(550), Seq(19), true, &round_trip);
    assert_eq!((buffer.len(), buffer.in_flight()), (0, 0));
}

#[test]
fn a_resend_in_vain_widens_the_reordering_window() {
    let (mut buffer, mut round_trip) = sent(8);
    for _ in 0..50 {
        round_trip.sample(ms(100), Duration::from_millis(50));
    }
    for _ in 0..3 {
        buffer.on_ack(ms(151), Seq(0).previous(), true, &round_trip);
    }
    let before = buffer.timeout(&round_trip).unwrap();
    assert_eq!(timeout(&mut buffer, &round_trip, 170), [0]);
    buffer.on_ack(ms(171), Seq(0), true, &round_trip); // of the original, which was late
    buffer.on_ack(ms(171), Seq(0), true, &round_trip);
    assert!(buffer.timeout(&round_trip).unwrap() > before);
}

#[test]
fn old_and_impossible_acknowledgments_change_nothing() {
    let (mut buffer, round_trip) = sent(4);
    buffer.push(Bytes::from_static(b"not sent"));
    for ack in [4, 5, 0x7ffe, 0x8001, 0xfffe] {
        assert_eq!(buffer.on_ack(ms(150), Seq(ack), true, &round_trip), Acknowledged::default());
        assert_eq!((buffer.len(), buffer.in_flight()), (5, 4), "{ack}");
    }
}

#[test]
fn the_end_is_a_segment_of_its_own() {
    let (mut buffer, round_trip) = sent(1);
    buffer.finish();
    buffer.finish();
    assert!(!buffer.lacks_only_shutdown());
    let end = buffer.next(ms(100)).unwrap();
    assert!(end.shutdown && end.payload.is_empty() && end.seq == Seq(1));
    buffer.on_ack(ms(150), Seq(0), true, &round_trip);
    assert!(buffer.lacks_only_shutdown() && !buffer.is_complete());
    buffer.on_ack(ms(150), Seq(1), true, &round_trip);
    assert!(buffer.is_complete());
}

use super::*;
use alloc::vec::Vec;

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
    assert_eq!(send_all(&mut buffer, 100), (0..count as u32).collect::<Vec<_>>());
    (buffer, round_trip)
}

/// The same on a path of 50 ms that does not vary.
fn sent_steadily(count: usize) -> (SendBuffer, RoundTrip) {
    let (buffer, mut round_trip) = sent(count);
    (0..50).for_each(|_| round_trip.sample(ms(0), Duration::from_millis(50)));
    (buffer, round_trip)
}

/// The peer repeats at `at` that it has everything up to `ack`.
fn repeat(buffer: &mut SendBuffer, round_trip: &RoundTrip, at: u64, ack: Seq, count: usize) {
    for _ in 0..count {
        assert_eq!(buffer.on_ack(ms(at), ack, true, round_trip), Acknowledged::default());
    }
}

const NOTHING: Seq = Seq(0).previous();

/// Sends what can be sent and returns the sequence numbers.
fn send_all(buffer: &mut SendBuffer, at: u64) -> Vec<u32> {
    let mut seqs = Vec::new();
    while buffer.readiness(1000) == Readiness::Ready {
        seqs.push(buffer.next(ms(at)).expect("it is ready").seq.0);
    }
    seqs
}

/// Handles the timers due by then and sends.
fn timeout(buffer: &mut SendBuffer, round_trip: &RoundTrip, at: u64) -> Vec<u32> {
    buffer.on_timeout(ms(at), round_trip, &mut Path::new());
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
    assert_eq!(buffer.in_flight(), 2, "of 5, 6 and 7, one more has arrived");
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
    assert_eq!(send_all(&mut buffer, 500), (7..15).collect::<Vec<_>>());
    buffer.on_ack(ms(550), Seq(19), true, &round_trip);
    assert_eq!((buffer.len(), buffer.in_flight()), (0, 0));
}

#[test]
fn the_first_of_the_groups_after_a_timeout_end_where_it_found_them() {
    let (mut buffer, round_trip) = sent(4);
    assert_eq!(timeout(&mut buffer, &round_trip, 300), [0]);
    (0..4).for_each(|_| buffer.push(Bytes::from_static(b"new")));
    assert_eq!(send_all(&mut buffer, 300), [4, 5, 6, 7]);
    buffer.on_ack(ms(400), Seq(0), true, &round_trip);
    assert_eq!(send_all(&mut buffer, 400), [1, 2]);
    buffer.on_ack(ms(450), Seq(2), true, &round_trip);
    assert_eq!(send_all(&mut buffer, 450), [3], "the others were sent later");
    buffer.on_ack(ms(500), Seq(3), true, &round_trip);
    assert_eq!(send_all(&mut buffer, 500), [0; 0]);
}

#[test]
fn a_loss_after_the_repair_of_a_timeout_is_another_one() {
    let (mut buffer, round_trip) = sent(4);
    assert_eq!(timeout(&mut buffer, &round_trip, 300), [0]);
    buffer.on_ack(ms(400), Seq(3), true, &round_trip);
    (0..2).for_each(|_| buffer.push(Bytes::from_static(b"x")));
    assert_eq!(send_all(&mut buffer, 400), [4, 5]);
    repeat(&mut buffer, &round_trip, 450, Seq(3), 1);
    assert_eq!(buffer.on_timeout(ms(500), &round_trip, &mut Path::new()), Loss::Fast);
}

#[test]
fn what_was_resent_less_than_a_round_trip_ago_is_not_resent_with_its_group() {
    let (mut buffer, round_trip) = sent(4);
    assert_eq!(timeout(&mut buffer, &round_trip, 300), [0]);
    buffer.on_ack(ms(320), Seq(0), true, &round_trip); // of the original
    assert_eq!(send_all(&mut buffer, 320), [1, 2]);
    buffer.on_ack(ms(330), Seq(1), true, &round_trip);
    assert_eq!(send_all(&mut buffer, 330), [3], "2 may still come");
}

#[test]
fn an_acknowledgment_takes_back_what_was_marked_lost() {
    let (mut buffer, round_trip) = sent(8);
    assert_eq!(timeout(&mut buffer, &round_trip, 300), [0]);
    buffer.on_ack(ms(400), Seq(0), true, &round_trip); // 1 and 2 are to be resent
    assert_eq!(buffer.in_flight(), 5);
    buffer.on_ack(ms(401), Seq(7), true, &round_trip);
    assert_eq!((buffer.readiness(8), buffer.in_flight()), (Readiness::Idle, 0));
}

#[test]
fn repeated_acknowledgments_tell_how_many_have_arrived_but_never_of_the_first() {
    let (mut buffer, round_trip) = sent(4);
    buffer.on_ack(ms(150), NOTHING, false, &round_trip);
    assert_eq!(buffer.in_flight(), 4, "a packet with data says nothing");
    repeat(&mut buffer, &round_trip, 150, NOTHING, 2);
    assert_eq!(buffer.in_flight(), 2);
    repeat(&mut buffer, &round_trip, 150, NOTHING, 4);
    assert_eq!(buffer.in_flight(), 1);

    let (mut buffer, round_trip) = sent(8);
    repeat(&mut buffer, &round_trip, 150, NOTHING, 3);
    buffer.on_ack(ms(160), Seq(1), true, &round_trip);
    assert_eq!(buffer.in_flight(), 4, "of the three, 1 is acknowledged and two are among the other six");
}

#[test]
fn the_timer_runs_from_the_last_progress() {
    let (mut buffer, round_trip) = (SendBuffer::new(), RoundTrip::new());
    buffer.push(Bytes::from_static(b"x"));
    assert_eq!(buffer.timeout(&round_trip), None, "nothing was sent");
    assert_eq!(buffer.on_timeout(ms(5000), &round_trip, &mut Path::new()), Loss::None);

    let (mut buffer, round_trip) = sent(2);
    buffer.push(Bytes::from_static(b"x"));
    assert_eq!(send_all(&mut buffer, 200), [2]);
    assert_eq!(buffer.timeout(&round_trip), Some(ms(300)), "sending more does not put it off");
    assert_eq!(buffer.on_timeout(ms(300), &round_trip, &mut Path::new()), Loss::Timeout);
    assert_eq!(buffer.timeout(&round_trip), None, "0 is known to be lost");
    assert_eq!(send_all(&mut buffer, 350), [0]);
    assert_eq!(buffer.timeout(&round_trip), Some(ms(550)));
    buffer.on_ack(ms(400), Seq(1), true, &round_trip);
    assert_eq!(send_all(&mut buffer, 400), [2]);
    assert_eq!(buffer.timeout(&round_trip), Some(ms(600)));
}

#[test]
fn the_window_limits_what_is_new_but_not_what_is_lost() {
    let (mut buffer, round_trip) = sent(4);
    assert_eq!(buffer.readiness(5), Readiness::Idle);
    buffer.push(Bytes::from_static(b"x"));
    let readiness = [3, 4, 5].map(|window| buffer.readiness(window));
    assert_eq!(readiness, [Readiness::Limited, Readiness::Limited, Readiness::Ready]);
    buffer.on_timeout(ms(300), &round_trip, &mut Path::new());
    assert_eq!(buffer.readiness(0), Readiness::Ready);
}

#[test]
fn a_recovery_reports_one_loss() {
    let (mut buffer, round_trip) = sent(8);
    buffer.on_ack(ms(150), Seq(0), true, &round_trip);
    repeat(&mut buffer, &round_trip, 151, Seq(0), 3);
    assert_eq!(buffer.on_timeout(ms(200), &round_trip, &mut Path::new()), Loss::Fast);
    assert_eq!(send_all(&mut buffer, 200), [1]);
    buffer.on_ack(ms(250), Seq(3), true, &round_trip);
    assert_eq!(buffer.on_timeout(ms(250), &round_trip, &mut Path::new()), Loss::None);
    assert_eq!(send_all(&mut buffer, 250), [4], "lost in the same round trip");
    buffer.on_ack(ms(300), Seq(7), true, &round_trip);
    (0..2).for_each(|_| buffer.push(Bytes::from_static(b"x")));
    assert_eq!(send_all(&mut buffer, 400), [8, 9]);
    assert_eq!(buffer.timeout(&round_trip), Some(ms(500 + 100)), "no loss is known any more");
    repeat(&mut buffer, &round_trip, 450, Seq(7), 1);
    assert_eq!(buffer.on_timeout(ms(499), &round_trip, &mut Path::new()), Loss::None);
    assert_eq!(buffer.on_timeout(ms(500), &round_trip, &mut Path::new()), Loss::Fast);
}

#[test]
fn what_is_lost_again_while_others_arrive_is_blamed_on_the_link_five_times() {
    let (mut buffer, round_trip) = sent(4);
    repeat(&mut buffer, &round_trip, 150, NOTHING, 1);
    let losses = (1..8).map(|n| {
        let loss = buffer.on_timeout(ms(100 + 200 * n), &round_trip, &mut Path::new());
        assert_eq!(send_all(&mut buffer, 100 + 200 * n), [0]);
        loss
    });
    let [fast, timeout] = [Loss::Fast, Loss::Timeout];
    assert_eq!(losses.collect::<Vec<_>>(), [fast, fast, fast, fast, fast, timeout, timeout]);

    let (mut buffer, round_trip) = sent(4);
    buffer.on_ack(ms(150), NOTHING, false, &round_trip);
    assert_eq!(
        buffer.on_timeout(ms(300), &round_trip, &mut Path::new()),
        Loss::Timeout,
        "nothing shows that others arrive"
    );
}

#[test]
fn a_repeated_acknowledgment_waits_a_quarter_round_trip_for_what_is_late_or_for_a_delayed_one() {
    let (mut buffer, round_trip) = sent_steadily(4);
    repeat(&mut buffer, &round_trip, 150, NOTHING, 1);
    assert_eq!(buffer.timeout(&round_trip), Some(Instant::from_micros(162_500)));
    assert_eq!(timeout(&mut buffer, &round_trip, 163), [0]);
    assert_eq!(buffer.timeout(&round_trip), Some(ms(163 + 125)), "twice as long");
    assert_eq!(timeout(&mut buffer, &round_trip, 288), [0]);
    assert_eq!(buffer.timeout(&round_trip), Some(ms(288 + 200)), "no longer than the timeout");

    let (mut buffer, _) = sent(4);
    let mut round_trip = RoundTrip::new();
    round_trip.sample(ms(0), Duration::from_millis(1));
    repeat(&mut buffer, &round_trip, 101, NOTHING, 1);
    assert_eq!(buffer.timeout(&round_trip), Some(ms(100 + 1 + 5)));
}

#[test]
fn each_resend_in_vain_doubles_the_reordering_window_up_to_eight_times() {
    let (mut buffer, round_trip) = sent_steadily(8);
    let mut waits = Vec::new();
    for seq in 0..6 {
        let at = 290 + 2 * u64::from(seq);
        repeat(&mut buffer, &round_trip, at, Seq(seq).previous(), 1);
        waits.push(buffer.timeout(&round_trip).unwrap() - ms(100 + 50));
        assert_eq!(timeout(&mut buffer, &round_trip, at), [seq]);
        buffer.on_ack(ms(at + 1), Seq(seq), true, &round_trip); // of the original, which was late
    }
    assert_eq!(waits, [12_500, 25_000, 50_000, 100_000, 100_000, 100_000].map(Duration::from_micros));
}

#[test]
fn an_acknowledgment_half_a_round_trip_after_the_resend_may_be_of_the_copy() {
    let wait_after = |resent: bool, delay: u64| {
        let (mut buffer, round_trip) = sent_steadily(4);
        if resent {
            repeat(&mut buffer, &round_trip, 150, NOTHING, 1);
            assert_eq!(timeout(&mut buffer, &round_trip, 200), [0]);
        }
        let sent = if resent { 200_000 } else { 100_000 };
        buffer.on_ack(Instant::from_micros(sent + delay), Seq(0), true, &round_trip);
        repeat(&mut buffer, &round_trip, 250, Seq(0), 1);
        buffer.timeout(&round_trip).unwrap() - ms(100 + 50)
    };
    assert_eq!(wait_after(true, 24_999), Duration::from_micros(25_000));
    assert_eq!(wait_after(true, 25_000), Duration::from_micros(12_500));
    assert_eq!(wait_after(false, 1), Duration::from_micros(12_500), "nothing was resent");
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

#[test]
fn a_recovery_in_single_steps_does_not_overflow() {
    let (mut buffer, round_trip) = sent(200);
    assert_eq!(timeout(&mut buffer, &round_trip, 350), [0]);
    for n in 0..200 {
        assert_eq!(buffer.on_ack(ms(400), Seq(n), true, &round_trip).count, 1);
    }
    assert_eq!((buffer.len(), buffer.in_flight()), (0, 0));
}

#[test]
fn losses_behind_one_that_the_timer_found_belong_to_it() {
    let (mut buffer, round_trip) = sent(8);
    buffer.on_ack(ms(150), Seq(0), true, &round_trip);
    buffer.on_ack(ms(151), Seq(0), true, &round_trip);
    let late = ms(150) + round_trip.timeout();
    assert_eq!(buffer.on_timeout(late, &round_trip, &mut Path::new()), Loss::Fast, "others arrive");
    send_all(&mut buffer, 400);
    buffer.on_ack(ms(450), Seq(1), true, &round_trip);
    assert_eq!(buffer.on_timeout(ms(450), &round_trip, &mut Path::new()), Loss::None, "2 was lost with it");
    assert_eq!(send_all(&mut buffer, 450), [2]);
}

use super::super::send::Readiness;
use super::*;
use crate::wire::extended::Range;
use alloc::vec::Vec;

const fn ms(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// `count` segments that were sent a millisecond apart from 100 ms on, on a path of 40 ms that does not vary.
fn sent(count: u64) -> (SendBuffer, RoundTrip) {
    let (mut buffer, mut round_trip) = (SendBuffer::new(), RoundTrip::new());
    (0..100).for_each(|_| round_trip.sample(ms(0), Duration::from_millis(40)));
    buffer.use_reports();
    for n in 0..count {
        buffer.push(Bytes::from_static(b"x"));
        assert_eq!(send_all(&mut buffer, 100 + n), [n as u32]);
    }
    (buffer, round_trip)
}

/// Sends what can be sent and returns the numbers.
fn send_all(buffer: &mut SendBuffer, at: u64) -> Vec<u32> {
    let mut sent = Vec::new();
    while buffer.readiness(1000) == Readiness::Ready {
        sent.push(buffer.next(ms(at)).unwrap().seq.0);
    }
    sent
}

/// The peer has consumed `consumed` messages and has some more, given as (missing, received).
fn report(consumed: u32, ranges: &[(u32, u32)]) -> Acknowledgment {
    let ranges = ranges.iter().map(|&(missing, received)| Range { missing, received }).collect();
    Acknowledgment { consumed: Seq(consumed).previous(), window: 100, ranges }
}

/// It is about the packet that was sent then.
fn of(at: u64) -> Option<Echo> {
    Some(Echo { sent_at: ms(at), held: Duration::from_millis(1) })
}

/// Handles the timers due by then and sends.
fn timeout(buffer: &mut SendBuffer, round_trip: &RoundTrip, at: u64) -> (Loss, Vec<u32>) {
    let loss = buffer.on_timeout(ms(at), round_trip, &mut Path::new());
    (loss, send_all(buffer, at))
}

#[test]
fn what_was_overtaken_is_lost_as_long_as_nothing_is_known_to_be_reordered() {
    let (mut buffer, round_trip) = sent(8);
    // 0 is consumed, 1 and 4 are missing.
    let acknowledged = buffer.on_report(ms(146), &report(1, &[(1, 2), (1, 2)]), of(105), &mut Path::new());
    let sample = Some(Duration::from_millis(40));
    assert_eq!(acknowledged, Acknowledged { count: 5, round_trip: sample, at_most: sample });
    assert_eq!(buffer.in_flight(), 3, "1, 4 and 7");
    assert_eq!(buffer.timeout(&round_trip), Some(ms(101 + 40 + 1)));
    assert_eq!(timeout(&mut buffer, &round_trip, 141), (Loss::None, Vec::new()));
    assert_eq!(timeout(&mut buffer, &round_trip, 142), (Loss::Fast, Vec::from([1])));
    assert_eq!(timeout(&mut buffer, &round_trip, 145), (Loss::None, Vec::from([4])), "of the same recovery");
    // 1 arrives, and 4 was not overtaken since it was sent again.
    buffer.on_report(ms(183), &report(4, &[(1, 3)]), of(142), &mut Path::new());
    assert_eq!((buffer.base(), buffer.in_flight()), (Seq(4), 1));
    assert_eq!(timeout(&mut buffer, &round_trip, 190), (Loss::None, Vec::new()));
    buffer.on_report(ms(191), &report(8, &[]), of(145), &mut Path::new());
    assert_eq!((buffer.len(), buffer.in_flight(), buffer.timeout(&round_trip)), (0, 0, None));
}

/// It comes with a later packet, as the first acknowledgment was lost.
#[test]
fn where_hops_repair_losses_two_round_trips_more_are_waited_for() {
    let (mut buffer, round_trip) = sent(8);
    buffer.is_repaired = true;
    buffer.on_report(ms(146), &report(1, &[(1, 2), (1, 2)]), of(105), &mut Path::new());
    assert_eq!(timeout(&mut buffer, &round_trip, 150), (Loss::None, Vec::new()));
    let selective = buffer.selective.as_ref().unwrap();
    let patience =
        [false, true].map(|it| selective.overtaking(&round_trip, it).unwrap().patience.as_millis());
    assert_eq!(patience, [41, 120], "the variation has become almost 0");
}

#[test]
fn an_echo_that_was_held_for_longer_than_it_can_say_is_no_round_trip() {
    let (mut buffer, _) = sent(1);
    let echo = Some(Echo { sent_at: ms(100), held: Echo::LONGEST_HELD });
    let acknowledged = buffer.on_report(ms(1600), &report(1, &[]), echo, &mut Path::new());
    assert_eq!(acknowledged, Acknowledged { count: 1, round_trip: None, at_most: None });
}

#[test]
fn a_segment_of_the_same_moment_is_overtaken_by_a_higher_one() {
    let (mut buffer, round_trip) = sent(0);
    (0..3).for_each(|_| buffer.push(Bytes::from_static(b"x")));
    assert_eq!(send_all(&mut buffer, 100), [0, 1, 2]);
    buffer.on_report(ms(140), &report(0, &[(1, 1)]), of(100), &mut Path::new());
    assert_eq!(timeout(&mut buffer, &round_trip, 150), (Loss::Fast, Vec::from([0])), "2 may follow");
}

#[test]
fn a_report_takes_nothing_back_and_one_of_the_future_is_none() {
    let (mut buffer, _) = sent(8);
    buffer.on_report(ms(146), &report(2, &[(1, 2)]), of(104), &mut Path::new());
    let before = (buffer.base(), buffer.in_flight(), buffer.bytes());
    let older = [(report(0, &[]), of(100)), (report(1, &[(0, 1)]), None), (report(2, &[(2, 1)]), of(104))];
    for (old, echo) in older {
        assert_eq!(buffer.on_report(ms(147), &old, echo, &mut Path::new()), Acknowledged::default());
    }
    let around = report(20, &[(u32::MAX / 2 - 1, 1)]); // the end of its range is before what was sent
    for wrong in [report(9, &[]), report(2, &[(6, 1)]), report(0, &[(0, 9)]), around] {
        assert_eq!(buffer.on_report(ms(147), &wrong, None, &mut Path::new()), Acknowledged::default());
    }
    assert_eq!((buffer.base(), buffer.in_flight(), buffer.bytes()), before);
    assert_eq!(before.2, 4 + 6 * MESSAGE_OVERHEAD, "what has arrived is not kept");
}

#[test]
fn an_echo_of_what_was_never_sent_tells_nothing() {
    let (mut buffer, round_trip) = sent(4);
    let acknowledged = buffer.on_report(ms(144), &report(1, &[(1, 1)]), of(143), &mut Path::new());
    let sample = Some(Duration::from_millis(42));
    assert_eq!(acknowledged.round_trip, sample, "from the latest segment that arrived");
    assert_eq!(timeout(&mut buffer, &round_trip, 152), (Loss::Fast, Vec::from([1])), "3 was sent later");
}

#[test]
fn the_window_of_the_peer_is_kept() {
    let (mut buffer, _) = sent(4);
    (0..9).for_each(|_| buffer.push(Bytes::from_static(b"x")));
    let of_window = |window, consumed, ranges: &[_]| Acknowledgment { window, ..report(consumed, ranges) };
    buffer.on_report(ms(140), &of_window(6, 2, &[(0, 2)]), None, &mut Path::new());
    assert_eq!(send_all(&mut buffer, 140), [4, 5, 6, 7], "2 to 7 are kept");
    buffer.on_report(ms(141), &of_window(9, 1, &[]), None, &mut Path::new());
    assert_eq!(buffer.readiness(1000), Readiness::Idle, "an older report");
    buffer.on_report(ms(142), &of_window(7, 2, &[(0, 2)]), None, &mut Path::new());
    assert_eq!(send_all(&mut buffer, 142), [8]);
}

#[test]
fn silence_is_answered_by_probes_that_ask_for_an_answer() {
    let (mut buffer, round_trip) = sent(3);
    // The last was sent at 102; the round trip, its variation and the delay of acknowledgments.
    let first = 102 + 40 + 1 + 5;
    assert_eq!(buffer.timeout(&round_trip), Some(ms(first)));
    assert_eq!(buffer.on_timeout(ms(first), &round_trip, &mut Path::new()), Loss::None);
    let probe = buffer.next(ms(first)).unwrap();
    assert_eq!((probe.seq, probe.prompt, probe.retransmission), (Seq(0), true, true));
    let mut at = first;
    let mut losses = Vec::new();
    for interval in [46, 92, 184, 368, 736, 1472, 1500] {
        at += interval;
        assert_eq!(buffer.timeout(&round_trip), Some(ms(at)));
        let (loss, sent) = timeout(&mut buffer, &round_trip, at);
        assert_eq!(sent, [0]);
        losses.push(loss);
    }
    assert_eq!(losses[0], Loss::None, "one more may have been lost by chance");
    assert_eq!(losses[1..], [Loss::Timeout; 6]);
    // The probe has arrived: what was sent before it has not.
    buffer.on_report(ms(at + 41), &report(1, &[]), of(at), &mut Path::new());
    assert_eq!(timeout(&mut buffer, &round_trip, at + 41), (Loss::Fast, Vec::from([1, 2])));
}

/// A buffer that has sent three segments, and two probes that had no answer, until the time that comes third.
fn silent(path: &mut Path) -> (SendBuffer, RoundTrip, u64) {
    let (mut buffer, round_trip) = sent(0);
    buffer.has_echoes = true;
    for n in 0..3 {
        buffer.push(Bytes::from_static(&[7; 500]));
        assert_eq!(send_all(&mut buffer, 100 + n), [n as u32]);
    }
    for at in [148, 194] {
        assert_eq!(buffer.on_timeout(ms(at), &round_trip, path), Loss::None);
        assert_eq!(send_all(&mut buffer, at), [0]);
    }
    (buffer, round_trip, 286)
}

#[test]
fn after_two_probes_a_question_is_asked_four_times_a_second() {
    let mut path = Path::new();
    let (mut buffer, round_trip, mut at) = silent(&mut path);
    for interval in [184, 250, 250, 250] {
        assert_eq!((buffer.timeout(&round_trip), buffer.question_at()), (Some(ms(at)), None));
        assert_eq!(buffer.on_timeout(ms(at), &round_trip, &mut path), Loss::Timeout);
        assert!(buffer.question_at().is_some() && !buffer.note_question(ms(at)));
        path.on_question(ms(at));
        assert_eq!(send_all(&mut buffer, at), []);
        at += interval;
    }
    // It has arrived: what was sent before it has not.
    let asked = at - 250;
    buffer.on_report(ms(asked + 41), &report(0, &[]), of(asked), &mut path);
    assert_eq!(timeout(&mut buffer, &round_trip, asked + 41), (Loss::Fast, Vec::from([0, 1, 2])));
    assert_eq!(buffer.timeout(&round_trip), Some(ms(asked + 41 + 46)), "as if there had been no silence");
}

#[test]
fn while_another_stream_asks_one_waits_until_it_is_roused() {
    let mut path = Path::new();
    let (mut buffer, round_trip, at) = silent(&mut path);
    path.on_question(ms(at - 10));
    assert_eq!(buffer.on_timeout(ms(at), &round_trip, &mut path), Loss::Timeout);
    assert_eq!((buffer.question_at(), send_all(&mut buffer, at)), (None, Vec::new()));
    assert!(buffer.waits() && !path.rouses);
    path.on_alive();
    assert!(path.rouses);
    buffer.rouse(ms(at + 50), &mut path);
    assert!(!buffer.waits());
    assert_eq!(send_all(&mut buffer, at + 50), [0]);
    assert_eq!(buffer.timeout(&round_trip), Some(ms(at + 50 + 46)));
    buffer.rouse(ms(at + 60), &mut path);
    assert_eq!(send_all(&mut buffer, at + 60), [], "it does not wait");
}

/// Timers are handled until none is due, before anything is sent.
#[test]
fn one_silence_is_answered_by_one_probe() {
    let (mut buffer, round_trip) = sent(3);
    let first = buffer.timeout(&round_trip).unwrap();
    assert_eq!(buffer.on_timeout(first, &round_trip, &mut Path::new()), Loss::None);
    assert!(buffer.timeout(&round_trip) > Some(first), "{:?}", buffer.timeout(&round_trip));
    assert_eq!(buffer.on_timeout(first, &round_trip, &mut Path::new()), Loss::None);
    assert_eq!(buffer.in_flight(), 2);
}

#[test]
fn a_retransmission_in_vain_makes_patient() {
    let (mut buffer, round_trip) = sent(4);
    buffer.on_report(ms(144), &report(0, &[(1, 3)]), of(103), &mut Path::new());
    assert_eq!(timeout(&mut buffer, &round_trip, 150), (Loss::Fast, Vec::from([0])));
    buffer.on_report(ms(153), &report(4, &[]), of(100), &mut Path::new());
    for n in 0..4 {
        buffer.push(Bytes::from_static(b"x"));
        assert_eq!(send_all(&mut buffer, 200 + n), [4 + n as u32]);
    }
    buffer.on_report(ms(244), &report(4, &[(1, 3)]), of(203), &mut Path::new());
    assert_eq!(buffer.timeout(&round_trip), Some(ms(200 + 40 + 10)), "a quarter of a round trip");
}

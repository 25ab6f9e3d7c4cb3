use super::*;
use core::iter;

const UNICAST: Transport = Transport::Unicast;

fn packet(number: u64) -> PacketNumber {
    PacketNumber { transport: UNICAST, number }
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn frame(millis: u64) -> Frame {
    Frame::new(at(millis), Sid::new([1; 32]), Protection::Clear, Vec::new())
}

/// An outbox from which frames 0, 1, ... were sent at time 0 in the packets `first`, `first + 1`, ...
fn sent(first: u64, count: u64) -> Outbox {
    let mut outbox = Outbox::new(HopRepair::Prompt);
    outbox.set_confirmed(true);
    for number in 0..count {
        outbox.push(frame(0));
        outbox.sent(at(0), Slot::Unsent, number, Some(packet(first + number)));
    }
    outbox
}

/// Takes everything that is to be sent again, in packets from `number` on.
fn resend(outbox: &mut Outbox, now: Instant, number: u64) -> Vec<u64> {
    let mut packets = number..;
    let frames = iter::from_fn(|| {
        let slot = outbox.next(now)?;
        let number = outbox.get(slot)?.1?;
        outbox.sent(now, slot, number, packets.next().map(packet));
        Some(number)
    });
    frames.collect()
}

#[test]
fn what_later_packets_overtook_is_lost() {
    let mut outbox = sent(250, 8);
    // 250 came, 251 to 253 and 255 did not, 254 and 256 came, 257 is under way: 256 is 0 on the wire.
    outbox.acknowledge(at(10), packet(257), Ack { sequence: 0, mask: 0b10_0010 });
    // A round trip is 10 ms, give or take 5.
    assert_eq!((resend(&mut outbox, at(14), 258), outbox.deadline()), (Vec::new(), Some(at(15))));
    assert_eq!(resend(&mut outbox, at(15), 258), [1, 2, 3]);
    assert_eq!(outbox.deadline(), Some(at(30)));
    assert_eq!(resend(&mut outbox, at(30), 261), [5], "one of the first that nothing tells of");
}

#[test]
fn what_one_later_packet_overtook_is_lost_when_it_is_late() {
    for (now, lost) in [(24, false), (25, true)] {
        let mut outbox = sent(300, 4);
        outbox.acknowledge(at(20), packet(303), Ack { sequence: 300_u64 as u8, mask: 0 });
        outbox.acknowledge(at(now), packet(303), Ack { sequence: 302_u64 as u8, mask: 0b10 });
        assert_eq!((outbox.in_flight[0].number, outbox.in_flight[0].lost), (1, lost), "{now}");
    }
}

#[test]
fn of_many_frames_of_which_nothing_is_heard_four_come_again() {
    let mut outbox = sent(300, 10);
    outbox.acknowledge(at(10), packet(309), Ack { sequence: 300_u64 as u8, mask: 0 });
    assert_eq!(resend(&mut outbox, at(90), 310), [1, 2, 3, 4]);
    outbox.acknowledge(at(100), packet(313), Ack { sequence: 313_u64 as u8, mask: 0b111 });
    assert_eq!(resend(&mut outbox, at(100), 314), [5, 6, 7, 8, 9], "now it is");
}

#[test]
fn an_acknowledgment_from_before_a_restart_means_nothing() {
    let mut outbox = sent(300, 2);
    for sequence in [(302_u64 as u8), 200, 173] {
        outbox.acknowledge(at(10), packet(301), Ack { sequence, mask: u32::MAX });
    }
    assert_eq!(resend(&mut outbox, at(400), 302), [0, 1]);
    let other = PacketNumber { transport: Transport::Broadcast, number: 303 };
    outbox.acknowledge(at(401), other, Ack { sequence: 303_u64 as u8, mask: u32::MAX });
    assert_eq!(outbox.in_flight.len(), 2, "another stream");
    outbox.acknowledge(at(401), packet(303), Ack { sequence: 303_u64 as u8, mask: u32::MAX });
    assert_eq!(outbox.in_flight.len(), 0);
}

#[test]
fn an_acknowledgment_of_what_was_not_sent_yet_means_nothing() {
    let mut outbox = sent(300, 300);
    let next = PacketNumber { transport: UNICAST, number: 600 };
    outbox.acknowledge(at(10), packet(599), Ack { sequence: next.number as u8, mask: u32::MAX });
    assert_eq!(outbox.in_flight.len(), 300);
    assert!(outbox.in_flight.iter().all(|entry| !entry.lost));
}

#[test]
fn without_acknowledgment_frames_come_again_less_and_less_often() {
    let mut outbox = sent(300, 2);
    outbox.acknowledge(at(10), packet(301), Ack { sequence: 301_u64 as u8, mask: 0 });
    // 10 ms to and fro, no less than 20 ms for variation.
    let times = iter::from_fn(|| {
        let deadline = outbox.deadline()?;
        assert_eq!(resend(&mut outbox, deadline, 302), [0]);
        Some(deadline)
    });
    assert_eq!(times.take(4).collect::<Vec<_>>(), [at(30), at(90), at(210), at(450)]);
}

#[test]
fn the_first_attempts_wait_for_a_measurement() {
    assert_eq!(sent(300, 1).deadline(), Some(at(100)));
}

#[test]
fn until_there_is_a_measurement_four_frames_come_again() {
    let mut outbox = sent(300, 6);
    assert_eq!(resend(&mut outbox, at(100), 306), [0, 1, 2, 3]);
    outbox.acknowledge(at(110), packet(309), Ack { sequence: 309_u64 as u8, mask: 0 });
    assert_eq!(resend(&mut outbox, at(2000), 310), [0, 1, 2, 4, 5]);
}

#[test]
fn a_frame_that_was_sent_before_there_was_a_way_keeps_its_number() {
    let mut outbox = Outbox::new(HopRepair::Prompt);
    for number in [Some(HISTORY), None] {
        outbox.push(Frame { number, ..frame(0) });
    }
    outbox.next_frame = 2 * HISTORY - 1;
    assert_eq!(outbox.get(Slot::Unsent).unwrap().1, Some(HISTORY));
    outbox.next_frame += 1;
    assert_eq!(outbox.get(Slot::Unsent).unwrap().1, None, "it is not known any more");
    outbox.sent(at(0), Slot::Unsent, HISTORY, None);
    assert_eq!(outbox.get(Slot::Unsent).unwrap().1, None, "the other was not sent");
    assert!(outbox.in_flight[0].doubtful);
}

#[test]
fn a_frame_that_is_lost_before_there_is_a_measurement_comes_again() {
    let mut outbox = sent(300, 1);
    outbox.acknowledge(at(10), packet(304), Ack { sequence: 304_u64 as u8, mask: 0b111 });
    assert_eq!(outbox.deadline(), Some(at(100)));
    assert_eq!(resend(&mut outbox, at(100), 305), [0]);
}

#[test]
fn a_frame_comes_again_32_times_at_most() {
    let mut outbox = sent(300, 2);
    outbox.acknowledge(at(0), packet(301), Ack { sequence: 301_u64 as u8, mask: 0 });
    // It is said to be lost again and again.
    let mut count = 0;
    for number in (400..).step_by(4).take(100) {
        count += resend(&mut outbox, at(number), number).len();
        outbox.acknowledge(at(number), packet(number + 3), Ack { sequence: number as u8 + 3, mask: 0 });
    }
    assert_eq!((count, outbox.in_flight.len()), (32, 1));
    assert_eq!((outbox.next(at(10_000)), outbox.deadline()), (None, None));
}

#[test]
fn old_frames_are_given_up() {
    let mut outbox = sent(300, 10);
    let second = Duration::from_secs(1);
    outbox.expire(at(999), second, 10);
    assert_eq!(outbox.in_flight.len(), 10);
    outbox.expire(at(1000), second, 10);
    assert_eq!(outbox.in_flight.len(), 0);
    assert_eq!((outbox.next(at(1000)), outbox.deadline()), (None, None));
    outbox.push(frame(1000));
    assert_eq!(outbox.expire(at(2000), second, 10), 1);
    assert_eq!(outbox.unsent(), 0);
}

#[test]
fn a_frame_that_the_neighbour_no_longer_knows_by_its_number_is_sent_again_only_if_it_is_lost() {
    let mut outbox = sent(300, 4);
    outbox.expire(at(1), Duration::from_secs(1), HISTORY + 1);
    assert_eq!(resend(&mut outbox, at(400), 304), [2, 3], "what has fallen behind may have come");
    outbox.acknowledge(at(401), packet(305), Ack { sequence: 303_u64 as u8, mask: 0b10 });
    assert_eq!(outbox.next(at(401)), None, "it may still come");
    let slot = outbox.next(at(2000)).unwrap();
    assert_eq!(slot, Slot::InFlight(0), "the first did not come, the second did");
    assert_eq!(outbox.get(slot).unwrap().1, None, "it needs a new number");
    outbox.sent(at(999), slot, HISTORY + 2, Some(packet(306)));
    outbox.expire(at(999), Duration::from_secs(1), HISTORY + 3);
    assert_eq!(outbox.get(slot).unwrap().1, Some(HISTORY + 2));
}

#[test]
fn the_delay_leaves_room_for_round_trips_that_vary() {
    let mut outbox = sent(300, 2);
    outbox.acknowledge(at(40), packet(301), Ack { sequence: 301_u64 as u8, mask: 0 });
    assert_eq!(outbox.deadline(), Some(at(40 + 4 * 20)));
}

#[test]
fn a_frame_of_which_two_copies_are_about_is_not_sent_under_a_new_number() {
    // One acknowledgment tells of the packets 300 and 305, but not of 300 and 340.
    for (in_time, second, again) in
        [(false, 340, None), (false, 305, Some(Slot::InFlight(0))), (true, 340, Some(Slot::InFlight(0)))]
    {
        let mut outbox = sent(300, 1);
        if in_time {
            outbox.acknowledge(at(10), packet(304), Ack { sequence: 304_u64 as u8, mask: 0b111 });
        }
        assert_eq!(resend(&mut outbox, at(400), second), [0], "it is lost, or was not acknowledged");
        outbox.acknowledge(at(410), packet(second + 4), Ack { sequence: second as u8 + 4, mask: 0b111 });
        outbox.expire(at(410), Duration::from_secs(10), HISTORY + 1);
        assert_eq!(outbox.next(at(5000)), again, "the copy is lost");
    }
}

/// An outbox on a way of 40 ms that has just lost a packet, with as many frames sent at 1000 ms, in packets from 500 on.
fn sent_over_a_bad_way(count: u64) -> Outbox {
    let mut outbox = sent(300, 3);
    outbox.acknowledge(at(40), packet(302), Ack { sequence: 302_u64 as u8, mask: 0b01 });
    assert_eq!(resend(&mut outbox, at(200), 303), [0]);
    outbox.acknowledge(at(240), packet(303), Ack { sequence: 303_u64 as u8, mask: 0b011 });
    assert_eq!(outbox.in_flight.len(), 0);
    (0..count).for_each(|_| outbox.push(Frame { protection: Protection::Encrypted, ..frame(1000) }));
    (0..count).for_each(|it| outbox.sent(at(1000), Slot::Unsent, 3 + it, Some(packet(500 + it))));
    outbox
}

/// When frames are sent again before 1200 ms, in packets from `number` on.
fn times(outbox: &mut Outbox, number: u64) -> Vec<(Instant, Vec<u64>)> {
    let mut packets = (number..).step_by(10);
    let next = || {
        let deadline = outbox.deadline().filter(|it| *it < at(1200))?;
        Some((deadline, resend(outbox, deadline, packets.next()?)))
    };
    iter::from_fn(next).take(100).collect()
}

#[test]
fn a_lone_frame_is_copied_three_times_in_a_round_trip_where_packets_get_lost() {
    let copies = [1010, 1020, 1030].map(at);
    let seen = times(&mut sent_over_a_bad_way(1), 501);
    assert_eq!(seen[..3], copies.map(|at| (at, Vec::from([3]))));
    assert!(seen[3..].iter().all(|(time, _)| *time >= at(1090)), "{seen:?}");
    let of_two = times(&mut sent_over_a_bad_way(2), 502);
    assert_eq!(of_two[..3], copies.map(|at| (at, Vec::from([3, 4]))));
}

#[test]
fn nothing_is_copied_on_a_good_way_nor_of_many_frames_nor_before_others() {
    let is_copied = |outbox: &mut Outbox| outbox.deadline() < Some(at(1050));
    assert!(is_copied(&mut sent_over_a_bad_way(4)) && !is_copied(&mut sent_over_a_bad_way(5)));
    let mut outbox = sent_over_a_bad_way(1);
    outbox.in_flight[0].frame.protection = Protection::Clear;
    outbox.survey();
    assert!(!is_copied(&mut outbox), "news of routes");
    let mut outbox = sent_over_a_bad_way(1);
    outbox.loss = Loss::NONE;
    outbox.survey();
    assert!(!is_copied(&mut outbox));
    let mut outbox = sent_over_a_bad_way(1);
    outbox.push(frame(1010));
    assert_eq!(outbox.next(at(1010)), Some(Slot::Unsent));
}

#[test]
fn what_has_arrived_is_copied_no_more_whichever_copy_it_was() {
    for came in [500, 510, 520] {
        let mut outbox = sent_over_a_bad_way(1);
        for number in [510, 520] {
            let at = outbox.deadline().unwrap();
            assert_eq!(resend(&mut outbox, at, number), [3]);
        }
        outbox.acknowledge(at(1022), packet(520), Ack { sequence: came as u8, mask: 0 });
        assert_eq!((outbox.in_flight.len(), outbox.deadline()), (0, None), "{came}");
    }
}

#[test]
fn copies_have_8000_bytes_a_second() {
    for (length, copies) in [(100, 750), (1000, 84)] {
        let mut outbox = sent_over_a_bad_way(0);
        let (mut count, mut number) = (0, 500);
        for millis in (1000..11_000).step_by(40) {
            outbox.loss.note(true);
            let (protection, payload) = (Protection::Encrypted, [0].repeat(length));
            outbox.push(Frame { protection, payload, ..frame(millis) });
            outbox.sent(at(millis), Slot::Unsent, number, Some(packet(number)));
            while let Some(time) = outbox.deadline().filter(|it| *it < at(millis + 40)) {
                number += 1;
                count += resend(&mut outbox, time, number).len();
            }
            outbox.acknowledge(
                at(millis + 40),
                packet(number),
                Ack { sequence: number as u8, mask: u32::MAX },
            );
            number += 1;
        }
        assert_eq!(count, copies, "of {length} bytes in 10 s");
    }
}

#[test]
fn few_frames_are_sent_to_a_neighbour_that_may_not_hear_them() {
    let mut outbox = sent(300, 32);
    for _ in 0..2 {
        outbox.push(frame(0));
    }
    outbox.budget = Some(1);
    assert_eq!((outbox.next(at(0)), outbox.deadline()), (Some(Slot::Unsent), Some(at(0))));
    outbox.sent(at(0), Slot::Unsent, 32, None);
    assert_eq!((outbox.next(at(0)), outbox.deadline()), (None, Some(at(100))));
    outbox.set_confirmed(false);
    assert_eq!(outbox.next(at(0)), Some(Slot::Unsent));
}

#[test]
fn few_frames_wait_for_their_acknowledgment() {
    let mut outbox = sent(300, 600);
    outbox.expire(at(1), Duration::from_secs(1), 600);
    assert_eq!(outbox.in_flight.len(), MAX_IN_FLIGHT);
}

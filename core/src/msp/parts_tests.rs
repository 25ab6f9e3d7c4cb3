use super::*;
use crate::msp::paths::Path;
use crate::path::RoundTrip;
use crate::wire::extended::{Acknowledgment, Range};
use alloc::vec;

const NOW: Instant = Instant::from_millis(1000);

fn insert(buffer: &mut ReceiveBuffer, seq: u32, [offset, length]: [u16; 2], text: &[u8]) -> Insertion {
    let payload = Bytes::copy_from_slice(text);
    buffer.insert_part(Seq(seq), Part { offset, length }, payload, false, usize::MAX)
}

#[test]
fn two_parts_make_a_message_in_either_order() {
    let mut buffer = ReceiveBuffer::new(8);
    assert_eq!(insert(&mut buffer, 0, [0, 5], b"abc"), Insertion::Part);
    assert_eq!(insert(&mut buffer, 1, [2, 4], b"gh"), Insertion::Part);
    assert!(!buffer.has_hole() && buffer.ranges().is_empty(), "parts are not reported");
    assert_eq!(insert(&mut buffer, 0, [3, 5], b"de"), Insertion::InOrder);
    assert_eq!(insert(&mut buffer, 1, [0, 4], b"ef"), Insertion::InOrder);
    assert_eq!(insert(&mut buffer, 1, [0, 4], b"ef"), Insertion::Duplicate);
    assert_eq!(insert(&mut buffer, 2, [0, 2], b"ij"), Insertion::InOrder, "all of it");
    let messages: Vec<_> = core::iter::from_fn(|| buffer.pop()).collect();
    assert_eq!(messages, ["abcde", "efgh", "ij"]);
    assert_eq!(buffer.bytes(), 0);
}

#[test]
fn parts_that_contradict_each_other_are_ignored() {
    let mut buffer = ReceiveBuffer::new(8);
    assert_eq!(insert(&mut buffer, 0, [1, 5], b"b"), Insertion::Dropped, "neither end");
    assert_eq!(insert(&mut buffer, 0, [0, 1388], b"b"), Insertion::Dropped, "too long");
    assert_eq!(insert(&mut buffer, 8, [0, 5], b"abc"), Insertion::Dropped, "beyond the window");
    assert_eq!(insert(&mut buffer, 0, [0, 5], b"abc"), Insertion::Part);
    for (part, text) in [([0, 5], &b"xyz"[..]), ([3, 6], b"xyz"), ([2, 5], b"xyz"), ([4, 5], b"x")] {
        assert_eq!(insert(&mut buffer, 0, part, text), Insertion::Part);
    }
    assert_eq!(insert(&mut buffer, 0, [3, 5], b"de"), Insertion::InOrder);
    assert_eq!(buffer.pop().unwrap(), "abcde");
}

#[test]
fn a_whole_message_takes_the_place_of_its_parts() {
    let mut buffer = ReceiveBuffer::new(8);
    insert(&mut buffer, 0, [0, 5], b"abc");
    assert_eq!(buffer.insert(Seq(0), "abcde".into(), false, 0), Insertion::InOrder);
    buffer.pop();
    assert_eq!((buffer.bytes(), buffer.parts.len()), (0, 0));
}

#[test]
fn few_parts_are_kept_and_none_without_memory_but_the_first() {
    let mut buffer = ReceiveBuffer::new(100);
    let half = [7; 700];
    for seq in 0..100 {
        assert_eq!(insert(&mut buffer, seq, [0, 1387], &half), Insertion::Part);
        let count = (seq as usize + 1).min(MAX_KEPT);
        assert_eq!((buffer.parts.len(), buffer.bytes()), (count, count * (700 + MESSAGE_OVERHEAD)));
    }
    assert_eq!(insert(&mut buffer, 50, [700, 1387], &half[..687]), Insertion::Part, "the other is forgotten");
    buffer.truncate();
    assert_eq!((buffer.parts.len(), buffer.bytes()), (0, 0));
    for seq in 0..20 {
        let part = Part { offset: 0, length: 1387 };
        let insertion = buffer.insert_part(Seq(seq), part, Bytes::from_static(&[7; 700]), false, 0);
        assert_eq!(insertion, if seq < 8 { Insertion::Part } else { Insertion::Dropped });
    }
}

/// A buffer with messages of these lengths whose peer reports what has arrived.
fn sender(lengths: &[usize]) -> SendBuffer {
    let mut buffer = SendBuffer::new();
    buffer.use_reports();
    lengths.iter().for_each(|length| buffer.push(vec![1; *length].into()));
    buffer
}

/// The number, part and length of each packet that is to be sent.
fn packets(buffer: &mut SendBuffer, is_large: bool) -> Vec<(u32, Option<[u16; 2]>, usize)> {
    let mut packets = Vec::new();
    while buffer.readiness(usize::MAX) == crate::msp::send::Readiness::Ready {
        let Outgoing { seq, part, payload, .. } = buffer.next_packet(NOW, is_large).unwrap();
        packets.push((seq.0, part.map(|part| [part.offset, part.length]), payload.len()));
    }
    packets
}

#[test]
fn large_messages_go_whole_or_in_two_parts() {
    let lengths = [1024, 1025, 1387, 5];
    let whole = [(0, None, 1024), (1, None, 1025), (2, None, 1387), (3, None, 5)];
    assert_eq!(packets(&mut sender(&lengths), true), whole);
    let parts = [
        (0, None, 1024),
        (1, Some([0, 1025]), 513),
        (1, Some([513, 1025]), 512),
        (2, Some([0, 1387]), 694),
        (2, Some([694, 1387]), 693),
        (3, None, 5),
    ];
    assert_eq!(packets(&mut sender(&lengths), false), parts);
}

#[test]
fn no_second_part_follows_when_its_message_has_arrived() {
    let mut buffer = sender(&[1387, 9]);
    assert!(buffer.next_packet(NOW, false).unwrap().part.is_some());
    let report = Acknowledgment {
        consumed: Seq(u32::MAX),
        window: 100,
        ranges: [Range { missing: 0, received: 1 }].into_iter().collect(),
    };
    buffer.on_report(NOW, &report, None, &mut Path::new());
    assert_eq!(packets(&mut buffer, false), [(1, None, 9)]);
}

#[test]
fn probes_without_an_answer_end_in_parts_which_ask_for_one() {
    let (mut buffer, mut path, round_trip) = (sender(&[1387]), Path::new(), RoundTrip::new());
    assert_eq!(packets(&mut buffer, true).len(), 1);
    let mut lengths = Vec::new();
    for _ in 0..4 {
        let at = buffer.timeout(&round_trip).unwrap();
        buffer.on_timeout(at, &round_trip, &mut path);
        assert!(buffer.is_probing());
        while let Some(packet) = buffer.next_packet(at, true) {
            lengths.push((packet.payload.len(), packet.prompt));
        }
    }
    let whole = (1387, true);
    assert_eq!(lengths, [whole, whole, (694, false), (693, true), (694, false), (693, true)]);
}

use super::*;
use smallvec::smallvec;

const TAG: Tag = Tag(NonZeroU32::new(0x0a0b_0c0d).unwrap());

/// The examples of `docs/msp-extensions.md`: the bytes there, what they mean here, in the same order.
#[test]
fn the_examples_of_the_specification_read_and_write_the_same() {
    let settings = Some(Settings { nonce: 0x1234, features: 0x0f, max_message: 1387 });
    let time = Some(Timestamp(0x0102));
    let none = Acknowledgment { consumed: Seq(u32::MAX), window: 256, ranges: smallvec![] };
    let consumed = Acknowledgment { consumed: Seq(7), window: 256, ranges: smallvec![] };
    let range = |missing, received| Range { missing, received };
    let gaps = Acknowledgment {
        consumed: Seq(0x0001_0203),
        window: 512,
        ranges: smallvec![range(0, 2), range(1, 300), range(3, 1)],
    };
    let echo = Some(Echo { timestamp: Timestamp(0x0304), held: 50 });
    let data = |seq, shutdown, part, payload| Body::Data(Data { seq: Seq(seq), shutdown, part, payload });
    let meant = [
        Repr { settings, time, acknowledgment: Some((none, None)), ..Repr::new(TAG, Body::Empty) },
        Repr { time, prompt: true, ..Repr::new(TAG, data(5, false, None, b"hi\n")) },
        Repr { time, prompt: true, ..Repr::new(TAG, Body::Empty) },
        Repr { acknowledgment: Some((gaps, echo)), ..Repr::new(TAG, Body::Empty) },
        Repr::new(TAG, data(7, true, None, b"")),
        Repr::new(TAG, data(8, false, Some(Part { offset: 1383, length: 1387 }), b"tail")),
        Repr { prompt: true, ..Repr::new(TAG, Body::Probe(8)) },
        Repr { acknowledgment: Some((consumed, None)), ..Repr::new(TAG, Body::Probe(0)) },
        Repr::new(TAG, Body::Stop { nonce: None }),
        Repr::new(TAG, Body::Stop { nonce: Some(0x1234) }),
    ];
    let examples = examples();
    assert_eq!(examples.len(), meant.len());
    for (bytes, repr) in examples.iter().zip(meant) {
        assert_eq!(Repr::parse(bytes).as_ref(), Ok(&repr));
        let mut emitted = Vec::new();
        repr.emit(&mut emitted);
        assert_eq!(emitted, *bytes);
        assert_eq!(repr.buffer_len(), bytes.len());
    }
}

/// The lines of bytes there. Two spaces separate them from what they mean.
fn examples() -> Vec<Vec<u8>> {
    let text = include_str!("../../../docs/msp-extensions.md");
    let section = text.split("\n## ").find(|section| section.contains("Examples\n")).unwrap();
    let lines = section.lines().filter_map(|line| line.strip_prefix("    "));
    let bytes = lines.map(|line| line.split("  ").next().unwrap().split_whitespace());
    bytes.map(|bytes| bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()).collect()
}

#[test]
fn every_cut_is_noticed() {
    for bytes in examples() {
        let whole = Repr::parse(&bytes);
        for length in 0..bytes.len() {
            assert_ne!(Repr::parse(&bytes[..length]), whole);
        }
    }
}

#[test]
fn contradictions_are_refused() {
    let head = |flags: u8, blocks: u8| [flags, 1, 0, 0, 0, blocks];
    let with = |head: [u8; 6], rest: &[u8]| [&head, rest].concat();
    let refused: &[(&str, Vec<u8>)] = &[
        ("no tag", alloc::vec![0x10, 0, 0, 0, 0, 0]),
        ("not extended", head(0x00, 0).to_vec()),
        ("with ACK", head(0x12, 0).to_vec()),
        ("with FIRST", head(0x14, 0).to_vec()),
        ("an echo of nothing", with(head(0x10, ECHO), &[0; 3])),
        ("part of nothing", with(head(0x10, PART), &[0; 4])),
        ("the end of nothing", head(0x11, 0).to_vec()),
        ("a probe with data", with(head(0x10, PROBE | DATA), &[0; 8])),
        ("an empty part", with(head(0x10, PART | DATA), &[0, 0, 9, 0, 1, 0, 0, 0])),
        ("a part beyond its message", with(head(0x10, PART | DATA), &[8, 0, 9, 0, 1, 0, 0, 0, b'a', b'b'])),
        ("an empty range", with(head(0x10, ACKNOWLEDGMENT), &[0, 0, 0, 0, 0, 0, 1, 1, 0])),
        ("ranges that touch", with(head(0x10, ACKNOWLEDGMENT), &[0, 0, 0, 0, 0, 0, 2, 1, 1, 0, 1])),
        ("17 ranges", with(head(0x10, ACKNOWLEDGMENT), &[&[0, 0, 0, 0, 0, 0, 17][..], &[1; 34]].concat())),
        (
            "half of all numbers",
            with(head(0x10, ACKNOWLEDGMENT), &[0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x07, 1]),
        ),
    ];
    for (what, bytes) in refused {
        assert_eq!(Repr::parse(bytes), Err(DecodeError::Invalid), "{what}");
    }
    assert!(Repr::parse(&with(head(0x10, PART | DATA), &[8, 0, 9, 0, 1, 0, 0, 0, b'a'])).is_ok());
}

#[test]
fn ranges_allocate_nothing() {
    let mut ranges = Ranges::new();
    (0..Acknowledgment::MAX_RANGES).for_each(|_| ranges.push(Range { missing: 1, received: 1 }));
    assert!(!ranges.spilled());
}

#[test]
fn offers_are_in_packets_that_the_reference_wire_reads_without_them() {
    use crate::wire::msp;
    let example = b"\x14\x34\x12\x00\x00hi\n";
    let first = true;
    let data = msp::Repr::Data { first, ack: None, seq: crate::Seq16(0), shutdown: false, payload: b"hi\n" };
    let mut packet = Vec::new();
    data.emit(&mut packet);
    assert_eq!(Offer::parse(&packet), None);
    Offer { nonce: 0x1234 }.mark(&mut packet);
    assert_eq!(packet, example);
    assert_eq!(Offer::parse(&packet), Some(Offer { nonce: 0x1234 }));
    assert_eq!(msp::Repr::parse(&packet), Ok(data));
    let others: [&[u8]; 7] =
        [b"", b"\x14", b"\x14\0", b"\x04\xff\xff", b"\x00\xff\xff", b"\x16\0\0", b"\x1c\0\0"];
    for other in others {
        assert_eq!(Offer::parse(other), None);
    }
    for packet in [&b""[..], b"\x04", b"\x00\xff\xff", b"\x02\0\0", b"\x08"] {
        let mut marked = packet.to_vec();
        Offer { nonce: 1 }.mark(&mut marked);
        assert_eq!(marked, packet, "it has no place for one");
    }
}

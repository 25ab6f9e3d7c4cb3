use super::*;
use crate::Sid;
use alloc::string::String;

const LEAF: &str = "4701d08488451f545a409fb58ae3e58581ca40ac3f7f114698cd71deac73ca01";
const DAEMON: &str = "9248df1f8a7e0b130119115aa9895f0e12be78495a21ceb67e8ff19916ad0b7c";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn sid(text: &str) -> Sid {
    text.parse().unwrap()
}

fn frames<'a>(packet: &Packet<'a>) -> Vec<Frame<'a>> {
    packet.frames().collect::<Result<_, _>>().unwrap()
}

/// Writes the packet again from what was read.
fn emit(packet: &Packet<'_>) -> Vec<u8> {
    let mut buffer = Vec::new();
    packet.header().emit(&mut buffer);
    assert_eq!(packet.header().buffer_len(), buffer.len());
    for frame in packet.frames().map(Result::unwrap) {
        let start = buffer.len();
        frame.emit(packet.header().encapsulation, &mut buffer);
        assert_eq!(frame.buffer_len(packet.header().encapsulation), buffer.len() - start);
    }
    buffer
}

const TICK: Header<'static> = Header {
    sequenced_frames: false,
    encapsulation: Encapsulation::Multiple,
    sender: Address::Prefix(&[0xab, 0x37]),
    unicast: false,
    interface: None,
    sequence: None,
};

/// The ticks of `spec/30` section 2.
#[test]
fn ticks_have_a_header_and_no_frame() {
    let whole = Header { sequenced_frames: true, sender: Address::Whole(sid(LEAF)), ..TICK };
    let prefix = Address::Prefix(&[0x92, 0x48]);
    let examples = [
        ("00 01 02 ab37 00".into(), TICK),
        ("00 01 02 9248 05 09".into(), Header { sender: prefix, unicast: true, sequence: Some(9), ..TICK }),
        (String::from("01 01 20") + LEAF + "04 01", Header { sequence: Some(1), ..whole }),
    ];
    for (text, header) in examples {
        let bytes = hex(&text);
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(*packet.header(), header);
        assert_eq!(packet.frames().count(), 0);
        assert_eq!(emit(&packet), bytes);
    }
}

/// The exchange of `spec/30` section 5.
#[test]
fn please_explain_question_and_answer() {
    let question = hex(&(String::from("01 01 20") + DAEMON + "00 87 60 01 0003 02 ab37"));
    let packet = Packet::parse(&question).unwrap();
    let ask = Frame {
        source: None,
        route: Route::Neighbours,
        protection: Some(Protection::Clear),
        ack_soon: false,
        legacy_type: Some(PLEASE_EXPLAIN),
        sequence: Some(1),
        payload: &[0x02, 0xab, 0x37],
    };
    assert_eq!(frames(&packet), [ask]);
    assert_eq!(emit(&packet), question);

    let answer = hex(&(String::from("01 01 20") + LEAF + "00 85 01 92 60 01 0000"));
    let packet = Packet::parse(&answer).unwrap();
    let destination = Address::Prefix(&[0x92]);
    assert_eq!(frames(&packet), [Frame { route: Route::Neighbour { destination }, payload: &[], ..ask }]);
    assert_eq!(emit(&packet), answer);
}

/// The example of `spec/30` section 10, and the frames of `spec/50` section 10.2.
#[test]
fn datagrams_to_a_neighbour_and_beyond() {
    let sealed = "44f0e3fe1118d474e7fefadaa43fa9d2c238797962fe9486 62b9fcc9a08ab136 89076e752a71c1fe
        8917ca2e0918ad997a";
    let header = String::from("01 01 20") + LEAF;
    let direct = hex(&(header.clone() + "00 35 20" + DAEMON + "01 0031" + sealed));
    let packet = Packet::parse(&direct).unwrap();
    let sealed = hex(sealed);
    let frame = Frame {
        source: None,
        route: Route::Neighbour { destination: Address::Whole(sid(DAEMON)) },
        protection: Some(Protection::Encrypted),
        ack_soon: false,
        legacy_type: None,
        sequence: Some(1),
        payload: &sealed,
    };
    assert_eq!(frames(&packet), [frame]);
    assert_eq!(emit(&packet), direct);

    let via = hex(&(header.clone() + "00 31 20" + LEAF + "20" + DAEMON + "1f 02 0002 abcd"));
    let packet = Packet::parse(&via).unwrap();
    let route = Route::Via {
        destination: Address::Whole(sid(LEAF)),
        next_hop: Address::Whole(sid(DAEMON)),
        hops: Hops(31),
    };
    assert_eq!(frames(&packet), [Frame { route, sequence: Some(2), payload: &[0xab, 0xcd], ..frame }]);
    assert_eq!(emit(&packet), via);

    let answer = hex("01 01 02 9248 01 74 01 47 01 92 09 0001 aa");
    let packet = Packet::parse(&answer).unwrap();
    let [answered] = frames(&packet)[..] else { panic!("one frame") };
    assert_eq!(answered.source, Some(Address::Prefix(&[0x47])));
    assert!(answered.ack_soon);
    assert_eq!(emit(&packet), answer);

    let announcement = hex(&(header + "04 01 07 01 004d 05" + &"26".repeat(76)));
    let packet = Packet::parse(&announcement).unwrap();
    assert_eq!(frames(&packet)[0].payload.len(), 77);
    assert_eq!(emit(&packet), announcement);
}

#[test]
fn every_flag_reads_and_writes_the_same() {
    for encapsulation in [1, 2] {
        for version in [0, 1] {
            for flags in (0..=0xff).filter(|flags| flags & 0x08 == 0) {
                let mut bytes = [version, encapsulation, 0x02, 0xab, 0x37, 0x07, 3, 200, flags].to_vec();
                bytes.extend_from_slice(&[0; 40]);
                let packet = Packet::parse(&bytes).unwrap();
                let frame = packet.frames().next().unwrap().unwrap();
                assert_eq!(frame.protection.is_none(), flags & 0x30 == 0x10);
                let mut emitted = bytes[..8].to_vec();
                frame.emit(packet.header().encapsulation, &mut emitted);
                assert_eq!(emitted, bytes[..emitted.len()], "{flags:#x}");
                assert_eq!(frame.buffer_len(packet.header().encapsulation), emitted.len() - 8);
            }
        }
    }
}

#[test]
fn a_single_frame_fills_the_packet() {
    let bytes = hex("01 02 02 9248 00 07 01 0002aabb");
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!(frames(&packet)[0].payload, hex("0002aabb"));
    assert_eq!(emit(&packet), bytes);
}

#[test]
fn broken_packets_are_refused_and_broken_frames_end_the_packet() {
    assert_eq!(Packet::parse(&[]).unwrap_err(), DecodeError::Truncated);
    assert_eq!(Packet::parse(&hex("02 01 02 ab37 00")).unwrap_err(), DecodeError::Invalid);
    assert_eq!(Packet::parse(&hex("01 03 02 ab37 00")).unwrap_err(), DecodeError::Invalid);
    assert_eq!(Packet::parse(&hex("01 01 21 ab37 00")).unwrap_err(), DecodeError::Invalid);
    assert_eq!(Packet::parse(&hex("01 01 02 ab37 04")).unwrap_err(), DecodeError::Truncated);

    let good = "07 01 0001 aa";
    for broken in ["07 02 0009 aa", "05 21", "07"] {
        let bytes = hex(&(String::from("01 01 02 ab37 00") + good + broken));
        let read: Vec<_> = Packet::parse(&bytes).unwrap().frames().collect();
        assert_eq!(read.len(), 2);
        assert!(read[0].is_ok() && read[1].is_err(), "{broken}");
    }
}

//! Packets recorded from the reference daemon, read, written again, and replayed into a node.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{CAPTURES, Daemon, packets};
use core::net::SocketAddr;
use core::time::Duration;
use msp_core::testing::{fuzz, seed};
use msp_core::wire::address::{Address, Context, explain_items};
use msp_core::wire::linkstate;
use msp_core::wire::overlay::{Frame, PLEASE_EXPLAIN, Packet, Route};
use msp_core::{Datagram, Instant, InterfaceConfig, Node, NodeConfig, Port, Protection, Rng, Sid};

fn daemon(sid: Sid) -> Option<Daemon> {
    [Daemon::A, Daemon::B].into_iter().find(|daemon| daemon.sid() == sid)
}

/// A prefix of one of the two, as each of them resolves it.
fn lookup(address: Address<'_>) -> Option<Sid> {
    let Address::Prefix(prefix) = address else { return None };
    [Daemon::A, Daemon::B].map(Daemon::sid).into_iter().find(|sid| sid.as_bytes().starts_with(prefix))
}

#[test]
fn recorded_packets_mean_what_the_decoder_found_and_write_to_the_same_bytes() {
    let mut frames = 0;
    for recorded in CAPTURES.into_iter().flat_map(packets) {
        let packet = Packet::parse(&recorded.bytes).unwrap();
        let header = packet.header();
        assert_eq!(header.sequenced_frames, recorded.version == 1);
        assert_eq!(header.unicast, recorded.flags & 1 != 0);
        assert_eq!(header.sequence, recorded.sequence);
        let sender = match header.sender {
            Address::Whole(sid) => sid,
            address => lookup(address).unwrap(),
        };
        assert_eq!(daemon(sender), Some(recorded.from));

        let mut context = Context::new(sender);
        let mut written = Vec::new();
        header.emit(&mut written);
        let read: Vec<Frame<'_>> = packet.frames().collect::<Result<_, _>>().unwrap();
        assert_eq!(read.len(), recorded.frames.len());
        for (frame, recorded) in read.iter().zip(&recorded.frames) {
            frame.emit(header.encapsulation, &mut written);
            let source = frame.source.map_or(Some(sender), |address| context.resolve(address, lookup));
            assert_eq!(source.and_then(daemon), Some(recorded.source));
            let destination = match frame.route {
                Route::Neighbours => None,
                Route::Flood { id, hops } => {
                    assert_eq!(Some(id), recorded.broadcast_id);
                    assert_eq!((Some(hops.0 & 31), Some(hops.0 >> 5)), (recorded.ttl, recorded.qos));
                    None
                }
                Route::Neighbour { destination } | Route::Via { destination, .. } => {
                    Some(context.resolve(destination, lookup).unwrap())
                }
            };
            assert_eq!(destination.and_then(daemon), recorded.destination);
            assert_eq!(frame.ack_soon, recorded.flags & 0x40 != 0);
            assert_eq!(frame.legacy_type.unwrap_or(0x30), recorded.kind);
            assert_eq!(frame.sequence, recorded.sequence);
            assert_eq!(frame.payload, recorded.body);
            let datagram = recorded.datagram.as_ref();
            assert_eq!(frame.protection, Some(datagram.map_or(Protection::Clear, |it| it.protection)));
            frames += 1;
        }
        assert_eq!(written, recorded.bytes);
    }
    assert_eq!(frames, 321, "all were seen");
}

#[test]
fn recorded_link_state_reads_and_writes_the_same() {
    let mut records = 0;
    for frame in common::frames() {
        let link_state = frame.datagram.filter(|datagram| datagram.destination == Port::LINK_STATE);
        if let Some(datagram) = link_state {
            let mut written = Vec::new();
            for record in linkstate::Repr::parse_all(&datagram.payload) {
                record.unwrap().emit(&mut written);
                records += 1;
            }
            assert_eq!(written, datagram.payload);
        }
        if frame.kind == PLEASE_EXPLAIN {
            let mut written = Vec::new();
            explain_items(&frame.body).for_each(|item| item.emit(&mut written));
            assert_eq!(written, frame.body);
        }
    }
    assert_eq!(records, 203, "all were seen");
}

/// Every codec over recorded packets with a few bits flipped, and cut short.
#[test]
fn damaged_packets_read_as_something_or_nothing() {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed(1).to_le_bytes());
    let mut rng = Rng::new(bytes);
    for recorded in packets("all") {
        let mut packet = recorded.bytes.clone();
        for _ in 0..20 {
            let bit = rng.below(8 * packet.len() as u64) as usize;
            packet[bit / 8] ^= 1 << (bit % 8);
            let start = rng.below(packet.len() as u64) as usize;
            fuzz::wire(&packet[..packet.len() - start]);
            fuzz::wire(&packet[start..]);
        }
    }
}

/// Replays what `from` sent to the other daemon, one capture a minute after the other, into a node with
/// the other's identity; gives the datagrams that the node hands to applications.
fn replay(from: Daemon) -> Vec<Vec<Datagram>> {
    let to = if from == Daemon::A { Daemon::B } else { Daemon::A };
    let mut start = Instant::from_millis(1000);
    let mut node = Node::new(NodeConfig::default(), to.identity(), [1; 32], start);
    let interface = node.add_interface(InterfaceConfig::broadcast());
    let address: SocketAddr = "10.77.0.9:4110".parse().unwrap();
    let mut buffer = Vec::new();
    let replayed = CAPTURES.map(|capture| {
        start += Duration::from_secs(60);
        let mut datagrams = Vec::new();
        for packet in packets(capture).iter().filter(|packet| packet.from == from) {
            let now = start + Duration::from_micros(packet.time);
            while let Some(at) = node.poll_timeout().filter(|at| *at <= now) {
                node.handle_timeout(at);
                while node.poll_transmit(at, &mut buffer).is_some() {}
                while node.poll_event().is_some() {}
            }
            node.handle_packet(now, interface, address, &packet.bytes);
            datagrams.extend(core::iter::from_fn(|| node.poll_datagram()));
        }
        datagrams
    });
    let stats = node.stats();
    assert_eq!((stats.malformed, stats.unauthentic, stats.forbidden), (0, 0, 0), "{stats:?}");
    replayed.to_vec()
}

/// The recorded datagrams from one daemon to the other that are for applications, each once.
fn expected(capture: &str, from: Daemon) -> Vec<(Port, Port, Protection, Vec<u8>)> {
    let mut expected = Vec::new();
    let mut sequences = Vec::new();
    for packet in packets(capture).into_iter().filter(|packet| packet.from == from) {
        for frame in packet.frames {
            let Some(datagram) = frame.datagram else { continue };
            if datagram.destination <= Port::TRACE || sequences.contains(&frame.sequence) {
                continue;
            }
            // A sequence number comes again after 256 frames, a copy of a frame long before.
            sequences.push(frame.sequence);
            sequences.drain(..sequences.len().saturating_sub(8));
            expected.push((datagram.source, datagram.destination, datagram.protection, datagram.payload));
        }
    }
    expected
}

#[test]
fn replayed_traffic_yields_the_recorded_application_data() {
    let mut total = 0;
    for from in [Daemon::A, Daemon::B] {
        for (capture, datagrams) in CAPTURES.into_iter().zip(replay(from)) {
            assert!(datagrams.iter().all(|datagram| datagram.from.sid == from.sid()));
            let got: Vec<_> = datagrams
                .iter()
                // A trace that has come back is told to whoever asked for it.
                .filter(|datagram| datagram.from.port != Port::TRACE)
                .map(|datagram| {
                    (datagram.from.port, datagram.to, datagram.protection, datagram.payload.to_vec())
                })
                .collect();
            assert_eq!(got, expected(capture, from), "{capture} from {from:?}");
            total += got.len();
        }
    }
    assert_eq!(total, 70, "all were seen");
}

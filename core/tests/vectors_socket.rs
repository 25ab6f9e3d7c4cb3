//! What this crate makes of datagrams recorded on the local sockets of the reference daemon.
#![cfg(target_endian = "little")]

mod common;

use common::{SocketDatagram, socket_datagrams};
use msp_core::wire::client::{ANY, Payload, Qos, Reply, ReplyKind, Request, Ttl};
use msp_core::{Addr, Port, Protection};

#[test]
fn recorded_requests_read_and_write_the_same() {
    let (mut binds, mut sends, mut closes) = (0, 0, 0);
    for recorded in socket_datagrams().iter().filter(|recorded| recorded.sent) {
        let request = Request::parse(&recorded.bytes).unwrap();
        let mut emitted = Vec::new();
        request.emit(&mut emitted);
        assert_eq!(emitted, recorded.bytes);
        assert_eq!(emitted.len(), request.buffer_len());
        match request {
            Request::Bind { local } => {
                assert_eq!((local, recorded.flags), (recorded.local, 4));
                assert_eq!((recorded.remote, &*recorded.payload), (Addr::new(ANY, Port::ANY), &[][..]));
                binds += 1;
            }
            Request::Close { local } => {
                assert_eq!((local, recorded.flags), (recorded.local, 8));
                closes += 1;
            }
            Request::Send { message, bind } => {
                assert_eq!((message.local, message.remote), (recorded.local, recorded.remote));
                assert_eq!(recorded.flags, if bind { 4 } else { 0 });
                assert_eq!(message.protection, Protection::Encrypted);
                assert_eq!(Qos::new(recorded.qos), Some(message.qos));
                assert_eq!(Ttl::new(recorded.ttl), Some(message.ttl));
                assert_eq!(Payload::new(&recorded.payload), Some(message.payload));
                sends += 1;
            }
        }
    }
    assert_eq!((binds, sends, closes), (3, 27, 15), "all were seen");
}

#[test]
fn recorded_answers_read_and_write_the_same() {
    let (mut bound, mut refused, mut data) = (0, 0, 0);
    for recorded in socket_datagrams().iter().filter(|recorded| !recorded.sent) {
        let SocketDatagram { local, remote, flags, qos, ttl, .. } = *recorded;
        let reply = Reply::parse(&recorded.bytes).unwrap();
        let mut emitted = Vec::new();
        reply.emit(&mut emitted);
        assert_eq!(emitted, recorded.bytes);
        assert_eq!(emitted.len(), reply.buffer_len());
        assert_eq!((reply.local, reply.remote, reply.qos, reply.ttl), (local, remote, qos, ttl));
        let (expected, count) = match flags {
            4 => (ReplyKind::Bound, &mut bound),
            16 => (ReplyKind::Refused, &mut refused),
            _ => {
                let (protection, payload) = (Protection::Encrypted, &*recorded.payload);
                (ReplyKind::Data { protection, payload }, &mut data)
            }
        };
        assert_eq!(reply.kind, expected);
        *count += 1;
    }
    assert_eq!((bound, refused, data), (7, 1, 20), "all were seen");
}

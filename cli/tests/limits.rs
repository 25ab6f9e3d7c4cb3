//! What peers may take: how it is set, told, and held.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{DEADLINE, Program, connect_forward, listen};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

fn client(address: std::net::SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

#[test]
fn a_peer_with_too_many_connections_is_refused_another_and_the_warning_names_the_option() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut listener, place) =
        listen(&format!("--max-per-peer=2 --forward={} 80", server.local_addr().unwrap()));
    let (_connector, entrance) = connect_forward(&place.direct());
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut client = client(entrance);
        client.write_all(b"a").unwrap();
        let (mut served, _) = server.accept().unwrap();
        served.read_exact(&mut [0]).unwrap();
        open.push((client, served));
    }
    let error = client(entrance).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let warning = listener.line("too many streams of one peer:");
    assert!(warning.ends_with("was held off; --max-per-peer allows no more"), "{warning}");
    // Those that are there go on.
    for (client, served) in &mut open {
        served.write_all(b"b").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
}

#[test]
fn a_connector_takes_no_more_connections_than_it_may() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_listener, place) = listen(&format!("--forward={} 80", server.local_addr().unwrap()));
    let (_connector, entrance) = connect_forward(&format!("--max-connections=1 {}", place.direct()));
    let mut first = client(entrance);
    let mut second = client(entrance);
    for client in [&mut first, &mut second] {
        client.write_all(b"a").unwrap();
    }
    let (mut served, _) = server.accept().unwrap();
    served.read_exact(&mut [0]).unwrap();
    server.set_nonblocking(true).unwrap();
    assert_eq!(server.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    server.set_nonblocking(false).unwrap();
    drop(served);
    drop(first);
    // It was only waiting.
    server.accept().unwrap().0.read_exact(&mut [0]).unwrap();
}

#[test]
fn verbose_tells_what_is_in_force() {
    let mut program = Program::start("listen -v --forward=9 --max-connections=7 --max-rate=3 80");
    let limits = program.line("limits:");
    assert_eq!(
        limits,
        "7 connections at once, 128 of one peer, 3 new ones a second of one peer and twice as many of all; 12 MB \
         of data on its way"
    );
    let sid = "0123456789abcdef".repeat(4);
    let mut program = Program::start(&format!("connect -v --forward=0 --max-memory=2 {sid}@127.0.0.1:9 80"));
    assert_eq!(program.line("limits:"), "128 connections at once; 2 MB of data on its way");
}

#[test]
fn limits_have_their_range() {
    for (option, range) in [
        ("--max-connections=0", "from 1 to 10000"),
        ("--max-per-peer=10001", "from 1 to 10000"),
        ("--max-rate=0", "from 1 to 1000000"),
        ("--max-memory=1001", "from 1 to 1000"),
    ] {
        let message = Program::start(&format!("listen {option} 80")).failed(2);
        assert!(message.contains(range), "{message}");
    }
}

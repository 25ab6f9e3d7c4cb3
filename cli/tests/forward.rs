//! Tunnels between TCP connections.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
#[path = "../../runtime-mio/tests/nobody/mod.rs"]
mod nobody;

use common::{DEADLINE, Program, assert_same, bytes, connect_forward, is_ignored, listen, seed};
use msp_mio::relay::{Relay, RelayConfig};
use nobody::Nobody;
use rustix::process::Signal;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// A TCP server that handles each connection by itself.
fn serve(handle: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + Copy + 'static) -> SocketAddr {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    thread::spawn(move || {
        for stream in server.incoming() {
            thread::spawn(move || handle(stream.unwrap()));
        }
    });
    address
}

/// Gives back what it gets, as it comes.
fn echo(mut stream: TcpStream) -> io::Result<()> {
    io::copy(&mut stream.try_clone()?, &mut stream)?;
    stream.shutdown(Shutdown::Write)
}

fn client(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn read_all(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// An address of this machine at which nothing else is bound: nobody takes a port there that was just given up. Not all
/// systems have more than one.
fn lonely(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, if cfg!(target_os = "linux") { host } else { 1 })
}

/// The client ends its request, and only then comes the answer: `printf request | nc -N`.
#[test]
fn half_close_by_the_client() {
    let server = serve(|mut stream| {
        let request = read_all(&stream);
        stream.write_all(&request.to_ascii_uppercase())
    });
    let (listener, place) = listen(&format!("--once --forward={server} 80"));
    let (connector, entrance) = connect_forward(&format!("--once {}", place.direct()));
    let mut client = client(entrance);
    client.write_all(b"request").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&client), b"REQUEST");
    drop(client);
    connector.succeeded();
    listener.succeeded();
}

#[test]
fn half_close_by_the_server() {
    let server = serve(|mut stream| {
        stream.write_all(b"request")?;
        stream.shutdown(Shutdown::Write)?;
        assert_eq!(read_all(&stream), b"answer");
        Ok(())
    });
    let (listener, place) = listen(&format!("--once --forward={server} 80"));
    let (connector, entrance) = connect_forward(&format!("--once {}", place.direct()));
    let mut client = client(entrance);
    assert_eq!(read_all(&client), b"request");
    client.write_all(b"answer").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    connector.succeeded();
    listener.succeeded();
}

#[test]
fn fifty_connections_at_once() {
    let seed = seed();
    let (_listener, place) = listen(&format!("--forward={} 80", serve(echo)));
    let mut config = RelayConfig::new(5, seed);
    config.reorder = 5;
    let relay = Relay::start(place.udp, config).unwrap();
    let (_connector, entrance) = connect_forward(&place.at(relay.address()));

    let clients: Vec<_> = (0..50_u64)
        .map(|number| {
            // From nothing at all to 200 kB.
            let sent = bytes(seed ^ number, [0, 1, 1000, 1024, 20_000, 200_000][number as usize % 6]);
            let stream = client(entrance);
            let mut writer = stream.try_clone().unwrap();
            let text = sent.clone();
            let writing = thread::spawn(move || {
                writer.write_all(&text).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            let reading = thread::spawn(move || read_all(&stream));
            (sent, writing, reading)
        })
        .collect();
    for (sent, writing, reading) in clients {
        writing.join().unwrap();
        assert_same(&reading.join().unwrap(), &sent);
    }
}

#[test]
fn a_target_that_refuses() {
    let nobody = Nobody::new();
    let target = nobody.address;
    let (mut listener, place) = listen(&format!("--forward={target} 80"));
    let connector = Program::start(&format!("connect {}", place.direct()));
    let message = connector.failed(5);
    assert!(message.contains("refused"), "{message}");

    // A tunnel that goes on has its TCP client see it, as often as it tries.
    let (_connector, entrance) = connect_forward(&place.direct());
    for _ in 0..3 {
        let error = client(entrance).read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }

    // Whoever looks after the target is told why, but not once for every peer that comes.
    let why = listener.line("link 0: cannot connect to");
    assert!(why.starts_with(&format!("{target}: Connection refused")), "{why}");
    listener.signal(Signal::TERM);
    let ended = listener.ended();
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    assert!(ended.stderr.matches("cannot connect").count() < 4, "{}", ended.stderr);
}

#[test]
fn a_target_that_refuses_the_only_connection() {
    let nobody = Nobody::new();
    let target = nobody.address;
    let (mut listener, place) = listen(&format!("--once --forward={target} 80"));
    Program::start(&format!("connect {}", place.direct())).failed(5);
    listener.line(&format!("link 0: cannot connect to {target}: Connection refused"));
    assert_eq!(listener.ended().status, 1);
}

/// The system tries for minutes to connect to a target that does not answer. Nothing else waits for that.
#[test]
#[cfg(target_os = "linux")]
fn a_target_that_does_not_answer_holds_up_nobody_else() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&server, 0).unwrap();
    let (mut listener, place) = listen(&format!("-v --forward={} 80", server.local_addr().unwrap()));
    let (_connector, entrance) = connect_forward(&place.direct());
    let mut first = client(entrance);
    let (mut served, _) = server.accept().unwrap();
    // The first of them waits in the queue of the server, which is full then.
    let _others = [0; 3].map(|_| client(entrance));
    listener.line("link 3: open");
    first.write_all(b"a").unwrap();
    served.set_read_timeout(Some(DEADLINE)).unwrap();
    served.read_exact(&mut [0]).unwrap();
}

#[test]
fn once_takes_the_first_connection_only() {
    let server = serve(echo);
    let (listener, place) = listen(&format!("--once --forward={server} 80"));
    let (connector, entrance) = connect_forward(&format!("--once --bind={} {}", lonely(2), place.direct()));
    let mut first = client(entrance);
    first.write_all(b"a").unwrap();
    first.read_exact(&mut [0]).unwrap();
    assert_eq!(TcpStream::connect(entrance).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let message = Program::start(&format!("connect {}", place.direct())).failed(5);
    assert!(message.contains("refused"), "{message}");
    first.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&first), b"");
    drop(first);
    connector.succeeded();
    listener.succeeded();
}

/// Connections that were just closed keep nobody from the TCP port.
#[test]
fn a_restart_takes_the_tcp_port_at_once() {
    let server = serve(|mut stream| stream.write_all(b"served"));
    let (_listener, place) = listen(&format!("--forward={server} 80"));
    let (connector, entrance) = connect_forward(&format!("--bind={} {}", lonely(3), place.direct()));
    let stream = client(entrance);
    // The connector closes first, so that the connection is remembered at its end.
    assert_eq!(read_all(&stream), b"served");
    drop(stream);
    connector.signal(Signal::TERM);
    connector.succeeded();
    let mut connector = Program::start(&format!("connect --forward={entrance} {}", place.direct()));
    connector.line("TCP connections to");
    assert_eq!(read_all(&client(entrance)), b"served");
}

/// Without a free file descriptor, connections wait until there is one.
#[test]
#[cfg(target_os = "linux")]
fn more_clients_than_descriptors() {
    let (_listener, place) = listen(&format!("--forward={} 80", serve(echo)));
    let (mut connector, entrance) = connect_forward(&place.direct());
    connector.limit_descriptors(20);
    let clients = [0; 20].map(|_| client(entrance));
    connector.line("cannot accept TCP connections for now");
    for mut client in clients {
        client.write_all(b"a").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
}

/// A reset at one end is one at the other, and neither an end of file nor a silence.
#[test]
fn a_client_that_aborts() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_listener, place) = listen(&format!("--forward={} 80", server.local_addr().unwrap()));
    let (_connector, entrance) = connect_forward(&place.direct());
    let mut client = client(entrance);
    client.write_all(b"a").unwrap();
    let (mut served, _) = server.accept().unwrap();
    served.set_read_timeout(Some(DEADLINE)).unwrap();
    served.read_exact(&mut [0]).unwrap();
    // Closing with something unread resets.
    served.write_all(b"b").unwrap();
    client.peek(&mut [0]).unwrap();
    drop(client);
    assert_eq!(served.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_signal_ends_both_ends() {
    let (listener, place) = listen(&format!("--forward={} 80", serve(echo)));
    let (connector, entrance) = connect_forward(&format!("--once {}", place.direct()));
    let mut client = client(entrance);
    client.write_all(b"a").unwrap();
    client.read_exact(&mut [0]).unwrap();
    listener.signal(Signal::TERM);
    listener.succeeded();
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    let ended = connector.ended();
    assert_eq!(ended.status, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("aborted by the peer"), "{}", ended.stderr);
}

#[test]
fn a_signal_while_nothing_is_open() {
    let (listener, _) = listen("--forward=9 80");
    listener.signal(if is_ignored(Signal::INT) { Signal::TERM } else { Signal::INT });
    listener.succeeded();
}

/// Whoever does not read holds up the one who writes, and nothing piles up in between.
#[test]
#[cfg(target_os = "linux")]
fn a_reader_that_stops() {
    const MOST: usize = 64_000_000;
    let seed = seed();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let (listener, place) = listen(&format!("--once --forward={} 80", server.local_addr().unwrap()));
    let (connector, entrance) = connect_forward(&format!("--once {}", place.direct()));
    let mut client = client(entrance);
    let (served, _) = server.accept().unwrap();
    let before = listener.resident().max(connector.resident());

    // The write that does not go on for a second shows that the way is full.
    client.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let text = bytes(seed, MOST);
    let mut sent = 0;
    while let Ok(count) = client.write(&text[sent..]) {
        sent += count;
        assert!(sent < MOST, "it takes everything though nobody reads");
    }
    let grown = listener.resident().max(connector.resident()) - before;
    assert!(grown < 8192, "grown by {grown} kB while {sent} bytes were on their way");

    served.set_read_timeout(Some(DEADLINE)).unwrap();
    let reading = thread::spawn(move || read_all(&served));
    client.shutdown(Shutdown::Write).unwrap();
    assert_same(&reading.join().unwrap(), &text[..sent]);
    assert_eq!(read_all(&client), b"");
    connector.succeeded();
    listener.succeeded();
}

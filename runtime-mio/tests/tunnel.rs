//! Two nodes in one process, over UDP on the loopback address.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod nobody;

use msp_core::mdp::{PingConfig, PingEvent};
use msp_core::tunnel::{EndReason, Outcome, TunnelConfig};
use msp_core::{Addr, Identity, Sid};
use msp_mio::relay::{Relay, RelayConfig};
use msp_mio::{Config, Driver, Error, Runtime, Source, Stopper, Target};
use nobody::Nobody;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);
const PORT: u16 = 1000;

/// A node that knows this peer only.
fn node(seed: u8, peer: Option<SocketAddr>) -> Runtime {
    let mut config = Config::default();
    config.udp = "127.0.0.1:0".parse().unwrap();
    config.broadcast = false;
    config.peers.extend(peer);
    Runtime::bind(Identity::from_seed([seed; 32]), &config).unwrap()
}

fn once() -> TunnelConfig {
    let mut config = TunnelConfig::default();
    config.once = true;
    config
}

type Running = JoinHandle<io::Result<Outcome>>;

fn run(tunnel: Driver) -> Running {
    thread::spawn(move || tunnel.run())
}

fn outcome(running: Running) -> Outcome {
    running.join().unwrap().unwrap()
}

/// A listener for one connection to `target`.
fn listener(target: Vec<SocketAddr>) -> (Running, Addr, SocketAddr, Stopper) {
    let runtime = node(1, None);
    let (remote, udp) = (Addr::new(runtime.sid().unwrap(), PORT.into()), runtime.local_addr().unwrap());
    let stopper = runtime.stopper();
    (run(runtime.listen(PORT.into(), Target::Tcp(target), once()).unwrap()), remote, udp, stopper)
}

/// A connector for one connection, and a client that has made it.
fn connector(remote: Addr, udp: SocketAddr) -> (Running, TcpStream, Stopper) {
    let runtime = node(2, Some(udp));
    let entrance = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = entrance.local_addr().unwrap();
    let stopper = runtime.stopper();
    let running = run(runtime.connect(remote, Source::Tcp(entrance), once()).unwrap());
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    (running, client, stopper)
}

/// A server that gives back what it gets, once.
fn echo() -> SocketAddr {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    });
    address
}

fn exchange(mut client: TcpStream, text: &[u8]) {
    let mut reader = client.try_clone().unwrap();
    let reading = thread::spawn(move || {
        let mut answer = Vec::new();
        reader.read_to_end(&mut answer).map(|_| answer)
    });
    client.write_all(text).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert!(reading.join().unwrap().unwrap() == text);
}

#[test]
fn bytes_come_back_over_a_bad_link() {
    let (listening, remote, udp, _) = listener(vec![echo()]);
    let mut config = RelayConfig::new(20, 7);
    config.reorder = 20;
    config.delay = Duration::from_millis(2);
    let relay = Relay::start(udp, config).unwrap();
    let (connecting, client, _) = connector(remote, relay.address());
    let text: Vec<u8> =
        (0..100_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    exchange(client, &text);
    assert_eq!(outcome(connecting), Outcome::Clean);
    assert_eq!(outcome(listening), Outcome::Clean);
    let stats = relay.stats();
    assert!(stats.passed > 200 && stats.lost > 20, "{stats:?}");
}

#[test]
fn the_next_address_is_tried() {
    let nobody = [Nobody::new(), Nobody::new()];
    let (listening, remote, udp, _) = listener(vec![nobody[0].address, nobody[1].address, echo()]);
    let (connecting, client, _) = connector(remote, udp);
    exchange(client, b"hello");
    assert_eq!(outcome(connecting), Outcome::Clean);
    assert_eq!(outcome(listening), Outcome::Clean);
}

#[test]
fn a_refusal_is_told() {
    let nobody = Nobody::new();
    for targets in [vec![], vec![nobody.address]] {
        let (listening, remote, udp, _) = listener(targets);
        let (connecting, mut client, _) = connector(remote, udp);
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(outcome(connecting), Outcome::Failed(EndReason::Refused));
        assert_eq!(outcome(listening), Outcome::Failed(EndReason::DialFailed));
    }
}

#[test]
fn a_stop_is_told_to_the_other_end() {
    let (listening, remote, udp, _) = listener(vec![echo()]);
    let (connecting, mut client, stopper) = connector(remote, udp);
    client.write_all(b"a").unwrap();
    client.read_exact(&mut [0]).unwrap();
    stopper.stop();
    assert_eq!(outcome(connecting), Outcome::Interrupted);
    assert_eq!(outcome(listening), Outcome::Failed(EndReason::PeerReset));
    assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_stop_before_anything_happened() {
    let (listening, remote, udp, stopper) = listener(vec![]);
    stopper.stop();
    assert_eq!(outcome(listening), Outcome::Interrupted);
    let (connecting, _client, stopper) = connector(remote, udp);
    stopper.stop();
    stopper.stop();
    assert_eq!(outcome(connecting), Outcome::Interrupted);
}

#[test]
fn garbage_changes_nothing() {
    let (listening, remote, udp, _) = listener(vec![echo()]);
    let vandal = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for length in (0..1500_u32).step_by(7).chain([9000, 65_000]) {
        let packet: Vec<u8> = (0..length).map(|index| (index * length / 3) as u8).collect();
        vandal.send_to(&packet, udp).unwrap();
    }
    let (connecting, client, _) = connector(remote, udp);
    exchange(client, b"hello");
    assert_eq!(outcome(connecting), Outcome::Clean);
    assert_eq!(outcome(listening), Outcome::Clean);
}

#[test]
fn ping_is_answered() {
    let (listening, remote, udp, stopper) = listener(vec![]);
    let mut config = PingConfig::default();
    config.count = Some(3);
    config.interval = Duration::from_millis(10);
    let mut replies = 0;
    let on_event = |event| replies += u32::from(matches!(event, PingEvent::Reply { .. }));
    let summary = node(2, Some(udp)).ping(remote.sid, config, on_event).unwrap();
    assert_eq!((summary.sent, summary.received, replies), (3, 3, 3));
    stopper.stop();
    assert_eq!(outcome(listening), Outcome::Interrupted);
}

#[test]
fn what_cannot_be_is_refused_at_once() {
    let refused = node(1, None).listen(7.into(), Target::Stdio, once());
    assert!(matches!(refused, Err(Error::Listen(_))), "{refused:?}");
    let nobody = Addr::new(Sid::new([0; 32]), PORT.into());
    let refused = node(1, None).connect(nobody, Source::Stdio, once());
    assert!(matches!(refused, Err(Error::Connect(_))), "{refused:?}");

    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut config = Config::default();
    config.udp = taken.local_addr().unwrap();
    config.broadcast = false;
    let error = Runtime::bind(Identity::from_seed([1; 32]), &config).unwrap_err();
    assert_eq!((error.address, error.source.kind()), (config.udp, ErrorKind::AddrInUse));
    config.udp.set_port(0);
    config.peers.push("[::1]:4110".parse().unwrap());
    let error = Runtime::bind(Identity::from_seed([1; 32]), &config).unwrap_err();
    assert_eq!(error.source.kind(), ErrorKind::InvalidInput);
}

//! Both runtimes as either end of a tunnel, with nodes of their own or through a model of the daemon, over a link that
//! loses packets: what comes back has the hash of what was sent.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/daemon.rs"]
mod daemon;

use async_std::task::{block_on, spawn};
use daemon::Daemon;
use msp_async_std::tunnel::{self, Carrier};
use msp_core::tunnel::{Outcome, TunnelConfig};
use msp_core::{Addr, Identity, Sid, msp};
use msp_mio::relay::{Relay, RelayConfig};
use msp_mio::{Config, Runtime, Source, Target};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

const PORT: u16 = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loop {
    Mio,
    Async,
}

/// What carries an end.
enum Below<'a> {
    /// A node that knows this one.
    Node {
        seed: u8,
        peer: Option<SocketAddr>,
    },
    Daemon(&'a Daemon),
}

/// A tunnel that was made, and where it is, ready to be run to its end.
struct End {
    sid: Option<Sid>,
    udp: Option<SocketAddr>,
    run: Box<dyn FnOnce() -> Outcome + Send>,
}

/// What an end does.
enum Role {
    Listen(Target),
    Connect(Addr, Source),
}

fn end(which: Loop, below: &Below<'_>, role: Role) -> End {
    let mut once = TunnelConfig::default();
    once.once = true;
    let port = matches!(role, Role::Listen(_)).then_some(PORT.into());
    let config = |peer: &Option<SocketAddr>| {
        let mut config = Config::default();
        config.udp = "127.0.0.1:0".parse().unwrap();
        config.broadcast = false;
        config.peers.extend(*peer);
        config
    };
    match which {
        Loop::Mio => {
            let runtime = match below {
                Below::Node { seed, peer } => {
                    Runtime::bind(Identity::from_seed([*seed; 32]), &config(peer)).unwrap()
                }
                Below::Daemon(daemon) => {
                    Runtime::attach(&daemon.instance, port, msp::Config::default()).unwrap()
                }
            };
            let (sid, udp) = (runtime.sid(), runtime.local_addr());
            let driver = match role {
                Role::Listen(target) => runtime.listen(PORT.into(), target, once),
                Role::Connect(remote, source) => runtime.connect(remote, source, once),
            };
            let driver = driver.unwrap();
            End { sid, udp, run: Box::new(|| driver.run().unwrap()) }
        }
        Loop::Async => {
            let carrier = match below {
                Below::Node { seed, peer } => {
                    Carrier::bind(Identity::from_seed([*seed; 32]), &config(peer)).unwrap()
                }
                Below::Daemon(daemon) => {
                    Carrier::attach(&daemon.instance, port, msp::Config::default()).unwrap()
                }
            };
            let (sid, udp) = (carrier.sid(), carrier.local_addr());
            let tunnel = match role {
                Role::Listen(target) => tunnel::listen(carrier, PORT.into(), target, once),
                Role::Connect(remote, source) => tunnel::connect(carrier, remote, source, once),
            };
            let tunnel = tunnel.unwrap();
            End { sid, udp, run: Box::new(|| block_on(spawn(tunnel))) }
        }
    }
}

/// A server that gives back what it gets, once.
fn echo() -> SocketAddr {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        std::io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    });
    address
}

/// Sends so many bytes through `entrance`, and compares the hash of what comes back.
fn exchange(entrance: SocketAddr, length: usize) {
    let client = TcpStream::connect(entrance).unwrap();
    let mut reader = client.try_clone().unwrap();
    let reading = thread::spawn(move || {
        let mut answer = Vec::new();
        reader.read_to_end(&mut answer).unwrap();
        answer
    });
    let text: Vec<u8> =
        (0..length as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    (&client).write_all(&text).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let answer = reading.join().unwrap();
    assert_eq!(answer.len(), length);
    assert_eq!(Sha256::digest(answer), Sha256::digest(text));
}

/// Joins two ends and has bytes go both ways.
fn join(listening: End, connecting: impl FnOnce(Source) -> End, length: usize) {
    let entrance = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = entrance.local_addr().unwrap();
    let connecting = connecting(Source::Tcp(entrance));
    let running = [listening.run, connecting.run].map(thread::spawn);
    exchange(address, length);
    assert_eq!(running.map(|thread| thread.join().unwrap()), [Outcome::Clean; 2]);
}

fn over_udp(listen: Loop, connect: Loop) {
    let below = Below::Node { seed: 1, peer: None };
    let listening = end(listen, &below, Role::Listen(Target::Tcp(vec![echo()])));
    let mut config = RelayConfig::new(10, 7);
    config.reorder = 10;
    let relay = Relay::start(listening.udp.unwrap(), config).unwrap();
    let remote = Addr::new(listening.sid.unwrap(), PORT.into());
    let below = Below::Node { seed: 2, peer: Some(relay.address()) };
    join(listening, |entrance| end(connect, &below, Role::Connect(remote, entrance)), 300_000);
    assert!(relay.stats().lost > 20, "{:?}", relay.stats());
}

fn through_a_daemon(listen: Loop, connect: Loop) {
    let sid = Identity::from_seed([3; 32]).sid();
    let daemon = Daemon::start(sid, 10, 7);
    let below = Below::Daemon(&daemon);
    let listening = end(listen, &below, Role::Listen(Target::Tcp(vec![echo()])));
    let remote = Addr::new(sid, PORT.into());
    join(listening, |entrance| end(connect, &below, Role::Connect(remote, entrance)), 60_000);
}

macro_rules! matrix {
    ($($name:ident: $carry:ident($listen:ident, $connect:ident);)*) => {$(
        #[test]
        fn $name() {
            $carry(Loop::$listen, Loop::$connect);
        }
    )*};
}

matrix! {
    mio_listens_to_mio_over_udp: over_udp(Mio, Mio);
    mio_listens_to_async_over_udp: over_udp(Mio, Async);
    async_listens_to_mio_over_udp: over_udp(Async, Mio);
    async_listens_to_async_over_udp: over_udp(Async, Async);
    mio_listens_to_mio_through_a_daemon: through_a_daemon(Mio, Mio);
    mio_listens_to_async_through_a_daemon: through_a_daemon(Mio, Async);
    async_listens_to_mio_through_a_daemon: through_a_daemon(Async, Mio);
    async_listens_to_async_through_a_daemon: through_a_daemon(Async, Async);
}

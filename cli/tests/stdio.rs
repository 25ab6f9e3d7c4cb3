//! Tunnels between standard input and output of two programs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Directory, Program, assert_same, bytes, listen, megabytes, seed};
use msp_mio::relay::{Relay, RelayConfig};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

#[test]
fn hello_both_ways() {
    let (mut listener, place) = listen("47");
    let mut connector = Program::start(&format!("connect {}", place.direct()));
    connector.input(b"hello from the connector", true);
    listener.input(b"hello from the listener", true);
    assert_eq!(connector.succeeded(), b"hello from the listener");
    assert_eq!(listener.succeeded(), b"hello from the connector");
}

#[test]
fn one_side_has_nothing_to_say() {
    let (mut listener, place) = listen("47");
    let mut connector = Program::start(&format!("connect {}", place.direct()));
    let sent = bytes(seed(), 64 * 1024);
    connector.input(b"", true);
    listener.input(&sent, true);
    assert_same(&connector.succeeded(), &sent);
    assert_eq!(listener.succeeded(), b"");
}

/// The answer is only given when the request has ended, so the end must arrive on its own.
#[test]
fn the_connector_ends_first() {
    let (mut listener, place) = listen("47");
    let mut connector = Program::start(&format!("connect {}", place.direct()));
    connector.input(b"request", true);
    assert_eq!(listener.output(), b"request");
    listener.input(b"answer", true);
    assert_eq!(connector.succeeded(), b"answer");
    assert_eq!(listener.ended().status, 0);
}

#[test]
fn the_listener_ends_first() {
    let (mut listener, place) = listen("47");
    let mut connector = Program::start(&format!("connect {}", place.direct()));
    listener.input(b"request", true);
    assert_eq!(connector.output(), b"request");
    connector.input(b"answer", true);
    assert_eq!(listener.succeeded(), b"answer");
    assert_eq!(connector.ended().status, 0);
}

#[test]
fn bulk_both_ways_with_loss_and_reordering() {
    let seed = seed();
    let (mut listener, place) = listen("47");
    let mut config = RelayConfig::new(10, seed);
    config.reorder = 10;
    let relay = Relay::start(place.udp, config).unwrap();
    let mut connector = Program::start(&format!("connect {}", place.at(relay.address())));

    let texts = [1, 2].map(|side| bytes(seed ^ side, megabytes() * 1_000_000));
    let writers = [&mut connector, &mut listener].map(Program::take_stdin).into_iter().zip(texts.clone());
    let writers: Vec<_> =
        writers.map(|(mut stdin, text)| thread::spawn(move || stdin.write_all(&text).unwrap())).collect();
    for writer in writers {
        writer.join().unwrap();
    }
    assert_same(&listener.succeeded(), &texts[0]);
    assert_same(&connector.succeeded(), &texts[1]);
    let stats = relay.stats();
    assert!(stats.lost * 20 > stats.passed, "the link was no bad one: {stats:?}");
}

/// Who runs the program is told what it was that broke, and the other end that not everything was carried.
#[cfg(target_os = "linux")]
#[test]
fn standard_output_that_takes_no_more() {
    for (redirection, reason) in
        [("> /dev/full", "standard output: No space left"), ("| head -c 1", "standard output: Broken pipe")]
    {
        let (mut listener, place) = listen("47");
        let program = env!("CARGO_BIN_EXE_msp");
        let connect = format!("{program} connect --udp=127.0.0.1:0 --no-broadcast {}", place.direct());
        let script = format!("{{ {connect}; echo status $? >&2; }} {redirection}");
        let home = Directory::new();
        let mut connector = Program::spawn(Command::new("sh").args(["-c", &script]), home.path());
        let mut line = listener.take_stdin();
        thread::spawn(move || while line.write_all(&[0; 1000]).is_ok() {});
        connector.line(&format!("link 0: {reason}"));
        assert_eq!(connector.line("status"), "1");
        let ended = listener.ended();
        assert_eq!(ended.status, 1, "{}", ended.stderr);
        assert!(ended.stderr.contains("aborted by the peer"), "{}", ended.stderr);
    }
}

/// As several `ssh` with a `ProxyCommand` would start them: no option says which port or identity each is to
/// take.
#[test]
fn several_connectors_beside_each_other() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let (listener, place) = listen(&format!("--forward={} 22", server.local_addr().unwrap()));
    thread::spawn(move || {
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut request = Vec::new();
                stream.read_to_end(&mut request).unwrap();
                request.reverse();
                stream.write_all(&request).unwrap();
            });
        }
    });

    let home = Directory::new();
    let mut connectors =
        [1, 2, 3].map(|_| Program::with_home(&format!("connect {}", place.direct()), home.path()));
    for (number, connector) in connectors.iter_mut().enumerate() {
        connector.input(format!("{number} abc").as_bytes(), true);
    }
    for (number, connector) in connectors.into_iter().enumerate() {
        assert_eq!(connector.succeeded(), format!("cba {number}").as_bytes());
    }
    drop(listener);
}

//! Messages that come back: a server in a loop of its own, and a client inside a loop that has a socket and a timer
//! besides.
//!
//! `cargo run -p msp-mio --example echo_mio`

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use msp_core::msp::{CloseReason, Event, StreamId};
use msp_core::{Addr, Host, Identity, Port};
use msp_mio::{Config, Node, Runtime};
use std::error::Error;
use std::ops::ControlFlow;
use std::thread;
use std::time::{Duration, Instant};

const ECHO: u16 = 7000;

// The tokens of the client's loop.
const NODE: Token = Token(0);
const SENSOR: Token = Token(1);

/// How often the client measures something, and how many times.
const INTERVAL: Duration = Duration::from_millis(20);
const READINGS: usize = 5;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    for line in run()? {
        println!("{line}");
    }
    Ok(())
}

/// What has come back to the client.
pub(crate) fn run() -> Result<Vec<String>> {
    let mut config = Config::default();
    config.udp = "127.0.0.1:0".parse()?;
    config.broadcast = false;
    let mut server = Runtime::bind(Identity::from_seed(msp_mio::random()?), &config)?;
    let remote = Addr::new(server.sid().ok_or("a node has an address")?, Port::from(ECHO));
    config.peers.extend(server.local_addr());
    let stopper = server.stopper();
    server.host().endpoint().listen(Port::from(ECHO))?;
    let serving = thread::spawn(move || server.run(serve));

    let echoed = ask(&config, remote);
    stopper.stop();
    serving.join().map_err(|_| "the server panicked")??;
    echoed
}

/// One step of the server.
fn serve(host: &mut Host, now: msp_core::Instant, stop: bool) -> ControlFlow<()> {
    while let Some(event) = host.poll_event() {
        if let Event::Readable { stream } | Event::Writable { stream } | Event::PeerFinished { stream } =
            event
        {
            echo(host, now, stream);
        }
    }
    if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

fn echo(host: &mut Host, now: msp_core::Instant, stream: StreamId) {
    let Some(mut stream) = host.endpoint().stream(stream) else { return };
    // To receive a message is to acknowledge it, so it is done last. When there is no room to send, the client has
    // to wait, and `Writable` tells when to go on.
    while let Some(message) = stream.peek().cloned() {
        if stream.send(now, message).is_err() {
            return;
        }
        stream.recv(now);
    }
    if stream.recv_finished() {
        stream.finish(now);
    }
}

/// The client: what its sensor says goes over a stream.
fn ask(config: &Config, remote: Addr) -> Result<Vec<String>> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(16);
    let mut sensor = UdpSocket::bind("127.0.0.1:0".parse()?)?;
    poll.registry().register(&mut sensor, SENSOR, Interest::READABLE)?;
    let identity = Identity::from_seed(msp_mio::random()?);
    let mut node = Node::bind(identity, config, poll.registry(), NODE)?;
    let now = node.now();
    let stream = node.host().endpoint().connect(now, remote)?;

    let mut echoed = Vec::new();
    let mut measured = 0;
    let mut next_reading = Instant::now();
    let mut closed = None;
    while closed.is_none() || !node.host().is_idle() {
        node.turn();
        let now = node.now();
        while let Some(event) = node.host().poll_event() {
            match event {
                Event::Readable { stream } => {
                    let mut stream = node.host().endpoint().stream(stream).ok_or("it has ended")?;
                    while let Some(message) = stream.recv(now) {
                        echoed.push(String::from_utf8_lossy(&message).into_owned());
                    }
                }
                Event::Closed { reason, .. } => closed = Some(reason),
                _ => {}
            }
        }

        // The timer.
        if measured < READINGS && Instant::now() >= next_reading {
            measured += 1;
            next_reading += INTERVAL;
            sensor.send_to(format!("reading {measured}").as_bytes(), sensor.local_addr()?)?;
        }
        let timer = (measured < READINGS).then(|| next_reading.saturating_duration_since(Instant::now()));
        msp_mio::poll(&mut poll, &mut events, node.timeout().into_iter().chain(timer).min())?;
        for event in &events {
            if !node.handle_event(event) {
                read(&sensor, &mut node, stream, measured)?;
            }
        }
    }
    match closed {
        Some(CloseReason::Finished) => Ok(echoed),
        reason => Err(format!("the stream ended: {reason:?}").into()),
    }
}

/// The socket: what has come goes out as one message each, the last of them with the end of the stream.
fn read(sensor: &UdpSocket, node: &mut Node, stream: StreamId, measured: usize) -> Result<()> {
    let now = node.now();
    let mut buffer = [0; 64];
    while let Ok(length) = sensor.recv(&mut buffer) {
        let mut stream = node.host().endpoint().stream(stream).ok_or("it has ended")?;
        // A sensor does not wait: what there is no room for is lost, as it would be at the sensor.
        let _ = stream.send(now, buffer[..length].to_vec().into());
        if measured == READINGS {
            stream.finish(now);
        }
    }
    Ok(())
}

//! A loop of one's own, on nothing but the standard library: a UDP socket that waits for a packet until the next timer
//! is due, and a clock. Two such loops, a server that gives back what it gets and a client, each in a thread.
//!
//! `cargo run -p msp-core --example poll_loop`

#![allow(clippy::disallowed_methods, reason = "what the core may not do itself")]

use msp_core::mdp::Destination;
use msp_core::msp::{CloseReason, Config, Event};
use msp_core::{Addr, Host, Identity, Instant, InterfaceConfig, InterfaceId, Node, NodeConfig, Port};
use std::error::Error;
use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

const ECHO: u16 = 7000;
const LINES: [&str; 3] = ["one", "two", "three"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("{}", run()?.join("\n"));
    Ok(())
}

/// The lines that have come back.
pub(crate) fn run() -> Result<Vec<String>, Box<dyn Error>> {
    let mut server = Loop::new(None)?;
    let address = server.socket.local_addr()?;
    let remote = Addr::new(server.host.sid().ok_or("a node has an address")?, Port::from(ECHO));
    server.host.endpoint().listen(Port::from(ECHO))?;
    let serving = thread::spawn(move || serve(&mut server));
    let echoed = ask(&mut Loop::new(Some(address))?, remote)?;
    serving.join().map_err(|_| "the server panicked")??;
    Ok(echoed)
}

/// A node with streams, and what the core leaves to others: a socket, and the time.
struct Loop {
    host: Host,
    interface: InterfaceId,
    socket: UdpSocket,
    start: std::time::Instant,
    packet: Vec<u8>,
}

impl Loop {
    fn new(peer: Option<SocketAddr>) -> io::Result<Self> {
        let now = Instant::ZERO;
        let mut node = Node::new(NodeConfig::default(), Identity::from_seed(random()?), random()?, now);
        // Peers are known by their addresses here. To find them by broadcast, the socket has to be allowed to, and
        // `Destination::Broadcast` goes to the broadcast address of every network.
        let interface = node.add_interface(InterfaceConfig::unicast());
        if let Some(peer) = peer {
            node.add_peer(interface, peer);
        }
        let host = Host::new(node, Config::default(), random()?);
        let (socket, start) = (UdpSocket::bind("127.0.0.1:0")?, std::time::Instant::now());
        Ok(Self { host, interface, socket, start, packet: Vec::new() })
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    /// Sends what there is to send, then waits until a packet comes or something is due.
    fn turn(&mut self) -> io::Result<()> {
        let now = self.now();
        while let Some(transmit) = self.host.poll_transmit(now, &mut self.packet) {
            if let Destination::Unicast(to) = transmit.to {
                // What the system refuses is lost, as packets are.
                let _ = self.socket.send_to(&self.packet, to);
            }
        }
        // The socket takes no zero, which would be forever.
        let wait = self.host.poll_timeout().map(|at| at.since(self.now()).max(Duration::from_micros(1)));
        self.socket.set_read_timeout(wait)?;
        let mut buffer = [0; 2048];
        match self.socket.recv_from(&mut buffer) {
            Ok((length, from)) => {
                self.host.handle_packet(self.now(), self.interface, from, &buffer[..length]);
            }
            // Nothing came in time, or a packet sent before was refused.
            Err(error) if is_harmless(error.kind()) => {}
            Err(error) => return Err(error),
        }
        self.host.handle_timeout(self.now());
        // Who comes and goes below. As long as an event waits to be taken, the next turn is due.
        while self.host.poll_uplink_event().is_some() {}
        Ok(())
    }
}

fn is_harmless(kind: ErrorKind) -> bool {
    use ErrorKind::{ConnectionRefused, ConnectionReset, Interrupted, TimedOut, WouldBlock};
    matches!(kind, ConnectionRefused | ConnectionReset | Interrupted | TimedOut | WouldBlock)
}

/// Gives back what comes over one stream, until that has ended.
fn serve(server: &mut Loop) -> io::Result<()> {
    let mut closed = false;
    while !(closed && server.host.is_idle()) {
        server.turn()?;
        let now = server.now();
        while let Some(event) = server.host.poll_event() {
            match event {
                Event::Readable { stream } | Event::Writable { stream } | Event::PeerFinished { stream } => {
                    let Some(mut stream) = server.host.endpoint().stream(stream) else { continue };
                    // To receive is to acknowledge, so it comes last. `Writable` tells when there is room again.
                    while let Some(message) = stream.peek().cloned()
                        && stream.send(now, message).is_ok()
                    {
                        stream.recv(now);
                    }
                    if stream.recv_finished() {
                        stream.finish(now);
                    }
                }
                Event::Closed { .. } => closed = true,
                _ => {}
            }
        }
    }
    Ok(())
}

/// Sends the lines and collects what comes back.
fn ask(client: &mut Loop, remote: Addr) -> Result<Vec<String>, Box<dyn Error>> {
    let mut echoed = Vec::new();
    let now = client.now();
    let stream = client.host.endpoint().connect(now, remote)?;
    let mut stream = client.host.endpoint().stream(stream).ok_or("it was just opened")?;
    for line in LINES {
        stream.send(now, line.into())?;
    }
    stream.finish(now);

    let mut closed = None;
    // The peer is to learn that its last message has arrived.
    while closed.is_none() || !client.host.is_idle() {
        client.turn()?;
        let now = client.now();
        while let Some(event) = client.host.poll_event() {
            match event {
                Event::Readable { stream } => {
                    let Some(mut stream) = client.host.endpoint().stream(stream) else { continue };
                    while let Some(message) = stream.recv(now) {
                        echoed.push(String::from_utf8(message.to_vec())?);
                    }
                }
                Event::Closed { reason, .. } => closed = Some(reason),
                _ => {}
            }
        }
    }
    match closed {
        Some(CloseReason::Finished) => Ok(echoed),
        reason => Err(format!("the stream ended: {reason:?}").into()),
    }
}

/// Fresh random bytes: the core asks nobody for them.
fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

//! Two endpoints in memory: one opens a stream to the other and sends a line. There is no socket and no clock, and time
//! jumps from one event to the next.
//!
//! `cargo run -p msp-core --example loopback`

use msp_core::msp::{Config, Endpoint, Event, Outgoing};
use msp_core::{Addr, Datagram, Instant, Port, Protection, Sid};
use std::error::Error;

const PORT: u16 = 512;

fn main() -> Result<(), Box<dyn Error>> {
    println!("{}", run()?);
    Ok(())
}

/// What the second endpoint has received.
pub(crate) fn run() -> Result<String, Box<dyn Error>> {
    // Seeds are random bytes of the system in a program that is not an example.
    let mut endpoints = [1, 2].map(|seed| Endpoint::new(Config::default(), [seed; 32]));
    let addresses = [1, 2].map(|number| Sid::new([number; 32]));
    let mut now = Instant::ZERO;
    let mut packet = Vec::new();
    let mut received = String::new();

    endpoints[1].listen(Port::from(PORT))?;
    let stream = endpoints[0].connect(now, Addr::new(addresses[1], Port::from(PORT)))?;
    let mut stream = endpoints[0].stream(stream).ok_or("it was just opened")?;
    stream.send(now, "a line for the other end".into())?;
    stream.finish(now);

    loop {
        for (side, other) in [(0, 1), (1, 0)] {
            endpoints[side].handle_timeout(now);
            while let Some(Outgoing { from, to, .. }) = endpoints[side].poll_transmit(now, &mut packet) {
                let (from, payload) = (Addr::new(addresses[side], from), packet.clone().into());
                let datagram = Datagram::new(from, to.port, Protection::Encrypted, payload);
                // Why one is ignored is for counters.
                let _ = endpoints[other].handle_datagram(now, datagram);
            }
            while let Some(event) = endpoints[side].poll_event() {
                let (Event::Readable { stream } | Event::PeerFinished { stream }) = event else { continue };
                let Some(mut stream) = endpoints[side].stream(stream) else { continue };
                while let Some(message) = stream.recv(now) {
                    received.push_str(str::from_utf8(&message)?);
                }
                stream.finish(now);
            }
        }
        // A stream that has ended is kept for a while, in case the peer asks again.
        match endpoints.iter().filter_map(Endpoint::poll_timeout).min() {
            Some(next) => now = next,
            None => return Ok(received),
        }
    }
}

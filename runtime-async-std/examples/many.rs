//! How much memory 1,000 streams take, both ends in one process (Linux).
//!
//! `cargo run --release -p msp-async-std --example many`, or with `-- mio` on that runtime

use async_std::task;
use msp_async_std::{Config, MspStream, Node, random};
use msp_core::msp::Event;
use msp_core::{Addr, Identity};
use std::error::Error;
use std::net::SocketAddr;
use std::{env, fs};

const STREAMS: usize = 1000;
const PORT: u16 = 7000;

fn main() -> Result<(), Box<dyn Error>> {
    if env::args().nth(1).as_deref() == Some("mio") { over_mio() } else { task::block_on(over_async()) }
}

/// On loopback, with room for all streams.
fn config(peer: Option<SocketAddr>) -> Result<Config, Box<dyn Error>> {
    let mut config = Config::default();
    config.udp = "127.0.0.1:0".parse()?;
    config.broadcast = false;
    config.peers.extend(peer);
    let streams = &mut config.streams;
    streams.max_streams = STREAMS * 8 / 7 + 1;
    (streams.max_streams_per_peer, streams.max_half_open) = (STREAMS, STREAMS);
    (streams.new_streams, streams.new_streams_per_peer) = (10_000, 10_000);
    Ok(config)
}

async fn over_async() -> Result<(), Box<dyn Error>> {
    let server = Node::spawn(Identity::from_seed(random()?), &config(None)?)?;
    let client = Node::spawn(Identity::from_seed(random()?), &config(server.local_addr())?)?;
    let remote = Addr::new(server.sid().ok_or("a node has an address")?, PORT.into());
    let mut listener = server.listen(PORT.into())?;
    let before = resident()?;
    let mut streams: Vec<[MspStream; 2]> = Vec::new();
    for _ in 0..STREAMS {
        let mut here = client.connect(remote).await?;
        here.send("hello").await?;
        let mut there = listener.accept().await.ok_or("the node has ended")?;
        there.recv().await?;
        here.delivered().await?;
        streams.push([here, there]);
    }
    report("async-std", before)?;
    drop(streams);
    Ok(())
}

fn over_mio() -> Result<(), Box<dyn Error>> {
    let mut poll = mio::Poll::new()?;
    let mut events = mio::Events::with_capacity(64);
    let identity = || random().map(Identity::from_seed);
    let registry = poll.registry();
    let mut server = msp_mio::Node::bind(identity()?, &config(None)?, registry, mio::Token(0))?;
    let peer = config(server.local_addr())?;
    let mut client = msp_mio::Node::bind(identity()?, &peer, registry, mio::Token(1))?;
    let remote = Addr::new(server.sid().ok_or("a node has an address")?, PORT.into());
    server.host().endpoint().listen(PORT.into())?;
    let before = resident()?;
    for _ in 0..STREAMS {
        let now = client.now();
        let id = client.host().endpoint().connect(now, remote)?;
        client.host().endpoint().stream(id).ok_or("it has ended")?.send(now, "hello".into())?;
        while client.host().endpoint().stream(id).ok_or("it has ended")?.unacknowledged() > 0 {
            for node in [&mut client, &mut server] {
                node.turn();
                let now = node.now();
                while let Some(event) = node.host().poll_event() {
                    if let Event::Readable { stream } = event {
                        node.host().endpoint().stream(stream).ok_or("it has ended")?.recv(now);
                    }
                }
            }
            poll.poll(&mut events, [client.timeout(), server.timeout()].into_iter().flatten().min())?;
            for event in &events {
                let _ = server.handle_event(event) || client.handle_event(event);
            }
        }
    }
    report("mio", before)
}

fn report(runtime: &str, before: usize) -> Result<(), Box<dyn Error>> {
    let grown = resident()?.saturating_sub(before);
    println!(
        "{runtime}: {STREAMS} streams, both ends in one process: {grown} kB more than without, {} bytes for each end",
        grown * 1024 / STREAMS / 2
    );
    Ok(())
}

/// Memory of this process, in kB.
fn resident() -> Result<usize, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no such line")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

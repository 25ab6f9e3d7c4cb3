//! A TCP echo server reached through a tunnel between two nodes in one process.
//!
//! `cargo run -p msp-async-std --example tunnel`

use async_std::io::copy;
use async_std::net::{TcpListener, TcpStream};
use async_std::prelude::*;
use async_std::task;
use msp_async_std::tunnel::{self, Carrier, Source, Target, TunnelConfig};
use msp_async_std::{Config, random};
use msp_core::{Addr, Identity};
use std::error::Error;
use std::net::Shutdown;

/// The MDP port that stands for the server.
const ECHO: u16 = 7000;

fn main() -> Result<(), Box<dyn Error>> {
    println!("{}", task::block_on(run())?);
    Ok(())
}

pub(crate) async fn run() -> Result<String, Box<dyn Error>> {
    // A server that knows nothing of all this.
    let server = TcpListener::bind("127.0.0.1:0").await?;
    let target = server.local_addr()?;
    task::spawn(async move {
        let (stream, _) = server.accept().await?;
        copy(&mut &stream, &mut &stream).await?;
        stream.shutdown(Shutdown::Write)
    });

    // A node that lets peers reach it.
    let mut config = Config::default();
    config.udp = "127.0.0.1:0".parse()?;
    config.broadcast = false;
    let carrier = Carrier::bind(Identity::from_seed(random()?), &config)?;
    let remote = Addr::new(carrier.sid().ok_or("a node has an address")?, ECHO.into());
    config.peers.extend(carrier.local_addr());
    let listening = tunnel::listen(carrier, ECHO.into(), Target::Tcp(vec![target]), TunnelConfig::default())?;
    let stop_listening = listening.stopper();
    let listening = task::spawn(listening);

    // A node that offers the server at a TCP port of its own.
    let carrier = Carrier::bind(Identity::from_seed(random()?), &config)?;
    let entrance = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = entrance.local_addr()?;
    let connecting = tunnel::connect(carrier, remote, Source::Tcp(entrance), TunnelConfig::default())?;
    let stop_connecting = connecting.stopper();
    let connecting = task::spawn(connecting);

    // A client that knows nothing either.
    let mut client = TcpStream::connect(address).await?;
    client.write_all(b"hello through the mesh").await?;
    client.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    client.read_to_string(&mut answer).await?;

    stop_connecting.stop();
    stop_listening.stop();
    connecting.await;
    listening.await;
    Ok(answer)
}

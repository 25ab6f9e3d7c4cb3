//! A server that gives back what it gets, and a client, each on a node of its own in one process.
//!
//! `cargo run -p msp-async-std --example echo`

use async_std::io::copy;
use async_std::prelude::*;
use async_std::task;
use msp_async_std::{Config, MspStream, Node, random};
use msp_core::{Addr, Identity};
use std::error::Error;

/// The MDP port of the server.
const ECHO: u16 = 7000;

fn main() -> Result<(), Box<dyn Error>> {
    println!("{}", task::block_on(run())?);
    Ok(())
}

pub(crate) async fn run() -> Result<String, Box<dyn Error>> {
    // On loopback only, and at any free port.
    let mut config = Config::default();
    config.udp = "127.0.0.1:0".parse()?;
    config.broadcast = false;

    let server = Node::spawn(Identity::from_seed(random()?), &config)?;
    let address = Addr::new(server.sid().ok_or("a node has an address")?, ECHO.into());
    let mut listener = server.listen(ECHO.into())?;
    task::spawn(async move {
        while let Some(stream) = listener.next().await {
            task::spawn(echo(stream));
        }
    });

    config.peers.extend(server.local_addr());
    let client = Node::spawn(Identity::from_seed(random()?), &config)?;
    let mut stream = client.connect(address).await?;
    stream.write_all(b"hello through the mesh").await?;
    stream.close().await?; // nothing more to say, all the more to hear
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;

    client.close().await;
    server.close().await;
    Ok(answer)
}

async fn echo(stream: MspStream) -> std::io::Result<()> {
    let (mut read, mut write) = stream.split();
    copy(&mut read, &mut write).await?;
    Ok(write.close().await?)
}

//! The streams on another executor than async-std, here smol: only spawning differs.
//!
//! `cargo run -p msp-async-std --example smol`

use msp_async_std::{Config, Node, random};
use msp_core::{Addr, Identity};
use smol::io::{AsyncReadExt, AsyncWriteExt};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("{}", smol::block_on(run())?);
    Ok(())
}

pub(crate) async fn run() -> Result<String, Box<dyn Error>> {
    let mut config = Config::default();
    config.udp = "127.0.0.1:0".parse()?;
    config.broadcast = false;
    let (server, driver) = Node::bind(Identity::from_seed(random()?), &config)?;
    let serving = smol::spawn(driver);

    config.peers.extend(server.local_addr());
    let (client, driver) = Node::bind(Identity::from_seed(random()?), &config)?;
    let asking = smol::spawn(driver);

    let mut listener = server.listen(7000.into())?;
    let remote = Addr::new(server.sid().ok_or("a node has an address")?, listener.port());
    let (question, answer) = smol::future::zip(client.connect(remote), listener.accept()).await;
    let (mut question, mut answer) = (question?, answer.ok_or("the node has ended")?);
    question.write_all(b"Who is there?").await?;
    question.close().await?;
    let (mut asked, mut answered) = (String::new(), String::new());
    answer.read_to_string(&mut asked).await?;
    answer.write_all(b"Nobody.").await?;
    answer.close().await?;
    question.read_to_string(&mut answered).await?;

    client.close().await;
    server.close().await;
    // The drivers end with their nodes.
    asking.await;
    serving.await;
    Ok(format!("{asked} {answered}"))
}

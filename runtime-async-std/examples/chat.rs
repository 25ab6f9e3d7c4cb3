//! Two people type lines to each other, each line a message.
//!
//! The first starts `cargo run -p msp-async-std --example chat` and tells the other what it prints.

use async_std::io::{BufReader, prelude::*, stdin};
use async_std::stream::{Stream, StreamExt};
use async_std::task;
use futures_lite::future;
use msp_async_std::{Config, MspStream, Node, random};
use msp_core::{Addr, Identity, Sid};
use std::error::Error;
use std::{env, io};

/// The MDP port of those who wait for a call.
const CHAT: u16 = 7001;

fn main() -> Result<(), Box<dyn Error>> {
    task::block_on(async {
        let callee = env::args().nth(1).as_deref().map(parse).transpose()?;
        let mut config = Config::default();
        config.udp.set_port(0);
        config.peers.extend(callee.map(|(_, at)| at));
        let node = Node::spawn(Identity::from_seed(random()?), &config)?;
        let stream = match callee {
            Some((sid, _)) => node.connect(Addr::new(sid, CHAT.into())).await?,
            None => {
                let port = node.local_addr().ok_or("a node has an address")?.port();
                let sid = node.sid().ok_or("a node has an address")?;
                eprintln!("cargo run -p msp-async-std --example chat {sid}@HOST:{port}");
                node.listen(CHAT.into())?.accept().await.ok_or("the node has ended")?
            }
        };
        eprintln!("talking to {}", stream.peer().sid);
        talk(stream, BufReader::new(stdin()).lines(), |line| println!("{line}")).await?;
        node.close().await;
        Ok(())
    })
}

fn parse(callee: &str) -> Result<(Sid, std::net::SocketAddr), Box<dyn Error>> {
    let (sid, at) = callee.split_once('@').ok_or("SID@ADDRESS:PORT, please")?;
    Ok((sid.parse()?, at.parse()?))
}

/// Sends lines and shows those that come, until both have no more to say.
pub(crate) async fn talk(
    stream: MspStream,
    lines: impl Stream<Item = io::Result<String>>,
    mut show: impl FnMut(&str),
) -> Result<(), Box<dyn Error>> {
    let (mut hear, mut say) = stream.split();
    let saying = async {
        let mut lines = std::pin::pin!(lines);
        while let Some(line) = lines.next().await {
            // A message has at least one byte.
            say.send(line? + "\n").await?;
        }
        say.close().await?;
        Ok::<_, Box<dyn Error>>(say)
    };
    let hearing = async {
        while let Some(message) = hear.recv().await? {
            // Whoever sends control characters does not get to move the cursor.
            show(&String::from_utf8_lossy(&message).trim_end().escape_debug().to_string());
        }
        Ok(hear)
    };
    // Both halves are kept until both are done: without them, the stream would end.
    future::try_zip(saying, hearing).await?;
    Ok(())
}

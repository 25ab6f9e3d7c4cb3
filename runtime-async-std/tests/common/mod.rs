//! Nodes on loopback.

#![allow(dead_code, clippy::unwrap_used, reason = "each test uses a part of it, and fails by panicking")]

use async_std::stream::StreamExt;
use msp_async_std::{BindError, Config, MspStream, Node};
use msp_core::{Addr, Identity};

/// At any free port, finding nobody by broadcast.
pub(crate) fn config() -> Config {
    let mut config = Config::default();
    config.udp = "127.0.0.1:0".parse().unwrap();
    config.broadcast = false;
    config
}

pub(crate) fn node(seed: u8, config: &Config) -> Result<Node, BindError> {
    Node::spawn(Identity::from_seed([seed; 32]), config)
}

/// A client that knows a server.
pub(crate) fn pair() -> (Node, Node) {
    pair_with(&config())
}

fn pair_with(config: &Config) -> (Node, Node) {
    let server = node(2, config).unwrap();
    let mut config = config.clone();
    config.peers.extend(server.local_addr());
    (node(1, &config).unwrap(), server)
}

/// Both ends of a stream.
pub(crate) struct Pair {
    pub(crate) client: MspStream,
    pub(crate) server: MspStream,
    pub(crate) nodes: [Node; 2],
}

pub(crate) async fn stream() -> Pair {
    stream_with(&config()).await
}

pub(crate) async fn stream_with(config: &Config) -> Pair {
    let (client_node, server_node) = pair_with(config);
    let mut listener = server_node.listen(500.into()).unwrap();
    let remote = Addr::new(server_node.sid().unwrap(), 500.into());
    let client = client_node.connect(remote).await.unwrap();
    let server = listener.next().await.unwrap();
    Pair { client, server, nodes: [client_node, server_node] }
}

/// Has a message go over a stream, so that its end is no refusal.
pub(crate) async fn exchange(client: &mut MspStream, server: &mut MspStream) {
    client.send("hello").await.unwrap();
    assert_eq!(server.recv().await.unwrap().unwrap(), "hello");
    client.delivered().await.unwrap();
}

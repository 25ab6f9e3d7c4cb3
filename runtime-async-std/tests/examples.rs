//! The examples do what they say.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

#[allow(dead_code, reason = "its main function")]
#[path = "../examples/echo.rs"]
mod echo;

#[allow(dead_code, reason = "its main function")]
#[path = "../examples/chat.rs"]
mod chat;
#[allow(dead_code, reason = "its main function")]
#[path = "../examples/smol.rs"]
mod smol_example;
#[allow(dead_code, reason = "its main function")]
#[path = "../examples/tunnel.rs"]
mod tunnel;

use async_std::task::block_on;
use futures_lite::{future, stream};

#[test]
fn echo_gives_back_what_it_gets() {
    assert_eq!(block_on(echo::run()).unwrap(), "hello through the mesh");
}

#[test]
fn streams_run_on_smol() {
    assert_eq!(smol::block_on(smol_example::run()).unwrap(), "Who is there? Nobody.");
}

#[test]
fn a_tunnel_carries_tcp() {
    assert_eq!(block_on(tunnel::run()).unwrap(), "hello through the mesh");
}

#[test]
fn what_is_said_is_shown_without_control_characters() {
    block_on(async {
        let common::Pair { client, server, nodes: _nodes } = common::stream().await;
        let lines = |lines: [&str; 2]| stream::iter(lines.map(|line| Ok(line.to_owned())));
        let (mut at_client, mut at_server) = (Vec::new(), Vec::new());
        let ends = future::zip(
            chat::talk(client, lines(["hello", ""]), |line| at_client.push(line.to_owned())),
            chat::talk(server, lines(["hi", "\u{1b}[2J"]), |line| at_server.push(line.to_owned())),
        );
        let (one, other) = ends.await;
        one.and(other).unwrap();
        assert_eq!(at_client, ["hi", "\\u{1b}[2J"]);
        assert_eq!(at_server, ["hello", ""]);
    });
}

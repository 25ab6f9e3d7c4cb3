//! Futures that are dropped at any await have done nothing, or all.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use async_std::io::prelude::*;
use async_std::task::{block_on, yield_now};
use common::{Pair, config, exchange, pair, stream_with};
use futures_lite::future::zip;
use msp_async_std::{Config, MspListener, MspStream, Node, StreamError};
use msp_core::msp::CloseReason;
use msp_core::{Addr, Identity};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Polls that a future gets at most, in one test after the other: dropped before it has waited at all, after it was
/// woken once, and later.
const POLLS: [usize; 4] = [1, 2, 3, 5];

/// Polls a future so often at most, and drops it.
async fn attempt<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let (mut future, mut left) = (pin!(future), polls);
    let result = poll_fn(|cx| {
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    let result = result.await;
    if result.is_none() {
        // Whatever it waited for gets its chance.
        std::thread::yield_now();
        yield_now().await;
    }
    result
}

/// A window of few messages, so that everybody waits most of the time.
fn narrow() -> Config {
    let mut config = config();
    config.streams.send_window = 2;
    config.streams.receive_window = 2;
    config
}

#[test]
fn no_message_is_lost_or_repeated() {
    block_on(async {
        for polls in POLLS {
            let Pair { mut client, mut server, nodes: _nodes } = stream_with(&narrow()).await;
            let (mut unsent, mut unreceived) = (0, 0);
            let sending = async {
                for number in 0..500_u32 {
                    while attempt(client.send(number.to_le_bytes().to_vec()), polls).await.is_none() {
                        unsent += 1;
                    }
                }
                client.close().await.unwrap();
            };
            let receiving = async {
                for number in 0..500_u32 {
                    let message = loop {
                        match attempt(server.recv(), polls).await {
                            Some(message) => break message.unwrap().unwrap(),
                            None => unreceived += 1,
                        }
                    };
                    assert_eq!(message, number.to_le_bytes().as_slice());
                }
                assert_eq!(server.recv().await, Ok(None));
            };
            zip(sending, receiving).await;
            if polls == 1 {
                assert!(unsent > 10 && unreceived > 10, "{unsent} {unreceived}");
            }
        }
    });
}

#[test]
fn no_byte_is_lost_or_repeated() {
    let text: Vec<u8> =
        (0..400_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    block_on(async {
        for polls in POLLS {
            let Pair { mut client, mut server, nodes: _nodes } = stream_with(&narrow()).await;
            let writing = async {
                let mut rest = &text[..];
                while !rest.is_empty() {
                    let piece = &rest[..rest.len().min(1500)];
                    if let Some(count) = attempt(client.write(piece), polls).await {
                        rest = &rest[count.unwrap()..];
                    }
                }
                client.close().await.unwrap();
            };
            let reading = async {
                let (mut received, mut buffer) = (Vec::new(), [0; 700]);
                loop {
                    match attempt(server.read(&mut buffer), polls).await {
                        Some(Ok(0)) => break received,
                        Some(count) => received.extend_from_slice(&buffer[..count.unwrap()]),
                        None => {}
                    }
                }
            };
            let ((), received) = zip(writing, reading).await;
            assert!(received == text, "with {polls} polls");
        }
    });
}

#[test]
fn no_stream_is_lost_by_an_accept() {
    block_on(async {
        for polls in POLLS {
            let (client, server) = pair();
            let remote = Addr::new(server.sid().unwrap(), 500.into());
            let mut listener = server.listen(500.into()).unwrap();
            let connecting = async {
                let mut streams = Vec::new();
                for number in 0..20_u8 {
                    let mut stream = client.connect(remote).await.unwrap();
                    stream.send(vec![number]).await.unwrap();
                    streams.push(stream);
                }
                streams
            };
            let accepting = async {
                for number in 0..20_u8 {
                    let mut stream = accept(&mut listener, polls).await;
                    assert_eq!(stream.recv().await.unwrap().unwrap(), [number].as_slice());
                }
            };
            zip(connecting, accepting).await;
        }
    });
}

async fn accept(listener: &mut MspListener, polls: usize) -> MspStream {
    loop {
        if let Some(stream) = attempt(listener.accept(), polls).await {
            return stream.unwrap();
        }
    }
}

#[test]
fn a_connect_that_is_given_up_is_aborted() {
    block_on(async {
        let (client, server) = pair();
        let remote = Addr::new(server.sid().unwrap(), 500.into());
        let mut listener = server.listen(500.into()).unwrap();
        for polls in POLLS.into_iter().cycle().take(20) {
            drop(attempt(client.connect(remote), polls).await);
        }
        // Of those that have reached the server, none looks as if it had come to its end.
        let connecting = async {
            let mut stream = client.connect(remote).await.unwrap();
            stream.send("the last").await.unwrap();
            stream
        };
        let accepting = async {
            loop {
                let mut stream = listener.accept().await.unwrap();
                match stream.recv().await {
                    Ok(message) => break assert_eq!(message.unwrap(), "the last"),
                    Err(error) => {
                        let reset = [CloseReason::PeerReset, CloseReason::Refused].map(StreamError::Closed);
                        assert!(reset.contains(&error), "{error}");
                    }
                }
            }
        };
        zip(connecting, accepting).await;
    });
}

#[test]
fn delivery_can_be_waited_for_again() {
    block_on(async {
        let Pair { mut client, mut server, nodes: _nodes } = stream_with(&narrow()).await;
        exchange(&mut client, &mut server).await;
        client.send("x").await.unwrap();
        for _ in 0..3 {
            assert_eq!(attempt(client.delivered(), 1).await, None, "nobody has received it");
        }
        assert_eq!(server.recv().await.unwrap().unwrap(), "x");
        assert_eq!(client.delivered().await, Ok(()));
    });
}

#[test]
fn a_node_whose_close_is_given_up_ends() {
    block_on(async {
        let Pair { client, mut server, nodes: [client_node, _server_node] } = stream_with(&narrow()).await;
        let _ = attempt(client_node.close(), 1).await;
        assert!(client.connected().await.is_err());
        drop(client);
        // It may have got as far as to tell the peer, or to its end.
        assert!(server.recv().await.is_err());
        let (node, driver) = Node::bind(Identity::from_seed([9; 32]), &config()).unwrap();
        drop(driver);
        node.close().await;
    });
}

//! Streams between nodes in one process, over UDP on the loopback address.

mod common;

use async_std::io::prelude::*;
use async_std::stream::StreamExt;
use async_std::task::{block_on, spawn};
use common::{Pair, exchange, node, pair, stream};
use msp_async_std::{ConnectError, ListenError, SendError, StreamError};
use msp_core::msp::{self, CloseReason, MAX_MESSAGE};
use msp_core::{Addr, Sid};
use std::io::ErrorKind;

const RESET: StreamError = StreamError::Closed(CloseReason::PeerReset);

#[test]
fn messages_keep_their_boundaries() {
    block_on(async {
        let Pair { mut client, mut server, nodes: _nodes } = stream().await;
        for length in [1, 2, 1000, MAX_MESSAGE, 1] {
            client.send(vec![length as u8; length]).await.unwrap();
        }
        for length in [1, 2, 1000, MAX_MESSAGE, 1] {
            assert_eq!(server.recv().await.unwrap().unwrap(), vec![length as u8; length]);
        }
        let refused = |error| Err(SendError::Refused(error));
        assert_eq!(client.send("").await, refused(msp::SendError::Empty));
        let too_long = client.send(vec![0; MAX_MESSAGE + 1]).await;
        assert_eq!(too_long, refused(msp::SendError::TooLarge { max: MAX_MESSAGE }));
        client.close().await.unwrap();
        assert_eq!(client.send("more").await, refused(msp::SendError::Finished));
        assert_eq!(server.recv().await, Ok(None));
    });
}

#[test]
fn a_message_that_was_read_in_part_is_received_without_that() {
    block_on(async {
        let Pair { mut client, mut server, nodes: _nodes } = stream().await;
        client.send("abcdef").await.unwrap();
        let mut start = [0; 2];
        server.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"ab");
        assert_eq!(server.recv().await.unwrap().unwrap(), "cdef");
    });
}

#[test]
fn each_direction_ends_on_its_own() {
    block_on(async {
        let Pair { mut client, mut server, nodes: _nodes } = stream().await;
        client.write_all(b"question").await.unwrap();
        client.close().await.unwrap();
        let mut text = String::new();
        server.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "question");
        for _ in 0..100 {
            server.write_all(&[7; 5000]).await.unwrap();
            client.read_exact(&mut [0; 5000]).await.unwrap();
        }
        server.close().await.unwrap();
        assert_eq!(client.recv().await, Ok(None));
        assert_eq!(client.delivered().await, Ok(()));
        assert_eq!(server.delivered().await, Ok(()));
        let error = client.write(b"more").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_closed_stream_can_be_dropped_and_is_still_delivered() {
    block_on(async {
        let Pair { mut client, mut server, nodes: _nodes } = stream().await;
        client.write_all(&[5; 100_000]).await.unwrap();
        client.close().await.unwrap();
        drop(client);
        let mut received = Vec::new();
        server.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, [5; 100_000]);
        // There is nobody left to read an answer, of which the server is told.
        let failed = loop {
            if let Err(error) = server.send("answer").await {
                break error;
            }
        };
        assert_eq!(failed, SendError::Ended(RESET));
    });
}

#[test]
fn what_came_with_its_end_has_no_error_at_its_end() {
    block_on(async {
        let Pair { mut client, mut server, nodes: _nodes } = stream().await;
        client.write_all(b"all there is").await.unwrap();
        client.close().await.unwrap();
        drop(client);
        server.read_exact(&mut [0; 12]).await.unwrap();
        while server.send("answer").await.is_ok() {}
        // Its user has gone, and the stream with it: not before its end had come.
        assert_eq!(server.recv().await, Ok(None));
    });
}

#[test]
fn a_dropped_stream_is_aborted_and_the_peer_told() {
    block_on(async {
        let Pair { mut client, mut server, nodes: _nodes } = stream().await;
        exchange(&mut client, &mut server).await;
        client.write_all(b"unread").await.unwrap();
        drop(server);
        assert_eq!(client.recv().await, Err(RESET));
        assert_eq!(client.delivered().await, Err(RESET));
        let error = client.write(b"more").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(error.to_string().contains("aborted by the peer"), "{error}");
    });
}

#[test]
fn halves_live_on_their_own_and_are_one_stream() {
    block_on(async {
        let Pair { client, server, nodes: _nodes } = stream().await;
        let (mut read, write) = client.split();
        let (mut echo_read, mut echo_write) = server.split();
        let echo = spawn(async move {
            while let Some(message) = echo_read.recv().await.unwrap() {
                echo_write.send(message).await.unwrap();
            }
            echo_write.close().await
        });
        let sender = spawn(async move {
            let mut write = write;
            for number in 0..2000_u32 {
                write.send(number.to_le_bytes().to_vec()).await.unwrap();
            }
            write.close().await.unwrap();
            write
        });
        for number in 0..2000_u32 {
            assert_eq!(read.recv().await.unwrap().unwrap(), number.to_le_bytes().to_vec());
        }
        assert_eq!(read.recv().await, Ok(None));
        echo.await.unwrap();
        drop((sender.await, read));
    });
}

#[test]
fn a_slow_reader_stops_the_writer() {
    block_on(async {
        let Pair { mut client, mut server, nodes: _nodes } = stream().await;
        let window = usize::from(msp::Config::default().send_window);
        let mut sent = 0;
        while let Some(result) = futures_lite::future::poll_once(client.send("message")).await {
            result.unwrap();
            sent += 1;
        }
        assert!((1..window).contains(&sent), "{sent} messages, though nobody reads");
        let writer = spawn(async move {
            client.send("one more").await.unwrap();
            client
        });
        for _ in 0..sent {
            assert_eq!(server.recv().await.unwrap().unwrap(), "message");
        }
        assert_eq!(server.recv().await.unwrap().unwrap(), "one more");
        writer.await;
    });
}

#[test]
fn streams_are_accepted_in_order_and_those_beyond_the_backlog_refused() {
    block_on(async {
        let (client, server) = pair();
        let remote = Addr::new(server.sid().unwrap(), 500.into());
        let mut listener = server.listen(500.into()).unwrap();
        listener.set_backlog(3);
        assert_eq!(
            server.listen(500.into()).err(),
            Some(ListenError::Refused(msp::ListenError::InUse(500.into())))
        );
        let mut streams = Vec::new();
        for number in 0..3_u8 {
            let mut stream = client.connect(remote).await.unwrap();
            stream.send(vec![number]).await.unwrap();
            streams.push(stream);
        }
        let refused = client.connect(remote).await.unwrap_err();
        let source = StreamError::Closed(CloseReason::Refused);
        assert_eq!(refused, ConnectError::Failed { remote, source });
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        for number in 0..3_u8 {
            let mut stream = listener.next().await.unwrap();
            assert_eq!(stream.recv().await.unwrap().unwrap(), [number].as_slice());
        }
        assert!(client.connect(remote).await.is_ok(), "there is room again");
        drop(listener);
        assert!(server.listen(500.into()).is_ok(), "and the port is free again");
    });
}

#[test]
fn closing_a_node_tells_the_peers_and_dropping_it_ends_what_is_here() {
    block_on(async {
        let Pair { mut client, mut server, nodes } = stream().await;
        let [client_node, server_node] = nodes;
        exchange(&mut client, &mut server).await;
        let mut listener = server_node.listen(501.into()).unwrap();
        server_node.close().await;
        assert_eq!(client.recv().await, Err(RESET));
        assert!(listener.accept().await.is_none());
        assert!(matches!(server.recv().await, Err(StreamError::Closed(CloseReason::Reset))));

        let open = client_node.open(Addr::new(Sid::new([7; 32]), 500.into())).unwrap();
        drop(client_node);
        assert_eq!(open.connected().await, Err(StreamError::NodeEnded));
    });
}

#[test]
fn a_node_that_has_restarted_is_a_new_one() {
    block_on(async {
        let Pair { mut client, mut server, nodes: [client_node, server_node] } = stream().await;
        exchange(&mut client, &mut server).await;
        let (address, mut config) = (server_node.local_addr().unwrap(), common::config());
        drop((server_node, server));
        config.udp = address;
        // The socket is closed when the driver has noticed.
        let server_node = loop {
            match node(2, &config) {
                Ok(node) => break node,
                Err(error) => assert_eq!(error.source.kind(), ErrorKind::AddrInUse),
            }
            async_std::task::yield_now().await;
        };
        let mut listener = server_node.listen(500.into()).unwrap();
        // Whatever is sent tells that there is nobody any more who knows the stream.
        let failed = loop {
            if let Err(error) = client.send("are you there?").await {
                break error;
            }
        };
        let SendError::Ended(StreamError::Closed(reason)) = failed else { panic!("{failed}") };
        assert!(matches!(reason, CloseReason::PeerReset | CloseReason::PeerRestarted), "{reason}");
        let remote = client.peer();
        let (connected, accepted) =
            futures_lite::future::zip(client_node.connect(remote), listener.next()).await;
        exchange(&mut connected.unwrap(), &mut accepted.unwrap()).await;
    });
}

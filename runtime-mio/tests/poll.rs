//! Nodes and tunnels inside one poll of the caller.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use mio::{Events, Poll, Token, Waker};
use msp_core::msp::{CloseReason, Event, StreamId};
use msp_core::tunnel::{Outcome, TunnelConfig};
use msp_core::{Addr, Identity};
use msp_mio::relay::{Relay, RelayConfig};
use msp_mio::{Config, Node, Source, Target, Tunnel};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

const PORT: u16 = 1000;
const OTHER: Token = Token(3);

fn node(seed: u8, peer: Option<SocketAddr>, streams: u32, poll: &Poll, token: Token) -> Node {
    let mut config = Config::default();
    config.udp = "127.0.0.1:0".parse().unwrap();
    config.broadcast = false;
    config.peers.extend(peer);
    config.streams.max_streams = 2 * streams as usize;
    config.streams.max_streams_per_peer = streams as usize;
    config.streams.max_half_open = streams as usize;
    config.streams.new_streams = 2 * streams;
    config.streams.new_streams_per_peer = streams;
    Node::bind(Identity::from_seed([seed; 32]), &config, poll.registry(), token).unwrap()
}

type ToSend = VecDeque<Vec<u8>>;
type Received = Vec<Vec<u8>>;

/// Two nodes in one poll: one gives back what it gets, the other has sent and received these messages on each of its
/// streams.
struct Pair {
    poll: Poll,
    events: Events,
    server: Node,
    client: Node,
    remote: Addr,
    streams: BTreeMap<StreamId, (ToSend, Received)>,
    closed: BTreeMap<StreamId, CloseReason>,
}

impl Pair {
    fn new(loss: u8, streams: u32) -> (Self, Option<Relay>) {
        let poll = Poll::new().unwrap();
        let mut server = node(1, None, streams, &poll, Token(7));
        server.host().endpoint().listen(PORT.into()).unwrap();
        let remote = Addr::new(server.sid().unwrap(), PORT.into());
        let address = server.local_addr().unwrap();
        let relay = (loss > 0).then(|| Relay::start(address, RelayConfig::new(loss, 7)).unwrap());
        let address = relay.as_ref().map_or(address, Relay::address);
        let client = node(2, Some(address), streams, &poll, Token(5));
        let events = Events::with_capacity(64);
        let (streams, closed) = (BTreeMap::new(), BTreeMap::new());
        (Self { poll, events, server, client, remote, streams, closed }, relay)
    }

    fn open(&mut self, messages: impl Iterator<Item = Vec<u8>>) -> StreamId {
        let now = self.client.now();
        let stream = self.client.host().endpoint().connect(now, self.remote).unwrap();
        self.streams.insert(stream, (messages.collect(), Vec::new()));
        self.send(stream);
        stream
    }

    fn send(&mut self, id: StreamId) {
        let now = self.client.now();
        let Some(mut stream) = self.client.host().endpoint().stream(id) else { return };
        let (messages, _) = self.streams.get_mut(&id).unwrap();
        while let Some(message) = messages.front() {
            if stream.send(now, message.clone().into()).is_err() {
                return;
            }
            messages.pop_front();
        }
    }

    /// Ends the client's half of all streams.
    fn finish(&mut self) {
        let now = self.client.now();
        for id in self.streams.keys() {
            if let Some(mut stream) = self.client.host().endpoint().stream(*id) {
                stream.finish(now);
            }
        }
    }

    fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        loop {
            self.server.turn();
            self.client.turn();
            self.serve();
            self.take_events();
            if done(self) {
                return;
            }
            let timeout = self.server.timeout().into_iter().chain(self.client.timeout()).min();
            self.poll.poll(&mut self.events, timeout).unwrap();
            for event in &self.events {
                let (server, client) = (self.server.handle_event(event), self.client.handle_event(event));
                assert_eq!((server, client), (event.token() == Token(7), event.token() == Token(5)));
            }
        }
    }

    fn serve(&mut self) {
        let now = self.server.now();
        while let Some(event) = self.server.host().poll_event() {
            let (Event::Readable { stream } | Event::Writable { stream } | Event::PeerFinished { stream }) =
                event
            else {
                continue;
            };
            let Some(mut stream) = self.server.host().endpoint().stream(stream) else { continue };
            while let Some(message) = stream.peek().cloned() {
                if stream.send(now, message).is_err() {
                    break;
                }
                stream.recv(now);
            }
            if stream.recv_finished() {
                stream.finish(now);
            }
        }
    }

    fn take_events(&mut self) {
        let now = self.client.now();
        while let Some(event) = self.client.host().poll_event() {
            match event {
                Event::Readable { stream: id } => {
                    let (_, received) = self.streams.get_mut(&id).unwrap();
                    if let Some(mut stream) = self.client.host().endpoint().stream(id) {
                        received
                            .extend(std::iter::from_fn(|| stream.recv(now)).map(|message| message.to_vec()));
                    }
                }
                Event::Writable { stream } => self.send(stream),
                Event::Closed { stream, reason } => assert_eq!(self.closed.insert(stream, reason), None),
                _ => {}
            }
        }
    }

    fn received(&self, count: usize) -> bool {
        self.streams.values().all(|(_, received)| received.len() == count)
    }
}

#[test]
fn streams_of_two_nodes_over_a_bad_link() {
    const MESSAGES: usize = 80;
    let message = |number: usize| -> Vec<u8> { vec![(number * 7) as u8; 1 + number * 31 % 1000] };
    let (mut pair, _relay) = Pair::new(20, 3);
    for stream in 0..3 {
        pair.open((0..MESSAGES).map(|number| message(number + stream)));
    }
    pair.run_until(|pair| pair.received(MESSAGES));
    pair.finish();
    pair.run_until(|pair| pair.closed.len() == 3);
    for (stream, (_, received)) in pair.streams.values().enumerate() {
        assert!(received.iter().enumerate().all(|(number, bytes)| *bytes == message(number + stream)));
    }
    assert!(pair.closed.values().all(|reason| *reason == CloseReason::Finished), "{:?}", pair.closed);
    let turns = (0..1000).take_while(|_| {
        pair.server.turn();
        pair.client.turn();
        [&pair.server, &pair.client].iter().any(|node| node.timeout() == Some(Duration::ZERO))
    });
    assert!(turns.count() < 1000, "nodes that have met sleep");
}

#[test]
fn who_has_nothing_to_do_sleeps() {
    let poll = Poll::new().unwrap();
    let awake = |timeout| timeout == Some(Duration::ZERO);
    let mut node = node(1, None, 3, &poll, Token(0));
    let turns = (0..10).take_while(|_| {
        node.turn();
        awake(node.timeout())
    });
    assert!(turns.count() < 10, "a node");
    let entrance = Source::Tcp(TcpListener::bind("127.0.0.1:0").unwrap());
    let remote = Addr::new(Identity::from_seed([9; 32]).sid(), PORT.into());
    let mut tunnel = node.connect(remote, entrance, TunnelConfig::default()).unwrap();
    let turns = (0..10).take_while(|_| {
        tunnel.turn();
        while tunnel.poll_event().is_some() {}
        awake(tunnel.timeout())
    });
    assert!(turns.count() < 10, "a tunnel");
}

#[test]
fn tunnels_share_a_poll_with_others() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target::Tcp(vec![server.local_addr().unwrap()]);
    let serving = thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        io::copy(&mut stream.try_clone().unwrap(), &mut stream).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
    });
    let mut once = TunnelConfig::default();
    once.once = true;

    let mut poll = Poll::new().unwrap();
    // Something else that waits in it.
    let waker = Waker::new(poll.registry(), OTHER).unwrap();
    waker.wake().unwrap();
    let listener = node(1, None, 3, &poll, Token(10));
    let remote = Addr::new(listener.sid().unwrap(), PORT.into());
    let connector = node(2, listener.local_addr(), 3, &poll, Token(1 << 20));
    let entrance = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = entrance.local_addr().unwrap();
    let mut tunnels = [
        listener.listen(PORT.into(), target, once.clone()).unwrap(),
        connector.connect(remote, Source::Tcp(entrance), once).unwrap(),
    ];

    let text: Vec<u8> = (0..200_000_u32).map(|number| (number % 251) as u8).collect();
    let sent = text.clone();
    let asking = thread::spawn(move || {
        let mut client = TcpStream::connect(address).unwrap();
        let mut reader = client.try_clone().unwrap();
        let reading = thread::spawn(move || {
            let mut answer = Vec::new();
            reader.read_to_end(&mut answer).map(|_| answer)
        });
        client.write_all(&sent).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        reading.join().unwrap().unwrap()
    });

    let mut events = Events::with_capacity(16);
    let mut others = 0;
    loop {
        for tunnel in &mut tunnels {
            tunnel.turn();
            while tunnel.poll_event().is_some() {}
        }
        if tunnels.iter().all(|tunnel| tunnel.outcome().is_some()) {
            break;
        }
        poll.poll(&mut events, tunnels.iter().filter_map(Tunnel::timeout).min()).unwrap();
        for event in &events {
            let mine =
                tunnels.iter_mut().filter_map(|tunnel| tunnel.handle_event(event).then_some(())).count();
            assert!(mine <= 1, "it is the event of one tunnel only");
            others += usize::from(event.token() == OTHER);
        }
    }
    assert_eq!(tunnels.map(|tunnel| tunnel.outcome()), [Some(Outcome::Clean); 2]);
    assert_eq!(others, 1);
    assert!(asking.join().unwrap() == text);
    serving.join().unwrap();
}

/// `cargo test -p msp-mio --test poll -- --ignored --nocapture` prints what 1,000 streams take, both ends
/// of them in this process.
#[test]
#[ignore = "it is to be looked at, on Linux"]
fn a_thousand_streams() {
    const STREAMS: u32 = 1000;
    const MESSAGES: usize = 8;
    let (mut pair, _) = Pair::new(0, STREAMS);
    pair.run_until(|_| true);
    let idle = resident();
    for _ in 0..STREAMS {
        pair.open((0..MESSAGES).map(|number| vec![number as u8; 1000]));
    }
    pair.run_until(|pair| pair.received(MESSAGES));
    for (messages, received) in pair.streams.values_mut() {
        assert!(
            messages.is_empty()
                && received.iter().enumerate().all(|(number, bytes)| bytes[0] == number as u8)
        );
        received.clear();
        received.shrink_to_fit();
    }
    let open = resident();
    let each = (open - idle) as f64 / f64::from(2 * STREAMS);
    println!("resident {idle} KiB idle, {open} KiB with {STREAMS} streams open: {each:.1} KiB for each end");
    pair.finish();
    pair.run_until(|pair| pair.closed.len() == STREAMS as usize);
    assert!(pair.closed.values().all(|reason| *reason == CloseReason::Finished));
}

/// Resident memory of this process in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

//! Streams through a daemon that says anything, is there or not, and loses datagrams.

use super::Input;
use super::daemon_socket::made_up;
use super::user::User;
use crate::mdp::{DaemonConfig, Incoming};
use crate::msp::{CloseReason, Config, Event};
use crate::testing::{Servald, assert_harmless};
use crate::wire::client::{ANY, Message, Payload, Qos, Request, Ttl};
use crate::{Addr, Daemon, Host, Instant, Port, Protection, Sid};
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

const SID: Sid = Sid::new([1; 32]);
const OTHER: Sid = Sid::new([2; 32]);
/// The client under test, a hostile one, and one that comes last.
const OURS: usize = 0;
const RIVAL: usize = 1;
const HONEST: usize = 2;
const LISTENING: u16 = 512;
const RIVAL_PORT: u16 = 600;
const MAX_STREAMS: usize = 4;
/// More than this in answer to one datagram is no answer.
const MANY: usize = 100_000;

/// A host with streams through a daemon that answers as it should, or not, or with anything, and stops and starts, with
/// another client that sends it what it likes: nothing panics, nothing is sent that aborts a daemon, timers neither spin
/// nor oversleep, every stream ends once, at the latest when all fall silent, no port is left behind, and then a stream
/// of an honest client carries what it should.
///
/// # Panics
///
/// When it is not so.
pub fn daemon_streams(input: &[u8]) {
    let mut input = Input(input);
    let mut state = State::new();
    while state.step(&mut input).is_some() {
        state.drain();
    }
    state.fall_silent();
    state.meet();
}

struct State {
    host: Host,
    servald: Servald,
    now: Instant,
    /// What is sent is lost on the way.
    deaf: bool,
    user: User,
    /// Where a datagram of the host came from last.
    local: Port,
    /// What the daemon said last.
    reply: Vec<u8>,
}

fn host(seed: u8, now: Instant) -> Host {
    let config = Config { max_streams: MAX_STREAMS, receive_memory: 16 << 10, ..Config::default() };
    Host::new(Daemon::new(DaemonConfig::for_streams(MAX_STREAMS), now), config, [seed; 32])
}

impl State {
    fn new() -> Self {
        let now = Instant::from_millis(1000);
        let (local, reply) = (Port::from(LISTENING), Vec::new());
        let (host, servald) = (host(1, now), Servald::new(SID));
        let mut state = Self { host, servald, now, deaf: false, user: User::default(), local, reply };
        assert_eq!(state.host.endpoint().listen(local), Ok(()));
        state.rival(Request::Bind { local: Addr::new(ANY, RIVAL_PORT.into()) });
        // The deeper layers are out of reach without a port.
        state.exchange();
        assert_eq!(state.servald.owner(local), Some(OURS));
        state
    }

    /// Does the next operation of `input`.
    fn step(&mut self, input: &mut Input<'_>) -> Option<()> {
        let operation = input.u8()?;
        // The upper bits choose what it is done to.
        let choice = operation >> 4;
        let stream = self.user.chosen(choice);
        let port = if choice & 1 == 0 { self.local } else { LISTENING.into() };
        let now = self.now;
        match operation & 0x0f {
            0 => self.receive(input.slice()?),
            1 => {
                let reply = made_up(choice, input.u8()?, port, input.slice()?);
                self.receive(&reply);
            }
            2 => self.send_as_rival(port, choice & 2 == 0, input.slice()?),
            3 => _ = self.receive_real(),
            4 => self.exchange(),
            5 => _ = self.servald.poll(OURS),
            6 => User::pass(&mut self.host, &mut self.now, Duration::from_millis(input.u8()?.into())),
            7 => {
                let time = self.host.poll_timeout().map_or(Duration::ZERO, |at| at.since(now));
                User::pass(&mut self.host, &mut self.now, time);
            }
            8 => self.host.handle_timeout(now - Duration::from_millis(input.u8()?.into())),
            9 => {
                let reply = self.reply.clone();
                self.receive(&reply);
            }
            10 => match choice {
                0..3 => self.servald.stop(),
                3..6 => self.servald.start(SID),
                6 => self.servald.start(OTHER),
                7 => self.host.handle_incoming(now, Incoming::Unreachable),
                8 => self.deaf = true,
                9 => self.deaf = false,
                10 => self.host.endpoint().stop_listening(LISTENING.into()),
                11 => _ = self.host.endpoint().listen(LISTENING.into()),
                _ => self.rival(Request::Bind { local: Addr::new(ANY, port) }),
            },
            11 => {
                let sid = if choice == 0 { OTHER } else { SID };
                let port = if choice == 1 { LISTENING } else { RIVAL_PORT };
                if let Ok(stream) = self.host.endpoint().connect(now, Addr::new(sid, port.into())) {
                    self.user.0.push(stream);
                }
            }
            operation => User::act(&mut self.host, now, stream, operation)?,
        }
        Some(())
    }

    fn receive(&mut self, reply: &[u8]) {
        self.host.handle_incoming(self.now, Incoming::Reply(reply));
    }

    /// What the model has answered. False if it has not.
    fn receive_real(&mut self) -> bool {
        let Some(reply) = self.servald.poll(OURS) else { return false };
        self.receive(&reply);
        self.reply = reply;
        true
    }

    fn rival(&mut self, request: Request<'_>) {
        let mut datagram = Vec::new();
        request.emit(&mut datagram);
        self.servald.receive(RIVAL, &datagram);
    }

    fn send_as_rival(&mut self, to: Port, sealed: bool, payload: &[u8]) {
        let Some(payload) = Payload::new(payload) else { return };
        let protection = if sealed { Protection::Encrypted } else { Protection::Clear };
        let (local, remote) = (Addr::new(ANY, RIVAL_PORT.into()), Addr::new(SID, to));
        let (qos, ttl, repairs) = (Qos::Default, Ttl::DEFAULT, false);
        let message = Message { local, remote, protection, qos, ttl, repairs, payload };
        self.rival(Request::Send { message, bind: false });
    }

    /// Lets everything pass that passes now.
    fn exchange(&mut self) {
        for _ in 0..MANY {
            self.drain();
            if !self.receive_real() {
                return;
            }
        }
        unreachable!("it never ends");
    }

    /// Takes all that the host has to give.
    fn drain(&mut self) {
        self.host.handle_timeout(self.now);
        let (mut taken, mut packet) = (0, Vec::new());
        while self.host.poll_transmit(self.now, &mut packet).is_some() {
            assert_harmless(&packet);
            if let Ok(Request::Send { message, .. }) = Request::parse(&packet) {
                self.local = message.local.port;
            }
            if !self.deaf && !self.servald.receive(OURS, &packet) {
                self.host.handle_incoming(self.now, Incoming::Unreachable);
            }
            taken += 1;
            assert!(taken < MANY);
        }
        while self.servald.poll(RIVAL).is_some() {}
        self.user.take_events(&mut self.host, taken, MANY);
        assert!(self.user.0.len() <= MAX_STREAMS, "{} streams", self.user.0.len());
        let next = self.host.poll_timeout();
        assert!(next.is_none_or(|at| at > self.now), "spins: {next:?} at {:?}", self.now);
    }

    /// Consumes what was received, and lets time pass without a word of the daemon until all streams have ended.
    fn fall_silent(&mut self) {
        for _ in 0..MANY {
            self.user.read_all(&mut self.host, self.now);
            self.drain();
            if self.user.0.is_empty() && self.host.is_idle() {
                return;
            }
            while self.servald.poll(OURS).is_some() {}
            self.now = self.host.poll_timeout().map_or(self.now, |at| at.max(self.now));
        }
        unreachable!("{} streams outlive their peers", self.user.0.len());
    }

    /// The daemon is well, and a client that was not there before has a stream to the host.
    fn meet(&mut self) {
        self.deaf = false;
        self.servald.start(SID);
        self.rival(Request::Close { local: Addr::new(ANY, Port::ANY) });
        let _ = self.host.endpoint().listen(LISTENING.into());
        let mut client = host(3, self.now);
        // The host has to find out that it has lost its port, or that the port is free.
        self.run(&mut client, 20);
        assert_eq!(self.servald.owner(LISTENING.into()), Some(OURS));
        let remote = Addr::new(SID, LISTENING.into());
        let Ok(id) = client.endpoint().connect(self.now, remote) else {
            unreachable!("it has no stream yet")
        };
        if let Some(mut stream) = client.endpoint().stream(id) {
            assert_eq!(stream.send(self.now, Bytes::from_static(b"hello")), Ok(()));
            stream.finish(self.now);
        }
        let heard = self.run(&mut client, 20);
        assert_eq!(heard, (b"hello".to_vec(), Some(CloseReason::Finished)));
        let now = self.now;
        self.host.uplink().shutdown(now);
        client.uplink().shutdown(now);
        self.run(&mut client, 20);
        assert_eq!(self.servald.bound(), 0, "ports are left behind");
    }

    /// Lets everything pass for so many seconds, where the host ends every stream that its peer has ended. What it has
    /// received, and how the client's stream has ended.
    fn run(&mut self, client: &mut Host, seconds: u64) -> (Vec<u8>, Option<CloseReason>) {
        let (mut heard, mut closed, mut packet) = (Vec::new(), None, Vec::new());
        let end = self.now + Duration::from_secs(seconds);
        for _ in 0..MANY {
            self.exchange();
            for id in self.user.0.clone() {
                let Some(mut stream) = self.host.endpoint().stream(id) else { continue };
                while let Some(message) = stream.recv(self.now) {
                    heard.extend_from_slice(&message);
                }
                if stream.recv_finished() {
                    stream.finish(self.now);
                }
            }
            client.handle_timeout(self.now);
            while client.poll_transmit(self.now, &mut packet).is_some() {
                assert!(self.servald.receive(HONEST, &packet), "the daemon is there");
            }
            while let Some(reply) = self.servald.poll(HONEST) {
                client.handle_incoming(self.now, Incoming::Reply(&reply));
            }
            while let Some(event) = client.poll_event() {
                if let Event::Closed { reason, .. } = event {
                    closed = Some(reason);
                }
            }
            while client.poll_uplink_event().is_some() {}
            let next = [self.host.poll_timeout(), client.poll_timeout()].into_iter().flatten().min();
            match next {
                Some(next) if next < end => self.now = next.max(self.now),
                _ => {
                    self.now = end;
                    return (heard, closed);
                }
            }
        }
        unreachable!("it does not come to rest");
    }
}

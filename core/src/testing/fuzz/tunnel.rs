//! Two tunnels and an enemy between them.

use super::Input;
use crate::mdp::InterfaceId;
use crate::testing::{CLIENT, Dial, Link, SERVER, Socket, TunnelPair, pattern};
use crate::tunnel::{CloseKind, TunnelConfig};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

/// Programs that connect, at most.
const MAX_PROGRAMS: usize = 12;
/// Packets that the enemy keeps, to send them again.
const MAX_KEPT: usize = 64;
/// What tells the input of a program from that of all others.
const MARK: usize = 16;

/// Programs that talk through two tunnels, while someone on the way changes, drops, repeats, holds back and
/// makes up packets. Streams may break by that; but what a program receives is what another has sent, in
/// order and from its start, and all of it if the tunnel says so. Once the enemy is gone, every link ends.
///
/// # Panics
///
/// When it is not so.
pub fn tunnel(input: &[u8]) {
    let mut input = Input(input);
    let mut state = State::new();
    while state.step(&mut input).is_some() {
        state.check();
    }
    state.end();
}

struct State {
    pair: TunnelPair,
    /// Packets that went by, by their sender.
    kept: [Vec<Vec<u8>>; 2],
    programs: usize,
}

impl State {
    fn new() -> Self {
        let config = TunnelConfig { max_links: 4, ..TunnelConfig::default() };
        let link = |link: Link| link.delay(Duration::from_millis(5));
        let dial = |n: usize| match n % 5 {
            3 => Dial::Refuse,
            4 => Dial::Hold,
            _ => Dial::Open(program(SERVER, n, 3000 * (n % 3))),
        };
        let pair = TunnelPair::new(1, [config.clone(), config], link).dial(dial);
        Self { pair, kept: [Vec::new(), Vec::new()], programs: 0 }
    }

    /// Does the next operation.
    fn step(&mut self, input: &mut Input<'_>) -> Option<()> {
        let operation = input.u8()?;
        let choice = usize::from(operation >> 4);
        let end = choice & 1;
        match operation & 0x0f {
            0 => {
                let length = usize::from(input.u16()?);
                if self.programs < MAX_PROGRAMS
                    && self.pair.open(program(CLIENT, self.programs, length)).is_some()
                {
                    self.programs += 1;
                }
            }
            1 | 2 => {
                let time = u64::from(input.u8()?) << (choice & 7);
                self.pair.run(Duration::from_millis(time));
            }
            3 => self.with_socket(end, choice >> 1, |socket| socket.finish = true),
            4 => {
                let room = usize::from(input.u16()?);
                self.with_socket(end, choice >> 1, |socket| {
                    socket.room = Some(socket.received.len() + room);
                });
            }
            5 => self.with_socket(end, choice >> 1, |socket| socket.room = None),
            6 => self.pair.fail(end, choice >> 1),
            7 => {
                if let Some(link) = self.pair.ends[end].held.first().copied() {
                    self.pair.open_held(link, program(SERVER, 100 + choice, 500));
                }
            }
            8 => self.pair.links[end].set_blackout(choice & 2 != 0),
            9 => self.pair.links[end].set_loss(u64::from(input.u8()?) % 101),
            10 => {
                let packet = input.slice()?;
                self.inject(end, packet);
            }
            11 => self.intercept(end, choice & 2 != 0),
            12 => {
                let packet = self.kept[end].get(usize::from(input.u8()?)).cloned();
                packet.iter().for_each(|packet| self.inject(end, packet));
            }
            13 => {
                let packet = self.kept[end].get(usize::from(input.u8()?)).cloned();
                let (place, mask) = (usize::from(input.u16()?), input.u8()?);
                if let Some(mut packet) = packet {
                    let last = packet.len().saturating_sub(1);
                    packet.get_mut(place.min(last)).into_iter().for_each(|byte| *byte ^= mask);
                    self.inject(end, &packet);
                }
            }
            14 => {
                if input.u8()? == 0 {
                    self.pair.ends[end].tunnel.shutdown(self.pair.now);
                }
            }
            _ => {
                let now = self.pair.now - Duration::from_millis(input.u8()?.into());
                self.pair.ends[end].tunnel.handle_timeout(now);
            }
        }
        self.pair.settle();
        Some(())
    }

    fn with_socket(&mut self, end: usize, n: usize, change: impl FnOnce(&mut Socket)) {
        if n < self.pair.ends[end].sockets.len() {
            change(self.pair.socket(end, n));
        }
    }

    /// Takes the packets from `end` that have arrived from the link; drops them or lets them pass.
    fn intercept(&mut self, end: usize, pass: bool) {
        let Some(now) = self.pair.links[end].next_arrival() else { return };
        self.pair.now = self.pair.now.max(now);
        while let Some(packet) = self.pair.links[end].pop(self.pair.now) {
            if self.kept[end].len() < MAX_KEPT {
                self.kept[end].push(packet.clone());
            }
            if pass {
                self.inject(end, &packet);
            }
        }
    }

    /// Sends a packet in the name of `from`.
    fn inject(&mut self, from: usize, packet: &[u8]) {
        let address = SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1 + from as u8), 4110));
        let to = &mut self.pair.ends[1 - from];
        to.tunnel.handle_packet(self.pair.now, InterfaceId(0), address, packet);
    }

    /// What a program has received is the start of what one at the other end has sent, or all of it if the
    /// tunnel says that this was all. Two may have the same: ten seconds after a stream has ended, a packet
    /// of its start that was held back until then can open it again, because the wire has no connection
    /// identifier.
    fn check(&self) {
        for end in [CLIENT, SERVER] {
            for socket in self.pair.ends[end].sockets.values() {
                let received = &socket.received;
                let complete = socket.ended || socket.closed == Some(CloseKind::Clean);
                let is_sender = |other: &Socket| {
                    let sent = &other.input[..other.read];
                    if complete { other.finish && sent == received } else { sent.starts_with(received) }
                };
                let senders = &self.pair.ends[1 - end].sockets;
                let known = (received.is_empty() && !complete) || senders.values().any(is_sender);
                assert!(known, "{} bytes that nobody has sent, complete: {complete}", received.len());
            }
        }
    }

    /// Without the enemy and with programs that read and finish, every link ends.
    fn end(&mut self) {
        for link in &mut self.pair.links {
            link.set_blackout(false);
            link.set_loss(0);
        }
        for link in self.pair.ends[SERVER].held.clone() {
            self.pair.open_held(link, Socket::waiting());
        }
        self.pair.dial = Box::new(|_| Dial::Open(Socket::waiting().finishing()));
        for end in &mut self.pair.ends {
            for socket in end.sockets.values_mut() {
                (socket.room, socket.finish) = (None, true);
            }
        }
        let closed = |pair: &mut TunnelPair| {
            pair.ends.iter().all(|end| end.sockets.values().all(|socket| socket.closed.is_some()))
        };
        assert!(self.pair.run_until(Duration::from_secs(300), closed), "links remain: {:?}", self.pair);
        self.check();
    }
}

/// A program that sends a mark of its own and `length` bytes more.
fn program(end: usize, number: usize, length: usize) -> Socket {
    Socket::waiting().sending(pattern((1000 * end + number) as u64, MARK + length))
}

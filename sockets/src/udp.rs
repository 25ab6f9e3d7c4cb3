//! The UDP socket: packets out and in, many per system call.

use crate::broadcast::{Broadcast, join};
use msp_core::Instant;
use msp_core::mdp::{Destination, Transmit};
use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// System calls to send, and as many to receive, before the other work of a turn gets its share.
const CALLS_PER_TURN: usize = 16;
/// Packets handed to the kernel as one. Larger batches gain little, and are a burst on the link.
const MAX_SEGMENTS: usize = 8;
/// One receive buffer holds what the kernel may hand over as one: a UDP payload of the largest size.
const RECEIVE_BUFFER: usize = 65_535;
const RECEIVE_BUFFERS: usize = 4;
/// Receive queue asked of the kernel, which grants what the system allows: room for a burst.
const KERNEL_QUEUE: usize = 1 << 20;

/// What the UDP socket has done.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct UdpStats {
    /// Packets handed to the kernel, once per destination.
    pub(crate) sent: u64,
    /// Packets that the kernel refused, which is the same to the protocols as a loss on the way.
    pub(crate) send_errors: u64,
    /// Packets received.
    pub(crate) received: u64,
    /// Errors on receiving.
    pub(crate) receive_errors: u64,
}

/// A non-blocking UDP socket that sends batches of equal-length packets as one and remembers what the
/// kernel did not take yet.
pub(crate) struct Udp {
    socket: Arc<UdpSocket>,
    state: UdpSocketState,
    local: SocketAddr,
    broadcast: Option<Broadcast>,
    readable: bool,
    /// Since when the kernel takes no packets.
    blocked: Option<Instant>,
    /// The packets of the batch on its way out, each `segment` bytes but for the last.
    batch: Vec<u8>,
    segment: usize,
    /// Where the batch has still to go.
    targets: Vec<SocketAddr>,
    /// A packet that was polled but did not fit the batch: its bytes are in `packet`.
    carried: Option<Transmit>,
    packet: Vec<u8>,
    received: Vec<u8>,
    stats: UdpStats,
}

impl std::fmt::Debug for Udp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Udp").field("local", &self.local).field("stats", &self.stats).finish_non_exhaustive()
    }
}

impl Udp {
    /// How long to wait for the kernel to take packets before trying again unasked.
    pub(crate) const RETRY: Duration = Duration::from_millis(10);

    /// A socket bound to `address`, which broadcasts to `broadcast_port` if that is given.
    pub(crate) fn bind(address: SocketAddr, broadcast_port: Option<u16>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        let broadcast = broadcast_port.map(|port| Broadcast::new(address.ip(), port));
        if broadcast.is_some() {
            socket.set_broadcast(true)?;
        }
        if let Err(error) = socket.set_recv_buffer_size(KERNEL_QUEUE) {
            log::debug!("the UDP receive queue stays as it is: {error}");
        }
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        socket.set_nonblocking(true)?;
        let socket: Arc<UdpSocket> = Arc::new(socket.into());
        join(&socket, address);
        let local = socket.local_addr()?;
        Ok(Self {
            socket,
            state,
            local,
            broadcast,
            readable: true,
            blocked: None,
            batch: Vec::new(),
            segment: 0,
            targets: Vec::new(),
            carried: None,
            packet: Vec::new(),
            received: vec![0; RECEIVE_BUFFERS * RECEIVE_BUFFER],
            stats: UdpStats::default(),
        })
    }

    /// What to wait for.
    pub(crate) fn socket(&self) -> &Arc<UdpSocket> {
        &self.socket
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Where it broadcasts to and does not hear others do so.
    pub(crate) fn unheard(&mut self, now: Instant) -> &[SocketAddr] {
        match self.broadcast.as_mut().filter(|broadcast| broadcast.is_unheard()) {
            Some(broadcast) => broadcast.addresses(now, &self.socket),
            None => &[],
        }
    }

    /// Remembers that the socket is ready; the work is done in the next turn.
    pub(crate) fn ready(&mut self, readable: bool, writable: bool) {
        self.readable |= readable;
        if writable {
            self.blocked = None;
        }
    }

    /// Whether packets wait for the kernel to take them.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.targets.is_empty()
    }

    /// Sends packets until `poll` has none, the kernel takes none, or the turn has had its share. True if
    /// anything was sent, and there may be more to do.
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        poll: &mut dyn FnMut(&mut Vec<u8>) -> Option<Transmit>,
    ) -> bool {
        let mut progress = false;
        if self.blocked.is_some_and(|since| now.since(since) >= Self::RETRY) {
            self.blocked = None;
        }
        for _ in 0..CALLS_PER_TURN {
            if !self.flush(now) || !self.gather(now, poll) {
                return progress;
            }
            progress = true;
        }
        progress
    }

    /// Collects packets of equal length to the same destination. False if there was nothing to collect.
    fn gather(&mut self, now: Instant, poll: &mut dyn FnMut(&mut Vec<u8>) -> Option<Transmit>) -> bool {
        self.batch.clear();
        let Some(first) = self.carried.take().or_else(|| poll(&mut self.packet)) else { return false };
        self.batch.extend_from_slice(&self.packet);
        self.segment = self.packet.len();
        let limit = MAX_SEGMENTS.min(self.state.max_gso_segments());
        let mut count = 1;
        while count < limit {
            let Some(next) = poll(&mut self.packet) else { break };
            if next != first || self.packet.len() > self.segment {
                self.carried = Some(next);
                break;
            }
            self.batch.extend_from_slice(&self.packet);
            count += 1;
            // Only the last packet of a batch may be shorter.
            if self.packet.len() < self.segment {
                break;
            }
        }
        match first.to {
            Destination::Unicast(to) => self.targets.push(to),
            // That is not for this socket.
            Destination::Daemon => {}
            Destination::Broadcast => {
                if let Some(broadcast) = &mut self.broadcast {
                    self.targets.extend_from_slice(broadcast.addresses(now, &self.socket));
                }
            }
        }
        true
    }

    /// Hands the batch to the kernel. False if the kernel takes no more now; the batch is kept.
    fn flush(&mut self, now: Instant) -> bool {
        while let Some(&to) = self.targets.last() {
            if self.blocked.is_some() {
                return false;
            }
            let count = self.batch.len().div_ceil(self.segment.max(1)) as u64;
            match self.send(to) {
                Ok(()) => self.stats.sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.blocked = Some(now);
                    return false;
                }
                // No route, a link that is down, a full queue of the interface, an ICMP error of an
                // earlier packet: to a datagram it is all loss, and what sent it knows how to repair that.
                Err(error) => {
                    self.stats.send_errors += count;
                    log::debug!("UDP to {to}: {error}");
                }
            }
            self.targets.pop();
        }
        true
    }

    fn send(&self, to: SocketAddr) -> io::Result<()> {
        // The kernel would refuse these as invalid, and `quinn_udp` take that for a sign of an old kernel.
        if to.port() == 0 || to.is_ipv4() != self.local.is_ipv4() {
            return Err(ErrorKind::InvalidInput.into());
        }
        let packets = quinn_udp::Transmit {
            destination: to,
            ecn: None,
            contents: &self.batch,
            segment_size: Some(self.segment),
            src_ip: None,
        };
        self.state.try_send(UdpSockRef::from(&*self.socket), &packets)
    }

    /// Receives packets until there is none or the turn has had its share. True if there were any.
    pub(crate) fn receive(&mut self, handle: &mut dyn FnMut(SocketAddr, &[u8])) -> bool {
        let mut progress = false;
        for _ in 0..CALLS_PER_TURN {
            if !self.readable {
                break;
            }
            let mut metas = [RecvMeta::default(); RECEIVE_BUFFERS];
            let mut buffers = self.received.chunks_exact_mut(RECEIVE_BUFFER).map(IoSliceMut::new);
            let mut buffers: [IoSliceMut<'_>; RECEIVE_BUFFERS] =
                std::array::from_fn(|_| buffers.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
            match self.state.recv(UdpSockRef::from(&*self.socket), &mut buffers, &mut metas) {
                Ok(count) => {
                    progress = true;
                    for (meta, buffer) in metas[..count].iter().zip(&buffers) {
                        let Some(bytes) = buffer.get(..meta.len) else { continue };
                        for packet in bytes.chunks(meta.stride.max(1)) {
                            self.stats.received += 1;
                            handle(meta.addr, packet);
                        }
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                // The error of an earlier packet; taking it has cleared it.
                Err(error) => {
                    self.stats.receive_errors += 1;
                    log::debug!("UDP receive: {error}");
                }
            }
        }
        progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use msp_core::mdp::InterfaceId;
    use std::collections::VecDeque;

    fn loopback() -> Udp {
        Udp::bind("127.0.0.1:0".parse().unwrap(), None).unwrap()
    }

    /// Sends packets of these lengths, each with its place in the first byte.
    fn send(from: &mut Udp, packets: &[(Destination, usize)]) {
        let mut queue: VecDeque<_> = packets.iter().enumerate().collect();
        let moved = from.transmit(Instant::ZERO, &mut |buffer| {
            let (index, (to, length)) = queue.pop_front()?;
            buffer.clear();
            buffer.resize(*length, index as u8);
            Some(Transmit::new(InterfaceId(0), *to))
        });
        assert!(moved && queue.is_empty() && !from.is_blocked());
    }

    fn received(at: &mut Udp) -> Vec<(u8, usize)> {
        let mut packets = Vec::new();
        at.receive(&mut |_, packet| packets.push((packet[0], packet.len())));
        packets
    }

    #[test]
    fn packets_arrive_one_by_one_in_order() {
        let (mut a, mut b, mut c) = (loopback(), loopback(), loopback());
        let [to_b, to_c] = [&b, &c].map(|udp| Destination::Unicast(udp.local_addr()));
        // Longer batches than the kernel gets at once, a shorter and a longer packet, another destination.
        let mut packets = vec![(to_b, 1000); 20];
        packets.extend([(to_b, 999), (to_b, 1000), (to_b, 1001), (to_c, 1001), (to_c, 5), (to_b, 5)]);
        send(&mut a, &packets);
        let to = |destination| {
            let all = packets.iter().enumerate();
            all.filter(|(_, (to, _))| *to == destination)
                .map(|(index, (_, length))| (index as u8, *length))
                .collect::<Vec<_>>()
        };
        assert_eq!(received(&mut b), to(to_b));
        assert_eq!(received(&mut c), to(to_c));
        assert_eq!((a.stats.sent, a.stats.send_errors, b.stats.received), (26, 0, 24));
        assert!(!b.readable, "there is nothing more, and the next event will say so");
    }

    #[test]
    fn what_the_kernel_refuses_is_lost_and_the_rest_goes_on() {
        let (mut a, mut b) = (loopback(), loopback());
        let to_b = Destination::Unicast(b.local_addr());
        let elsewhere = |address: &str| (Destination::Unicast(address.parse().unwrap()), 100);
        // No port, another IP version, more than fits in a packet; no broadcast addresses.
        let packets = [
            elsewhere("127.0.0.1:0"),
            elsewhere("[::1]:4110"),
            (to_b, 65_530),
            (Destination::Broadcast, 100),
            (to_b, 100),
        ];
        send(&mut a, &packets);
        assert_eq!(received(&mut b), [(4, 100)]);
        assert_eq!((a.stats.sent, a.stats.send_errors), (1, 3));
        assert!(a.state.max_gso_segments() > 1 || cfg!(not(target_os = "linux")), "batches are still in use");
    }

    #[test]
    fn a_batch_is_kept_while_the_kernel_is_busy() {
        let (mut a, mut b) = (loopback(), loopback());
        let to = Destination::Unicast(b.local_addr());
        let mut left = 3;
        let mut poll = |buffer: &mut Vec<u8>| {
            left = u8::checked_sub(left, 1)?;
            buffer.clear();
            buffer.extend([left; 9]);
            Some(Transmit::new(InterfaceId(0), to))
        };
        a.blocked = Some(Instant::ZERO);
        let retry = Instant::ZERO + Udp::RETRY;
        for early in [Instant::ZERO, retry - Duration::from_micros(1)] {
            a.transmit(early, &mut poll);
            assert!(a.is_blocked());
            assert_eq!(received(&mut b), []);
        }
        b.readable = true;
        a.transmit(retry, &mut poll);
        assert!(!a.is_blocked());
        assert_eq!(received(&mut b), [(2, 9), (1, 9), (0, 9)]);
    }
}

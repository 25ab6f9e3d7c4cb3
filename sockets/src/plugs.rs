//! The UDP sockets of a node: one for each of its interfaces, and those that hear broadcasts for them.

use crate::broadcast::{is_near, name};
use crate::config::{BindError, Config, DEFAULT_PORT};
use crate::handle::Handle;
use crate::udp::Udp;
use msp_core::Instant;
use msp_core::mdp::{Incoming, InterfaceConfig, InterfaceId, Node, Transmit};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

/// How often the next packet may be for another interface before the other work of a turn gets its share.
const CHANGES_PER_TURN: usize = 16;

/// The sockets. What is polled goes out in its order: while an interface takes no more, what comes after a packet for it
/// waits as well.
#[derive(Debug)]
pub(crate) struct Plugs {
    /// Those of the interfaces, in their order, then those that only hear.
    sockets: Vec<(Udp, InterfaceId)>,
    interfaces: usize,
    /// The interface that has sent last.
    current: usize,
    /// A packet for another interface than the one that was polled for: its bytes are in `packet`.
    stray: Option<Transmit>,
    packet: Vec<u8>,
}

impl Plugs {
    /// Sockets for all addresses, each an interface of `node`, which is told of its peers.
    ///
    /// # Errors
    ///
    /// If an address cannot be bound, there are too many, or a peer is of another IP version than all of them.
    pub(crate) fn bind(config: &Config, now: Instant, node: &mut Node) -> Result<Self, BindError> {
        let refuse = |address, text: String| BindError {
            address,
            source: io::Error::new(ErrorKind::InvalidInput, text),
        };
        if config.more_udp.len() >= Node::MAX_INTERFACES {
            let text = format!("a node has {} interfaces at most", Node::MAX_INTERFACES);
            return Err(refuse(config.udp, text));
        }
        let devices = if_addrs::get_if_addrs().unwrap_or_default();
        let (mut sockets, mut ears) = (Vec::new(), Vec::new());
        for &address in std::iter::once(&config.udp).chain(&config.more_udp) {
            let port = if address.port() == 0 { DEFAULT_PORT } else { address.port() };
            let mut udp = Udp::bind(address, config.broadcast.then_some(port))
                .map_err(|source| BindError { address, source })?;
            let mut interface = InterfaceConfig::unicast();
            interface.broadcast = config.broadcast;
            let interface = node.add_interface(interface);
            node.name_interface(interface, &name(&devices, udp.local_addr()));
            // Who broadcasts does not know of any other port.
            let unheard = if address.port() == 0 { &[][..] } else { udp.unheard(now) };
            for &address in unheard {
                match Udp::bind(address, None) {
                    Ok(ear) => ears.push((ear, interface)),
                    Err(error) => log::warn!("what is broadcast to {address} is not heard: {error}"),
                }
            }
            sockets.push((udp, interface));
        }
        for &peer in &config.peers {
            let near = sockets.iter().find(|(udp, _)| is_near(&devices, udp.local_addr(), peer));
            let fitting = || sockets.iter().find(|(udp, _)| udp.local_addr().is_ipv4() == peer.is_ipv4());
            let Some((_, interface)) = near.or_else(fitting) else {
                let text =
                    format!("the peer {peer} cannot be reached from it, which is of another IP version");
                return Err(refuse(config.udp, text));
            };
            node.add_peer(*interface, peer);
        }
        let interfaces = sockets.len();
        sockets.append(&mut ears);
        Ok(Self { sockets, interfaces, current: 0, stray: None, packet: Vec::new() })
    }

    /// What to wait for.
    pub(crate) fn handles(&self) -> Vec<Handle> {
        self.sockets.iter().map(|(udp, _)| Handle::Udp(Arc::clone(udp.socket()))).collect()
    }

    /// The addresses of the interfaces.
    pub(crate) fn local_addrs(&self) -> Vec<SocketAddr> {
        self.sockets[..self.interfaces].iter().map(|(udp, _)| udp.local_addr()).collect()
    }

    /// Remembers that one of them is ready; the work is done in the next turn.
    pub(crate) fn ready(&mut self, readable: bool, writable: bool) {
        self.sockets.iter_mut().for_each(|(udp, _)| udp.ready(readable, writable));
    }

    /// Whether packets wait for the kernel to take them.
    pub(crate) fn is_blocked(&self) -> bool {
        self.sockets.iter().any(|(udp, _)| udp.is_blocked())
    }

    /// Receives packets until there is none or the turn has had its share. True if there were any.
    pub(crate) fn receive(&mut self, handle: &mut dyn FnMut(Incoming<'_>)) -> bool {
        let mut progress = false;
        for (udp, interface) in &mut self.sockets {
            let interface = *interface;
            progress |= udp.receive(&mut |from, bytes| handle(Incoming::Packet { interface, from, bytes }));
        }
        progress
    }

    /// Sends packets until `poll` has none, the kernel takes none, or the turn has had its share. True if
    /// anything was sent, and there may be more to do.
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        poll: &mut dyn FnMut(&mut Vec<u8>) -> Option<Transmit>,
    ) -> bool {
        let Self { sockets, interfaces, current, stray, packet } = self;
        let mut progress = false;
        for (udp, _) in sockets.iter_mut().filter(|(udp, _)| udp.is_blocked()) {
            progress |= udp.transmit(now, &mut |_| None);
        }
        if let Some(free) = (0..*interfaces).find(|place| !sockets[*place].0.is_blocked())
            && sockets[*current].0.is_blocked()
        {
            *current = free;
        }
        for _ in 0..CHANGES_PER_TURN {
            let place = stray.map_or(*current, |transmit| usize::from(transmit.interface.0));
            let Some((udp, interface)) = sockets.get_mut(place) else { break };
            *current = place;
            progress |= udp.transmit(now, &mut |buffer| {
                let next = match stray.take() {
                    Some(transmit) => {
                        std::mem::swap(buffer, packet);
                        transmit
                    }
                    None => poll(buffer)?,
                };
                if next.interface == *interface {
                    return Some(next);
                }
                std::mem::swap(buffer, packet);
                *stray = Some(next);
                None
            });
            if udp.is_blocked() || stray.is_none() {
                break;
            }
        }
        progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use msp_core::mdp::{Destination, Identity, NodeConfig};
    use std::collections::VecDeque;

    fn plugs(count: usize) -> Plugs {
        let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let config = Config { udp: loopback, more_udp: vec![loopback; count - 1], ..Config::default() };
        let now = Clock::start().now();
        let mut node = Node::new(NodeConfig::default(), Identity::from_seed([1; 32]), [2; 32], now);
        Plugs::bind(&config, now, &mut node).unwrap()
    }

    #[test]
    fn each_packet_leaves_by_its_interface_in_order_and_comes_in_by_the_one_that_it_reached() {
        let (mut here, mut there) = (plugs(3), plugs(2));
        let from: Vec<SocketAddr> = here.local_addrs();
        // Runs on one interface, and changes at every packet.
        let sent: Vec<(u8, u8)> = (0..60).map(|n| (if n < 30 { n / 10 } else { n % 3 }, n)).collect();
        let mut queue = VecDeque::from(sent.clone());
        for _ in 0..100 {
            here.transmit(Instant::ZERO, &mut |buffer| {
                let (interface, number) = queue.pop_front()?;
                buffer.clear();
                buffer.extend([interface, number]);
                let to = there.local_addrs()[usize::from(interface % 2)];
                Some(Transmit::new(InterfaceId(interface), Destination::Unicast(to)))
            });
        }
        let mut received = Vec::new();
        there.receive(&mut |incoming| {
            let Incoming::Packet { interface, from: source, bytes } = incoming else { return };
            assert_eq!((source, interface.0), (from[usize::from(bytes[0])], bytes[0] % 2));
            received.push((bytes[0], bytes[1]));
        });
        for interface in 0..3 {
            let of =
                |all: &[(u8, u8)]| all.iter().copied().filter(|it| it.0 == interface).collect::<Vec<_>>();
            assert_eq!(of(&received), of(&sent));
        }
    }

    #[test]
    fn a_node_has_16_interfaces_at_most() {
        assert_eq!(plugs(16).local_addrs().len(), 16);
        let config = Config { more_udp: vec![Config::default().udp; 16], ..Config::default() };
        let now = Clock::start().now();
        let mut node = Node::new(NodeConfig::default(), Identity::from_seed([1; 32]), [2; 32], now);
        let error = Plugs::bind(&config, now, &mut node).unwrap_err();
        assert!(error.to_string().contains("at most"), "{error}");
    }
}

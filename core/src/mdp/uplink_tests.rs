use super::*;
use crate::mdp::{Identity, InterfaceConfig, NodeConfig};
use alloc::vec;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

const INTERFACE: InterfaceId = InterfaceId(0);
/// The longest ports.
const PORT: Port = Port::MAX;
const NOBODY: Sid = Sid::new([0x61; 32]);

/// Two nodes that may or may not hear unicast.
struct Pair {
    now: Instant,
    nodes: [Uplink; 2],
    broadcast_only: bool,
    longest: usize,
}

impl Pair {
    fn new(broadcast_only: bool) -> Self {
        let node = |number| {
            let identity = Identity::from_seed([number; 32]);
            let mut node = Node::new(NodeConfig::default(), identity, [number; 32], Instant::ZERO);
            node.add_interface(InterfaceConfig::broadcast());
            node.into()
        };
        let mut pair = Self { now: Instant::ZERO, nodes: [node(1), node(2)], broadcast_only, longest: 0 };
        pair.run(Duration::from_secs(2));
        pair
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            for from in [0, 1] {
                self.nodes[from].handle_timeout(self.now);
                self.deliver(from);
            }
            self.now += Duration::from_millis(1);
        }
    }

    fn deliver(&mut self, from: usize) {
        let mut packet = Vec::new();
        while let Some(transmit) = self.nodes[from].poll_transmit(self.now, &mut packet) {
            self.longest = self.longest.max(packet.len());
            let address = SocketAddr::from((Ipv4Addr::new(10, 0, 0, from as u8), 4110));
            if transmit.to == Destination::Broadcast || !self.broadcast_only {
                self.nodes[1 - from].handle_packet(self.now, INTERFACE, address, &packet);
            }
        }
    }

    fn send(&mut self, to: Option<Sid>, length: usize, repair: Repair) -> Result<(), SendDatagramError> {
        let to = Addr::new(to.or(self.nodes[1].sid()).unwrap(), PORT);
        let payload = vec![7; length];
        self.nodes[0].send_with(self.now, PORT, to, Protection::Encrypted, &payload, repair)
    }
}

fn is_too_large(result: Result<(), SendDatagramError>) -> bool {
    matches!(result, Err(SendDatagramError::TooLarge { .. }))
}

#[test]
fn the_longest_packet_of_a_stream_fits_in_1472_bytes_to_a_neighbour() {
    let mut pair = Pair::new(false);
    let length = crate::msp::carriage::LARGE_PACKET;
    for _ in 0..5 {
        pair.send(None, length, Repair::Sender).unwrap();
    }
    pair.run(Duration::from_millis(10));
    assert!((1460..=1472).contains(&pair.longest), "{}", pair.longest);
    let received = core::iter::from_fn(|| pair.nodes[1].poll_datagram()).map(|it| it.payload.len());
    assert_eq!(received.collect::<Vec<_>>(), [length; 5]);
}

#[test]
fn nothing_as_long_goes_further_or_is_repaired_by_a_hop_or_heard_by_others() {
    let (mut pair, mut broadcast) = (Pair::new(false), Pair::new(true));
    assert!(is_too_large(pair.send(None, 1100, Repair::Hop)));
    assert!(is_too_large(pair.send(Some(NOBODY), 1100, Repair::Sender)));
    assert!(is_too_large(broadcast.send(None, 1100, Repair::Sender)));
    for pair in [&mut pair, &mut broadcast] {
        pair.send(None, 1041, Repair::Sender).unwrap();
        pair.run(Duration::from_millis(10));
        assert!(pair.longest <= 1200);
    }
}

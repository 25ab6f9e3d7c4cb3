//! Two nodes on a broadcast network in memory: they find each other, and a message goes through a stream.

use alloc::vec::Vec;
use bytes::Bytes;
use core::net::SocketAddr;
use msp_core::msp::{Config, Event};
use msp_core::{Addr, Host, Identity, Instant, InterfaceConfig, InterfaceId, Node, NodeConfig, Port};

const MESSAGE: &[u8] = b"hello without std";

/// Whether the message arrived.
pub fn run() -> bool {
    let mut hosts = [1, 2].map(host);
    let port = Port::from(512);
    let remote = Addr::new(hosts[1].sid(), port);
    let mut now = Instant::ZERO;
    if hosts[1].endpoint().listen(port).is_err() {
        return false;
    }
    let Ok(stream) = hosts[0].endpoint().connect(now, remote) else { return false };
    let sent = hosts[0].endpoint().stream(stream).map(|mut it| it.send(now, Bytes::from_static(MESSAGE)));
    if sent != Some(Ok(())) {
        return false;
    }
    for _ in 0..1000 {
        carry(&mut hosts, now);
        while let Some(event) = hosts[1].poll_event() {
            let Event::Readable { stream } = event else { continue };
            let message = hosts[1].endpoint().stream(stream).and_then(|mut it| it.recv(now));
            return message.is_some_and(|message| message == MESSAGE);
        }
        let Some(next) = hosts.iter().filter_map(Host::poll_timeout).min() else { return false };
        now = next;
    }
    false
}

fn host(number: u8) -> Host {
    let identity = Identity::from_seed([number; 32]);
    let mut node = Node::new(NodeConfig::default(), identity, [number; 32], Instant::ZERO);
    node.add_interface(InterfaceConfig { broadcast: true });
    Host::new(node, Config::default(), [number + 100; 32])
}

/// Takes what each has to send to the other.
fn carry(hosts: &mut [Host; 2], now: Instant) {
    let mut packet = Vec::new();
    for side in [0, 1] {
        hosts[side].handle_timeout(now);
        while hosts[side].poll_transmit(now, &mut packet).is_some() {
            let from = SocketAddr::from(([127, 0, 0, side as u8 + 1], 4110));
            hosts[1 - side].handle_packet(now, InterfaceId(0), from, &packet);
        }
    }
}

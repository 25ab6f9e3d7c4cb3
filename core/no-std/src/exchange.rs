//! Two tunnels on a broadcast network in memory: they find each other, carry one connection, and end.

use alloc::vec::Vec;
use core::net::SocketAddr;
use msp_core::tunnel::{Action, LinkId, Outcome, Tunnel, TunnelConfig};
use msp_core::{Addr, Host, Identity, Instant, InterfaceConfig, InterfaceId, Node, NodeConfig, Port, msp};

const PORT: u16 = 512;
/// What the local side of each end writes.
const MESSAGES: [&[u8]; 2] = [b"a question without std", b"an answer without std"];

/// One end and its local side.
struct End {
    tunnel: Tunnel,
    link: Option<LinkId>,
    /// What its local side still has to write.
    input: &'static [u8],
    /// What its local side has read.
    output: Vec<u8>,
    outcome: Option<Outcome>,
}

/// Whether everything arrived and both ends have ended cleanly.
pub fn run() -> bool {
    let Some(mut ends) = ends() else { return false };
    let mut now = Instant::ZERO;
    ends[0].link = ends[0].tunnel.local_accepted(now);
    for _ in 0..10_000 {
        let mut moved = false;
        for side in [0, 1] {
            ends[side].tunnel.handle_timeout(now);
            ends[side].serve(now);
            moved |= carry(&mut ends, side, now);
        }
        if ends.iter().all(|end| end.outcome == Some(Outcome::Clean)) {
            return ends[0].output == MESSAGES[1] && ends[1].output == MESSAGES[0];
        }
        if !moved {
            let Some(next) = ends.iter().filter_map(|end| end.tunnel.poll_timeout()).min() else {
                return false;
            };
            now = next;
        }
    }
    false
}

fn ends() -> Option<[End; 2]> {
    let mut config = TunnelConfig::default();
    config.once = true;
    let [client, server] = [1, 2].map(|number| {
        let identity = Identity::from_seed([number; 32]);
        let (node, streams) = limits();
        let mut node = Node::new(node, identity, [number; 32], Instant::ZERO);
        node.add_interface(InterfaceConfig::broadcast());
        Host::new(node, streams, [number + 100; 32])
    });
    let remote = Addr::new(server.sid()?, PORT.into());
    let client = Tunnel::connect(client, remote, config.clone()).ok()?;
    let server = Tunnel::listen(server, Port::from(PORT), config).ok()?;
    let end = |tunnel, input| End { tunnel, link: None, input, output: Vec::new(), outcome: None };
    Some([end(client, MESSAGES[0]), end(server, MESSAGES[1])])
}

/// What one end may keep, for a device with little memory: four streams at once with eight messages each way.
fn limits() -> (NodeConfig, msp::Config) {
    let mut node = NodeConfig::default();
    node.max_neighbours = 4;
    node.max_subscribers = 8;
    node.send_queue = 8;
    node.receive_queue = 8;
    node.answer_rate = 2;
    let mut streams = msp::Config::default();
    streams.send_window = 8;
    streams.receive_window = 8;
    streams.send_memory = 16 << 10;
    streams.receive_memory = 16 << 10;
    streams.max_streams = 4;
    streams.replay_memory = 16;
    (node, streams)
}

impl End {
    /// Does what the tunnel wants done, and what the local side would do.
    fn serve(&mut self, now: Instant) {
        while let Some(action) = self.tunnel.poll_action() {
            match action {
                Action::Dial(link) => {
                    self.link = Some(link);
                    self.tunnel.local_opened(now, link);
                }
                Action::Finished(outcome) => self.outcome = Some(outcome),
                _ => {}
            }
        }
        while self.tunnel.poll_event().is_some() {}
        let Some(link) = self.link else { return };
        let taken = self.tunnel.local_data(now, link, self.input);
        self.input = &self.input[taken..];
        if self.input.is_empty() {
            self.tunnel.local_eof(now, link);
        }
        let before = self.output.len();
        self.output.extend(self.tunnel.output(link).flatten());
        self.tunnel.consume(now, link, self.output.len() - before);
    }
}

/// Takes what one end has to send to the other. Returns whether there was anything.
fn carry(ends: &mut [End; 2], side: usize, now: Instant) -> bool {
    let mut packet = Vec::new();
    let mut moved = false;
    while ends[side].tunnel.poll_transmit(now, &mut packet).is_some() {
        let from = SocketAddr::from(([127, 0, 0, side as u8 + 1], 4110));
        ends[1 - side].tunnel.handle_packet(now, InterfaceId(0), from, &packet);
        moved = true;
    }
    moved
}

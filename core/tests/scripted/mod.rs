//! A node next to a neighbour of which only the packets exist.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]

use core::net::SocketAddr;
use core::time::Duration;
use msp_core::wire::address::Address;
use msp_core::wire::overlay::{Encapsulation, Frame, Header, Packet, Route};
use msp_core::wire::{linkstate, mdp};
use msp_core::{
    Addr, Destination, Identity, Instant, InterfaceConfig, InterfaceId, Node, NodeConfig, Port, Protection,
    SendDatagramError, Sid, Transmit,
};

pub const INTERFACE: InterfaceId = InterfaceId(0);
const MULTIPLE: Encapsulation = Encapsulation::Multiple;

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 4110))
}

/// A node, and a daemon of which only the packets exist.
pub struct Scripted {
    pub now: Instant,
    pub node: Node,
    pub daemon: Identity,
    /// Packets from the node, with where they went.
    pub sent: Vec<(Destination, Vec<u8>)>,
    frame: u8,
}

impl Scripted {
    pub fn new() -> Self {
        let now = Instant::from_millis(1000);
        let mut node = Node::new(NodeConfig::default(), Identity::from_seed([1; 32]), [3; 32], now);
        node.add_interface(InterfaceConfig::broadcast());
        let mut scripted =
            Self { now, node, daemon: Identity::from_seed([2; 32]), sent: Vec::new(), frame: 0 };
        scripted.drain();
        scripted
    }

    /// The daemon has found the node, and the node the daemon.
    pub fn up() -> Self {
        let mut scripted = Self::new();
        scripted.receive(scripted.header(None), &[]);
        scripted.confirm(None);
        scripted.run(ms(10));
        scripted.sent.clear();
        scripted
    }

    pub fn drain(&mut self) {
        let mut buffer = Vec::new();
        for _ in 0..1000 {
            let Some(Transmit { to, .. }) = self.node.poll_transmit(self.now, &mut buffer) else { break };
            self.sent.push((to, buffer.clone()));
        }
        while self.node.poll_event().is_some() {}
        while self.node.poll_datagram().is_some() {}
        assert!(self.node.poll_timeout().is_none_or(|at| at > self.now), "spins");
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.node.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.node.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
        self.drain();
    }

    pub fn header(&self, sequence: Option<u8>) -> Header<'static> {
        Header {
            sequenced_frames: true,
            encapsulation: MULTIPLE,
            sender: Address::Whole(self.daemon.sid()),
            unicast: true,
            interface: None,
            sequence,
        }
    }

    pub fn frame(
        &mut self,
        route: Route<'static>,
        protection: Protection,
        payload: &'static [u8],
    ) -> Frame<'static> {
        self.frame += 1;
        Frame {
            source: None,
            route,
            protection: Some(protection),
            ack_soon: false,
            legacy_type: None,
            sequence: Some(self.frame),
            payload,
        }
    }

    /// The daemon transmits.
    pub fn receive(&mut self, header: Header<'_>, frames: &[Frame<'_>]) {
        let mut packet = Vec::new();
        header.emit(&mut packet);
        frames.iter().for_each(|frame| frame.emit(MULTIPLE, &mut packet));
        self.node.handle_packet(self.now, INTERFACE, address(2), &packet);
    }

    /// The daemon sends link-state records.
    pub fn link_state(&mut self, records: &[linkstate::Repr<'_>]) {
        let mut payload = vec![0x05];
        records.iter().for_each(|record| record.emit(&mut payload));
        let frame = self.frame(Route::Neighbours, Protection::Clear, &[]);
        self.receive(self.header(None), &[Frame { payload: &payload, ..frame }]);
    }

    /// The daemon says that it hears the node by unicast.
    pub fn confirm(&mut self, ack: Option<linkstate::Ack>) {
        let me = Address::Whole(self.node.sid());
        let record = linkstate::Repr {
            interface: Some(0),
            unicast: true,
            ack,
            ..linkstate::Repr::new(Address::Sender, Some(me))
        };
        self.link_state(&[record]);
    }

    /// The daemon seals a datagram for the node.
    pub fn seal(&self, destination: Port, source: Port, data: &[u8]) -> Vec<u8> {
        let mut payload = vec![0; 40];
        mdp::Repr { destination, source, payload: data }.emit(&mut payload);
        self.daemon.shared_key(&self.node.sid()).unwrap().seal(&[self.frame; 24], &mut payload);
        payload
    }

    /// The frames that the node sent by unicast, with the numbers of their packets.
    pub fn frames(&self) -> Vec<(Option<u8>, Frame<'_>)> {
        let packets = self.sent.iter().filter(|(to, _)| *to == Destination::Unicast(address(2)));
        let packets = packets.map(|(_, packet)| Packet::parse(packet).unwrap());
        packets
            .flat_map(|packet| packet.frames().map(move |frame| (packet.header().sequence, frame.unwrap())))
            .collect()
    }

    /// The acknowledgments that the node sent.
    pub fn acks(&self) -> Vec<linkstate::Ack> {
        let records = |(_, frame): &(Option<u8>, Frame<'_>)| {
            (frame.payload.first() == Some(&0x05)).then(|| {
                linkstate::Repr::parse_all(&frame.payload[1..])
                    .filter_map(|it| it.unwrap().ack)
                    .collect::<Vec<_>>()
            })
        };
        self.frames().iter().filter_map(records).flatten().collect()
    }

    pub fn send(&mut self, to: Sid, data: &[u8]) -> Result<(), SendDatagramError> {
        let port = Port::from(300);
        self.node.send(self.now, port, Addr::new(to, port), Protection::Encrypted, data)
    }
}

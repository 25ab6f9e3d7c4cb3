//! Nothing secret is in the text for programmers, which ends in logs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use msp_core::mdp::{Find, FindConfig, Identify, Nonces, Ping, PingConfig, ServicePattern};
use msp_core::msp::{self, Event};
use msp_core::tunnel::{Tunnel, TunnelConfig};
use msp_core::{
    Addr, Daemon, DaemonConfig, Host, Identity, Instant, InterfaceConfig, InterfaceId, Node, NodeConfig,
    Port, Rng,
};
use sha2::{Digest, Sha512};
use std::fmt::Debug;

const PORT: u16 = 512;

/// Bytes that look like none of what is shown.
fn seed(number: u8) -> [u8; 32] {
    Sha512::digest([number]).as_slice()[..32].try_into().unwrap()
}

/// What must not be shown: seeds, and the secret halves of keys that follow from them.
fn secrets() -> Vec<Vec<u8>> {
    let seeds = (0..=10).map(seed);
    seeds.flat_map(|seed| [seed.to_vec(), Sha512::digest(seed)[1..31].to_vec()]).collect()
}

/// Neither as numbers nor in hexadecimal digits, and no four bytes of it.
#[track_caller]
fn check(value: &impl Debug) {
    let texts = [format!("{value:?}"), format!("{value:#?}"), format!("{value:x?}"), format!("{value:#X?}")];
    for text in texts {
        let text: String =
            text.chars().filter(|char| !char.is_whitespace()).collect::<String>().to_lowercase();
        for secret in secrets() {
            for part in secret.windows(4) {
                let numbers =
                    |number: fn(&u8) -> String| part.iter().map(number).collect::<Vec<_>>().join(",");
                for form in [
                    numbers(u8::to_string),
                    numbers(|byte| format!("{byte:x}")),
                    numbers(|byte| format!("0x{byte:x}")),
                    part.iter().map(|byte| format!("{byte:02x}")).collect(),
                ] {
                    assert!(!text.contains(&form), "{form} is in {text}");
                }
            }
        }
    }
}

fn host(number: u8) -> Host {
    let identity = Identity::from_seed(seed(number));
    let mut node = Node::new(NodeConfig::default(), identity, seed(number + 2), Instant::ZERO);
    node.add_interface(InterfaceConfig::broadcast());
    Host::new(node, msp::Config::default(), seed(number + 4))
}

#[test]
fn keys_are_not_shown() {
    let identity = Identity::from_seed(seed(0));
    check(&identity);
    let shared = identity.shared_key(&Identity::from_seed(seed(1)).sid()).unwrap();
    assert_eq!(format!("{shared:?}"), "SharedKey");
    let mut rng = Rng::new(seed(2));
    check(&rng);
    check(&Nonces::new(&mut rng));
    check(&rng);
}

#[test]
fn what_has_keys_does_not_show_them() {
    let mut hosts = [host(0), host(1)];
    let remote = Addr::new(hosts[1].sid().unwrap(), Port::from(PORT));
    hosts[1].endpoint().listen(Port::from(PORT)).unwrap();
    let id = hosts[0].endpoint().connect(Instant::ZERO, remote).unwrap();
    hosts[0].endpoint().stream(id).unwrap().send(Instant::ZERO, "hello".into()).unwrap();
    let (mut now, mut packet, mut met) = (Instant::ZERO, Vec::new(), false);
    while !met {
        for side in [0, 1] {
            hosts[side].handle_timeout(now);
            while hosts[side].poll_transmit(now, &mut packet).is_some() {
                let from = ([127, 0, 0, side as u8 + 1], 4110).into();
                hosts[1 - side].handle_packet(now, InterfaceId(0), from, &packet);
            }
            while let Some(event) = hosts[side].poll_event() {
                met |= matches!(event, Event::Readable { .. });
            }
        }
        now = hosts.iter().filter_map(Host::poll_timeout).min().unwrap();
    }
    for host in &mut hosts {
        check(host);
        check(host.uplink());
        check(host.endpoint());
    }
    let [client, server] = hosts;
    check(&Tunnel::connect(client, remote, TunnelConfig::default()).unwrap());
    check(&Tunnel::listen(server, Port::from(PORT + 1), TunnelConfig::default()).unwrap());
}

#[test]
fn what_asks_does_not_show_its_seed() {
    let sid = Identity::from_seed(seed(0)).sid();
    check(&Ping::new(PingConfig::default(), sid, seed(6), Instant::ZERO));
    check(&Find::new(FindConfig::new(ServicePattern::any()), seed(7), Instant::ZERO));
    check(&Identify::new(seed(8), Instant::ZERO));
    check(&Host::new(Daemon::new(DaemonConfig::default(), Instant::ZERO), msp::Config::default(), seed(9)));
}

/// A program may give all of it to a thread.
#[test]
fn everything_can_be_sent_to_a_thread() {
    const fn is_send<T: Send + Sync + 'static>() {}
    is_send::<Node>();
    is_send::<Daemon>();
    is_send::<msp::Endpoint>();
    is_send::<Host>();
    is_send::<Tunnel>();
    is_send::<Identity>();
}

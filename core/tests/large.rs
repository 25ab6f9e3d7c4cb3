//! Messages of more than 1024 bytes, where the way carries them (`docs/msp-extensions.md` section 6).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod tunnels;

use msp_core::msp::Config;
use msp_core::testing::Weather;
use msp_core::testing::{
    CLIENT, Dial, Kind, Link, Network, Party, Plan, SERVER, Socket, TunnelPair, conclude, pattern,
};
use msp_core::tunnel::TunnelConfig;
use tunnels::{MINUTE, assert_carried, ms, once, run, sending};

/// Two tunnels on a link of 10 Mbit/s.
fn pair(seed: u64, config: &Config, link: impl Fn(Link) -> Link) -> TunnelPair {
    let configs = [once(), TunnelConfig::default()];
    TunnelPair::with_streams(seed, configs, config, |it| link(it.rate(1_250_000, 64 << 10).delay(ms(5))))
        .dial(|_| Dial::Open(Socket::waiting().finishing()))
}

/// Bytes of a packet from the client on average, of all that were sent while `act` went on.
fn mean_packet(pair: &mut TunnelPair, act: impl FnOnce(&mut TunnelPair)) -> u64 {
    let before = pair.links[CLIENT].traffic();
    act(pair);
    let after = pair.links[CLIENT].traffic();
    (after.bytes - before.bytes) / (after.packets - before.packets)
}

fn carry(pair: &mut TunnelPair, bytes: usize) -> u64 {
    pair.open(sending(pattern(1, bytes))).unwrap();
    let mean = mean_packet(pair, |pair| run(pair, 10 * MINUTE));
    assert_carried(pair);
    mean
}

#[test]
fn at_least_93_percent_of_each_full_datagram_is_payload_where_the_way_takes_1472_bytes() {
    let mut pair = pair(1, &Config::default(), |link| link.mtu(1472));
    let mean = carry(&mut pair, 1_000_000);
    let traffic = pair.links[CLIENT].traffic();
    assert_eq!(traffic.dropped, 0);
    assert!(mean > 1400, "{mean} bytes a packet");
    assert!(1_000_000 * 100 > traffic.bytes * 93, "{} bytes", traffic.bytes);
}

#[test]
fn what_the_way_does_not_take_is_given_up_after_eight_probes() {
    for (seed, mtu) in (2..).zip([1460, 1300, 1204]) {
        let mut pair = pair(seed, &Config::default(), |link| link.mtu(mtu));
        let mean = carry(&mut pair, 1_000_000);
        let dropped = pair.links[CLIENT].traffic().dropped;
        assert!((3..=8).contains(&dropped) && mean < 1150, "{mtu}: {dropped} dropped, {mean} bytes a packet");
    }
}

#[test]
fn probes_find_a_way_that_loses_packets() {
    for seed in 10..14 {
        let mut pair = pair(seed, &Config::default(), |link| link.mtu(1472).loss(20));
        let mean = carry(&mut pair, 2_000_000);
        assert!(mean > 1300, "{mean} bytes a packet");
    }
}

#[test]
fn nothing_is_lost_when_the_way_becomes_narrower_in_mid_stream() {
    for (seed, loss) in (20..).zip([0, 0, 10, 20]) {
        let mut pair = pair(seed, &Config::default(), |link| link.mtu(1472).loss(loss));
        pair.open(sending(pattern(1, 4_000_000))).unwrap();
        let mean = mean_packet(&mut pair, |pair| pair.run(ms(2000)));
        assert!(mean > 1200, "{mean} bytes a packet before");
        let received = pair.socket(SERVER, 0).received.len();
        pair.links[CLIENT].set_mtu(1300);
        assert!(pair.run_until(ms(1500), |pair| pair.socket(SERVER, 0).received.len() > received + 100_000));
        let mean = mean_packet(&mut pair, |pair| run(pair, 10 * MINUTE));
        assert!(mean < 1150, "{mean} bytes a packet after");
        assert_carried(&pair);
    }
}

/// What arrives in parts, when nothing else did, tells that large messages do not.
#[test]
fn the_last_messages_of_a_stream_show_that_the_way_has_become_narrower() {
    for (seed, loss) in (60..).zip([0, 0, 5, 10]) {
        let mut pair = pair(seed, &Config::default(), |link| link.mtu(1472).delay(ms(40)).loss(loss));
        pair.open(Socket::waiting().sending(pattern(1, 1_000_000))).unwrap();
        pair.run(ms(10_000));
        assert_eq!(pair.socket(SERVER, 0).received.len(), 1_000_000);
        pair.links[CLIENT].set_mtu(1300);
        pair.socket(CLIENT, 0).input.extend(pattern(2, 8000));
        let arrives = pair.run_until(ms(2500), |pair| pair.socket(SERVER, 0).received.len() == 1_008_000);
        assert!(arrives, "{} bytes", pair.socket(SERVER, 0).received.len());
    }
}

#[test]
fn a_way_that_becomes_wider_is_found_after_a_minute() {
    let mut pair = pair(30, &Config::default(), |link| link.mtu(1204));
    pair.open(Socket::waiting().sending(pattern(1, 500_000))).unwrap();
    pair.run(ms(61_000));
    pair.links[CLIENT].set_mtu(1472);
    let socket = pair.socket(CLIENT, 0);
    socket.input.extend(pattern(2, 1_000_000));
    socket.finish = true;
    let mean = mean_packet(&mut pair, |pair| run(pair, MINUTE));
    assert!(mean > 1350, "{mean} bytes a packet");
    assert_carried(&pair);
}

#[test]
fn neither_end_sends_large_packets_unless_both_take_them() {
    let mut without = Config::default();
    without.large_messages = false;
    let mut plain = Config::default();
    plain.extended = false;
    let usual = Config::default();
    for (seed, other) in (40..).zip([&without, &plain, &usual]) {
        for configs in [[&usual, other], [other, &usual]] {
            let mut network = Network::new(seed);
            for (index, config) in configs.into_iter().enumerate() {
                let now = network.now;
                network.place(Party::new(index, Kind::Ours, true, config.clone(), Plan::sending(300), now));
            }
            assert_eq!(largest(network) > 1200, other.large_messages && other.extended);
        }
    }
}

#[test]
fn a_reference_peer_gets_no_large_packets() {
    for kinds in [[Kind::Ours, Kind::Reference], [Kind::Reference, Kind::Ours]] {
        let mut network = Network::new(50);
        for (index, kind) in kinds.into_iter().enumerate() {
            let now = network.now;
            network.place(Party::new(index, kind, true, Config::default(), Plan::sending(300), now));
        }
        assert!(largest(network) <= 1200);
    }
}

/// Opens a stream from the first to the second party, and gives the length of the longest packet.
fn largest(mut network: Network<Party>) -> usize {
    network.join(0, 1, |link| link.delay(ms(5)));
    network.recorded = Some(Vec::new());
    network.run(ms(3000));
    let (now, remote) = (network.now, network.stations[1].sid());
    network.stations[0].open(now, remote, Plan::sending(300)).unwrap();
    conclude(&mut network, Weather::Calm);
    network.recorded.unwrap().iter().map(|(.., packet)| packet.len()).max().unwrap()
}

//! The relay does what it is told.

use msp_mio::relay::{Relay, RelayConfig};
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

#[test]
fn repeats_packets_and_loses_all_in_a_blackout() {
    let target = UdpSocket::bind("127.0.0.1:0").unwrap();
    target.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut config = RelayConfig::new(0, 1);
    config.duplicate = 100;
    let relay = Relay::start(target.local_addr().unwrap(), config).unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut received = [0; 4];

    sender.send_to(b"one", relay.address()).unwrap();
    for _ in 0..2 {
        assert_eq!(target.recv(&mut received).unwrap(), 3);
    }
    relay.set_blackout(true);
    sender.send_to(b"none", relay.address()).unwrap();
    while relay.stats().lost == 0 {
        thread::yield_now();
    }
    relay.set_blackout(false);
    sender.send_to(b"two", relay.address()).unwrap();
    for _ in 0..2 {
        assert_eq!(target.recv(&mut received).unwrap(), 3);
    }
    assert_eq!(&received[..3], b"two");
    assert_eq!(relay.stats().lost, 1);
}

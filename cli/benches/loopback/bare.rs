//! The least that a program must do which carries bytes in encrypted datagrams.

use super::programs::{Figures, cpu_seconds};
use msp_core::Identity;
use msp_core::mdp::SharedKey;
use std::net::UdpSocket;
use std::time::Instant;

const MESSAGE: usize = 1200;

pub(crate) fn run(megabytes: usize) -> Figures {
    let [here, there] = [1, 2].map(|seed| Identity::from_seed([seed; 32]));
    let (sealing, opening) = (here.shared_key(&there.sid()).unwrap(), there.shared_key(&here.sid()).unwrap());
    let [from, to] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    from.connect(to.local_addr().unwrap()).unwrap();
    let mut packet = [0; SharedKey::OVERHEAD + MESSAGE];
    let mut received = [0; 2048];
    let (start, before) = (Instant::now(), cpu_seconds("self"));
    let count = megabytes * 1_000_000 / MESSAGE;
    for number in 0..count as u64 {
        let mut nonce = [0; 24];
        nonce[16..].copy_from_slice(&number.to_be_bytes());
        packet[SharedKey::OVERHEAD..].fill(7);
        sealing.seal(&nonce, &mut packet);
        from.send(&packet).unwrap();
        let length = to.recv(&mut received).unwrap();
        assert_eq!(opening.open(&mut received[..length]).unwrap().len(), MESSAGE);
    }
    Figures::new(count * MESSAGE, start.elapsed(), cpu_seconds("self") - before)
}

//! Two nodes, one message.

use alloc::vec::Vec;
use bytes::Bytes;
use msp_core::mdp::{Nonces, SharedKey};
use msp_core::msp::{Config, Endpoint, Event};
use msp_core::wire::mdp::Repr;
use msp_core::{Addr, Identity, Instant, Port, Protection, Rng};

const MESSAGE: &[u8] = b"hello without std";

/// Whether the message came through, encrypted on its way.
pub fn run() -> bool {
    let [a, b] = [1, 2].map(|seed| Identity::from_seed([seed; 32]));
    let Some(key) = a.shared_key(&b.sid()) else { return false };
    let mut nonces = Nonces::new(&mut Rng::new([3; 32]));
    let mut ends = [&a, &b].map(|identity| Endpoint::new(Config::default(), identity.sid(), [4; 32]));
    let port = Port::from(512);
    let mut now = Instant::ZERO;
    let connected = ends[1].listen(port).is_ok().then(|| ends[0].connect(now, Addr::new(b.sid(), port)));
    let Some(Ok(stream)) = connected else { return false };
    let sent = ends[0].stream(stream).map(|mut stream| stream.send(now, Bytes::from_static(MESSAGE)));
    if sent != Some(Ok(())) {
        return false;
    }
    for _ in 0..100 {
        for side in [0, 1] {
            ends[side].handle_timeout(now);
            let mut payload = Vec::new();
            while let Some(outgoing) = ends[side].poll_transmit(now, &mut payload) {
                let mut frame = Vec::from([0; SharedKey::OVERHEAD]);
                Repr { destination: outgoing.to.port, source: outgoing.from, payload: &payload }
                    .emit(&mut frame);
                key.seal(&nonces.generate(), &mut frame);
                let Some(plaintext) = key.open(&mut frame) else { return false };
                let Ok(datagram) = Repr::parse(plaintext) else { return false };
                let from = Addr::new(ends[side].local(), datagram.source);
                let payload = Bytes::copy_from_slice(datagram.payload);
                let to = datagram.destination;
                if ends[1 - side].handle_datagram(now, from, to, Protection::Encrypted, &payload).is_err() {
                    return false;
                }
            }
        }
        while let Some(event) = ends[1].poll_event() {
            let Event::Readable { stream } = event else { continue };
            let message = ends[1].stream(stream).and_then(|mut stream| stream.recv(now));
            return message.is_some_and(|message| message == MESSAGE);
        }
        let Some(next) = ends.iter().filter_map(Endpoint::poll_timeout).min() else { return false };
        now = next;
    }
    false
}

//! What a packet costs the processor: `cargo bench -p msp-core --bench codec`, and with `--profile release` as it is
//! compiled for the program.

use msp_core::wire::address::Address;
use msp_core::wire::mdp::{self, Protection};
use msp_core::wire::msp;
use msp_core::wire::overlay::{Encapsulation, Frame, Header, Packet, Route};
use msp_core::{Identity, Port, Seq16, mdp::SharedKey};
use std::hint::black_box;
use std::time::{Duration, Instant};

const MESSAGE: usize = 1024;
/// How long each is repeated, and how often: the best counts, as other work of the machine only makes it slower.
const SPAN: Duration = Duration::from_millis(100);
const ROUNDS: usize = 5;

fn main() {
    let [here, there] = [1, 2].map(|seed| Identity::from_seed([seed; 32]));
    measure("key agreement", 0, || {
        black_box(here.shared_key(black_box(&there.sid())));
    });
    let Some(key) = here.shared_key(&there.sid()) else { return };
    let mut sealed = vec![7; SharedKey::OVERHEAD + MESSAGE];
    measure("seal", MESSAGE, || key.seal(black_box(&[9; 24]), black_box(&mut sealed)));
    let mut frame = sealed.clone();
    measure("open", MESSAGE, || {
        frame.copy_from_slice(&sealed);
        black_box(key.open(black_box(&mut frame)));
    });

    let message = [7; MESSAGE];
    let segment = msp::Repr::Data {
        shutdown: false,
        first: false,
        ack: Some(Seq16(4)),
        seq: Seq16(5),
        payload: &message,
    };
    let mut written = Vec::new();
    measure("segment, write", MESSAGE, || {
        written.clear();
        black_box(&segment).emit(&mut written);
    });
    measure("segment, read", MESSAGE, || {
        let _ = black_box(msp::Repr::parse(black_box(&written)));
    });
    let port = Port::from(512);
    let datagram = mdp::Repr { destination: port, source: port, payload: &written };
    let mut plaintext = Vec::new();
    measure("datagram, write", MESSAGE, || {
        plaintext.clear();
        black_box(datagram).emit(&mut plaintext);
    });
    measure("datagram, read", MESSAGE, || {
        let _ = black_box(mdp::Repr::parse(black_box(&plaintext)));
    });

    let (ours, theirs) = (here.sid(), there.sid());
    let header = Header {
        sequenced_frames: true,
        encapsulation: Encapsulation::Multiple,
        sender: Address::Prefix(&ours.as_bytes()[..6]),
        unicast: true,
        interface: Some(0),
        sequence: Some(1),
    };
    let frame = Frame {
        source: None,
        route: Route::Neighbour { destination: Address::Prefix(&theirs.as_bytes()[..6]) },
        protection: Some(Protection::Encrypted),
        ack_soon: false,
        legacy_type: None,
        sequence: Some(1),
        payload: &sealed,
    };
    let mut packet = Vec::new();
    measure("packet, write", MESSAGE, || {
        packet.clear();
        black_box(header).emit(&mut packet);
        black_box(frame).emit(Encapsulation::Multiple, &mut packet);
    });
    measure("packet, read", MESSAGE, || {
        if let Ok(packet) = Packet::parse(black_box(&packet)) {
            let _ = black_box(packet.frames().last());
        }
    });
}

/// Prints how long `act` takes, for so many bytes of a message.
fn measure(name: &str, bytes: usize, mut act: impl FnMut()) {
    let best = (0..ROUNDS).map(|_| time(&mut act)).fold(f64::INFINITY, f64::min);
    print!("{name:16} {best:9.0} ns");
    if bytes > 0 {
        print!("  {:8.0} MB/s", 1000.0 * bytes as f64 / best);
    }
    println!();
}

/// Nanoseconds of one `act`.
#[allow(clippy::disallowed_methods, reason = "a benchmark tells the time")]
fn time(act: &mut impl FnMut()) -> f64 {
    let (start, mut count) = (Instant::now(), 0_u32);
    loop {
        for _ in 0..100 {
            act();
        }
        count += 100;
        let elapsed = start.elapsed();
        if elapsed >= SPAN {
            return elapsed.as_nanos() as f64 / f64::from(count);
        }
    }
}

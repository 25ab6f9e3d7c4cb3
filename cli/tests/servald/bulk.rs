//! How fast a long text goes through, beside the tunnel program of the reference in the same run.
//!
//! ```text
//! MSP_TEST_SERVALD=~/serval-dna/servald MSP_TEST_MEGABYTES=4 \
//!     cargo test --release -p msp-cli --test servald bulk -- --ignored
//! ```

use std::time::Instant;

use crate::common::megabytes;
use crate::lab::Lab;
use crate::matrix::{Pair, Run};
use crate::possible;
use crate::report::say;
use crate::scratch::{assert_same, noise};
use crate::side::{End, Side};

/// The first is what the others are compared with.
const PAIRS: [Pair; 7] = [
    (End::Servald, End::Servald),
    (End::ThroughDaemon, End::ThroughDaemon),
    (End::Embedded, End::Servald),
    (End::Servald, End::Embedded),
    (End::ThroughDaemon, End::Servald),
    (End::Servald, End::ThroughDaemon),
    (End::Embedded, End::Embedded),
];
const LOSSES: [u8; 2] = [0, 10];
/// The middle one counts.
const ROUNDS: usize = 3;

#[test]
#[ignore = "prints figures, and takes minutes"]
fn bulk() {
    if !possible("bulk") {
        return;
    }
    let (text, ends) = (noise(5, megabytes() * 1_000_000), End::all());
    let pairs = PAIRS.into_iter().filter(|(from, to)| ends.contains(from) && ends.contains(to));
    let pairs: Vec<_> = pairs.collect();
    say(&format!("{} MB from one end to the other, the middle of {ROUNDS} rounds, in MB/s", megabytes()));
    for loss in LOSSES {
        let mut rates = vec![Vec::new(); pairs.len()];
        for _ in 0..ROUNDS {
            for (pair, rates) in pairs.iter().zip(&mut rates) {
                rates.push(rate(*pair, loss, &text));
            }
        }
        let mut reference = None;
        for ((from, to), mut rates) in pairs.iter().zip(rates) {
            rates.sort_by(f64::total_cmp);
            let middle = rates[ROUNDS / 2];
            let ratio = middle / *reference.get_or_insert(middle);
            let (least, most) = (rates[0], rates[ROUNDS - 1]);
            let range = format!("({least:.3} to {most:.3})");
            say(&format!("{loss:>2} %  {from:>13} -> {to:<13} {middle:7.3} {range:18} {ratio:6.2} x"));
        }
    }
}

/// MB/s, from the start of the connector to the last byte.
fn rate((from, to): Pair, loss: u8, text: &[u8]) -> f64 {
    let (lab, port) = (Lab::chain(2), Run::port());
    let (connector, listener) = (Side::start(&lab, 0, from), Side::start(&lab, 1, to));
    lab.lose(loss);
    let receiving = listener.listen(&[&port], Some(b""));
    if let Some(daemon) = &connector.daemon {
        daemon.route_to(listener.sid());
    }
    let start = Instant::now();
    let sending = connector.spawn(&["connect", listener.sid(), &port], Some(text));
    receiving.output_length(text.len());
    let seconds = start.elapsed().as_secs_f64();
    drop(sending);
    assert_same("what came", &receiving.finish().output, text);
    text.len() as f64 / 1e6 / seconds
}

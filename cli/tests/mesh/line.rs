//! How fast a long text goes over lines of nodes, beside the same way with relays that repair nothing.
//!
//! ```text
//! MSP_TEST_MEGABYTES=1 cargo test -p msp-cli --test mesh goodput -- --ignored --nocapture
//! ```

use std::fmt::{self, Display};
use std::time::{Duration, Instant};

use crate::common::megabytes;
use crate::lab::Lab;
use crate::process::until;
use crate::report::say;
use crate::scratch::{assert_same, noise};
use crate::{nodes, possible};

/// Links between the ends.
const HOPS: [u8; 4] = [1, 2, 4, 8];
/// Percent of all packets on each link.
const LOSS: u8 = 10;
/// On each link.
const DELAY: Duration = Duration::from_millis(5);
/// Bytes in a second on each link, each way.
const RATE: u64 = 250_000;
const ROUNDS: usize = 3;

#[test]
fn nothing_is_lost_over_many_hops() {
    if !possible("nothing_is_lost_over_many_hops") {
        return;
    }
    let lab = Lab::chain(4);
    lab.lose(LOSS);
    let nodes = nodes(&lab, 4);
    let (here, there) = (&nodes[0].0, &nodes[3].0);
    let (up, down) = (noise(1, 200_000), noise(2, 200_000));
    let listener = there.listen(&["600"], Some(&down));
    let connector = here.spawn(&["connect", there.sid(), "600"], Some(&up));
    let (connector, listener) = (connector.finish(), listener.finish());
    assert_same("from the listener to the connector", &connector.output, &down);
    assert_same("from the connector to the listener", &listener.output, &up);
    connector.assert_status("the connector", 0);
    listener.assert_status("the listener", 0);
    assert!(lab.lost() > 0, "nothing was lost on the way");
}

#[test]
#[ignore = "prints figures, and takes minutes"]
fn goodput() {
    if !possible("goodput") {
        return;
    }
    let text = noise(5, megabytes() * 1_000_000);
    say(&format!(
        "{} MB over links of {} kB/s, {} ms and {LOSS} % loss, the middle of {ROUNDS} rounds, in kB/s",
        megabytes(),
        RATE / 1000,
        DELAY.as_millis()
    ));
    for hops in HOPS {
        let rounds = [(); ROUNDS].map(|()| (over_nodes(hops, &text), over_wires(hops, &text)));
        let (by_hop, by_ends) = (Figures::of(rounds.map(|it| it.0)), Figures::of(rounds.map(|it| it.1)));
        let ratio = by_hop.middle() / by_ends.middle();
        say(&format!("{hops} hops: {by_hop} with nodes, {by_ends} with the ends alone: {ratio:.2} x"));
    }
}

/// In order.
#[derive(Debug)]
struct Figures([f64; ROUNDS]);

impl Figures {
    fn of(mut figures: [f64; ROUNDS]) -> Self {
        figures.sort_by(f64::total_cmp);
        Self(figures)
    }

    fn middle(&self) -> f64 {
        self.0[ROUNDS / 2]
    }
}

impl Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:3.0} ({:.0} to {:.0})", self.middle(), self.0[0], self.0[ROUNDS - 1])
    }
}

/// A node after every link.
fn over_nodes(hops: u8, text: &[u8]) -> f64 {
    let lab = Lab::chain(hops + 1);
    lab.limit(RATE);
    lab.delay(DELAY);
    lab.lose(LOSS);
    rate(&lab, hops, text)
}

/// The links in a row as one, as if what joins them only passed on what it hears.
fn over_wires(hops: u8, text: &[u8]) -> f64 {
    let arrives = (1.0 - f64::from(LOSS) / 100.0).powi(hops.into());
    let lab = Lab::chain(2);
    lab.limit(RATE);
    lab.delay(DELAY * hops.into());
    lab.lose((100.0 * (1.0 - arrives)).round() as u8);
    rate(&lab, 1, text)
}

/// kB/s from the first node to the last, from the first to the last byte that comes.
fn rate(lab: &Lab, last: u8, text: &[u8]) -> f64 {
    let nodes = nodes(lab, last + 1);
    let (here, there) = (&nodes[0].0, &nodes[usize::from(last)].0);
    until("a route", || here.routes().iter().any(|route| route.sid == there.sid()).then_some(()));
    let listener = there.listen(&["600"], Some(b""));
    let connector = here.spawn(&["connect", there.sid(), "600"], Some(text));
    listener.output_length(1);
    let start = Instant::now();
    listener.output_length(text.len());
    let seconds = start.elapsed().as_secs_f64();
    assert_same("what came", &listener.finish().output, text);
    connector.finish().assert_status("the connector", 0);
    text.len() as f64 / 1e3 / seconds
}

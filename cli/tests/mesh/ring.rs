//! A ring of nodes of which one link is cut: how long until what is sent goes the other way round.
//!
//! ```text
//! cargo test -p msp-cli --test mesh a_cut -- --ignored --nocapture
//! ```

use std::time::{Duration, Instant};

use crate::lab::Lab;
use crate::ours::Route;
use crate::process::until;
use crate::report::say;
use crate::{nodes, possible};

/// From node 0 to node 2 it is two links one way, and three the other.
const NODES: u8 = 5;
const FAR: u8 = 2;

/// Of three cuts each.
#[test]
#[ignore = "prints figures"]
fn a_cut() {
    if !possible("a_cut") {
        return;
    }
    for (link, name) in [(0, "at the sender"), (1, "at the receiver")] {
        for loss in [0, 10] {
            let mut times = [(); 3].map(|()| until_traffic(link, loss).as_secs_f64());
            times.sort_by(f64::total_cmp);
            say(&format!("cut {name}, {loss:>2} % loss: {times:.2?} s"));
        }
    }
}

#[test]
fn a_stream_goes_on_the_other_way_round() {
    if possible("a_stream_goes_on_the_other_way_round") {
        until_traffic(0, 10);
    }
}

/// From the cut of a link to the first byte on the other way.
fn until_traffic(link: u8, loss: u8) -> Duration {
    let lab = Lab::ring(NODES);
    lab.delay(Duration::from_millis(5));
    lab.lose(loss);
    let nodes = nodes(&lab, NODES);
    let (here, between, there) = (&nodes[0].0, &nodes[1].0, &nodes[usize::from(FAR)].0);
    let goes_through = |route: &Route| route.sid == there.sid() && route.next_hop == between.sid();
    let await_way = || until("the shorter way", || here.routes().iter().any(goes_through).then_some(()));
    await_way();
    let mut listener = there.listen(&["600"], None);
    let mut connector = here.spawn(&["connect", there.sid(), "600"], None);
    connector.type_in(b"before\n");
    listener.output_line("what was said before", |line| (line == "before").then_some(()));
    // It may have been lost for long enough to go the other way meanwhile.
    await_way();
    lab.link(link).lose(100);
    let start = Instant::now();
    connector.type_in(b"after\n");
    listener.output_line("what was said after the cut", |line| (line == "after").then_some(()));
    let elapsed = start.elapsed();
    connector.finish_input();
    listener.finish_input();
    connector.finish().assert_status("the connector", 0);
    listener.finish().assert_status("the listener", 0);
    elapsed
}

//! What the program costs, over the loopback address: `cargo bench --profile release -p msp-cli --bench loopback`.
//!
//! Two programs carry a TCP connection, each in a process of its own, in turns with a bare loop that does the least
//! that any such program must: it seals messages of 1200 bytes, sends, receives and opens them, in one thread. Other
//! work of the machine slows both, so only their ratio is worth to be compared. The same connection then goes through
//! an `msp node` at either end. Linux only; `perf` counts the system
//! calls where it may.
//!
//! ```text
//! cargo bench --profile release -p msp-cli --bench loopback -- 500     megabytes in each of five rounds
//! ```
#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark fails by panicking")]

#[cfg(target_os = "linux")]
#[path = "../tests/common/mod.rs"]
mod common;
#[cfg(target_os = "linux")]
mod loopback {
    pub(super) mod bare;
    pub(super) mod programs;
}

#[cfg(target_os = "linux")]
fn main() {
    use loopback::{bare, programs::Programs};

    const ROUNDS: usize = 5;
    let megabytes = std::env::args().skip(1).find_map(|text| text.parse().ok()).unwrap_or(200);
    let median = |mut figures: Vec<f64>| {
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    println!(
        "            bare loop            two programs      of the bare loop   through two nodes   of that"
    );
    println!("round   MB/s  CPU s/GB    MB/s  CPU s/GB                          MB/s  CPU s/GB");
    let (mut shares, mut through) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let bare = bare::run(megabytes);
        let programs = Programs::start().carry(megabytes);
        let nodes = Programs::start_through_nodes().carry(megabytes);
        let [share, share_through] = [programs.rate / bare.rate, nodes.rate / programs.rate];
        shares.push(share);
        through.push(share_through);
        println!(
            "{round:5} {:6.1} {:9.1}  {:6.1} {:9.1} {:14.0} % {:12.1} {:9.1} {:7.0} %",
            bare.rate,
            bare.cpu,
            programs.rate,
            programs.cpu,
            100.0 * share,
            nodes.rate,
            nodes.cpu,
            100.0 * share_through,
        );
    }
    let percent = |shares| 100.0 * median(shares);
    println!("median share {:.0} %; through nodes {:.0} % of that", percent(shares), percent(through));
    Programs::start().report_packets(megabytes);
    Programs::start().report_idle();
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("skipped: this reads /proc");
}

//! An MDP port, or a UDP port, that another program has already.

use crate::lab;
use crate::matrix::Run;
use crate::report::say;
use crate::side::{End, Side};

/// Who has the port, and who wants it, too, with its exit status.
const CASES: [(End, End, i32); 6] = [
    (End::Servald, End::Servald, 0),
    (End::Servald, End::ThroughDaemon, 3),
    (End::ThroughDaemon, End::Servald, 0),
    (End::ThroughDaemon, End::ThroughDaemon, 3),
    // The daemon has the UDP port.
    (End::Servald, End::Embedded, 3),
    (End::Embedded, End::Embedded, 3),
];

#[test]
fn a_port_that_is_taken() {
    let Some(lab) = lab("a_port_that_is_taken", 2) else { return };
    let ends = End::all();
    for (has, wants, status) in CASES {
        if !(ends.contains(&has) && ends.contains(&wants)) {
            continue;
        }
        let (holder, port) = (Side::start(&lab, 0, has), Run::port());
        let second = holder.beside(wants);
        let listener = holder.listen(&["--forward=1", &port], Some(b""));
        let ended = second.spawn(&["listen", "--forward=1", &port], Some(b"")).finish();
        ended.assert_status(&format!("{wants} at a port that {has} has"), status);
        let last = ended.errors.lines().last().unwrap_or_default();
        say(&format!("port taken: {has:>13} has it, {wants:<13} wants it: status {status}, {last:?}"));
        listener.signal("TERM");
        listener.finish().assert_status("the holder", 0);
        if wants == End::ThroughDaemon || has == End::Embedded {
            drop(second.listen(&["--forward=1", &port], Some(b"")));
        }
    }
}

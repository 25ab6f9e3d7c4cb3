//! Our end goes first. Then the tunnel program of the reference may drop what its own TCP connection still holds: it takes
//! one that both sides have ended for a broken one (`spec/70` section 4). It ends its stream after what it has sent, so
//! that nobody beyond can know. What is shown is that ours has passed on all that was on the wire before that end.

use std::fmt::{self, Display};
use std::thread;

use crate::exchange::{Turn, exchange, serve};
use crate::matrix::{GOOD, Pair, Run, test};
use crate::scratch::noise;
use crate::side::End;

const LENGTH: usize = 64_000;

/// One of several connections in turn.
#[derive(Debug, Clone, Copy)]
struct Round(u8);

impl Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of 3", self.0)
    }
}

/// The reference with itself, to compare, and ours in place of the end that goes first.
fn pairs() -> Vec<Pair> {
    End::all().into_iter().map(|connector| (connector, End::Servald)).collect()
}

#[test]
fn all_that_the_reference_sends_before_its_end_arrives() {
    test("we end first", pairs, &[1, 2, 3].map(Round), |run, _| {
        let bytes = noise(8, LENGTH);
        let (port, server) = (Run::port(), run.lab.listen(run.listener.node));
        let (target, entrance) = (server.local_addr().unwrap().port(), run.lab.free_port(run.connector.node));
        let served = serve(server, 1, bytes.clone(), Turn::First);
        let listener = run.listener.listen(&["--once", &format!("--forward={target}"), &port], Some(b""));
        let options = ["--once", &format!("--forward={entrance}")];
        let ours = run.connector.end != End::Servald;
        let options = if ours { [&options[..], &["-v"]].concat() } else { options.to_vec() };
        let connector = run.connect(&options, &port, Some(b""));
        let client = run.lab.connect(run.connector.node, entrance);
        let came = thread::spawn(|| exchange(client, Vec::new(), Turn::First).unwrap()).join().unwrap();
        // It may have been reset, with what the reference has not read.
        let _ = served.join();
        let said = run.ended(run.connector, connector, GOOD).errors;
        run.ended(run.listener, listener, GOOD);
        assert!(bytes.starts_with(&came), "{} bytes that are not those that were sent", came.len());
        if came.len() < LENGTH {
            run.note(&format!("servald sent {} bytes of {LENGTH} and then its end", came.len()));
        }
        if ours {
            let all = format!(" {} bytes received", came.len());
            assert!(said.contains(&all), "not all of what was received came out: {}, {said}", came.len());
        }
    });
}

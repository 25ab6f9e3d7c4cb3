//! Runs a scenario in all combinations of ends, variants and losses, and says how each went.

use std::cell::RefCell;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::lab::Lab;
use crate::possible;
use crate::process::{Ended, Process};
use crate::report::say;
use crate::side::{End, Side};

/// Percent of all packets, either way.
pub(crate) const LOSSES: [u8; 3] = [0, 10, 30];
/// Nodes of a lab.
const CONNECTOR: u8 = 0;
const LISTENER: u8 = 1;
/// Pairs that run at the same time: they mostly wait.
const AT_ONCE: usize = 3;

/// The end that connects, and the one that listens.
pub(crate) type Pair = (End, End);

pub(crate) fn all_pairs() -> Vec<Pair> {
    let ends = End::all();
    ends.iter().flat_map(|&connector| ends.iter().map(move |&listener| (connector, listener))).collect()
}

/// For scenarios where nothing is at the other end.
pub(crate) fn connectors() -> Vec<Pair> {
    End::all().into_iter().map(|connector| (connector, End::Embedded)).collect()
}

/// One scenario in one combination.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) lab: &'a Lab,
    pub(crate) connector: &'a Side<'a>,
    pub(crate) listener: &'a Side<'a>,
    pub(crate) loss: u8,
    /// What a reader should know besides the result.
    notes: RefCell<Vec<String>>,
}

impl Run<'_> {
    /// An MDP port that no run had before: what a daemon remembers of those does not matter.
    pub(crate) fn port() -> String {
        static NEXT: AtomicU32 = AtomicU32::new(10_000);
        NEXT.fetch_add(1, Ordering::Relaxed).to_string()
    }

    /// Starts `connect` to a port of the other side, where a node runs, once there is a route to it.
    #[track_caller]
    pub(crate) fn connect(&self, options: &[&str], port: &str, input: Option<&[u8]>) -> Process {
        self.await_route();
        self.connect_to(self.listener.sid(), options, port, input)
    }

    /// Waits until the connector's daemon, if it has one, knows the way to the other side.
    #[track_caller]
    pub(crate) fn await_route(&self) {
        if let Some(daemon) = &self.connector.daemon {
            daemon.route_to(self.listener.sid());
        }
    }

    /// Starts `connect` to a port of any node.
    #[track_caller]
    pub(crate) fn connect_to(
        &self,
        sid: &str,
        options: &[&str],
        port: &str,
        input: Option<&[u8]>,
    ) -> Process {
        self.connector.spawn(&[&["connect"], options, &[sid, port]].concat(), input)
    }

    /// Waits for the end of a program, which must have this status.
    #[track_caller]
    pub(crate) fn ended(&self, side: &Side<'_>, process: Process, expected: Statuses) -> Ended {
        let ended = process.finish();
        if side.end != End::Servald {
            ended.assert_status(&format!("our {}", side.end), expected.ours);
        } else if ended.status == Some(1) && expected.servald == 0 && self.loss > 0 {
            // A last acknowledgment or a STOP was lost: the reference does not repeat them.
            self.note("servald ended with 1");
        } else {
            ended.assert_status("servald", expected.servald);
        }
        ended
    }

    pub(crate) fn note(&self, text: &str) {
        self.notes.borrow_mut().push(text.to_owned());
    }
}

/// Exit statuses, by whose program it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statuses {
    pub(crate) ours: i32,
    pub(crate) servald: i32,
}

/// Both programs have done what they should.
pub(crate) const GOOD: Statuses = Statuses { ours: 0, servald: 0 };

/// Runs `scenario` for all pairs, losses and variants. What the reference does with itself is only said; all else
/// must succeed. `MSP_TEST_ONLY` names a part of the combinations, as they are printed.
pub(crate) fn test<V: Copy + Display + Sync>(
    name: &str,
    pairs: impl FnOnce() -> Vec<Pair>,
    variants: &[V],
    scenario: impl Fn(&Run<'_>, V) + Sync,
) {
    if !possible(name) {
        return;
    }
    let (pairs, next, failures) = (pairs(), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(&pair) = pairs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let failed = test_pair(name, pair, variants, &scenario);
            failures.lock().unwrap().extend(failed);
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} combinations failed:\n{}", failures.len(), failures.join("\n"));
}

/// In one lab, which is good for all losses and variants. Returns what failed.
fn test_pair<V: Copy + Display>(
    name: &str,
    pair: Pair,
    variants: &[V],
    scenario: &impl Fn(&Run<'_>, V),
) -> Vec<String> {
    let only = std::env::var("MSP_TEST_ONLY").unwrap_or_default();
    let combinations = LOSSES.iter().flat_map(|&loss| variants.iter().map(move |&variant| (loss, variant)));
    let labelled = combinations.map(|(loss, variant)| {
        let title = format!("{name}, {variant}");
        (format!("{title:<37} {:>13} -> {:<13} {loss:>2} %", pair.0, pair.1), loss, variant)
    });
    let wanted: Vec<_> = labelled.filter(|(label, ..)| label.contains(&only)).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let lab = Lab::chain(2);
    let (connector, listener) = (Side::start(&lab, CONNECTOR, pair.0), Side::start(&lab, LISTENER, pair.1));
    let mut failed = Vec::new();
    let lossy = wanted.iter().any(|&(_, loss, _)| loss > 0);
    for (label, loss, variant) in wanted {
        lab.lose(loss);
        let run =
            Run { lab: &lab, connector: &connector, listener: &listener, loss, notes: RefCell::default() };
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| scenario(&run, variant)));
        if let Err(reason) = result {
            let reason = reason.downcast_ref::<String>().map_or("", |reason| reason);
            let reason = reason.lines().next().unwrap_or_default();
            if pair == (End::Servald, End::Servald) {
                run.note(&format!("the reference fails: {reason}"));
            } else {
                run.note(&format!("FAILED: {reason}"));
                failed.push(label.clone());
            }
        }
        let notes = run.notes.take();
        let result = if notes.is_empty() { "good".to_owned() } else { notes.join(", ") };
        say(&format!("{label} {:6.1} s  {result}", start.elapsed().as_secs_f32()));
    }
    // Who calls nobody says little.
    assert!(lab.lost() > 0 || !lossy || lab.heard() < 100, "nothing was lost on the way");
    failed
}

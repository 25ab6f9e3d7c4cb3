//! What tests tell a person. It goes past the capture of the test harness.

use std::io::Write as _;

/// Says why a test did nothing: a skipped test must not look like one that ran.
pub(crate) fn skip(test: &str, why: &str) {
    say(&format!("skipped {test}: {why}"));
}

pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

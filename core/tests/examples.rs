//! What the examples show.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "an example has a main function")]

#[path = "../examples/loopback.rs"]
mod loopback;
#[path = "../examples/poll_loop.rs"]
mod poll_loop;

#[test]
fn a_line_goes_from_one_endpoint_to_the_other() {
    assert_eq!(loopback::run().unwrap(), "a line for the other end");
}

#[test]
fn lines_come_back_between_loops_on_the_standard_library() {
    assert_eq!(poll_loop::run().unwrap(), ["one", "two", "three"]);
}

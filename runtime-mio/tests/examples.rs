//! What the examples show.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "an example has a main function")]
#[path = "../examples/echo.rs"]
mod echo;

#[test]
fn an_echo_comes_back_beside_a_socket_and_a_timer() {
    let expected: Vec<String> = (1..=5).map(|number| format!("reading {number}")).collect();
    assert_eq!(echo::run().unwrap(), expected);
}

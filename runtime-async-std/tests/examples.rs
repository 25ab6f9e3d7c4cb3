//! The examples do what they say.

#[allow(dead_code, reason = "its main function")]
#[path = "../examples/echo.rs"]
mod echo;

#[allow(dead_code, reason = "its main function")]
#[path = "../examples/smol.rs"]
mod smol_example;

use async_std::task::block_on;

#[test]
fn echo_gives_back_what_it_gets() {
    assert_eq!(block_on(echo::run()).unwrap(), "hello through the mesh");
}

#[test]
fn streams_run_on_smol() {
    assert_eq!(smol::block_on(smol_example::run()).unwrap(), "Who is there? Nobody.");
}

//! `msp node`

use crate::address::reachable_at;
use crate::args::Options;
use crate::failure::{Failure, Status, describe};
use crate::logger::say;
use crate::node::{Node, bind_own};
use crate::see;
use msp_core::msp;
use msp_mio::RunDirectory;
use std::io::ErrorKind;

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let cannot_bind = |error| Failure::new(Status::CannotBind, error);
    let directory =
        RunDirectory::create(options.run.as_deref()).map_err(|error| cannot_bind(describe(&error)))?;
    let place = directory.path().display();
    // The lock on the identity is for as long as it runs.
    let Node { runtime, _lock, .. } = bind_own(options, msp::Config::default())?;
    let (sid, local) = (runtime.sid(), runtime.local_addrs());
    let server = runtime.serve(&directory).map_err(|error| {
        cannot_bind(match error.kind() {
            ErrorKind::AddrInUse => format!("another node serves in {place}; see --run"),
            _ => format!("cannot serve in {place}: {}", describe(&error)),
        })
    })?;
    // Whoever reads that it runs may ask it at once.
    let server = see::answer_node(server, &directory);
    if let (Some(sid), false) = (sid, options.quiet) {
        say(&format!("node {sid} relays, and serves programs in {place}; others reach it at UDP"));
        local.into_iter().flat_map(reachable_at).for_each(|address| say(&format!("    {address}")));
    }
    server.run()?;
    Ok(())
}

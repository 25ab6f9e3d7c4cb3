//! The daemon that runs on this machine, as the options want it.

use crate::args::Servald;
use crate::failure::{Failure, Status, describe};
use msp_core::mdp::Instance;
use msp_core::{Port, msp};
use msp_mio::{Runtime, is_daemon_running};
use msp_sockets::{Question, ask_daemon};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A client of the daemon. One that listens on `port` waits for a daemon that is not there; others give up.
pub(crate) fn attach(
    servald: &Servald,
    port: Option<Port>,
    streams: msp::Config,
) -> Result<Runtime, Failure> {
    let directory = place(servald);
    let instance = instance(&directory)?;
    let directory = directory.display();
    if !is_daemon_running(&instance) {
        let message = format!(
            "no Serval daemon runs in {directory}; start it, name another with --servald=DIR, or leave out --servald"
        );
        if port.is_none() {
            return Err(Failure::new(Status::Unreachable, message));
        }
        log::warn!("{message}; waiting for it");
    }
    Runtime::attach(&instance, port, streams).map_err(|error| {
        let message = match (error.kind(), port) {
            (ErrorKind::AddrInUse, Some(port)) => {
                format!("MDP port {port}: another msp listens on it through the daemon in {directory}")
            }
            _ => format!("cannot make a socket for the daemon in {directory}: {}", describe(&error)),
        };
        Failure::new(Status::CannotBind, message)
    })
}

/// The directory of the daemon.
pub(crate) fn place(servald: &Servald) -> PathBuf {
    match servald {
        Servald::At(directory) => directory.clone(),
        Servald::Usual => usual(),
    }
}

/// What the daemon in a directory knows, if one runs there. A node of ours is no daemon: it answers by itself.
pub(crate) fn ask(directory: &Path, question: Question) -> Option<(usize, String)> {
    let instance = instance(directory).ok().filter(is_daemon_running)?;
    let answer = ask_daemon(&instance, directory, question);
    answer.inspect_err(|error| log::warn!("the daemon in {}: {error}", directory.display())).ok()
}

/// Whether a daemon runs where daemons are.
pub(crate) fn is_running() -> bool {
    runs_in(&usual())
}

/// The directory that the environment names, else the first of the usual ones where there is what is looked for,
/// else the first.
pub(crate) fn directory(is_there: impl Fn(&Path) -> bool) -> PathBuf {
    if let Some(directory) = std::env::var_os(Instance::VARIABLE).filter(|value| !value.is_empty()) {
        return directory.into();
    }
    let [first, second] = Instance::DEFAULT_PATHS.map(Path::new);
    if !is_there(first) && is_there(second) { second.into() } else { first.into() }
}

fn usual() -> PathBuf {
    directory(runs_in)
}

fn runs_in(directory: &Path) -> bool {
    instance(directory).is_ok_and(|instance| is_daemon_running(&instance))
}

fn instance(directory: &Path) -> Result<Instance, Failure> {
    Instance::new(directory.as_os_str().as_bytes())
        .map_err(|error| Failure::new(Status::Usage, format_args!("{}: {error}", directory.display())))
}

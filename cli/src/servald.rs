//! The daemon that runs on this machine, as the options want it.

use crate::args::Servald;
use crate::failure::{Failure, Status, describe};
use msp_core::Port;
use msp_core::mdp::Instance;
use msp_mio::Runtime;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A client of the daemon. One that listens on `port` waits for a daemon that is not there; others give up.
pub(crate) fn attach(servald: &Servald, port: Option<Port>) -> Result<Runtime, Failure> {
    let (instance, directory) = match servald {
        Servald::At(directory) => (instance(directory)?, directory.display().to_string()),
        Servald::Usual => usual()?,
    };
    let runtime = Runtime::attach(&instance, port).map_err(|error| {
        let message = match (error.kind(), port) {
            (ErrorKind::AddrInUse, Some(port)) => {
                format!("MDP port {port}: another msp listens on it through the daemon in {directory}")
            }
            _ => format!("cannot make a socket for the daemon in {directory}: {}", describe(&error)),
        };
        Failure::new(Status::CannotBind, message)
    })?;
    if !runtime.is_daemon_there() {
        let message = format!(
            "no Serval daemon runs in {directory}; start it, name another with --servald=DIR, or leave out --servald"
        );
        if port.is_none() {
            return Err(Failure::new(Status::Unreachable, message));
        }
        log::warn!("{message}; waiting for it");
    }
    Ok(runtime)
}

/// Whether a daemon runs where daemons are.
pub(crate) fn is_running() -> bool {
    usual().is_ok_and(|(instance, _)| is_there(&instance))
}

fn is_there(instance: &Instance) -> bool {
    Runtime::attach(instance, None).is_ok_and(|runtime| runtime.is_daemon_there())
}

/// The instance that is named in the environment, else of the usual ones the first that runs.
fn usual() -> Result<(Instance, String), Failure> {
    if let Some(directory) = std::env::var_os(Instance::VARIABLE).filter(|value| !value.is_empty()) {
        let directory = Path::new(&directory);
        return Ok((instance(directory)?, directory.display().to_string()));
    }
    let [first, second] = Instance::DEFAULT_PATHS;
    let directory = if is_there(&instance(Path::new(second))?) { second } else { first };
    Ok((instance(Path::new(directory))?, directory.to_owned()))
}

fn instance(directory: &Path) -> Result<Instance, Failure> {
    Instance::new(directory.as_os_str().as_bytes())
        .map_err(|error| Failure::new(Status::Usage, format_args!("{}: {error}", directory.display())))
}

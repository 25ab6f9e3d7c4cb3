//! `msp connect`

use crate::args::{self, Options, Remote};
use crate::failure::{Failure, Status, check, describe};
use crate::limits;
use crate::logger::say;
use crate::node::{Node, bind_client};
use crate::see;
use msp_core::Addr;
use msp_core::mdp::{FindConfig, FindEvent, ParseServiceError, ServiceName, Wanted};
use msp_core::tunnel::Outcome;
use msp_mio::{Runtime, Source};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::ControlFlow;
use std::time::Duration;

/// How long to look for a service.
const SEARCH_TIME: Duration = Duration::from_secs(10);

pub(crate) fn run(command: args::Connect, options: &Options) -> Result<(), Failure> {
    let source = match &command.forward {
        Some(forward) => {
            let listener = listen(&forward.resolve(command.bind.unwrap_or(Ipv4Addr::LOCALHOST.into()))?)?;
            Source::Tcp(listener)
        }
        None => Source::Stdio,
    };
    let (mut config, streams) = limits::settings(&command.limits);
    config.once = command.once;
    let host = match &command.remote {
        Remote::Port(far_end, _) => far_end.host.as_ref(),
        Remote::Service(..) => None,
    };
    let once = command.once || matches!(source, Source::Stdio);
    let Node { runtime, through, _lock } = bind_client(options, host, streams)?;
    limits::log(&command.limits);
    let (remote, runtime) = match command.remote {
        Remote::Port(far_end, port) => (Addr::new(far_end.sid, port), runtime),
        Remote::Service(name, wanted) => match find(&name, wanted, runtime)? {
            Some(found) => found,
            None => return check(Outcome::Interrupted, once, format_args!("service '{name}'")),
        },
    };
    let local = match &source {
        Source::Tcp(listener) => Some(listener.local_addr()?),
        _ => None,
    };
    let tunnel = runtime.connect(remote, source, config)?.name_limits(limits::option);
    // Whoever reads that it is there may ask it at once.
    let tunnel = see::answer(tunnel, format!("connect {remote}"), through.directory(), options)?;
    if let (Some(local), false) = (local, options.quiet) {
        say(&format!("TCP connections to {local} go to {remote}{through}"));
    }
    check(tunnel.run()?, once, remote)
}

/// A node that says it has the service; `None` if a signal has ended the search.
fn find(name: &ServiceName, wanted: Wanted, runtime: Runtime) -> Result<Option<(Addr, Runtime)>, Failure> {
    let pattern =
        name.as_str().parse().map_err(|error: ParseServiceError| Failure::new(Status::Usage, error))?;
    let mut config = FindConfig::new(pattern);
    config.time = SEARCH_TIME;
    config.wanted = wanted;
    let mut found = None;
    let runtime = runtime.find(config, |event| {
        if let FindEvent::Found { sid, service, .. } = event {
            found = Some(Addr::new(sid, service.port));
        }
        ControlFlow::Continue(())
    })?;
    if runtime.was_stopped() {
        runtime.close()?;
        return Ok(None);
    }
    let Some(remote) = found else {
        runtime.close()?;
        let message = format!("nobody has the service '{name}', or nobody who has it can be reached");
        return Err(Failure::new(Status::Unreachable, message));
    };
    log::info!("service '{name}' is at {remote}");
    Ok(Some((remote, runtime)))
}

fn listen(addresses: &[SocketAddr]) -> Result<TcpListener, Failure> {
    TcpListener::bind(addresses).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "; another program has it: choose another port, or 0 for any free one"
            }
            io::ErrorKind::AddrNotAvailable => "; it is no address of this machine",
            io::ErrorKind::PermissionDenied => "; ports below 1024 are for root",
            _ => "",
        };
        let address = addresses.first().map(ToString::to_string).unwrap_or_default();
        let reason = describe(&error);
        Failure::new(Status::CannotBind, format_args!("cannot listen on TCP {address}: {reason}{hint}"))
    })
}

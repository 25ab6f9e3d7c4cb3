//! `msp listen`

use crate::address::{Forward, reachable_at};
use crate::args::{self, Options};
use crate::failure::{Failure, Status, check};
use crate::limits;
use crate::logger::say;
use crate::node::{Through, bind_server};
use crate::see;
use msp_core::mdp::Service;
use msp_core::tunnel::TunnelEvent;
use msp_mio::Target;
use std::net::{Ipv4Addr, SocketAddr};

pub(crate) fn run(command: args::Listen, options: &Options) -> Result<(), Failure> {
    let target = match &command.forward {
        Some(forward) => Target::Tcp(target(forward)?),
        None => Target::Stdio,
    };
    let (mut config, streams) = limits::settings(&command.limits);
    config.once = command.once;
    let mut node = bind_server(options, command.port, streams)?;
    if let Some(name) = command.service {
        node.runtime.set_service(Service { name, port: command.port });
    }
    limits::log(&command.limits);
    let local = node.runtime.local_addrs();
    let once = command.once || target == Target::Stdio;
    let tunnel = node.runtime.listen(command.port, target, config)?.name_limits(limits::option);
    let about = format!("listen {}", command.port);
    let through = &node.through;
    let outcome = see::answer(tunnel, about, through.directory(), options)?.run_with(|event| {
        let TunnelEvent::Listening { sid, port } = event else { return };
        if options.quiet {
            return;
        }
        say(&format!("listening on MDP port {port}{through}; at the other end run"));
        for address in local.iter().copied().flat_map(reachable_at) {
            say(&format!("    msp connect {sid}@{address} {port}"));
        }
        if local.is_empty() {
            let option = if matches!(through, Through::Daemon(_)) { "--servald " } else { "" };
            say(&format!("    msp connect {option}{sid} {port}"));
        }
    })?;
    check(outcome, once, format_args!("MDP port {}", command.port))
}

fn target(forward: &Forward) -> Result<Vec<SocketAddr>, Failure> {
    let addresses = forward.resolve(Ipv4Addr::LOCALHOST.into())?;
    if addresses.iter().any(|address| address.port() == 0) {
        let message = "--forward: nothing can be reached at TCP port 0; see msp --help";
        return Err(Failure::new(Status::Usage, message));
    }
    Ok(addresses)
}

//! `msp connect`

use crate::args::{self, Options};
use crate::failure::{Failure, Status, check, describe};
use crate::limits;
use crate::logger::say;
use crate::node::bind_client;
use msp_core::Addr;
use msp_mio::Source;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

pub(crate) fn run(command: args::Connect, options: &Options) -> Result<(), Failure> {
    let remote = Addr::new(command.far_end.sid, command.port);
    let source = match &command.forward {
        Some(forward) => {
            let listener = listen(&forward.resolve(command.bind.unwrap_or(Ipv4Addr::LOCALHOST.into()))?)?;
            if !options.quiet {
                say(&format!("TCP connections to {} go to {remote}", listener.local_addr()?));
            }
            Source::Tcp(listener)
        }
        None => Source::Stdio,
    };
    let (mut config, streams) = limits::settings(&command.limits);
    config.once = command.once;
    let mut node = bind_client(options, command.far_end.host.as_ref())?;
    node.runtime.set_streams(streams);
    limits::log(&command.limits);
    let once = command.once || matches!(source, Source::Stdio);
    check(node.runtime.connect(remote, source, config)?.name_limits(limits::option).run()?, once, remote)
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

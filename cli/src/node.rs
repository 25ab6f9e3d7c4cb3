//! What is below, as the options want it: a node of our own, or a daemon.

use crate::address::HostPort;
use crate::args::Options;
use crate::failure::{Failure, Status, describe};
use crate::identity::{Claim, Claimed, claim};
use crate::servald;
use msp_core::{Identity, Port, msp};
use msp_mio::{BindError, Config, Runtime};
use std::fs::File;
use std::io::ErrorKind;
use std::net::SocketAddr;

/// What ends on signals, and the lock on its identity if it has one.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) runtime: Runtime,
    _lock: Option<File>,
}

/// The node of a program that offers something at `port`: with its own identity and UDP port, or not at all.
pub(crate) fn bind_server(options: &Options, port: Port, streams: msp::Config) -> Result<Node, Failure> {
    if let Some(servald) = &options.servald {
        return finish(servald::attach(servald, Some(port), streams)?, None);
    }
    let config = config(options, None, streams)?;
    let Claimed { identity, lock } = claim(options.identity.as_deref(), Claim::Needed)?;
    let runtime = Runtime::bind(identity, &config).map_err(|error| in_use(&error))?;
    finish(runtime, lock)
}

/// The node of a program that asks for something, maybe of a node at `host`. If another program has the
/// usual identity and port, others will do, so that any number of them run beside each other.
pub(crate) fn bind_client(
    options: &Options,
    host: Option<&HostPort>,
    streams: msp::Config,
) -> Result<Node, Failure> {
    if let Some(servald) = &options.servald {
        if let Some(host) = host {
            let message = format!("with --servald, the daemon knows where nodes are: leave out @{host}");
            return Err(Failure::new(Status::Usage, message));
        }
        return finish(servald::attach(servald, None, streams)?, None);
    }
    let mut config = config(options, host, streams)?;
    let need = if options.identity.is_some() { Claim::Needed } else { Claim::Wanted };
    let Claimed { identity, lock } = claim(options.identity.as_deref(), need)?;
    let runtime = match Runtime::bind(Identity::from_seed(*identity.seed()), &config) {
        Err(error) if error.source.kind() == ErrorKind::AddrInUse && options.udp.is_none() => {
            config.udp.set_port(0);
            let runtime = Runtime::bind(identity, &config);
            runtime.inspect(|_| log::info!("{error}; going on at any free one"))
        }
        result => result,
    };
    finish(runtime.map_err(|error| in_use(&error))?, lock)
}

fn finish(mut runtime: Runtime, lock: Option<File>) -> Result<Node, Failure> {
    runtime.stop_on_signals()?;
    if let (Some(sid), Some(address)) = (runtime.sid(), runtime.local_addr()) {
        log::info!("node {sid} at UDP {address}");
    }
    Ok(Node { runtime, _lock: lock })
}

fn config(options: &Options, host: Option<&HostPort>, streams: msp::Config) -> Result<Config, Failure> {
    let mut config = Config::default();
    config.streams = streams;
    config.udp = options.udp.unwrap_or(config.udp);
    config.broadcast = !options.no_broadcast;
    for peer in options.peers.iter().chain(host) {
        config.peers.push(resolve_peer(peer, config.udp)?);
    }
    Ok(config)
}

/// The first address of a peer that a socket bound to `local` can reach.
fn resolve_peer(peer: &HostPort, local: SocketAddr) -> Result<SocketAddr, Failure> {
    let found = peer.resolve()?;
    found.into_iter().find(|address| address.is_ipv4() == local.is_ipv4()).ok_or_else(|| {
        let (version, other) = if local.is_ipv4() { (4, "[::]:4110") } else { (6, "0.0.0.0:4110") };
        Failure::new(
            Status::Unreachable,
            format_args!("the host of {peer} has no IPv{version} address; try --udp={other}"),
        )
    })
}

fn in_use(error: &BindError) -> Failure {
    let hint = match error.source.kind() {
        ErrorKind::AddrInUse if servald::is_running() => {
            "; a Serval daemon runs here: add --servald to go through it, or choose a port, such as \
             --udp=0.0.0.0:0 for any free one"
        }
        ErrorKind::AddrInUse => {
            "; another msp or a Serval daemon has it: end that one, or choose a port, such as --udp=0.0.0.0:0 \
             for any free one"
        }
        ErrorKind::AddrNotAvailable => "; it is no address of this machine",
        ErrorKind::PermissionDenied => "; ports below 1024 are for root",
        _ => "",
    };
    let reason = describe(&error.source);
    Failure::new(
        Status::CannotBind,
        format_args!("cannot bind UDP address {}: {reason}{hint}", error.address),
    )
}

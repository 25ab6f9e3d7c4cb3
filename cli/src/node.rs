//! What is below, as the options want it: a node of our own, one that runs here for all, or a daemon.

use crate::address::HostPort;
use crate::args::Options;
use crate::failure::{Failure, Status, describe};
use crate::identity::{Claim, Claimed, claim};
use crate::servald;
use msp_core::{Identity, Port, msp};
use msp_mio::{BindError, Config, RunDirectory, Runtime, is_node_running};
use std::fmt::{self, Display};
use std::fs::File;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What ends on signals, and the lock on its identity if it has one.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) runtime: Runtime,
    /// The directory of the daemon or of the node that it goes through.
    pub(crate) through: Through,
    pub(crate) _lock: Option<File>,
}

/// Through what packets go.
#[derive(Debug)]
pub(crate) enum Through {
    /// Its own UDP socket.
    Own,
    /// The `msp node` in this directory.
    Node(PathBuf),
    /// The Serval daemon in this directory.
    Daemon(PathBuf),
}

impl Through {
    /// The directory of what knows more of the mesh.
    pub(crate) fn directory(&self) -> Option<PathBuf> {
        match self {
            Self::Own => None,
            Self::Node(directory) | Self::Daemon(directory) => Some(directory.clone()),
        }
    }
}

/// For lines that say where something is.
impl Display for Through {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => Ok(()),
            Self::Node(directory) => write!(f, " through the node in {}", directory.display()),
            Self::Daemon(directory) => write!(f, " through the daemon in {}", directory.display()),
        }
    }
}

/// A node of its own, with its own identity and UDP port, or not at all.
pub(crate) fn bind_own(options: &Options, streams: msp::Config) -> Result<Node, Failure> {
    let config = config(options, None, streams)?;
    let Claimed { identity, lock } = claim(options.identity.as_deref(), Claim::Needed)?;
    let runtime = Runtime::bind(identity, &config).map_err(|error| in_use(options, &error))?;
    finish(runtime, Through::Own, lock)
}

/// The node of a program that offers something at `port`.
pub(crate) fn bind_server(options: &Options, port: Port, streams: msp::Config) -> Result<Node, Failure> {
    match shared(options, None, Some(port), &streams)? {
        Some(node) => Ok(node),
        None => bind_own(options, streams),
    }
}

/// The node of a program that asks for something, maybe of a node at `host`. If another program has the
/// usual identity and port, others will do, so that any number of them run beside each other.
pub(crate) fn bind_client(
    options: &Options,
    host: Option<&HostPort>,
    streams: msp::Config,
) -> Result<Node, Failure> {
    if let Some(node) = shared(options, host, None, &streams)? {
        return Ok(node);
    }
    let mut config = config(options, host, streams)?;
    let need = if options.identity.is_some() { Claim::Needed } else { Claim::Wanted };
    let Claimed { identity, lock } = claim(options.identity.as_deref(), need)?;
    let runtime = match Runtime::bind(Identity::from_seed(*identity.seed()), &config) {
        Err(error) if error.source.kind() == ErrorKind::AddrInUse && options.udp.is_empty() => {
            config.udp.set_port(0);
            let runtime = Runtime::bind(identity, &config);
            runtime.inspect(|_| log::info!("{error}; going on at any free one"))
        }
        result => result,
    };
    finish(runtime.map_err(|error| in_use(options, &error))?, Through::Own, lock)
}

/// What runs here already and is to be used: the daemon that the options name, or a node if they want none of our own.
fn shared(
    options: &Options,
    host: Option<&HostPort>,
    port: Option<Port>,
    streams: &msp::Config,
) -> Result<Option<Node>, Failure> {
    if let Some(servald) = &options.servald {
        if let Some(host) = host {
            let message = format!("with --servald, the daemon knows where nodes are: leave out @{host}");
            return Err(Failure::new(Status::Usage, message));
        }
        let directory = servald::place(servald);
        let runtime = servald::attach(servald, port, streams.clone())?;
        return finish(runtime, Through::Daemon(directory), None).map(Some);
    }
    if wants_own(options) || host.is_some() {
        return Ok(None);
    }
    let Some(directory) = running(options) else { return Ok(None) };
    let place = directory.path().to_owned();
    let runtime = Runtime::attach_to_node(&directory, port, streams.clone()).map_err(|error| {
        let message = match (error.kind(), port) {
            (ErrorKind::AddrInUse, Some(port)) => {
                format!("MDP port {port}: another msp listens on it through the node in {}", place.display())
            }
            _ => format!("cannot make a socket for the node in {}: {}", place.display(), describe(&error)),
        };
        Failure::new(Status::CannotBind, message)
    })?;
    finish(runtime, Through::Node(place), None).map(Some)
}

/// Whether options say what only a node of our own can be.
const fn wants_own(options: &Options) -> bool {
    !options.udp.is_empty() || !options.peers.is_empty() || options.no_broadcast || options.identity.is_some()
}

/// Where a node runs that others can use.
fn running(options: &Options) -> Option<RunDirectory> {
    match RunDirectory::find(options.run.as_deref()) {
        Ok(directory) => directory.filter(is_node_running),
        Err(error) => {
            log::warn!("if a node runs here, it is not used: {error}");
            None
        }
    }
}

fn finish(mut runtime: Runtime, through: Through, lock: Option<File>) -> Result<Node, Failure> {
    runtime.stop_on_signals()?;
    match (&through, runtime.sid()) {
        (Through::Own, Some(sid)) => {
            runtime.local_addrs().iter().for_each(|address| log::info!("node {sid} at UDP {address}"));
        }
        _ => log::info!("going on{through}"),
    }
    Ok(Node { runtime, through, _lock: lock })
}

fn config(options: &Options, host: Option<&HostPort>, streams: msp::Config) -> Result<Config, Failure> {
    let mut config = Config::default();
    config.streams = streams;
    if let Some((first, more)) = options.udp.split_first() {
        config.udp = *first;
        config.more_udp = more.to_vec();
    }
    config.broadcast = !options.no_broadcast;
    for peer in options.peers.iter().chain(host) {
        let peer = resolve_peer(peer, &config)?;
        config.peers.push(peer);
    }
    Ok(config)
}

/// The first address of a peer that an interface can reach.
fn resolve_peer(peer: &HostPort, config: &Config) -> Result<SocketAddr, Failure> {
    let fits = |address: &SocketAddr| {
        std::iter::once(&config.udp).chain(&config.more_udp).any(|udp| udp.is_ipv4() == address.is_ipv4())
    };
    peer.resolve()?.into_iter().find(fits).ok_or_else(|| {
        let (version, other) = if config.udp.is_ipv4() { (4, "[::]:4110") } else { (6, "0.0.0.0:4110") };
        Failure::new(
            Status::Unreachable,
            format_args!("the host of {peer} has no IPv{version} address; try --udp={other}"),
        )
    })
}

fn in_use(options: &Options, error: &BindError) -> Failure {
    let hint = match error.source.kind() {
        ErrorKind::AddrInUse if running(options).is_some() => {
            "; an `msp node` runs here: leave out --udp, --peer, --no-broadcast and --identity to go through it, or choose a \
             port, such as --udp=0.0.0.0:0 for any free one"
        }
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

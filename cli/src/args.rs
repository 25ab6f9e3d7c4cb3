//! The command line.

use crate::address::{FarEnd, Forward, HostPort};
use crate::failure::{Failure, Status};
use clap::error::ErrorKind;
use clap::{ArgAction, Parser, Subcommand};
use msp_core::Port;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

const STATUSES: &str = "\
Exit status:
  0  done; a tunnel without --once also when a signal ends it
  1  a connection failed before its end
  2  wrong usage
  3  a UDP or TCP port cannot be bound
  4  the peer cannot be reached, or a host name cannot be found
  5  the far end refused
  6  trouble with the identity file

SIGINT, SIGTERM and SIGHUP end every connection properly; a second one ends the program at once.";

const IDENTITY: &str = "\
The identity file holds the secret key of this node. It is made on first use, readable by its owner \
only: $XDG_CONFIG_HOME/msp/identity or ~/.config/msp/identity, unless MSP_IDENTITY or --identity names \
another.

Only one program at a time can use an identity, since its address leads to one place. If another has \
it, `connect` and `ping` go on with one that lives as long as they do, unless --identity was given. In \
the same way they take any free UDP port if 4110 is taken, unless --udp was given; then only broadcasts \
of neighbours are missed, so name the far end as SID@HOST:PORT.";

/// Carries TCP over bad wireless links, encrypted, through the Serval mesh protocols
#[derive(Debug, Parser)]
#[command(name = "msp", version, after_help = STATUSES, disable_help_subcommand = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) options: Options,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Node")]
pub(crate) struct Options {
    /// UDP address of this node [default: 0.0.0.0:4110]
    #[arg(long, global = true, value_name = "ADDR:PORT")]
    pub(crate) udp: Option<SocketAddr>,
    /// Node to reach by unicast; may be given several times
    #[arg(long = "peer", global = true, value_name = "HOST:PORT")]
    pub(crate) peers: Vec<HostPort>,
    /// Look for no neighbours by broadcast
    #[arg(long, global = true)]
    pub(crate) no_broadcast: bool,
    /// Secret key of this node [default: see --help]
    #[arg(long, global = true, value_name = "FILE", long_help = IDENTITY)]
    pub(crate) identity: Option<PathBuf>,
    /// Tell what happens; twice for more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Tell nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Listen(Listen),
    Connect(Connect),
    Id(Id),
    Ping(Ping),
    Demo(Demo),
}

/// Let peers connect to an MDP port of this node
#[derive(Debug, clap::Args)]
#[command(after_help = STATUSES)]
pub(crate) struct Listen {
    /// End with the first connection
    #[arg(long)]
    pub(crate) once: bool,
    /// Connect each peer to this TCP port, instead of the first to standard input and output
    #[arg(long, value_name = "PORT|HOST:PORT")]
    pub(crate) forward: Option<Forward>,
    /// Announce the port under this name (not available yet)
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// MDP port, 0 to 2147483647
    #[arg(value_name = "MDPPORT")]
    pub(crate) port: Port,
}

/// Connect to an MDP port of another node
#[derive(Debug, clap::Args)]
#[command(after_help = STATUSES)]
pub(crate) struct Connect {
    /// End with the first connection
    #[arg(long)]
    pub(crate) once: bool,
    /// Take TCP connections at this port, instead of standard input and output; 0 for any free port
    #[arg(long, value_name = "PORT|HOST:PORT")]
    pub(crate) forward: Option<Forward>,
    /// Address at which a bare port of --forward is opened [default: 127.0.0.1]
    #[arg(long, value_name = "ADDR", requires = "forward")]
    pub(crate) bind: Option<IpAddr>,
    /// Address of the far end on the mesh, and where it can be reached by UDP
    #[arg(value_name = "SID[@HOST:PORT]")]
    pub(crate) far_end: FarEnd,
    /// MDP port, 0 to 2147483647
    #[arg(value_name = "MDPPORT")]
    pub(crate) port: Port,
}

/// Print the address (SID) of this node
#[derive(Debug, clap::Args)]
#[command(after_help = STATUSES)]
pub(crate) struct Id {
    /// Make a new identity; the one before is kept beside it
    #[arg(long)]
    pub(crate) new: bool,
}

/// Ask a node for echoes
#[derive(Debug, clap::Args)]
#[command(after_help = STATUSES)]
pub(crate) struct Ping {
    /// Echoes to ask for
    #[arg(long, short, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: u32,
    /// Address of the node on the mesh, and where it can be reached by UDP
    #[arg(value_name = "SID[@HOST:PORT]")]
    pub(crate) far_end: FarEnd,
}

/// Fetch a file from a web server through a link that loses packets, all in this process
#[derive(Debug, clap::Args)]
#[command(after_help = STATUSES)]
pub(crate) struct Demo {
    /// Packets of 100 that the link loses
    #[arg(long, default_value_t = 10, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(..=50))]
    pub(crate) loss: u8,
    /// Size of the file
    #[arg(long, default_value_t = 4, value_name = "MB", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) size: u32,
    /// Start of the random numbers that choose the packets
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
}

/// The arguments of this process; `None` if it was asked for help only, which was given.
pub(crate) fn parse() -> Result<Option<Args>, Failure> {
    match Args::try_parse() {
        Ok(args) => Ok(Some(args)),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            write!(io::stdout(), "{}", error.render())?;
            Ok(None)
        }
        Err(error) => Err(Failure::new(Status::Usage, one_line(&error))),
    }
}

/// The error without the usage that follows it.
fn one_line(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "a command is needed: listen, connect, id, ping or demo; see msp --help".to_owned();
    }
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or(&text).trim_start_matches("error: ");
    let words: Vec<&str> = first.split_whitespace().collect();
    format!("{}; see msp --help", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}

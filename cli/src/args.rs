//! The command line.

use crate::address::{FarEnd, Forward, HostPort};
use crate::failure::{Failure, Status};
use crate::help::{IDENTITY, KEYRING, NODE, PINS, RUN, SEEN, SERVALD, STATUSES};
use crate::limits::MAX_THROUGH_DAEMON;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use msp_core::Port;
use msp_core::mdp::{ServiceName, ServicePattern, Wanted};
use msp_sockets::{Topic, escape};
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;

const FAR_END: &str = "SID[@HOST:PORT]";
const CONNECTIONS: RangeInclusive<u32> = 1..=10_000;
const MEGABYTES: RangeInclusive<u32> = 1..=1000;

/// What is to be done, and how.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) command: Command,
    pub(crate) options: Options,
}

/// Options that every command takes.
#[derive(Debug)]
pub(crate) struct Options {
    /// The first is the main one.
    pub(crate) udp: Vec<SocketAddr>,
    pub(crate) peers: Vec<HostPort>,
    pub(crate) no_broadcast: bool,
    pub(crate) identity: Option<PathBuf>,
    pub(crate) servald: Option<Servald>,
    pub(crate) run: Option<PathBuf>,
    pub(crate) verbose: u8,
    pub(crate) quiet: bool,
}

/// The daemon that carries everything, in place of a node of our own.
#[derive(Debug)]
pub(crate) enum Servald {
    /// Where daemons are when nothing else is said.
    Usual,
    /// The instance in this directory.
    At(PathBuf),
}

#[derive(Debug)]
pub(crate) enum Command {
    Listen(Listen),
    Connect(Connect),
    Find(Find),
    Id(Id),
    Node,
    Ping(Ping),
    Trace(Trace),
    See(See),
    Demo(Demo),
}

#[derive(Debug)]
pub(crate) struct Listen {
    pub(crate) once: bool,
    pub(crate) forward: Option<Forward>,
    pub(crate) service: Option<ServiceName>,
    pub(crate) limits: Limits,
    pub(crate) port: Port,
}

#[derive(Debug)]
pub(crate) struct Connect {
    pub(crate) once: bool,
    pub(crate) forward: Option<Forward>,
    pub(crate) bind: Option<IpAddr>,
    pub(crate) limits: Limits,
    pub(crate) remote: Remote,
}

/// What to connect to.
#[derive(Debug)]
pub(crate) enum Remote {
    Port(FarEnd, Port),
    /// One that says it has this, chosen like this.
    Service(ServiceName, Wanted),
}

#[derive(Debug)]
pub(crate) struct Find {
    pub(crate) pattern: Option<ServicePattern>,
    pub(crate) time: u32,
    pub(crate) json: bool,
}

/// What peers may take. Those that open no streams here have no use for some of it.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) connections: u32,
    pub(crate) per_peer: u32,
    pub(crate) rate: u32,
    pub(crate) memory: u32,
}

#[derive(Debug)]
pub(crate) struct Id {
    pub(crate) new: bool,
    pub(crate) import: Option<Import>,
}

/// An identity from the keyring of a daemon.
#[derive(Debug)]
pub(crate) struct Import {
    /// `None`: where daemons have it.
    pub(crate) keyring: Option<PathBuf>,
    /// Whether there are PINs to ask for.
    pub(crate) pins: bool,
    /// How the address begins.
    pub(crate) sid: String,
}

#[derive(Debug)]
pub(crate) struct Ping {
    pub(crate) count: u32,
    pub(crate) json: bool,
    pub(crate) far_end: FarEnd,
}

#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) json: bool,
    pub(crate) far_end: FarEnd,
}

/// What programs that run here are asked.
#[derive(Debug)]
pub(crate) struct See {
    pub(crate) topic: Topic,
    pub(crate) json: bool,
    /// Seconds from one look to the next, if there is to be more than one.
    pub(crate) watch: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct Demo {
    pub(crate) loss: u8,
    pub(crate) size: u32,
    pub(crate) seed: Option<u64>,
}

/// The arguments of this process; `None` if it was asked for help only, which was given.
pub(crate) fn parse() -> Result<Option<Args>, Failure> {
    match definition().try_get_matches() {
        Ok(matches) => read(&matches).map(Some),
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            write!(io::stdout(), "{}", error.render())?;
            Ok(None)
        }
        Err(error) => Err(Failure::new(Status::Usage, one_line(&error))),
    }
}

fn definition() -> clap::Command {
    let once = || flag("once", "End with the first connection");
    let forward = |help| option("forward", "PORT|HOST:PORT", help);
    let port = || positional("MDPPORT", "MDP port, 0 to 2147483647");
    let connections = || option("max-connections", "N", "Connections at once; 1000 at most through a daemon");
    let memory = || {
        option("max-memory", "MB", "Memory for data on its way, of all connections together")
            .default_value("12")
    };
    let far_end = |help| positional(FAR_END, help);
    clap::Command::new("msp")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Carries TCP over bad wireless links, encrypted, through the Serval mesh protocols")
        .after_help(STATUSES)
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .args(node_options().map(|arg| arg.global(true).help_heading("Node")))
        .subcommand(command("listen", "Let peers connect to an MDP port of this node").args([
            once(),
            forward("Connect each peer to this TCP port, instead of the first to standard input and output"),
            option("service", "NAME", "Tell those who look for this name with `msp find` of the port"),
            connections().default_value("256"),
            option("max-per-peer", "N", "Connections of one peer at once").default_value("128"),
            option("max-rate", "N", "New connections of one peer in a second; twice as many of all peers")
                .default_value("100"),
            memory(),
            port(),
        ]))
        .subcommand(command("connect", "Connect to an MDP port of another node").args([
            once(),
            forward(
                "Take TCP connections at this port, instead of standard input and output; 0 for any free port",
            ),
            option("bind", "ADDR", "Address at which a bare port of --forward is opened [default: 127.0.0.1]")
                .requires("forward"),
            connections().default_value("128"),
            memory(),
            option("service", "NAME", "Connect to a node that has this service, instead of SID and port")
                .conflicts_with_all([FAR_END, "MDPPORT"]),
            option("prefer", "first|nearest", "Of several, the first to answer, or the one with the shortest round trip")
                .conflicts_with_all([FAR_END, "MDPPORT"]),
            far_end("Address of the far end on the mesh, and where it can be reached by UDP")
                .required(false)
                .required_unless_present("service"),
            port().required(false).required_unless_present("service"),
        ]))
        .subcommand(command("find", "Look for services on the mesh, and tell where they are").args([
            option("time", "SECONDS", "How long to look").default_value("3"),
            flag("json", "Tell each as a JSON object on a line of its own"),
            positional("NAME", "Name of the services, with * and ? for others [default: *]").required(false),
        ]))
        .subcommand(
            command("id", "Print the address (SID) of this node").args([
                flag("new", "Make a new identity; the one before is kept beside it"),
                option("import-servald", "FILE", "Take the identity from a Serval keyring")
                    .long_help(KEYRING)
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value(""),
                flag("pin", "Ask for the PINs of the keyring").long_help(PINS).requires("import-servald"),
                option("sid", "PREFIX", "Take the identity whose SID begins like this, if there are several")
                    .requires("import-servald"),
            ]),
        )
        .subcommand(command("node", "Relay for others, and let the programs that run here share this node").long_about(NODE))
        .subcommand(command("ping", "Ask a node for echoes").args([
            option("count", "N", "Echoes to ask for").short('c').default_value("5"),
            flag("json", "Tell each as a JSON object on a line of its own"),
            far_end("Address of the node on the mesh, and where it can be reached by UDP"),
        ]))
        .subcommand(command("trace", "Show which nodes lie on the way to a node and back").args([
            flag("json", "Tell each as a JSON object on a line of its own"),
            far_end("Address of the node on the mesh, and where it can be reached by UDP"),
        ]))
        .subcommand(see("peers", "Show the neighbours of the nodes that run here"))
        .subcommand(see("routes", "Show which nodes can be reached from here, and how"))
        .subcommand(see("status", "Show the connections of the programs that run here"))
        .subcommand(
            command("demo", "Fetch a file from a web server through a link that loses packets, all in this process")
                .args([
                    option("loss", "PERCENT", "Packets of 100 that the link loses").default_value("10"),
                    option("size", "MB", "Size of the file").default_value("4"),
                    option("seed", "NUMBER", "Start of the random numbers that choose the packets"),
                ]),
        )
}

fn node_options() -> [Arg; 8] {
    [
        option(
            "udp",
            "ADDR:PORT",
            "UDP address of this node, one for each interface if there are several [default: 0.0.0.0:4110]",
        )
        .action(ArgAction::Append),
        option("peer", "HOST:PORT", "Node to reach by unicast; may be given several times")
            .action(ArgAction::Append),
        flag("no-broadcast", "Look for no neighbours by broadcast"),
        option("identity", "FILE", "Secret key of this node [default: see --help]").long_help(IDENTITY),
        option("servald", "DIR", "Go through a Serval daemon that runs on this machine")
            .long_help(SERVALD)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("")
            .conflicts_with_all(["udp", "peer", "no-broadcast", "identity"]),
        option("run", "DIR", "Directory of the programs that run here [default: see --help]").long_help(RUN),
        flag("verbose", "Tell what happens; twice for more").short('v').action(ArgAction::Count),
        flag("quiet", "Tell nothing but errors").short('q').conflicts_with("verbose"),
    ]
}

fn command(name: &'static str, about: &'static str) -> clap::Command {
    clap::Command::new(name).about(about).after_help(STATUSES)
}

fn see(name: &'static str, about: &'static str) -> clap::Command {
    let watch = option("watch", "SECONDS", "Look again all the time, every so many seconds [default: 2]")
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("2");
    clap::Command::new(name)
        .about(about)
        .after_help(SEEN)
        .args([flag("json", "Tell each as a JSON object on a line of its own"), watch])
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).help(help).action(ArgAction::SetTrue)
}

/// All values are texts to clap: its typed parsers make the program larger for each type.
fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help).value_parser(value_parser!(OsString))
}

fn positional(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).value_name(name).help(help).required(true).value_parser(value_parser!(OsString))
}

fn read(matches: &ArgMatches) -> Result<Args, Failure> {
    let Some((name, given)) = matches.subcommand() else { return Err(usage(NO_COMMAND)) };
    let command = match name {
        "listen" => Command::Listen(Listen {
            once: given.get_flag("once"),
            forward: value(given, "forward")?,
            service: value(given, "service")?,
            limits: Limits {
                connections: number(given, "max-connections", CONNECTIONS)?,
                per_peer: number(given, "max-per-peer", CONNECTIONS)?,
                rate: number(given, "max-rate", 1..=1_000_000)?,
                memory: number(given, "max-memory", MEGABYTES)?,
            },
            port: required(given, "MDPPORT")?,
        }),
        "connect" => Command::Connect(Connect {
            once: given.get_flag("once"),
            forward: value(given, "forward")?,
            bind: value(given, "bind")?,
            limits: Limits {
                connections: number(given, "max-connections", CONNECTIONS)?,
                per_peer: u32::MAX,
                rate: u32::MAX,
                memory: number(given, "max-memory", MEGABYTES)?,
            },
            remote: match value(given, "service")? {
                Some(name) => Remote::Service(name, preference(given)?),
                None => Remote::Port(required(given, FAR_END)?, required(given, "MDPPORT")?),
            },
        }),
        "find" => Command::Find(Find {
            pattern: value(given, "NAME")?,
            time: number(given, "time", 1..=3600)?,
            json: given.get_flag("json"),
        }),
        "id" => Command::Id(Id { new: given.get_flag("new"), import: import(given)? }),
        "ping" => Command::Ping(Ping {
            count: number(given, "count", 1..=u32::MAX)?,
            json: given.get_flag("json"),
            far_end: required(given, FAR_END)?,
        }),
        "node" => Command::Node,
        "trace" => Command::Trace(Trace { json: given.get_flag("json"), far_end: required(given, FAR_END)? }),
        "peers" => Command::See(see_what(given, Topic::Peers)?),
        "routes" => Command::See(see_what(given, Topic::Routes)?),
        "status" => Command::See(see_what(given, Topic::Status)?),
        _ => Command::Demo(Demo {
            loss: number(given, "loss", 0..=50)? as u8,
            size: number(given, "size", 1..=1000)?,
            seed: value(given, "seed")?,
        }),
    };
    if given.contains_id("servald") {
        check_servald(&command)?;
    }
    let options = Options {
        udp: values(given, "udp")?,
        peers: values(given, "peer")?,
        no_broadcast: given.get_flag("no-broadcast"),
        identity: given.get_one::<OsString>("identity").map(PathBuf::from),
        servald: given.get_one::<OsString>("servald").map(|directory| {
            if directory.is_empty() { Servald::Usual } else { Servald::At(PathBuf::from(directory)) }
        }),
        run: given.get_one::<OsString>("run").map(PathBuf::from),
        verbose: given.get_count("verbose"),
        quiet: given.get_flag("quiet"),
    };
    Ok(Args { command, options })
}

fn see_what(given: &ArgMatches, topic: Topic) -> Result<See, Failure> {
    let watch = given.contains_id("watch").then(|| number(given, "watch", 1..=86_400)).transpose()?;
    Ok(See { topic, json: given.get_flag("json"), watch })
}

/// What cannot go through a daemon.
fn check_servald(command: &Command) -> Result<(), Failure> {
    let connections = match command {
        Command::Demo(_) => {
            return Err(usage(
                "demo has two nodes of its own and goes through no daemon: leave out --servald",
            ));
        }
        Command::Node => return Err(usage("node is one of its own: leave out --servald")),
        Command::Listen(Listen { limits, .. }) | Command::Connect(Connect { limits, .. }) => {
            limits.connections
        }
        _ => 0,
    };
    if connections <= MAX_THROUGH_DAEMON {
        return Ok(());
    }
    Err(usage(format_args!(
        "--max-connections={connections} is too many for --servald: no more than {MAX_THROUGH_DAEMON} connections at \
         once go through a daemon, which has to know a port for each"
    )))
}

fn preference(given: &ArgMatches) -> Result<Wanted, Failure> {
    match value::<String>(given, "prefer")?.as_deref() {
        None | Some("first") => Ok(Wanted::First),
        Some("nearest") => Ok(Wanted::Nearest),
        Some(other) => {
            Err(usage(format_args!("--prefer takes 'first' or 'nearest', not '{}'", escape(other))))
        }
    }
}

fn import(given: &ArgMatches) -> Result<Option<Import>, Failure> {
    let Some(file) = given.get_one::<OsString>("import-servald") else { return Ok(None) };
    Ok(Some(Import {
        keyring: Some(PathBuf::from(file)).filter(|file| !file.as_os_str().is_empty()),
        pins: given.get_flag("pin"),
        sid: value(given, "sid")?.unwrap_or_default(),
    }))
}

fn value<T: FromStr<Err: Display>>(given: &ArgMatches, name: &str) -> Result<Option<T>, Failure> {
    Ok(values(given, name)?.pop())
}

fn required<T: FromStr<Err: Display>>(given: &ArgMatches, name: &str) -> Result<T, Failure> {
    value(given, name)?.ok_or_else(|| usage(format_args!("{name} is needed")))
}

fn number(given: &ArgMatches, name: &str, range: RangeInclusive<u32>) -> Result<u32, Failure> {
    let number = required(given, name)?;
    if range.contains(&number) {
        return Ok(number);
    }
    Err(usage(format_args!("--{name} takes a number from {} to {}", range.start(), range.end())))
}

fn values<T: FromStr<Err: Display>>(given: &ArgMatches, name: &str) -> Result<Vec<T>, Failure> {
    let dashes = if name.starts_with(|first: char| first.is_ascii_lowercase()) { "--" } else { "" };
    let parse = |text: &OsString| {
        let text = text.to_string_lossy();
        let refuse = |why| usage(format_args!("invalid value '{}' for {dashes}{name}: {why}", escape(&text)));
        text.parse().map_err(refuse)
    };
    given.get_many(name).into_iter().flatten().map(parse).collect()
}

const NO_COMMAND: &str =
    "a command is needed: listen, connect, find, id, node, ping, trace, peers, routes, status or demo";

fn usage(problem: impl Display) -> Failure {
    Failure::new(Status::Usage, format_args!("{problem}; see msp --help"))
}

/// The error without the usage that follows it.
fn one_line(error: &clap::Error) -> String {
    if matches!(
        error.kind(),
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        return usage(NO_COMMAND).message;
    }
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or(&text).trim_start_matches("error: ");
    let words: Vec<&str> = first.split_whitespace().collect();
    usage(words.join(" ")).message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        definition().debug_assert();
    }
}

//! The command line.

use crate::address::{FarEnd, Forward, HostPort};
use crate::failure::{Failure, Status};
use crate::help;
use crate::logger::escape;
use lexopt::{Arg, Parser};
use msp_core::Port;
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// What is to be done, and how.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) command: Command,
    pub(crate) options: Options,
}

/// Options that every command takes.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) udp: Option<SocketAddr>,
    pub(crate) peers: Vec<HostPort>,
    pub(crate) no_broadcast: bool,
    pub(crate) identity: Option<PathBuf>,
    pub(crate) verbose: u8,
    pub(crate) quiet: bool,
}

#[derive(Debug)]
pub(crate) enum Command {
    Listen(Listen),
    Connect(Connect),
    Id(Id),
    Ping(Ping),
    Demo(Demo),
}

#[derive(Debug)]
pub(crate) struct Listen {
    pub(crate) once: bool,
    pub(crate) forward: Option<Forward>,
    pub(crate) service: Option<String>,
    pub(crate) port: Port,
}

#[derive(Debug)]
pub(crate) struct Connect {
    pub(crate) once: bool,
    pub(crate) forward: Option<Forward>,
    pub(crate) bind: Option<IpAddr>,
    pub(crate) far_end: FarEnd,
    pub(crate) port: Port,
}

#[derive(Debug)]
pub(crate) struct Id {
    pub(crate) new: bool,
}

#[derive(Debug)]
pub(crate) struct Ping {
    pub(crate) count: u32,
    pub(crate) far_end: FarEnd,
}

#[derive(Debug)]
pub(crate) struct Demo {
    pub(crate) loss: u8,
    pub(crate) size: u32,
    pub(crate) seed: Option<u64>,
}

/// Options that only some commands take, as they were given.
#[derive(Debug, Default)]
struct Given {
    names: Vec<&'static str>,
    once: bool,
    forward: Option<Forward>,
    service: Option<String>,
    bind: Option<IpAddr>,
    new: bool,
    count: Option<u32>,
    loss: Option<u8>,
    size: Option<u32>,
    seed: Option<u64>,
}

/// The arguments of this process; `None` if it was asked for help only, which was given.
pub(crate) fn parse() -> Result<Option<Args>, Failure> {
    let parsed = read(Parser::from_env()).map_err(|problem| Failure::new(Status::Usage, problem))?;
    match parsed {
        Parsed::Args(args) => Ok(Some(args)),
        Parsed::Text(text) => {
            writeln!(io::stdout(), "{text}")?;
            Ok(None)
        }
    }
}

enum Parsed {
    Args(Args),
    Text(String),
}

fn read(mut parser: Parser) -> Result<Parsed, String> {
    let (mut options, mut given) = (Options::default(), Given::default());
    let (mut words, mut help): (Vec<String>, bool) = (Vec::new(), false);
    while let Some(argument) = parser.next().map_err(|error| with_hint(&error.to_string(), None))? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => help = true,
            Arg::Short('V') | Arg::Long("version") => {
                return Ok(Parsed::Text(concat!("msp ", env!("CARGO_PKG_VERSION")).to_owned()));
            }
            Arg::Short('v') | Arg::Long("verbose") => options.verbose = options.verbose.saturating_add(1),
            Arg::Short('q') | Arg::Long("quiet") => options.quiet = true,
            Arg::Long("udp") => options.udp = Some(value(&mut parser, "--udp=ADDR:PORT")?),
            Arg::Long("peer") => options.peers.push(value(&mut parser, "--peer=HOST:PORT")?),
            Arg::Long("no-broadcast") => options.no_broadcast = true,
            Arg::Long("identity") => options.identity = Some(raw(&mut parser, "--identity=FILE")?.into()),
            Arg::Long("once") => given.once = given.name("--once"),
            Arg::Long("new") => given.new = given.name("--new"),
            Arg::Long("forward") => given.forward = given.value(&mut parser, "--forward=PORT|HOST:PORT")?,
            Arg::Long("service") => given.service = given.value(&mut parser, "--service=NAME")?,
            Arg::Long("bind") => given.bind = given.value(&mut parser, "--bind=ADDR")?,
            Arg::Long("count") => given.count = given.value(&mut parser, "--count=N")?,
            Arg::Long("loss") => given.loss = given.value(&mut parser, "--loss=PERCENT")?,
            Arg::Long("size") => given.size = given.value(&mut parser, "--size=MB")?,
            Arg::Long("seed") => given.seed = given.value(&mut parser, "--seed=NUMBER")?,
            Arg::Value(word) => words.push(text(word)?),
            unknown => return Err(with_hint(&format!("unknown option {}", option_name(&unknown)), None)),
        }
    }
    let mut words = words.into_iter();
    let Some(name) = words.next() else {
        if help {
            return Ok(Parsed::Text(help::general()));
        }
        return Err(with_hint("a command is needed: listen, connect, id, ping or demo", None));
    };
    if help && let Some(text) = help::command(&name) {
        return Ok(Parsed::Text(text));
    }
    let hint = |problem: String| with_hint(&problem, Some(&name));
    if options.quiet && options.verbose > 0 {
        return Err(hint("--quiet and --verbose exclude each other".to_owned()));
    }
    let command = command(&name, given, &mut words).map_err(hint)?;
    match words.next() {
        Some(word) => Err(with_hint(&format!("'{}' is one argument too many", escape(&word)), Some(&name))),
        None => Ok(Parsed::Args(Args { command, options })),
    }
}

fn command(name: &str, given: Given, words: &mut impl Iterator<Item = String>) -> Result<Command, String> {
    let takes = |names: &[&str]| match given.names.iter().find(|name| !names.contains(name)) {
        Some(stranger) => Err(format!("msp {name} has no option {stranger}")),
        None => Ok(()),
    };
    match name {
        "listen" => {
            takes(&["--once", "--forward", "--service"])?;
            let Given { once, forward, service, .. } = given;
            let port = word(words, "MDPPORT")?;
            Ok(Command::Listen(Listen { once, forward, service, port }))
        }
        "connect" => {
            takes(&["--once", "--forward", "--bind"])?;
            let Given { once, forward, bind, .. } = given;
            if bind.is_some() && !matches!(forward, Some(Forward::Port(_))) {
                return Err("--bind needs --forward=PORT".to_owned());
            }
            let far_end = word(words, "SID[@HOST:PORT]")?;
            let port = word(words, "MDPPORT")?;
            Ok(Command::Connect(Connect { once, forward, bind, far_end, port }))
        }
        "id" => {
            takes(&["--new"])?;
            Ok(Command::Id(Id { new: given.new }))
        }
        "ping" => {
            takes(&["--count"])?;
            let count = within(given.count.unwrap_or(5), 1, u32::MAX, "--count")?;
            Ok(Command::Ping(Ping { count, far_end: word(words, "SID[@HOST:PORT]")? }))
        }
        "demo" => {
            takes(&["--loss", "--size", "--seed"])?;
            let loss = within(given.loss.unwrap_or(10), 0, 50, "--loss")?;
            let size = within(given.size.unwrap_or(4), 1, 1000, "--size")?;
            Ok(Command::Demo(Demo { loss, size, seed: given.seed }))
        }
        _ => Err(format!("'{}' is no command; there are listen, connect, id, ping and demo", escape(name))),
    }
}

impl Given {
    /// Notes an option by its name, without what follows `=`.
    fn name(&mut self, option: &'static str) -> bool {
        self.names.push(option.split('=').next().unwrap_or(option));
        true
    }

    fn value<T: FromStr<Err: ToString>>(
        &mut self,
        parser: &mut Parser,
        option: &'static str,
    ) -> Result<Option<T>, String> {
        self.name(option);
        value(parser, option).map(Some)
    }
}

/// The value of an option.
fn value<T: FromStr<Err: ToString>>(parser: &mut Parser, option: &str) -> Result<T, String> {
    convert(&text(raw(parser, option)?)?, option).map_err(|problem| with_hint(&problem, None))
}

fn raw(parser: &mut Parser, option: &str) -> Result<OsString, String> {
    parser.value().map_err(|_| with_hint(&format!("{option} needs a value"), None))
}

/// The next argument that is no option.
fn word<T: FromStr<Err: ToString>>(
    words: &mut impl Iterator<Item = String>,
    what: &str,
) -> Result<T, String> {
    convert(&words.next().ok_or_else(|| format!("{what} is missing"))?, what)
}

fn convert<T: FromStr<Err: ToString>>(text: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| format!("'{}' for {what}: {}", escape(text), error.to_string()))
}

fn text(word: OsString) -> Result<String, String> {
    word.into_string().map_err(|word| with_hint(&format!("{word:?} is not text"), None))
}

fn within<T: PartialOrd + std::fmt::Display>(value: T, least: T, most: T, what: &str) -> Result<T, String> {
    if value < least || value > most {
        return Err(format!("{what} is from {least} to {most}"));
    }
    Ok(value)
}

fn option_name(argument: &Arg<'_>) -> String {
    match argument {
        Arg::Long(name) => format!("--{}", escape(name)),
        Arg::Short(letter) => format!("-{}", escape(&letter.to_string())),
        Arg::Value(_) => String::new(),
    }
}

fn with_hint(problem: &str, command: Option<&str>) -> String {
    match command.filter(|name| help::command(name).is_some()) {
        Some(name) => format!("{problem}; see msp {name} --help"),
        None => format!("{problem}; see msp --help"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SID: &str = "4701D08488451F545A409FB58AE3E58581CA40AC3F7F114698CD71DEAC73CA01";

    fn read(line: &str) -> Result<Args, String> {
        match super::read(Parser::from_args(line.split_whitespace()))? {
            Parsed::Args(args) => Ok(args),
            Parsed::Text(text) => Err(text),
        }
    }

    #[test]
    fn options_may_stand_anywhere() {
        for line in [
            "-v --udp=127.0.0.1:1 listen --once --forward 22 80",
            "listen 80 --forward=22 --once --udp 127.0.0.1:1 --verbose",
        ] {
            let Args { command: Command::Listen(listen), options } = read(line).unwrap() else { panic!() };
            assert!(listen.once && listen.forward == Some(Forward::Port(22)) && listen.port == 80.into());
            assert_eq!((options.udp, options.verbose), (Some("127.0.0.1:1".parse().unwrap()), 1));
        }
        let line = format!("connect --peer=a:1 --peer=b:2 -qv --bind=::1 --forward=0 {SID}@c:3 4");
        assert!(read(&line).unwrap_err().contains("exclude"));
        let Args { command: Command::Connect(connect), options } = read(&line.replace("-qv", "-vv")).unwrap()
        else {
            panic!()
        };
        assert_eq!((options.peers.len(), options.verbose), (2, 2));
        assert_eq!(connect.far_end, format!("{SID}@c:3").parse().unwrap());
        assert_eq!((connect.port, connect.bind), (4.into(), Some("::1".parse().unwrap())));
    }

    #[test]
    fn nothing_is_accepted_that_has_no_effect() {
        for line in [
            "listen --bind=::1 80",
            "listen 80 81",
            "id --once",
            "id 80",
            "ping --new",
            "demo --count=1",
            "demo --loss=51",
            "demo --size=0",
            "ping --count=0",
            "listen --once=1 80",
            "listen --forward",
            "listen --no-such-thing 80",
            "-x",
            "",
            &format!("connect --bind=::1 {SID} 80"),
            &format!("connect --bind=::1 --forward=::1:80 {SID} 80"),
        ] {
            assert!(read(line).unwrap_err().contains("--help"), "{line}");
        }
    }

    #[test]
    fn every_command_has_help() {
        for name in ["listen", "connect", "id", "ping", "demo"] {
            let text = read(&format!("{name} --help")).unwrap_err();
            assert!(text.contains(&format!("msp {name}")) && text.contains("--identity"), "{text}");
            assert!(read("-h").unwrap_err().contains(name));
        }
        assert!(text_is_narrow(&help::general()));
        assert!(read("--version").unwrap_err().starts_with("msp "));
    }

    fn text_is_narrow(text: &str) -> bool {
        text.lines().all(|line| line.chars().count() <= 80)
    }
}

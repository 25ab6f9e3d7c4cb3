//! The `msp` program in a namespace of a lab: with a node and an identity of its own, or as a client of a daemon.

#![allow(dead_code, reason = "each test target uses a part of it")]

use std::path::Path;
use std::process::Command;

use crate::lab::Lab;
use crate::process::{Process, run};
use crate::scratch::Directory;

/// What runs `msp` at one place.
#[derive(Debug)]
pub(crate) struct Ours<'a> {
    lab: &'a Lab,
    node: u8,
    /// Where the identity is, if it is one of its own.
    directory: Directory,
    sid: String,
    /// On every command.
    options: Vec<String>,
}

impl<'a> Ours<'a> {
    /// With a new identity and `options` on every command that sends.
    pub(crate) fn new(lab: &'a Lab, node: u8, options: &[&str]) -> Self {
        let directory = Directory::new();
        let identity = format!("--identity={}", directory.join("identity").display());
        Self::with(lab, node, directory, vec![identity], options)
    }

    /// With a node that all programs at that place share while it runs.
    pub(crate) fn shared(lab: &'a Lab, place: u8) -> (Self, Process) {
        Self::shared_at(lab, place, &[])
    }

    /// The same with a node that has these interfaces.
    pub(crate) fn shared_at(lab: &'a Lab, place: u8, udp: &[&str]) -> (Self, Process) {
        let mut ours = Self::new(lab, place, &[]);
        ours.options.clear();
        let node = ours.share_at(udp);
        (ours, node)
    }

    /// Starts the node that all share, also again after its end.
    #[track_caller]
    pub(crate) fn share(&self) -> Process {
        self.share_at(&[])
    }

    #[track_caller]
    fn share_at(&self, udp: &[&str]) -> Process {
        let identity = format!("--identity={}", self.directory.join("identity").display());
        let mut arguments = vec!["node", &identity];
        udp.iter().for_each(|address| arguments.extend(["--udp", address]));
        let node = self.spawn(&arguments, None);
        node.error_line("that it relays", |line| line.contains("relays").then_some(()));
        node
    }

    /// With the identity and the routes of the daemon that has this instance at the same place.
    pub(crate) fn through(lab: &'a Lab, node: u8, instance: &Path) -> Self {
        let option = format!("--servald={}", instance.display());
        Self::with(lab, node, Directory::new(), vec![option], &[])
    }

    /// Whether there can be clients of a daemon.
    pub(crate) fn knows_daemons() -> bool {
        let help = run("msp", Command::new(env!("CARGO_BIN_EXE_msp")).args(["listen", "--help"]));
        help.text().contains("--servald")
    }

    fn with(lab: &'a Lab, node: u8, directory: Directory, own: Vec<String>, options: &[&str]) -> Self {
        let mut ours = Self { lab, node, directory, sid: String::new(), options: own };
        let id = run("msp id", &mut ours.command(&["id"]));
        id.assert_status("msp id", 0);
        ours.sid = id.text().trim().to_owned();
        assert_eq!(ours.sid.len(), 64, "msp id prints one SID, not {:?}", ours.sid);
        ours.options.extend(options.iter().map(|&option| option.to_owned()));
        ours
    }

    pub(crate) fn sid(&self) -> &str {
        &self.sid
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.lab.command(self.node, env!("CARGO_BIN_EXE_msp"));
        command.args(arguments).args(&self.options).env("HOME", self.directory.path());
        command.env("MSP_RUN", self.directory.join("run"));
        command
    }

    /// Starts a command. Its standard input is a file with all of `input`, else a pipe that stays open.
    #[track_caller]
    pub(crate) fn spawn(&self, arguments: &[&str], input: Option<&[u8]>) -> Process {
        Process::start(&format!("msp {}", arguments.join(" ")), &mut self.command(arguments), input)
    }

    /// `msp listen` that is ready.
    #[track_caller]
    pub(crate) fn listen(&self, arguments: &[&str], input: Option<&[u8]>) -> Process {
        let listener = self.spawn(&[&["listen"], arguments].concat(), input);
        listener.error_line("that it listens", |line| line.contains("listening on MDP port").then_some(()));
        listener
    }

    /// The neighbours of the node at this place that hear it, in the order of their interfaces.
    #[track_caller]
    pub(crate) fn peers(&self) -> Vec<Peer> {
        let peers = self.spawn(&["peers", "--json"], Some(b"")).finish().text();
        let up = peers.lines().filter(|line| line.contains("\"state\":\"up\""));
        let parse = |line| Peer {
            sid: field(line, "sid"),
            interface: field(line, "interface"),
            address: field(line, "address"),
        };
        let mut peers: Vec<Peer> = up.map(parse).collect();
        peers.sort_by(|a, b| a.interface.cmp(&b.interface));
        peers
    }

    /// The nodes that those at this place can reach now, as `msp routes` tells it.
    #[track_caller]
    pub(crate) fn routes(&self) -> Vec<Route> {
        let routes = self.spawn(&["routes", "--json"], Some(b"")).finish().text();
        routes.lines().map(Route::parse).collect()
    }
}

/// A neighbour, as `msp peers` tells of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Peer {
    pub(crate) sid: String,
    pub(crate) interface: String,
    pub(crate) address: String,
}

/// How a node is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Route {
    pub(crate) sid: String,
    /// The node itself if it is a neighbour.
    pub(crate) next_hop: String,
    /// The last node before it; this node if it is a neighbour.
    pub(crate) previous_hop: String,
}

impl Route {
    fn parse(line: &str) -> Self {
        let field = |name| field(line, name);
        Self { sid: field("sid"), next_hop: field("next_hop"), previous_hop: field("previous_hop") }
    }
}

fn field(line: &str, name: &str) -> String {
    let value = line.split_once(&format!("\"{name}\":\"")).and_then(|(_, rest)| rest.split_once('"'));
    value.map(|(value, _)| value.to_owned()).unwrap_or_else(|| panic!("no {name} in {line}"))
}

//! The reference daemon, as a black box: its documented commands and nothing else.

use std::cell::RefCell;
use std::path::Path;
use std::process::Command;

use crate::lab::Lab;
use crate::ours::Route;
use crate::process::{Ended, Process, until};
use crate::scratch::Directory;

/// The daemon's binary, from `MSP_TEST_SERVALD`.
pub(crate) fn program() -> Option<String> {
    std::env::var("MSP_TEST_SERVALD").ok().filter(|path| !path.is_empty())
}

/// A daemon with a new identity in one namespace of a lab, on all links of that namespace.
#[derive(Debug)]
pub(crate) struct Daemon<'a> {
    lab: &'a Lab,
    node: u8,
    instance: Directory,
    sid: String,
    server: RefCell<Option<Process>>,
}

impl<'a> Daemon<'a> {
    pub(crate) fn start(lab: &'a Lab, node: u8) -> Self {
        Self::start_with(lab, node, "")
    }

    /// With more lines in its configuration.
    pub(crate) fn start_with(lab: &'a Lab, node: u8, settings: &str) -> Self {
        let instance = Directory::new();
        let common = "interfaces.0.match=left,right\n\
             interfaces.0.socket_type=dgram\n\
             interfaces.0.type=wifi\n\
             rhizome.enable=0\n\
             log.file.level=NONE\n\
             log.console.level=INFO\n";
        std::fs::write(instance.join("serval.conf"), format!("{common}{settings}")).unwrap();
        let mut daemon = Self { lab, node, instance, sid: String::new(), server: RefCell::default() };
        daemon.run(&["keyring", "add"]).assert_status("servald keyring add", 0);
        daemon.serve();
        let sid = daemon.run(&["id", "self"]).text().lines().find_map(sid_in);
        daemon.sid = sid.expect("the daemon has an identity");
        daemon
    }

    /// Starts the daemon, also after [`stop`](Self::stop).
    pub(crate) fn serve(&self) {
        let server = self.spawn(&["start", "foreground"], None);
        server.error_line("that a link is up", |line| line.contains("is up").then_some(()));
        self.server.replace(Some(server));
    }

    /// Ends the daemon and starts it again: with its identity, and nothing that it had learned.
    pub(crate) fn restart(&self) {
        self.stop("INT").assert_status("servald", 0);
        self.serve();
    }

    /// Ends the daemon with a signal, by its name.
    pub(crate) fn stop(&self, signal: &str) -> Ended {
        let server = self.server.take().expect("the daemon runs");
        server.signal(signal);
        server.finish()
    }

    /// The number of the daemon's process.
    pub(crate) fn id(&self) -> u32 {
        self.server.borrow().as_ref().expect("the daemon runs").id()
    }

    pub(crate) fn sid(&self) -> &str {
        &self.sid
    }

    /// Where it has its settings, and what `SERVALINSTANCE_PATH` is for its clients.
    pub(crate) fn instance(&self) -> &Path {
        self.instance.path()
    }

    /// A command of the program, to this daemon.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        command(self.lab, self.node, &self.instance, arguments)
    }

    /// Starts a command. Its standard input is a file with all of `input`, else a pipe that stays open: when that is
    /// closed, the daemon's tunnel program drops what it has not read yet.
    #[track_caller]
    pub(crate) fn spawn(&self, arguments: &[&str], input: Option<&[u8]>) -> Process {
        Process::start(&format!("servald {}", arguments.join(" ")), &mut self.command(arguments), input)
    }

    /// `msp listen` that is about to have its port: it says nothing, but what it sends to the daemon next comes
    /// before what others do.
    #[track_caller]
    pub(crate) fn listen(&self, arguments: &[&str], input: Option<&[u8]>) -> Process {
        let listener = self.spawn(&[&["msp", "listen"], arguments].concat(), input);
        until("a socket of servald msp listen", || {
            let sockets = std::fs::read_to_string(format!("/proc/{}/net/unix", listener.id())).ok()?;
            sockets.contains(&format!("mdp.client.{}.", listener.id())).then_some(())
        });
        listener
    }

    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.spawn(arguments, Some(b"")).finish()
    }

    /// Waits until the daemon has a route to `sid`, and returns the flags that it prints for it: `UNICAST`,
    /// `BROADCAST`, `INDIRECT`.
    #[track_caller]
    pub(crate) fn route_to(&self, sid: &str) -> String {
        until(&format!("a route to {sid}"), || self.route(sid))
    }

    /// Waits until the daemon has no route to `sid`.
    #[track_caller]
    pub(crate) fn no_route_to(&self, sid: &str) {
        until(&format!("no route to {sid}"), || self.route(sid).is_none().then_some(()));
    }

    fn route(&self, sid: &str) -> Option<String> {
        let route = self.routes().into_iter().find(|route| route.sid.eq_ignore_ascii_case(sid))?;
        Some(route.flags)
    }

    /// The nodes that it can reach now, as `route print` tells it.
    #[track_caller]
    pub(crate) fn routes(&self) -> Vec<Printed> {
        let reachable =
            |flags: &str| ["UNICAST", "BROADCAST", "INDIRECT"].iter().any(|flag| flags.contains(flag));
        let routes = self.run(&["route", "print"]).text();
        let parsed = routes.lines().filter_map(|line| {
            let mut fields = line.split(':').map(str::to_owned);
            let (sid, flags, _interface) = (fields.next()?, fields.next()?, fields.next()?);
            let (next_hop, prior_hop) = (fields.next()?, fields.next()?);
            Some(Printed { sid, flags, next_hop, prior_hop })
        });
        parsed.filter(|route| reachable(&route.flags)).collect()
    }
}

/// A line of `route print`.
#[derive(Debug)]
pub(crate) struct Printed {
    sid: String,
    flags: String,
    /// Empty if it is the node itself.
    next_hop: String,
    /// Empty if it is the next hop.
    prior_hop: String,
}

impl Printed {
    /// With what is not printed.
    pub(crate) fn full(&self, own: &str) -> Route {
        let or = |hop: &str, other: &str| if hop.is_empty() { other } else { hop }.to_owned();
        let next_hop = or(&self.next_hop, &self.sid);
        let before = if self.next_hop.is_empty() { own } else { &next_hop };
        let previous_hop = or(&self.prior_hop, before);
        Route { sid: self.sid.clone(), next_hop, previous_hop }
    }
}

fn command(lab: &Lab, node: u8, instance: &Directory, arguments: &[&str]) -> Command {
    let mut command = lab.command(node, &program().expect("the caller has looked"));
    command.args(arguments).env("SERVALINSTANCE_PATH", instance.path());
    command
}

fn sid_in(line: &str) -> Option<String> {
    let word = line.trim();
    (word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| word.to_owned())
}

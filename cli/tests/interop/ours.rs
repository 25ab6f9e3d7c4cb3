//! The `msp` program in a namespace of a lab, with an identity of its own.

use std::process::Command;

use crate::lab::Lab;
use crate::process::{Process, run};
use crate::scratch::Directory;

/// Name of the file of the identity in its directory.
const IDENTITY: &str = "identity";

/// What runs `msp` at one place.
#[derive(Debug)]
pub(crate) struct Ours<'a> {
    lab: &'a Lab,
    node: u8,
    directory: Directory,
    sid: String,
    options: Vec<String>,
}

impl<'a> Ours<'a> {
    /// With a new identity and `options` on every command that sends.
    pub(crate) fn new(lab: &'a Lab, node: u8, options: &[&str]) -> Self {
        let directory = Directory::new();
        let mut id = lab.command(node, env!("CARGO_BIN_EXE_msp"));
        let said = run("msp id", id.arg("id").arg("--identity").arg(directory.join(IDENTITY)));
        said.assert_status("msp id", 0);
        let sid = said.text().trim().to_owned();
        assert_eq!(sid.len(), 64, "msp id prints one SID, not {sid:?}");
        let options = options.iter().map(|&option| option.to_owned()).collect();
        Self { lab, node, directory, sid, options }
    }

    pub(crate) fn sid(&self) -> &str {
        &self.sid
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.lab.command(self.node, env!("CARGO_BIN_EXE_msp"));
        command.args(arguments).arg("--identity").arg(self.directory.join(IDENTITY)).args(&self.options);
        command
    }

    pub(crate) fn spawn(&self, arguments: &[&str]) -> Process {
        Process::start(&format!("msp {}", arguments.join(" ")), &mut self.command(arguments))
    }

    /// `msp listen` that is ready.
    #[track_caller]
    pub(crate) fn listen(&self, arguments: &[&str]) -> Process {
        let listener = self.spawn(&[&["listen"], arguments].concat());
        listener.error_line("how to connect", |line| line.contains("msp connect").then_some(()));
        listener
    }
}

//! One end of a tunnel, whichever program it is.

use std::fmt::{self, Display};
use std::rc::Rc;

use crate::daemon::Daemon;
use crate::lab::Lab;
use crate::ours::Ours;
use crate::process::Process;

/// What carries the streams of one end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The tunnel program of the reference, a client of its daemon.
    Servald,
    /// Ours, a client of the same daemon.
    ThroughDaemon,
    /// Ours, with a node of its own in place of a daemon.
    Embedded,
}

impl End {
    pub(crate) fn all() -> Vec<Self> {
        let mut ends = vec![Self::Servald, Self::ThroughDaemon, Self::Embedded];
        ends.retain(|&end| end != Self::ThroughDaemon || Ours::knows_daemons());
        ends
    }
}

impl Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Servald => "servald",
            Self::ThroughDaemon => "msp --servald",
            Self::Embedded => "msp",
        })
    }
}

/// An end in one namespace of a lab.
#[derive(Debug)]
pub(crate) struct Side<'a> {
    pub(crate) end: End,
    pub(crate) node: u8,
    /// `None` where none runs.
    pub(crate) daemon: Option<Rc<Daemon<'a>>>,
    /// `None` for the reference's own end.
    ours: Option<Ours<'a>>,
    lab: &'a Lab,
}

impl<'a> Side<'a> {
    pub(crate) fn start(lab: &'a Lab, node: u8, end: End) -> Self {
        Self::with(lab, node, end, (end != End::Embedded).then(|| Rc::new(Daemon::start(lab, node))))
    }

    /// Another end at the same place, with the same daemon if there is one.
    pub(crate) fn beside(&self, end: End) -> Self {
        Self::with(self.lab, self.node, end, self.daemon.clone())
    }

    fn with(lab: &'a Lab, node: u8, end: End, daemon: Option<Rc<Daemon<'a>>>) -> Self {
        let ours = match (end, &daemon) {
            (End::Servald, _) => None,
            (End::ThroughDaemon, Some(daemon)) => Some(through(lab, node, daemon)),
            _ => Some(Ours::new(lab, node, &[])),
        };
        Self { end, node, daemon, ours, lab }
    }

    pub(crate) fn sid(&self) -> &str {
        self.ours.as_ref().map_or_else(|| self.daemon().sid(), Ours::sid)
    }

    /// Starts `listen` and waits until it does. Its standard input is a file with all of `input`, else a pipe that
    /// stays open.
    #[track_caller]
    pub(crate) fn listen(&self, arguments: &[&str], input: Option<&[u8]>) -> Process {
        match &self.ours {
            Some(ours) => ours.listen(arguments, input),
            None => self.daemon().listen(arguments, input),
        }
    }

    /// Starts any command of the tunnel program, with such an input.
    #[track_caller]
    pub(crate) fn spawn(&self, arguments: &[&str], input: Option<&[u8]>) -> Process {
        match &self.ours {
            Some(ours) => ours.spawn(arguments, input),
            None => self.daemon().spawn(&[&["msp"], arguments].concat(), input),
        }
    }

    /// The daemon of an end that has one.
    pub(crate) fn daemon(&self) -> &Daemon<'a> {
        self.daemon.as_ref().expect("an end that is not embedded has a daemon")
    }
}

fn through<'a>(lab: &'a Lab, node: u8, daemon: &Daemon<'_>) -> Ours<'a> {
    let ours = Ours::through(lab, node, daemon.instance());
    assert!(ours.sid().eq_ignore_ascii_case(daemon.sid()), "msp id --servald prints {}", ours.sid());
    ours
}

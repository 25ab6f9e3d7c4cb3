//! How the program ends when it does not end well.

use msp_core::tunnel::{EndReason, Outcome};
use std::fmt::Display;
use std::io;

/// The exit statuses, as `msp --help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    ConnectionFailed = 1,
    Usage = 2,
    CannotBind = 3,
    Unreachable = 4,
    Refused = 5,
    Identity = 6,
}

/// An exit status and the line that says why.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(status: Status, message: impl Display) -> Self {
        Self { status, message: message.to_string() }
    }
}

/// What goes wrong while a tunnel runs is the end of its connections.
impl From<msp_mio::Error> for Failure {
    fn from(error: msp_mio::Error) -> Self {
        let status = match error {
            msp_mio::Error::Listen(_) | msp_mio::Error::Connect(_) => Status::Usage,
            _ => Status::ConnectionFailed,
        };
        Self::new(status, error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Status::ConnectionFailed, describe(&error))
    }
}

/// What the system said, without its number.
pub(crate) fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error ").next().unwrap_or(&text).to_owned()
}

/// How a tunnel has ended. An interruption counts as a failure only while a connection that was the whole
/// purpose was open: it did not come to its end.
pub(crate) fn check(outcome: Outcome, once: bool, far_end: impl Display) -> Result<(), Failure> {
    let reason = match outcome {
        Outcome::PortRefused => {
            let message = format!("{far_end}: the daemon refuses it; another program may have it");
            return Err(Failure::new(Status::CannotBind, message));
        }
        Outcome::Failed(reason) => reason,
        Outcome::Interrupted if once => EndReason::Shutdown,
        _ => return Ok(()),
    };
    let (status, hint) = match reason {
        EndReason::Refused => {
            (Status::Refused, "; nothing listens at that port, or what it forwards to does not answer")
        }
        EndReason::Unreachable => (
            Status::Unreachable,
            "; is the address (SID) right, is `msp listen` running there, does UDP get through?",
        ),
        EndReason::Shutdown => (Status::ConnectionFailed, " by a signal, before the end"),
        _ => (Status::ConnectionFailed, ""),
    };
    Err(Failure::new(status, format_args!("{far_end}: {reason}{hint}")))
}

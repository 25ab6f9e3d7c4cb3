//! Secrets from standard input.

use rustix::io::{read, retry_on_intr};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{self, ErrorKind, Stdin, Write};
use zeroize::Zeroizing;

/// Bytes of the longest secret.
const MAX_LEN: usize = 1024;
/// What the terminal makes of Ctrl-C while it sends no signal.
const INTERRUPT: u8 = 3;

/// Reads lines from standard input. If that is a terminal, it asks for them, and does not show what is typed as
/// long as this lives.
pub(crate) struct Secrets {
    stdin: Stdin,
    shown: Option<Termios>,
}

impl Secrets {
    pub(crate) fn new() -> io::Result<Self> {
        let stdin = io::stdin();
        let shown = tcgetattr(&stdin).ok();
        if let Some(shown) = &shown {
            let mut hidden = shown.clone();
            // No key may end the program while it is so, or the shell would not show what is typed, either.
            hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
            hidden.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON);
            tcsetattr(&stdin, OptionalActions::Flush, &hidden)?;
        }
        Ok(Self { stdin, shown })
    }

    /// The next line without its end; empty if there is none.
    pub(crate) fn ask(&mut self, question: &str) -> io::Result<Zeroizing<Vec<u8>>> {
        if self.shown.is_some() {
            io::stderr().write_all(question.as_bytes())?;
        }
        // With room from the start, and without the buffer of the standard library, no copies are left behind.
        let mut line = Zeroizing::new(Vec::with_capacity(MAX_LEN));
        let mut byte = Zeroizing::new([0; 1]);
        while retry_on_intr(|| read(&self.stdin, &mut *byte))? == 1 && byte[0] != b'\n' {
            if self.shown.is_some() && byte[0] == INTERRUPT {
                return Err(io::Error::new(ErrorKind::Interrupted, "interrupted"));
            }
            if line.len() == MAX_LEN {
                return Err(io::Error::new(ErrorKind::InvalidInput, "the PIN is too long"));
            }
            line.push(byte[0]);
        }
        Ok(line)
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        if let Some(shown) = &self.shown {
            // A terminal that is gone needs no restoring.
            let _ = tcsetattr(&self.stdin, OptionalActions::Now, shown);
        }
    }
}

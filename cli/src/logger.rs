//! Messages on standard error.

use crate::args::Options;
use log::{LevelFilter, Log, Metadata, Record};
use msp_sockets::escape;
use std::io::{self, Write};

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // The libraries below have much to say that is of no use here.
        if record.target().starts_with("msp") {
            say(&record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Has warnings shown, everything that happens with `-v`, more with `-vv`, and only errors with `-q`.
pub(crate) fn install(options: &Options) {
    let level = match options.verbose {
        _ if options.quiet => LevelFilter::Error,
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    if log::set_logger(&Stderr).is_ok() {
        log::set_max_level(level);
    }
}

/// Writes one line. Control characters, which may come from anywhere, are escaped: a terminal would obey
/// them.
pub(crate) fn say(message: &str) {
    // When nobody reads standard error any more, there is nobody to tell.
    let _ = writeln!(io::stderr(), "msp: {}", escape(message));
}

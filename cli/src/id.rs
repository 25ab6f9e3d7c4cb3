//! `msp id`

use crate::args::{self, Options};
use crate::failure::Failure;
use crate::identity;
use crate::logger::say;
use std::io::{self, Write};

pub(crate) fn run(command: &args::Id, options: &Options) -> Result<(), Failure> {
    let path = identity::path(options.identity.as_deref())?;
    if command.new
        && let Some(kept) = identity::replace(&path)?
        && !options.quiet
    {
        say(&format!("the identity before is kept as {}; to go back to it, rename it", kept.display()));
    }
    writeln!(io::stdout(), "{}", identity::sid(&path)?)?;
    Ok(())
}

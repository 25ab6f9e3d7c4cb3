//! `msp id`

use crate::args::{self, Options};
use crate::failure::Failure;
use crate::logger::say;
use crate::{identity, keyring};
use std::io::{self, Write};
use zeroize::Zeroizing;

pub(crate) fn run(command: &args::Id, options: &Options) -> Result<(), Failure> {
    let path = identity::path(options.identity.as_deref())?;
    let kept = match &command.import {
        Some(import) => identity::put(&path, &keyring::import(import)?, command.new)?,
        None if command.new => identity::replace(&path, &Zeroizing::new(msp_mio::random()?))?,
        None => None,
    };
    if let Some(kept) = kept
        && !options.quiet
    {
        say(&format!("the identity before is kept as {}; to go back to it, rename it", kept.display()));
    }
    writeln!(io::stdout(), "{}", identity::sid(&path)?)?;
    Ok(())
}

//! `msp id`

use crate::args::{self, Options};
use crate::failure::{Failure, Status};
use crate::logger::say;
use crate::servald::attach;
use crate::{identity, keyring};
use msp_core::msp;
use std::io::{self, Write};
use zeroize::Zeroizing;

pub(crate) fn run(command: &args::Id, options: &Options) -> Result<(), Failure> {
    if let Some(servald) = &options.servald {
        if command.new || command.import.is_some() {
            let message = "--servald only tells the address of the daemon, which has an identity of its own";
            return Err(Failure::new(Status::Usage, message));
        }
        let sid = attach(servald, None, msp::Config::default())?.identify()?;
        let sid =
            sid.ok_or_else(|| Failure::new(Status::Unreachable, "the Serval daemon does not answer"))?;
        writeln!(io::stdout(), "{sid}")?;
        return Ok(());
    }
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

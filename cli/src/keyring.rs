//! The identity of a Serval daemon, from its keyring.

use crate::args::Import;
use crate::failure::{Failure, Status, describe};
use crate::logger::say;
use crate::{prompt, servald};
use msp_core::Identity;
use msp_core::mdp::{Keyring, KeyringIdentity};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const NAME: &str = "serval.keyring";

/// The identity that the keyring has, or the chosen one if it has several.
pub(crate) fn import(import: &Import) -> Result<Identity, Failure> {
    let path = path(import.keyring.as_deref());
    let hint = if import.keyring.is_some() { "" } else { "; --import-servald=FILE names another" };
    let unreadable = |error| fail(&path, format_args!("cannot read it: {}{hint}", describe(&error)));
    let file = read(&path).map_err(unreadable)?;
    let keyring = Keyring::parse(&file).map_err(|error| fail(&path, error))?;
    let [keyring_pin, pin] =
        if import.pins { pins().map_err(|error| fail(&path, describe(&error)))? } else { Default::default() };
    let identities = keyring.open(&keyring_pin, &pin);
    if identities.is_empty() {
        let hint = if import.pins {
            "the PINs are wrong, or it is damaged"
        } else {
            "if it has PINs, --pin asks for them"
        };
        return Err(fail(&path, format_args!("no identity opens; {hint}")));
    }
    choose(&path, identities, &import.sid)
}

fn pins() -> io::Result<[Zeroizing<Vec<u8>>; 2]> {
    let mut pins = prompt::Secrets::new()?;
    Ok([pins.ask("PIN of the keyring: ")?, pins.ask("PIN of the identity: ")?])
}

fn choose(path: &Path, mut identities: Vec<KeyringIdentity>, sid: &str) -> Result<Identity, Failure> {
    let chosen = |identity: &KeyringIdentity| {
        identity.sid().to_string().get(..sid.len()).is_some_and(|start| start.eq_ignore_ascii_case(sid))
    };
    identities.retain(chosen);
    let several = identities.len() > 1;
    match identities.pop() {
        None => Err(Failure::new(
            Status::Usage,
            format_args!("keyring {}: no SID of an identity that opens begins with '{sid}'", path.display()),
        )),
        Some(last) if several => {
            for identity in identities.iter().chain([&last]) {
                say(&identity.sid().to_string());
            }
            Err(Failure::new(
                Status::Usage,
                format_args!("keyring {}: it has several identities; name one with --sid", path.display()),
            ))
        }
        Some(KeyringIdentity::Combined(identity)) => Ok(*identity),
        Some(KeyringIdentity::Old(sid)) => Err(fail(
            path,
            format_args!(
                "{sid} is an identity of the old kind, with two keys that do not belong together, where an \
                 identity file holds one secret for both; take one that a newer servald has made, or a new \
                 one with `msp id --new`"
            ),
        )),
    }
}

/// Where the keyring is: `given`, or where a daemon has it.
fn path(given: Option<&Path>) -> PathBuf {
    if let Some(given) = given {
        return given.to_owned();
    }
    servald::directory(|directory| directory.join(NAME).exists()).join(NAME)
}

fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    // Opening must not wait for the other end of a named pipe.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "this is not a regular file"));
    }
    // One byte too long shows as well as many. If the PINs are empty, this is as good as the secret.
    let mut bytes = Zeroizing::new(Vec::with_capacity(Keyring::MAX_LEN + 1));
    file.take(Keyring::MAX_LEN as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn fail(path: &Path, what: impl std::fmt::Display) -> Failure {
    Failure::new(Status::Identity, format_args!("keyring {}: {what}", path.display()))
}

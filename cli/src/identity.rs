//! The identity file: 64 hexadecimal digits, the seed of the keys of this node.

use crate::failure::{Failure, Status, describe};
use msp_core::{Identity, Sid};
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Names tried for a file that must not exist yet.
const MAX_NAMES: u32 = 1000;

/// Who else may use the identity of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nobody: it is an error if another program has it.
    Needed,
    /// If another program has it, one that is gone with this process will do.
    Wanted,
}

/// An identity, and the file that is locked while it is used.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) identity: Identity,
    pub(crate) lock: Option<File>,
}

/// Where the identity file is: `given`, or `MSP_IDENTITY`, or in the user's configuration directory.
pub(crate) fn path(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    given
        .map(Path::to_owned)
        .or_else(|| variable("MSP_IDENTITY"))
        .or_else(|| Some(variable("XDG_CONFIG_HOME").filter(|path| path.is_absolute())?.join("msp/identity")))
        .or_else(|| Some(variable("HOME")?.join(".config/msp/identity")))
        .ok_or_else(|| {
            Failure::new(Status::Identity, "HOME is not set: name the identity file with --identity=FILE")
        })
}

/// The identity for a node, made if there is none yet.
pub(crate) fn claim(given: Option<&Path>, claim: Claim) -> Result<Claimed, Failure> {
    let path = path(given)?;
    let (file, identity) = load_or_create(&path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) if claim == Claim::Wanted => {
            let identity = Identity::from_seed(msp_mio::random()?);
            log::info!("another program uses {}; going on as {}", path.display(), identity.sid());
            Ok(Claimed { identity, lock: None })
        }
        Err(rustix::io::Errno::WOULDBLOCK) => Err(fail(
            &path,
            "another program uses it; end that one, or give this one its own with --identity=FILE",
        )),
        // A file system without locks is no reason not to start.
        _ => Ok(Claimed { identity, lock: Some(file) }),
    }
}

/// The address of the identity in the file, which is made if there is none yet.
pub(crate) fn sid(path: &Path) -> Result<Sid, Failure> {
    load_or_create(path).map(|(_, identity)| identity.sid())
}

/// Makes `identity` the one in the file. If another one is there, it is an error, or that one is kept if told
/// to replace it; returns its name then.
pub(crate) fn put(path: &Path, identity: &Identity, replaced: bool) -> Result<Option<PathBuf>, Failure> {
    match load(path) {
        Err(LoadError::Io(error)) if error.kind() == ErrorKind::NotFound => create(path, identity.seed())?,
        Ok((_, present)) if present.sid() == identity.sid() => return Ok(None),
        _ if replaced => return replace(path, identity.seed()),
        result => result.map(drop).map_err(|error| explain(path, error))?,
    }
    // Whoever was faster, or was there before, stays.
    let present = sid(path)?;
    if present == identity.sid() {
        return Ok(None);
    }
    Err(fail(
        path,
        format_args!("it holds another identity, {present}; --new replaces it and keeps it beside"),
    ))
}

/// Puts the identity with this seed in the place of the one that may be there. Returns the name under which
/// that one is kept.
pub(crate) fn replace(path: &Path, seed: &[u8; 32]) -> Result<Option<PathBuf>, Failure> {
    let fresh = write_temporary(path, seed)?;
    let result = keep(path).and_then(|kept| fs::rename(&fresh, path).map(|()| kept));
    result.map_err(|error| {
        let _ = fs::remove_file(&fresh);
        fail(path, format_args!("cannot replace it: {}", describe(&error)))
    })
}

fn load_or_create(path: &Path) -> Result<(File, Identity), Failure> {
    match load(path) {
        Err(LoadError::Io(error)) if error.kind() == ErrorKind::NotFound => {
            create(path, &Zeroizing::new(msp_mio::random()?))?;
            load(path)
        }
        result => result,
    }
    .map_err(|error| explain(path, error))
}

fn explain(path: &Path, error: LoadError) -> Failure {
    match error {
        LoadError::Io(error) => fail(path, format_args!("cannot read it: {}", describe(&error))),
        LoadError::Exposed(mode) => fail(
            path,
            format_args!(
                "other users can read or write this secret (mode {mode:03o}); run: chmod 600 {}",
                quoted(path)
            ),
        ),
        LoadError::NotAFile => fail(path, "this is not a regular file"),
        LoadError::Malformed => fail(
            path,
            "this is no identity, which is 64 hexadecimal digits; `msp id --new` makes one and keeps this file",
        ),
    }
}

#[derive(Debug)]
enum LoadError {
    Io(io::Error),
    NotAFile,
    Exposed(u32),
    Malformed,
}

impl From<io::Error> for LoadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn load(path: &Path) -> Result<(File, Identity), LoadError> {
    // Opening must not wait for the other end of a named pipe.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(LoadError::NotAFile);
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(LoadError::Exposed(mode));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(128));
    (&file).take(128).read_to_end(&mut text)?;
    let seed = parse(&text).ok_or(LoadError::Malformed)?;
    Ok((file, Identity::from_seed(*seed)))
}

/// Makes the file, unless another process is faster: then that one's is left alone.
fn create(path: &Path, seed: &[u8; 32]) -> Result<(), Failure> {
    let fresh = write_temporary(path, seed)?;
    let linked = fs::hard_link(&fresh, path);
    let _ = fs::remove_file(&fresh);
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(fail(path, format_args!("cannot make it: {}", describe(&error))))
        }
        _ => Ok(()),
    }
}

/// Writes a new identity to a file beside `path`, all of it or nothing, and returns its name.
fn write_temporary(path: &Path, seed: &[u8; 32]) -> Result<PathBuf, Failure> {
    let write = || {
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let name = beside(path, &format!("new.{}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&name)?;
        let written = file.write_all(&format(seed)).and_then(|()| file.sync_all());
        if written.is_err() {
            let _ = fs::remove_file(&name);
        }
        written.map(|()| name)
    };
    write().map_err(|error: io::Error| fail(path, format_args!("cannot make it: {}", describe(&error))))
}

/// Gives the file a second name that no other file has. `None` if there is no file.
fn keep(path: &Path) -> io::Result<Option<PathBuf>> {
    for number in 1..=MAX_NAMES {
        let name = beside(path, &format!("old.{number}"));
        match fs::hard_link(path, &name) {
            Ok(()) => return Ok(Some(name)),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many old identities are kept beside it"))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

fn parse(text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let digits = text.strip_suffix(b"\n").unwrap_or(text);
    let digits = digits.strip_suffix(b"\r").unwrap_or(digits);
    if digits.len() != 64 {
        return None;
    }
    let mut seed = Zeroizing::new([0; 32]);
    for (byte, pair) in seed.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |character: u8| char::from(character).to_digit(16);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(seed)
}

fn format(seed: &[u8; 32]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(Vec::with_capacity(65));
    for byte in seed {
        text.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[usize::from(digit)]));
    }
    text.push(b'\n');
    text
}

fn fail(path: &Path, what: impl std::fmt::Display) -> Failure {
    Failure::new(Status::Identity, format_args!("identity file {}: {what}", path.display()))
}

/// A file name as a shell takes it.
fn quoted(path: &Path) -> String {
    let name = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%,:".contains(c);
    if name.chars().all(plain) { name } else { format!("'{}'", name.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Another process may be faster between looking for the file and making it.
    #[test]
    fn making_an_identity_leaves_one_alone_that_is_there() {
        let path = std::env::temp_dir().join(format!("msp-identity-{}", std::process::id()));
        fs::write(&path, "another's").unwrap();
        create(&path, &[1; 32]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "another's");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_seed_reads_back() {
        let seed = std::array::from_fn(|index| index as u8 * 7);
        assert_eq!(*parse(&format(&seed)).unwrap(), seed);
        assert_eq!(*parse(&format(&seed).to_ascii_uppercase()).unwrap(), seed);
    }

    #[test]
    fn what_is_no_seed_is_refused() {
        let good = format(&[1; 32]);
        for bad in [&b""[..], b"\n", &good[1..], &[&good[..], b"0"].concat(), &[b'g'; 64], &[b' '; 64]] {
            assert!(parse(bad).is_none(), "{bad:?}");
        }
    }
}

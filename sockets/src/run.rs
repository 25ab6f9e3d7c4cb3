//! Where the programs that run on this machine find each other.

use rustix::process::geteuid;
use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The directory in which the programs of one user that run now have their sockets.
///
/// Who can write in it can pose as one of these programs, and who can read it can ask them: it belongs to the user,
/// and nobody else can do anything in it. A value of this type says that this was so when it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDirectory(PathBuf);

impl RunDirectory {
    /// The directory, made if it is not there.
    ///
    /// It is `given`; or the one that the environment variable `MSP_RUN` names; for root `/var/run/msp`; for others
    /// `msp` in the directory `XDG_RUNTIME_DIR`, and without one `/tmp/msp-UID` with the number of the user.
    ///
    /// # Errors
    ///
    /// If it cannot be made, or is not the user's alone. The error's text names it.
    pub fn create(given: Option<&Path>) -> io::Result<Self> {
        let path = choose(given, |name| env::var_os(name), geteuid().as_raw());
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|error| explain(&path, &error)).and_then(|()| Self::check(path))
    }

    /// The same directory if it is there: if not, no program runs.
    ///
    /// # Errors
    ///
    /// If it is not the user's alone. The error's text names it.
    pub fn find(given: Option<&Path>) -> io::Result<Option<Self>> {
        let path = choose(given, |name| env::var_os(name), geteuid().as_raw());
        match Self::check(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            result => result.map(Some),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn check(path: PathBuf) -> io::Result<Self> {
        // Not what a link leads to: whose link it is would have to be known, too.
        let found = fs::symlink_metadata(&path).map_err(|error| explain(&path, &error))?;
        let trouble = if !found.is_dir() {
            "it is no directory"
        } else if found.uid() != geteuid().as_raw() {
            "it belongs to another user"
        } else if found.mode() & 0o077 != 0 {
            "other users can get at it; remove what they have there, then change its mode to 700"
        } else {
            return Ok(Self(path));
        };
        Err(explain(&path, &io::Error::new(ErrorKind::PermissionDenied, trouble)))
    }
}

fn choose(given: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>, user: u32) -> PathBuf {
    let variable = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(named) = given.map(Path::to_owned).or_else(|| variable("MSP_RUN")) {
        return named;
    }
    // Services have no XDG_RUNTIME_DIR, while root has one after logging in: they are to find each other.
    if user == 0 {
        return PathBuf::from("/var/run/msp");
    }
    match variable("XDG_RUNTIME_DIR").filter(|directory| directory.is_absolute()) {
        Some(directory) => directory.join("msp"),
        None => PathBuf::from(format!("/tmp/msp-{user}")),
    }
}

fn explain(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the run directory {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    fn chosen(given: Option<&str>, variables: &[(&str, &str)], user: u32) -> PathBuf {
        let variable = |name: &str| {
            let found = variables.iter().find(|(it, _)| *it == name);
            found.map(|(_, value)| OsString::from(value))
        };
        choose(given.map(Path::new), variable, user)
    }

    #[test]
    fn what_is_named_comes_first_then_what_is_usual() {
        let session = [("XDG_RUNTIME_DIR", "/run/user/7")];
        let named = [("MSP_RUN", "/x"), session[0]];
        for user in [0, 7] {
            assert_eq!(chosen(Some("y"), &named, user), Path::new("y"));
            assert_eq!(chosen(None, &named, user), Path::new("/x"));
        }
        assert_eq!(chosen(None, &session, 7), Path::new("/run/user/7/msp"));
        assert_eq!(chosen(None, &session, 0), Path::new("/var/run/msp"));
        for nothing in [&[][..], &[("MSP_RUN", ""), ("XDG_RUNTIME_DIR", "run")]] {
            assert_eq!(chosen(None, nothing, 7), Path::new("/tmp/msp-7"));
        }
    }

    #[test]
    fn a_directory_is_made_for_its_user_alone_and_found_again() {
        let lab = Lab::new("made");
        let path = lab.0.join("a/b");
        assert_eq!(RunDirectory::find(Some(&path)).unwrap(), None);
        let made = RunDirectory::create(Some(&path)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert_eq!(RunDirectory::create(Some(&path)).unwrap(), made);
        assert_eq!(RunDirectory::find(Some(&path)).unwrap().as_ref(), Some(&made));
        assert_eq!(made.path(), path);
    }

    #[test]
    fn what_others_can_get_at_is_refused() {
        let lab = Lab::new("refused");
        let refused = |path: &Path| {
            for result in [RunDirectory::create(Some(path)).map(Some), RunDirectory::find(Some(path))] {
                assert!(result.unwrap_err().to_string().contains(path.to_str().unwrap()));
            }
        };
        let open = lab.0.join("open");
        fs::create_dir(&open).unwrap();
        for mode in [0o770, 0o707, 0o710, 0o701] {
            fs::set_permissions(&open, fs::Permissions::from_mode(mode)).unwrap();
            refused(&open);
        }
        fs::set_permissions(&open, fs::Permissions::from_mode(0o700)).unwrap();
        RunDirectory::create(Some(&open)).unwrap();
        let link = lab.0.join("link");
        symlink(&open, &link).unwrap();
        refused(&link);
        let file = lab.0.join("file");
        fs::write(&file, "").unwrap();
        refused(&file);
        // Root can give one away, and to others those of root are another user's.
        if geteuid().is_root() {
            chown(&open, Some(1), None).unwrap();
            refused(&open);
        } else {
            refused(Path::new("/"));
        }
    }

    /// A directory that is gone with the test.
    struct Lab(PathBuf);

    impl Lab {
        fn new(name: &str) -> Self {
            let path = env::temp_dir().join(format!("msp-run-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Lab {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

//! Where the sockets of a daemon and of its clients are (`spec/20` section 1).

use crate::Port;
use alloc::format;
use alloc::vec::Vec;
use core::fmt;

/// Clients that serve no port, at one daemon.
const MAX_CLIENTS: usize = 256;

/// The directory of a running daemon, which names its sockets. It need not exist: on Linux, the names are in
/// the abstract namespace.
///
/// ```
/// # use msp_core::{Port, mdp::Instance};
/// let instance = Instance::new(b"/var/serval/A")?;
/// assert_eq!(instance.daemon_file(), b"/var/serval/A/mdp.2.socket");
/// assert_eq!(Instance::abstract_name(&instance.daemon_file()), b"var/serval/A/mdp.2.socket");
/// # Ok::<(), msp_core::mdp::InstanceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance(Vec<u8>);

impl Instance {
    /// The variable in the environment that tells the directory, to the daemon and to its clients.
    pub const VARIABLE: &str = "SERVALINSTANCE_PATH";
    /// The directories that daemons were built to use without it, as distributions build it and as it is by
    /// default.
    pub const DEFAULT_PATHS: [&str; 2] = ["/var/run/serval", "/usr/local/var/run/serval"];

    /// The address of a unix socket holds so many bytes, the NUL before an abstract name or after a file's name
    /// included.
    const MAX_ADDRESS_LEN: usize = 108;

    /// The instance in the directory `path`. It is used as it stands, because the daemon does so, too: a path
    /// that leads to the same directory another way names other sockets.
    ///
    /// # Errors
    ///
    /// If the path is not absolute, holds a NUL, or is too long for the names of sockets.
    pub fn new(path: &[u8]) -> Result<Self, InstanceError> {
        if !path.starts_with(b"/") || path.contains(&0) {
            return Err(InstanceError::NotAbsolute);
        }
        let instance = Self(path.to_vec());
        if instance.client_file(Port::MAX).len() >= Self::MAX_ADDRESS_LEN {
            return Err(InstanceError::TooLong);
        }
        Ok(instance)
    }

    /// The file name of the daemon's socket.
    #[must_use]
    pub fn daemon_file(&self) -> Vec<u8> {
        self.file("mdp.2.socket")
    }

    /// The file name of the socket of a client that serves `port`. It is always the same, so that a client
    /// takes over what one that crashed has left behind: daemons know clients by nothing but this name.
    #[must_use]
    pub fn client_file(&self, port: Port) -> Vec<u8> {
        self.file(&format!("mdp.client.msp.{port}.socket"))
    }

    /// The file names for a client that serves no port, best first: it takes the first that no other has, and so
    /// what one that crashed has left behind.
    #[must_use]
    pub fn client_files(&self) -> Vec<Vec<u8>> {
        (0..MAX_CLIENTS).map(|number| self.file(&format!("mdp.client.msp-{number}.socket"))).collect()
    }

    /// The name in the abstract namespace that stands for a file's name: the same without the leading slash.
    /// The NUL before it is not included, and none follows.
    #[must_use]
    pub fn abstract_name(file: &[u8]) -> &[u8] {
        file.strip_prefix(b"/").unwrap_or(file)
    }

    fn file(&self, name: &str) -> Vec<u8> {
        let separator: &[u8] = if self.0.ends_with(b"/") { b"" } else { b"/" };
        [&self.0, separator, name.as_bytes()].concat()
    }
}

/// Why a path is no [`Instance`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InstanceError {
    /// It does not begin at the root directory, or is no path at all.
    NotAbsolute,
    /// The names of its sockets would be too long.
    TooLong,
}

impl fmt::Display for InstanceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAbsolute => "the path of a Serval instance must be absolute",
            Self::TooLong => "the path of the Serval instance is too long for the name of a socket",
        })
    }
}

impl core::error::Error for InstanceError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn the_path_is_used_as_it_stands() {
        let daemon = |path: &[u8]| Instance::new(path).unwrap().daemon_file();
        assert_eq!(daemon(b"/var/run/serval"), b"/var/run/serval/mdp.2.socket");
        assert_eq!(daemon(b"/a/../b/"), b"/a/../b/mdp.2.socket");
        assert_eq!(daemon(b"/"), b"/mdp.2.socket");
        assert_eq!(daemon(b"/\xff"), b"/\xff/mdp.2.socket");
        assert!(Instance::DEFAULT_PATHS.iter().all(|path| Instance::new(path.as_bytes()).is_ok()));
    }

    #[test]
    fn a_client_is_named_after_what_it_serves() {
        let instance = Instance::new(b"/run").unwrap();
        assert_eq!(instance.client_file(512.into()), b"/run/mdp.client.msp.512.socket");
        let others = instance.client_files();
        assert_eq!(others[0], b"/run/mdp.client.msp-0.socket");
        assert_eq!(others.len(), 256);
        assert!(others.iter().all(|name| name.len() <= instance.client_file(Port::MAX).len()));
        assert_eq!(Instance::abstract_name(b"/run/x"), b"run/x");
        assert_eq!(Instance::abstract_name(b"run/x"), b"run/x");
    }

    #[test]
    fn a_path_that_cannot_work_is_refused() {
        for path in [&b""[..], b"var/run", b"/var\0", b"./x"] {
            assert_eq!(Instance::new(path), Err(InstanceError::NotAbsolute));
        }
        // "/mdp.client.msp.2147483647.socket" is 33 bytes, a NUL follows.
        let path = |length: usize| [&b"/"[..], &alloc::vec![b'x'; length - 1]].concat();
        assert!(Instance::new(&path(108 - 1 - 33)).is_ok());
        assert_eq!(Instance::new(&path(108 - 33)), Err(InstanceError::TooLong));
        assert!(InstanceError::NotAbsolute.to_string().contains("absolute"));
        assert!(InstanceError::TooLong.to_string().contains("too long"));
    }
}

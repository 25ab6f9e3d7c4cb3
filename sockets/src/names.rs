//! Where the unix sockets of a daemon, or a node, and of its clients are (`spec/20` section 1).

use rustix::fs::{FlockOperation, flock};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

/// What the name of a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    /// A name in the abstract namespace, of which nothing is left when the socket is closed.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    Abstract,
    /// A file, which stays when its socket is closed. Nobody can take such a name who has no right to the directory.
    Files,
}

impl Names {
    /// What daemons use on this system.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(crate) const OF_DAEMONS: Self = Self::Abstract;
    /// What daemons use on this system.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(crate) const OF_DAEMONS: Self = Self::Files;

    /// The address of the socket that stands for a file.
    pub(crate) fn address(self, file: &[u8]) -> io::Result<SocketAddr> {
        match self {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Self::Abstract => {
                use std::os::linux::net::SocketAddrExt as _;
                SocketAddr::from_abstract_name(msp_core::mdp::Instance::abstract_name(file))
            }
            Self::Files => SocketAddr::from_pathname(OsStr::from_bytes(file)),
        }
    }

    /// A socket with that name, which is taken over from one that was closed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AddrInUse`] if another socket has it.
    pub(crate) fn bind(self, file: &[u8]) -> io::Result<UnixDatagram> {
        let address = self.address(file)?;
        let bound = UnixDatagram::bind_addr(&address);
        match (&bound, address.as_pathname()) {
            (Err(error), Some(path)) if error.kind() == ErrorKind::AddrInUse => {
                // Two that start at the same time must not both find that nobody has it.
                let _lock = path.parent().map(lock).transpose()?;
                if is_left_over(path) {
                    fs::remove_file(path)?;
                }
                UnixDatagram::bind_addr(&address)
            }
            _ => bound,
        }
    }

    /// Whether a socket has that name now.
    pub(crate) fn is_bound(self, file: &[u8]) -> bool {
        let connect = |address| UnixDatagram::unbound()?.connect_addr(&address);
        self.address(file).and_then(connect).is_ok()
    }
}

/// Whether both are the name of one socket. Sockets without a name are never the same.
pub(crate) fn is_same(a: &SocketAddr, b: &SocketAddr) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use std::os::linux::net::SocketAddrExt as _;
        if a.as_abstract_name().is_some() {
            return a.as_abstract_name() == b.as_abstract_name();
        }
    }
    a.as_pathname().is_some() && a.as_pathname() == b.as_pathname()
}

/// Removes the file of a socket that is about to be closed, if it has one: a daemon forgets a client whose file is gone.
pub(crate) fn remove(socket: &UnixDatagram) {
    if let Ok(address) = socket.local_addr()
        && let Some(path) = address.as_pathname()
    {
        // What is left over is taken over.
        let _ = fs::remove_file(path);
    }
}

/// Locks a directory until the result is dropped.
fn lock(directory: &Path) -> io::Result<File> {
    let directory = File::open(directory)?;
    flock(&directory, FlockOperation::LockExclusive)?;
    Ok(directory)
}

/// Whether this is the file of a socket that was closed.
fn is_left_over(path: &Path) -> bool {
    let connected = UnixDatagram::unbound().and_then(|socket| socket.connect(path));
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
        && connected.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

//! A listener and a connector on loopback, for the programs that use them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use crate::process::Process;
use crate::scratch::Directory;

/// A listening `msp` that dials one TCP port.
#[derive(Debug)]
pub(crate) struct Listener {
    directory: Directory,
    target: String,
    /// The option that names the node between this one and its connectors, if there is one.
    between: Option<String>,
    _processes: Vec<Process>,
}

impl Listener {
    /// Starts one and waits until it says how to connect.
    pub(crate) fn to(server: SocketAddr) -> Self {
        let directory = Directory::new();
        let (process, target) = listen(&directory.join("listener"), &format!("--forward={server}"), None);
        Self { directory, target, between: None, _processes: vec![process] }
    }

    /// Starts one that connectors reach through another node only, since they know no other address.
    pub(crate) fn behind_a_node(server: SocketAddr) -> Self {
        let directory = Directory::new();
        let (between, place) = listen(&directory.join("between"), "--forward=1", None);
        let (_, address) = place.split_once('@').unwrap();
        let between_option = format!("--peer={address}");
        let (process, place) =
            listen(&directory.join("listener"), &format!("--forward={server}"), Some(&between_option));
        let (sid, _) = place.split_once('@').unwrap();
        let target = sid.to_owned();
        Self { directory, target, between: Some(between_option), _processes: vec![between, process] }
    }

    /// The command that joins its standard streams to a new connection.
    pub(crate) fn connect(&self) -> Command {
        self.connector("connector", &["connect", "-q", &self.target, "22"])
    }

    /// A connector that accepts TCP connections, and its address.
    pub(crate) fn forward(&self) -> (Process, SocketAddr) {
        let mut command = self.connector("forward", &["connect", "--forward=0", &self.target, "22"]);
        let process = Process::start("msp connect", &mut command, None);
        let address = process.error_line("where it listens", |line| {
            let mut words = line.split([' ', ',', ';']);
            words.find_map(|word| word.parse().ok().filter(|address: &SocketAddr| address.ip().is_loopback()))
        });
        (process, address)
    }

    fn connector(&self, identity: &str, arguments: &[&str]) -> Command {
        let mut command = msp(&self.directory.join(identity), arguments);
        command.args(&self.between);
        command
    }
}

/// Starts a listener and waits for the place of which it says that connectors are to name it.
fn listen(identity: &Path, forward: &str, peer: Option<&str>) -> (Process, String) {
    let mut command = msp(identity, &["listen", forward, "22"]);
    let process = Process::start("msp listen", command.args(peer), None);
    let place = process.error_line("how to connect", |line| {
        let words = line.split_once("msp connect")?.1;
        words.split_whitespace().find(|word| word.contains('@')).map(str::to_owned)
    });
    (process, place)
}

/// A node on loopback alone, whatever else runs on this machine.
fn msp(identity: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_msp"));
    command.args(arguments).args(["--udp=127.0.0.1:0", "--no-broadcast", "--identity"]).arg(identity);
    command.env("MSP_RUN", identity.with_extension("run"));
    command
}

/// A server that is started for every connection with the connection as its standard input and output, as
/// inetd does: no port has to be chosen beforehand.
pub(crate) fn inetd(mut command: impl FnMut() -> Command + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let output = Stdio::from(std::os::fd::OwnedFd::from(stream.try_clone().unwrap()));
            let input = Stdio::from(std::os::fd::OwnedFd::from(stream));
            let child = command().stdin(input).stdout(output).stderr(Stdio::null()).spawn();
            // `wait` so that none is left behind; the loop goes on with the next connection meanwhile.
            thread::spawn(move || child.unwrap().wait());
        }
    });
    address
}

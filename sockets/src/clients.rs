//! The socket of a node for other programs on this machine.

use crate::handle::Handle;
use crate::names::{Names, remove};
use crate::run::RunDirectory;
use msp_core::mdp::{ClientName, ClientStatus, Clients, ClientsConfig, Instance, Node};
use msp_core::{Instant, Sid};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

/// System calls to send, and as many to receive, before the other work of a turn gets its share.
const CALLS_PER_TURN: usize = 64;
/// Longer than any datagram of a client.
const BUFFER: usize = 2048;

/// A file in the run directory, at which a node serves [`Clients`]. It is removed when this is dropped.
#[derive(Debug)]
pub struct ClientsSocket {
    socket: Arc<UnixDatagram>,
    clients: Clients,
    readable: bool,
    buffer: Vec<u8>,
    packet: Vec<u8>,
}

/// The place of the node that runs for the user, and of its clients.
///
/// # Errors
///
/// If the path of the directory is not absolute, or too long for the names of sockets.
pub(crate) fn instance(directory: &RunDirectory) -> io::Result<Instance> {
    let path = directory.path();
    Instance::new(path.as_os_str().as_bytes()).map_err(|error| {
        io::Error::new(ErrorKind::InvalidInput, format!("the run directory {}: {error}", path.display()))
    })
}

/// Whether a node runs there.
#[must_use]
pub fn is_node_running(directory: &RunDirectory) -> bool {
    instance(directory).is_ok_and(|instance| Names::Files.is_bound(&instance.daemon_file()))
}

impl ClientsSocket {
    /// Serves the node that is `sid` in this directory.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AddrInUse`] if another node does so; otherwise if the system cannot make the socket.
    pub fn bind(directory: &RunDirectory, sid: Sid, now: Instant) -> io::Result<Self> {
        let instance = instance(directory)?;
        let socket = Names::Files.bind(&instance.daemon_file())?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: Arc::new(socket),
            clients: Clients::new(ClientsConfig::default(), sid, now),
            readable: true,
            buffer: vec![0; BUFFER],
            packet: Vec::new(),
        })
    }

    /// What to wait for.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::Daemon(Arc::clone(&self.socket))
    }

    /// Remembers that it can be read; the work is done in the next turn.
    pub fn ready(&mut self) {
        self.readable = true;
    }

    /// The programs that have ports of the node.
    #[must_use]
    pub fn statuses(&self) -> Vec<ClientStatus> {
        self.clients.statuses().collect()
    }

    /// Moves datagrams between `node` and the clients: a bounded share of them. True if there were any, and there may
    /// be more.
    pub fn turn(&mut self, now: Instant, node: &mut Node) -> bool {
        let received = self.receive(now, node);
        self.clients.update(now, node);
        self.transmit(now, node) || received
    }

    /// When the next turn is due, if nothing comes in.
    #[must_use]
    pub fn deadline(&self, node: &Node) -> Option<Instant> {
        self.clients.poll_timeout(node)
    }

    fn receive(&mut self, now: Instant, node: &mut Node) -> bool {
        let mut progress = false;
        for _ in 0..CALLS_PER_TURN {
            if !(self.readable && self.clients.takes_requests()) {
                break;
            }
            match self.socket.recv_from(&mut self.buffer) {
                Ok((length, from)) => {
                    progress = true;
                    // One without a name cannot be answered, which is counted.
                    let name = from.as_pathname().map_or(&[][..], |path| path.as_os_str().as_bytes());
                    self.clients.handle_request(now, node, name, &self.buffer[..length]);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) => log::debug!("from clients: {error}"),
            }
        }
        progress
    }

    fn transmit(&mut self, now: Instant, node: &mut Node) -> bool {
        let mut progress = false;
        for _ in 0..CALLS_PER_TURN {
            let Some(client) = self.clients.poll_transmit(now, &mut self.packet) else { break };
            match self.send(&client) {
                Ok(()) => progress = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.clients.handle_full(now, &client, &self.packet);
                }
                Err(error) => {
                    progress = true;
                    log::debug!("to a client: {error}");
                    if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) {
                        self.clients.handle_unreachable(node, &client);
                    }
                }
            }
        }
        progress
    }

    fn send(&self, client: &ClientName) -> io::Result<()> {
        let address = Names::Files.address(client.as_bytes())?;
        self.socket.send_to_addr(&self.packet, &address).map(drop)
    }
}

impl Drop for ClientsSocket {
    fn drop(&mut self) {
        remove(&self.socket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::{DaemonSocket, Sent};
    use msp_core::mdp::{Daemon, DaemonConfig, Destination, Identity, NodeConfig, Transmit};
    use msp_core::{Addr, InterfaceId, Port, Protection};
    use std::fs;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    const NOW: Instant = Instant::from_millis(1);
    const TO: Transmit = Transmit::new(InterfaceId(0), Destination::Daemon);

    struct Lab {
        directory: RunDirectory,
        node: Node,
    }

    impl Lab {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("msp-clients-{}-{number}", std::process::id()));
            let directory = RunDirectory::create(Some(&path)).unwrap();
            let identity = Identity::from_seed([1; 32]);
            Self { directory, node: Node::new(NodeConfig::default(), identity, [2; 32], NOW) }
        }

        fn serve(&self) -> io::Result<ClientsSocket> {
            ClientsSocket::bind(&self.directory, self.node.sid(), NOW)
        }

        fn client(&self, port: Option<u16>) -> (DaemonSocket, Daemon) {
            let instance = instance(&self.directory).unwrap();
            let socket = DaemonSocket::bind_to_node(&instance, port.map(Port::from)).unwrap();
            (socket, Daemon::new(DaemonConfig::for_node(9), NOW))
        }

        fn files(&self) -> usize {
            fs::read_dir(self.directory.path()).unwrap().count()
        }
    }

    impl Drop for Lab {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(self.directory.path());
        }
    }

    /// Takes turns until nothing moves.
    fn settle(
        now: Instant,
        server: &mut ClientsSocket,
        node: &mut Node,
        clients: &mut [(DaemonSocket, Daemon)],
    ) {
        for _ in 0..1000 {
            server.ready();
            let mut moved = server.turn(now, node);
            for (socket, daemon) in &mut *clients {
                socket.ready(true);
                moved |= socket.receive(&mut |packet| daemon.handle_packet(now, packet));
                let sent =
                    socket.transmit(now, &mut |buffer| daemon.poll_transmit(now, buffer).then_some(TO));
                moved |= sent == Sent::Something;
            }
            if !moved {
                return;
            }
        }
        panic!("it never ends");
    }

    #[test]
    fn one_node_serves_in_a_directory_and_leaves_nothing_behind() {
        let lab = Lab::new();
        assert!(!is_node_running(&lab.directory));
        let first = lab.serve().unwrap();
        assert!(is_node_running(&lab.directory));
        assert_eq!(lab.serve().unwrap_err().kind(), ErrorKind::AddrInUse);
        assert!(is_node_running(&lab.directory), "the first is not disturbed");
        drop(first);
        assert_eq!((lab.files(), is_node_running(&lab.directory)), (0, false));
        // As one that was killed leaves it.
        drop(Names::Files.bind(&instance(&lab.directory).unwrap().daemon_file()).unwrap());
        assert_eq!((lab.files(), is_node_running(&lab.directory)), (1, false));
        lab.serve().unwrap();
        // What is no socket is left alone.
        fs::write(lab.directory.path().join("mdp.2.socket"), "precious").unwrap();
        assert_eq!(lab.serve().unwrap_err().kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn a_path_that_is_too_long_is_named() {
        let lab = Lab::new();
        let path = lab.directory.path().join("x".repeat(100));
        let long = RunDirectory::create(Some(&path)).unwrap();
        let error = ClientsSocket::bind(&long, lab.node.sid(), NOW).unwrap_err();
        assert!(error.to_string().contains("too long") && error.to_string().contains("xxx"), "{error}");
    }

    /// The kernel keeps few datagrams for a socket; what finds no room waits at either side.
    #[test]
    fn nothing_is_lost_between_clients_however_fast_they_send() {
        let mut lab = Lab::new();
        let mut server = lab.serve().unwrap();
        let mut clients = [lab.client(Some(512)), lab.client(None)];
        let ports = [Port::from(512), Port::from(700)];
        for ((_, daemon), port) in clients.iter_mut().zip(ports) {
            daemon.bind(NOW, port).unwrap();
        }
        settle(NOW, &mut server, &mut lab.node, &mut clients);
        let to = Addr::new(lab.node.sid(), ports[0]);
        let mut now = NOW;
        let (mut sent, mut received) = (0_u32, Vec::new());
        for _ in 0..10_000 {
            while sent < 5000
                && clients[1].1.send(now, ports[1], to, Protection::Encrypted, &sent.to_be_bytes()).is_ok()
            {
                sent += 1;
            }
            settle(now, &mut server, &mut lab.node, &mut clients);
            while let Some(datagram) = clients[0].1.poll_datagram() {
                received.push(u32::from_be_bytes(*datagram.payload.first_chunk().unwrap()));
            }
            if received.len() == 5000 {
                break;
            }
            now += Duration::from_micros(100);
        }
        assert!(received.iter().copied().eq(0..5000), "{} came", received.len());
    }

    #[test]
    fn the_port_of_a_client_that_is_gone_is_free_when_another_wants_it() {
        let mut lab = Lab::new();
        let mut server = lab.serve().unwrap();
        let port = Port::from(512);
        let mut first = [lab.client(None)];
        first[0].1.bind(NOW, port).unwrap();
        settle(NOW, &mut server, &mut lab.node, &mut first);
        assert!(first[0].1.is_bound(port));
        drop(first);
        let mut second = [lab.client(Some(512))];
        second[0].1.bind(NOW, port).unwrap();
        settle(NOW, &mut server, &mut lab.node, &mut second);
        assert!(!second[0].1.is_bound(port), "nobody knows it yet");
        settle(NOW + Duration::from_secs(1), &mut server, &mut lab.node, &mut second);
        assert!(second[0].1.is_bound(port));
    }

    #[test]
    fn a_client_waits_for_a_node_that_is_not_there() {
        let lab = Lab::new();
        let (mut socket, mut daemon) = lab.client(None);
        daemon.bind(NOW, Port::from(512)).unwrap();
        let sent = socket.transmit(NOW, &mut |buffer| daemon.poll_transmit(NOW, buffer).then_some(TO));
        assert_eq!((sent, socket.retry_at()), (Sent::Unreachable, None));
    }
}

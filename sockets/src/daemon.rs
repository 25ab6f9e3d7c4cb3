//! The socket of a client of a daemon.

use crate::names::{Names, is_same, remove};
use msp_core::mdp::{Instance, Transmit};
use msp_core::{Instant, Port};
use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

/// System calls to send, and as many to receive, before the other work of a turn gets its share.
const CALLS_PER_TURN: usize = 64;
/// Longer than any datagram of a daemon.
const BUFFER: usize = 2048;
/// The kernel keeps few datagrams for a socket and does not tell when there is room again: it is tried after this
/// long, and each further time after twice as long.
const FIRST_RETRY: Duration = Duration::from_micros(200);
const LAST_RETRY: Duration = Duration::from_millis(10);

/// A unix socket with a name of its own, which talks to the daemon of one instance.
///
/// It is not connected, because that would tie it to the daemon that runs now and not to the next. What comes
/// from others than the daemon is dropped.
#[derive(Debug)]
pub(crate) struct DaemonSocket {
    socket: Arc<UnixDatagram>,
    daemon: SocketAddr,
    readable: bool,
    buffer: Vec<u8>,
    packet: Vec<u8>,
    /// What finds no room waits, as it does for a node; else it is lost.
    waits: bool,
    waiting: Option<Waiting>,
}

/// The packet found no room.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    retry_at: Instant,
    retry: Duration,
}

/// Whether a daemon of `instance` runs now.
#[must_use]
pub fn is_daemon_running(instance: &Instance) -> bool {
    Names::OF_DAEMONS.is_bound(&instance.daemon_file())
}

/// What has become of packets to the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// There was none.
    Nothing,
    /// They were sent, and there may be more.
    Something,
    /// Nobody was there to take them.
    Unreachable,
}

impl DaemonSocket {
    /// A socket with the name of one that serves `port`, or of one that serves none.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AddrInUse`] if another program serves that port through this daemon; otherwise if the system
    /// cannot make the socket.
    pub(crate) fn bind(instance: &Instance, port: Option<Port>) -> io::Result<Self> {
        Self::bind_as(Names::OF_DAEMONS, instance, port)
    }

    /// The same for a node that serves clients there.
    ///
    /// # Errors
    ///
    /// As for [`DaemonSocket::bind`].
    pub(crate) fn bind_to_node(instance: &Instance, port: Option<Port>) -> io::Result<Self> {
        let mut socket = Self::bind_as(Names::Files, instance, port)?;
        socket.waits = true;
        Ok(socket)
    }

    fn bind_as(names: Names, instance: &Instance, port: Option<Port>) -> io::Result<Self> {
        let daemon = names.address(&instance.daemon_file())?;
        let files = port.map_or_else(|| instance.client_files(), |port| vec![instance.client_file(port)]);
        let mut socket = Err(ErrorKind::AddrInUse.into());
        for file in files {
            socket = names.bind(&file);
            if !matches!(&socket, Err(error) if error.kind() == ErrorKind::AddrInUse) {
                break;
            }
        }
        let socket: UnixDatagram = socket?;
        socket.set_nonblocking(true)?;
        let socket = Arc::new(socket);
        let (buffer, packet) = (vec![0; BUFFER], Vec::new());
        Ok(Self { socket, daemon, readable: true, buffer, packet, waits: false, waiting: None })
    }

    /// What to wait for.
    pub(crate) fn socket(&self) -> &Arc<UnixDatagram> {
        &self.socket
    }

    /// Sends a request and hands over what the daemon says until that is enough. It waits in this thread, no longer than
    /// `patience` from one datagram to the next.
    ///
    /// # Errors
    ///
    /// If nobody is there, or keeps silent before it is enough.
    pub(crate) fn ask(
        mut self,
        request: &[u8],
        patience: Duration,
        mut handle: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> io::Result<()> {
        self.socket.set_nonblocking(false)?;
        self.socket.set_read_timeout(Some(patience))?;
        self.socket.send_to_addr(request, &self.daemon)?;
        loop {
            let (length, from) = self.socket.recv_from(&mut self.buffer)?;
            if is_same(&from, &self.daemon) && handle(&self.buffer[..length]).is_break() {
                return Ok(());
            }
        }
    }

    /// Remembers that the socket is ready; the work is done in the next turn.
    pub(crate) fn ready(&mut self, readable: bool) {
        self.readable |= readable;
    }

    /// When to try again to send what found no room.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.waiting.map(|waiting| waiting.retry_at)
    }

    /// Sends packets until `poll` has none, one has to wait, or the turn has had its share.
    pub(crate) fn transmit(
        &mut self,
        now: Instant,
        poll: &mut dyn FnMut(&mut Vec<u8>) -> Option<Transmit>,
    ) -> Sent {
        let mut sent = Sent::Nothing;
        for _ in 0..CALLS_PER_TURN {
            match self.waiting {
                Some(waiting) if now < waiting.retry_at => break,
                Some(_) => {}
                None if poll(&mut self.packet).is_none() => break,
                None => {}
            }
            match self.socket.send_to_addr(&self.packet, &self.daemon) {
                Err(error) if error.kind() == ErrorKind::WouldBlock && self.waits => {
                    let retry = self.waiting.map_or(FIRST_RETRY, |it| (it.retry * 2).min(LAST_RETRY));
                    self.waiting = Some(Waiting { retry_at: now + retry, retry });
                    break;
                }
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => {
                    self.waiting = None;
                    return Sent::Unreachable;
                }
                // A full queue above all: to a datagram that is loss, and what sent it knows how to repair it.
                Err(error) => log::debug!("to the daemon: {error}"),
                Ok(_) => {}
            }
            self.waiting = None;
            sent = Sent::Something;
        }
        sent
    }

    /// Receives datagrams of the daemon until there is none or the turn has had its share. True if there were any.
    pub(crate) fn receive(&mut self, handle: &mut dyn FnMut(&[u8])) -> bool {
        let mut progress = false;
        for _ in 0..CALLS_PER_TURN {
            if !self.readable {
                break;
            }
            match self.socket.recv_from(&mut self.buffer) {
                Ok((length, from)) => {
                    progress = true;
                    if is_same(&from, &self.daemon) {
                        handle(&self.buffer[..length]);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                // The error of an earlier packet; taking it has cleared it.
                Err(error) => log::debug!("from the daemon: {error}"),
            }
        }
        progress
    }
}

impl Drop for DaemonSocket {
    fn drop(&mut self) {
        remove(&self.socket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use msp_core::mdp::{Destination, InterfaceId};
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A socket that is a daemon's, in a directory of its own.
    struct Lab {
        names: Names,
        directory: PathBuf,
        instance: Instance,
        daemon: Option<UnixDatagram>,
    }

    impl Lab {
        fn new(names: Names) -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let directory = std::env::temp_dir().join(format!("msp-names-{}-{number}", std::process::id()));
            std::fs::create_dir(&directory).unwrap();
            let instance = Instance::new(directory.as_os_str().as_encoded_bytes()).unwrap();
            let mut lab = Self { names, directory, instance, daemon: None };
            lab.start();
            lab
        }

        fn start(&mut self) {
            let daemon = self.names.bind(&self.instance.daemon_file()).unwrap();
            daemon.set_nonblocking(true).unwrap();
            self.daemon = Some(daemon);
        }

        fn client(&self, port: Option<u16>) -> io::Result<DaemonSocket> {
            DaemonSocket::bind_as(self.names, &self.instance, port.map(Port::from))
        }

        /// What the daemon has got: how much, and from whom last.
        fn received(&self) -> (usize, Option<SocketAddr>) {
            let (mut count, mut from, mut buffer) = (0, None, [0; 100]);
            while let Ok((_, address)) = self.daemon.as_ref().unwrap().recv_from(&mut buffer) {
                (count, from) = (count + 1, Some(address));
            }
            (count, from)
        }
    }

    impl Drop for Lab {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }

    /// Sends so many packets. How many were left when it was over, and how.
    fn send(client: &mut DaemonSocket, count: usize) -> (usize, Sent) {
        let mut left = count;
        let sent = client.transmit(Instant::ZERO, &mut |packet| {
            packet.clear();
            packet.push(7);
            left = left.checked_sub(1)?;
            Some(Transmit::new(InterfaceId(0), Destination::Daemon))
        });
        (left, sent)
    }

    fn each(test: impl Fn(Lab)) {
        test(Lab::new(Names::Files));
        test(Lab::new(Names::OF_DAEMONS));
    }

    #[test]
    fn only_the_daemon_is_heard() {
        each(|lab| {
            let mut client = lab.client(Some(512)).unwrap();
            assert_eq!(send(&mut client, 1), (0, Sent::Something));
            let (1, Some(from)) = lab.received() else { panic!("one has come") };
            let own = lab.names.address(&lab.instance.client_file(512.into())).unwrap();
            assert!(is_same(&from, &own), "{from:?}");
            let stranger = lab.names.bind(&lab.instance.client_file(513.into())).unwrap();
            for socket in [&stranger, &UnixDatagram::unbound().unwrap(), lab.daemon.as_ref().unwrap()] {
                socket.send_to_addr(b"hello", &own).unwrap();
            }
            let mut heard = Vec::new();
            assert!(client.receive(&mut |packet| heard.push(packet.to_vec())));
            assert_eq!(heard, [b"hello"]);
            assert!(!client.receive(&mut |_| {}));
        });
    }

    #[test]
    fn a_name_is_for_one_and_then_for_the_next() {
        each(|lab| {
            let first = lab.client(Some(512)).unwrap();
            assert_eq!(lab.client(Some(512)).unwrap_err().kind(), ErrorKind::AddrInUse);
            let others = [lab.client(None).unwrap(), lab.client(None).unwrap()];
            for (other, file) in others.iter().zip(lab.instance.client_files()) {
                let name = lab.names.address(&file).unwrap();
                assert!(is_same(&other.socket.local_addr().unwrap(), &name));
            }
            drop(first);
            lab.client(Some(512)).unwrap();
        });
    }

    #[test]
    fn one_that_was_killed_leaves_its_name_to_the_next() {
        each(|lab| {
            // Such a socket is closed, and nobody removes its file.
            drop(lab.names.bind(&lab.instance.client_file(512.into())).unwrap());
            lab.client(Some(512)).unwrap();
        });
        // What is no socket is left alone.
        let lab = Lab::new(Names::Files);
        std::fs::write(lab.directory.join("mdp.client.msp.512.socket"), "precious").unwrap();
        assert_eq!(lab.client(Some(512)).unwrap_err().kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn a_client_that_ends_leaves_no_file() {
        let lab = Lab::new(Names::Files);
        let client = lab.client(Some(512)).unwrap();
        assert_eq!(std::fs::read_dir(&lab.directory).unwrap().count(), 2);
        drop(client);
        assert_eq!(std::fs::read_dir(&lab.directory).unwrap().count(), 1, "that of the daemon");
    }

    #[test]
    fn what_a_full_queue_does_not_take_is_lost_and_what_comes_later_is_not() {
        each(|lab| {
            let mut client = lab.client(None).unwrap();
            let share = CALLS_PER_TURN;
            for _ in 0..100 {
                assert_eq!(send(&mut client, share), (0, Sent::Something), "nothing waits for room");
            }
            let (count, _) = lab.received();
            assert!((1..100 * share).contains(&count), "{count} have come");
            assert_eq!(send(&mut client, 1), (0, Sent::Something));
            assert_eq!(lab.received().0, 1);
        });
    }

    #[test]
    fn nobody_is_there_until_there_is_a_daemon_again() {
        each(|mut lab| {
            let mut client = lab.client(None).unwrap();
            lab.daemon = None;
            assert_eq!(send(&mut client, 9), (8, Sent::Unreachable), "the rest waits");
            lab.start();
            assert_eq!(send(&mut client, 9), (0, Sent::Something));
            assert_eq!(lab.received().0, 9);
            let _ = std::fs::remove_dir_all(&lab.directory);
            lab.daemon = None;
            assert_eq!(send(&mut client, 9), (8, Sent::Unreachable), "there is no file, either");
        });
    }
}

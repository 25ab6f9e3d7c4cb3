//! The model of a daemon behind a real socket.

use msp_core::mdp::Instance;
use msp_core::testing::Servald;
use msp_core::{Rng, Sid};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// What is longer carries data, see [`Daemon::start`].
const ANSWERS: usize = 80;

/// A daemon of its own instance. It ends when it is dropped.
pub(crate) struct Daemon {
    pub(crate) instance: Instance,
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    /// A daemon with this identity, which loses `loss` of 100 datagrams with data.
    pub(crate) fn start(sid: Sid, loss: u64, seed: u8) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = format!("/msp-test/{}/{number}", std::process::id());
        let instance = Instance::new(path.as_bytes()).unwrap();
        let name = instance.daemon_file();
        let address = SocketAddr::from_abstract_name(Instance::abstract_name(&name)).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        // A client that does not read loses what it does not take.
        socket.set_write_timeout(Some(Duration::from_millis(1))).unwrap();
        let mut rng = Rng::new([seed; 32]);
        let lossy = move |length| length > ANSWERS && rng.below(100) < loss;
        let thread = thread::spawn(move || serve(&socket, Servald::new(sid), lossy));
        Self { instance, address, thread: Some(thread) }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // What is no request ends it.
        UnixDatagram::unbound().unwrap().send_to_addr(&[], &self.address).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(socket: &UnixDatagram, mut model: Servald, mut lossy: impl FnMut(usize) -> bool) {
    let (mut buffer, mut clients) = ([0; 2048], Vec::<SocketAddr>::new());
    loop {
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        if length == 0 {
            return;
        }
        let same = |client: &SocketAddr| client.as_abstract_name() == from.as_abstract_name();
        let number = clients.iter().position(same).unwrap_or_else(|| {
            clients.push(from.clone());
            clients.len() - 1
        });
        model.receive(number, &buffer[..length]);
        for (number, client) in clients.iter().enumerate() {
            while let Some(datagram) = model.poll(number) {
                if !lossy(datagram.len()) {
                    let _ = socket.send_to_addr(&datagram, client);
                }
            }
        }
    }
}

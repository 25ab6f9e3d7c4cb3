//! `msp demo`: a web server, a listener, a bad link and a connector, all in this process.

use crate::args;
use crate::failure::{Failure, Status, check};
use crate::logger::say;
use msp_core::tunnel::{Outcome, TunnelConfig};
use msp_core::{Addr, Identity, Port, Rng, Sid};
use msp_mio::relay::{Relay, RelayConfig};
use msp_mio::{Config, Runtime, Source, Target};
use sha2::{Digest, Sha512};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// The MDP port that stands for the web server.
const WEB: u16 = 80;

pub(crate) fn run(command: &args::Demo) -> Result<(), Failure> {
    let seed = match command.seed {
        Some(seed) => seed,
        None => random_seed()?,
    };
    let length = command.size as usize * 1_000_000;
    let file = Content { seed, length };

    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let web = server.local_addr()?;
    spawn("web server", move || serve(&server, file))?;
    say(&format!("web server     http://{web}/, a file of {} MB", command.size));

    let listener = bind(None)?;
    let (sid, udp) = say_node("msp listen ", &listener)?;
    let remote = Addr::new(sid, Port::from(WEB));

    let mut config = RelayConfig::new(command.loss, seed);
    config.reorder = 5;
    let relay = Relay::start(udp, config)?;
    let relay_address = relay.address();
    say(&format!("bad link       UDP {relay_address}, loses {} % both ways (--seed={seed})", command.loss));

    let connector = bind(Some(relay_address))?;
    let entrance = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = entrance.local_addr()?;
    say_node("msp connect", &connector)?;

    let mut once = TunnelConfig::default();
    once.once = true;
    let listening = listener.listen(WEB.into(), Target::Tcp(vec![web]), once.clone())?;
    let listening = spawn("listen", move || listening.run())?;
    let connecting = connector.connect(remote, Source::Tcp(entrance), once)?;
    let connecting = spawn("connect", move || connecting.run())?;

    say(&format!(
        "client         GET http://{address}/ (msp connect -> bad link -> msp listen -> web server)"
    ));
    let start = Instant::now();
    let fetched = fetch(address);
    let elapsed = start.elapsed().as_millis().max(1);
    let (count, hash) = fetched.map_err(|error| {
        Failure::new(Status::ConnectionFailed, format_args!("the transfer failed: {error}"))
    })?;
    join(connecting)?;
    join(listening)?;
    let link = relay.stats();
    let (seconds, millis) = (elapsed / 1000, elapsed % 1000);
    let rate = count as u128 * 8 / 1000 / elapsed;
    say(&format!("received       {count} bytes in {seconds}.{millis:03} s, {rate} Mbit/s"));
    say(&format!("link           {} packets passed, {} lost", link.passed, link.lost));
    if count != length || hash != file.hash() {
        return Err(Failure::new(
            Status::ConnectionFailed,
            "the file that came is not the file that was sent",
        ));
    }
    say(&format!("SHA-512        {}... at both ends: every loss was repaired", &hash[..32]));
    Ok(())
}

fn random_seed() -> io::Result<u64> {
    let random = msp_mio::random()?;
    Ok(random.iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte)))
}

/// Tells what and where a node is.
fn say_node(name: &str, runtime: &Runtime) -> Result<(Sid, SocketAddr), Failure> {
    let parts = runtime.sid().zip(runtime.local_addr());
    let (sid, address) = parts.ok_or_else(|| Failure::new(Status::ConnectionFailed, "it is no node"))?;
    say(&format!("{name}    node {sid} at UDP {address}"));
    Ok((sid, address))
}

/// A node on the loopback address, which knows nobody but the given peer.
fn bind(peer: Option<SocketAddr>) -> Result<Runtime, Failure> {
    let mut config = Config::default();
    config.udp = (Ipv4Addr::LOCALHOST, 0).into();
    config.broadcast = false;
    config.peers.extend(peer);
    Runtime::bind(Identity::from_seed(msp_mio::random()?), &config)
        .map_err(|error| Failure::new(Status::CannotBind, error))
}

fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(name.into()).spawn(run)
}

/// Waits until this end knows that everything has arrived.
fn join(tunnel: JoinHandle<io::Result<Outcome>>) -> Result<(), Failure> {
    match tunnel.join() {
        Ok(outcome) => check(outcome?, true, "the tunnel"),
        Err(_) => Err(Failure::new(Status::ConnectionFailed, "a node panicked")),
    }
}

/// Bytes that look random, the same for the same seed.
#[derive(Debug, Clone, Copy)]
struct Content {
    seed: u64,
    length: usize,
}

impl Content {
    fn blocks(self) -> impl Iterator<Item = [u8; 64]> {
        let mut start = [0; 32];
        start[..8].copy_from_slice(&self.seed.to_le_bytes());
        start[8] = 1;
        let mut rng = Rng::new(start);
        (0..self.length.div_ceil(64)).map(move |_| rng.bytes())
    }

    fn hash(self) -> String {
        let mut hasher = Sha512::new();
        let mut left = self.length;
        for block in self.blocks() {
            hasher.update(&block[..left.min(64)]);
            left -= left.min(64);
        }
        hex(&hasher.finalize())
    }
}

/// Answers one request after the other with the file.
fn serve(server: &TcpListener, file: Content) {
    for stream in server.incoming() {
        if let Err(error) = stream.and_then(|stream| answer(stream, file)) {
            log::warn!("web server: {error}");
        }
    }
}

fn answer(stream: TcpStream, file: Content) -> io::Result<()> {
    let mut request = BufReader::new(&stream);
    let mut line = String::new();
    while request.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut response = io::BufWriter::with_capacity(64 * 1024, &stream);
    write!(response, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", file.length)?;
    let mut left = file.length;
    for block in file.blocks() {
        response.write_all(&block[..left.min(64)])?;
        left -= left.min(64);
    }
    response.flush()
}

/// Fetches the file; returns its length and hash.
fn fetch(address: SocketAddr) -> io::Result<(usize, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut response = BufReader::new(stream);
    let mut line = String::new();
    while response.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut hasher = Sha512::new();
    let mut count = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match response.read(&mut buffer)? {
            0 => return Ok((count, hex(&hasher.finalize()))),
            read => {
                hasher.update(&buffer[..read]);
                count += read;
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

//! How fast a tunnel on each runtime is, both ends in one process, over UDP on the loopback address.
//!
//! `cargo run --release -p msp-async-std --example speed [MEGABYTES]`

use async_std::task;
use msp_async_std::tunnel::{self, Carrier};
use msp_core::tunnel::TunnelConfig;
use msp_core::{Addr, Identity};
use msp_mio::{Config, Runtime, Source, Target, random};
use std::error::Error;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Instant;
use std::{env, thread};

const PORT: u16 = 1000;
/// Each runtime has as many turns, and the best of them counts: other programs only make it slower.
const ROUNDS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let megabytes = env::args().nth(1).map_or(Ok(64), |text| text.parse())?;
    let (mut mio, mut asynchronous) = (0_f64, 0_f64);
    for _ in 0..ROUNDS {
        mio = mio.max(measure(over_mio, megabytes)?);
        asynchronous = asynchronous.max(measure(over_async, megabytes)?);
    }
    println!("mio        {mio:7.1} MB/s");
    println!("async-std  {asynchronous:7.1} MB/s, {:.0} % of it", 100.0 * asynchronous / mio);
    Ok(())
}

/// Makes a tunnel from one TCP port to another. Returns where to connect to.
type Join = fn(target: SocketAddr) -> Result<SocketAddr, Box<dyn Error>>;

fn measure(join: Join, megabytes: usize) -> Result<f64, Box<dyn Error>> {
    let server = TcpListener::bind("127.0.0.1:0")?;
    let entrance = join(server.local_addr()?)?;
    let start = Instant::now();
    let sending = thread::spawn(move || -> std::io::Result<()> {
        let mut client = TcpStream::connect(entrance)?;
        let piece = vec![7; 1 << 20];
        for _ in 0..megabytes {
            client.write_all(&piece)?;
        }
        client.shutdown(Shutdown::Write)?;
        client.read_to_end(&mut Vec::new()).map(drop)
    });
    let (mut stream, _) = server.accept()?;
    let (mut buffer, mut received) = (vec![0; 1 << 18], 0);
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            count => received += count,
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    drop(stream);
    sending.join().map_err(|_| "the sender panicked")??;
    assert_eq!(received, megabytes << 20);
    Ok(megabytes as f64 * 1.048_576 / seconds)
}

fn config(peer: Option<SocketAddr>) -> Result<Config, Box<dyn Error>> {
    let mut config = Config::default();
    config.udp = "127.0.0.1:0".parse()?;
    config.broadcast = false;
    config.peers.extend(peer);
    Ok(config)
}

fn once() -> TunnelConfig {
    let mut once = TunnelConfig::default();
    once.once = true;
    once
}

fn over_mio(target: SocketAddr) -> Result<SocketAddr, Box<dyn Error>> {
    let listener = Runtime::bind(Identity::from_seed(random()?), &config(None)?)?;
    let remote = Addr::new(listener.sid().ok_or("a node has an address")?, PORT.into());
    let peer = listener.local_addr();
    let listener = listener.listen(PORT.into(), Target::Tcp(vec![target]), once())?;
    thread::spawn(move || listener.run());

    let entrance = TcpListener::bind("127.0.0.1:0")?;
    let address = entrance.local_addr()?;
    let connector = Runtime::bind(Identity::from_seed(random()?), &config(peer)?)?;
    let connector = connector.connect(remote, Source::Tcp(entrance), once())?;
    thread::spawn(move || connector.run());
    Ok(address)
}

fn over_async(target: SocketAddr) -> Result<SocketAddr, Box<dyn Error>> {
    let listener = Carrier::bind(Identity::from_seed(random()?), &config(None)?)?;
    let remote = Addr::new(listener.sid().ok_or("a node has an address")?, PORT.into());
    let peer = listener.local_addr();
    task::spawn(tunnel::listen(listener, PORT.into(), Target::Tcp(vec![target]), once())?);

    let entrance = TcpListener::bind("127.0.0.1:0")?;
    let address = entrance.local_addr()?;
    let connector = Carrier::bind(Identity::from_seed(random()?), &config(peer)?)?;
    task::spawn(tunnel::connect(connector, remote, Source::Tcp(entrance), once())?);
    Ok(address)
}

//! A TCP echo server reached through a tunnel between two nodes in one process.
//!
//! `cargo run -p msp-mio --example two_nodes`

use msp_core::tunnel::TunnelConfig;
use msp_core::{Addr, Identity, Port};
use msp_mio::{Config, Runtime, Source, Target};
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

/// The MDP port that stands for the server.
const ECHO: u16 = 7000;

fn main() -> Result<(), Box<dyn Error>> {
    // A server that knows nothing of all this.
    let server = TcpListener::bind("127.0.0.1:0")?;
    let target = server.local_addr()?;
    thread::spawn(move || {
        let (mut stream, _) = server.accept()?;
        io::copy(&mut stream.try_clone()?, &mut stream)?;
        stream.shutdown(Shutdown::Write)
    });

    // A node that lets peers reach it.
    let mut config = Config::default();
    config.udp = "127.0.0.1:0".parse()?;
    config.broadcast = false;
    let listener = Runtime::bind(Identity::from_seed(msp_mio::random()?), &config)?;
    let remote = Addr::new(listener.sid().ok_or("a node has an address")?, Port::from(ECHO));
    config.peers.extend(listener.local_addr());
    let stop_listener = listener.stopper();
    let tunnel = listener.listen(ECHO.into(), Target::Tcp(vec![target]), TunnelConfig::default())?;
    let listening = thread::spawn(move || tunnel.run());

    // A node that offers the server at a TCP port of its own.
    let connector = Runtime::bind(Identity::from_seed(msp_mio::random()?), &config)?;
    let entrance = TcpListener::bind("127.0.0.1:0")?;
    let address = entrance.local_addr()?;
    let stop_connector = connector.stopper();
    let tunnel = connector.connect(remote, Source::Tcp(entrance), TunnelConfig::default())?;
    let connecting = thread::spawn(move || tunnel.run());

    // A client that knows nothing either.
    let mut client = TcpStream::connect(address)?;
    client.write_all(b"hello through the mesh")?;
    client.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    println!("{answer}");

    stop_connector.stop();
    stop_listener.stop();
    for node in [connecting, listening] {
        node.join().map_err(|_| "a node panicked")??;
    }
    Ok(())
}

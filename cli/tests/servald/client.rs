//! Ours as a client of a daemon: that nothing is left behind, and what happens when one of them goes away.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use crate::bindings::taken;
use crate::common::usage;
use crate::lab::Lab;
use crate::matrix::Run;
use crate::ours::Ours;
use crate::process::{LIMIT, Process, until};
use crate::report::{say, skip};
use crate::scratch::{assert_same, noise};
use crate::side::{End, Side};

const HERE: u8 = 0;
const THERE: u8 = 1;

/// A lab for clients of daemons, or the reason why the test is skipped.
fn lab(test: &str) -> Option<Lab> {
    if !Ours::knows_daemons() {
        skip(test, "this msp has no option --servald");
        return None;
    }
    crate::lab(test, 2)
}

/// A tunnel of TCP connections through a daemon at each end.
#[derive(Debug)]
struct Tunnel<'a> {
    lab: &'a Lab,
    here: Side<'a>,
    there: Side<'a>,
    connector: Process,
    listener: Process,
    /// MDP port of the listener.
    port: String,
    /// TCP port of the connector.
    entrance: u16,
    /// Where the listener connects to.
    server: TcpListener,
}

impl<'a> Tunnel<'a> {
    fn new(lab: &'a Lab) -> Self {
        let [here, there] = [HERE, THERE].map(|node| Side::start(lab, node, End::ThroughDaemon));
        here.daemon().route_to(there.sid());
        there.daemon().route_to(here.sid());
        let (port, server, entrance) = (Run::port(), lab.listen(THERE), lab.free_port(HERE));
        let target = format!("--forward={}", server.local_addr().unwrap().port());
        let listener = there.listen(&["-v", &target, &port], Some(b""));
        let forward = format!("--forward={entrance}");
        let connector = here.spawn(&["connect", "-v", &forward, there.sid(), &port], Some(b""));
        Self { lab, here, there, connector, listener, port, entrance, server }
    }

    fn client(&self) -> TcpStream {
        let client = self.lab.connect(HERE, self.entrance);
        limit(&client);
        client
    }

    fn accept(&self) -> TcpStream {
        let (served, _) = self.server.accept().unwrap();
        limit(&served);
        served
    }

    /// One connection that asks and is answered.
    fn hello(&self) {
        let mut client = self.client();
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut served = self.accept();
        let mut request = Vec::new();
        served.read_to_end(&mut request).unwrap();
        assert_eq!(request, b"hello");
        served.write_all(b"hi").unwrap();
        drop(served);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"hi");
    }

    /// The MDP ports from which connections have come.
    fn peer_ports(&self) -> Vec<u32> {
        let said = self.listener.said();
        let peers = said.lines().filter_map(|line| line.split_once(": open, peer ")?.1.split_once(':'));
        peers.map(|(_, port)| port.trim().parse().unwrap()).collect()
    }

    fn end(self) {
        for (name, process) in [("the connector", self.connector), ("the listener", self.listener)] {
            process.signal("TERM");
            process.finish().assert_status(name, 0);
        }
    }
}

fn limit(stream: &TcpStream) {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
}

/// What one of the four programs has: kilobytes, and file descriptors.
type Usage = (u64, usize);

impl Tunnel<'_> {
    fn usage(&self) -> [(&'static str, Usage); 4] {
        let of = |name, process| (name, (usage::resident(process), usage::descriptors(process)));
        [
            of("the connector", self.connector.id()),
            of("its daemon", self.here.daemon().id()),
            of("the listener", self.listener.id()),
            of("its daemon", self.there.daemon().id()),
        ]
    }

    /// `count` connections at the same time.
    fn at_once(&self, count: usize) {
        let clients: Vec<_> = (0..count).map(|_| self.client()).collect();
        clients.iter().for_each(|mut client| client.write_all(b"hello").unwrap());
        let served: Vec<_> = (0..count).map(|_| self.accept()).collect();
        let text = noise(6, 10_000);
        thread::scope(|scope| {
            for mut stream in served {
                let text = &text;
                scope.spawn(move || {
                    stream.read_exact(&mut [0; 5]).unwrap();
                    stream.write_all(text).unwrap();
                });
            }
            for mut client in clients {
                let mut came = Vec::new();
                client.read_to_end(&mut came).unwrap();
                assert_same("an answer", &came, &text);
            }
        });
    }
}

#[test]
#[ignore = "takes a minute"]
fn a_thousand_connections_leave_nothing_behind() {
    /// Kilobytes that may come and go.
    const SLACK: u64 = 1024;
    let Some(lab) = lab("a_thousand_connections_leave_nothing_behind") else { return };
    let tunnel = Tunnel::new(&lab);
    // They grow to what so many need.
    tunnel.at_once(100);
    (0..100).for_each(|_| tunnel.hello());
    let idle = until("the end of all connections", || {
        let usage = tunnel.usage();
        (usage[0].1.1 <= 20 && usage[2].1.1 <= 20).then_some(usage)
    });
    for round in 0..10 {
        (0..100).for_each(|_| tunnel.hello());
        say(&format!("{:>4} connections: {:?}", 100 * (round + 1), tunnel.usage()));
    }
    tunnel.at_once(100);
    until("no more descriptors than before", || {
        let no_more = |((_, now), (_, before)): (&(_, Usage), &(_, Usage))| now.1 <= before.1;
        tunnel.usage().iter().zip(&idle).all(no_more).then_some(())
    });
    let after = tunnel.usage();
    say(&format!("100 connections at once: {after:?}"));
    for ((name, now), (_, before)) in after.iter().zip(&idle) {
        assert!(now.0 <= before.0 + SLACK, "{name} had {} kB and has {} kB", before.0, now.0);
    }
    let ports = tunnel.peer_ports();
    assert!(ports.len() >= 1000, "the listener names {} ports", ports.len());
    let daemon = tunnel.here.daemon();
    until("the release of all ports", || taken(&lab, HERE, daemon, &ports).is_empty().then_some(()));
    tunnel.end();
}

/// Which daemon goes away, and how.
const GOING: [(u8, &str); 4] = [(HERE, "INT"), (HERE, "KILL"), (THERE, "INT"), (THERE, "KILL")];

#[test]
fn a_daemon_starts_again_in_the_middle_of_a_transfer() {
    let Some(lab) = lab("a_daemon_starts_again_in_the_middle_of_a_transfer") else { return };
    let text = noise(7, 2_000_000);
    for (node, signal) in GOING {
        let tunnel = Tunnel::new(&lab);
        let client = tunnel.client();
        let (survived, sent) = thread::scope(|scope| {
            let sending = scope.spawn(|| {
                (&client).write_all(&text)?;
                client.shutdown(Shutdown::Write)?;
                // Until the other end has it all, or the connection fails.
                (&client).read_to_end(&mut Vec::new())
            });
            let mut served = tunnel.accept();
            let mut came = vec![0; 100_000];
            served.read_exact(&mut came).unwrap();
            let daemon = if node == HERE { tunnel.here.daemon() } else { tunnel.there.daemon() };
            daemon.stop(signal);
            daemon.serve();
            let ended = served.read_to_end(&mut came);
            assert_same("what came", &came, &text[..came.len()]);
            drop(served);
            (ended.is_ok() && came.len() == text.len(), sending.join().unwrap())
        });
        assert_eq!(survived, sent.is_ok(), "one end says that all is well, the other does not: {sent:?}");
        let place = if node == HERE { "connector" } else { "listener" };
        let result = if survived { "the stream survives" } else { "both ends see the end of it" };
        say(&format!("SIG{signal} to the daemon of the {place}, and a new start: {result}"));
        tunnel.here.daemon().route_to(tunnel.there.sid());
        tunnel.hello();
        tunnel.end();
    }
}

#[test]
fn a_killed_listener_has_its_port_again() {
    let Some(lab) = lab("a_killed_listener_has_its_port_again") else { return };
    let [here, there] = [HERE, THERE].map(|node| Side::start(&lab, node, End::ThroughDaemon));
    here.daemon().route_to(there.sid());
    let port = Run::port();
    for _ in 0..2 {
        let mut listener = there.listen(&[&port], None);
        let mut connector = here.spawn(&["connect", there.sid(), &port], None);
        connector.type_in(b"hello\n");
        listener.output_line("a greeting", |line| (line == "hello").then_some(()));
        listener.type_in(b"hi\n");
        connector.output_line("an answer", |line| (line == "hi").then_some(()));
        listener.signal("KILL");
        listener.finish();
        connector.finish().assert_status("the connector of a killed listener", 1);
    }
    greet(&here, &there, &port);
}

#[test]
fn both_ends_are_at_one_daemon() {
    let Some(lab) = lab("both_ends_are_at_one_daemon") else { return };
    let here = Side::start(&lab, HERE, End::ThroughDaemon);
    greet(&here, &here.beside(End::ThroughDaemon), &Run::port());
}

/// A daemon has one port for the answers. It is free again when the first listener has ended.
#[test]
fn one_service_at_each_daemon() {
    let Some(lab) = lab("one_service_at_each_daemon") else { return };
    let here = Side::start(&lab, HERE, End::ThroughDaemon);
    let offer = |name: &str| {
        here.listen(&["-v", "--forward=1", &format!("--service={name}"), &Run::port()], Some(b""))
    };
    let (first, second) = (offer("first"), offer("second"));
    second.error_line("that it cannot be found", |line| line.contains("cannot be found").then_some(()));
    first.signal("TERM");
    first.finish().assert_status("the first", 0);
    second.error_line("that it has the port", |line| line.contains("port 11 is bound").then_some(()));
}

/// One connection on standard input and output.
#[track_caller]
fn greet(here: &Side<'_>, there: &Side<'_>, port: &str) {
    let listener = there.listen(&[port], Some(b"hi\n"));
    let connector = here.spawn(&["connect", there.sid(), port], Some(b"hello\n"));
    for (process, greeting) in [(connector, "hi\n"), (listener, "hello\n")] {
        let ended = process.finish();
        ended.assert_status("an end", 0);
        assert_eq!(ended.text(), greeting);
    }
}

/// The daemon does not notice that a client is gone. The next one has its name, and gives back what it had.
#[test]
fn the_next_client_gives_back_what_a_killed_connector_had() {
    let Some(lab) = lab("the_next_client_gives_back_what_a_killed_connector_had") else { return };
    let mut tunnel = Tunnel::new(&lab);
    let mut client = tunnel.client();
    client.write_all(b"hello").unwrap();
    let mut served = tunnel.accept();
    served.read_exact(&mut [0; 5]).unwrap();
    let ports =
        until("the port of the connection", || Some(tunnel.peer_ports()).filter(|ports| !ports.is_empty()));
    tunnel.connector.signal("KILL");
    // Its end of this is closed by the kernel.
    let _ = client.read(&mut [0; 1]);
    assert_eq!(taken(&lab, HERE, tunnel.here.daemon(), &ports), ports, "the daemon keeps them for nobody");

    let (entrance, port) = (format!("--forward={}", tunnel.entrance), tunnel.port.clone());
    let next = ["connect", "-v", &entrance, tunnel.there.sid(), &port];
    tunnel.connector = tunnel.here.spawn(&next, Some(b""));
    tunnel.hello();
    assert_eq!(taken(&lab, HERE, tunnel.here.daemon(), &ports), []);
    tunnel.end();
}

#[test]
fn services_are_found() {
    let Some(lab) = lab("services_are_found") else { return };
    for offers in End::all() {
        let there = Side::start(&lab, THERE, offers);
        let port = Run::port();
        let _listener = there.listen(&["--forward=1", "--service=library", &port], Some(b""));
        for looks in [End::ThroughDaemon, End::Embedded] {
            let here = Side::start(&lab, HERE, looks);
            if let Some(daemon) = &here.daemon {
                daemon.route_to(there.sid());
            }
            let found = here.spawn(&["find", "library"], Some(b"")).finish();
            found.assert_status("msp find", 0);
            let expected = format!("{} {port} library ", there.sid().to_uppercase());
            assert!(found.text().to_uppercase().starts_with(&expected.to_uppercase()), "{}", found.text());
            let missing = here.spawn(&["find", "laboratory"], Some(b"")).finish();
            missing.assert_status("msp find for what nobody has", 1);
            let connect = ["connect", "--service=library", "--prefer=nearest"];
            // It gets there, where nothing is behind it.
            here.spawn(&connect, Some(b"hello\n")).finish().assert_status("msp connect --service", 5);
            let ping = here.spawn(&["ping", there.sid()], Some(b"")).finish();
            ping.assert_status("msp ping", 0);
            say(&format!("{looks} finds and pings {offers}"));
        }
    }
}

#[test]
fn without_a_daemon_there_is_an_error() {
    let Some(lab) = lab("without_a_daemon_there_is_an_error") else { return };
    let here = Side::start(&lab, HERE, End::ThroughDaemon);
    here.daemon().stop("INT");
    for command in [&["connect", here.sid(), "700"][..], &["ping", here.sid()], &["find"], &["id"]] {
        let ended = here.spawn(command, Some(b"")).finish();
        say(&format!("no daemon, msp {}: {}", command[0], ended.errors.trim()));
        ended.assert_status(command[0], 4);
        assert_eq!(ended.errors.lines().count(), 1, "{}", ended.errors);
    }
    // Who offers something is there when the daemon is.
    let listener = here.spawn(&["listen", "--forward=1", "700"], Some(b""));
    listener.error_line("that there is no daemon", |line| line.contains("no Serval daemon").then_some(()));
    here.daemon().serve();
    listener.error_line("that it listens", |line| line.contains("listening on MDP port").then_some(()));
    listener.signal("TERM");
    listener.finish().assert_status("msp listen", 0);
}

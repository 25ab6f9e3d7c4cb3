//! Asks a daemon for what it knows of the mesh.

use crate::daemon::DaemonSocket;
use crate::show::{Question, daemon_answer};
use msp_core::mdp::Instance;
use msp_core::wire::client::{Reply, ReplyKind};
use msp_core::wire::routes::{Entry, emit_request};
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

/// How long the daemon may keep silent. One that runs answers at once.
const PATIENCE: Duration = Duration::from_secs(1);
/// Entries of the largest table that is read.
const MAX_ENTRIES: usize = 10_000;

/// Asks the daemon of `instance`, in `directory`, what a program would be asked that has a node. What the kernel has no
/// room for is missing in its table: a daemon does not wait until it is taken.
///
/// # Errors
///
/// If no daemon answers.
pub fn ask_daemon(instance: &Instance, directory: &Path, question: Question) -> io::Result<(usize, String)> {
    let mut request = Vec::new();
    emit_request(&mut request);
    let mut payloads: Vec<Vec<u8>> = Vec::new();
    let asked = DaemonSocket::bind(instance, None)?.ask(&request, PATIENCE, |packet| {
        match Reply::parse(packet).map(|reply| reply.kind) {
            Ok(ReplyKind::Data { payload, .. }) => payloads.push(payload.to_vec()),
            Ok(ReplyKind::Done | ReplyKind::Refused) => return ControlFlow::Break(()),
            _ => {}
        }
        if payloads.len() < MAX_ENTRIES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    if payloads.is_empty() {
        asked?; // else the end was lost
    }
    let entries: Vec<_> = payloads.iter().filter_map(|payload| Entry::parse(payload).ok()).collect();
    Ok(daemon_answer(directory, question, &entries))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Names;
    use crate::show::Topic;
    use crate::table::Format;
    use msp_core::wire::routes::{Interface, Reach};
    use msp_core::{Addr, Port, Sid};
    use std::os::unix::ffi::OsStrExt as _;
    use std::thread;

    #[test]
    fn a_daemon_tells_its_peers_and_routes() {
        let directory = std::env::temp_dir().join(format!("msp-dump-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let instance = Instance::new(directory.as_os_str().as_bytes()).unwrap();
        let daemon = Names::OF_DAEMONS.bind(&instance.daemon_file()).unwrap();
        let [own, near, far] = [1, 2, 3].map(|n| Sid::new([n; 32]));
        let entry = |sid, reach, hops, next_hop| Entry {
            sid,
            reach,
            hops,
            next_hop,
            previous_hop: None,
            interface: (hops < 2).then_some(Interface { index: 4, is_up: true, name: b"wlan0" }),
        };
        let table = [
            entry(own, Reach::Own, 0, None),
            entry(near, Reach::Unicast, 1, None),
            entry(far, Reach::Indirect, 2, Some(near)),
            entry(Sid::new([4; 32]), Reach::Unreachable, 0, None),
        ];
        let answering = thread::spawn(move || {
            for _ in 0..2 {
                let mut request = [0; 100];
                let (length, from) = daemon.recv_from(&mut request).unwrap();
                assert_eq!((length, request[68]), (75, 5));
                let (local, remote) = (Addr::new(own, Port::ANY), Addr::new(own, Port::from(5)));
                let tell = |kind: ReplyKind<'_>| {
                    let mut reply = Vec::new();
                    Reply { local, remote, kind, qos: 0, ttl: 0 }.emit(&mut reply);
                    daemon.send_to_addr(&reply, &from).unwrap();
                };
                for entry in table {
                    let mut payload = Vec::new();
                    entry.emit(&mut payload);
                    let protection = msp_core::Protection::Encrypted;
                    tell(ReplyKind::Data { protection, payload: &payload });
                }
                tell(ReplyKind::Done);
            }
        });
        let ask = |topic, format| ask_daemon(&instance, &directory, Question { topic, format }).unwrap();
        let (count, text) = ask(Topic::Peers, Format::Json);
        assert!(
            text.contains(&format!("\"sid\":\"{near}\"")) && text.contains("\"interface\":\"wlan0\""),
            "{text}"
        );
        assert_eq!((count, text.lines().count()), (1, 1));
        let (count, text) = ask(Topic::Routes, Format::Table);
        let title = format!("daemon in {}, node {own}", directory.display());
        assert_eq!((count, text.lines().next()), (2, Some(&*title)));
        assert!(text.contains("2  020202020202*") && text.contains(&far.to_string()), "{text}");
        answering.join().unwrap();
        let gone = ask_daemon(&instance, &directory, Question { topic: Topic::Peers, format: Format::Json });
        assert!(gone.is_err());
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

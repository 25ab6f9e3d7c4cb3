//! What a running program tells of itself and of the mesh around it.

use crate::table::{Cell, Column, Format, Table};
use msp_core::mdp::{ClientStatus, Node, Uplink};
use msp_core::msp::StreamStatus;
use msp_core::wire::routes::{Entry, Reach};
use msp_core::{Addr, Sid};
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process;
use std::str::FromStr;

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// The neighbours of the node.
    Peers,
    /// The nodes that can be reached.
    Routes,
    /// The streams.
    Status,
}

/// What is asked of a running program: a line of two words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// About what.
    pub topic: Topic,
    /// How it is to be answered.
    pub format: Format,
}

const TOPICS: [(&str, Topic); 3] =
    [("peers", Topic::Peers), ("routes", Topic::Routes), ("status", Topic::Status)];
const FORMATS: [(&str, Format); 2] = [("table", Format::Table), ("json", Format::Json)];

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topic = TOPICS.iter().find(|(_, topic)| *topic == self.topic);
        let format = FORMATS.iter().find(|(_, format)| *format == self.format);
        write!(f, "{} {}", topic.map_or("", |it| it.0), format.map_or("", |it| it.0))
    }
}

impl FromStr for Question {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let (topic, format) = line.split_once(' ').ok_or(())?;
        let topic = TOPICS.iter().find(|(name, _)| *name == topic).ok_or(())?.1;
        let format = FORMATS.iter().find(|(name, _)| *name == format).ok_or(())?.1;
        Ok(Self { topic, format })
    }
}

/// The program that tells.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// What it does, such as `listen 512`.
    pub command: String,
    /// The directory of the daemon that it goes through, which knows of peers and routes.
    pub daemon: Option<PathBuf>,
}

/// What a program carries.
#[derive(Debug)]
pub enum Carried {
    /// Streams of its own.
    Streams(Vec<StreamStatus>),
    /// Datagrams of other programs.
    Clients(Vec<ClientStatus>),
}

/// The answer: a line with how many things it tells, and the directory of the daemon that is to be asked, too; then
/// the text for people or programs.
#[must_use]
pub fn answer(
    about: &About,
    question: Question,
    uplink: &mut Uplink,
    udp: &[SocketAddr],
    carried: Carried,
) -> String {
    let Question { topic, format } = question;
    let own = uplink.sid();
    let daemon = about.daemon.as_ref().filter(|_| topic != Topic::Status);
    let table = match topic {
        Topic::Status => match carried {
            Carried::Streams(streams) => stream_table(&about.command, streams),
            Carried::Clients(clients) => client_table(&about.command, clients),
        },
        Topic::Peers => uplink.node().map_or(Table::new(PEERS), |node| peer_table(node)),
        Topic::Routes => uplink.node().map_or(Table::new(ROUTES), |node| route_table(node)),
    };
    let mut answer = table.len().to_string();
    if let Some(daemon) = daemon {
        answer.extend([" ", &daemon.to_string_lossy()]);
    }
    answer.push('\n');
    if format == Format::Table && daemon.is_none() {
        let title = title(about, own, udp);
        answer.extend([&*title, if table.is_empty() { NONE[topic as usize] } else { "" }, "\n"]);
    }
    answer + &table.render(format)
}

/// The same of a daemon, by its table: how many things, and the text.
pub(crate) fn daemon_answer(directory: &Path, question: Question, entries: &[Entry<'_>]) -> (usize, String) {
    let own = entries.iter().find(|entry| entry.reach == Reach::Own).map(|entry| entry.sid);
    let others = entries.iter().filter(|entry| !matches!(entry.reach, Reach::Own | Reach::Unreachable));
    let mut table = Table::new(if question.topic == Topic::Peers { PEERS } else { ROUTES });
    for entry in others {
        let interface = Cell::maybe(entry.interface, |it| Cell::text(String::from_utf8_lossy(it.name)));
        let row = match question.topic {
            Topic::Peers if entry.hops > 1 => continue,
            Topic::Peers => {
                let by = if entry.reach == Reach::Unicast { "unicast" } else { "broadcast" };
                let mut row = vec![Cell::Unknown; PEERS.len()];
                (row[0], row[2], row[3]) = (Cell::text("up"), interface, Cell::text(by));
                row[PEERS.len() - 1] = Cell::text(entry.sid);
                row
            }
            _ => vec![
                Cell::Number(entry.hops.into()),
                short(entry.next_hop.unwrap_or(entry.sid)),
                Cell::maybe(entry.previous_hop, short),
                Cell::Unknown,
                interface,
                Cell::text(entry.sid),
            ],
        };
        table.push(row);
    }
    let mut text = String::new();
    if question.format == Format::Table {
        let none = if table.is_empty() { NONE[question.topic as usize] } else { "" };
        let own = own.map_or(String::new(), |own| format!(", node {own}"));
        let title = format!("daemon in {}{own}{none}\n", directory.display());
        text.push_str(&title);
    }
    (table.len(), text + &table.render(question.format))
}

const NONE: [&str; 3] = [": nothing is heard of other nodes", ": no node can be reached", ": no connections"];

/// Who tells, on one line.
fn title(about: &About, own: Option<Sid>, udp: &[SocketAddr]) -> String {
    let mut title = format!("msp {}, pid {}", about.command, process::id());
    // Writing to a string cannot fail.
    let _ = own.map_or(Ok(()), |own| write!(title, ", node {own}"));
    let _ = udp.iter().try_for_each(|udp| write!(title, " at UDP {udp}"));
    let _ = about.daemon.as_ref().map_or(Ok(()), |it| write!(title, " through {}", it.display()));
    crate::table::escape(&title)
}

const PEERS: &[Column] = &[
    ("STATE", "state"),
    ("UDP", "address"),
    ("IF", "interface"),
    ("BY", "sent_by"),
    ("ROUND TRIP", "round_trip_ms"),
    ("LOSS TO", "loss_to_percent"),
    ("FROM", "loss_from_percent"),
    ("QUEUED", "frames_queued"),
    ("ON THE WAY", "frames_in_flight"),
    ("RESENT", "frames_resent"),
    ("SID", "sid"),
];

fn peer_table(node: &Node) -> Table {
    let mut table = Table::new(PEERS);
    // They are told in parts of 15.
    let loss = |lost: Option<u8>| Cell::maybe(lost, |lost| Cell::Share(u32::from(lost) * 1_000_000 / 15));
    for peer in node.neighbours() {
        table.push(vec![
            Cell::text(if peer.up { "up" } else { "heard" }),
            Cell::text(peer.address),
            Cell::text(node.interface_name(peer.interface)),
            Cell::text(if peer.unicast { "unicast" } else { "broadcast" }),
            Cell::maybe(peer.round_trip, Cell::Time),
            loss(peer.loss_to),
            loss(peer.loss_from),
            Cell::Number(peer.queued as u64),
            Cell::Number(peer.in_flight as u64),
            Cell::Number(peer.retransmissions),
            Cell::text(peer.sid),
        ]);
    }
    table
}

const ROUTES: &[Column] = &[
    ("HOPS", "hops"),
    ("NEXT HOP", "next_hop"),
    ("PREVIOUS HOP", "previous_hop"),
    ("DROPS", "drop_rate"),
    ("IF", "interface"),
    ("SID", "sid"),
];

fn route_table(node: &Node) -> Table {
    let mut table = Table::new(ROUTES);
    for route in node.routes() {
        table.push(vec![
            Cell::Number(route.hops.into()),
            short(route.next_hop),
            short(route.previous_hop),
            Cell::Number(route.drop_rate.into()),
            Cell::text(node.interface_name(route.interface)),
            Cell::text(route.sid),
        ]);
    }
    table
}

const STREAMS: &[Column] = &[
    ("", "pid"),
    ("", "command"),
    ("", "stream"),
    ("PEER", "peer"),
    ("", "peer_port"),
    ("PORT", "port"),
    ("", "initiator"),
    ("STATE", "state"),
    ("SENT", "sent_bytes"),
    ("RATE", "send_rate"),
    ("RECEIVED", "received_bytes"),
    ("RATE", "receive_rate"),
    ("ROUND TRIP", "round_trip_ms"),
    ("LOSS", "loss_percent"),
    ("RESENT", "segments_resent"),
    ("QUEUED", "unacknowledged_bytes"),
    ("UNREAD", "unread_bytes"),
    ("EXTENDED", "extended"),
    ("", "path_rate"),
    ("", "window_segments"),
    ("", "segments_sent"),
    ("", "segments_received"),
    ("", "segments_duplicate"),
];

fn stream_table(command: &str, streams: Vec<StreamStatus>) -> Table {
    let mut table = Table::new(STREAMS);
    for stream in streams {
        let Addr { sid, port } = stream.peer;
        let stats = stream.stats;
        table.push(vec![
            Cell::Number(process::id().into()),
            Cell::text(command),
            Cell::Number(stream.stream.get()),
            Cell::Short(format!("{}:{port}", abbreviated(sid)), sid.to_string()),
            Cell::Number(port.get().into()),
            Cell::Number(stream.port.get().into()),
            Cell::Flag(stream.is_initiator),
            Cell::text(stream.state),
            Cell::Bytes(stream.sent),
            Cell::Rate(stream.send_rate),
            Cell::Bytes(stream.received),
            Cell::Rate(stream.receive_rate),
            Cell::maybe(stats.round_trip, Cell::Time),
            Cell::maybe(stream.loss, Cell::Share),
            Cell::Number(stats.retransmitted),
            Cell::Bytes(stream.unacknowledged as u64),
            Cell::Bytes(stream.unread as u64),
            Cell::Flag(stream.is_extended),
            Cell::maybe(stream.capacity, Cell::Rate),
            Cell::Number(stats.congestion_window as u64),
            Cell::Number(stats.sent),
            Cell::Number(stats.received),
            Cell::Number(stats.duplicates),
        ]);
    }
    table
}

const CLIENTS: &[Column] = &[
    ("", "pid"),
    ("", "command"),
    ("CLIENT", "client"),
    ("PORTS", "ports"),
    ("SENT", "datagrams_sent"),
    ("RECEIVED", "datagrams_received"),
    ("QUEUED", "datagrams_queued"),
];
/// People are told so many ports of a client; one with many streams has as many.
const PORTS_SHOWN: usize = 3;

fn client_table(command: &str, clients: Vec<ClientStatus>) -> Table {
    let mut table = Table::new(CLIENTS);
    for client in clients {
        let ports: Vec<String> = client.ports.iter().map(ToString::to_string).collect();
        let more = ports.len().saturating_sub(PORTS_SHOWN);
        let mut few = ports[..ports.len() - more].join(" ");
        if more > 0 {
            few += &format!(" and {more} more");
        }
        let path = String::from_utf8_lossy(client.name.as_bytes()).into_owned();
        let file = path.rsplit('/').next().unwrap_or_default().to_owned();
        table.push(vec![
            Cell::Number(process::id().into()),
            Cell::text(command),
            Cell::Short(file, path),
            Cell::Short(few, ports.join(" ")),
            Cell::Number(client.sent),
            Cell::Number(client.received),
            Cell::Number(client.queued as u64),
        ]);
    }
    table
}

fn short(sid: Sid) -> Cell {
    Cell::Short(abbreviated(sid), sid.to_string())
}

/// Enough of it to tell it from others, as people look at it.
fn abbreviated(sid: Sid) -> String {
    format!("{}*", &sid.to_string()[..12])
}

#[cfg(test)]
mod tests {
    use super::*;
    use msp_core::{Identity, Instant, Node, NodeConfig};

    fn alone() -> Uplink {
        Node::new(NodeConfig::default(), Identity::from_seed([1; 32]), [3; 32], Instant::ZERO).into()
    }

    #[test]
    fn questions_read_back_and_others_are_none() {
        for (_, topic) in TOPICS {
            for (_, format) in FORMATS {
                let question = Question { topic, format };
                assert_eq!(question.to_string().parse(), Ok(question));
            }
        }
        for other in ["", "peers", "peers  json", "peers json ", "other json", "peers xml"] {
            assert_eq!(other.parse::<Question>(), Err(()), "{other}");
        }
    }

    #[test]
    fn who_has_nothing_to_tell_says_so_to_people() {
        let about = About { command: "listen 5\n12".into(), daemon: None };
        for (topic, none) in [
            (Topic::Peers, "nothing is heard"),
            (Topic::Routes, "no node"),
            (Topic::Status, "no connections"),
        ] {
            let ask = |format| {
                let udp = ["127.0.0.1:4110".parse().unwrap()];
                answer(&about, Question { topic, format }, &mut alone(), &udp, Carried::Streams(Vec::new()))
            };
            let text = ask(Format::Table);
            assert!(text.starts_with("0\nmsp listen 5\\n12, pid ") && text.contains(none), "{text}");
            assert!(text.contains(" at UDP 127.0.0.1:4110:") && text.lines().count() == 2, "{text}");
            assert_eq!(ask(Format::Json), "0\n");
        }
    }

    #[test]
    fn who_goes_through_a_daemon_names_it() {
        let about = About { command: "listen 512".into(), daemon: Some("/run/a b".into()) };
        let question = |topic| Question { topic, format: Format::Table };
        let ask = |topic| answer(&about, question(topic), &mut alone(), &[], Carried::Streams(Vec::new()));
        assert_eq!(ask(Topic::Peers).lines().next(), Some("0 /run/a b"));
        assert!(ask(Topic::Status).contains(" through /run/a b"));
    }
}

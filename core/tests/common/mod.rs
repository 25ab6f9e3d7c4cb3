//! Traffic recorded from the reference daemon, see `tests/vectors/README.md`.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use msp_core::{Addr, Identity, Port, Protection, Sid};
use serde_json::Value;
use std::path::Path;

/// The captures.
pub const CAPTURES: [&str; 3] = ["all", "svc-ping", "loss20-20k"];

/// One of the two recorded daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daemon {
    A,
    B,
}

impl Daemon {
    fn named(name: &str) -> Option<Self> {
        match name {
            "A" => Some(Self::A),
            "B" => Some(Self::B),
            _ => None,
        }
    }

    /// A field of its keys, as bytes.
    pub fn key<const N: usize>(self, field: &str) -> [u8; N] {
        hex(&keys()[format!("{self:?}")][field]).try_into().unwrap()
    }

    pub fn identity(self) -> Identity {
        Identity::from_seed(self.key("sign_seed"))
    }

    pub fn sid(self) -> Sid {
        Sid::new(self.key("sid"))
    }
}

/// A recorded UDP packet.
#[derive(Debug)]
pub struct Packet {
    /// Microseconds since the first packet of the capture.
    pub time: u64,
    pub from: Daemon,
    /// Sent to the broadcast address.
    pub broadcast: bool,
    pub bytes: Vec<u8>,
    pub version: u8,
    /// 1: an overlay packet for all; 2: for one receiver.
    pub encapsulation: u8,
    pub flags: u8,
    pub sequence: Option<u8>,
    pub frames: Vec<Frame>,
}

/// A frame of a recorded packet.
#[derive(Debug)]
pub struct Frame {
    pub flags: u8,
    /// 0x30 for an MDP datagram.
    pub kind: u8,
    pub sequence: Option<u8>,
    pub source: Daemon,
    /// `None`: broadcast.
    pub destination: Option<Daemon>,
    pub broadcast_id: Option<[u8; 8]>,
    pub ttl: Option<u8>,
    pub qos: Option<u8>,
    /// As on the wire: protected if it is.
    pub body: Vec<u8>,
    /// The rest is there for frames that are datagrams.
    pub datagram: Option<Datagram>,
}

/// What is in a frame that is a datagram.
#[derive(Debug)]
pub struct Datagram {
    pub protection: Protection,
    /// With the ports.
    pub plaintext: Vec<u8>,
    pub destination: Port,
    pub source: Port,
    pub payload: Vec<u8>,
    pub msp: Option<Msp>,
}

/// The fields of an MSP packet.
#[derive(Debug)]
pub struct Msp {
    pub flags: u8,
    pub ack: Option<u16>,
    pub sequence: Option<u16>,
    pub data: Option<Vec<u8>>,
}

/// The packets of one capture, in order.
pub fn packets(capture: &str) -> Vec<Packet> {
    let text = read(&format!("{capture}.jsonl"));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let start = lines[0]["t"].as_f64().unwrap();
    lines.iter().map(|line| packet(line, start)).collect()
}

/// The frames of all captures.
pub fn frames() -> impl Iterator<Item = Frame> {
    CAPTURES.into_iter().flat_map(packets).flat_map(|packet| packet.frames)
}

/// A datagram on the local socket of a recorded daemon, with its header as the recorder read it.
#[derive(Debug)]
pub struct SocketDatagram {
    /// Which recorded process.
    pub scenario: String,
    /// From the process to the daemon.
    pub sent: bool,
    pub bytes: Vec<u8>,
    pub local: Addr,
    pub remote: Addr,
    pub flags: u8,
    pub qos: u8,
    pub ttl: u8,
    pub payload: Vec<u8>,
}

/// Everything that was recorded on local sockets, process after process, in order.
pub fn socket_datagrams() -> Vec<SocketDatagram> {
    let text = read("unix-datagrams.jsonl");
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.filter(|line: &Value| line["op"] != "bind").map(|line| socket_datagram(&line)).collect()
}

fn socket_datagram(line: &Value) -> SocketDatagram {
    let header = &line["hdr"];
    let addr = |sid: &str, port: &str| {
        let sid = Sid::new(hex(&header[sid]).try_into().unwrap());
        Addr::new(sid, Port::new(header[port].as_u64().unwrap() as u32).unwrap())
    };
    SocketDatagram {
        scenario: text(&line["file"]).to_owned(),
        sent: line["op"] == "sendmsg",
        bytes: hex(&line["hex"]),
        local: addr("local_sid", "local_port"),
        remote: addr("remote_sid", "remote_port"),
        flags: number(&header["flags"]).unwrap(),
        qos: number(&header["qos"]).unwrap(),
        ttl: number(&header["ttl"]).unwrap(),
        payload: hex(&line["payload"]),
    }
}

fn packet(line: &Value, start: f64) -> Packet {
    let decoded = &line["decoded"];
    Packet {
        time: ((line["t"].as_f64().unwrap() - start) * 1e6) as u64,
        from: Daemon::named(text(&decoded["sender"])).unwrap(),
        broadcast: text(&line["dst"]).ends_with(".255"),
        bytes: hex(&line["packet"]),
        version: number(&decoded["version"]).unwrap(),
        encapsulation: number(&decoded["encap"]).unwrap(),
        flags: number(&decoded["pflags"]).unwrap(),
        sequence: number(&decoded["seq"]),
        frames: decoded["frames"].as_array().unwrap().iter().map(frame).collect(),
    }
}

fn frame(value: &Value) -> Frame {
    Frame {
        flags: number(&value["flags"]).unwrap(),
        kind: number(&value["type"]).unwrap(),
        sequence: number(&value["mdp_seq"]),
        source: Daemon::named(text(&value["src"])).unwrap(),
        destination: Daemon::named(text(&value["dst"])),
        broadcast_id: value.get("bcast_id").map(|id| hex(id).try_into().unwrap()),
        ttl: number(&value["ttl"]),
        qos: number(&value["qos"]),
        body: hex(&value["body"]),
        datagram: value.get("crypto").map(|crypto| datagram(value, text(crypto))),
    }
}

fn datagram(value: &Value, crypto: &str) -> Datagram {
    let port = |field: &str| Port::new(value[field].as_u64().unwrap() as u32).unwrap();
    let protection = match crypto {
        "plain" => Protection::Clear,
        "signed:ok" => Protection::Signed,
        _ => Protection::Encrypted,
    };
    Datagram {
        protection,
        plaintext: hex(&value["plaintext"]),
        destination: port("dst_port"),
        source: port("src_port"),
        payload: hex(&value["payload"]),
        msp: value.get("msp").map(msp),
    }
}

fn msp(value: &Value) -> Msp {
    let field = |name: &str| value[name].as_u64().map(|number| u16::try_from(number).unwrap());
    Msp {
        flags: number(&value["flags"]).unwrap(),
        ack: field("ack"),
        sequence: field("seq"),
        data: value.get("data").map(hex),
    }
}

fn keys() -> Value {
    serde_json::from_str(&read("keys.json")).unwrap()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name)).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> Option<u8> {
    value.as_u64().map(|number| u8::try_from(number).unwrap())
}

fn hex(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap().as_bytes();
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

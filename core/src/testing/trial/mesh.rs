//! Nodes that relay, as tables: lines, ways that are cut, and what it takes to know each other.

use super::case::{Case, Incident, Loss, OVERHEAD};
use super::figures::{median, percentile};
use super::measure::Trial;
use super::share::{Rival, Share};
use super::table::{Table, millis, percent};
use super::talk::Role;
use crate::testing::stack::Kind;
use crate::testing::{Mesh, PORT, Topology};
use crate::{Addr, Port, Protection};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

/// How much is measured.
#[derive(Debug, Clone)]
pub struct MeshEffort {
    /// Each line is tried with each of these.
    pub seeds: Vec<u64>,
    /// How many hops the lines have.
    pub hops: Vec<usize>,
    /// How long bulk transfers over them are watched, in seconds, and small messages over each.
    pub seconds: u64,
    /// See `seconds`.
    pub round_trips: usize,
    /// How often a way is cut.
    pub cuts: u64,
    /// How many nodes there are in idle networks, and for how many seconds these are watched.
    pub sizes: Vec<usize>,
    /// See `sizes`.
    pub idle: u64,
}

impl MeshEffort {
    /// Enough for figures that are to be compared.
    #[must_use]
    pub fn full() -> Self {
        let seeds = Vec::from([1, 2, 3, 4, 5]);
        let (hops, sizes) = (Vec::from([1, 2, 4, 8]), Vec::from([10, 100]));
        Self { seeds, hops, seconds: 10, round_trips: 500, cuts: 50, sizes, idle: 10 }
    }

    /// Enough to see that something has changed.
    #[must_use]
    pub fn small() -> Self {
        let (hops, sizes) = (Vec::from([1, 3]), Vec::from([10]));
        Self { seeds: Vec::from([1]), hops, seconds: 1, round_trips: 20, cuts: 3, sizes, idle: 5 }
    }

    fn each<T>(&self, run: impl FnMut(u64) -> T) -> Vec<T> {
        self.seeds.iter().copied().map(run).collect()
    }
}

/// One link of a line.
pub const HOP: Case = Case {
    name: "hop",
    rate: 10_000_000,
    delay: 5,
    loss: Loss::Single(100_000),
    incident: Incident::None,
    seconds: 10,
};

/// Everyone knows everyone within this time, or never.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is asked whether they do.
const GLANCE: Duration = Duration::from_millis(100);
/// The default number of neighbours is not much larger than this.
const LARGEST_DOMAIN: usize = 100;

type Section = fn(&MeshEffort) -> Table;

const SECTIONS: [(&str, &str, Section); 4] = [
    (
        "line",
        "Nodes in a line, 10 Mbit/s, 5 ms and 10 % loss a hop, which has its channel for itself each way. good: bytes that one\n\
         stream from end to end delivers, % of what one hop lets through, of the median and of the worst seed; alone: the same\n\
         when the stream is repaired by its ends only, and most: what would be left then at best. 1 MB: ms from opening a\n\
         stream to the last byte, and lost: bytes of it that never came. Round trips of 64 bytes with pauses of 50 to 250 ms:\n\
         ms without loss, the percentiles 50 and 99, and the latter with repair by the ends only.",
        line,
    ),
    (
        "cut",
        "Two ways lead from one node to another, of two hops and of three, 10 Mbit/s and 5 ms each. A link of the shorter one is\n\
         cut, the first or the last one, at any time: ms until the first datagram of those that are sent every 10 ms arrives\n\
         over the other one, and until new bytes of a stream do.",
        cut,
    ),
    (
        "share",
        "A relay passes on what two nodes send to a third, over a socket that takes 1 MB/s. One sends half of that in messages of\n\
         900 bytes, or 64 bytes every 20 ms. The rival sends 5 MB/s: ten times its share. bulk: what arrives of the first one,\n\
         % of what the relay can send. small: ms until its small messages are there, the percentiles 50 and 99, and lost: % of\n\
         them that never are. liar: the rival makes up a source for each message. behind: the messages of both come to the\n\
         relay over the same neighbour.",
        share,
    ),
    (
        "idle",
        "Nodes that have just been started and send nothing by themselves, links of 2 ms, in Freifunk's network with its losses.\n\
         links: of a node. known: s until each node has a way to each other one, or % of the pairs that have one at the end.\n\
         packets, bytes: what a node sends in a second after that, the bytes with 28 of IP and UDP for each packet.",
        idle,
    ),
];

/// Whether a table is called so.
#[must_use]
pub fn is_mesh_name(name: &str) -> bool {
    SECTIONS.iter().any(|section| section.0 == name)
}

/// The tables whose names are wanted, all if none is.
#[must_use]
pub fn mesh_report(effort: &MeshEffort, is_wanted: &dyn Fn(&str) -> bool) -> String {
    let all = !SECTIONS.iter().any(|section| is_wanted(section.0));
    let wanted = SECTIONS.iter().filter(|section| all || is_wanted(section.0));
    let tables = wanted.map(|(name, text, make)| format!("== {name}\n{text}\n\n{}", make(effort).aligned()));
    tables.collect::<Vec<_>>().join("\n")
}

fn line(effort: &MeshEffort) -> Table {
    let mut table = Table::new("hops, good, worst, alone, most, 1 MB, lost, link, small 50, 99, alone 99");
    let length = Duration::from_secs(effort.seconds);
    let pauses = [50, 250].map(Duration::from_millis);
    for hops in effort.hops.iter().copied() {
        let start = |repair| {
            move |seed| {
                let mut trial = Trial::among(&Topology::line(hops), hops, HOP, Kind::Ours, seed);
                trial.network.stations.iter_mut().for_each(|it| it.set_hop_repair(repair));
                trial
            }
        };
        let good = |repair| effort.each(|seed| start(repair)(seed).bulk(1, length).goodput());
        let [repaired, alone] = [true, false].map(good);
        let small =
            |repair| effort.each(|seed| start(repair)(seed).round_trips(effort.round_trips, pauses)).concat();
        let times = small(true);
        let finished = effort.each(|seed| {
            let mut trial = start(true)(seed);
            (millis(trial.finish(1 << 20)), (1 << 20) - trial.received())
        });
        let passes = 1.0 - HOP.lost_in_a_million() as f64 / 1e6;
        table.row([
            format!("{hops}"),
            percent(median(repaired.iter().copied())),
            percent(repaired.iter().copied().fold(f64::MAX, f64::min)),
            percent(median(alone)),
            percent(passes.powi(hops as i32 - 1)),
            format!("{:.0}", median(finished.iter().map(|it| it.0))),
            format!("{}", finished.iter().map(|it| it.1).sum::<u64>()),
            format!("{}", hops as u128 * HOP.round_trip().as_millis()),
            format!("{:.0}", millis(percentile(&times, 50))),
            format!("{:.0}", millis(percentile(&times, 99))),
            format!("{:.0}", millis(percentile(&small(false), 99))),
        ]);
    }
    table
}

/// The ends are 0 and 2; the other way goes over 3 and 4.
fn two_ways() -> Topology {
    Topology::ring(5)
}

fn cut(effort: &MeshEffort) -> Table {
    let mut table = Table::new("link, what, 50, 90, worst");
    for (name, [a, b]) in [("first", [0, 1]), ("last", [1, 2])] {
        for (what, measure) in
            [("datagrams", datagrams as fn([usize; 2], u64) -> Duration), ("stream", stream)]
        {
            let times: Vec<Duration> = (1..=effort.cuts).map(|seed| measure([a, b], seed)).collect();
            let figures = [50, 90, 100].map(|part| format!("{:.0}", millis(percentile(&times, part))));
            table.row([name, what].into_iter().map(ToString::to_string).chain(figures));
        }
    }
    table
}

/// Time from a cut until datagrams arrive again.
fn datagrams([a, b]: [usize; 2], seed: u64) -> Duration {
    let mut rng = crate::testing::rng(seed);
    let case = HOP.without_loss();
    let mut mesh = Mesh::of(rng.below(u64::MAX), &two_ways(), |link| link);
    two_ways().join(&mut mesh, |link| case.shape(link, crate::Instant::ZERO));
    mesh.run(Duration::from_secs(10) + Duration::from_micros(rng.below(5_000_000)));
    mesh.part(a, b);
    let (cut, pause) = (mesh.now, Duration::from_millis(10));
    let to = Addr::new(mesh.stations[2].node.sid(), Port::from(PORT));
    mesh.stations[2].datagrams.clear();
    for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
        let now = mesh.now;
        // Without a way it is refused at last, as a program will find.
        let _ = mesh.stations[0].node.send(now, to.port, to, Protection::Encrypted, b"?");
        if mesh.run_until(pause, |mesh| !mesh.stations[2].datagrams.is_empty()) {
            return mesh.now - cut;
        }
    }
    PATIENCE
}

/// Time from a cut until a stream goes on.
fn stream([a, b]: [usize; 2], seed: u64) -> Duration {
    let mut rng = crate::testing::rng(seed);
    let mut trial = Trial::among(&two_ways(), 2, HOP.without_loss(), Kind::Ours, rng.below(u64::MAX));
    trial.open(Role::ENDLESS);
    trial.network.run(Duration::from_secs(5) + Duration::from_micros(rng.below(5_000_000)));
    trial.network.part(a, b);
    // What is on its way beyond the cut still arrives.
    trial.network.run(4 * HOP.round_trip());
    let (cut, before) = (trial.network.now, trial.received());
    let flows = |network: &mut crate::testing::Network<super::Terminal>| {
        network.stations[2].received().map(|(bytes, _)| bytes).sum::<u64>() > before
    };
    if trial.network.run_until(PATIENCE, flows) {
        trial.network.now - cut + 4 * HOP.round_trip()
    } else {
        PATIENCE
    }
}

fn share(effort: &MeshEffort) -> Table {
    let mut table = Table::new("rival, bulk, small 50, 99, lost");
    let length = Duration::from_secs(effort.seconds);
    for (name, rival) in [
        ("none", Rival::None),
        ("neighbour", Rival::Neighbour),
        ("liar", Rival::Liar),
        ("behind", Rival::Behind),
    ] {
        let Share { bulk, small, lost } = Share::measure(rival, length, effort.seeds[0]);
        let delays = [50, 99].map(|part| match small.is_empty() {
            true => "-".to_string(),
            false => format!("{:.1}", millis(percentile(&small, part))),
        });
        let [half, most] = delays;
        table.row([name.to_string(), percent(bulk), half, most, percent(lost)]);
    }
    table
}

fn idle(effort: &MeshEffort) -> Table {
    let mut table = Table::new("network, nodes, links, known, packets, bytes");
    for size in effort.sizes.iter().copied() {
        let width = (1..=size).rev().find(|it| it * it <= size && size % it == 0).unwrap_or(1);
        let networks = [
            ("domain", Topology::domain(size.min(LARGEST_DOMAIN))),
            ("grid", Topology::grid(size / width, width)),
            ("Freifunk", Topology::freifunk(effort.seeds[0], size)),
        ];
        for (name, topology) in networks {
            let size = topology.size;
            let mut mesh = Mesh::of(effort.seeds[0], &topology, |link| link.delay(Duration::from_millis(2)));
            let all = size * (size - 1);
            let start = mesh.now;
            while mesh.acquainted() < all && mesh.now - start < PATIENCE {
                mesh.run(GLANCE);
            }
            let known = match mesh.acquainted() {
                known if known == all => format!("{:.1} s", (mesh.now - start).as_secs_f64()),
                known => format!("{} %", percent(known as f64 / all as f64)),
            };
            let sent = |mesh: &Mesh| {
                [0, 1].map(|it| mesh.stations.iter().map(|station| station.sent[it]).sum::<u64>())
            };
            let before = sent(&mesh);
            mesh.run(Duration::from_secs(effort.idle));
            let after = sent(&mesh);
            let [packets, bytes] =
                [0, 1].map(|it| (after[it] - before[it]) as f64 / (size as u64 * effort.idle) as f64);
            table.row([
                name.to_string(),
                format!("{size}"),
                format!("{:.1}", 2.0 * topology.edges.len() as f64 / size as f64),
                known,
                format!("{packets:.1}"),
                format!("{:.0}", bytes + packets * OVERHEAD as f64),
            ]);
        }
    }
    table
}

//! All cases as tables.

use super::case::{BLACKOUT, Case, LONG, SHARED, STEADY, STEPS};
use super::figures::{jain, median, percentile};
use super::measure::{Bulk, Trial};
use super::talk::Role;
use crate::testing::Topology;
use crate::testing::stack::Kind;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

/// How much is measured. More takes longer and gives steadier figures.
#[derive(Debug, Clone)]
pub struct Effort {
    /// Each run is made with each of these; of shares and times the median is printed, of delays the percentiles
    /// of all runs together.
    pub seeds: Vec<u64>,
    /// Bulk transfers are watched for this part of their time: one divided by it.
    pub part: u32,
    /// Small messages with each seed on an idle stream, and beside a bulk transfer.
    pub round_trips: usize,
    /// See `round_trips`.
    pub beside: usize,
    /// New streams with each seed between nodes that know each other, and between ones that have just started.
    pub streams: usize,
    /// See `streams`.
    pub strangers: usize,
}

impl Effort {
    /// Enough for figures that are to be compared.
    #[must_use]
    pub const fn full(seeds: Vec<u64>) -> Self {
        Self { seeds, part: 1, round_trips: 1000, beside: 200, streams: 300, strangers: 100 }
    }

    /// Enough to see that something has changed.
    #[must_use]
    pub fn small() -> Self {
        Self { seeds: Vec::from([1]), part: 8, round_trips: 50, beside: 10, streams: 20, strangers: 5 }
    }

    fn each<T>(&self, run: impl FnMut(u64) -> T) -> Vec<T> {
        self.seeds.iter().copied().map(run).collect()
    }
}

/// Makes the rows of a table of those cases whose names it is given.
type Section = fn(&Effort, &dyn Fn(&Case) -> bool) -> Table;

/// The tables: a name, what it shows, and what makes it.
const SECTIONS: [(&str, &str, Section); 5] = [
    (
        "bulk",
        "One stream sends as fast as it can, 8 s, in S4 and S5 20 s. good: bytes delivered, % of the limit, from opening\n\
         the stream on, and of the worst seed; late: in the second half. limit: rate x (1 - loss) x message / packet, kB/s: the\n\
         bytes of a full message, 1024 or 1387, and of the packet with it, of which 28 are of IP and UDP. wire: bytes sent per byte\n\
         delivered; least: the same as a multiple of the least that the loss allows. back: bytes sent back per byte\n\
         delivered. queue: mean wait of packets before the link, ms and % of a round trip, and the longest. 64 KB, 1 MB:\n\
         ms from opening a stream to the last byte.",
        bulk,
    ),
    (
        "small",
        "Round trips of 64 bytes with pauses of 50 to 250 ms, and beside a bulk transfer with pauses of 10 to 50 ms; time\n\
         from opening a stream to the first answer between nodes that know each other, and that have just started:\n\
         ms, the percentiles 50, 95 and 99.",
        small,
    ),
    (
        "special",
        "S7: as in the first table, but for 20 s, of which the start is a smaller part. S8: the rate steps from 10 to 1 and\n\
         back to 10 Mbit/s. S9: two and ten streams share S3. S10: S3 with a blackout of 5 s. Bytes delivered, % of the limit\n\
         of the time.",
        special,
    ),
    (
        "cubic",
        "Beside one CUBIC flow, which starts within the first five round trips, on the links without their loss, for 32 s, in\n\
         S4 and S5 80 s: what each delivers, % of what it could deliver alone; the queue as above.",
        cubic,
    ),
    (
        "reference",
        "The model of the reference daemon's streams, on a node that acknowledges frames and sends them again as that daemon\n\
         does, against itself: bytes delivered, % of the limit, and how many times as many ours delivers. model: the same, % of\n\
         rate x (1 - loss) x 1472/1500, to be compared with daemon: what the tunnel of the real one delivered of that over an\n\
         emulator of the link in real time, within 8 s of its start, median of three runs.",
        reference,
    ),
];

/// Whether a table or a case is called so.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let cases = STEADY.iter().chain([&STEPS, &SHARED, &BLACKOUT]).map(|case| case.name);
    cases.chain(SECTIONS.iter().map(|section| section.0)).any(|known| known == name)
}

/// The tables and cases whose names are wanted: all tables if none is named, all cases if none is.
#[must_use]
pub fn report(effort: &Effort, is_wanted: &dyn Fn(&str) -> bool) -> String {
    let chosen = |name: &str| is_wanted(name) || !SECTIONS.iter().any(|section| is_wanted(section.0));
    let any_case = [&STEADY[..], &[STEPS, SHARED, BLACKOUT]].concat().iter().any(|case| is_wanted(case.name));
    let tables = SECTIONS.iter().filter(|section| chosen(section.0)).map(|(name, text, make)| {
        let table = make(effort, &|case| is_wanted(case.name) || !any_case);
        format!("== {name}\n{text}\n\n{}", table.aligned())
    });
    tables.collect::<Vec<_>>().join("\n")
}

/// Rows of cells; the first is the head.
pub(super) struct Table(Vec<Vec<String>>);

impl Table {
    pub(super) fn new(head: &str) -> Self {
        Self(Vec::from([head.split(", ").map(ToString::to_string).collect()]))
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }

    /// Each column as wide as its widest cell.
    pub(super) fn aligned(&self) -> String {
        let columns = self.0.first().map_or(0, Vec::len);
        let width = |column| self.0.iter().filter_map(|row| row.get(column)).map(String::len).max();
        let widths: Vec<usize> = (0..columns).filter_map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}"));
            format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
        };
        self.0.iter().map(line).collect()
    }
}

fn bulk(effort: &Effort, is_wanted: &dyn Fn(&Case) -> bool) -> Table {
    let mut table = Table::new(
        "case, good, worst, late, limit, packet, wire, least, back, queue ms, queue %, longest, 64 KB, 1 MB",
    );
    for case in STEADY.into_iter().filter(is_wanted) {
        let length = Duration::from_secs(case.seconds) / effort.part;
        let runs = effort.each(|seed| Trial::new(case, Kind::Ours, seed).bulk(1, length));
        let of = |figure: fn(&Bulk) -> f64| median(runs.iter().map(figure));
        let finish =
            |bytes| median(effort.each(|seed| millis(Trial::new(case, Kind::Ours, seed).finish(bytes))));
        let least = of(|run| run.least_wire_bytes);
        let queue = of(|run| millis(run.queue()));
        table.row([
            case.name.to_string(),
            percent(of(Bulk::goodput)),
            percent(runs.iter().map(Bulk::goodput).fold(f64::MAX, f64::min)),
            percent(of(Bulk::late_goodput)),
            format!("{:.0}", of(|run| run.limit) / length.as_secs_f64() / 1000.0),
            format!("{:.0}", of(|run| run.packet as f64)),
            format!("{:.3}", of(Bulk::wire_bytes)),
            format!("{:.3}", of(Bulk::wire_bytes) / least),
            format!("{:.3}", of(Bulk::bytes_back)),
            format!("{queue:.1}"),
            format!("{:.0}", 100.0 * queue / millis(case.round_trip())),
            format!("{:.0}", of(|run| millis(run.there.longest_wait))),
            format!("{:.0}", finish(64 << 10)),
            format!("{:.0}", finish(1 << 20)),
        ]);
    }
    table
}

fn small(effort: &Effort, is_wanted: &dyn Fn(&Case) -> bool) -> Table {
    let mut table =
        Table::new("case, link, idle 50, 95, 99, beside 50, 95, 99, first 50, 95, 99, started 50, 95, 99");
    let long = [50, 250].map(Duration::from_millis);
    let short = [10, 50].map(Duration::from_millis);
    for case in STEADY.into_iter().filter(is_wanted) {
        let start = |seed| Trial::new(case, Kind::Ours, seed);
        let beside = |seed| {
            let mut trial = start(seed);
            trial.open(Role::ENDLESS);
            trial.network.run(Duration::from_secs(1));
            trial.round_trips(effort.beside, short)
        };
        let stranger =
            |seed| Trial::of_strangers(&Topology::line(1), 1, case, Kind::Ours, seed).first_answers(1, long);
        let times = [
            effort.each(|seed| start(seed).round_trips(effort.round_trips, long)).concat(),
            effort.each(beside).concat(),
            effort.each(|seed| start(seed).first_answers(effort.streams, long)).concat(),
            effort
                .each(|seed| {
                    (0..effort.strangers as u64).flat_map(|n| stranger(1000 * seed + n)).collect::<Vec<_>>()
                })
                .concat(),
        ];
        let figures = times.iter().flat_map(|times| [50, 95, 99].map(|part| percentile(times, part)));
        let link = format!("{}", case.round_trip().as_millis());
        table.row(
            [case.name.to_string(), link].into_iter().chain(figures.map(|it| format!("{:.0}", millis(it)))),
        );
    }
    table
}

fn special(effort: &Effort, is_wanted: &dyn Fn(&Case) -> bool) -> Table {
    let mut table = Table::new("case, what, figure");
    let mut add = |case: &Case, what: &str, figure: String| {
        table.row([case.name, what, &figure].map(ToString::to_string))
    };
    let seconds = |count: u64| Duration::from_secs(count);
    if is_wanted(&STEPS) {
        // The share of the limit of each 5 s, and the longest wait by then.
        let phases = effort.each(|seed| phases(STEPS, seed));
        for (n, (what, rate)) in
            [("at 10 Mbit/s", 1.0), ("at 1", 0.1), ("at 10 again", 1.0)].iter().enumerate()
        {
            add(&STEPS, &format!("{what}, %"), percent(median(phases.iter().map(|it| it[n].0 / rate))));
            add(&STEPS, "mean wait, ms", format!("{:.1}", median(phases.iter().map(|it| it[n].1))));
        }
    }
    if is_wanted(&LONG) {
        let length = seconds(20) / effort.part;
        let runs = effort.each(|seed| Trial::new(LONG, Kind::Ours, seed).bulk(1, length));
        add(&LONG, "over 20 s, %", percent(median(runs.iter().map(Bulk::goodput))));
    }
    for count in [2, 10].into_iter().filter(|_| is_wanted(&SHARED)) {
        let length = seconds(SHARED.seconds) / effort.part;
        let runs = effort.each(|seed| Trial::new(SHARED, Kind::Ours, seed).bulk(count, length));
        let index = |run: &Bulk| jain(&run.received.iter().map(|bytes| *bytes as f64).collect::<Vec<_>>());
        add(
            &SHARED,
            &format!("{count} streams, Jain's index"),
            format!("{:.3}", median(runs.iter().map(index))),
        );
        add(&SHARED, &format!("{count} streams, %"), percent(median(runs.iter().map(Bulk::goodput))));
        add(&SHARED, "mean wait, ms", format!("{:.1}", median(runs.iter().map(|run| millis(run.queue())))));
    }
    for count in [5, 20].into_iter().filter(|_| is_wanted(&SHARED)) {
        let run = |seed| {
            let mut trial = Trial::new(SHARED, Kind::Ours, seed);
            for _ in 0..count {
                trial.open(Role::ENDLESS);
            }
            trial.network.run(seconds(2));
            trial.round_trips(effort.beside, [10, 50].map(Duration::from_millis))
        };
        let times = effort.each(run).concat();
        for part in [50, 99] {
            let what = format!("64 bytes beside {count} streams, {part} %, ms");
            add(&SHARED, &what, format!("{:.0}", millis(percentile(&times, part))));
        }
    }
    if is_wanted(&BLACKOUT) {
        let phases = effort.each(|seed| phases(BLACKOUT, seed));
        add(&BLACKOUT, "before, %", percent(median(phases.iter().map(|it| it[0].0))));
        add(&BLACKOUT, "after, %", percent(median(phases.iter().map(|it| it[2].0))));
        let resumed = effort.each(|seed| {
            let mut trial = Trial::new(BLACKOUT, Kind::Ours, seed);
            trial.open(Role::ENDLESS);
            trial.network.run(seconds(10));
            let (before, end) = (trial.received(), trial.network.now);
            trial
                .network
                .run_until(seconds(60), |network| network.stations[1].received().any(|it| it.0 > before));
            millis(trial.network.now - end)
        });
        add(&BLACKOUT, "until data flows again, ms", format!("{:.0}", median(resumed)));
    }
    table
}

/// A bulk transfer for three times 5 s: the part of the limit that was delivered in each, and the mean wait in ms.
fn phases(case: Case, seed: u64) -> [(f64, f64); 3] {
    let mut trial = Trial::new(case, Kind::Ours, seed);
    trial.open(Role::ENDLESS);
    [(); 3].map(|()| {
        let (received, traffic) = (trial.received(), trial.network.link(0, 1).traffic());
        trial.network.run(Duration::from_secs(5));
        let bytes = (trial.received() - received) as f64;
        let now = trial.network.link(0, 1).traffic();
        let packets = (now.packets - now.overflowed) - (traffic.packets - traffic.overflowed);
        (bytes / (5.0 * trial.limit()), millis(now.waited - traffic.waited) / packets.max(1) as f64)
    })
}

fn cubic(effort: &Effort, is_wanted: &dyn Fn(&Case) -> bool) -> Table {
    let mut table = Table::new("case, ours, CUBIC, queue ms, queue %, longest");
    for case in STEADY.into_iter().filter(is_wanted).map(Case::without_loss) {
        let length = Duration::from_secs(4 * case.seconds) / effort.part;
        let runs = effort
            .each(|seed| Trial::new(case, Kind::Ours, seed).beside_cubic(case.round_trip() * 5, length));
        let possible = case.passing() as f64 * length.as_secs_f64() * 1448.0 / 1500.0;
        let queue = median(runs.iter().map(|run| millis(run.queue())));
        table.row([
            case.name.to_string(),
            percent(median(runs.iter().map(Bulk::goodput))),
            percent(median(runs.iter().map(|run| run.cross as f64 / possible))),
            format!("{queue:.1}"),
            format!("{:.0}", 100.0 * queue / millis(case.round_trip())),
            format!("{:.0}", median(runs.iter().map(|run| millis(run.there.longest_wait)))),
        ]);
    }
    table
}

fn reference(effort: &Effort, is_wanted: &dyn Fn(&Case) -> bool) -> Table {
    let mut table = Table::new("case, reference, ours, times, model, daemon");
    for (case, daemon) in STEADY[1..].iter().copied().zip([6, 4, 3, 4]).filter(|(case, _)| is_wanted(case)) {
        let length = Duration::from_secs(case.seconds) / effort.part;
        let run = |kind| effort.each(|seed| Trial::new(case, kind, seed).bulk(1, length));
        let (reference, ours) = (run(Kind::Reference), run(Kind::Ours));
        let possible = case.passing() as f64 * length.as_secs_f64() * 1472.0 / 1500.0;
        let model = median(reference.iter().map(|run| run.delivered() / possible));
        let [reference, ours] = [reference, ours].map(|runs| median(runs.iter().map(Bulk::goodput)));
        table.row([
            case.name.to_string(),
            percent(reference),
            percent(ours),
            format!("{:.1}", ours / reference),
            percent(model),
            format!("{daemon}"),
        ]);
    }
    table
}

pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

pub(super) fn percent(part: f64) -> String {
    format!("{:.1}", 100.0 * part)
}

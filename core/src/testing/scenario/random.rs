//! Scenarios made by dice.

use super::super::rng;
use super::{Kind, Link, Reader, Scenario, Weather};
use crate::{Instant, Rng};
use alloc::boxed::Box;
use alloc::format;
use alloc::vec;
use core::time::Duration;

impl Scenario {
    /// The scenario of this seed: anything that can happen.
    #[must_use]
    pub fn random(seed: u64) -> Self {
        let mut rng = rng(seed ^ 0x5ce7_a210);
        let r = &mut rng;
        let kinds = match r.below(8) {
            0..=2 => vec![Kind::Ours, Kind::Ours],
            3 | 4 => vec![Kind::Ours, Kind::Reference],
            5 | 6 => vec![Kind::Reference, Kind::Ours],
            _ => (0..3 + r.below(2)).map(|n| [Kind::Ours, Kind::Reference][n as usize % 2]).collect(),
        };
        let few = kinds.len() > 2;
        let rough = r.below(4) == 0;
        let (forth, back) = (link(r, rough), link(r, rough));
        let mut scenario = Self::among(&kinds);
        scenario.description = format!("{forth:?} {back:?}");
        scenario.shapes = [Box::new(move |it| forth.shape(it)), Box::new(move |it| back.shape(it))];
        scenario.has_nodes = r.below(4) == 0;
        scenario.streams = 1 + r.below(if few { 2 } else { 4 }) as usize;
        let most = [3, 30, 150][r.below(3) as usize];
        for plan in &mut scenario.plans {
            plan.messages = r.below(most) as u32;
            plan.longest = [1, 100, 1024][r.below(3) as usize];
            plan.reader = reader(r);
        }
        let config = &mut scenario.config;
        config.send_window = [1, 2, 5, 16, 256][r.below(5) as usize];
        config.receive_window = [1, 4, 64, 512][r.below(4) as usize];
        config.extended = r.below(4) > 0;
        if rough {
            scenario.weather = Weather::Rough;
            scenario.duration = Duration::from_millis(1000 + r.below(40_000));
            for _ in 0..r.below(3) {
                let (party, after) = (r.below(kinds.len() as u64), r.below(20_000));
                let keeps_identity = r.below(2) == 0;
                scenario = scenario.restart(party as usize, Duration::from_millis(after), keeps_identity);
            }
        }
        scenario
    }
}

fn reader(r: &mut Rng) -> Reader {
    match r.below(4) {
        0 => {
            let (messages, every) = (1 + r.below(8) as u16, Duration::from_millis(1 + r.below(300)));
            Reader::Slow { messages, every }
        }
        _ => Reader::Eager,
    }
}

/// A link as the dice have it.
#[derive(Debug, Clone, Copy, Default)]
struct Dice {
    delay: u64,
    jitter: u64,
    loss: u64,
    burst: (u64, u64),
    duplicate: u64,
    reorder: u64,
    corrupt: u64,
    truncate: u64,
    rate: u64,
    outages: [(u64, u64); 2],
}

fn link(r: &mut Rng, rough: bool) -> Dice {
    let mut dice = Dice { delay: [0, 1, 20, 150][r.below(4) as usize], ..Dice::default() };
    let sometimes = |r: &mut Rng, most: u64| if r.below(3) == 0 { r.below(most + 1) } else { 0 };
    dice.jitter = sometimes(r, 40);
    dice.duplicate = sometimes(r, 20);
    dice.reorder = sometimes(r, 20);
    // A stream whose ends hear nothing of each other for ten seconds fails. Where only keep-alives go, these are
    // six or seven packets; in calm weather that must not happen in a hundred thousand scenarios.
    let percent = if rough { [70, 40, 10, 10] } else { [10, 2, 2, 2] };
    let [loss, burst, corrupt, truncate] = percent.map(|most| sometimes(r, most));
    (dice.loss, dice.corrupt, dice.truncate) = (loss, corrupt, truncate);
    dice.burst = (burst, if rough { 1 + r.below(8) } else { 1 });
    dice.rate = sometimes(r, 1) * (20_000 + r.below(1_000_000));
    if rough {
        for outage in &mut dice.outages {
            *outage = (r.below(20_000), sometimes(r, 15_000));
        }
    }
    dice
}

impl Dice {
    fn shape(self, link: Link) -> Link {
        let ms = Duration::from_millis;
        let mut link = link.delay(ms(self.delay)).jitter(ms(self.jitter)).loss(self.loss);
        link = link.duplicate(self.duplicate).reorder(self.reorder);
        link = link.corrupt(self.corrupt).truncate(self.truncate);
        if self.burst.0 > 0 {
            link = link.burst_loss(self.burst.0, self.burst.1);
        }
        if self.rate > 0 {
            link = link.rate(self.rate, 64_000);
        }
        for (at, length) in self.outages.into_iter().filter(|(_, length)| *length > 0) {
            // Networks begin ten seconds after the origin.
            link = link.outage(Instant::from_millis(10_000 + at), ms(length));
        }
        link
    }
}

//! The links that trials are made on.

use crate::Instant;
use crate::testing::Link;
use core::time::Duration;

/// What IPv4 and UDP add to each packet.
pub const OVERHEAD: u64 = 28;
/// The least that a queue holds, in bytes.
const MIN_QUEUE: u64 = 64 << 10;

/// Which packets a link loses, besides those that find its queue full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// So many in a million, one by one.
    Single(u64),
    /// So many in a hundred, in bursts of a mean length, after Gilbert and Elliott.
    Bursts {
        /// Packets in a hundred.
        percent: u64,
        /// Packets in a burst.
        mean: u64,
    },
}

/// What happens to a link in the course of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incident {
    /// Nothing.
    None,
    /// From the first time on, its rate is this many bits a second, until the second time.
    Slow(Duration, Duration, u64),
    /// Nothing passes from the first time to the second.
    Blackout(Duration, Duration),
}

/// A link, the same both ways. Its queue holds one bandwidth-delay product and at least 64 KiB, and drops what
/// comes when it is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Its name in tables.
    pub name: &'static str,
    /// Bits a second, those of IP headers included.
    pub rate: u64,
    /// Milliseconds one way.
    pub delay: u64,
    /// What it loses.
    pub loss: Loss,
    /// What happens to it.
    pub incident: Incident,
    /// How long a bulk transfer is watched, in seconds.
    pub seconds: u64,
}

const fn case(name: &'static str, mbit: u64, delay: u64, loss: Loss, seconds: u64) -> Case {
    Case { name, rate: mbit * 1_000_000, delay, loss, incident: Incident::None, seconds }
}

/// From fast to slow and lossy, and S7, fast and long.
pub const STEADY: [Case; 7] = [
    case("S1", 100, 1, Loss::Single(0), 8),
    case("S2", 20, 5, Loss::Single(50_000), 8),
    case("S3", 10, 20, Loss::Single(100_000), 8),
    case("S4", 5, 40, Loss::Single(200_000), 20),
    case("S5", 2, 60, Loss::Single(300_000), 20),
    case("S6", 10, 20, Loss::Bursts { percent: 10, mean: 5 }, 8),
    case("S7", 50, 100, Loss::Single(1000), 8),
];

const S3: Case = STEADY[2];

/// The one with the longest round trip.
pub(super) const LONG: Case = STEADY[6];

/// A rate that steps down and up again.
pub const STEPS: Case = Case {
    name: "S8",
    loss: Loss::Single(0),
    incident: Incident::Slow(Duration::from_secs(5), Duration::from_secs(10), 1_000_000),
    seconds: 15,
    ..S3
};

/// The link that streams share.
pub const SHARED: Case = Case { name: "S9", ..S3 };

/// A link that is gone for a while.
pub const BLACKOUT: Case = Case {
    name: "S10",
    incident: Incident::Blackout(Duration::from_secs(5), Duration::from_secs(10)),
    seconds: 15,
    ..S3
};

impl Case {
    /// The time there and back, without any queue.
    #[must_use]
    pub const fn round_trip(&self) -> Duration {
        Duration::from_millis(2 * self.delay)
    }

    /// The packets of a million that are lost one by one or in bursts.
    #[must_use]
    pub const fn lost_in_a_million(&self) -> u64 {
        match self.loss {
            Loss::Single(packets) => packets,
            Loss::Bursts { percent, .. } => 10_000 * percent,
        }
    }

    /// Bytes that get through in a second, of those that it can send.
    #[must_use]
    pub const fn passing(&self) -> u64 {
        self.rate / 8 * (1_000_000 - self.lost_in_a_million()) / 1_000_000
    }

    /// The same link, which loses only what finds its queue full.
    #[must_use]
    pub const fn without_loss(self) -> Self {
        Self { loss: Loss::Single(0), ..self }
    }

    /// Makes `link` such a link, from `start` on.
    pub(super) fn shape(&self, link: Link, start: Instant) -> Link {
        let rate = self.rate / 8;
        let product = rate * 2 * self.delay / 1000;
        let link = link
            .delay(Duration::from_millis(self.delay))
            .rate(rate, product.max(MIN_QUEUE))
            .overhead(OVERHEAD);
        let link = match self.loss {
            Loss::Single(packets) => link.loss_in_a_million(packets),
            Loss::Bursts { percent, mean } => link.burst_loss(percent, mean),
        };
        match self.incident {
            Incident::None => link,
            Incident::Slow(from, until, slow) => {
                link.rate_from(start + from, slow / 8).rate_from(start + until, rate)
            }
            Incident::Blackout(from, until) => link.outage(start + from, until - from),
        }
    }
}

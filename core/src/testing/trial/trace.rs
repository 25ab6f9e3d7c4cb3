//! How one bulk transfer goes, interval by interval.

use super::case::Case;
use super::measure::Trial;
use super::talk::Role;
use crate::testing::stack::{Kind, Streams};
use alloc::format;
use alloc::string::String;
use core::time::Duration;

/// A bulk transfer over `case` in lines: at the end of each interval the time, bytes delivered in it, the window and
/// the round trip of the sender, segments sent and resent, segments received that were known, packets there, lost and
/// overflowed, mean wait, and packets back.
#[must_use]
pub fn trace(case: Case, seed: u64, interval: Duration, count: u32) -> String {
    let mut trial = Trial::new(case, Kind::Ours, seed);
    trial.open(Role::ENDLESS);
    let mut text = String::from("ms bytes window rtt_us sent resent known there lost full wait_us back\n");
    let (mut bytes, mut before) = (0, [0; 8]);
    for n in 1..=count {
        trial.network.run(interval);
        let received = trial.received();
        let (there, back) = (trial.network.link(0, 1).traffic(), trial.network.link(1, 0).traffic());
        let [sender, receiver] = [0, 1].map(|index: usize| {
            let terminal = &mut trial.network.stations[index];
            let id = *terminal.talks.keys().next()?;
            let Streams::Ours(endpoint) = terminal.streams() else { return None };
            endpoint.stream(id).map(|stream| stream.stats())
        });
        let Some(sender) = sender else { break };
        let receiver = receiver.unwrap_or_default(); // on a long path, there is none at first
        let now = [
            sender.sent,
            sender.retransmitted,
            receiver.duplicates,
            there.packets,
            there.dropped - there.overflowed,
            there.overflowed,
            there.waited.as_micros() as u64,
            back.packets,
        ];
        let mut change = now;
        change.iter_mut().zip(before).for_each(|(now, before)| *now = now.saturating_sub(before));
        let [sent, resent, known, packets, lost, full, waited, back] = change;
        let rtt = sender.round_trip.unwrap_or_default().as_micros();
        text += &format!(
            "{} {} {} {rtt} {sent} {resent} {known} {packets} {lost} {full} {} {back}\n",
            (interval * n).as_millis(),
            received - bytes,
            sender.congestion_window,
            waited / packets.max(1),
        );
        (bytes, before) = (received, now);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::trial::STEADY;

    /// On a long path, the far end has no stream in the first intervals.
    #[test]
    fn there_is_a_line_for_each_interval_from_the_first_on() {
        let text = trace(STEADY[6], 1, Duration::from_millis(50), 8);
        let bytes = text.lines().skip(1).filter_map(|line| line.split(' ').nth(1)?.parse().ok());
        let bytes: alloc::vec::Vec<u64> = bytes.collect();
        assert_eq!(bytes.len(), 8, "{text}");
        assert!(bytes[0] == 0 && bytes.iter().any(|bytes| *bytes > 0), "{text}");
    }
}

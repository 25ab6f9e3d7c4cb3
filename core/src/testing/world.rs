//! Parties in a network, and what must be true of them whatever has happened.

use super::network::Network;
use super::party::Party;
use super::program::{Program, Reader};
use super::stack::Kind;
use crate::msp::CloseReason;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;
use core::time::Duration;

/// After everything has healed and every program has finished, all streams have ended within this time.
const PATIENCE: Duration = Duration::from_secs(600);
/// When all streams have ended, parties may still answer what their peers repeat, for so long at most.
const AFTERMATH: Duration = Duration::from_secs(30);

/// How a network was treated, and so what can be asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weather {
    /// Packets were lost, but no stream had a reason to fail: everything arrives.
    Calm,
    /// Streams may have failed. Then both ends know.
    Rough,
    /// The same, and packets were sent again so late that one which opens a stream, and did not arrive when it was
    /// recorded, may open another one (`docs/security.md`).
    Replays,
    /// Parties were restarted, and so what was theirs is gone.
    Restarts,
}

/// What has been received is what was sent, in order, once, with its boundaries.
///
/// # Panics
///
/// When it is not so.
pub fn check(network: &Network<Party>, weather: Weather) {
    let senders: BTreeMap<u32, &Program> = programs(network).map(|(_, it)| (it.key, it)).collect();
    let mut claimed: BTreeMap<u32, &Program> = BTreeMap::new();
    for (kind, program) in programs(network) {
        let Some(key) = program.peer_key() else {
            assert!(program.received.is_empty(), "a first message without a key");
            continue;
        };
        let sender = senders.get(&key).unwrap_or_else(|| unreachable!("{key:x} has sent nothing"));
        assert!(sender.initiator != program.initiator, "an end of its own kind");
        let twins = twins(network, sender).filter(|twin| sender.lost || twin.lost);
        let senders: Vec<&Program> = twins.chain([*sender]).collect();
        let was_sent =
            |(n, message): (usize, &Bytes)| senders.iter().any(|it| it.sent.get(n) == Some(message));
        let wrong = program.received.iter().enumerate().position(|it| !was_sent(it));
        assert_eq!(wrong, None, "message of {key:x} to {:x}", program.key);
        if kind == Kind::Ours && weather < Weather::Restarts {
            let other = claimed.insert(key, program);
            let from = program.accepted_from.filter(|_| weather == Weather::Replays);
            let is_fresh = other.is_none_or(|it| from.is_some() && it.accepted_from == from);
            assert!(is_fresh, "what {key:x} sent was delivered twice");
        }
    }
}

/// Heals the network, lets every program read all and finish, and checks how it all ended.
///
/// # Panics
///
/// When something is missing that nobody was told of, or when streams do not end.
pub fn conclude(network: &mut Network<Party>, weather: Weather) {
    network.links().for_each(super::Link::heal);
    for party in &mut network.stations {
        for program in party.programs.values_mut() {
            (program.plan.reader, program.plan.finish) = (Reader::Eager, true);
        }
        (party.plan.reader, party.plan.finish) = (Reader::Eager, true);
    }
    let done = network.run_until(PATIENCE, |network| network.stations.iter().all(Party::is_done));
    assert!(done, "streams remain: {:?}", open(network));
    check(network, weather);
    check_ends(network, weather);
    network.run(AFTERMATH);
    for (index, party) in network.stations.iter_mut().enumerate() {
        assert!(party.stack.streams().is_idle(), "station {index} remembers streams");
        if party.stack.node().is_none() {
            assert_eq!(super::Station::poll_timeout(party), None, "station {index} wakes up for nothing");
        }
    }
}

/// Whoever was told that all is well has got everything, and the other end from it; in calm weather all were.
fn check_ends(network: &Network<Party>, weather: Weather) {
    let all: Vec<(Kind, &Program)> = programs(network).collect();
    for (kind, program) in &all {
        let others = || all.iter().map(|(_, other)| *other).filter(|it| it.initiator != program.initiator);
        // A listener that was restarted may accept a stream again whose initiator has heard nothing yet.
        let reader = others().filter(|other| other.peer_key() == Some(program.key));
        let reader = reader.max_by_key(|reader| reader.received.len());
        let arrived = reader.map_or(0, |reader| reader.received.len());
        let writer = others().find(|other| program.peer_key() == Some(other.key)).or(reader);
        // The reference opens a stream again for a late copy of its first packet, and takes for itself what is meant
        // for the one that has ended.
        let mut twins_here = twins(network, program);
        let is_phantom = *kind == Kind::Reference && reader.is_none() && twins_here.next().is_some();
        let is_mixed_up = || {
            let ends = all.iter().map(|(_, it)| *it).filter(|it| it.is_with(program));
            ends.chain([*program]).any(|it| twins(network, it).any(|twin| twin.lost || it.lost))
        };
        let (sent, name) = (program.sent.len(), program.key);
        if program.closed == Some(CloseReason::Finished) && !is_phantom && !is_mixed_up() {
            assert_eq!(arrived, sent, "{name:x} believes that all it sent has arrived");
            let expected = writer.map_or(0, |writer| writer.sent.len());
            assert_eq!(program.received.len(), expected, "{name:x} believes that it has received all");
        }
        if weather == Weather::Calm && (*kind == Kind::Ours || program.initiator) {
            // The reference does not linger, so the end of its stream with another one of its kind may fail.
            let of_ours =
                |it: &(Kind, &Program)| it.0 == Kind::Ours && reader.is_some_and(|r| r.key == it.1.key);
            let has_our_end = *kind == Kind::Ours || all.iter().any(of_ours);
            let fine = program.closed == Some(CloseReason::Finished) || !has_our_end;
            assert!(fine && arrived == sent, "{name:x}: {:?}, {arrived} of {sent} arrived", program.closed);
        }
    }
}

/// Programs whose streams one party has accepted from the same port of the same peer as that of `program`, one after the
/// other. Nothing in the reference wire tells these streams apart (`docs/security.md`). If one was accepted before a
/// restart and another after it, what packets of the one say may be taken for the other: both ends may believe what is
/// true of the other only, and the peer may receive a message of either where it expects one.
fn twins<'a>(network: &'a Network<Party>, program: &'a Program) -> impl Iterator<Item = &'a Program> {
    let from = program.accepted_from;
    let peer = network.stations.iter().find(|party| from.is_some_and(|from| party.sid() == from.sid));
    let has_tags = move |party: &Party| party.wants_tags() && peer.is_some_and(Party::wants_tags);
    let is_here = |party: &&Party| party.all_programs().any(|it| it.key == program.key);
    let party = network.stations.iter().find(is_here).filter(|party| from.is_some() && !has_tags(party));
    let is_twin = move |it: &&Program| it.key != program.key && it.accepted_from == from;
    party.into_iter().flat_map(Party::all_programs).filter(is_twin)
}

fn programs(network: &Network<Party>) -> impl Iterator<Item = (Kind, &Program)> {
    let parties = network.stations.iter();
    parties.flat_map(|party| party.all_programs().map(|program| (party.kind(), program)))
}

fn open(network: &Network<Party>) -> Vec<(u32, usize, usize)> {
    let open = programs(network).filter(|(_, program)| program.closed.is_none() && !program.lost);
    open.map(|(_, program)| (program.key, program.sent.len(), program.received.len())).collect()
}

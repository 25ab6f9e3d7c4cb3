//! Parties in a network, and what must be true of them whatever has happened.

use super::network::Network;
use super::party::Party;
use super::program::{Program, Reader};
use super::stack::Kind;
use crate::msp::CloseReason;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
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
    let mut claimed: BTreeMap<u32, u32> = BTreeMap::new();
    for (kind, program) in programs(network) {
        let Some(key) = program.peer_key() else {
            assert!(program.received.is_empty(), "a first message without a key");
            continue;
        };
        let sender = senders.get(&key).unwrap_or_else(|| unreachable!("{key:x} has sent nothing"));
        let (received, sent) = (&program.received, &sender.sent);
        assert!(sender.initiator != program.initiator, "an end of its own kind");
        assert!(received.len() <= sent.len(), "{} messages of {}", received.len(), sent.len());
        let wrong = received.iter().zip(sent).position(|(received, sent)| received != sent);
        assert_eq!(wrong, None, "message of {key:x} to {:x}", program.key);
        if kind == Kind::Ours && weather < Weather::Restarts {
            let other = claimed.insert(key, program.key);
            assert_eq!(other, None, "what {key:x} sent was delivered twice");
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
    let has_tags = network.stations.iter().all(Party::wants_tags);
    for (kind, program) in &all {
        let others = || all.iter().map(|(_, other)| *other).filter(|it| it.initiator != program.initiator);
        // A listener that was restarted may accept a stream again whose initiator has heard nothing yet.
        let reader = others().filter(|other| other.peer_key() == Some(program.key));
        let reader = reader.max_by_key(|reader| reader.received.len());
        let arrived = reader.map_or(0, |reader| reader.received.len());
        let writer = others().find(|other| program.peer_key() == Some(other.key)).or(reader);
        // The reference opens a stream again for a late copy of its first packet, and takes for itself what is
        // meant for the one that has ended. So does an end of ours that was started again in the meantime, since in
        // the reference wire nothing tells of which life of a listener an acknowledgment is, nor a STOP. The initiator
        // sees that there are two, and says so to its user.
        let former = |key| all.iter().any(|(_, it)| it.lost && !it.initiator && Some(it.key) == key);
        let noticed = || others().any(|it| it.closed != Some(CloseReason::Finished) && former(it.peer_key()));
        let mistakes = *kind == Kind::Reference || !has_tags && noticed();
        let is_phantom = mistakes && !program.initiator && reader.is_none();
        let (sent, name) = (program.sent.len(), program.key);
        if program.closed == Some(CloseReason::Finished) && !is_phantom {
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

fn programs(network: &Network<Party>) -> impl Iterator<Item = (Kind, &Program)> {
    let parties = network.stations.iter();
    parties.flat_map(|party| party.all_programs().map(|program| (party.kind(), program)))
}

fn open(network: &Network<Party>) -> Vec<(u32, usize, usize)> {
    let open = programs(network).filter(|(_, program)| program.closed.is_none() && !program.lost);
    open.map(|(_, program)| (program.key, program.sent.len(), program.received.len())).collect()
}

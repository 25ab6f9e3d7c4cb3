//! Random meshes in which random things happen, from quickcheck. `QUICKCHECK_TESTS=n` runs so many.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test may read its environment")]

mod meshes;

use meshes::{acquaint, good, has_received, ms, send, way};
use msp_core::NodeConfig;
use msp_core::testing::{Mesh, Topology, seed};
use quickcheck::{Arbitrary, Gen};
use std::panic::catch_unwind;

/// Something that happens.
#[derive(Debug, Clone, Copy)]
enum Change {
    /// Two nodes are linked that were not, or the other way round.
    Link(u8, u8),
    /// A node is started anew.
    Restart(u8),
    /// A datagram is sent.
    Send(u8, u8),
    /// Time passes, in hundredths of a second.
    Wait(u8),
}

impl Arbitrary for Change {
    fn arbitrary(g: &mut Gen) -> Self {
        let (a, b) = (u8::arbitrary(g), u8::arbitrary(g));
        match a % 8 {
            0..3 => Self::Link(a / 8, b),
            3 => Self::Restart(b),
            4..6 => Self::Send(a / 8, b),
            _ => Self::Wait(b),
        }
    }
}

/// Whatever has happened: in the end every pair that is linked in some way can talk, and knows of no other.
fn check(seed: u64, size: usize, more: usize, changes: &[Change]) {
    let mut topology = Topology::random(seed, size, more);
    let mut mesh = Mesh::of(seed, &topology, good);
    let pick = |number: u8| usize::from(number) % size;
    for change in changes {
        match *change {
            Change::Link(a, b) => toggle(&mut mesh, &mut topology, pick(a), pick(b)),
            Change::Restart(node) => mesh.restart(pick(node), NodeConfig::default(), true),
            Change::Send(from, to) => send(&mut mesh, pick(from), pick(to), b"?"),
            Change::Wait(time) => mesh.run(ms(10 * u64::from(time))),
        }
    }
    acquaint(&mut mesh, &topology, ms(90_000));
    // A link of which a few packets were lost counts as a bad one for a while.
    mesh.run(ms(20_000));
    mesh.stations.iter_mut().for_each(|station| station.datagrams.clear());
    for from in 0..size {
        for (to, distance) in topology.distances(from).into_iter().enumerate() {
            if let Some(distance) = distance.filter(|distance| *distance > 0) {
                assert_eq!(way(&mesh, from, to).len() - 1, distance, "{from} to {to}");
                send(&mut mesh, from, to, &[from as u8, to as u8]);
                mesh.run(ms(50));
                assert!(has_received(&mut mesh, from, to, &[from as u8, to as u8]), "{from} to {to}");
            }
        }
    }
}

fn toggle(mesh: &mut Mesh, topology: &mut Topology, a: usize, b: usize) {
    let ends = [a.min(b), a.max(b)];
    let before = topology.edges.len();
    topology.edges.retain(|edge| edge.ends != ends);
    if topology.edges.len() < before {
        mesh.part(a, b);
    } else if a != b {
        topology.edges.push(msp_core::testing::Edge { ends, loss: [0; 2] });
        mesh.join(a, b, good);
    }
}

#[test]
fn whatever_happens_all_who_are_linked_can_talk_in_the_end() {
    let first = seed(1);
    let count = std::env::var("QUICKCHECK_TESTS").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    for seed in first..first + count {
        let mut g = Gen::from_size_and_seed(30, seed);
        let (size, more) = (2 + usize::arbitrary(&mut g) % 9, usize::arbitrary(&mut g) % 8);
        let changes = Vec::<Change>::arbitrary(&mut g);
        let fails = |changes: &Vec<Change>| catch_unwind(|| check(seed, size, more, changes)).is_err();
        if fails(&changes) {
            let mut least = changes;
            while let Some(less) = least.shrink().find(fails) {
                least = less;
            }
            panic!("MSP_TEST_SEED={seed}: {size} nodes, {more} more links: {least:?}");
        }
    }
}

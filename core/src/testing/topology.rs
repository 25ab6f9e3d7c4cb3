//! Who is linked with whom: lines, grids and the like, networks as people build them, and nodes that walk.

use super::network::{Network, Station};
use super::{Link, rng};
use crate::Rng;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

/// Losses are parts of this.
const MILLION: u64 = 1_000_000;

/// Nodes and the links between them, all of them both ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// How many nodes there are.
    pub size: usize,
    /// The links, each once.
    pub edges: Vec<Edge>,
}

/// A link both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Which nodes it links.
    pub ends: [usize; 2],
    /// The packets of a million that it loses from the first to the second, and back.
    pub loss: [u64; 2],
}

impl Topology {
    /// Nodes of which each is linked with the next one.
    #[must_use]
    pub fn line(hops: usize) -> Self {
        Self::of(hops + 1, (0..hops).map(|a| [a, a + 1]))
    }

    /// The same, and the last one with the first.
    #[must_use]
    pub fn ring(size: usize) -> Self {
        Self::of(size, (0..size).map(|a| [a, (a + 1) % size]))
    }

    /// Nodes in rows, each linked with those beside, above and below it.
    #[must_use]
    pub fn grid(width: usize, height: usize) -> Self {
        let right = (0..width * height).filter(|a| (a + 1) % width != 0).map(|a| [a, a + 1]);
        let below = (0..width * height - width).map(|a| [a, a + width]);
        Self::of(width * height, right.chain(below))
    }

    /// Everyone hears everyone, as on one radio channel.
    #[must_use]
    pub fn domain(size: usize) -> Self {
        Self::of(size, (0..size).flat_map(|b| (0..b).map(move |a| [a, b])))
    }

    /// Nodes of which each has a way to each other one, with `more` links than that takes.
    #[must_use]
    pub fn random(seed: u64, size: usize, more: usize) -> Self {
        let mut rng = rng(seed);
        let mut below = |bound: usize| rng.below(bound as u64) as usize;
        let tree: Vec<_> = (1..size).map(|b| [below(b), b]).collect();
        let others: Vec<_> = (0..more).map(|_| [below(size), below(size)]).collect();
        Self::of(size, tree.into_iter().chain(others))
    }

    /// A network as people build one: few links for most nodes and many for some, links of every quality, and
    /// often only one way from one part to another.
    ///
    /// The statistics are those of the Wi-Fi links of Freifunk Leipzig, 157 nodes and 293 links, as its public map
    /// told them, in the data sets of Moritz Warning, "meshnet-lab", `data/freifunk`. Others look alike: Bratislav
    /// Milic and Miroslaw Malek, "Analyzing Large Scale Real-World Wireless Multihop Network", IEEE Communications
    /// Letters 11(7), 2007, found in Berlin low density, many bridges, and bad links among these.
    #[must_use]
    pub fn freifunk(seed: u64, size: usize) -> Self {
        let mut rng = rng(seed ^ 0xf2e1_f02b);
        let places: Vec<[u64; 2]> = (0..size).map(|_| [rng.below(MILLION), rng.below(MILLION)]).collect();
        let distance = |a: usize, b: usize| {
            let [x, y] = [0, 1].map(|axis| places[a][axis].abs_diff(places[b][axis]));
            x * x + y * y
        };
        // How many links each node still wants. The first one of each leads to those that came before it.
        let mut wanted: Vec<u64> = (0..size).map(|_| degree(&mut rng)).collect();
        let mut edges = BTreeSet::new();
        let nearest = |node: usize, among: Range<usize>, wanted: &[u64], edges: &BTreeSet<[usize; 2]>| {
            let free =
                among.filter(|it| *it != node && wanted[*it] > 0 && !edges.contains(&ordered(node, *it)));
            free.min_by_key(|it| distance(node, *it))
        };
        for node in 1..size {
            let hub = || (0..node).min_by_key(|it| distance(node, *it));
            let Some(other) = nearest(node, 0..node, &wanted, &edges).or_else(hub) else { continue };
            edges.insert(ordered(node, other));
            [node, other].into_iter().for_each(|it| wanted[it] = wanted[it].saturating_sub(1));
        }
        for node in 0..size {
            while wanted[node] > 0 {
                let Some(other) = nearest(node, 0..size, &wanted, &edges) else { break };
                edges.insert(ordered(node, other));
                [node, other].into_iter().for_each(|it| wanted[it] -= 1);
            }
        }
        let mut topology = Self::of(size, edges);
        for edge in &mut topology.edges {
            let there = loss(&mut rng);
            edge.loss = [there, if rng.below(3) == 0 { loss(&mut rng) } else { there }];
        }
        topology
    }

    fn of(size: usize, ends: impl IntoIterator<Item = [usize; 2]>) -> Self {
        let ends: BTreeSet<_> =
            ends.into_iter().filter(|[a, b]| a != b).map(|[a, b]| ordered(a, b)).collect();
        Self { size, edges: ends.into_iter().map(|ends| Edge { ends, loss: [0; 2] }).collect() }
    }

    /// Links the stations of a network. Each link is made by `shape`, and loses what it does here if that is
    /// anything.
    pub fn join<S: Station>(&self, network: &mut Network<S>, shape: impl Fn(Link) -> Link) {
        for Edge { ends: [a, b], loss } in &self.edges {
            for ([from, to], loss) in [[*a, *b], [*b, *a]].into_iter().zip(*loss) {
                let lose = |link: Link| if loss > 0 { link.loss_in_a_million(loss) } else { link };
                network.join_one_way(from, to, |link| lose(shape(link)));
            }
        }
    }

    /// Those that a node is linked with.
    pub fn neighbours(&self, node: usize) -> impl Iterator<Item = usize> {
        let other = move |edge: &Edge| match edge.ends {
            [a, b] if a == node => Some(b),
            [a, b] if b == node => Some(a),
            _ => None,
        };
        self.edges.iter().filter_map(other)
    }

    /// How many hops it is from a node to each; `None` where no way leads.
    #[must_use]
    pub fn distances(&self, from: usize) -> Vec<Option<usize>> {
        let mut linked = vec![Vec::new(); self.size];
        for Edge { ends: [a, b], .. } in &self.edges {
            linked[*a].push(*b);
            linked[*b].push(*a);
        }
        let mut distances = vec![None; self.size];
        distances[from] = Some(0);
        let mut queue = VecDeque::from([(from, 0)]);
        while let Some((node, distance)) = queue.pop_front() {
            for other in &linked[node] {
                if distances[*other].is_none() {
                    distances[*other] = Some(distance + 1);
                    queue.push_back((*other, distance + 1));
                }
            }
        }
        distances
    }
}

/// Nodes that walk in a square, each straight to a place, then to another one, as in David B. Johnson and David A.
/// Maltz, "Dynamic Source Routing in Ad Hoc Wireless Networks", 1996. Those that are near each other are linked.
#[derive(Debug)]
pub struct Walk {
    /// Where they are and where they go, in parts of the million that a side of the square has.
    nodes: Vec<[[u64; 2]; 2]>,
    range: u64,
    rng: Rng,
}

impl Walk {
    /// Nodes that hear each other up to a distance of `range`, in parts of a million.
    #[must_use]
    pub fn new(seed: u64, size: usize, range: u64) -> Self {
        let mut rng = rng(seed);
        let nodes = (0..size).map(|_| [place(&mut rng), place(&mut rng)]).collect();
        Self { nodes, range, rng }
    }

    /// They all walk so far.
    pub fn advance(&mut self, step: u64) {
        for [at, to] in &mut self.nodes {
            let left = distance(*at, *to);
            if left <= step {
                *at = core::mem::replace(to, place(&mut self.rng));
                continue;
            }
            for axis in 0..2 {
                let way = to[axis].abs_diff(at[axis]) * step / left;
                at[axis] = if to[axis] > at[axis] { at[axis] + way } else { at[axis] - way };
            }
        }
    }

    /// Who is near whom now.
    #[must_use]
    pub fn topology(&self) -> Topology {
        let near = |[a, b]: &[usize; 2]| distance(self.nodes[*a][0], self.nodes[*b][0]) <= self.range;
        let pairs = (0..self.nodes.len()).flat_map(|b| (0..b).map(move |a| [a, b]));
        Topology::of(self.nodes.len(), pairs.filter(near))
    }

    /// Links those that are near each other now, and takes other links away.
    pub fn join<S: Station>(&self, network: &mut Network<S>, shape: impl Fn(Link) -> Link) {
        let near: BTreeSet<[usize; 2]> = self.topology().edges.iter().map(|edge| edge.ends).collect();
        for b in 0..self.nodes.len() {
            for a in 0..b {
                match (near.contains(&[a, b]), network.is_joined(a, b)) {
                    (true, false) => network.join(a, b, &shape),
                    (false, true) => network.part(a, b),
                    _ => {}
                }
            }
        }
    }
}

fn place(rng: &mut Rng) -> [u64; 2] {
    [rng.below(MILLION), rng.below(MILLION)]
}

fn distance(a: [u64; 2], b: [u64; 2]) -> u64 {
    let [x, y] = [0, 1].map(|axis| a[axis].abs_diff(b[axis]));
    (x * x + y * y).isqrt()
}

const fn ordered(a: usize, b: usize) -> [usize; 2] {
    if a < b { [a, b] } else { [b, a] }
}

/// How many links a node of Freifunk has: of a thousand nodes, so many have so many.
const DEGREES: [(u64, u64); 12] = [
    (223, 1),
    (210, 2),
    (127, 3),
    (153, 4),
    (115, 5),
    (45, 6),
    (25, 7),
    (19, 8),
    (32, 10),
    (19, 11),
    (19, 12),
    (13, 13),
];
/// The quality of its links, in thousandths: the least, a tenth of them are below the second, and so on.
const QUALITIES: [u64; 11] = [59, 541, 710, 847, 910, 973, 1000, 1000, 1000, 1000, 1000];

fn degree(rng: &mut Rng) -> u64 {
    let mut chosen = rng.below(DEGREES.iter().map(|(nodes, _)| nodes).sum());
    for (nodes, degree) in DEGREES {
        if chosen < nodes {
            return degree;
        }
        chosen -= nodes;
    }
    unreachable!("it was less than all together")
}

/// What a link loses, in a million, when its quality is the part that passes.
fn loss(rng: &mut Rng) -> u64 {
    let (tenth, part) = (rng.below(10) as usize, rng.below(1000));
    let [low, high] = [QUALITIES[tenth], QUALITIES[tenth + 1]];
    MILLION - (1000 * low + (high - low) * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_shapes() {
        let distances =
            |topology: Topology| topology.distances(0).into_iter().map(Option::unwrap).collect::<Vec<_>>();
        assert_eq!(distances(Topology::line(3)), [0, 1, 2, 3]);
        assert_eq!(distances(Topology::ring(5)), [0, 1, 2, 2, 1]);
        assert_eq!(distances(Topology::grid(3, 2)), [0, 1, 2, 1, 2, 3]);
        assert_eq!(distances(Topology::domain(3)), [0, 1, 1]);
        assert_eq!(Topology::of(3, [[0, 1]]).distances(0), [Some(0), Some(1), None]);
        assert_eq!(Topology::grid(3, 3).neighbours(4).collect::<Vec<_>>(), [1, 3, 5, 7]);
    }

    #[test]
    fn random_networks_are_connected_and_come_from_their_seed() {
        for seed in 0..20 {
            for topology in [Topology::random(seed, 30, 10), Topology::freifunk(seed, 100)] {
                assert!(topology.distances(7).iter().all(Option::is_some), "{topology:?}");
            }
        }
        assert_eq!(Topology::freifunk(1, 50), Topology::freifunk(1, 50));
        assert_ne!(Topology::freifunk(1, 50), Topology::freifunk(2, 50));
    }

    #[test]
    fn freifunk_networks_have_its_statistics() {
        let topology = Topology::freifunk(1, 500);
        let mean = 2.0 * topology.edges.len() as f64 / 500.0;
        assert!((3.3..4.2).contains(&mean), "3.7 links a node, not {mean}");
        let leaves = (0..500).filter(|node| topology.neighbours(*node).count() == 1).count();
        assert!((60..150).contains(&leaves), "22 % of all, not {leaves} of 500");
        let topologies = (1..=5).map(|seed| Topology::freifunk(seed, 500));
        let mut losses: Vec<u64> = topologies.flat_map(|it| it.edges).flat_map(|edge| edge.loss).collect();
        losses.sort_unstable();
        let [median, worst] = [2, 10].map(|part| losses[losses.len() - 1 - losses.len() / part]);
        assert!((10_000..50_000).contains(&median), "27,000 in a million, not {median}");
        assert!((400_000..540_000).contains(&worst), "459,000 in a million, not {worst}");
        let one_sided = topology.edges.iter().filter(|edge| edge.loss[0] != edge.loss[1]).count();
        assert!(one_sided > topology.edges.len() / 6, "{one_sided}");
    }

    #[test]
    fn who_walks_meets_and_parts() {
        let mut walk = Walk::new(1, 10, 300_000);
        let before = walk.topology();
        for _ in 0..10 {
            walk.advance(50_000);
        }
        let after = walk.topology();
        let is_new = |edge: &&Edge| !before.edges.contains(edge);
        assert!(
            after.edges.iter().any(|edge| is_new(&edge))
                && before.edges.iter().any(|it| !after.edges.contains(it))
        );
    }
}

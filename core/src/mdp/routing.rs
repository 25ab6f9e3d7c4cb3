//! Routes: the trees that neighbours announce, and the shortest ways through them (`spec/50` section 7).
//!
//! A neighbour says of every node that it reaches which node comes last on the way there: its records are a tree with
//! that neighbour at the root. A way of ours leads to a neighbour and from there along the tree of *that* neighbour only,
//! so that it is the way that frames will take.
//!
//! SIDs are replaced by small numbers here: a record takes a few bytes, and a way is found without searching.

use super::announce::Telling;
use super::directory::matching;
use crate::{Instant, Sid};
use alloc::collections::{BTreeMap, BinaryHeap};
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::time::Duration;

/// Losses up to this do not count against a way.
const LOSS_IGNORED: u8 = 2;
/// No frame lasts for more hops.
pub(super) const MAX_HOPS: u8 = 31;
/// All records age in this rhythm, and are forgotten at that age. Neighbours repeat theirs every 5 s, by broadcast, of
/// which some are lost (`spec/50` section 4).
const SWEEP: Duration = Duration::from_secs(5);
const MAX_AGE: u8 = 5;
/// Ways are looked for at most once in this time on average for each so many nodes, and so often in a row as fits in.
const PAUSE: Duration = Duration::from_millis(4);
const NODES_PER_PAUSE: usize = 64;
const BORROWED: Duration = Duration::from_millis(64);
/// Nodes that can be numbered.
const MAX_ENTRIES: usize = 60_000;
/// Neighbours that are gone and still have a number.
const SLACK: usize = 64;

#[path = "routing_share.rs"]
mod share;

/// The number of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Index(u16);

impl Index {
    /// This node itself.
    pub(super) const OWN: Self = Self(0);

    pub(super) fn place(self) -> usize {
        self.0.into()
    }

    /// The number of what is in this place.
    pub(super) const fn at(place: usize) -> Self {
        Self(place as u16)
    }
}

/// The last link of a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link<T> {
    pub(super) transmitter: T,
    /// Counts its changes.
    pub(super) version: u8,
    /// Of 15 packets.
    pub(super) loss: u8,
}

/// How a node is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way<T> {
    /// The neighbour that it begins with.
    pub(super) next_hop: T,
    pub(super) last: Link<T>,
    pub(super) hops: u8,
    /// Of all links together.
    pub(super) loss: u16,
}

/// A node that is known to exist.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) sid: Sid,
    pub(super) way: Option<Way<Index>>,
    pub(super) telling: Telling,
    /// The neighbour that told of it.
    owner: Index,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    link: Link<Index>,
    age: u8,
}

/// What one neighbour is to routes.
#[derive(Debug, Default)]
struct Tree {
    /// The loss of the link to it, while it hears us.
    loss: Option<u8>,
    /// What it announced, by receiver.
    records: Vec<Option<Record>>,
    /// The same by transmitter and receiver, unless `changed`.
    edges: Vec<(Index, Index)>,
    changed: bool,
    /// It told of a node for which there was no place.
    refused: bool,
}

impl Tree {
    fn has(&self, place: usize) -> bool {
        matches!(self.records.get(place), Some(Some(_)))
    }

    fn sort(&mut self) {
        self.changed = false;
        self.edges.clear();
        for (place, record) in self.records.iter().enumerate() {
            self.edges.extend(record.map(|record| (record.link.transmitter, Index(place as u16))));
        }
        self.edges = BinaryHeap::from(core::mem::take(&mut self.edges)).into_sorted_vec();
    }
}

/// What all neighbours announced, and the best ways. Never more than a limit.
#[derive(Debug)]
pub(super) struct Routing {
    pub(super) own: Sid,
    pub(super) entries: Vec<Option<Entry>>,
    indices: BTreeMap<Sid, Index>,
    trees: BTreeMap<Index, Tree>,
    limit: usize,
    /// While there is no place for all, how many nodes one neighbour can tell of.
    share: Option<usize>,
    /// Something has changed since ways were looked for.
    stale: bool,
    /// Ways were looked for as often as is fair until then.
    paid_until: Instant,
    sweep_at: Instant,
    /// When there is something to announce, if there is anyone to announce it to.
    pub(super) tell_at: Option<Instant>,
    /// Before this, nothing is announced.
    pub(super) quiet_until: Instant,
    /// When everything was announced last.
    pub(super) told_all: Option<Instant>,
    pub(super) is_telling: bool,
    /// Where the next announcement goes on.
    pub(super) cursor: usize,
}

impl Routing {
    /// The routes of the node `own`, with at most `limit` nodes that are no neighbours.
    pub(super) fn new(own: Sid, limit: usize, now: Instant) -> Self {
        let entry = Entry { sid: own, way: None, telling: Telling::default(), owner: Index::OWN };
        Self {
            own,
            entries: vec![Some(entry)],
            indices: BTreeMap::from([(own, Index::OWN)]),
            trees: BTreeMap::new(),
            limit: limit.clamp(1, MAX_ENTRIES),
            share: None,
            stale: false,
            paid_until: now,
            sweep_at: now,
            tell_at: None,
            quiet_until: now,
            told_all: None,
            is_telling: false,
            cursor: 0,
        }
    }

    /// The neighbour hears us with this loss, or does not. Gives whether it did not before.
    pub(super) fn set_link(&mut self, now: Instant, neighbour: Sid, loss: Option<u8>) -> bool {
        if loss.is_none() && !self.indices.contains_key(&neighbour) {
            return false;
        }
        let index = self.enter_neighbour(now, neighbour);
        let tree = self.trees.entry(index).or_default();
        self.stale |= tree.loss != loss;
        let newcomer = tree.loss.is_none() && loss.is_some();
        tree.loss = loss;
        newcomer
    }

    /// The neighbour reaches `receiver` over this link last, or not at all, or through us.
    pub(super) fn hear(&mut self, now: Instant, neighbour: Sid, receiver: Sid, link: Option<Link<Sid>>) {
        let root = self.enter_neighbour(now, neighbour);
        let link = link.filter(|link| self.indices.get(&link.transmitter) != Some(&Index::OWN));
        let Some(link) = link.filter(|link| link.transmitter != receiver) else {
            if let Some(receiver) = self.indices.get(&receiver).copied() {
                self.set_record(root, receiver, None);
            }
            return;
        };
        if self.trees.len() == 1 && self.trees.values().all(|tree| tree.records.is_empty()) {
            self.sweep_at = now + SWEEP;
        }
        let (Some(receiver), Some(transmitter)) =
            (self.enter(root, receiver), self.enter(root, link.transmitter))
        else {
            self.trees.entry(root).or_default().refused = true;
            return;
        };
        if receiver != Index::OWN && receiver != root {
            let Link { version, loss, .. } = link;
            self.set_record(root, receiver, Some(Link { transmitter, version, loss }));
        }
    }

    /// The neighbour seems to have started again: what it does not repeat soon means nothing any more.
    pub(super) fn doubt_tree(&mut self, neighbour: &Sid) {
        let index = self.indices.get(neighbour);
        if let Some(tree) = index.and_then(|index| self.trees.get_mut(index)) {
            tree.records.iter_mut().flatten().for_each(|record| record.age = record.age.max(MAX_AGE - 2));
        }
    }

    /// How many neighbours hear us.
    pub(super) fn links(&self) -> usize {
        self.trees.values().filter(|tree| tree.loss.is_some()).count()
    }

    /// The neighbour is gone.
    pub(super) fn forget_neighbour(&mut self, neighbour: &Sid) {
        let Some(index) = self.indices.get(neighbour).copied() else { return };
        self.stale |= self.trees.remove(&index).is_some();
        let holder = self.trees.iter().find(|(_, tree)| tree.has(index.place())).map(|(root, _)| *root);
        if let Some(Some(entry)) = self.entries.get_mut(index.place()) {
            entry.owner = holder.unwrap_or(Index::OWN);
        }
    }

    /// How `sid` is reached.
    pub(super) fn way(&self, sid: &Sid) -> Option<Way<Sid>> {
        let way = self.entry(*self.indices.get(sid)?)?.way?;
        let Link { transmitter, version, loss } = way.last;
        let transmitter = self.entry(transmitter)?.sid;
        let next_hop = self.entry(way.next_hop)?.sid;
        Some(Way { next_hop, last: Link { transmitter, version, loss }, hops: way.hops, loss: way.loss })
    }

    /// The nodes that are reached, in order.
    pub(super) fn reached(&self) -> impl Iterator<Item = Sid> {
        let is_reached = |index: Index| self.entry(index).is_some_and(|entry| entry.way.is_some());
        self.indices.iter().filter(move |(_, index)| is_reached(**index)).map(|(sid, _)| *sid)
    }

    /// A node further away that is reached over `neighbour` last, and that link.
    pub(super) fn beyond(&self, neighbour: &Sid) -> Option<(Sid, Link<Index>)> {
        let index = *self.indices.get(neighbour)?;
        let link = |entry: &Entry| entry.way.map(|way| way.last).filter(|last| last.transmitter == index);
        self.entries.iter().flatten().find_map(|entry| Some((entry.sid, link(entry)?)))
    }

    /// Whether `neighbour` has said that it reaches `sid`.
    pub(super) fn is_known_to(&self, neighbour: &Sid, sid: &Sid) -> bool {
        let (tree, index) = (self.indices.get(neighbour), self.indices.get(sid));
        let tree = tree.and_then(|tree| self.trees.get(tree));
        tree.zip(index).is_some_and(|(tree, index)| tree.has(index.place()))
    }

    /// Whether the neighbour with which `way` to the node in this place begins still hears us and says that it leads there so.
    pub(super) fn still_leads(&self, place: usize, way: Way<Index>) -> bool {
        let Some(tree) = self.trees.get(&way.next_hop).filter(|tree| tree.loss.is_some()) else {
            return false;
        };
        match tree.records.get(place) {
            _ if way.next_hop.place() == place => true,
            Some(Some(record)) => record.link.transmitter == way.last.transmitter,
            _ => false,
        }
    }

    /// The SIDs of others that start with `prefix`, in order.
    pub(super) fn matching(&self, prefix: &[u8]) -> impl Iterator<Item = Sid> {
        matching(&self.indices, prefix)
            .filter(|sid| self.indices.get(sid).is_some_and(|it| self.is_told_of(*it)))
    }

    /// Looks for the best ways if something has changed, and lets old records go.
    pub(super) fn update(&mut self, now: Instant) {
        if self.has_trees() && self.sweep_at <= now {
            self.sweep_at = now + SWEEP;
            self.sweep(now);
        }
        if self.stale && self.paid_until <= now + BORROWED {
            self.look_for_ways(now);
        }
    }

    /// When [`Routing::update`] has something to do.
    pub(super) fn update_at(&self) -> Option<Instant> {
        let stale = self.stale.then_some(self.paid_until - BORROWED);
        stale.into_iter().chain(self.has_trees().then_some(self.sweep_at)).min()
    }

    pub(super) fn entry(&self, index: Index) -> Option<&Entry> {
        self.entries.get(index.place())?.as_ref()
    }

    pub(super) fn index_of(&self, sid: &Sid) -> Option<Index> {
        self.indices.get(sid).copied()
    }

    /// Whether it is a neighbour, or one told of it that still is.
    fn is_told_of(&self, index: Index) -> bool {
        let owner = self.entry(index).map(|entry| entry.owner);
        self.trees.contains_key(&index) || owner.is_some_and(|owner| self.trees.contains_key(&owner))
    }

    fn has_trees(&self) -> bool {
        self.trees.values().any(|tree| !tree.records.is_empty() || tree.refused)
    }

    fn look_for_ways(&mut self, now: Instant) {
        let cost = PAUSE * (1 + self.entries.len() / NODES_PER_PAUSE) as u32;
        self.paid_until = self.paid_until.max(now) + cost;
        self.stale = false;
        let mut ways = self.find_ways();
        for (slot, way) in self.entries.iter_mut().zip(&mut ways) {
            slot.iter_mut().for_each(|entry| core::mem::swap(&mut entry.way, way));
        }
        for (place, old) in ways.into_iter().enumerate() {
            if matches!(self.entries.get(place), Some(Some(entry)) if entry.way != old) {
                self.note_change(now, place, old);
            }
        }
    }

    /// Shortest ways first (Dijkstra): each new one is a child, in the tree of its next hop, of one that is known.
    fn find_ways(&mut self) -> Vec<Option<Way<Index>>> {
        self.trees.values_mut().filter(|tree| tree.changed).for_each(Tree::sort);
        let mut ways: Vec<Option<Way<Index>>> = vec![None; self.entries.len()];
        let mut heap = BinaryHeap::new();
        let old = |index: Index| self.entry(index).and_then(|entry| entry.way);
        let candidate = |to: Index, way: Way<Index>| {
            let Link { transmitter, version, loss } = way.last;
            let same = |old: Way<Index>| (old.next_hop, old.last.transmitter) == (way.next_hop, transmitter);
            // Of equal ways the one that there is, so that it does not change to and fro.
            let is_new = !old(to).is_some_and(same);
            Reverse((way.loss, way.hops, is_new, way.next_hop, to, transmitter, version, loss))
        };
        for (&root, tree) in &self.trees {
            if let Some(loss) = tree.loss {
                let last = Link { transmitter: Index::OWN, version: 1, loss };
                heap.push(candidate(root, Way { next_hop: root, last, hops: 1, loss: weight(loss) }));
            }
        }
        while let Some(Reverse((total, hops, _, next_hop, to, transmitter, version, loss))) = heap.pop() {
            if to == Index::OWN {
                continue;
            }
            let way = Way { next_hop, last: Link { transmitter, version, loss }, hops, loss: total };
            let best = ways[to.place()].get_or_insert(way);
            // What is behind is reached along the tree of any neighbour that leads here as well as the best. Were it only
            // the one, nobody would lead to a node that each of them reaches through another one.
            if (best.loss, best.hops) != (total, hops) {
                continue;
            }
            let Some(tree) = self.trees.get(&next_hop).filter(|_| hops < MAX_HOPS) else { continue };
            let first = tree.edges.partition_point(|(transmitter, _)| *transmitter < to);
            for &(_, receiver) in tree.edges[first..].iter().take_while(|(transmitter, _)| *transmitter == to)
            {
                let Some(Some(record)) = tree.records.get(receiver.place()) else { continue };
                let (loss, hops) = (total.saturating_add(weight(record.link.loss)), hops + 1);
                if ways[receiver.place()].is_none_or(|best| (loss, hops) == (best.loss, best.hops)) {
                    heap.push(candidate(receiver, Way { next_hop, last: record.link, hops, loss }));
                }
            }
        }
        ways
    }

    /// Lets records age, and nodes go of which nobody tells any more.
    fn sweep(&mut self, now: Instant) {
        for tree in self.trees.values_mut() {
            for slot in &mut tree.records {
                if let Some(record) = slot {
                    record.age += 1;
                    tree.changed |= record.age >= MAX_AGE;
                }
                *slot = slot.filter(|record| record.age < MAX_AGE);
            }
            self.stale |= tree.changed;
        }
        self.share_out();
        let needed = self.share.is_some();
        if needed {
            self.look_for_ways(now);
        }
        self.collect(needed);
    }

    /// Forgets the nodes of which nobody tells. Those that were reached until now stay until that was announced,
    /// unless place is `needed`.
    fn collect(&mut self, needed: bool) {
        let mut owners: Vec<Option<Index>> = vec![None; self.entries.len()];
        for (root, tree) in &self.trees {
            owners[root.place()] = Some(Index::OWN);
            for (place, record) in tree.records.iter().enumerate() {
                let Some(record) = record else { continue };
                owners[place].get_or_insert(*root);
                owners[record.link.transmitter.place()].get_or_insert(*root);
            }
        }
        owners[0] = Some(Index::OWN);
        for (slot, owner) in self.entries.iter_mut().zip(owners) {
            let Some(entry) = slot else { continue };
            match owner {
                Some(owner) if !self.trees.contains_key(&entry.owner) => entry.owner = owner,
                None if needed || (entry.way.is_none() && entry.telling.is_over()) => {
                    self.indices.remove(&entry.sid);
                    *slot = None;
                }
                _ => {}
            }
        }
    }

    fn set_record(&mut self, root: Index, receiver: Index, link: Option<Link<Index>>) {
        let tree = self.trees.entry(root).or_default();
        let place = receiver.place();
        if link.is_some() && tree.records.len() <= place {
            tree.records.resize(place + 1, None);
        }
        let Some(record) = tree.records.get_mut(place) else { return };
        if record.map(|record| record.link) != link {
            (tree.changed, self.stale) = (true, true);
        }
        *record = link.map(|link| Record { link, age: 0 });
    }

    /// The number of a neighbour. There is one for each.
    fn enter_neighbour(&mut self, now: Instant, sid: Sid) -> Index {
        if let Some(index) = self.indices.get(&sid) {
            return *index;
        }
        if self.indices.len() > self.limit + self.trees.len() + SLACK {
            self.look_for_ways(now);
            self.collect(true);
        }
        self.add(sid, Index::OWN)
    }

    /// How many nodes count as told by this neighbour; neighbours count as told by this node.
    fn owned(&self, owner: Index) -> usize {
        self.entries.iter().flatten().filter(|entry| entry.owner == owner).count()
    }

    /// The number of a node that the neighbour `owner` tells of.
    fn enter(&mut self, owner: Index, sid: Sid) -> Option<Index> {
        if let Some(index) = self.indices.get(&sid) {
            return Some(*index);
        }
        let has_share = self.share.is_none_or(|share| self.owned(owner) < share);
        (has_share && self.indices.len() <= self.limit).then(|| self.add(sid, owner))
    }

    fn add(&mut self, sid: Sid, owner: Index) -> Index {
        let entry = Some(Entry { sid, way: None, telling: Telling::default(), owner });
        let place = self.entries.iter().position(Option::is_none).unwrap_or(self.entries.len());
        match self.entries.get_mut(place) {
            Some(free) => *free = entry,
            None => self.entries.push(entry),
        }
        let index = Index(place as u16);
        self.indices.insert(sid, index);
        index
    }
}

/// What the loss of a link adds to that of a way.
const fn weight(loss: u8) -> u16 {
    if loss > LOSS_IGNORED { loss as u16 } else { 0 }
}

#[cfg(test)]
#[path = "routing_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "routing_share_tests.rs"]
mod share_tests;

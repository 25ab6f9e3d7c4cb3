//! Places for nodes, where neighbours tell of more than there are.

use super::{Index, Routing};
use alloc::vec;
use alloc::vec::Vec;

impl Routing {
    /// Where there was no place for all that neighbours tell of, each gets as much as the others, and what some do not
    /// need is for the rest. Nodes of which several tell stay.
    pub(super) fn share_out(&mut self) {
        self.share = None;
        if !self.trees.values().any(|tree| tree.refused) {
            return;
        }
        let wants = self.trees.iter().map(|(root, tree)| (self.owned(*root), tree.refused));
        let wants: Vec<(usize, bool)> = wants.collect();
        self.trees.values_mut().for_each(|tree| tree.refused = false);
        let places = (self.limit + 1).saturating_sub(self.owned(Index::OWN));
        let mut share = places / wants.len();
        for _ in &wants {
            let content = wants.iter().filter(|(owned, refused)| !refused && *owned <= share);
            let (count, taken) = content.fold((0, 0), |(count, taken), it| (count + 1, taken + it.0));
            share = share.max(places.saturating_sub(taken) / (wants.len() - count).max(1));
        }
        self.share = Some(share);
        let mut evicted = vec![false; self.entries.len()];
        for root in self.trees.keys() {
            let owned =
                |place: &usize| matches!(self.entries.get(*place), Some(Some(it)) if it.owner == *root);
            let held = |place: usize| self.trees.values().filter(|tree| tree.has(place)).count() > 1;
            let places = (0..self.entries.len()).filter(owned);
            let excess = places.clone().count().saturating_sub(share);
            let own = |place: &usize| !held(*place) && !self.trees.contains_key(&Index(*place as u16));
            places.rev().filter(own).take(excess).for_each(|place| evicted[place] = true);
        }
        for tree in self.trees.values_mut() {
            for (place, slot) in tree.records.iter_mut().enumerate() {
                if let Some(record) = *slot
                    && (evicted[place] || evicted[record.link.transmitter.place()])
                {
                    *slot = None;
                    (tree.changed, self.stale) = (true, true);
                }
            }
        }
    }
}

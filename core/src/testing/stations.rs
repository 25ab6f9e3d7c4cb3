//! The stations of a network, and to which of them something happened.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut, Index, IndexMut};

/// Stations by index. Whoever gets one to change it may have changed it, so the network looks at it again.
#[derive(Debug)]
pub struct Stations<S> {
    list: Vec<S>,
    touched: BTreeSet<usize>,
}

impl<S> Stations<S> {
    /// Adds one; gives its index.
    pub(super) fn push(&mut self, station: S) -> usize {
        self.list.push(station);
        self.touched.insert(self.list.len() - 1);
        self.list.len() - 1
    }

    /// Has it looked at again.
    pub(super) fn touch(&mut self, index: usize) {
        self.touched.insert(index);
    }

    /// The next to look at, in order.
    pub(super) fn next_touched(&mut self) -> Option<usize> {
        self.touched.pop_first()
    }

    /// One of them, for the network that looks at it anyway.
    pub(super) fn quietly(&mut self, index: usize) -> &mut S {
        &mut self.list[index]
    }

    /// Takes one of them out of its network.
    ///
    /// # Panics
    ///
    /// If there is no such station.
    #[must_use]
    pub fn into_one(mut self, index: usize) -> S {
        self.list.swap_remove(index)
    }
}

impl<S> Default for Stations<S> {
    fn default() -> Self {
        Self { list: Vec::new(), touched: BTreeSet::new() }
    }
}

impl<S> Index<usize> for Stations<S> {
    type Output = S;

    fn index(&self, index: usize) -> &S {
        &self.list[index]
    }
}

impl<S> IndexMut<usize> for Stations<S> {
    fn index_mut(&mut self, index: usize) -> &mut S {
        self.touched.insert(index);
        &mut self.list[index]
    }
}

impl<S> Deref for Stations<S> {
    type Target = [S];

    fn deref(&self) -> &[S] {
        &self.list
    }
}

impl<S> DerefMut for Stations<S> {
    fn deref_mut(&mut self) -> &mut [S] {
        self.touched.extend(0..self.list.len());
        &mut self.list
    }
}

impl<'a, S> IntoIterator for &'a mut Stations<S> {
    type Item = &'a mut S;
    type IntoIter = core::slice::IterMut<'a, S>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

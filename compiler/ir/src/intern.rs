//! Values stored once and named by a small number, in order of first use.

use indexmap::{Equivalent, IndexSet};
use rustc_hash::FxBuildHasher;
use std::hash::Hash;

/// A table of distinct values; ids count from 0 in order of first insertion.
#[derive(Clone, Debug)]
pub struct Interner<T: Eq + Hash> {
    items: IndexSet<T, FxBuildHasher>,
}

impl<T: Eq + Hash> Default for Interner<T> {
    fn default() -> Self {
        Self { items: IndexSet::default() }
    }
}

impl<T: Eq + Hash> Interner<T> {
    /// The id of `item`, which is added if it is new.
    pub fn intern(&mut self, item: T) -> u32 {
        u32::try_from(self.items.insert_full(item).0).unwrap_or(u32::MAX)
    }

    /// The value of an id this table gave.
    pub fn get(&self, id: u32) -> Option<&T> {
        self.items.get_index(id as usize)
    }

    /// The id of a value, if it is in the table.
    pub fn find<Q: Hash + Equivalent<T> + ?Sized>(&self, item: &Q) -> Option<u32> {
        self.items.get_index_of(item).and_then(|i| u32::try_from(i).ok())
    }

    /// Values in order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &T> {
        self.items.iter()
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

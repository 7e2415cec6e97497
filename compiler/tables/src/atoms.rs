//! Port atoms: stretches of coordinates that no row of the image tells apart.

use portcullis_sema::row::Row;
use std::collections::BTreeSet;

/// The first coordinate of each atom, in order; the first is 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Atoms {
    starts: Vec<u32>,
}

impl Atoms {
    /// The coarsest atoms that every row is made of.
    pub fn new<'r>(rows: impl IntoIterator<Item = &'r Row>) -> Self {
        let mut starts: BTreeSet<u32> = BTreeSet::from([0]);
        for row in rows {
            starts.extend(row.stretches().map(|(start, _, _)| start));
        }
        Self { starts: starts.into_iter().collect() }
    }

    /// How many atoms there are; at least one.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Never true: all coordinates are in some atom.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The first coordinate of each atom.
    pub fn starts(&self) -> &[u32] {
        &self.starts
    }

    /// The atom of a coordinate.
    pub fn of(&self, coordinate: u32) -> usize {
        self.starts.partition_point(|s| *s <= coordinate).saturating_sub(1)
    }
}

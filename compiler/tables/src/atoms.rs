//! Port atoms: stretches of coordinates that no row of the image tells apart.

/// The first coordinate of each atom, in order; the first is 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Atoms {
    starts: Vec<u32>,
}

impl Atoms {
    /// The coarsest atoms that every row is made of, from the first coordinates of the rows' stretches.
    pub fn new(starts: impl IntoIterator<Item = u32>) -> Self {
        let mut starts: Vec<u32> = starts.into_iter().chain([0]).collect();
        starts.sort_unstable();
        starts.dedup();
        Self { starts }
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

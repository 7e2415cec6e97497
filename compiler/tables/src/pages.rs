//! Arrays cut into pages of one size, equal pages stored once.

use rustc_hash::FxHashMap;

/// Pages in order of first use; a page's index is what directories hold.
#[derive(Debug)]
pub(crate) struct Pages {
    size: usize,
    index: FxHashMap<Box<[u16]>, u16>,
    data: Vec<u16>,
}

/// More distinct pages than an index can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Pages {
    pub(crate) fn new(size: usize) -> Self {
        Self { size, index: FxHashMap::default(), data: Vec::new() }
    }

    /// The page indices of an array; its last page is filled up with zeros.
    pub(crate) fn store(&mut self, array: &[u16]) -> Result<Vec<u16>, Full> {
        array
            .chunks(self.size)
            .map(|chunk| {
                let mut page = vec![0; self.size].into_boxed_slice();
                for (slot, value) in page.iter_mut().zip(chunk) {
                    *slot = *value;
                }
                if let Some(found) = self.index.get(&page) {
                    return Ok(*found);
                }
                let at = u16::try_from(self.index.len()).map_err(|_| Full)?;
                self.data.extend_from_slice(&page);
                self.index.insert(page, at);
                Ok(at)
            })
            .collect()
    }

    /// Every page, one after the other.
    pub(crate) fn data(&self) -> &[u16] {
        &self.data
    }
}

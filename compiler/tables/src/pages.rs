//! Arrays cut into pages of one size, equal pages stored once.

use rustc_hash::FxHashMap;

/// Pages in order of first use; a page's index is what directories hold.
#[derive(Debug)]
pub(crate) struct Pages {
    size: usize,
    index: FxHashMap<Box<[u16]>, u16>,
    /// The page of zeros, which most are.
    zero: Option<u16>,
    data: Vec<u16>,
}

/// More distinct pages than an index can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Pages {
    pub(crate) fn new(size: usize) -> Self {
        Self { size, index: FxHashMap::default(), zero: None, data: Vec::new() }
    }

    /// The page indices of an array; its last page is filled up with zeros.
    pub(crate) fn store(&mut self, array: &[u16]) -> Result<Vec<u16>, Full> {
        let mut out = Vec::with_capacity(array.len().div_ceil(self.size));
        let mut padded = Vec::new();
        for chunk in array.chunks(self.size) {
            let page = if chunk.len() == self.size {
                chunk
            } else {
                padded.extend_from_slice(chunk);
                padded.resize(self.size, 0);
                &padded
            };
            let is_zero = page.iter().all(|v| *v == 0);
            let known = if is_zero { self.zero } else { self.index.get(page).copied() };
            if let Some(found) = known {
                out.push(found);
                continue;
            }
            let at = u16::try_from(self.index.len()).map_err(|_| Full)?;
            if is_zero {
                self.zero = Some(at);
            }
            self.data.extend_from_slice(page);
            self.index.insert(page.into(), at);
            out.push(at);
        }
        Ok(out)
    }

    /// Every page, one after the other.
    pub(crate) fn data(&self) -> &[u16] {
        &self.data
    }
}

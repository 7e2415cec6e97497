//! Arrays cut into pages of one size, equal pages stored once.
//!
//! [`Cut`] keeps pages and arrays by handles that outlive one image; [`Pages`] gives those that an image
//! has their numbers, in order of first use.

use portcullis_ir::intern::Interner;
use std::hash::Hash;

/// Arrays, as handles of their pages.
#[derive(Debug)]
pub(crate) struct Cut<T: Copy + Default + Eq + Hash> {
    size: usize,
    pages: Interner<Box<[T]>>,
    arrays: Interner<Box<[u32]>>,
}

impl<T: Copy + Default + Eq + Hash> Cut<T> {
    pub(crate) fn new(size: usize) -> Self {
        Self { size, pages: Interner::default(), arrays: Interner::default() }
    }

    /// How many pages and arrays are kept.
    pub(crate) fn len(&self) -> usize {
        self.pages.len() + self.arrays.len()
    }

    /// The handle of an array; its last page is filled up with zeros.
    pub(crate) fn array(&mut self, array: &[T]) -> u32 {
        let mut zero = None;
        let mut out = Vec::with_capacity(array.len().div_ceil(self.size));
        for chunk in array.chunks(self.size) {
            let is_zero = chunk.iter().all(|v| *v == T::default());
            // Most pages are.
            if let Some(zero) = zero.filter(|_| is_zero) {
                out.push(zero);
                continue;
            }
            let handle = if chunk.len() == self.size {
                self.page(chunk)
            } else {
                let mut padded = chunk.to_vec();
                padded.resize(self.size, T::default());
                self.page(&padded)
            };
            if is_zero {
                zero = Some(handle);
            }
            out.push(handle);
        }
        self.arrays.intern(out.into())
    }

    fn page(&mut self, page: &[T]) -> u32 {
        self.pages.find(page).unwrap_or_else(|| self.pages.intern(page.into()))
    }
}

/// The arrays and pages of one image; a page's number is what the directory holds.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    number: Vec<Option<u16>>,
    count: usize,
    data: Vec<u16>,
    array: Vec<Option<usize>>,
    arrays: usize,
    directory: Vec<u16>,
}

/// More distinct pages than an index can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Pages {
    /// Which of this image's arrays a kept one is; `value` says what stands for an element of it.
    pub(crate) fn array<T: Copy + Default + Eq + Hash>(
        &mut self,
        cut: &Cut<T>,
        handle: u32,
        value: impl Fn(T) -> u16,
    ) -> Result<usize, Full> {
        if let Some(Some(known)) = self.array.get(handle as usize) {
            return Ok(*known);
        }
        for page in cut.arrays.get(handle).into_iter().flatten() {
            let number = if let Some(Some(known)) = self.number.get(*page as usize) {
                *known
            } else {
                let number = u16::try_from(self.count).map_err(|_| Full)?;
                self.count += 1;
                self.data.extend(cut.pages.get(*page).into_iter().flatten().map(|v| value(*v)));
                set(&mut self.number, *page, number);
                number
            };
            self.directory.push(number);
        }
        set(&mut self.array, handle, self.arrays);
        self.arrays += 1;
        Ok(self.arrays - 1)
    }

    /// Page numbers of every array, one after the other.
    pub(crate) fn directory(&self) -> &[u16] {
        &self.directory
    }

    /// Every page, one after the other.
    pub(crate) fn data(&self) -> &[u16] {
        &self.data
    }
}

/// Puts a value at an index; those before it that have none stay without.
pub(crate) fn set<T>(list: &mut Vec<Option<T>>, at: u32, value: T) {
    let at = at as usize;
    if list.len() <= at {
        list.resize_with(at + 1, || None);
    }
    if let Some(slot) = list.get_mut(at) {
        *slot = Some(value);
    }
}

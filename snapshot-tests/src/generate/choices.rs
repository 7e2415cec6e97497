//! Decisions taken from bytes.

/// Bytes read as decisions. The first of any alternatives is taken when they run out, so fewer and
/// smaller bytes make a simpler input: what proptest shrinks and a fuzzer mutates is the input itself.
#[derive(Clone, Debug)]
pub struct Choices<'b> {
    bytes: &'b [u8],
}

impl<'b> Choices<'b> {
    /// Decisions from these bytes.
    pub const fn new(bytes: &'b [u8]) -> Self {
        Self { bytes }
    }

    /// A number below `n`; 0 when the bytes have run out, or if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        if n == 0 { 0 } else { usize::from(*first) % n }
    }

    /// Yes, in one case of `n`; never when the bytes have run out.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) + 1 == n
    }

    /// One of the alternatives; the first is the simplest.
    pub fn of<T: Copy + Default>(&mut self, all: &[T]) -> T {
        let at = self.below(all.len());
        all.get(at).copied().unwrap_or_default()
    }

    /// As many as `from` to `to` of what `make` makes.
    pub fn many<T>(&mut self, from: usize, to: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let n = from + self.below(to + 1 - from);
        (0..n).map(|_| make(self)).collect()
    }
}

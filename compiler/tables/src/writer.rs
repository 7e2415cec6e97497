//! Sections to bytes.

use portcullis_abi::{self as abi, Section, header};

pub(crate) fn to_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

pub(crate) fn words16(values: &[u16]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

pub(crate) fn words32(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Sections behind a header that is filled in last.
pub(crate) struct Writer {
    bytes: Vec<u8>,
    table: [(u32, u32); abi::SECTIONS],
}

impl Default for Writer {
    fn default() -> Self {
        Self { bytes: vec![0; abi::HEADER_SIZE], table: [(0, 0); abi::SECTIONS] }
    }
}

impl Writer {
    pub(crate) fn section(&mut self, section: Section, data: &[u8]) {
        if let Some(slot) = self.table.get_mut(section as usize) {
            *slot = (to_u32(self.bytes.len()), to_u32(data.len()));
        }
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(abi::ALIGN), 0);
    }

    pub(crate) fn finish(mut self, counts: &[(usize, usize)], source: &[u8; 32], generation: u64) -> Vec<u8> {
        let size = to_u32(self.bytes.len());
        self.put(header::MAGIC, &abi::MAGIC);
        self.put(header::VERSION, &abi::VERSION.to_le_bytes());
        self.put(header::SIZE, &size.to_le_bytes());
        for (at, n) in counts {
            self.put(*at, &to_u32(*n).to_le_bytes());
        }
        self.put(header::GENERATION, &generation.to_le_bytes());
        self.put(header::SOURCE, source);
        for (i, (offset, len)) in self.table.into_iter().enumerate() {
            self.put(header::SECTIONS + i * 8, &offset.to_le_bytes());
            self.put(header::SECTIONS + i * 8 + 4, &len.to_le_bytes());
        }
        self.bytes
    }

    fn put(&mut self, at: usize, data: &[u8]) {
        if let Some(slot) = self.bytes.get_mut(at..at + data.len()) {
            slot.copy_from_slice(data);
        }
    }
}

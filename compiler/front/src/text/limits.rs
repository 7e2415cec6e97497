//! What a document may cost. A policy of human size is far below every limit; they are there for
//! files that were made to hurt.

/// Mappings and sequences within one another. Everything that walks a tree later may recurse this
/// deep, so it also keeps the stack.
pub(super) const DEPTH: usize = 100;

/// Nodes that aliases may add to a document of `bytes` bytes: room for honest reuse, none for
/// anchors that double each other. Linear in the size of the text, so that many small documents in
/// one file cannot add up either.
pub(super) fn alias_nodes(bytes: usize) -> usize {
    bytes.saturating_mul(8).saturating_add(4_000).min(1_000_000)
}

/// Keys up to which a mapping is searched key by key for a duplicate; above, a hash index pays.
pub(super) const LINEAR_KEYS: usize = 16;

/// Findings per document; beyond it a reader has stopped reading.
pub(super) const FINDINGS: usize = 200;

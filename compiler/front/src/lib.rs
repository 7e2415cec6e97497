//! Text to typed objects, every node with its place in the file. Never fails: whatever could be
//! read comes back beside the diagnostics about the rest.
//!
//! The way through: `text` splits a file into documents and turns each into a [`tree`] with
//! kubectl's scalar rules; `read` checks a tree against its kind's schema and Cilium's own
//! validation and makes an [`ast`] object of it.

pub mod ast;
pub mod tree;

pub mod text;

pub mod read;

use ast::Object;
use portcullis_diag::{Diagnostic, FileId, Span};

/// What a file held. Nothing is dropped without a word: a document is an object, or in
/// `skipped`, or named by an error among the diagnostics.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// Objects in order of the text, lists flattened.
    pub objects: Vec<Object>,
    /// Findings in order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// Documents that were recognised and left out.
    pub skipped: Vec<Skipped>,
    /// Documents that were read, empty ones not counted.
    pub documents: usize,
}

/// A document that was left out on purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Where it stands.
    pub span: Span,
    /// Why.
    pub reason: SkipReason,
    /// The kind, where it has one.
    pub kind: String,
}

/// Why a document was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SkipReason {
    /// A Helm or other template (`{{`).
    Template,
    /// A kustomization, a strategic-merge or JSON patch.
    Kustomize,
    /// A kind that says nothing about policy.
    OtherKind,
    /// Not a Kubernetes object.
    NotAnObject,
}

/// Documents that are read before their objects are handed on: bounds the memory of a large file.
const BATCH: usize = 4096;

/// Reads one file. `name` tells JSON from YAML by its ending (`.json`), and kustomize files by
/// theirs; a text that begins with `{` or `[` is read as JSON first. Documents are read in parallel;
/// the order of the result is the order of the text.
pub fn parse(file: FileId, name: &str, text: &str) -> Parsed {
    let mut all = Parsed::default();
    parse_in_batches(file, name, text, &mut |part| {
        if all.objects.is_empty() {
            all.objects = part.objects;
        } else {
            all.objects.extend(part.objects);
        }
        all.diagnostics.extend(part.diagnostics);
        all.skipped.extend(part.skipped);
        all.documents += part.documents;
    });
    all
}

/// Reads one file and hands on what it holds a few thousand documents at a time, in order of the
/// text: a caller that keeps little of each object needs little memory for a large file.
pub fn parse_in_batches(file: FileId, name: &str, text: &str, sink: &mut dyn FnMut(Parsed)) {
    use rayon::prelude::*;
    let chunks = text::split(name, text);
    for batch in chunks.chunks(BATCH) {
        let parts: Vec<Parsed> = batch.par_iter().map(|chunk| parse_chunk(file, name, text, chunk)).collect();
        let mut all = Parsed::default();
        all.objects.reserve_exact(parts.iter().map(|p| p.objects.len()).sum());
        for part in parts {
            all.objects.extend(part.objects);
            all.diagnostics.extend(part.diagnostics);
            all.skipped.extend(part.skipped);
            all.documents += part.documents;
        }
        sink(all);
    }
}

fn parse_chunk(file: FileId, name: &str, text: &str, chunk: &std::ops::Range<usize>) -> Parsed {
    let outcome = text::tree(file, name, text, chunk.clone());
    let mut out = Parsed {
        documents: outcome.documents,
        diagnostics: outcome.diagnostics,
        skipped: outcome.skipped,
        objects: Vec::with_capacity(outcome.roots.len()),
    };
    for root in &outcome.roots {
        read::document(root, &mut out);
    }
    out
}

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

/// Reads one file. `name` tells JSON from YAML by its ending (`.json`), and kustomize files by
/// theirs; a text that begins with `{` or `[` is read as JSON first. Documents are read in parallel;
/// the order of the result is the order of the text.
pub fn parse(file: FileId, name: &str, text: &str) -> Parsed {
    use rayon::prelude::*;
    let chunks = text::split(name, text);
    let parts: Vec<Parsed> = chunks
        .into_par_iter()
        .map(|chunk| {
            let outcome = text::tree(file, name, text, chunk);
            let mut out = Parsed {
                documents: outcome.documents,
                diagnostics: outcome.diagnostics,
                skipped: outcome.skipped,
                objects: Vec::new(),
            };
            for root in &outcome.roots {
                read::document(root, &mut out);
            }
            out
        })
        .collect();
    let mut all = Parsed::default();
    for part in parts {
        all.objects.extend(part.objects);
        all.diagnostics.extend(part.diagnostics);
        all.skipped.extend(part.skipped);
        all.documents += part.documents;
    }
    all
}

//! Text to trees: the only module that knows the YAML and JSON libraries.
//!
//! `split` cuts a file into documents where kubectl cuts it, so that documents are read in parallel
//! and a broken one never hides the others. `yaml` and `json` turn one document into events for
//! `build`, which makes the tree and keeps it within `limits`; `scalar` decides what a plain word is,
//! `merge` what `<<` does. `errors` words what is wrong, `skip` knows templates and kustomize files.

mod build;
mod errors;
mod json;
mod limits;
mod merge;
mod scalar;
mod skip;
mod split;
mod yaml;
mod yaml_errors;

use crate::Skipped;
use crate::tree::Node;
use build::Builder;
use portcullis_diag::{Diagnostic, FileId, Span};
use std::ops::Range;

pub use split::split;

/// What one chunk of a file held.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The documents' roots in order of the text.
    pub roots: Vec<Node>,
    /// What is wrong with the text.
    pub diagnostics: Vec<Diagnostic>,
    /// Documents recognised as templates or kustomize files, and left out.
    pub skipped: Vec<Skipped>,
    /// Documents seen, empty ones not counted.
    pub documents: usize,
}

/// One chunk on its way: the text that is given to a parser, and where it stands in its file.
#[derive(Clone, Copy)]
pub(crate) struct Chunk<'a> {
    /// The file.
    pub(crate) file: FileId,
    /// The document's text, without its `---` line and without a byte-order mark.
    pub(crate) text: &'a str,
    /// Byte of the file at which `text` starts.
    pub(crate) base: usize,
}

impl Chunk<'_> {
    /// A byte range of the chunk as a place in the file.
    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        let at = |offset: usize| u32::try_from(self.base + offset).unwrap_or(u32::MAX);
        Span::new(self.file, at(range.start), at(range.end.max(range.start)))
    }

    /// The place of the chunk's text without the white space around it.
    pub(crate) fn whole(&self) -> Span {
        let start = self.text.len() - self.text.trim_start().len();
        self.span(start..self.text.trim_end().len())
    }
}

/// Reads one chunk that [`split`] cut from `text`. A chunk that is out of bounds holds nothing.
pub fn tree(file: FileId, name: &str, text: &str, chunk: Range<usize>) -> Outcome {
    let mut out = Outcome::default();
    let Some(body) = text.get(chunk.clone()) else { return out };
    let body = split::body(body);
    let chunk = Chunk { file, text: body.text, base: chunk.start + body.offset };
    if let Some(rest) = body.after_marker {
        out.documents = 1;
        if skip::template_text(body.marker_line) || skip::template_text(body.text) {
            skip::push_template(&chunk, &mut out);
        } else {
            let marker = Chunk { file, text: body.marker_line, base: chunk.base - body.marker_line.len() };
            out.diagnostics.push(errors::after_marker(marker.span(rest)));
        }
        return out;
    }
    if split::is_blank(chunk.text) {
        return out;
    }
    let first = chunk.text.trim_start().as_bytes().first();
    let named_json =
        name.len() > 5 && name.get(name.len() - 5..).is_some_and(|e| e.eq_ignore_ascii_case(".json"));
    let mut builder = Builder::new(chunk.text.len());
    // Where YAML begins: kubectl reads JSON values as long as it can, then goes on as YAML.
    let mut rest = 0;
    if named_json || matches!(first, Some(b'{' | b'[')) {
        match json::read(&chunk, &mut builder) {
            Ok(()) => rest = chunk.text.len(),
            Err(stop) if named_json => {
                builder.fail(stop.problem);
                rest = chunk.text.len();
            }
            Err(stop) => {
                builder.abandon();
                rest = stop.whole;
            }
        }
    }
    let tail = Chunk { text: chunk.text.get(rest..).unwrap_or(""), base: chunk.base + rest, ..chunk };
    finish(name, &chunk, builder, &mut out);
    if !split::is_blank(tail.text) {
        let mut builder = Builder::new(tail.text.len());
        yaml::read(&tail, &mut builder);
        finish(name, &tail, builder, &mut out);
    }
    out
}

/// Takes what was built, unless it turns out to be a template or a kustomize file.
fn finish(name: &str, chunk: &Chunk<'_>, builder: Builder, out: &mut Outcome) {
    let built = builder.finish();
    if built.documents == 0 {
        return;
    }
    if built.template || (built.unreadable && skip::template_text(chunk.text)) {
        out.documents += 1;
        skip::push_template(chunk, out);
        return;
    }
    if skip::kustomize_name(name) {
        out.documents += 1;
        skip::push_kustomize(chunk, chunk.whole(), "Kustomization", out);
        return;
    }
    out.documents += built.documents;
    out.diagnostics.extend(built.diagnostics);
    for root in built.roots {
        match skip::kustomize_root(&root) {
            Some(kind) => skip::push_kustomize(chunk, root.span, &kind, out),
            None => out.roots.push(root),
        }
    }
}

#[cfg(test)]
mod tests;

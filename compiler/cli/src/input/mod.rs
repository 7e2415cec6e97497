//! Texts to work on: from folders, files, standard input, or a git revision.
//!
//! Whatever cannot be read becomes a diagnostic; nothing is left out in silence. Order never depends
//! on the file system or on threads.

mod read;
mod walk;

use portcullis_diag::Diagnostic;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) use read::{decode, too_large};
pub(crate) use walk::{has_yaml_ending, tidy};

/// One text and its names.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    /// The name it is shown by.
    pub(crate) name: String,
    /// Its name below what was asked for: equal on both sides of a comparison for the same file.
    pub(crate) key: String,
    /// All of it.
    pub(crate) content: Arc<str>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gathered {
    /// Texts, sorted as they were asked for and by name below that.
    pub(crate) texts: Vec<Text>,
    /// What could not be read.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// What a reader has to know; whole sentences.
    pub(crate) notes: Vec<String>,
    /// A path that does not exist was asked for.
    pub(crate) missing: bool,
}

impl Gathered {
    /// Whether anything that was asked for could not be read.
    pub(crate) fn is_broken(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == portcullis_diag::Severity::Error)
    }

    /// Adds what another place held.
    pub(crate) fn extend(&mut self, other: Self) {
        self.texts.extend(other.texts);
        self.diagnostics.extend(other.diagnostics);
        self.notes.extend(other.notes);
        self.missing |= other.missing;
    }
}

/// Reads files, and folders with everything below them. `limit` is the largest file in bytes.
pub(crate) fn gather(paths: &[PathBuf], limit: u64) -> Gathered {
    let found = walk::walk(paths);
    read::read_all(found, limit)
}

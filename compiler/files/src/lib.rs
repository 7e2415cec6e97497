//! Texts to work on, from folders, files or standard input; [`load`] makes objects of them.
//!
//! Whatever cannot be read becomes a diagnostic; nothing is left out in silence. Order never depends
//! on the file system or on threads.

pub mod load;
mod read;
mod walk;

use portcullis_diag::Diagnostic;
use std::path::PathBuf;
use std::sync::Arc;

pub use read::{decode, too_large};
pub use walk::{has_yaml_ending, tidy};

/// One text and its names.
#[derive(Clone, Debug)]
pub struct Text {
    /// The name it is shown by.
    pub name: String,
    /// Its name below what was asked for: equal on both sides of a comparison for the same file.
    pub key: String,
    /// All of it.
    pub content: Arc<str>,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// Texts, sorted as they were asked for and by name below that.
    pub texts: Vec<Text>,
    /// What could not be read.
    pub diagnostics: Vec<Diagnostic>,
    /// What a reader has to know; whole sentences.
    pub notes: Vec<String>,
    /// A path that does not exist was asked for.
    pub missing: bool,
}

impl Gathered {
    /// Whether anything that was asked for could not be read.
    pub fn is_broken(&self) -> bool {
        self.diagnostics.iter().any(|d| d.severity == portcullis_diag::Severity::Error)
    }

    /// Adds what another place held.
    pub fn extend(&mut self, other: Self) {
        self.texts.extend(other.texts);
        self.diagnostics.extend(other.diagnostics);
        self.notes.extend(other.notes);
        self.missing |= other.missing;
    }
}

/// Reads files, and folders with everything below them. `limit` is the largest file in bytes.
pub fn gather(paths: &[PathBuf], limit: u64) -> Gathered {
    let found = walk::walk(paths);
    read::read_all(found, limit)
}

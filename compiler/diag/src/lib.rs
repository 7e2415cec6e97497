//! Places in the user's files, and what there is to say about them.
//!
//! `source` knows files and spans, `code` the registry of every diagnostic code, `diagnostic` one
//! finding. Nothing here reads a file: the command line hands texts in, `report` prints them.

pub mod code;
pub mod codes;
pub mod diagnostic;
pub mod source;

pub use code::{Code, CodeInfo};
pub use diagnostic::{Diagnostic, Fate, Label, ObjectRef, Severity};
pub use source::{FileId, Position, SourceFile, SourceMap, Span};

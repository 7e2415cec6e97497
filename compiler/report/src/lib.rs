//! Reports for people and machines: the consequence first, then the cause with its YAML line, then
//! the way out.

//!
//! [`model`] holds what each command has to say; `say` the sentences that all formats share;
//! then one module for each format. Nothing here reads a file, the environment or a clock.

pub mod model;

mod json;
mod place;
mod say;
mod terminal;
mod words;

pub use model::{CheckReport, ClusterSource, Coverage, DiffReport, ExplainedSide, Explanation, ReachReport};

use portcullis_diag::SourceMap;

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For a terminal.
    #[default]
    Terminal,
    /// The versioned schema of docs/schema.
    Json,
    /// For a pull request comment.
    Markdown,
    /// SARIF 2.1.0.
    Sarif,
    /// GitHub workflow commands.
    Github,
    /// JUnit XML.
    Junit,
    /// Graphviz; `reach` only.
    Dot,
    /// One page; `reach` only.
    Html,
}

/// What a terminal can show.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Colours and other escape sequences.
    pub colour: bool,
    /// Columns to fill.
    pub width: usize,
    /// Say more: masked flows, every workload, notes in full.
    pub verbose: bool,
}

/// Writes a report; the text ends with a line feed.
pub trait Render {
    /// In one format. A format that the report does not know falls back to the terminal's.
    fn render(&self, sources: &SourceMap, format: Format, style: &Style) -> String;
}

impl Render for CheckReport {
    fn render(&self, sources: &SourceMap, format: Format, style: &Style) -> String {
        match format {
            Format::Json => json::check::render(self, sources),
            _ => terminal::check::render(self, sources, style),
        }
    }
}

impl Render for DiffReport {
    fn render(&self, sources: &SourceMap, format: Format, style: &Style) -> String {
        match format {
            Format::Json => json::diff::render(self, sources),
            _ => terminal::diff::render(self, sources, style),
        }
    }
}

//! Reports for people and machines: the consequence first, then the cause with its YAML line, then
//! the way out.

//!
//! [`model`] holds what each command has to say; `say` the sentences that all formats share;
//! then one module for each format. Nothing here reads a file, the environment or a clock.

pub mod model;

mod dot;
mod github;
mod html;
mod json;
mod junit;
mod markdown;
mod place;
mod sarif;
mod say;
mod terminal;
mod words;

pub use json::{document, span};
pub use model::{
    CheckReport, ClusterSource, Coverage, DiffReport, ExplainedSide, Explanation, ReachReport, Recording,
    StepsReport, Tally, Traffic,
};
pub use say::losses;
pub use words::clean;

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

impl Style {
    /// The same without colours.
    fn plain(self) -> Self {
        Self { colour: false, ..self }
    }
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
            Format::Markdown => markdown::check::render(self, sources),
            Format::Sarif => sarif::check(self, sources),
            Format::Github => github::check(self, sources),
            Format::Junit => junit::check(self, sources),
            Format::Terminal | Format::Dot | Format::Html => terminal::check::render(self, sources, style),
        }
    }
}

impl Render for DiffReport {
    fn render(&self, sources: &SourceMap, format: Format, style: &Style) -> String {
        match format {
            Format::Json => json::diff::render(self, sources),
            Format::Markdown => markdown::diff::render(self, sources),
            Format::Sarif => sarif::diff(self, sources),
            Format::Github => github::diff(self, sources),
            Format::Junit => junit::diff(self, sources),
            Format::Terminal | Format::Dot | Format::Html => terminal::diff::render(self, sources, style),
        }
    }
}

impl Render for Explanation {
    fn render(&self, sources: &SourceMap, format: Format, style: &Style) -> String {
        match format {
            Format::Json => json::explain::render(self, sources),
            Format::Markdown => markdown::as_it_is(&terminal::explain::render(self, sources, &style.plain())),
            _ => terminal::explain::render(self, sources, style),
        }
    }
}

impl Render for StepsReport {
    fn render(&self, sources: &SourceMap, format: Format, style: &Style) -> String {
        match format {
            Format::Json => json::steps::render(self, sources),
            Format::Markdown => markdown::as_it_is(&terminal::steps::render(self, sources, &style.plain())),
            _ => terminal::steps::render(self, sources, style),
        }
    }
}

impl Render for ReachReport {
    fn render(&self, sources: &SourceMap, format: Format, style: &Style) -> String {
        match format {
            Format::Json => json::reach::render(self, sources),
            Format::Markdown => markdown::as_it_is(&terminal::reach::render(self, sources, &style.plain())),
            Format::Dot => dot::render(self),
            Format::Html => html::render(self),
            _ => terminal::reach::render(self, sources, style),
        }
    }
}

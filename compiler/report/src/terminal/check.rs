//! `check` on a terminal.

use super::{Ink, Page};
use crate::Style;
use crate::model::CheckReport;
use crate::say;
use portcullis_diag::{Severity, SourceMap};

pub(crate) fn render(report: &CheckReport, sources: &SourceMap, style: &Style) -> String {
    let mut page = Page::new(sources, style);
    page.diagnostics(&report.diagnostics);
    page.pages(&report.diagnostics);
    page.gap();
    let worst = report.diagnostics.iter().map(|d| d.severity).max();
    let ink = match worst {
        Some(Severity::Error) => Ink::Red,
        Some(Severity::Warning) => Ink::Yellow,
        _ => Ink::Green,
    };
    page.prose(0, ink, &say::tally(&report.diagnostics));
    for text in say::coverage(&report.coverage) {
        page.prose(0, Ink::Dim, &text);
    }
    page.finish()
}

//! `check` as a comment.

use super::{ROWS, alert, assemble, coverage, detail, folded, line};
use crate::model::CheckReport;
use crate::place::Places;
use crate::say;
use crate::words::count_of;
use portcullis_diag::{Diagnostic, Severity, SourceMap};
use std::fmt::Write as _;

pub(crate) fn render(report: &CheckReport, sources: &SourceMap) -> String {
    let places = Places::new(sources);
    let mut sorted: Vec<&Diagnostic> = report.diagnostics.iter().collect();
    sorted.sort_by_key(|d| std::cmp::Reverse(d.severity));
    let errors: Vec<Diagnostic> =
        sorted.iter().filter(|d| d.severity == Severity::Error).map(|d| (*d).clone()).collect();
    let mut head = format!("### Policy check: {}\n\n", say::tally(&report.diagnostics));
    if !errors.is_empty() {
        head.push_str(&alert(&places, &count_of(errors.len(), "error"), &errors));
    }
    let rest: Vec<_> = sorted.iter().filter(|d| d.severity == Severity::Warning).collect();
    for d in rest.iter().take(ROWS) {
        let _ = writeln!(head, "- {}", line(&places, d));
    }
    if rest.len() > ROWS {
        let _ = writeln!(head, "- and {}", count_of(rest.len() - ROWS, "more warning"));
    }
    head.push('\n');
    let blocks: Vec<String> = sorted
        .iter()
        .map(|d| {
            let at = d.span().and_then(|s| places.locate(s)).map_or(String::new(), |at| format!(" {at}"));
            folded(&format!("{} {}{at}", d.severity, d.code), &detail(&places, d))
        })
        .collect();
    assemble(&head, &blocks, &coverage(&report.coverage))
}

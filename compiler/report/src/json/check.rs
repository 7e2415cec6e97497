//! `portcullis.dev/check/v1`.

use super::parts::{self, JsonCoverage, JsonDiagnostic};
use crate::model::CheckReport;
use crate::place::Places;
use portcullis_diag::{Severity, SourceMap};
use serde::Serialize;

#[derive(Serialize)]
struct Totals {
    errors: usize,
    warnings: usize,
    notes: usize,
}

#[derive(Serialize)]
struct Body<'a> {
    totals: Totals,
    diagnostics: Vec<JsonDiagnostic<'a>>,
    coverage: JsonCoverage<'a>,
}

pub(crate) fn render(report: &CheckReport, sources: &SourceMap) -> String {
    let places = Places::new(sources);
    let of = |s: Severity| report.diagnostics.iter().filter(|d| d.severity == s).count();
    super::document(
        "check",
        Body {
            totals: Totals {
                errors: of(Severity::Error),
                warnings: of(Severity::Warning),
                notes: of(Severity::Note),
            },
            diagnostics: parts::diagnostics(&places, &report.diagnostics),
            coverage: parts::coverage(&report.coverage),
        },
    )
}

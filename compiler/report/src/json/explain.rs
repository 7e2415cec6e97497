//! `portcullis.dev/explain/v1`.

use super::parts::{self, JsonCause, JsonCoverage, JsonDiagnostic, JsonRule};
use crate::model::{ExplainedSide, Explanation};
use crate::place::Places;
use crate::say;
use portcullis_diag::SourceMap;
use serde::Serialize;

#[derive(Serialize)]
struct Missed<'a> {
    rule: JsonRule<'a>,
    why: &'a str,
}

#[derive(Serialize)]
struct Side<'a> {
    direction: &'static str,
    subject: &'a str,
    verdict: &'static str,
    cause: JsonCause<'a>,
    l7: Option<&'a str>,
    matched: Vec<JsonRule<'a>>,
    missed: Vec<Missed<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    from: &'a str,
    to: &'a str,
    port: &'a str,
    verdict: &'static str,
    conclusive: bool,
    sides: Vec<Side<'a>>,
    ways_out: Vec<String>,
    notes: &'a [String],
    blocking: Vec<JsonDiagnostic<'a>>,
    coverage: JsonCoverage<'a>,
}

pub(crate) fn render(e: &Explanation, sources: &SourceMap) -> String {
    let places = Places::new(sources);
    super::document(
        "explain",
        Body {
            from: &e.from,
            to: &e.to,
            port: &e.port,
            verdict: parts::verdict(e.verdict),
            conclusive: e.blocking.is_empty(),
            sides: e.sides.iter().map(|s| side(&places, s)).collect(),
            ways_out: say::ways_out(e),
            notes: &e.notes,
            blocking: parts::diagnostics(&places, &e.blocking),
            coverage: parts::coverage(&e.coverage),
        },
    )
}

fn side<'a>(places: &Places<'a>, s: &'a ExplainedSide) -> Side<'a> {
    Side {
        direction: parts::direction(s.direction),
        subject: &s.subject,
        verdict: parts::verdict(s.verdict),
        cause: parts::cause(places, &s.cause),
        l7: s.l7.as_deref(),
        matched: s.matched.iter().map(|r| parts::rule(places, r)).collect(),
        missed: s.missed.iter().map(|(r, why)| Missed { rule: parts::rule(places, r), why }).collect(),
    }
}

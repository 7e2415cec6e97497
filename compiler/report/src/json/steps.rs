//! `portcullis.dev/steps/v1`.

use super::parts::{self, JsonCoverage, JsonDiagnostic, JsonGroup, JsonPorts, JsonRule};
use crate::model::StepsReport;
use crate::place::Places;
use portcullis_diag::SourceMap;
use portcullis_sema::diff::RuleRef;
use portcullis_sema::steps::Hop;
use serde::Serialize;

#[derive(Serialize)]
struct JsonLayer<'a> {
    hops: usize,
    whom: JsonGroup<'a>,
}

#[derive(Serialize)]
struct JsonHop<'a> {
    from: JsonGroup<'a>,
    to: JsonGroup<'a>,
    ports: JsonPorts,
    rules: Vec<JsonRule<'a>>,
    open: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonCut<'a> {
    sets: Vec<Vec<JsonRule<'a>>>,
    open: Vec<JsonHop<'a>>,
    at_least: usize,
    complete: bool,
}

#[derive(Serialize)]
struct Body<'a> {
    conclusive: bool,
    from: JsonGroup<'a>,
    to: Option<JsonGroup<'a>>,
    layers: Vec<JsonLayer<'a>>,
    way: Vec<JsonHop<'a>>,
    cut: Option<JsonCut<'a>>,
    blocking: Vec<JsonDiagnostic<'a>>,
    coverage: JsonCoverage<'a>,
}

pub(crate) fn render(report: &StepsReport, sources: &SourceMap) -> String {
    let places = Places::new(sources);
    let steps = &report.steps;
    let cut = steps.cut.as_ref();
    super::document(
        "steps",
        Body {
            conclusive: report.blocking.is_empty(),
            from: parts::group(&steps.from),
            to: steps.to.as_ref().map(parts::group),
            layers: steps
                .layers
                .iter()
                .map(|l| JsonLayer { hops: l.hops, whom: parts::group(&l.whom) })
                .collect(),
            way: hops(&places, &steps.way),
            cut: cut.map(|c| JsonCut {
                sets: c.sets.iter().map(|s| rules(&places, s)).collect(),
                open: hops(&places, &c.open),
                at_least: c.at_least,
                complete: c.complete,
            }),
            blocking: parts::diagnostics(&places, &report.blocking),
            coverage: parts::coverage(&report.coverage),
        },
    )
}

fn rules<'a>(places: &Places<'a>, all: &'a [RuleRef]) -> Vec<JsonRule<'a>> {
    all.iter().map(|r| parts::rule(places, r)).collect()
}

fn hops<'a>(places: &Places<'a>, way: &'a [Hop]) -> Vec<JsonHop<'a>> {
    way.iter()
        .map(|h| JsonHop {
            from: parts::group(&h.from),
            to: parts::group(&h.to),
            ports: parts::ports(&h.ports),
            rules: rules(places, &h.rules),
            open: h.open.iter().map(ToString::to_string).collect(),
        })
        .collect()
}

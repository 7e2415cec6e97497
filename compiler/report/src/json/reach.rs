//! `portcullis.dev/reach/v1`.

use super::parts::{self, JsonCoverage, JsonDiagnostic, JsonGroup, JsonPorts, JsonWorkload};
use crate::model::ReachReport;
use crate::place::Places;
use portcullis_diag::SourceMap;
use serde::Serialize;

#[derive(Serialize)]
struct JsonEdge<'a> {
    sources: JsonGroup<'a>,
    destinations: JsonGroup<'a>,
    ports: JsonPorts,
    redirected: bool,
}

#[derive(Serialize)]
struct Body<'a> {
    conclusive: bool,
    edges: Vec<JsonEdge<'a>>,
    isolated: Vec<JsonWorkload<'a>>,
    groups: Vec<Vec<JsonWorkload<'a>>>,
    blocking: Vec<JsonDiagnostic<'a>>,
    coverage: JsonCoverage<'a>,
}

pub(crate) fn render(report: &ReachReport, sources: &SourceMap) -> String {
    let places = Places::new(sources);
    let reach = &report.reach;
    super::document(
        "reach",
        Body {
            conclusive: report.blocking.is_empty(),
            edges: reach
                .edges
                .iter()
                .map(|e| JsonEdge {
                    sources: parts::group(&e.sources),
                    destinations: parts::group(&e.destinations),
                    ports: parts::ports(&e.ports),
                    redirected: e.redirected,
                })
                .collect(),
            isolated: reach.isolated.iter().map(parts::workload).collect(),
            groups: reach.groups.iter().map(|g| g.iter().map(parts::workload).collect()).collect(),
            blocking: parts::diagnostics(&places, &report.blocking),
            coverage: parts::coverage(&report.coverage),
        },
    )
}

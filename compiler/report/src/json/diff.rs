//! `portcullis.dev/diff/v1`.

use super::parts::{
    self, JsonCause, JsonCoverage, JsonDiagnostic, JsonGroup, JsonObject, JsonPolicy, JsonPorts, JsonWorkload,
};
use crate::model::{DiffReport, Recording, Tally, Traffic};
use crate::place::Places;
use crate::say;
use portcullis_diag::{ObjectRef, SourceMap};
use portcullis_sema::diff::{Finding, FindingKind, SideChange, SideVerdict, Transition};
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Totals {
    denied: u64,
    allowed: u64,
    l7: u64,
    denied_workloads: u64,
    allowed_workloads: u64,
    l7_workloads: u64,
    newly_default_deny: u64,
    masked_flows: u64,
}

#[derive(Serialize)]
struct OneSide<'a> {
    verdict: &'static str,
    cause: JsonCause<'a>,
    l7: Option<&'a str>,
}

#[derive(Serialize)]
struct Change<'a> {
    base: OneSide<'a>,
    head: OneSide<'a>,
}

#[derive(Serialize)]
struct Example<'a> {
    from: &'a str,
    to: &'a str,
    port: &'a str,
    command: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonFinding<'a> {
    id: String,
    kind: &'static str,
    sources: JsonGroup<'a>,
    destinations: JsonGroup<'a>,
    ports: JsonPorts,
    declared_ports: JsonPorts,
    flows: u64,
    pods: u64,
    egress: Option<Change<'a>>,
    ingress: Option<Change<'a>>,
    example: Example<'a>,
    help: &'a str,
    patch: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    traffic: Option<JsonTraffic<'a>>,
}

/// What of a finding was recorded; `null` in a document with a recording means "nothing".
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonTraffic<'a> {
    connections: u64,
    pairs: Vec<JsonPair<'a>>,
    records: u64,
    requests_denied: u64,
    requests_allowed: u64,
    first_seen: Option<String>,
    last_seen: Option<String>,
    example: &'a str,
    request: &'a str,
}

#[derive(Serialize)]
struct JsonPair<'a> {
    from: &'a str,
    to: &'a str,
    port: &'a str,
    flows: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonTally {
    flows: u64,
    workload_pairs: u64,
}

#[derive(Serialize)]
struct JsonLeft<'a> {
    why: &'a str,
    count: u64,
    loss: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonRecording<'a> {
    observed_only: bool,
    lines: u64,
    records: u64,
    connections: u64,
    requests: u64,
    lost_events: u64,
    denied: JsonTally,
    allowed: JsonTally,
    l7: JsonTally,
    refused_then: JsonTally,
    passed_then: JsonTally,
    audited: u64,
    left_out: Vec<JsonLeft<'a>>,
    not_judged: Vec<JsonLeft<'a>>,
    notes: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonTransition<'a> {
    direction: &'static str,
    default_deny: &'static str,
    endpoints: JsonGroup<'a>,
    by: Vec<JsonPolicy<'a>>,
    flows: u64,
    peers: &'a str,
    peers_on_some_ports: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Lists<T> {
    added: Vec<T>,
    removed: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<Vec<T>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<Vec<T>>,
}

#[derive(Serialize)]
struct Body<'a> {
    base: &'a str,
    head: &'a str,
    conclusive: bool,
    headline: Vec<String>,
    totals: Totals,
    blocking: Vec<JsonDiagnostic<'a>>,
    findings: Vec<JsonFinding<'a>>,
    transitions: Vec<JsonTransition<'a>>,
    diagnostics: Vec<JsonDiagnostic<'a>>,
    policies: Lists<JsonObject<'a>>,
    workloads: Lists<JsonWorkload<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recording: Option<JsonRecording<'a>>,
    coverage: JsonCoverage<'a>,
}

pub(crate) fn render(report: &DiffReport, sources: &SourceMap) -> String {
    let places = Places::new(sources);
    let review = &report.review;
    let t = &review.totals;
    super::document(
        "diff",
        Body {
            base: &report.base,
            head: &report.head,
            conclusive: report.blocking.is_empty(),
            headline: say::blocked(say::UNSAFE_CHANGE, &report.blocking)
                .into_iter()
                .chain(say::headline(report).into_iter().map(|(_, text)| text))
                .collect(),
            totals: Totals {
                denied: t.denied,
                allowed: t.allowed,
                l7: t.l7,
                denied_workloads: t.denied_workloads,
                allowed_workloads: t.allowed_workloads,
                l7_workloads: t.l7_workloads,
                newly_default_deny: t.newly_default_deny,
                masked_flows: review.masked_flows,
            },
            blocking: parts::diagnostics(&places, &report.blocking),
            findings: review
                .findings
                .iter()
                .enumerate()
                .map(|(at, f)| {
                    let seen = report.traffic.get(at).and_then(Option::as_ref);
                    finding(&places, f, seen, &report.explain_with)
                })
                .collect(),
            transitions: review.transitions.iter().map(|t| transition(&places, t)).collect(),
            diagnostics: parts::diagnostics(&places, &report.diagnostics),
            policies: Lists {
                added: objects(&review.policies.added),
                removed: objects(&review.policies.removed),
                changed: Some(objects(&review.policies.changed)),
                left_out: Some(objects(&report.left_out)),
            },
            workloads: Lists {
                added: review.added.iter().map(parts::workload).collect(),
                removed: review.removed.iter().map(parts::workload).collect(),
                changed: None,
                left_out: None,
            },
            recording: report.recording.as_ref().map(recording),
            coverage: parts::coverage(&report.coverage),
        },
    )
}

fn tally(t: Tally) -> JsonTally {
    JsonTally { flows: t.flows, workload_pairs: t.pairs }
}

fn recording(r: &Recording) -> JsonRecording<'_> {
    let left = r.left.iter().map(|(why, count, loss)| JsonLeft { why, count: *count, loss: *loss });
    let unplaced = r.unplaced.iter().map(|(why, count)| JsonLeft { why, count: *count, loss: true });
    JsonRecording {
        observed_only: r.observed_only,
        lines: r.pieces,
        records: r.records,
        connections: r.flows,
        requests: r.requests,
        lost_events: r.lost,
        denied: tally(r.denied),
        allowed: tally(r.allowed),
        l7: tally(r.l7),
        refused_then: tally(r.dropped_then),
        passed_then: tally(r.passed_then),
        audited: r.audited,
        left_out: left.collect(),
        not_judged: unplaced.collect(),
        notes: &r.notes,
    }
}

fn traffic(t: &Traffic) -> JsonTraffic<'_> {
    JsonTraffic {
        connections: t.flows,
        pairs: t
            .pairs
            .iter()
            .map(|(from, to, port, flows)| JsonPair { from, to, port, flows: *flows })
            .collect(),
        records: t.records,
        requests_denied: t.requests_denied,
        requests_allowed: t.requests_allowed,
        first_seen: t.first.map(say::time),
        last_seen: t.last.map(say::time),
        example: &t.example,
        request: &t.request,
    }
}

fn finding<'a>(
    places: &Places<'a>,
    f: &'a Finding,
    seen: Option<&'a Traffic>,
    with: &[String],
) -> JsonFinding<'a> {
    JsonFinding {
        id: say::finding_id(f),
        kind: match f.kind {
            FindingKind::Denied => "denied",
            FindingKind::L7 => "l7",
            FindingKind::Allowed => "allowed",
        },
        sources: parts::group(&f.sources),
        destinations: parts::group(&f.destinations),
        ports: parts::ports(&f.ports),
        declared_ports: parts::ports(&f.declared),
        flows: f.flows,
        pods: f.pods,
        egress: f.egress.as_ref().map(|c| change(places, c)),
        ingress: f.ingress.as_ref().map(|c| change(places, c)),
        example: Example {
            from: &f.example.from,
            to: &f.example.to,
            port: &f.example.port,
            command: say::explain_command(f, with),
        },
        help: &f.help,
        patch: &f.patch,
        traffic: seen.map(traffic),
    }
}

fn change<'a>(places: &Places<'a>, c: &'a SideChange) -> Change<'a> {
    Change { base: side(places, &c.base), head: side(places, &c.head) }
}

fn side<'a>(places: &Places<'a>, v: &'a SideVerdict) -> OneSide<'a> {
    OneSide { verdict: parts::verdict(v.verdict), cause: parts::cause(places, &v.cause), l7: v.l7.as_deref() }
}

fn transition<'a>(places: &Places<'a>, t: &'a Transition) -> JsonTransition<'a> {
    JsonTransition {
        direction: parts::direction(t.direction),
        default_deny: if t.on { "on" } else { "off" },
        endpoints: parts::group(&t.endpoints),
        by: t.by.iter().map(|p| parts::policy(places, p)).collect(),
        flows: t.flows,
        peers: &t.cut_off,
        peers_on_some_ports: &t.cut_off_partly,
    }
}

fn objects(list: &[ObjectRef]) -> Vec<JsonObject<'_>> {
    list.iter().map(parts::object).collect()
}

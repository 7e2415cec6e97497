//! The parts that several documents share.

use crate::model::{ClusterSource, Coverage};
use crate::place::Places;
use crate::say;
use portcullis_diag::{Diagnostic, Fate, ObjectRef, Severity, Span};
use portcullis_ir::{Action, Direction, L4, Tier, Verdict, Workload};
use portcullis_sema::describe::PeerGroup;
use portcullis_sema::diff::{Cause, PolicyRef, RuleRef};
use portcullis_sema::{PortSet, ports};
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JsonSpan<'s> {
    file: &'s str,
    start_line: u32,
    start_column: u32,
    end_line: u32,
    end_column: u32,
}

pub(crate) fn span<'s>(places: &Places<'s>, span: Span) -> Option<JsonSpan<'s>> {
    let p = places.at(span)?;
    Some(JsonSpan {
        file: p.file,
        start_line: p.start.line,
        start_column: p.start.column,
        end_line: p.end.line,
        end_column: p.end.column,
    })
}

#[derive(Serialize)]
pub(crate) struct JsonObject<'a> {
    kind: &'a str,
    namespace: Option<&'a str>,
    name: &'a str,
}

pub(crate) fn object(o: &ObjectRef) -> JsonObject<'_> {
    JsonObject { kind: &o.kind, namespace: o.namespace.as_deref(), name: &o.name }
}

#[derive(Serialize)]
pub(crate) struct JsonWorkload<'a> {
    namespace: &'a str,
    name: &'a str,
    kind: &'a str,
}

pub(crate) fn workload(w: &Workload) -> JsonWorkload<'_> {
    JsonWorkload { namespace: &w.namespace, name: &w.name, kind: &w.kind }
}

#[derive(Serialize)]
struct JsonLabel<'a> {
    span: Option<JsonSpan<'a>>,
    text: &'a str,
}

#[derive(Serialize)]
pub(crate) struct JsonDiagnostic<'a> {
    code: String,
    name: &'a str,
    severity: &'static str,
    message: &'a str,
    object: Option<JsonObject<'a>>,
    fate: &'static str,
    labels: Vec<JsonLabel<'a>>,
    help: Option<&'a str>,
}

pub(crate) fn diagnostics<'a>(places: &Places<'a>, all: &'a [Diagnostic]) -> Vec<JsonDiagnostic<'a>> {
    all.iter().map(|d| diagnostic(places, d)).collect()
}

fn diagnostic<'a>(places: &Places<'a>, d: &'a Diagnostic) -> JsonDiagnostic<'a> {
    JsonDiagnostic {
        code: d.code.to_string(),
        name: d.code.info().map_or("", |i| i.slug),
        severity: match d.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        },
        message: &d.message,
        object: d.object.as_ref().map(object),
        fate: match d.fate {
            Fate::Accepted => "accepted",
            Fate::Inert => "inert",
            Fate::Refused => "refused",
            Fate::Unreadable => "unreadable",
        },
        labels: d.labels.iter().map(|l| JsonLabel { span: span(places, l.span), text: &l.text }).collect(),
        help: d.help.as_deref(),
    }
}

#[derive(Serialize)]
struct Member<'a> {
    namespace: &'a str,
    name: &'a str,
    kind: &'a str,
    pods: u32,
}

#[derive(Serialize)]
pub(crate) struct JsonGroup<'a> {
    summary: String,
    pods: u64,
    workloads: Vec<Member<'a>>,
    others: &'a [String],
}

pub(crate) fn group(g: &PeerGroup) -> JsonGroup<'_> {
    JsonGroup {
        summary: say::group(g),
        pods: g.pods,
        workloads: g
            .workloads
            .iter()
            .map(|(w, pods)| Member { namespace: &w.namespace, name: &w.name, kind: &w.kind, pods: *pods })
            .collect(),
        others: &g.others,
    }
}

#[derive(Serialize)]
struct Range {
    protocol: &'static str,
    first: u32,
    last: u32,
}

#[derive(Serialize)]
pub(crate) struct JsonPorts {
    text: String,
    all: bool,
    ranges: Vec<Range>,
}

/// Ports by protocol: TCP, UDP and SCTP ports, ICMP and ICMPv6 types, numbers of other protocols.
pub(crate) fn ports(set: &PortSet) -> JsonPorts {
    let other = ports::protocol(0).0;
    let stretches = [
        ("TCP", ports::range(L4::Tcp, 0, u16::MAX)),
        ("UDP", ports::range(L4::Udp, 0, u16::MAX)),
        ("SCTP", ports::range(L4::Sctp, 0, u16::MAX)),
        ("ICMP", ports::icmp(false, None)),
        ("ICMPv6", ports::icmp(true, None)),
        ("IP", (other, ports::END)),
    ];
    let all = *set == PortSet::all();
    let mut ranges = Vec::new();
    for (protocol, stretch) in stretches {
        for (from, to) in set.intersect(&PortSet::new([stretch])).intervals() {
            ranges.push(Range { protocol, first: from - stretch.0, last: to - stretch.0 - 1 });
        }
    }
    JsonPorts { text: set.to_string(), all, ranges }
}

pub(crate) fn direction(d: Direction) -> &'static str {
    match d {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

pub(crate) fn verdict(v: Verdict) -> &'static str {
    match v {
        Verdict::Allowed => "allowed",
        Verdict::Denied => "denied",
    }
}

#[derive(Serialize)]
pub(crate) struct JsonRule<'a> {
    policy: JsonObject<'a>,
    action: &'static str,
    tier: &'static str,
    span: Option<JsonSpan<'a>>,
    entry: Option<JsonSpan<'a>>,
}

pub(crate) fn rule<'a>(places: &Places<'a>, r: &'a RuleRef) -> JsonRule<'a> {
    JsonRule {
        policy: object(&r.policy),
        action: match r.action {
            Action::Allow => "allow",
            Action::Deny => "deny",
            Action::Pass => "pass",
        },
        tier: match r.tier {
            Tier::Admin => "admin",
            Tier::Normal => "normal",
            Tier::Baseline => "baseline",
        },
        span: span(places, r.span),
        entry: span(places, r.entry),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JsonPolicy<'a> {
    policy: JsonObject<'a>,
    span: Option<JsonSpan<'a>>,
    name_span: Option<JsonSpan<'a>>,
}

pub(crate) fn policy<'a>(places: &Places<'a>, p: &'a PolicyRef) -> JsonPolicy<'a> {
    JsonPolicy { policy: object(&p.policy), span: span(places, p.span), name_span: span(places, p.name_span) }
}

#[derive(Serialize)]
pub(crate) struct JsonCause<'a> {
    kind: &'static str,
    rules: Vec<JsonRule<'a>>,
    policies: Vec<JsonPolicy<'a>>,
}

pub(crate) fn cause<'a>(places: &Places<'a>, c: &'a Cause) -> JsonCause<'a> {
    let (kind, rules, policies): (_, &[RuleRef], &[PolicyRef]) = match c {
        Cause::Rules(rules) => ("rules", rules, &[]),
        Cause::DefaultDeny(by) => ("default-deny", &[], by),
        Cause::Localhost => ("localhost", &[], &[]),
        Cause::NotEnforced => ("not-enforced", &[], &[]),
    };
    JsonCause {
        kind,
        rules: rules.iter().map(|r| rule(places, r)).collect(),
        policies: policies.iter().map(|p| policy(places, p)).collect(),
    }
}

#[derive(Serialize)]
struct Cluster<'a> {
    kind: &'static str,
    name: Option<&'a str>,
}

#[derive(Serialize)]
struct Skipped<'a> {
    reason: &'a str,
    documents: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JsonCoverage<'a> {
    cluster: Cluster<'a>,
    files: usize,
    documents: usize,
    policies: usize,
    policies_left_out: usize,
    pods: u64,
    workloads: usize,
    namespaces: usize,
    host_network_pods: usize,
    skipped: Vec<Skipped<'a>>,
    notes: &'a [String],
}

pub(crate) fn coverage(c: &Coverage) -> JsonCoverage<'_> {
    let (kind, name) = match &c.cluster {
        ClusterSource::Given(name) => ("given", Some(name.as_str())),
        ClusterSource::Beside => ("beside", None),
        ClusterSource::None => ("none", None),
    };
    JsonCoverage {
        cluster: Cluster { kind, name },
        files: c.files,
        documents: c.documents,
        policies: c.policies,
        policies_left_out: c.policies_left_out,
        pods: c.pods,
        workloads: c.workloads,
        namespaces: c.namespaces,
        host_network_pods: c.host_network,
        skipped: c.skipped.iter().map(|(reason, n)| Skipped { reason, documents: *n }).collect(),
        notes: &c.notes,
    }
}

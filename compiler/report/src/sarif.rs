//! SARIF 2.1.0, for code scanning.
//!
//! A diagnostic's code is its rule. Flows and defaults that change have rules of their own. Places
//! on the base side of a comparison come second, since the lines may be gone.

use crate::model::{CheckReport, DiffReport};
use crate::place::Places;
use crate::say;
use crate::words::{clean, fingerprint, one_line};
use portcullis_diag::{Diagnostic, Severity, SourceMap, Span};
use portcullis_sema::diff::{Finding, FindingKind, Transition};
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct Log {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    tool: Tool,
    column_kind: &'static str,
    results: Vec<SarifResult>,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver {
    name: &'static str,
    semantic_version: &'static str,
    rules: Vec<Rule>,
}

#[derive(Clone, Serialize)]
struct Message {
    text: String,
}

#[derive(Clone, Serialize)]
struct Help {
    text: String,
    markdown: String,
}

#[derive(Clone, Serialize)]
struct Configuration {
    level: &'static str,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    id: String,
    name: String,
    short_description: Message,
    help: Help,
    default_configuration: Configuration,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SarifResult {
    rule_id: String,
    rule_index: usize,
    level: &'static str,
    message: Message,
    locations: Vec<Spot>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related_locations: Vec<Spot>,
    partial_fingerprints: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spot {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<usize>,
    physical_location: OnDisk,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OnDisk {
    artifact_location: Artifact,
    region: Region,
}

#[derive(Serialize)]
struct Artifact {
    uri: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: u32,
    start_column: u32,
    end_line: u32,
    end_column: u32,
}

/// Rules that are not diagnostics: id, what it means, level.
const FLOW_RULES: [(&str, &str, &str); 4] = [
    ("flow-denied", "A change of policy denies flows that were allowed", "error"),
    ("flow-allowed", "A change of policy allows flows that were denied", "warning"),
    ("flow-l7", "A change of policy changes the L7 rules of allowed flows", "warning"),
    ("default-deny", "A change of policy turns default deny on or off", "warning"),
];

/// A result under way: the rule's id, then what SARIF wants of it.
struct Found {
    rule: String,
    severity: Severity,
    text: String,
    /// Primary place first; the words go with places after it.
    places: Vec<(Span, String)>,
    /// What the fingerprint is made of.
    key: Vec<String>,
}

fn level(s: Severity) -> &'static str {
    match s {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    }
}

pub(crate) fn check(report: &CheckReport, sources: &SourceMap) -> String {
    let found = report.diagnostics.iter().map(|d| diagnostic(d, "", sources)).collect();
    write(found, sources, &[])
}

pub(crate) fn diff(report: &DiffReport, sources: &SourceMap) -> String {
    let mut found: Vec<Found> = Vec::new();
    let before = format!("{}: ", say::UNSAFE_CHANGE);
    found.extend(report.blocking.iter().map(|d| diagnostic(d, &before, sources)));
    found.extend(report.review.findings.iter().enumerate().map(|(at, f)| finding(f, &say::seen(report, at))));
    found.extend(report.review.transitions.iter().map(transition));
    found.extend(report.diagnostics.iter().map(|d| diagnostic(d, "", sources)));
    write(found, sources, &[&report.head, &report.base])
}

fn diagnostic(d: &Diagnostic, before: &str, sources: &SourceMap) -> Found {
    let mut text = format!("{before}{}", one_line(&d.message));
    if let Some(help) = &d.help {
        text = format!("{text}. Help: {}", one_line(help));
    }
    let mut key = vec![d.code.to_string(), d.message.clone()];
    key.extend(d.object.as_ref().map(ToString::to_string));
    key.extend(d.span().map(|s| sources.name(s).to_owned()));
    Found {
        rule: d.code.to_string(),
        severity: d.severity,
        text,
        places: d.labels.iter().map(|l| (l.span, one_line(&l.text))).collect(),
        key,
    }
}

fn finding(f: &Finding, seen: &[String]) -> Found {
    let rule = match f.kind {
        FindingKind::Denied => "flow-denied",
        FindingKind::Allowed => "flow-allowed",
        FindingKind::L7 => "flow-l7",
    };
    let mut text = format!("{}: {}. {}", say::effect(f), say::flow(f), say::sides(f).join("; "));
    if !seen.is_empty() {
        text = format!("{text}. Recorded: {}", seen.join("; "));
    }
    if let Some(declared) = say::declared(f) {
        text = format!("{text}. Note: {declared}");
    }
    if !f.help.is_empty() {
        text = format!("{text}. Help: {}", one_line(&f.help));
    }
    let mut evidence = say::evidence(f);
    evidence.sort_by_key(|e| e.before);
    Found {
        rule: rule.to_owned(),
        severity: say::kind_severity(f.kind),
        text,
        places: evidence.into_iter().map(|e| (e.span, e.lead)).collect(),
        key: vec![say::finding_id(f)],
    }
}

fn transition(t: &Transition) -> Found {
    let effect = say::transition_effect(t);
    let text = say::transition(t);
    Found {
        rule: "default-deny".to_owned(),
        severity: Severity::Warning,
        key: vec![text.clone()],
        text: if effect.is_empty() { text } else { format!("{text}: {effect}") },
        places: t.by.iter().map(|p| (p.span, say::object(&p.policy))).collect(),
    }
}

fn rule(id: &str, severity: Severity) -> Rule {
    let known = FLOW_RULES.iter().find(|(name, ..)| *name == id);
    let info = portcullis_diag::Code::parse(id).and_then(portcullis_diag::Code::info);
    let (name, title, default, page) = match (known, info) {
        (Some((name, title, level)), _) => (*name, *title, *level, None),
        (None, Some(i)) => (i.slug, i.title, level(i.severity), Some(id)),
        (None, None) => (id, id, level(severity), None),
    };
    let help = page.map_or_else(
        || (format!("{title}."), format!("{title}.")),
        |id| {
            (
                format!("{title}. Run: portcullis explain-code {id}"),
                format!("{title}.\n\nMeaning, an example and the fix: `portcullis explain-code {id}`"),
            )
        },
    );
    Rule {
        id: id.to_owned(),
        name: name.to_owned(),
        short_description: Message { text: title.to_owned() },
        help: Help { text: help.0, markdown: help.1 },
        default_configuration: Configuration { level: default },
    }
}

fn write(found: Vec<Found>, sources: &SourceMap, revisions: &[&str]) -> String {
    let places = Places::new(sources);
    let mut ids: Vec<(String, Severity)> = found.iter().map(|f| (f.rule.clone(), f.severity)).collect();
    ids.sort();
    ids.dedup_by(|a, b| a.0 == b.0);
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut results = Vec::with_capacity(found.len());
    for f in found {
        let mut locations: Vec<Spot> = Vec::new();
        for (i, (span, words)) in f.places.iter().enumerate() {
            locations.extend(location(&places, *span, revisions, (i > 0).then_some((i, words))));
        }
        let related = if locations.is_empty() { Vec::new() } else { locations.split_off(1) };
        // The second finding that reads the same is told apart by its number.
        let print = fingerprint(f.key.iter().map(String::as_str));
        let nth = seen.entry(print.clone()).or_insert(0);
        *nth += 1;
        results.push(SarifResult {
            rule_index: ids.partition_point(|(id, _)| *id < f.rule),
            rule_id: f.rule,
            level: level(f.severity),
            message: Message { text: clean(&f.text).into_owned() },
            locations,
            related_locations: related,
            partial_fingerprints: BTreeMap::from([("portcullis/v1", format!("{print}:{nth}"))]),
        });
    }
    let log = Log {
        schema: "https://json.schemastore.org/sarif-2.1.0.json",
        version: "2.1.0",
        runs: [Run {
            tool: Tool {
                driver: Driver {
                    name: "portcullis",
                    semantic_version: env!("CARGO_PKG_VERSION"),
                    rules: ids.iter().map(|(id, s)| rule(id, *s)).collect(),
                },
            },
            column_kind: "unicodeCodePoints",
            results,
        }],
    };
    // Structs of texts, numbers and lists always have a JSON form.
    let mut text = serde_json::to_string_pretty(&log).unwrap_or_default();
    text.push('\n');
    text
}

fn location(
    places: &Places<'_>,
    span: Span,
    revisions: &[&str],
    related: Option<(usize, &String)>,
) -> Option<Spot> {
    let p = places.at(span)?;
    Some(Spot {
        id: related.map(|(i, _)| i),
        physical_location: OnDisk {
            artifact_location: Artifact { uri: uri(say::path(p.file, revisions)) },
            region: Region {
                start_line: p.start.line,
                start_column: p.start.column,
                end_line: p.end.line,
                end_column: p.end.column,
            },
        },
        message: related.filter(|(_, w)| !w.is_empty()).map(|(_, w)| Message { text: w.clone() }),
    })
}

/// A path as a relative URI reference: everything but unreserved characters and slashes is
/// percent-encoded, a colon too, which would begin a scheme.
fn uri(path: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(path.len());
    for b in path.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~/".contains(&b) {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_relative_references() {
        assert_eq!(uri("a b/é:1.yaml"), "a%20b/%C3%A9%3A1.yaml");
        assert_eq!(say::path("main:policies/a.yaml", &["head", "main"]), "policies/a.yaml");
        assert_eq!(say::path("main/a:b.yaml", &["", "main"]), "main/a:b.yaml");
    }
}

//! `diff` as a comment.

use super::{ROWS, alert, assemble, code, coverage, detail, excerpt, fenced, folded, text};
use crate::model::{ClusterSource, DiffReport};
use crate::place::Places;
use crate::say;
use crate::words::{count_of, cut, number};
use portcullis_diag::SourceMap;
use portcullis_sema::diff::{Finding, FindingKind, Transition};
use std::fmt::Write as _;

/// Names in a list.
const NAMES: usize = 20;

pub(crate) fn render(report: &DiffReport, sources: &SourceMap) -> String {
    let places = Places::new(sources);
    let mut head = String::new();
    if let Some(unsafe_) = say::blocked(say::UNSAFE_CHANGE, &report.blocking) {
        head.push_str(&alert(&places, &unsafe_, &report.blocking));
        let _ = writeln!(head, "{}\n", text(&say::left_out(report).unwrap_or_default()));
    }
    headline(&mut head, report);
    table(&mut head, report);
    transitions(&mut head, &places, &report.review.transitions);
    if !report.diagnostics.is_empty() {
        let _ = writeln!(head, "**New with this change:** {}\n", say::tally(&report.diagnostics));
    }
    let mut blocks: Vec<String> = report
        .review
        .findings
        .iter()
        .enumerate()
        .map(|(at, f)| finding(&places, f, &say::seen(report, at), &report.explain_with))
        .collect();
    for d in report.blocking.iter().chain(&report.diagnostics) {
        let at = d.span().and_then(|s| places.locate(s)).map_or(String::new(), |at| format!(" {at}"));
        blocks.push(folded(&format!("{} {}{at}", d.severity, d.code), &detail(&places, d)));
    }
    blocks.extend(around(report));
    if let Some(r) = &report.recording {
        let mut lines = String::new();
        for (_, t) in say::recording(r) {
            let _ = writeln!(lines, "- {}", text(&t));
        }
        blocks.push(folded("the recording", &lines));
    }
    assemble(&head, &blocks, &coverage(&report.coverage))
}

fn mark(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Denied => "⛔ denied",
        FindingKind::L7 => "🔎 L7",
        FindingKind::Allowed => "🔓 allowed",
    }
}

fn headline(out: &mut String, report: &DiffReport) {
    let mut lines = say::headline(report).into_iter();
    if let Some((kind, first)) = lines.next() {
        let sure = report.blocking.is_empty() && report.coverage.cluster != ClusterSource::None;
        let icon = match kind {
            Some(FindingKind::Denied) => "⛔ ",
            Some(FindingKind::L7) => "🔎 ",
            Some(FindingKind::Allowed) => "⚠️ ",
            None if sure => "✅ ",
            None => "",
        };
        let _ = writeln!(out, "### {icon}{}\n", text(&first));
    }
    let mut more = false;
    for line in lines.map(|(_, line)| line).chain(say::not_compared(report)) {
        let _ = writeln!(out, "- {}", text(&line));
        more = true;
    }
    if more {
        out.push('\n');
    }
    if !report.base.is_empty() || !report.head.is_empty() {
        let _ = writeln!(out, "{} → {}\n", code(&report.base), code(&report.head));
    }
}

fn table(out: &mut String, report: &DiffReport) {
    let findings = &report.review.findings;
    if findings.is_empty() {
        return;
    }
    out.push_str("| | Flows | From | To | Ports | Cause |\n|---|--:|---|---|---|---|\n");
    for f in findings.iter().take(ROWS) {
        let cause = text(&say::cause_now(f));
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {cause} |",
            mark(f.kind),
            number(f.flows),
            text(&say::group(&f.sources)),
            text(&say::group(&f.destinations)),
            text(&f.ports.to_string()),
        );
    }
    out.push('\n');
    if findings.len() > ROWS {
        let _ = writeln!(out, "and {}, below\n", count_of(findings.len() - ROWS, "more group"));
    }
}

fn transitions(out: &mut String, places: &Places<'_>, all: &[Transition]) {
    if all.is_empty() {
        return;
    }
    out.push_str("**Default deny**\n\n");
    for t in all.iter().take(ROWS) {
        let by: Vec<String> =
            t.by.iter()
                .take(3)
                .map(|p| {
                    let at = places.locate(p.span).map_or(String::new(), |at| format!(" {}", code(&at)));
                    format!("{}{at}", text(&say::object(&p.policy)))
                })
                .collect();
        let mut line = text(&say::transition(t));
        if !by.is_empty() {
            let _ = write!(line, ", {}by {}", if t.on { "" } else { "was " }, by.join(", "));
        }
        let effect = say::transition_effect(t);
        if !effect.is_empty() {
            let _ = write!(line, ": {}", text(&effect));
        }
        let _ = writeln!(out, "- {line}");
    }
    if all.len() > ROWS {
        let _ = writeln!(out, "- and {} more", all.len() - ROWS);
    }
    out.push('\n');
}

fn finding(places: &Places<'_>, f: &Finding, seen: &[String], explain_with: &[String]) -> String {
    let mut body = format!("{}\n\n", text(&say::effect(f)));
    for line in seen {
        let indent = line.len() - line.trim_start().len();
        let _ = writeln!(body, "{:indent$}- {}", "", text(line.trim_start()));
    }
    for (lead, group) in [("from", &f.sources), ("to", &f.destinations)] {
        let names = say::names(group);
        let _ = writeln!(body, "- {lead} {}", text(&cut(&names, NAMES)));
    }
    if let Some(declared) = say::declared(f) {
        let _ = writeln!(body, "- {}", text(&declared));
    }
    for side in say::sides(f) {
        let _ = writeln!(body, "- {}", text(&side));
    }
    body.push('\n');
    for e in say::evidence(f).iter().take(5) {
        let _ = writeln!(body, "{}: {}", text(&e.lead), excerpt(places, e.span, e.around));
    }
    if !f.help.is_empty() {
        let _ = writeln!(body, "**Help:** {}\n", text(&f.help));
    }
    if !f.patch.is_empty() {
        body.push_str(&fenced("yaml", &f.patch));
        body.push('\n');
    }
    if let Some(command) = say::explain_command(f, explain_with) {
        body.push_str(&fenced("sh", &command));
    }
    folded(&format!("{} {}", mark(f.kind), say::flow(f)), &body)
}

/// Policies and workloads that differ.
fn around(report: &DiffReport) -> Option<String> {
    let review = &report.review;
    let mut body = String::new();
    for (what, names) in say::policies(report) {
        let _ = writeln!(body, "- {what}: {}", text(&cut(&names, NAMES)));
    }
    for (what, list) in [("added", &review.added), ("removed", &review.removed)] {
        if !list.is_empty() {
            let names: Vec<String> = list.iter().map(say::workload).collect();
            let n = count_of(list.len(), "workload");
            let _ = writeln!(body, "- {n} {what}, flows not compared: {}", text(&cut(&names, NAMES)));
        }
    }
    if review.masked_flows > 0 {
        let _ = writeln!(body, "- {}", say::masked_text(review.masked_flows));
    }
    (!body.is_empty()).then(|| folded("policies and workloads that differ", &body))
}

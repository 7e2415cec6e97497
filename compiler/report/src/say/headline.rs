//! What a report comes to, and what it covers.

use super::names::{object, workload};
use crate::model::{ClusterSource, Coverage, DiffReport};
use crate::words::{agree, count, count_of, cut, join, number, one_line};
use portcullis_diag::{Diagnostic, Fate, Severity};
use portcullis_ir::Workload;
use portcullis_sema::diff::FindingKind;
use std::collections::BTreeSet;

/// What a diff comes to: the denied flows first. One clause for each kind, at least one.
pub(crate) fn headline(report: &DiffReport) -> Vec<(Option<FindingKind>, String)> {
    if let Some(r) = report.recording.as_ref().filter(|r| r.observed_only) {
        return super::recorded::headline(r);
    }
    let t = &report.review.totals;
    let between = |kind: FindingKind, workloads: u64| between(report, kind, workloads);
    let mut out = Vec::new();
    if t.denied > 0 {
        let verb = agree(t.denied, "becomes", "become");
        let text = format!(
            "{}{} {verb} denied",
            count(t.denied, "flow"),
            between(FindingKind::Denied, t.denied_workloads)
        );
        out.push((Some(FindingKind::Denied), text));
    }
    if t.allowed > 0 {
        let verb = agree(t.allowed, "becomes", "become");
        let text = format!(
            "{}{} {verb} allowed",
            count(t.allowed, "flow"),
            between(FindingKind::Allowed, t.allowed_workloads)
        );
        out.push((Some(FindingKind::Allowed), text));
    }
    if t.l7 > 0 {
        let verb = agree(t.l7, "stays allowed while its L7 rules", "stay allowed while their L7 rules");
        let text =
            format!("{}{} {verb} change", count(t.l7, "flow"), between(FindingKind::L7, t.l7_workloads));
        out.push((Some(FindingKind::L7), text));
    }
    if out.is_empty() {
        let masked = report.review.masked_flows;
        let scope = if report.coverage.cluster == ClusterSource::None {
            "no flow between the policies' own selectors changes"
        } else {
            "no flow changes"
        };
        let mut text = scope.to_owned();
        if masked > 0 {
            text = format!("{text} in effect; {}", masked_text(masked));
        }
        out.push((None, text));
    }
    out
}

/// The workloads at the ends of a kind's flows: ` between 4 workloads`; a single one by its name, and
/// in which direction where only one end is a workload.
fn between(report: &DiffReport, kind: FindingKind, workloads: u64) -> String {
    let of_kind = || report.review.findings.iter().filter(|f| f.kind == kind);
    let sources = of_kind().any(|f| !f.sources.workloads.is_empty());
    let destinations = of_kind().any(|f| !f.destinations.workloads.is_empty());
    let word = match (sources, destinations) {
        (true, false) => "from",
        (false, true) => "to",
        _ if workloads == 1 => "of",
        _ => "between",
    };
    let ends = of_kind().flat_map(|f| f.sources.workloads.iter().chain(&f.destinations.workloads));
    match (workloads, ends.map(|(w, _)| w).min()) {
        (0, _) => String::new(),
        (1, Some(only)) => format!(" {word} {}", workload(only)),
        (n, _) => format!(" {word} {}", count(n, "workload")),
    }
}

/// Policies that the answer leaves out, and what that means: nothing if there are none.
pub(crate) fn left_out(report: &DiffReport) -> Option<String> {
    if report.blocking.is_empty() {
        return None;
    }
    let names: Vec<String> = report.left_out.iter().map(object).collect();
    let it = if names.is_empty() { "what could not be judged".to_owned() } else { cut(&names, 3) };
    Some(format!("what follows leaves out {it}, as if there were no such object"))
}

/// Workloads that one side only has, so that none of their flows are in the answer: nothing if there are
/// none. A kind is named where only it tells a new one from one that is gone.
pub(crate) fn not_compared(report: &DiffReport) -> Option<String> {
    let (new, gone) = (&report.review.added, &report.review.removed);
    let part = |list: &[Workload], other: &[Workload], what: &str| {
        let twin = |w: &Workload| other.iter().any(|o| o.namespace == w.namespace && o.name == w.name);
        let name = |w: &Workload| {
            if twin(w) { one_line(&format!("{} {}", w.kind, workload(w))) } else { workload(w) }
        };
        let names: Vec<String> = list.iter().map(name).collect();
        let n = names.len() as u64;
        (n > 0).then(|| {
            format!("{} {} {what} ({})", count(n, "workload"), agree(n, "is", "are"), cut(&names, 3))
        })
    };
    let parts: Vec<String> =
        [part(new, gone, "new"), part(gone, new, "gone")].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| format!("not compared: {}", join(&parts)))
}

/// What happened to policies: `2 policies added` and their names. The last list is of those that are left out.
pub(crate) fn policies(report: &DiffReport) -> Vec<(String, Vec<String>)> {
    let p = &report.review.policies;
    [("added", &p.added), ("removed", &p.removed), ("changed", &p.changed), ("left out", &report.left_out)]
        .into_iter()
        .filter(|(_, list)| !list.is_empty())
        .map(|(what, list)| {
            (format!("{} {what}", count_of(list.len(), "policy")), list.iter().map(object).collect())
        })
        .collect()
}

/// What becomes of flows that are denied by one side anyway.
pub(crate) fn masked_text(flows: u64) -> String {
    format!(
        "{} {} on one side and {} denied by the other",
        count(flows, "flow"),
        agree(flows, "changes", "change"),
        agree(flows, "stays", "stay"),
    )
}

/// `this change cannot be judged safe: 2 objects could not be read`, or nothing if all were.
pub(crate) fn blocked(what: &str, blocking: &[Diagnostic]) -> Option<String> {
    if blocking.is_empty() {
        return None;
    }
    let words = [
        (Fate::Unreadable, "could not be read"),
        (Fate::Refused, "refused by the API server"),
        (Fate::Inert, "ignored by Cilium"),
        // A template would be accepted once it is rendered, for all that is known.
        (Fate::Accepted, "not rendered yet"),
    ];
    let mut parts = Vec::new();
    for (fate, text) in words {
        let mut objects: BTreeSet<String> = BTreeSet::new();
        for (i, d) in blocking.iter().enumerate().filter(|(_, d)| d.fate == fate) {
            // A text that never became an object counts for itself.
            objects.insert(d.object.as_ref().map_or_else(|| format!("#{i}"), ToString::to_string));
        }
        let n = objects.len() as u64;
        if n > 0 {
            let is = if fate == Fate::Unreadable { "" } else { agree(n, "is ", "are ") };
            let what = if parts.is_empty() { count(n, "object") } else { number(n) };
            parts.push(format!("{what} {is}{text}"));
        }
    }
    Some(format!("{what}: {}", join(&parts)))
}

/// The first words of [`blocked`] for a comparison.
pub(crate) const UNSAFE_CHANGE: &str = "this change cannot be judged safe";

/// The first words of [`blocked`] for a question about one state.
pub(crate) const INCOMPLETE: &str = "this answer is incomplete";

/// `3 errors, 1 warning and 2 notes`, or `no findings`.
pub(crate) fn tally(diagnostics: &[Diagnostic]) -> String {
    let of = |s: Severity| diagnostics.iter().filter(|d| d.severity == s).count();
    let parts: Vec<String> = [Severity::Error, Severity::Warning, Severity::Note]
        .into_iter()
        .filter(|s| of(*s) > 0)
        .map(|s| count_of(of(s), &s.to_string()))
        .collect();
    if parts.is_empty() { "no findings".to_owned() } else { join(&parts) }
}

/// What was looked at, as sentences without their full stops; the first is the plainest.
pub(crate) fn coverage(c: &Coverage) -> Vec<String> {
    let mut out = Vec::new();
    let read = format!("{} in {}", count_of(c.documents, "document"), count_of(c.files, "file"));
    let policies = count_of(c.policies, "policy");
    let pods = format!(
        "{} of {} in {}",
        count(c.pods, "pod"),
        count_of(c.workloads, "workload"),
        count_of(c.namespaces, "namespace")
    );
    match &c.cluster {
        ClusterSource::Given(name) => {
            out.push(format!("looked at {policies}, {read}; {pods} from {}", one_line(name)));
        }
        ClusterSource::Beside => {
            out.push(format!("looked at {policies}, {read}; {pods} from the workloads beside the policies"));
        }
        ClusterSource::None => {
            out.push(format!("looked at {policies}, {read}; no pods are known"));
            out.push(
                "the answer covers only the policies' own selectors: give --cluster, or put the workloads beside the policies, to see real flows"
                    .to_owned(),
            );
        }
    }
    if c.policies_left_out > 0 {
        let n = c.policies_left_out as u64;
        let verb = agree(n, "takes", "take");
        out.push(format!("{} {verb} no part: refused, inert or unreadable", count(n, "policy")));
    }
    if c.host_network > 0 {
        let n = c.host_network as u64;
        let verb = agree(n, "is", "are");
        out.push(format!(
            "{} {verb} on the host's network, which pod policy never concerns",
            count(n, "pod")
        ));
    }
    if !c.skipped.is_empty() {
        let parts: Vec<String> =
            c.skipped.iter().map(|(why, n)| format!("{} ({})", one_line(why), number(*n as u64))).collect();
        out.push(format!("left out on purpose: {}", join(&parts)));
    }
    out.extend(c.notes.iter().map(|n| one_line(n)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_report_says_that_nothing_changes_and_for_what() {
        let mut r = DiffReport::default();
        assert_eq!(headline(&r)[0].1, "no flow between the policies' own selectors changes");
        r.coverage.cluster = ClusterSource::Beside;
        r.review.masked_flows = 1;
        assert_eq!(
            headline(&r)[0].1,
            "no flow changes in effect; 1 flow changes on one side and stays denied by the other"
        );
    }
}

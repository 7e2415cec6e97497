//! The sentences that every format shares, so that a terminal and a pull request say the same.

use crate::model::{ClusterSource, Coverage, DiffReport, ExplainedSide, Explanation};
use crate::words::{agree, count, count_of, cut, fingerprint, join, number, one_line};
use portcullis_diag::{Diagnostic, Fate, ObjectRef, Severity, Span};
use portcullis_ir::{Action, Direction, Verdict, Workload};
use portcullis_sema::describe::PeerGroup;
use portcullis_sema::diff::{Cause, Finding, FindingKind, SideChange, SideVerdict, Transition};
use std::collections::BTreeSet;

/// What a diff comes to: the denied flows first. One clause for each kind, at least one.
pub(crate) fn headline(report: &DiffReport) -> Vec<(Option<FindingKind>, String)> {
    let t = &report.review.totals;
    let between = |workloads: u64| match workloads {
        0 => String::new(),
        1 => " of 1 workload".to_owned(),
        n => format!(" between {}", count(n, "workload")),
    };
    let mut out = Vec::new();
    if t.denied > 0 {
        let verb = agree(t.denied, "becomes", "become");
        let text = format!("{}{} {verb} denied", count(t.denied, "flow"), between(t.denied_workloads));
        out.push((Some(FindingKind::Denied), text));
    }
    if t.allowed > 0 {
        let verb = agree(t.allowed, "becomes", "become");
        let text = format!("{}{} {verb} allowed", count(t.allowed, "flow"), between(t.allowed_workloads));
        out.push((Some(FindingKind::Allowed), text));
    }
    if t.l7 > 0 {
        let verb = agree(t.l7, "stays allowed and meets", "stay allowed and meet");
        let text =
            format!("{}{} {verb} other rules of a proxy", count(t.l7, "flow"), between(t.l7_workloads));
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
        (Fate::Accepted, "not understood"),
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

/// What happens to a finding's flows, as an adjective.
pub(crate) fn kind_word(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::Denied => "denied",
        FindingKind::L7 => "L7",
        FindingKind::Allowed => "allowed",
    }
}

/// `3 flows of 7 pods become denied`.
pub(crate) fn effect(f: &Finding) -> String {
    let verb = match f.kind {
        FindingKind::Denied => agree(f.flows, "becomes denied", "become denied"),
        FindingKind::Allowed => agree(f.flows, "becomes allowed", "become allowed"),
        FindingKind::L7 => agree(f.flows, "meets other rules of a proxy", "meet other rules of a proxy"),
    };
    format!("{} {verb}", flows_and_pods(f))
}

/// `3 flows, 7 pods`.
pub(crate) fn flows_and_pods(f: &Finding) -> String {
    if f.pods == 0 {
        count(f.flows, "flow")
    } else {
        format!("{} of {}", count(f.flows, "flow"), count(f.pods, "pod"))
    }
}

/// A group in a few words, never empty.
pub(crate) fn group(g: &PeerGroup) -> String {
    let text = one_line(&g.summary);
    if !text.is_empty() {
        return text;
    }
    let names = names(g);
    if names.is_empty() { "nothing".to_owned() } else { cut(&names, 3) }
}

/// Every member of a group by name.
pub(crate) fn names(g: &PeerGroup) -> Vec<String> {
    g.workloads.iter().map(|(w, _)| workload(w)).chain(g.others.iter().map(|o| one_line(o))).collect()
}

/// `shop/web`.
pub(crate) fn workload(w: &Workload) -> String {
    one_line(&format!("{}/{}", w.namespace, w.name))
}

/// `CiliumNetworkPolicy shop/web`, or something that can be read where the name is missing.
pub(crate) fn object(o: &ObjectRef) -> String {
    let name = if o.name.is_empty() { "(no name)" } else { o.name.as_str() };
    one_line(&match &o.namespace {
        Some(ns) => format!("{} {ns}/{name}", o.kind),
        None => format!("{} {name}", o.kind),
    })
}

/// `allowed` or `DENIED`: the capitals are for those who see no colour.
pub(crate) fn verdict(v: Verdict) -> &'static str {
    match v {
        Verdict::Allowed => "allowed",
        Verdict::Denied => "DENIED",
    }
}

/// Distinct policies of rules, in the order they come.
fn policies<'c>(objects: impl Iterator<Item = &'c ObjectRef>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for o in objects {
        let name = object(o);
        if !out.contains(&name) {
            out.push(name);
        }
    }
    out
}

/// Why a side decides as it does, to be put after the verdict.
pub(crate) fn cause(c: &Cause) -> String {
    match c {
        Cause::Rules(rules) if rules.is_empty() => "by a rule".to_owned(),
        Cause::Rules(rules) => format!("by {}", cut(&policies(rules.iter().map(|r| &r.policy)), 2)),
        Cause::DefaultDeny(_) => "by default deny".to_owned(),
        Cause::Localhost => "(the node's own host)".to_owned(),
        Cause::NotEnforced => "(not enforced)".to_owned(),
    }
}

/// `allowed by CiliumNetworkPolicy shop/web, then decided by a proxy`.
pub(crate) fn side(v: &SideVerdict) -> String {
    let proxy = if v.l7.is_some() { ", then decided by a proxy" } else { "" };
    format!("{} {}{proxy}", verdict(v.verdict), cause(&v.cause))
}

/// Both verdicts of one side; what both have in common is said once.
pub(crate) fn change(c: &SideChange) -> String {
    let (base, head) = (side(&c.base), side(&c.head));
    if base == head {
        format!("{} → {head}", verdict(c.base.verdict))
    } else {
        format!("{base} → {head}")
    }
}

/// The side that a direction names, seen from the flow.
pub(crate) fn side_name(d: Direction) -> &'static str {
    match d {
        Direction::Egress => "source egress",
        Direction::Ingress => "destination ingress",
    }
}

/// Where a cause leads, for a side that is explained alone: its lines, deciding ones first.
pub(crate) fn explained(side: &ExplainedSide) -> Vec<Evidence> {
    let v = SideVerdict { verdict: side.verdict, cause: side.cause.clone(), l7: side.l7.clone() };
    cause_lines(&v, side.direction, false)
}

/// The verdict, then the flow: `DENIED: shop/cron → payments/api on TCP 8080`.
pub(crate) fn explanation(e: &Explanation) -> String {
    let verdict = match e.verdict {
        Verdict::Allowed => "ALLOWED",
        Verdict::Denied => "DENIED",
    };
    let on = if e.port.is_empty() { String::new() } else { format!(" on {}", one_line(&e.port)) };
    format!("{verdict}: {} → {}{on}", one_line(&e.from), one_line(&e.to))
}

/// What would let a denied flow through, side by side.
pub(crate) fn ways_out(e: &Explanation) -> Vec<String> {
    let mut out = Vec::new();
    for side in e.sides.iter().filter(|s| s.verdict == Verdict::Denied) {
        let section = side.direction;
        let port = if e.port.is_empty() { "this port".to_owned() } else { one_line(&e.port) };
        let peer = match section {
            Direction::Ingress => one_line(&e.from),
            Direction::Egress => one_line(&e.to),
        };
        match &side.cause {
            Cause::DefaultDeny(by) => {
                let name = by.first().map_or("a policy".to_owned(), |p| object(&p.policy));
                let word = if section == Direction::Ingress { "from" } else { "to" };
                out.push(format!(
                    "add an {section} rule for {port} {word} {peer} to {name}, or to another policy that selects {}",
                    one_line(&side.subject)
                ));
            }
            Cause::Rules(rules) => {
                let names = policies(rules.iter().map(|r| &r.policy));
                out.push(format!(
                    "narrow or remove the {section} deny rule of {}: no allow rule of its tier overrides it",
                    cut(&names, 2)
                ));
            }
            Cause::Localhost | Cause::NotEnforced => {}
        }
    }
    out
}

/// What is said of a side without pods.
pub(crate) fn no_side(d: Direction) -> &'static str {
    match d {
        Direction::Egress => "the sources are no pods of this cluster, so no policy of theirs applies",
        Direction::Ingress => "the destinations are no pods of this cluster, so no policy of theirs applies",
    }
}

/// A line of the user's that explains a finding.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    /// What it is, in one clause.
    pub(crate) lead: String,
    /// Where it stands.
    pub(crate) span: Span,
    /// What it does, in a few words.
    pub(crate) label: String,
    /// It stands on the base side, so it may be gone.
    pub(crate) before: bool,
}

/// The lines that make a finding so: what is gone, then what decides now.
pub(crate) fn evidence(f: &Finding) -> Vec<Evidence> {
    let sides: Vec<&SideChange> = [&f.ingress, &f.egress].into_iter().flatten().collect();
    let tells = |s: &&&SideChange| match f.kind {
        FindingKind::L7 => s.base.l7 != s.head.l7,
        _ => s.base.verdict != s.head.verdict,
    };
    let mut chosen: Vec<&SideChange> = sides.iter().filter(tells).copied().collect();
    if chosen.is_empty() {
        chosen = sides.into_iter().filter(|s| s.base != s.head).collect();
    }
    let mut out = Vec::new();
    for s in &chosen {
        let gone = matches!(s.head.cause, Cause::NotEnforced | Cause::DefaultDeny(_));
        let rules = matches!(s.base.cause, Cause::Rules(_));
        let proxy_gone = f.kind == FindingKind::L7 && s.head.l7.is_none();
        if (gone && (rules || s.head.cause == Cause::NotEnforced)) || proxy_gone {
            out.extend(cause_lines(&s.base, s.direction, true));
        }
    }
    for s in &chosen {
        out.extend(cause_lines(&s.head, s.direction, false));
    }
    out
}

/// The lines behind one verdict.
pub(crate) fn cause_lines(v: &SideVerdict, direction: Direction, before: bool) -> Vec<Evidence> {
    match &v.cause {
        Cause::Rules(rules) => rules
            .iter()
            .map(|r| {
                let (does, did) = match r.action {
                    Action::Allow => ("allows", "allowed"),
                    Action::Deny => ("denies", "denied"),
                    Action::Pass => ("passes", "passed"),
                };
                let name = object(&r.policy);
                let (lead, label) = if before {
                    (format!("before, this rule of {name} {did} it"), format!("{did} it before"))
                } else if v.l7.is_some() {
                    (
                        format!("this rule of {name} sends it to a proxy"),
                        "a proxy decides the rest".to_owned(),
                    )
                } else {
                    (format!("this rule of {name} {does} it"), format!("{does} it"))
                };
                Evidence { lead, span: r.span, label, before }
            })
            .collect(),
        Cause::DefaultDeny(by) => by
            .iter()
            .map(|p| {
                let name = object(&p.policy);
                let (lead, label) = if before {
                    (
                        format!("before, {name} made {direction} default-deny"),
                        format!("{direction} was default-deny by this"),
                    )
                } else {
                    (
                        format!("no rule allows it, and {name} makes {direction} default-deny"),
                        format!("{direction} is default-deny by this"),
                    )
                };
                Evidence { lead, span: p.span, label, before }
            })
            .collect(),
        Cause::Localhost | Cause::NotEnforced => Vec::new(),
    }
}

/// `ingress of shop/web becomes default-deny`.
pub(crate) fn transition(t: &Transition) -> String {
    let verb = if t.on { "becomes" } else { "stops being" };
    format!("{} of {} {verb} default-deny", t.direction, group(&t.endpoints))
}

/// What a transition comes to: flows and peers; empty if it changes no flow.
pub(crate) fn transition_effect(t: &Transition) -> String {
    let cut_off = one_line(&t.cut_off);
    let mut parts = Vec::new();
    if t.flows > 0 {
        parts.push(format!(
            "{} {} by it",
            count(t.flows, "flow"),
            agree(t.flows, "is decided", "are decided")
        ));
    }
    let verb = if t.on { "cuts off" } else { "lets in" };
    if !cut_off.is_empty() {
        parts.push(format!("{verb} {cut_off}"));
    }
    let partly = one_line(&t.cut_off_partly);
    if !partly.is_empty() {
        parts.push(format!("{verb} {partly} on some ports"));
    }
    parts.join("; ")
}

/// A name for a finding that stays the same while its ends, ports and causes do, wherever the lines
/// of the files move.
pub(crate) fn finding_id(f: &Finding) -> String {
    let mut parts = vec![kind_word(f.kind).to_owned(), f.ports.to_string()];
    parts.extend(names(&f.sources));
    parts.push("→".to_owned());
    parts.extend(names(&f.destinations));
    for c in [&f.egress, &f.ingress].into_iter().flatten() {
        parts.push(change(c));
    }
    fingerprint(parts.iter().map(String::as_str))
}

/// `shop/cron → payments/api on TCP 8080`.
pub(crate) fn flow(f: &Finding) -> String {
    format!("{} → {} on {}", group(&f.sources), group(&f.destinations), f.ports)
}

/// Both sides of a finding, a line each.
pub(crate) fn sides(f: &Finding) -> Vec<String> {
    [(Direction::Egress, &f.egress), (Direction::Ingress, &f.ingress)]
        .into_iter()
        .map(|(direction, side)| match side {
            Some(c) => format!("{}: {}", side_name(direction), change(c)),
            None => no_side(direction).to_owned(),
        })
        .collect()
}

/// The level at which a kind of finding is shown where others than ours are shown beside it.
pub(crate) fn kind_severity(kind: FindingKind) -> Severity {
    match kind {
        FindingKind::Denied => Severity::Error,
        FindingKind::L7 | FindingKind::Allowed => Severity::Warning,
    }
}

/// A file's name without the revision it was read from: what a code host knows it by.
pub(crate) fn path<'n>(name: &'n str, revisions: &[&str]) -> &'n str {
    let under = |rev: &&str| (!rev.is_empty()).then(|| name.strip_prefix(rev)?.strip_prefix(':')).flatten();
    revisions.iter().find_map(under).unwrap_or(name)
}

/// The command that explains a finding's example; `None` where there is none.
pub(crate) fn explain_command(f: &Finding) -> Option<String> {
    let e = &f.example;
    if e.from.is_empty() || e.to.is_empty() {
        return None;
    }
    let mut text = format!("portcullis explain --from {} --to {}", shell(&e.from), shell(&e.to));
    if !e.port.is_empty() {
        text = format!("{text} --port {}", shell(&e.port));
    }
    Some(text)
}

/// A word for a POSIX shell.
fn shell(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    let word = one_line(word);
    if !word.is_empty() && word.chars().all(plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
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
        let parts: Vec<String> = c.skipped.iter().map(|(why, n)| count_of(*n, &one_line(why))).collect();
        out.push(format!("left out on purpose: {}", join(&parts)));
    }
    out.extend(c.notes.iter().map(|n| one_line(n)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_a_shell_are_quoted_when_they_must_be() {
        assert_eq!(shell("shop/app=web"), "shop/app=web");
        assert_eq!(shell("*.example.com"), "'*.example.com'");
        assert_eq!(shell("it's"), "'it'\\''s'");
        assert_eq!(shell(""), "''");
    }

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

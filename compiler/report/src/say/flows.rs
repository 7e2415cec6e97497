//! Groups of flows that change, and defaults that do.

use super::names::{group, names, shell, workload};
use super::verdict::{change, no_side, side_name};
use crate::words::{agree, count, fingerprint, one_line};
use portcullis_diag::Severity;
use portcullis_ir::{Direction, Workload, synthetic};
use portcullis_sema::diff::{Finding, FindingKind, Transition};

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
        FindingKind::L7 if only_authentication(f) => match l7_change(f) {
            (false, _) => agree(
                f.flows,
                "is from now on allowed only after authentication",
                "are from now on allowed only after authentication",
            ),
            _ => agree(f.flows, "no longer needs authentication", "no longer need authentication"),
        },
        FindingKind::L7 => match l7_change(f) {
            (false, _) => agree(
                f.flows,
                "is from now on held to L7 rules by a proxy",
                "are from now on held to L7 rules by a proxy",
            ),
            (true, false) => {
                agree(f.flows, "is no longer held to L7 rules", "are no longer held to L7 rules")
            }
            (true, true) => agree(f.flows, "is held to other L7 rules", "are held to other L7 rules"),
        },
    };
    format!("{} {verb}", flows_and_pods(f))
}

/// Whether a proxy had, and has, rules for the flows of a finding.
fn l7_change(f: &Finding) -> (bool, bool) {
    let sides = || [&f.egress, &f.ingress].into_iter().flatten();
    (sides().any(|s| s.base.l7.is_some()), sides().any(|s| s.head.l7.is_some()))
}

/// Whether authentication (SEM-2.12) is all that is asked, before or after.
fn only_authentication(f: &Finding) -> bool {
    [&f.egress, &f.ingress]
        .into_iter()
        .flatten()
        .flat_map(|s| [&s.base.l7, &s.head.l7])
        .flatten()
        .all(|asked| asked == "authentication")
}

/// So many ports that nobody means each of them.
const MANY_PORTS: u32 = 1000;

/// Which of the changed ports are those to be expected: `payments/api declares TCP 8080, 9090 of these
/// ports`. Nothing where that is no news, or nobody knows.
pub(crate) fn declared(f: &Finding) -> Option<String> {
    let known = |w: &Workload| w.kind != synthetic::KIND;
    if f.declared == f.ports || !f.destinations.workloads.iter().any(|(w, _)| known(w)) {
        return None;
    }
    let (who, declares) = match f.destinations.workloads.as_slice() {
        [(w, _)] => (workload(w), "declares"),
        _ => ("the destinations".to_owned(), "declare"),
    };
    if !f.declared.is_empty() {
        return Some(format!("of these ports, {who} {declares} {}", f.declared));
    }
    // Of a few ports somebody wrote down which are used; then the containers say nothing against it.
    let many = f.ports.intervals().iter().map(|(a, b)| b - a).sum::<u32>() > MANY_PORTS;
    many.then(|| format!("{who} {declares} none of these ports"))
}

/// `3 flows of 7 pods`.
pub(crate) fn flows_and_pods(f: &Finding) -> String {
    if f.pods == 0 {
        count(f.flows, "flow")
    } else {
        format!("{} of {}", count(f.flows, "flow"), count(f.pods, "pod"))
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

/// The command that explains a finding's example, with the words that lead it to the head side; `None`
/// where there is none.
pub(crate) fn explain_command(f: &Finding, with: &[String]) -> Option<String> {
    let e = &f.example;
    if e.from.is_empty() || e.to.is_empty() {
        return None;
    }
    let mut text = format!("portcullis explain --from {} --to {}", shell(&e.from), shell(&e.to));
    if !e.port.is_empty() {
        text = format!("{text} --port {}", shell(&e.port));
    }
    for word in with {
        text = format!("{text} {}", shell(word));
    }
    Some(text)
}

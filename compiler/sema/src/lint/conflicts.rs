//! SEM-6.9: HTTP and DNS rules, or two authentication modes, for one selector and port. Each policy
//! is valid; together Cilium cannot compute the endpoint's policy and keeps the old one.

use super::view::View;
use portcullis_diag::codes::meaning::{CONFLICTING_AUTHENTICATION, CONFLICTING_L7};
use portcullis_diag::{Code, Diagnostic};
use portcullis_ir::{Action, Peers, Ports, Rule, RuleId};
use std::collections::BTreeSet;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    let mut said: BTreeSet<(Code, RuleId, RuleId)> = BTreeSet::new();
    for s in &view.signatures {
        let asking: Vec<(RuleId, &Rule)> = s
            .rules(&view.cx)
            .filter(|(_, r)| r.action == Action::Allow && (r.l7.is_some() || r.authentication.is_some()))
            .collect();
        for (i, (a, x)) in asking.iter().enumerate() {
            for (b, y) in asking.iter().skip(i + 1) {
                let Some(code) = conflict(x, y) else { continue };
                if said.insert((code, *a, *b)) {
                    out.extend(report(view, code, (*a, x), y));
                }
            }
        }
    }
}

fn report(view: &View<'_>, code: Code, a: (RuleId, &Rule), b: &Rule) -> Option<Diagnostic> {
    let policy = view.cx.policies.policy(b.policy)?;
    let (what, first, second) = if code == CONFLICTING_L7 {
        ("HTTP and DNS rules for one peer and port", "one kind of rules", "the other kind")
    } else {
        ("two authentication modes for one peer and port", "one mode", "the other mode")
    };
    let with = view.policy_name(a.0);
    let message = format!("Cilium keeps the pods' previous policy: {what}, here and in {with}");
    let finding = Diagnostic::new(code, message, b.span).object(policy.object.clone()).label(second);
    Some(
        finding
            .also(a.1.span, first)
            .help("ask the same in both places, or narrow the peers or ports of one"),
    )
}

fn conflict(x: &Rule, y: &Rule) -> Option<Code> {
    if !one_selector(&x.peers, &y.peers) || !one_port(&x.ports, &y.ports) {
        return None;
    }
    let kind = |r: &Rule| r.l7.as_ref().map(|l| (!l.http.is_empty(), l.dns.is_some()));
    if matches!((kind(x), kind(y)), (Some((true, _)), Some((_, true))) | (Some((_, true)), Some((true, _)))) {
        return Some(CONFLICTING_L7);
    }
    match (x.authentication, y.authentication) {
        (Some(a), Some(b)) if a != b => Some(CONFLICTING_AUTHENTICATION),
        _ => None,
    }
}

/// Whether both lists hold the same selector, or both are open.
fn one_selector(x: &Peers, y: &Peers) -> bool {
    match (x, y) {
        (Peers::All, Peers::All) => true,
        (Peers::Of(a), Peers::Of(b)) => a.iter().any(|t| b.contains(t)),
        _ => false,
    }
}

fn one_port(x: &Ports, y: &Ports) -> bool {
    match (x, y) {
        (Ports::All, Ports::All) => true,
        (Ports::Of(a), Ports::Of(b)) => a.iter().any(|t| b.contains(t)),
        _ => false,
    }
}

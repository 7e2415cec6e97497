//! SEM-6.8: a plain allow of the same selectors and port lifts the L7 rules of another.

use super::cover;
use super::view::View;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::L7_FILTERS_NOTHING as CODE;
use portcullis_ir::{Action, Peers, Ports, Rule, Tier};
use std::collections::BTreeSet;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    let set = view.cx.policies;
    let mut seen = BTreeSet::new();
    for s in &view.signatures {
        for (id, r) in s.rules(&view.cx) {
            let filters = r.action == Action::Allow && r.tier == Tier::Normal && r.l7.is_some();
            if !filters || !seen.insert(id) {
                continue;
            }
            let lifting = s.rules(&view.cx).find(|(_, o)| {
                o.action == Action::Allow
                    && o.tier == Tier::Normal
                    && o.l7.is_none()
                    && same_selectors(o, r)
                    && same_ports(o, r)
                    && cover::subject(set, o.subject, r.subject)
            });
            let Some((other, o)) = lifting else { continue };
            let Some(policy) = set.policy(r.policy) else { continue };
            let with = if o.policy == r.policy {
                "another rule of the policy".to_owned()
            } else {
                view.policy_name(other)
            };
            let message = format!(
                "these L7 rules filter nothing: {with} allows the same peers and port whatever they send"
            );
            let finding = Diagnostic::new(CODE, message, r.span).object(policy.object.clone());
            out.push(
                finding
                    .label("lifted")
                    .also(o.span, "allows every request")
                    .help("remove the plain allow, or give it the same rules"),
            );
        }
    }
}

/// Whether every selector of the L7 rule is one of the plain rule too.
fn same_selectors(plain: &Rule, l7: &Rule) -> bool {
    match (&plain.peers, &l7.peers) {
        (Peers::All, Peers::All) => true,
        (Peers::Of(a), Peers::Of(b)) => !b.is_empty() && b.iter().all(|t| a.contains(t)),
        _ => false,
    }
}

fn same_ports(plain: &Rule, l7: &Rule) -> bool {
    match (&plain.ports, &l7.ports) {
        (Ports::Of(a), Ports::Of(b)) => !b.is_empty() && b.iter().all(|t| a.contains(t)),
        _ => false,
    }
}

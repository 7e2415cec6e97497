//! SEM-8.6: an allow whose traffic another rule allows already, for everyone it selects. Judged by
//! what the rules say, so that it stays true when pods come and go.

use super::cover;
use super::view::View;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::RULE_ADDS_NOTHING as CODE;
use portcullis_ir::{Action, Peers, Rule, RuleId, Tier};
use std::collections::BTreeSet;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    let set = view.cx.policies;
    let mut seen: BTreeSet<RuleId> = BTreeSet::new();
    for s in &view.signatures {
        for (id, r) in s.rules(&view.cx) {
            let counts = r.action == Action::Allow && r.tier == Tier::Normal && !says_nothing(r);
            // A rule that selects more than this one selects these pods too: one look is enough.
            if !counts || !seen.insert(id) {
                continue;
            }
            let better = s.rules(&view.cx).find(|(other, o)| {
                *other != id && cover::rule(set, o, r) && (*other < id || !cover::rule(set, r, o))
            });
            let Some((other, o)) = better else { continue };
            let Some(policy) = set.policy(r.policy) else { continue };
            let message = if o.policy == r.policy {
                "this allow adds nothing: another rule of the policy allows all of it".to_owned()
            } else {
                format!("this allow adds nothing: {} allows all of it", view.policy_name(other))
            };
            let finding = Diagnostic::new(CODE, message, r.span).object(policy.object.clone());
            out.push(
                finding.label("allowed without it").also(o.span, "allows it").help("remove one of the two"),
            );
        }
    }
}

fn says_nothing(r: &Rule) -> bool {
    r.ports.is_none() || matches!(&r.peers, Peers::Of(p) if p.is_empty())
}

//! SEM-5.3: default deny is off for everyone a rule selects, so its allows add nothing.

use super::sites::finding;
use super::view::View;
use crate::row::Fallback;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::ALLOWS_WITHOUT_DEFAULT_DENY as CODE;
use portcullis_ir::{Action, Direction, EnforcementMode, RuleId, Tier};
use std::collections::BTreeMap;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    if view.cx.options.enforcement != EnforcementMode::Default {
        return;
    }
    let mut open: BTreeMap<RuleId, bool> = BTreeMap::new();
    for s in &view.signatures {
        // A Baseline deny would be beaten by the allow.
        let is_open = s.fallback == Some(Fallback::Open)
            && s.rules(&view.cx).all(|(_, r)| r.tier != Tier::Baseline || r.action != Action::Deny);
        for id in &s.rules {
            let so_far = open.entry(*id).or_insert(true);
            *so_far = *so_far && is_open;
        }
    }
    for site in &view.rules {
        for direction in Direction::BOTH {
            let switch = match direction {
                Direction::Ingress => &site.rule.default_deny_ingress,
                Direction::Egress => &site.rule.default_deny_egress,
            };
            let Some(off) = switch.as_ref().filter(|s| !s.value) else { continue };
            let mut ids = view
                .entries
                .iter()
                .filter(|e| {
                    std::ptr::eq(e.at.rule, site.rule)
                        && e.direction == direction
                        && e.action == Action::Allow
                })
                .flat_map(|e| e.rules.clone())
                .peekable();
            // A proxy sees the traffic even where nothing is denied, which may be the purpose.
            let idle = |i: usize| {
                let asks = view
                    .cx
                    .policies
                    .rules
                    .get(i)
                    .is_none_or(|r| r.l7.is_some() || r.authentication.is_some());
                !asks && u32::try_from(i).is_ok_and(|i| open.get(&RuleId(i)) == Some(&true))
            };
            if ids.peek().is_some() && ids.all(idle) {
                let message =
                    format!("these allows restrict nobody: {direction} stays open for every pod they select");
                let finding = finding(site.object, CODE, message, off.span).label("default deny is off");
                out.push(
                    finding.help("remove `enableDefaultDeny`, or let another policy turn default deny on"),
                );
            }
        }
    }
}

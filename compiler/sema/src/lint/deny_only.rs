//! SEM-5.1: a rule that only denies turns default deny on all the same, and where nothing else is
//! allowed it cuts everything, not only what it names.

use super::signatures::{Signature, peer_bits};
use super::sites::finding;
use super::view::{View, sections};
use super::words::few;
use crate::universe::NodeId;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::DENY_ONLY as CODE;
use portcullis_ir::{Action, Direction, EnforcementMode, PolicyId};

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    if view.cx.options.enforcement != EnforcementMode::Default {
        return;
    }
    for site in &view.rules {
        for direction in Direction::BOTH {
            let switch = match direction {
                Direction::Ingress => &site.rule.default_deny_ingress,
                Direction::Egress => &site.rule.default_deny_egress,
            };
            if switch.is_some() {
                continue;
            }
            let here = || sections(site.rule).into_iter().filter(|(_, d, _)| *d == direction);
            let filled = |wanted: Action| {
                here().find(|(_, _, a)| *a == wanted).and_then(|(s, ..)| s).filter(|s| !s.value.is_empty())
            };
            let (None, Some(denies)) = (filled(Action::Allow), filled(Action::Deny)) else { continue };
            // `[{}]` and dropped fields are told of by lints of their own.
            let own = view
                .entries
                .iter()
                .filter(|e| std::ptr::eq(e.at.rule, site.rule) && e.direction == direction);
            if own.clone().all(super::sites::EntrySite::is_empty)
                || own.clone().any(|e| !e.entry.dropped.is_empty())
            {
                continue;
            }
            let first = own.clone().map(|e| e.rules.start).min().and_then(|i| u32::try_from(i).ok());
            let mut cut: Vec<NodeId> = Vec::new();
            let mut affected = false;
            for s in view.signatures.iter().filter(|s| s.direction == direction) {
                let selects = s.rules.iter().any(|r| Some(r.0) == first);
                if selects && !allows_anything(view, s) && alone(view, s, site.policy) {
                    affected = true;
                    cut.extend(&s.groups);
                }
            }
            if !affected {
                continue;
            }
            let message = if cut.is_empty() {
                format!(
                    "all {direction} becomes denied, not only what is named, unless another policy allows it"
                )
            } else {
                format!(
                    "all {direction} of {} becomes denied, not only what is named",
                    few(&view.workloads(&cut))
                )
            };
            let finding = finding(site.object, CODE, message, denies.span).label("turns default deny on");
            out.push(finding.help(format!(
                "add `enableDefaultDeny: {{{direction}: false}}` to deny only this, or allow the rest with `{direction}` rules"
            )));
        }
    }
}

/// Whether a rule allows these pods anything.
fn allows_anything(view: &View<'_>, s: &Signature) -> bool {
    s.rules(&view.cx).any(|(id, r)| {
        r.action == Action::Allow
            && !r.ports.is_none()
            && (s.groups.is_empty() || peer_bits(&view.cx, id).is_some_and(|p| !p.is_clear()))
    })
}

/// Whether no other policy turns default deny on for them.
fn alone(view: &View<'_>, s: &Signature, policy: PolicyId) -> bool {
    s.sources.iter().all(|e| view.cx.policies.enforcement(*e).is_some_and(|e| e.policy == policy))
}

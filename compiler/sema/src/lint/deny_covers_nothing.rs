//! SEM-8.6: a deny of traffic that default deny stops anyway, because no rule allows any of it.

use super::signatures::peer_bits;
use super::sites::finding;
use super::view::View;
use super::{cover, signatures::Signature};
use crate::row::Fallback;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::DENY_COVERS_NOTHING as CODE;
use portcullis_front::ast::Object;
use portcullis_ir::{Action, Direction, Reserved, Rule, RuleId, Tier};
use std::collections::BTreeMap;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    let mut idle: BTreeMap<RuleId, bool> = BTreeMap::new();
    for s in &view.signatures {
        for (id, r) in s.rules(&view.cx).filter(|(_, r)| r.action == Action::Deny && r.tier == Tier::Normal) {
            let so_far = idle.entry(id).or_insert(true);
            *so_far = *so_far && is_idle(view, s, id, r);
        }
    }
    for site in view.entries.iter().filter(|s| s.action == Action::Deny) {
        let whole =
            site.rules.clone().all(|i| u32::try_from(i).is_ok_and(|i| idle.get(&RuleId(i)) == Some(&true)));
        if whole {
            let object: &Object = site.at.object;
            let message =
                "this deny changes nothing today: no rule allows any of its traffic, and default deny is on";
            let finding = finding(object, CODE, message, site.entry.span).label("denied without it");
            out.push(finding.help("keep it as a guard against later allows, or remove it"));
        }
    }
}

fn is_idle(view: &View<'_>, s: &Signature, id: RuleId, deny: &Rule) -> bool {
    let cx = &view.cx;
    if s.fallback.is_none_or(|f| f == Fallback::Open) || deny.ports.is_none() {
        return false;
    }
    let Some(peers) = peer_bits(cx, id).filter(|p| !p.is_clear()) else { return false };
    let host = cx.evaluation.universe.reserved(Reserved::Host);
    if s.direction == Direction::Ingress
        && cx.options.allow_localhost
        && host.is_some_and(|h| peers.contains(h.index()))
    {
        return false;
    }
    let mut allows = 0;
    let met = s.rules(cx).filter(|(_, r)| r.action == Action::Allow).any(|(other, r)| {
        let theirs = peer_bits(cx, other).filter(|p| !p.is_clear() && !r.ports.is_none());
        allows += usize::from(theirs.is_some());
        cover::ports_meet(&r.ports, &deny.ports) && theirs.is_some_and(|p| !p.is_disjoint(peers))
    });
    // Where nothing is allowed at all, it is this rule that turned default deny on: said elsewhere.
    !met && allows > 0
}

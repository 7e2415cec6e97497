//! SEM-8.6, SEM-6.3: an allow whose peers and ports a deny takes in whole, for everyone it selects.

use super::cover;
use super::signatures::{Signature, peer_bits};
use super::view::View;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::ALLOW_SHADOWED as CODE;
use portcullis_ir::{Action, Rule, RuleId, Tier};
use std::collections::BTreeMap;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    let mut by: BTreeMap<RuleId, Option<RuleId>> = BTreeMap::new();
    for s in &view.signatures {
        if s.rules(&view.cx).all(|(_, r)| r.action != Action::Deny || r.tier == Tier::Baseline) {
            for id in &s.rules {
                by.insert(*id, None);
            }
            continue;
        }
        for (id, r) in s.rules(&view.cx).filter(|(_, r)| r.action == Action::Allow && r.tier == Tier::Normal)
        {
            let so_far = by.get(&id).copied();
            if so_far != Some(None) {
                let found = shadow(view, s, id, r);
                by.insert(id, found.map(|f| so_far.flatten().unwrap_or(f)));
            }
        }
    }
    for (id, deny) in by.into_iter().filter_map(|(id, d)| d.map(|d| (id, d))) {
        let (Some(rule), Some(other)) = (view.cx.policies.rule(id), view.cx.policies.rule(deny)) else {
            continue;
        };
        let Some(policy) = view.cx.policies.policy(rule.policy) else { continue };
        let (why, help) = if other.tier == Tier::Admin {
            ("the Admin tier is asked first", "let the Admin policy pass this traffic, or deny less")
        } else {
            ("deny wins", "narrow the deny: at one priority it wins against every allow, however exact")
        };
        let message = format!("this allows nothing: {} denies all of it, and {why}", view.policy_name(deny));
        let finding =
            Diagnostic::new(CODE, message, rule.span).object(policy.object.clone()).label("denied whole");
        out.push(finding.also(other.entry, "denies it").help(help));
    }
}

/// A deny that takes in everything `allow` does, for the pods of a signature.
fn shadow(view: &View<'_>, s: &Signature, id: RuleId, allow: &Rule) -> Option<RuleId> {
    let cx = &view.cx;
    if allow.ports.is_none() {
        return None;
    }
    // An Admin rule that lets some of it pass may come before an Admin deny.
    let admin_opens = s.rules(cx).any(|(_, r)| r.tier == Tier::Admin && r.action != Action::Deny);
    let denies = s.rules(cx).filter(|(_, r)| {
        r.action == Action::Deny
            && (r.tier == Tier::Normal || (r.tier == Tier::Admin && !admin_opens))
            && cover::ports(&r.ports, &allow.ports)
    });
    if s.groups.is_empty() {
        return denies
            .filter(|(_, r)| cover::peers(cx.policies, &r.peers, &allow.peers))
            .map(|(d, _)| d)
            .next();
    }
    let mut left = peer_bits(cx, id).filter(|p| !p.is_clear())?.clone();
    let mut first = None;
    for (deny, _) in denies {
        let Some(taken) = peer_bits(cx, deny) else { continue };
        if !left.is_disjoint(taken) {
            first = first.or(Some(deny));
            left.difference_with(taken);
        }
        if left.is_clear() {
            return first;
        }
    }
    None
}

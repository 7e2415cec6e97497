//! SEM-9.1: an endpoint's policy needs more entries than Cilium's policy map holds.

use super::view::View;
use super::words::few;
use crate::policymap::{LIMIT, MAXIMUM, PolicyMaps, Share};
use crate::universe::NodeId;
use portcullis_diag::codes::tables::POLICY_MAP_FULL as CODE;
use portcullis_diag::{Diagnostic, Span};
use portcullis_ir::{Rule, RuleId};
use std::collections::{BTreeMap, HashSet};

/// Rules that are pointed at.
const RULES: usize = 3;

/// Maps whose largest share is one rule's.
#[derive(Default)]
struct Full {
    /// Entries of the largest map.
    entries: usize,
    /// The largest shares of that map.
    shares: Vec<Share>,
    /// The endpoints of all.
    groups: Vec<NodeId>,
}

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    let cx = &view.cx;
    let reviewed: HashSet<Span> = cx.objects.iter().map(|o| o.meta.name.span).collect();
    let is_reviewed = |r: &Rule| cx.policies.policy(r.policy).is_some_and(|p| reviewed.contains(&p.span));
    let maps = PolicyMaps::new(cx.evaluation);
    let mut by_rule: BTreeMap<RuleId, Full> = BTreeMap::new();
    // The largest come first, so the first of a rule is its largest.
    for map in maps.maps(None).into_iter().take_while(|m| m.entries > LIMIT) {
        let Some(first) = map.groups.first() else { continue };
        let shares = maps.shares(*first);
        let mut own = shares.iter().filter(|s| cx.policies.rule(s.rule).is_some_and(is_reviewed));
        let Some(worst) = own.next() else { continue };
        let full = by_rule.entry(worst.rule).or_default();
        if full.groups.is_empty() {
            full.entries = map.entries;
            full.shares = std::iter::once(*worst).chain(own.copied()).take(RULES).collect();
        }
        full.groups.extend(map.groups);
    }
    for full in by_rule.into_values() {
        let Some((worst, others)) = full.shares.split_first() else { continue };
        let Some(rule) = cx.policies.rule(worst.rule) else { continue };
        let whom = few(&view.workloads(&full.groups));
        let entries = full.entries;
        let mut finding = Diagnostic::new(
            CODE,
            format!(
                "Cilium cannot apply the policy of {whom}: it takes {entries} policy map entries, and a map \
                 holds {LIMIT}"
            ),
            rule.span,
        )
        .label(format!("asks for {} of them", worst.entries));
        for share in others {
            if let Some(rule) = cx.policies.rule(share.rule) {
                finding = finding.also(rule.span, format!("asks for {}", share.entries));
            }
        }
        if let Some(policy) = cx.policies.policy(rule.policy) {
            finding = finding.object(policy.object.clone());
        }
        let way = if entries > MAXIMUM {
            format!("select fewer peers, name fewer ports and protocols: no map can hold more than {MAXIMUM}")
        } else {
            format!(
                "select fewer peers, name fewer ports and protocols, or raise `bpf-policy-map-max` (at most {MAXIMUM})"
            )
        };
        out.push(finding.help(way));
    }
}

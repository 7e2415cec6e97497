//! Whose default changes: the first policy that selects a pod switches it to default deny.

use super::cause::{Source, policy_ref};
use super::changes::{Changes, SideKey};
use super::model::{FindingKind, Transition};
use super::{BASE, HEAD};
use crate::describe::Describer;
use crate::row::Fallback;
use crate::side::Evaluation;
use crate::universe::NodeId;
use fixedbitset::FixedBitSet;
use portcullis_ir::{Direction, EnforcementId};
use std::collections::BTreeMap;

/// What makes endpoints one transition: direction, on or off, and the enforcements behind it.
type Key = (Direction, bool, Vec<EnforcementId>);

/// Finds every transition, largest first.
pub(super) fn find(e: &Evaluation<'_>, describer: &Describer<'_>, changes: &Changes) -> Vec<Transition> {
    let mut groups: BTreeMap<Key, FixedBitSet> = BTreeMap::new();
    for d in Direction::BOTH {
        for (id, g) in e.universe.groups() {
            if !g.on.iter().all(Option::is_some) {
                continue;
            }
            let (before, after) = (denies(e, BASE, d, id), denies(e, HEAD, d, id));
            if before != after {
                let side = if after { HEAD } else { BASE };
                groups
                    .entry((d, after, e.default_deny(side, d, id).to_vec()))
                    .or_insert_with(|| FixedBitSet::with_capacity(e.universe.len()))
                    .insert(id.index());
            }
        }
    }
    let mut out: Vec<Transition> = groups
        .into_iter()
        .map(|((direction, on, ids), bits)| {
            let side = if on { HEAD } else { BASE };
            let set = e.sides.get(side).map(|s| s.input.policies);
            let by = ids.iter().filter_map(|id| set.and_then(|s| policy_ref(s, *id))).collect();
            let (flows, peers) = decided(e, changes, direction, on, &bits);
            Transition {
                direction,
                on,
                endpoints: describer.group(&bits),
                by,
                flows,
                cut_off: if peers.is_clear() { String::new() } else { describer.group(&peers).summary },
            }
        })
        .collect();
    out.sort_by_key(|t| (!t.on, std::cmp::Reverse(t.endpoints.pods), t.direction));
    out
}

fn denies(e: &Evaluation<'_>, side: usize, d: Direction, id: NodeId) -> bool {
    e.class(side, d, id)
        .and_then(|c| e.classes.get(c))
        .is_some_and(|c| c.fallback == Fallback::DefaultDeny)
}

/// Flows that this default decides, and their peers.
fn decided(
    e: &Evaluation<'_>,
    changes: &Changes,
    d: Direction,
    on: bool,
    subjects: &FixedBitSet,
) -> (u64, FixedBitSet) {
    let wanted = if on { FindingKind::Denied } else { FindingKind::Allowed };
    let mut peers_all = FixedBitSet::with_capacity(e.universe.len());
    let mut flows = 0;
    for (key, (_, hits)) in &changes.found {
        let side = match d {
            Direction::Ingress => &key.ingress,
            Direction::Egress => &key.egress,
        };
        let SideKey::Differs(change) = side else { continue };
        let source = if on { &change.sources.1 } else { &change.sources.0 };
        if key.kind != wanted || key.found != d || !matches!(source, Source::DefaultDeny(_)) {
            continue;
        }
        for ((subject, _), peers) in hits {
            if subjects.contains(subject.index()) {
                peers_all.union_with(peers);
                let ends = |n: usize| {
                    e.universe.group(super::changes::node(n)).map_or(1, |g| g.workloads.len() as u64)
                };
                flows += ends(subject.index()) * peers.ones().map(ends).sum::<u64>();
            }
        }
    }
    (flows, peers_all)
}

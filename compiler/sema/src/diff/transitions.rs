//! Whose default changes: the first policy that selects a pod switches it to default deny.

use super::cause::{Source, policy_ref};
use super::changes::{Changes, Key as ChangeKey, SideKey};
use super::findings::Gathered;
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
pub(super) fn find(
    e: &Evaluation<'_>,
    describer: &Describer<'_>,
    changes: &Changes,
    gathered: &[Gathered<'_>],
) -> Vec<Transition> {
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
            let mine = |key: &ChangeKey| decided_by_default(key, direction, on);
            let flows = gathered
                .iter()
                .filter(|g| mine(g.key) && !g.subjects.is_disjoint(&bits))
                .map(|g| g.finding.flows)
                .sum();
            let (wholly, partly) = peers(e, changes, &mine, &bits);
            let words = |bits: &FixedBitSet| {
                if bits.is_clear() { String::new() } else { describer.group(bits).summary }
            };
            Transition {
                direction,
                on,
                endpoints: describer.group(&bits),
                by,
                flows,
                cut_off: words(&wholly),
                cut_off_partly: words(&partly),
            }
        })
        .collect();
    out.sort_by_key(|t| (!t.on, std::cmp::Reverse(t.endpoints.pods), t.direction));
    out
}

fn denies(e: &Evaluation<'_>, side: usize, d: Direction, id: NodeId) -> bool {
    e.class(side, d, id).and_then(|c| e.classes.get(c)).is_some_and(|c| c.fallback == Fallback::DefaultDeny)
}

/// Whether a change is denied (or allowed) because of the default itself, seen from its subject.
fn decided_by_default(key: &ChangeKey, d: Direction, on: bool) -> bool {
    let wanted = if on { FindingKind::Denied } else { FindingKind::Allowed };
    let side = match d {
        Direction::Ingress => &key.ingress,
        Direction::Egress => &key.egress,
    };
    let SideKey::Differs(change) = side else { return false };
    let source = if on { &change.sources.1 } else { &change.sources.0 };
    key.kind == wanted && key.found == d && matches!(source, Source::DefaultDeny(_))
}

/// Peers of the decided flows: those with which every port changes, and the others.
fn peers(
    e: &Evaluation<'_>,
    changes: &Changes,
    mine: &dyn Fn(&ChangeKey) -> bool,
    subjects: &FixedBitSet,
) -> (FixedBitSet, FixedBitSet) {
    let mut wholly = FixedBitSet::with_capacity(e.universe.len());
    let mut partly = wholly.clone();
    for (_, (_, hits)) in changes.found.iter().filter(|(key, _)| mine(key)) {
        for ((subject, ports), peers) in hits {
            if subjects.contains(subject.index()) {
                let all = ports.complement().is_empty();
                let list = if all { &mut wholly } else { &mut partly };
                let single = e.universe.group(*subject).is_some_and(|g| g.pods == 1);
                let among = list.contains(subject.index());
                list.union_with(peers);
                if single && !among {
                    // A pod reaching itself passes (SEM-7.2).
                    list.set(subject.index(), false);
                }
            }
        }
    }
    wholly.difference_with(&partly);
    (wholly, partly)
}

//! Groups of pods that the same rules select: what a lint about the effect of rules walks.
//!
//! Where no pod is known, the rules of one selector stand for the pods it would select.

use super::Context;
use crate::row::{Fallback, Meaning};
use crate::side::slot;
use crate::universe::NodeId;
use fixedbitset::FixedBitSet;
use portcullis_ir::{Direction, EnforcementId, Rule, RuleId, Subject};
use std::collections::{BTreeMap, HashMap};

/// Pods that the same rules select in one direction.
pub(super) struct Signature {
    /// The direction.
    pub(super) direction: Direction,
    /// Every rule that selects them, in order.
    pub(super) rules: Vec<RuleId>,
    /// Enforcements that turn default deny on for them.
    pub(super) sources: Vec<EnforcementId>,
    /// What decides where no rule does; `None` where no pod is known.
    pub(super) fallback: Option<Fallback>,
    /// Groups of pods; empty where no pod is known.
    pub(super) groups: Vec<NodeId>,
}

/// The signatures of all pods, in order of direction and of their first pod.
pub(super) fn all(cx: &Context<'_>) -> Vec<Signature> {
    if cx.has_cluster { of_pods(cx) } else { of_subjects(cx) }
}

/// What makes a signature within a direction.
type Key<'e> = (&'e [RuleId], &'e [EnforcementId], Option<Fallback>);

fn of_pods(cx: &Context<'_>) -> Vec<Signature> {
    let e = cx.evaluation;
    let Some(side) = e.sides.first() else { return Vec::new() };
    let mut out: Vec<Signature> = Vec::new();
    for direction in Direction::BOTH {
        let mut index: HashMap<Key<'_>, usize> = HashMap::new();
        let lists = side.rules_of.get(slot(direction));
        for (id, _) in e.universe.groups() {
            let rules = lists.and_then(|l| l.get(id.index())).map_or(&[][..], Vec::as_slice);
            if rules.is_empty() {
                continue;
            }
            let sources = e.default_deny(0, direction, id);
            let fallback = e.class(0, direction, id).and_then(|c| e.classes.get(c)).map(|c| c.fallback);
            let at = *index.entry((rules, sources, fallback)).or_insert_with(|| {
                out.push(Signature {
                    direction,
                    rules: rules.to_vec(),
                    sources: sources.to_vec(),
                    fallback,
                    groups: Vec::new(),
                });
                out.len() - 1
            });
            if let Some(s) = out.get_mut(at) {
                s.groups.push(id);
            }
        }
    }
    out
}

fn of_subjects(cx: &Context<'_>) -> Vec<Signature> {
    let mut by: BTreeMap<(Direction, Subject), Signature> = BTreeMap::new();
    let empty = |direction| Signature {
        direction,
        rules: Vec::new(),
        sources: Vec::new(),
        fallback: None,
        groups: Vec::new(),
    };
    for (id, r) in cx.policies.rules() {
        by.entry((r.direction, r.subject)).or_insert_with(|| empty(r.direction)).rules.push(id);
    }
    for (id, e) in cx.policies.enforcements() {
        if e.default_deny
            && let Some(s) = by.get_mut(&(e.direction, e.subject))
        {
            s.sources.push(id);
        }
    }
    by.into_values().collect()
}

impl Signature {
    /// Its rules.
    pub(super) fn rules<'a>(&'a self, cx: &Context<'a>) -> impl Iterator<Item = (RuleId, &'a Rule)> {
        let policies = cx.policies;
        self.rules.iter().filter_map(move |id| policies.rule(*id).map(|r| (*id, r)))
    }
}

/// What the engine made of a rule.
pub(super) fn meaning<'a>(cx: &Context<'a>, id: RuleId) -> Option<&'a Meaning> {
    let at = cx.evaluation.sides.first()?.meaning_of.get(id.0 as usize)?;
    cx.evaluation.meanings.get(*at)
}

/// The peers that a rule takes in.
pub(super) fn peer_bits<'a>(cx: &Context<'a>, id: RuleId) -> Option<&'a FixedBitSet> {
    cx.evaluation.peer_sets.get(meaning(cx, id)?.peers)
}

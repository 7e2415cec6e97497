//! Policies that an addition can go into.

use crate::Task;
use portcullis_diag::Span;
use portcullis_front::ast::{Body, Object, Subject};
use portcullis_ir::{Direction, IdentityId, PolicyId};
use portcullis_sema::cells::Cells;
use portcullis_sema::universe::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// How a policy writes peers and ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dialect {
    /// CiliumNetworkPolicy.
    Cilium,
    /// CiliumClusterwideNetworkPolicy.
    Clusterwide,
    /// NetworkPolicy.
    Kubernetes,
}

/// A rule with a list of allows in one direction, or with room for one.
#[derive(Clone, Debug)]
pub(crate) struct Host<'a> {
    pub(crate) object: &'a Object,
    /// The mapping that the list stands in.
    pub(crate) rule: Span,
    pub(crate) dialect: Dialect,
    pub(crate) direction: Direction,
    /// Whom it selects.
    pub(crate) subjects: BTreeSet<IdentityId>,
    /// It turns default deny on, or at least has a section, in the direction.
    pub(crate) enforced: bool,
}

/// Every host among the policies whose files can be edited.
pub(crate) fn list<'a>(task: &Task<'a>, cells: &Cells<'_, '_>) -> Vec<Host<'a>> {
    let set = task.input.policies;
    let by_name: BTreeMap<Span, PolicyId> =
        (0u32..).map(PolicyId).zip(&set.policies).map(|(id, p)| (p.span, id)).collect();
    let mut enforcements: BTreeMap<PolicyId, Vec<&portcullis_ir::Enforcement>> = BTreeMap::new();
    for e in &set.enforcements {
        enforcements.entry(e.policy).or_default().push(e);
    }
    let mut out = Vec::new();
    for object in task.objects {
        // An object that another one replaces takes no part.
        let Some(policy) = by_name.get(&object.meta.name.span) else { continue };
        if !task.editable.contains(&object.span.file) {
            continue;
        }
        let mine = enforcements.get(policy).map(Vec::as_slice).unwrap_or_default();
        let rules: Vec<(Span, Dialect)> = match &object.body {
            Body::Cilium(p) => {
                let dialect = if p.clusterwide { Dialect::Clusterwide } else { Dialect::Cilium };
                let pods = p.rules.iter().filter(|r| matches!(r.subject, Subject::Endpoints(_)));
                pods.map(|r| (r.span, dialect)).collect()
            }
            // One without a spec has no place for a list.
            Body::Network(p) if p.span != object.span => vec![(p.span, Dialect::Kubernetes)],
            _ => Vec::new(),
        };
        for (rule, dialect) in rules {
            let inside = |s: Span| s.start >= rule.start && s.end <= rule.end;
            let here: Vec<_> = mine.iter().filter(|e| inside(e.span)).collect();
            let Some(subject) = here.first().map(|e| e.subject) else { continue };
            let portcullis_ir::Subject::Endpoints(selector) = subject else { continue };
            let subjects = selected(cells, selector);
            for direction in Direction::BOTH {
                let enforced = here.iter().any(|e| e.direction == direction);
                // A new section turns default deny on: only where it is on already, and not where `policyTypes` has to
                // follow.
                let can = enforced || (dialect != Dialect::Kubernetes && closed(cells, direction, &subjects));
                if can && !subjects.is_empty() {
                    let subjects = subjects.clone();
                    out.push(Host { object, rule, dialect, direction, subjects, enforced });
                }
            }
        }
    }
    out
}

fn selected(cells: &Cells<'_, '_>, selector: u32) -> BTreeSet<IdentityId> {
    let e = cells.evaluation;
    let bits = e.sides.first().and_then(|s| s.subjects.get(selector as usize));
    let groups = bits.into_iter().flat_map(|b| b.ones());
    groups
        .filter_map(|g| e.universe.group(NodeId(u32::try_from(g).ok()?)))
        .filter_map(|g| g.on.first().copied().flatten())
        .map(|(identity, _)| identity)
        .collect()
}

/// Whether default deny is on for all of them.
fn closed(cells: &Cells<'_, '_>, direction: Direction, subjects: &BTreeSet<IdentityId>) -> bool {
    let e = cells.evaluation;
    e.universe.groups().all(|(id, g)| {
        let mine = g.on.first().copied().flatten().is_some_and(|(i, _)| subjects.contains(&i));
        !mine || !e.default_deny(0, direction, id).is_empty()
    })
}

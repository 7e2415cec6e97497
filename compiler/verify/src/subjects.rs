//! Endpoints that the same rules and enforcements select: each selector is asked about each group.

use crate::peers::asks_for_names;
use fixedbitset::FixedBitSet;
use portcullis_ir::cluster::PortTableId;
use portcullis_ir::{Direction, EndpointId, EnforcementId, RuleId, Subject};
use portcullis_oracle::Oracle;
use portcullis_sema::universe::{NodeId, Universe};
use portcullis_tables::{Image, ImageError};
use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeSet;

/// Endpoints in one direction that the oracle cannot tell apart and the image does not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) direction: Direction,
    /// The image's subject class.
    pub(crate) image: Result<usize, ImageError>,
    /// Rules that select it.
    pub(crate) rules: Vec<RuleId>,
    /// Enforcements that turn default deny on.
    pub(crate) denying: Vec<EnforcementId>,
    /// Default deny is on with no policy's help (SEM-5.7).
    pub(crate) always: bool,
    /// Its own named ports, where one of its ingress rules asks for a port by name.
    pub(crate) ports: Option<PortTableId>,
}

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct SubjectCase {
    pub(crate) key: Key,
    /// The first group.
    pub(crate) node: NodeId,
    /// An endpoint of it.
    pub(crate) endpoint: EndpointId,
}

/// Every endpoint, both directions; only groups that are wanted or that the image answers for.
pub(crate) fn subjects(
    oracle: &Oracle<'_>,
    universe: &Universe,
    image: &Image<'_>,
    wanted: Option<&FixedBitSet>,
) -> Vec<SubjectCase> {
    let policies = oracle.policies;
    let groups: Vec<(NodeId, EndpointId, PortTableId)> = universe
        .groups()
        .filter_map(|(id, g)| {
            let (_, table) = g.on.first().copied().flatten()?;
            Some((id, g.example.first().copied().flatten()?, table))
        })
        .collect();
    let distinct: BTreeSet<Subject> = policies
        .rules
        .iter()
        .map(|r| r.subject)
        .chain(policies.enforcements.iter().map(|e| e.subject))
        .collect();
    let distinct: Vec<Subject> = distinct.into_iter().collect();
    // By endpoint, so that its labels stay at hand while every selector is asked about them.
    let selecting: Vec<Vec<Subject>> = groups
        .par_iter()
        .map(|(_, endpoint, _)| distinct.iter().copied().filter(|s| oracle.selects(*s, *endpoint)).collect())
        .collect();
    let mut selected: FxHashMap<Subject, Vec<u32>> = FxHashMap::default();
    for (at, subjects) in (0u32..).zip(selecting) {
        for s in subjects {
            selected.entry(s).or_default().push(at);
        }
    }
    let of = |s: &Subject| selected.get(s).map_or(&[][..], Vec::as_slice);
    let mut out = Vec::new();
    for direction in Direction::BOTH {
        let mut rules: Vec<Vec<RuleId>> = vec![Vec::new(); groups.len()];
        let mut named = vec![false; groups.len()];
        for (id, r) in policies.rules().filter(|(_, r)| r.direction == direction) {
            for at in of(&r.subject) {
                if let (Some(list), Some(named)) = (rules.get_mut(*at as usize), named.get_mut(*at as usize))
                {
                    list.push(id);
                    *named |= direction == Direction::Ingress && asks_for_names(&r.ports);
                }
            }
        }
        let mut denying: Vec<Vec<EnforcementId>> = vec![Vec::new(); groups.len()];
        for (id, e) in policies.enforcements().filter(|(_, e)| e.direction == direction && e.default_deny) {
            for at in of(&e.subject) {
                denying.get_mut(*at as usize).into_iter().for_each(|list| list.push(id));
            }
        }
        let mut known: FxHashSet<Key> = FxHashSet::default();
        for ((((node, endpoint, table), rules), denying), named) in
            groups.iter().copied().zip(rules).zip(denying).zip(named)
        {
            let image = image.subject(node.0, direction);
            let left_out = wanted.is_some_and(|w| !w.contains(node.index()));
            if left_out && image == Err(ImageError::NoSubject) {
                continue;
            }
            let key = Key {
                direction,
                image,
                rules,
                denying,
                always: oracle.always_enforced(endpoint),
                ports: named.then_some(table),
            };
            if known.insert(key.clone()) {
                out.push(SubjectCase { key, node, endpoint });
            }
        }
    }
    out
}

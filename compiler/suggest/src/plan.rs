//! Which policy gets what: the narrowest one whose pods need it, or a new one.
//!
//! An addition to a policy is for every pod that the policy selects. Where more of its workloads would get what they
//! were not seen to need than do need it, the policy is left alone.

use crate::Task;
use crate::entry::can_say;
use crate::gaps::{Gaps, Needs, Nodes, Peer};
use crate::hosts::{Dialect, Host};
use crate::pick::Picker;
use portcullis_ir::{Direction, IdentityId, Verdict};
use portcullis_sema::cells::Cells;
use portcullis_sema::ports::{PortSet, flow_port};
use std::collections::{BTreeMap, BTreeSet};

/// What is to be added where.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// By host.
    pub(crate) hosts: BTreeMap<usize, Needs>,
    /// For new policies: by namespace and subjects, what each direction needs.
    pub(crate) new: BTreeMap<(String, BTreeSet<IdentityId>), BTreeMap<Direction, Needs>>,
}

type All = BTreeMap<(Direction, IdentityId), Needs>;

/// What subjects of one new policy share: direction, namespace and needs.
type Alike = (Direction, String, Vec<(Peer, PortSet)>);

/// See the module documentation.
pub(crate) fn make(
    task: &Task<'_>,
    cells: &Cells<'_, '_>,
    nodes: &Nodes,
    picker: &Picker<'_>,
    gaps: &Gaps,
    hosts: &[Host<'_>],
) -> Plan {
    let mut left = if task.exact { gaps.needs.clone() } else { whole_workloads(picker, &gaps.needs) };
    let mut out = Plan::default();
    let workloads = |ids: &BTreeSet<IdentityId>| -> usize {
        ids.iter().flat_map(|i| picker.workloads(*i)).collect::<BTreeSet<u32>>().len()
    };
    let mut order: Vec<(usize, &Host<'_>)> = hosts.iter().enumerate().collect();
    order.sort_by_cached_key(|(_, h)| {
        let touched = task.touched.contains(&h.object.reference());
        (workloads(&h.subjects), !h.enforced, !touched, h.object.reference(), h.rule)
    });
    for (at, host) in order {
        let d = host.direction;
        let here: Vec<IdentityId> =
            host.subjects.iter().copied().filter(|s| left.contains_key(&(d, *s))).collect();
        if here.is_empty() {
            continue;
        }
        let mut taken: Needs = Needs::new();
        for (peer, cut) in atoms(&left, d, &here) {
            for (start, end) in cut {
                if !can_say(host.dialect, &peer, flow_port(start)) {
                    continue;
                }
                let needs = |s: &IdentityId| {
                    left.get(&(d, *s)).and_then(|n| n.get(&peer)).is_some_and(|p| p.contains(start))
                };
                let needing: BTreeSet<IdentityId> = here.iter().copied().filter(needs).collect();
                let wanted: BTreeSet<u32> = needing.iter().flat_map(|i| picker.workloads(*i)).collect();
                let most = if task.exact { 0 } else { wanted.len() };
                let mut extra: BTreeSet<u32> = BTreeSet::new();
                let mut fits = true;
                for s in host.subjects.iter().filter(|s| !needing.contains(s)) {
                    match now(cells, nodes, d, *s, &peer, start) {
                        Now::Allowed => continue,
                        // A plain allow beside it would let every request through (SEM-6.8).
                        Now::ByProxy => {
                            fits = false;
                            break;
                        }
                        Now::Denied => {}
                    }
                    extra.extend(picker.workloads(*s).filter(|w| task.exact || !wanted.contains(w)));
                    if extra.len() > most {
                        fits = false;
                        break;
                    }
                }
                if fits {
                    add(&mut taken, &peer, start, end);
                }
            }
        }
        if taken.is_empty() {
            continue;
        }
        for s in &here {
            if let Some(needs) = left.get_mut(&(d, *s)) {
                for (peer, ports) in &taken {
                    if let Some(mine) = needs.get_mut(peer) {
                        *mine = mine.minus(ports);
                    }
                }
                needs.retain(|_, p| !p.is_empty());
            }
        }
        left.retain(|_, n| !n.is_empty());
        out.hosts.insert(at, taken);
    }
    // What is left needs policies of its own: one for all subjects of a namespace that need the same.
    let mut by_needs: BTreeMap<Alike, BTreeSet<IdentityId>> = BTreeMap::new();
    for ((d, s), needs) in left {
        let key = (d, picker.namespace(s).to_owned(), needs.into_iter().collect());
        by_needs.entry(key).or_default().insert(s);
    }
    for ((d, ns, needs), subjects) in by_needs {
        out.new.entry((ns, subjects)).or_default().insert(d, needs.into_iter().collect());
    }
    out
}

fn add(to: &mut Needs, peer: &Peer, start: u32, end: u32) {
    let ports = to.entry(peer.clone()).or_default();
    *ports = ports.union(&PortSet::new([(start, end)]));
}

/// What any of the subjects needs, cut so that each of them needs all of a stretch or nothing of it.
fn atoms(all: &All, d: Direction, subjects: &[IdentityId]) -> BTreeMap<Peer, Vec<(u32, u32)>> {
    let mut cuts: BTreeMap<Peer, BTreeSet<u32>> = BTreeMap::new();
    let mut union: BTreeMap<Peer, PortSet> = BTreeMap::new();
    for s in subjects {
        for (peer, ports) in all.get(&(d, *s)).into_iter().flatten() {
            let edges = ports.intervals().iter().flat_map(|(a, b)| [*a, *b]);
            cuts.entry(peer.clone()).or_default().extend(edges);
            let whole = union.entry(peer.clone()).or_default();
            *whole = whole.union(ports);
        }
    }
    cuts.into_iter()
        .map(|(peer, cuts)| {
            let ports = union.get(&peer);
            let edges: Vec<u32> = cuts.into_iter().collect();
            let pairs = edges.iter().copied().zip(edges.iter().skip(1).copied());
            let inside = pairs.filter(|(a, _)| ports.is_some_and(|p| p.contains(*a))).collect();
            (peer, inside)
        })
        .collect()
}

/// What a side says now.
enum Now {
    Denied,
    Allowed,
    /// Allowed, and more is asked of it.
    ByProxy,
}

fn now(cells: &Cells<'_, '_>, nodes: &Nodes, d: Direction, subject: IdentityId, peer: &Peer, at: u32) -> Now {
    let (Some(group), Some(node)) = (nodes.group(subject), nodes.peer(peer)) else { return Now::Denied };
    let row = cells.row_of(0, d, group, node);
    match row.as_ref().and_then(|r| r.at(at)) {
        Some(c) if c.verdict == Verdict::Allowed && c.asks().is_some() => Now::ByProxy,
        Some(c) if c.verdict == Verdict::Allowed => Now::Allowed,
        _ => Now::Denied,
    }
}

/// Needs of pods as needs of their workloads, at both ends: the next pod of a rollout has other labels.
fn whole_workloads(picker: &Picker<'_>, needs: &All) -> All {
    let mut members: BTreeMap<u32, BTreeSet<IdentityId>> = BTreeMap::new();
    for id in picker.identities() {
        for w in picker.workloads(id) {
            members.entry(w).or_default().insert(id);
        }
    }
    let siblings = |id: IdentityId| -> BTreeSet<IdentityId> {
        let all = picker.workloads(id).filter_map(|w| members.get(&w)).flatten().copied();
        // Pods of one label set belong together whatever their workload.
        all.chain([id]).collect()
    };
    let mut out = All::new();
    for ((d, s), peers) in needs {
        let mut wide = Needs::new();
        for (peer, ports) in peers {
            let all: Vec<Peer> = match peer {
                Peer::Pods(id) => siblings(*id).into_iter().map(Peer::Pods).collect(),
                other => vec![other.clone()],
            };
            for peer in all {
                let mine = wide.entry(peer).or_default();
                *mine = mine.union(ports);
            }
        }
        for sibling in siblings(*s) {
            let mine = out.entry((*d, sibling)).or_default();
            for (peer, ports) in &wide {
                let known = mine.entry(peer.clone()).or_default();
                *known = known.union(ports);
            }
        }
    }
    out
}

/// Kinds of new policies: those of the neighbours where they can say it.
pub(crate) fn dialect_of_new(
    task: &Task<'_>,
    namespace: &str,
    needs: &BTreeMap<Direction, Needs>,
    closed: bool,
) -> Dialect {
    let of_namespace = |kind: &str| {
        task.objects
            .iter()
            .any(|o| o.kind == kind && o.meta.namespace.as_ref().is_some_and(|n| n.value == namespace))
    };
    let plain = closed
        && needs.values().flatten().all(|(peer, ports)| {
            ports.intervals().iter().all(|(start, _)| can_say(Dialect::Kubernetes, peer, flow_port(*start)))
        });
    if plain && of_namespace("NetworkPolicy") && !of_namespace("CiliumNetworkPolicy") {
        Dialect::Kubernetes
    } else {
        Dialect::Cilium
    }
}

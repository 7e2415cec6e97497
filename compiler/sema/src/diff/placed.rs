//! Single flows: what each side says of them, and the finding that tells of their change.

use super::findings::Gathered;
use super::{BASE, HEAD};
use crate::cells::Cells;
use crate::ports::coordinate;
use crate::universe::{Input, NodeId, NodeKind};
use ipnet::IpNet;
use portcullis_ir::fqdn::Fqdn;
use portcullis_ir::{Direction, FlowPort, PeerRef, PeerTerm, Verdict};
use smol_str::SmolStr;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// A flow to be judged: each end as the base side and the head side know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Who sends.
    pub from: [PeerRef; 2],
    /// Who gets it, after service translation (SEM-7.3).
    pub to: [PeerRef; 2],
    /// What it carries.
    pub port: FlowPort,
}

/// What becomes of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// On the base side.
    pub base: Verdict,
    /// On the head side.
    pub head: Verdict,
    /// The finding that it is part of, by its index in the review's findings.
    pub finding: Option<usize>,
}

fn selectors(inputs: [Input<'_>; 2]) -> BTreeSet<Fqdn> {
    let terms = inputs.into_iter().flat_map(|i| i.policies.peers.iter());
    terms.filter_map(|t| if let PeerTerm::Fqdn(f) = t { Some(f.clone()) } else { None }).collect()
}

/// Addresses of flows that have a name which a policy speaks of: they are judged as what they are, address and names.
/// All others are what their region is.
pub(super) fn addresses(base: Input<'_>, head: Input<'_>, flows: &[Ask]) -> Vec<(IpAddr, Vec<SmolStr>)> {
    let known = selectors([base, head]);
    let ends = flows.iter().flat_map(|f| f.from.iter().chain(&f.to));
    let out: BTreeSet<(IpAddr, Vec<SmolStr>)> = ends
        .filter_map(|p| match p {
            PeerRef::External { ip, names } if names.iter().any(|n| known.iter().any(|f| f.matches(n))) => {
                Some((*ip, names.clone()))
            }
            _ => None,
        })
        .collect();
    out.into_iter().collect()
}

/// Finds the nodes of ends.
struct Places {
    addresses: BTreeMap<(IpAddr, Vec<SmolStr>), NodeId>,
    /// Regions, the longest prefixes first.
    regions: Vec<(IpNet, NodeId)>,
    names: Vec<(BTreeSet<Fqdn>, NodeId)>,
    selectors: BTreeSet<Fqdn>,
}

impl Places {
    fn new(cells: &Cells<'_, '_>) -> Self {
        let e = cells.evaluation;
        let mut out = Self {
            addresses: BTreeMap::new(),
            regions: Vec::new(),
            names: Vec::new(),
            selectors: BTreeSet::new(),
        };
        for (id, node) in e.universe.iter() {
            match node {
                NodeKind::Address(ip, names) => {
                    out.addresses.insert((*ip, names.clone()), id);
                }
                NodeKind::Region(r) => out.regions.push((r.prefix, id)),
                NodeKind::Name(n) => {
                    out.selectors.extend(n.selectors.iter().cloned());
                    out.names.push((n.selectors.iter().cloned().collect(), id));
                }
                NodeKind::Group(_) | NodeKind::Reserved(_) => {}
            }
        }
        out.regions.sort_by_key(|(p, _)| std::cmp::Reverse(p.prefix_len()));
        // The class of most selectors that an address's names meet says most of it.
        out.names.sort_by_key(|(s, _)| std::cmp::Reverse(s.len()));
        out
    }

    /// The node that is asked about an end, and those that findings may name for it.
    fn of(&self, cells: &Cells<'_, '_>, side: usize, peer: &PeerRef) -> Option<(NodeId, Vec<NodeId>)> {
        let PeerRef::External { ip, names } = peer else {
            let node = cells.evaluation.universe.find(side, peer)?;
            return Some((node, vec![node]));
        };
        let region = self.regions.iter().find(|(p, _)| p.contains(ip)).map(|(_, id)| *id);
        let met: BTreeSet<&Fqdn> =
            self.selectors.iter().filter(|f| names.iter().any(|n| f.matches(n))).collect();
        let by_name = self.names.iter().filter(|(s, _)| s.iter().all(|f| met.contains(f))).map(|(_, id)| *id);
        let asked = self.addresses.get(&(*ip, names.clone())).copied().or(region)?;
        Some((asked, by_name.chain(region).collect()))
    }
}

pub(super) fn place(cells: &Cells<'_, '_>, gathered: &[Gathered<'_>], flows: &[Ask]) -> Vec<Told> {
    if flows.is_empty() {
        return Vec::new();
    }
    let places = Places::new(cells);
    // Findings by the direction in which they were found and their subjects.
    let mut by_subject: BTreeMap<(Direction, usize), Vec<usize>> = BTreeMap::new();
    for (at, g) in gathered.iter().enumerate() {
        for subject in g.subjects.ones() {
            by_subject.entry((g.key.found, subject)).or_default().push(at);
        }
    }
    let find = |from: &[NodeId], to: &[NodeId], port: FlowPort| -> Option<usize> {
        let at = coordinate(port);
        for (direction, subjects, peers) in [(Direction::Ingress, to, from), (Direction::Egress, from, to)] {
            for subject in subjects {
                for peer in peers {
                    let found =
                        by_subject.get(&(direction, subject.index())).into_iter().flatten().find(|g| {
                            gathered.get(**g).is_some_and(|g| {
                                g.peers.contains(peer.index()) && g.finding.ports.contains(at)
                            })
                        });
                    if let Some(found) = found {
                        return Some(*found);
                    }
                }
            }
        }
        None
    };
    flows.iter().map(|f| told(cells, &places, f, &find)).collect()
}

/// The finding of a flow, by the nodes that may stand for its ends.
type Find<'f> = dyn Fn(&[NodeId], &[NodeId], FlowPort) -> Option<usize> + 'f;

fn told(cells: &Cells<'_, '_>, places: &Places, f: &Ask, find: &Find<'_>) -> Told {
    let e = cells.evaluation;
    let verdict = |side: usize| -> (Verdict, Option<usize>) {
        let (Some(from), Some(to)) = (f.from.get(side), f.to.get(side)) else {
            return (Verdict::Allowed, None);
        };
        let one_pod = |p: &PeerRef| match (p, e.sides.get(side)) {
            (PeerRef::Endpoint(id), Some(s)) => s.input.cluster.endpoint(*id).is_some_and(|e| e.pods == 1),
            _ => false,
        };
        // SEM-7.2.
        if from == to && one_pod(from) {
            return (Verdict::Allowed, None);
        }
        let (Some((a, near)), Some((b, far))) = (places.of(cells, side, from), places.of(cells, side, to))
        else {
            return (Verdict::Allowed, None);
        };
        // SEM-7.1; an end that is no pod has no policy.
        let denied = |d: Direction, subject: NodeId, peer: NodeId| {
            subject.index() < e.universe.groups
                && cells.verdict(side, d, subject, peer, f.port) == Some(Verdict::Denied)
        };
        let denied = denied(Direction::Egress, a, b) || denied(Direction::Ingress, b, a);
        let finding = if side == HEAD { find(&near, &far, f.port) } else { None };
        (if denied { Verdict::Denied } else { Verdict::Allowed }, finding)
    };
    let (base, _) = verdict(BASE);
    let (head, finding) = verdict(HEAD);
    Told { base, head, finding }
}

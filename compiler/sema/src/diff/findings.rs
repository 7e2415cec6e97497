//! Changes gathered into findings: subjects with the same peers, ports and cause are one group.

use super::advice;
use super::cause::{side_verdict, source};
use super::changes::{Changes, Key, Sample, node};
use super::model::{Example, Finding, FindingKind, PolicyChanges, SideChange, Totals};
use super::{BASE, HEAD};
use crate::describe::{Describer, PeerGroup};
use crate::ports::PortSet;
use crate::row::Cell;
use crate::side::Evaluation;
use crate::universe::{NodeId, NodeKind};
use fixedbitset::FixedBitSet;
use portcullis_ir::{Direction, FlowPort, L4, Workload};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// A finding with the nodes behind it.
#[derive(Debug)]
pub(super) struct Gathered<'c> {
    pub(super) finding: Finding,
    pub(super) key: &'c Key,
    pub(super) subjects: FixedBitSet,
    pub(super) peers: FixedBitSet,
}

/// Gathers, ranks and counts.
pub(super) fn gather<'c>(
    e: &Evaluation<'_>,
    describer: &Describer<'_>,
    changes: &'c Changes,
    policies: &PolicyChanges,
) -> (Vec<Gathered<'c>>, Totals) {
    let mut all: Vec<Gathered<'c>> = Vec::new();
    let declared = declared(e);
    for (key, (sample, hits)) in &changes.found {
        // Subjects with the same peers on the same ports.
        let mut groups: BTreeMap<(&PortSet, Vec<usize>), FixedBitSet> = BTreeMap::new();
        for ((subject, ports), peers) in hits {
            // A single pod among its own peers stays there: it must not make them another set.
            groups
                .entry((ports, peers.ones().collect()))
                .or_insert_with(|| FixedBitSet::with_capacity(e.universe.len()))
                .insert(subject.index());
        }
        for ((ports, peers), subjects) in groups {
            let made =
                finding(e, describer, policies, &declared, key, sample, ports, &subjects, &peers, hits);
            let mut bits = FixedBitSet::with_capacity(e.universe.len());
            bits.extend(peers);
            all.extend(made.map(|finding| Gathered { finding, key, subjects, peers: bits }));
        }
    }
    all.sort_by(|a, b| rank(&a.finding).cmp(&rank(&b.finding)));
    let totals = totals(&all);
    (all, totals)
}

/// Kinds in their order; within a kind most pods first; then by name, so that the order is total.
fn rank(f: &Finding) -> (FindingKind, Reverse<u64>, Reverse<u64>, &str, &str, &PortSet) {
    (f.kind, Reverse(f.pods), Reverse(f.flows), &f.destinations.summary, &f.sources.summary, &f.ports)
}

/// The ports that containers of each group declare on the last side.
fn declared(e: &Evaluation<'_>) -> Vec<BTreeSet<(L4, u16)>> {
    let mut out = vec![BTreeSet::new(); e.universe.groups];
    if let (Some(side), Some(group_of)) = (e.sides.last(), e.universe.group_of.last()) {
        let mut seen: BTreeSet<(u32, u32)> = BTreeSet::new();
        for (endpoint, group) in side.input.cluster.endpoints.iter().zip(group_of) {
            if seen.insert((*group, endpoint.declared))
                && let Some(set) = out.get_mut(*group as usize)
            {
                set.extend(side.input.cluster.declared(endpoint));
            }
        }
    }
    out
}

fn is_single(e: &Evaluation<'_>, id: NodeId) -> bool {
    e.universe.group(id).is_some_and(|g| g.pods == 1)
}

#[expect(clippy::too_many_arguments, reason = "one call, each argument a different thing")]
fn finding(
    e: &Evaluation<'_>,
    describer: &Describer<'_>,
    policies: &PolicyChanges,
    declared: &[BTreeSet<(L4, u16)>],
    key: &Key,
    sample: &Sample,
    ports: &PortSet,
    subjects: &FixedBitSet,
    peers: &[usize],
    hits: &BTreeMap<(NodeId, PortSet), FixedBitSet>,
) -> Option<Finding> {
    let mut peer_bits = FixedBitSet::with_capacity(e.universe.len());
    peer_bits.extend(peers.iter().copied());
    let first = subjects.minimum().map(node)?;
    if subjects.count_ones(..) == 1 && is_single(e, first) {
        // A pod reaching itself is no flow that policy decides (SEM-7.2).
        peer_bits.set(first.index(), false);
    }
    let real = hits.get(&(first, ports.clone()))?;
    let peer = real.ones().map(node).find(|p| *p != first || !is_single(e, first));
    let peer = peer.or_else(|| peer_bits.minimum().map(node))?;
    let subject_group = describer.group(subjects);
    let peer_group = describer.group(&peer_bits);
    let flows = flows(&subject_group, &peer_group);
    if flows == 0 {
        return None;
    }
    let pods = union_pods(e, subjects, &peer_bits);
    let near = side(e, key.found, first, &sample.near, sample.subject);
    let far = sample.far.as_ref().map(|cells| side(e, key.found.other(), peer, cells, sample.peer));
    let (sources, destinations, ingress, egress, from, to) = match key.found {
        Direction::Ingress => (peer_group, subject_group, Some(near), far, peer, first),
        Direction::Egress => (subject_group, peer_group, far, Some(near), first, peer),
    };
    let receivers = match key.found {
        Direction::Ingress => subjects,
        Direction::Egress => &peer_bits,
    };
    let declared = PortSet::new(
        receivers
            .ones()
            .filter_map(|n| declared.get(n))
            .flatten()
            .map(|(l4, port)| crate::ports::range(*l4, *port, *port)),
    )
    .intersect(ports);
    let mut finding = Finding {
        kind: key.kind,
        sources,
        destinations,
        ports: ports.clone(),
        egress,
        ingress,
        flows,
        pods,
        example: Example {
            from: end(e, from),
            to: end(e, to),
            port: example_port(ports, &declared).map(port_text).unwrap_or_default(),
        },
        declared,
        help: String::new(),
        patch: String::new(),
    };
    let advice = advice::advise(e, &finding, policies);
    finding.help = advice.0;
    finding.patch = advice.1;
    Some(finding)
}

/// A side before and after. The cells are those of the sample's subject; a group's own places are
/// looked up where it is another one.
fn side(
    e: &Evaluation<'_>,
    d: Direction,
    subject: NodeId,
    cells: &(Cell, Cell),
    sampled: NodeId,
) -> SideChange {
    let at = if e.class(HEAD, d, subject) == e.class(HEAD, d, sampled) { subject } else { sampled };
    let verdict = |side: usize, cell: &Cell| side_verdict(e, side, cell, &source(e, side, d, at, cell));
    SideChange { direction: d, base: verdict(BASE, &cells.0), head: verdict(HEAD, &cells.1) }
}

/// Pairs of a source and a destination; a workload of one pod is no pair with itself.
fn flows(a: &PeerGroup, b: &PeerGroup) -> u64 {
    let own: BTreeSet<&Workload> =
        a.workloads.iter().filter(|(_, pods)| *pods <= 1).map(|(w, _)| w).collect();
    let selves = b.workloads.iter().filter(|(w, pods)| *pods <= 1 && own.contains(w)).count() as u64;
    (a.ends() * b.ends()).saturating_sub(selves)
}

fn union_pods(e: &Evaluation<'_>, a: &FixedBitSet, b: &FixedBitSet) -> u64 {
    a.union(b).filter_map(|n| e.universe.group(node(n))).map(|g| u64::from(g.pods)).sum()
}

/// One end as `explain` takes it.
pub(super) fn end(e: &Evaluation<'_>, id: NodeId) -> String {
    match e.universe.node(id) {
        Some(NodeKind::Group(g)) => {
            g.workloads.first().map(|(w, _)| format!("{}/{}", w.namespace, w.name)).unwrap_or_default()
        }
        Some(NodeKind::Reserved(r)) => format!("entity:{}", r.name()),
        Some(NodeKind::Region(r)) => r.example.to_string(),
        Some(NodeKind::Name(n)) => n.example.to_string(),
        Some(NodeKind::Address(ip, _)) => ip.to_string(),
        None => String::new(),
    }
}

/// What `explain --port` takes.
fn port_text(p: FlowPort) -> String {
    match p {
        FlowPort::L4(l4, n) => format!("{n}/{}", l4.name()),
        FlowPort::Icmp(false, t) => format!("{t}/ICMP"),
        FlowPort::Icmp(true, t) => format!("{t}/ICMPv6"),
        FlowPort::Protocol(n) => format!("0/{n}"),
    }
}

/// A port that the receiver listens on, if it declares one of those that change.
fn example_port(ports: &PortSet, declared: &PortSet) -> Option<FlowPort> {
    declared.intervals().first().map(|(start, _)| crate::ports::flow_port(*start)).or_else(|| ports.example())
}

fn totals(all: &[Gathered<'_>]) -> Totals {
    let findings: Vec<&Finding> = all.iter().map(|g| &g.finding).collect();
    let mut t = Totals::default();
    let ends = |kind: FindingKind| -> u64 {
        let all: BTreeSet<&Workload> = findings
            .iter()
            .filter(|f| f.kind == kind)
            .flat_map(|f| f.sources.workloads.iter().chain(&f.destinations.workloads))
            .map(|(w, _)| w)
            .collect();
        all.len() as u64
    };
    let flows = |kind: FindingKind| findings.iter().filter(|f| f.kind == kind).map(|f| f.flows).sum();
    t.denied = flows(FindingKind::Denied);
    t.allowed = flows(FindingKind::Allowed);
    t.l7 = flows(FindingKind::L7);
    t.denied_workloads = ends(FindingKind::Denied);
    t.allowed_workloads = ends(FindingKind::Allowed);
    t.l7_workloads = ends(FindingKind::L7);
    t
}

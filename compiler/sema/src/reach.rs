//! Who can talk to whom.
//!
//! Like the comparison this works on groups and classes: a destination's sources are cut by its
//! ingress row, then by their egress row; destinations with the same sources on the same ports are
//! one edge. Components are found on a graph whose nodes are groups and edges alike, so an edge of
//! a thousand sources and a thousand destinations costs two thousand arcs and not a million.

use crate::cells::Cells;
use crate::describe::{Describer, PeerGroup, is_shown};
use crate::ports::PortSet;
use crate::row::Row;
use crate::side::Evaluation;
use crate::universe::{Input, NodeId, NodeKind};
use fixedbitset::FixedBitSet;
use petgraph::graph::{DiGraph, NodeIndex};
use portcullis_ir::{Direction, Workload};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

/// Everybody of `sources` reaches everybody of `destinations` on these ports.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Who sends.
    pub sources: PeerGroup,
    /// Who receives.
    pub destinations: PeerGroup,
    /// On which ports both sides allow it.
    pub ports: PortSet,
    /// Some of it goes through a proxy that decides more.
    pub redirected: bool,
}

/// The whole answer.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Edges in order of their destinations and sources, merged where both ends agree.
    pub edges: Vec<Edge>,
    /// Workloads among the destinations that nothing reaches, the node's own host apart.
    pub isolated: Vec<Workload>,
    /// Groups of workloads that all reach one another, directly or by steps (strongly connected
    /// components of more than one workload).
    pub groups: Vec<Vec<Workload>>,
}

/// Which nodes to look at.
pub type Filter<'f> = &'f dyn Fn(&NodeKind) -> bool;

/// Ports and redirection, destinations that share them, and their sources.
type Found = BTreeMap<(PortSet, bool), BTreeMap<NodeId, FixedBitSet>>;

/// Lists every edge from the nodes `from` takes to those `to` takes; all if not given.
pub fn reach(input: Input<'_>, from: Option<Filter<'_>>, to: Option<Filter<'_>>) -> Reach {
    let e = Evaluation::new(&[input], &[]);
    let cells = Cells::new(&e);
    let wanted = |filter: Option<Filter<'_>>| {
        let mut bits = FixedBitSet::with_capacity(e.universe.len());
        for (id, n) in e.universe.iter() {
            if is_shown(n) && filter.is_none_or(|f| f(n)) {
                bits.insert(id.index());
            }
        }
        bits
    };
    let (sources, destinations) = (wanted(from), wanted(to));
    let found = find(&e, &cells, &sources, &destinations);
    let describer = Describer::new(&e.universe);
    let merged = merge(&e, &found);
    let isolated = isolated(&e, &destinations, &found);
    let groups = components(&e, &merged);
    let mut edges: Vec<Edge> = merged
        .into_iter()
        .map(|((ports, redirected), s, d)| Edge {
            sources: describer.group(&s),
            destinations: describer.group(&d),
            ports,
            redirected,
        })
        .collect();
    edges.sort_by(|a, b| {
        (&a.destinations.summary, &a.sources.summary, &a.ports).cmp(&(
            &b.destinations.summary,
            &b.sources.summary,
            &b.ports,
        ))
    });
    Reach { edges, isolated, groups }
}

/// Every flow that passes from some nodes to others.
fn find(
    e: &Evaluation<'_>,
    cells: &Cells<'_, '_>,
    sources: &FixedBitSet,
    destinations: &FixedBitSet,
) -> Found {
    let mut finder = Finder { e, cells, found: Found::new(), allowed: HashMap::new() };
    for d in destinations.ones().take_while(|n| *n < e.universe.groups) {
        finder.reach_pod(node(d), sources);
    }
    let mut outside = destinations.clone();
    outside.set_range(..e.universe.groups, false);
    for s in sources.ones().take_while(|n| *n < e.universe.groups) {
        finder.out_of(node(s), &outside);
    }
    finder.found
}

/// The same with the sources and destinations that share their ports gathered.
pub(crate) fn edges(
    e: &Evaluation<'_>,
    cells: &Cells<'_, '_>,
    sources: &FixedBitSet,
    destinations: &FixedBitSet,
) -> Vec<Merged> {
    merge(e, &find(e, cells, sources, destinations))
}

struct Finder<'f, 'e, 'a> {
    e: &'e Evaluation<'a>,
    cells: &'f Cells<'e, 'a>,
    found: Found,
    /// What two rows allow together, by their addresses: rows live as long as the cells.
    allowed: HashMap<(*const Row, *const Row), (PortSet, bool)>,
}

impl Finder<'_, '_, '_> {
    fn reach_pod(&mut self, d: NodeId, sources: &FixedBitSet) {
        let Some(class) = self.e.class(0, Direction::Ingress, d) else { return };
        for part in self.cells.parts(0, Direction::Ingress, class).iter() {
            let mut peers = part.peers.clone();
            peers.intersect_with(sources);
            let near = &part.row;
            let mut far: BTreeMap<Option<u32>, (NodeId, FixedBitSet)> = BTreeMap::new();
            for n in peers.ones() {
                let class = (n < self.e.universe.groups)
                    .then(|| self.e.class(0, Direction::Egress, node(n)))
                    .flatten();
                far.entry(class)
                    .or_insert_with(|| (node(n), FixedBitSet::with_capacity(peers.len())))
                    .1
                    .insert(n);
            }
            for (class, (first, bits)) in far {
                let row = class.and_then(|_| self.cells.row_of(0, Direction::Egress, first, d));
                self.add(near, row.as_ref(), d, &bits);
            }
        }
    }

    /// Edges out of the cluster: filed under their destination like the others.
    fn out_of(&mut self, s: NodeId, outside: &FixedBitSet) {
        let Some(class) = self.e.class(0, Direction::Egress, s) else { return };
        let mut source = FixedBitSet::with_capacity(self.e.universe.len());
        source.insert(s.index());
        for part in self.cells.parts(0, Direction::Egress, class).iter() {
            let mut peers = part.peers.clone();
            peers.intersect_with(outside);
            for n in peers.ones() {
                self.add(&part.row, None, node(n), &source);
            }
        }
    }

    fn add(&mut self, near: &Rc<Row>, far: Option<&Rc<Row>>, d: NodeId, sources: &FixedBitSet) {
        let key = (Rc::as_ptr(near), far.map_or(std::ptr::null(), Rc::as_ptr));
        let both = self.allowed.entry(key).or_insert_with(|| together(near, far.map(|r| &**r)));
        if both.0.is_empty() {
            return;
        }
        self.found
            .entry(both.clone())
            .or_default()
            .entry(d)
            .or_insert_with(|| FixedBitSet::with_capacity(sources.len()))
            .union_with(sources);
    }
}

/// What both rows allow, and whether either sends some of it to a proxy.
fn together(near: &Row, far: Option<&Row>) -> (PortSet, bool) {
    let redirects = |row: &Row, on: &PortSet| {
        row.stretches().any(|(s, e, c)| c.l7.is_some() && !PortSet::new([(s, e)]).intersect(on).is_empty())
    };
    let ports = match far {
        Some(far) => near.allowed().intersect(&far.allowed()),
        None => near.allowed(),
    };
    let redirected = redirects(near, &ports) || far.is_some_and(|f| redirects(f, &ports));
    (ports, redirected)
}

/// Ports and redirection, sources, destinations.
pub(crate) type Merged = ((PortSet, bool), FixedBitSet, FixedBitSet);

/// Destinations with the same sources on the same ports become one edge.
fn merge(e: &Evaluation<'_>, found: &Found) -> Vec<Merged> {
    let mut out = Vec::new();
    for (key, by_destination) in found {
        let mut groups: BTreeMap<Vec<usize>, FixedBitSet> = BTreeMap::new();
        for (d, sources) in by_destination {
            groups
                .entry(sources.ones().collect())
                .or_insert_with(|| FixedBitSet::with_capacity(e.universe.len()))
                .insert(d.index());
        }
        for (sources, destinations) in groups {
            let mut bits = FixedBitSet::with_capacity(e.universe.len());
            bits.extend(sources);
            let mut ones = destinations.ones();
            if let (Some(only), None) = (ones.next(), ones.next())
                && e.universe.group(node(only)).is_some_and(|g| g.pods == 1)
            {
                // A pod reaching itself is no flow that policy decides (SEM-7.2).
                bits.set(only, false);
                if bits.is_clear() {
                    continue;
                }
            }
            out.push((key.clone(), bits, destinations));
        }
    }
    out
}

/// Destination workloads with no source but the node's own host.
fn isolated(e: &Evaluation<'_>, destinations: &FixedBitSet, found: &Found) -> Vec<Workload> {
    let host = e.universe.reserved(portcullis_ir::Reserved::Host).map(NodeId::index);
    let mut reached: BTreeSet<usize> = BTreeSet::new();
    for by_destination in found.values() {
        for (d, sources) in by_destination {
            let single = e.universe.group(*d).is_some_and(|g| g.pods == 1);
            if sources.ones().any(|s| Some(s) != host && !(single && s == d.index())) {
                reached.insert(d.index());
            }
        }
    }
    let mut out: BTreeSet<Workload> = BTreeSet::new();
    for (id, g) in e.universe.groups() {
        if destinations.contains(id.index()) && !reached.contains(&id.index()) {
            out.extend(g.workloads.iter().map(|(w, _)| w.clone()));
        }
    }
    out.into_iter().collect()
}

fn components(e: &Evaluation<'_>, edges: &[Merged]) -> Vec<Vec<Workload>> {
    let mut graph: DiGraph<Option<usize>, ()> = DiGraph::new();
    let groups: Vec<NodeIndex> = (0..e.universe.groups).map(|g| graph.add_node(Some(g))).collect();
    for (_, sources, destinations) in edges {
        let hub = graph.add_node(None);
        for s in sources.ones().filter_map(|s| groups.get(s)) {
            graph.add_edge(*s, hub, ());
        }
        for d in destinations.ones().filter_map(|d| groups.get(d)) {
            graph.add_edge(hub, *d, ());
        }
    }
    let mut out: Vec<Vec<Workload>> = petgraph::algo::tarjan_scc(&graph)
        .into_iter()
        .map(|component| {
            let all: BTreeSet<Workload> = component
                .into_iter()
                .filter_map(|n| graph.node_weight(n).copied().flatten())
                .filter_map(|g| e.universe.group(node(g)))
                .flat_map(|g| g.workloads.iter().map(|(w, _)| w.clone()))
                .collect();
            all.into_iter().collect::<Vec<_>>()
        })
        .filter(|c| c.len() > 1)
        .collect();
    out.sort();
    out
}

fn node(n: usize) -> NodeId {
    NodeId(u32::try_from(n).unwrap_or(u32::MAX))
}

//! Flows over several hops: who can be reached by way of others, and which rules every way hangs on.
//!
//! The graph has the nodes of the universe and, between them, one hub for each set of sources and destinations
//! that share their ports, as [`crate::reach`] finds them. A way begins at a source, ends at a destination, and
//! between them passes pods only: whether the node's own host or a proxy passes anything on is not for policy to
//! say.
//!
//! Taking allow rules away (their default deny stays) never lets anything more through. So a rule without which
//! no way is left decides on some hop of *every* way, and the rules of one way are all that can be such a rule;
//! each is tried by evaluating the policies without it. Pairs are found the same way, one rule after the other.

use crate::cells::Cells;
use crate::describe::{Describer, PeerGroup, is_shown};
use crate::diff::RuleRef;
use crate::diff::rule_ref;
use crate::ports::PortSet;
use crate::reach::{self, Filter};
use crate::row::Why;
use crate::side::Evaluation;
use crate::universe::{Input, NodeId};
use fixedbitset::FixedBitSet;
use petgraph::Direction::{Incoming, Outgoing};
use petgraph::graph::{DiGraph, NodeIndex};
use portcullis_ir::{Action, Direction, Peers, PolicySet, RuleId, Verdict};
use std::collections::{BTreeSet, HashMap, VecDeque};

/// Evaluations that a search for pairs may take.
const TRIES: usize = 250;

/// Everybody who is reached by the same number of hops, and by no fewer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// How many hops.
    pub hops: usize,
    /// Who.
    pub whom: PeerGroup,
}

/// One hop of a way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Who sends.
    pub from: PeerGroup,
    /// Who receives.
    pub to: PeerGroup,
    /// On which ports.
    pub ports: PortSet,
    /// The rules that allow it, the sender's first.
    pub rules: Vec<RuleRef>,
    /// Directions in which it passes, for a part of the ports at least, because nothing turned default deny on.
    pub open: Vec<Direction>,
}

/// Which rules the ways hang on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Sets of allow rules without which no way is left, all of one size, none needless in its set.
    pub sets: Vec<Vec<RuleRef>>,
    /// A way that needs no allow rule at all, so that taking rules away cuts nothing off. Empty if there is
    /// none.
    pub open: Vec<Hop>,
    /// How many rules a set without which no way is left has at least, where none was found.
    pub at_least: usize,
    /// Everything of that size was tried.
    pub complete: bool,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Whom the sources reach, by hops; only the destinations if some were asked for.
    pub layers: Vec<Layer>,
    /// The sources, in words.
    pub from: PeerGroup,
    /// Those of the destinations that are reached, in words, or all of them if none is; nothing if everybody was
    /// asked about.
    pub to: Option<PeerGroup>,
    /// A way with the fewest hops, where destinations were asked for and one is reached.
    pub way: Vec<Hop>,
    /// What cuts every way, if that was asked.
    pub cut: Option<Cut>,
}

/// Follows flows from the nodes that `from` takes to those that `to` takes, or to everybody.
pub fn steps(input: Input<'_>, from: Filter<'_>, to: Option<Filter<'_>>, cut: bool) -> Steps {
    let e = Evaluation::new(&[input], &[]);
    let cells = Cells::new(&e);
    let taken = |filter: Filter<'_>| {
        let mut bits = FixedBitSet::with_capacity(e.universe.len());
        bits.extend(e.universe.iter().filter(|(_, n)| is_shown(n) && filter(n)).map(|(id, _)| id.index()));
        bits
    };
    let sources = taken(from);
    let mut destinations = taken(to.unwrap_or(&|_| true));
    destinations.difference_with(&sources);
    let mut pods = FixedBitSet::with_capacity(e.universe.len());
    pods.insert_range(..e.universe.groups);
    let graph = Graph::new(&e, &cells, &pods, &sources, &destinations);
    let found = graph.from(&sources);
    let describer = Describer::new(&e.universe);
    let mut layers: Vec<FixedBitSet> = Vec::new();
    for n in destinations.ones() {
        let Some(hops) = found.hops.get(n).copied().flatten() else { continue };
        while layers.len() < hops {
            layers.push(FixedBitSet::with_capacity(e.universe.len()));
        }
        if let Some(layer) = hops.checked_sub(1).and_then(|at| layers.get_mut(at)) {
            layer.insert(n);
        }
    }
    let layers = layers
        .iter()
        .zip(1..)
        .filter(|(whom, _)| !whom.is_clear())
        .map(|(whom, hops)| Layer { hops, whom: describer.group(whom) })
        .collect();
    let mut out = Steps { layers, from: describer.group(&sources), to: None, way: Vec::new(), cut: None };
    if to.is_some() {
        let mut reached = destinations.clone();
        (0..e.universe.len())
            .filter(|n| found.hops.get(*n).copied().flatten().is_none())
            .for_each(|n| reached.set(n, false));
        out.to = Some(describer.group(if reached.is_clear() { &destinations } else { &reached }));
        let way = found.way(&destinations);
        let teller = Teller { e: &e, cells: &cells };
        out.way = teller.hops(&graph, &way);
        if cut {
            let live = graph.between(&found, &destinations);
            let search = Search { input, e: &e, live, sources, destinations, tries: TRIES };
            out.cut = Some(search.run(&way));
        }
    }
    out
}

/// Who reaches whom in one hop.
struct Graph {
    /// Nodes of the universe by their ids, then hubs with their ports.
    graph: DiGraph<Option<PortSet>, ()>,
    nodes: usize,
}

/// Fewest hops from some nodes, and where the last hop came from.
struct Found {
    hops: Vec<Option<usize>>,
    before: HashMap<usize, (usize, NodeIndex)>,
}

impl Found {
    /// A way to the nearest of the destinations: hops with their hubs. Empty if there is none.
    fn way(&self, destinations: &FixedBitSet) -> Vec<(NodeId, NodeId, NodeIndex)> {
        let reached = destinations.ones().filter_map(|n| Some((self.hops.get(n).copied().flatten()?, n)));
        let Some((_, mut at)) = reached.min() else { return Vec::new() };
        let mut out = Vec::new();
        while let Some((before, hub)) = self.before.get(&at) {
            out.push((node(*before), node(at), *hub));
            at = *before;
        }
        out.reverse();
        out
    }
}

impl Graph {
    fn new(
        e: &Evaluation<'_>,
        cells: &Cells<'_, '_>,
        between: &FixedBitSet,
        sources: &FixedBitSet,
        destinations: &FixedBitSet,
    ) -> Self {
        let nodes = e.universe.len();
        let mut graph = DiGraph::with_capacity(nodes, 0);
        (0..nodes).for_each(|_| {
            graph.add_node(None);
        });
        let with = |some: &FixedBitSet| {
            let mut bits = between.clone();
            bits.union_with(some);
            bits
        };
        for ((ports, _), senders, receivers) in reach::edges(e, cells, &with(sources), &with(destinations)) {
            let hub = graph.add_node(Some(ports));
            for s in senders.ones() {
                graph.add_edge(NodeIndex::new(s), hub, ());
            }
            for d in receivers.ones() {
                graph.add_edge(hub, NodeIndex::new(d), ());
            }
        }
        Self { graph, nodes }
    }

    /// A walk in breadth from all the sources at once.
    fn from(&self, sources: &FixedBitSet) -> Found {
        let mut found = Found { hops: vec![None; self.nodes], before: HashMap::new() };
        let mut queue: VecDeque<usize> = sources.ones().collect();
        for n in sources.ones() {
            if let Some(slot) = found.hops.get_mut(n) {
                *slot = Some(0);
            }
        }
        let mut used: BTreeSet<NodeIndex> = BTreeSet::new();
        while let Some(n) = queue.pop_front() {
            let hops = found.hops.get(n).copied().flatten().unwrap_or(0) + 1;
            let mut hubs: Vec<NodeIndex> =
                self.graph.neighbors_directed(NodeIndex::new(n), Outgoing).collect();
            hubs.sort_unstable();
            for hub in hubs {
                // Whom a hub leads to it leads to from all its sources, but for a pod that is one of them.
                if !used.insert(hub) {
                    continue;
                }
                let mut next: Vec<NodeIndex> = self.graph.neighbors_directed(hub, Outgoing).collect();
                next.sort_unstable();
                for d in next.into_iter().map(NodeIndex::index) {
                    if let Some(slot @ None) = found.hops.get_mut(d) {
                        *slot = Some(hops);
                        found.before.insert(d, (n, hub));
                        queue.push_back(d);
                    }
                }
            }
        }
        found
    }

    /// Nodes on some way: reached, and from which a destination is reached.
    fn between(&self, found: &Found, destinations: &FixedBitSet) -> FixedBitSet {
        let mut out = FixedBitSet::with_capacity(self.nodes);
        let mut queue: Vec<usize> =
            destinations.ones().filter(|n| found.hops.get(*n).copied().flatten().is_some()).collect();
        let mut used: BTreeSet<NodeIndex> = BTreeSet::new();
        out.extend(queue.iter().copied());
        while let Some(n) = queue.pop() {
            for hub in self.graph.neighbors_directed(NodeIndex::new(n), Incoming) {
                if !used.insert(hub) {
                    continue;
                }
                for s in self.graph.neighbors_directed(hub, Incoming).map(NodeIndex::index) {
                    if found.hops.get(s).copied().flatten().is_some() && !out.put(s) {
                        queue.push(s);
                    }
                }
            }
        }
        out
    }

    fn ports(&self, hub: NodeIndex) -> PortSet {
        self.graph.node_weight(hub).cloned().flatten().unwrap_or_default()
    }
}

/// Says what is behind hops.
struct Teller<'t, 'e, 'a> {
    e: &'e Evaluation<'a>,
    cells: &'t Cells<'e, 'a>,
}

impl Teller<'_, '_, '_> {
    fn hops(&self, graph: &Graph, way: &[(NodeId, NodeId, NodeIndex)]) -> Vec<Hop> {
        let describer = Describer::new(&self.e.universe);
        let one = |n: NodeId| {
            let mut bits = FixedBitSet::with_capacity(self.e.universe.len());
            bits.insert(n.index());
            describer.group(&bits)
        };
        let set = self.e.sides.first().map(|s| s.input.policies);
        way.iter()
            .map(|(from, to, hub)| {
                let ports = graph.ports(*hub);
                let (rules, open) = self.behind(*from, *to, &ports);
                let rules = rules.into_iter().filter_map(|r| rule_ref(set?, r)).collect();
                Hop { from: one(*from), to: one(*to), ports, rules, open }
            })
            .collect()
    }

    /// The allow rules that decide a hop, and the directions in which none does for some of its ports.
    fn behind(&self, from: NodeId, to: NodeId, ports: &PortSet) -> (Vec<RuleId>, Vec<Direction>) {
        let mut rules = Vec::new();
        let mut open = Vec::new();
        for (d, subject, peer) in [(Direction::Egress, from, to), (Direction::Ingress, to, from)] {
            if subject.index() >= self.e.universe.groups {
                continue;
            }
            let Some(row) = self.cells.row_of(0, d, subject, peer) else { continue };
            for (start, end, cell) in row.stretches() {
                let here = PortSet::new([(start, end)]).intersect(ports);
                if cell.verdict != Verdict::Allowed || here.is_empty() {
                    continue;
                }
                match &cell.why {
                    Why::Rules(meanings) => {
                        for rule in self.e.rules_with(0, d, subject, meanings) {
                            if !rules.contains(&rule) {
                                rules.push(rule);
                            }
                        }
                    }
                    Why::Fallback(_) if !open.contains(&d) => open.push(d),
                    Why::Fallback(_) => {}
                }
            }
        }
        (rules, open)
    }
}

/// Looks for rules that cut every way.
struct Search<'s, 'a> {
    input: Input<'a>,
    e: &'s Evaluation<'a>,
    /// Nodes on some way: taking rules away brings no others.
    live: FixedBitSet,
    sources: FixedBitSet,
    destinations: FixedBitSet,
    tries: usize,
}

/// What is left without some rules.
enum Left {
    /// No way.
    Nothing,
    /// One, and the allow rules that decide its hops.
    Way(Vec<RuleId>),
}

impl Search<'_, '_> {
    fn run(mut self, way: &[(NodeId, NodeId, NodeIndex)]) -> Cut {
        if way.is_empty() {
            return Cut { complete: true, ..Cut::default() };
        }
        let every: Vec<RuleId> = self
            .input
            .policies
            .rules()
            .filter(|(_, r)| r.action == Action::Allow)
            .map(|(id, _)| id)
            .collect();
        let open = self.hops_without(&every);
        if !open.is_empty() {
            return Cut { open, complete: true, ..Cut::default() };
        }
        let Left::Way(first) = self.without(&[]) else { return Cut { complete: true, ..Cut::default() } };
        let mut rest: Vec<(RuleId, Vec<RuleId>)> = Vec::new();
        let mut sets: Vec<Vec<RuleId>> = Vec::new();
        for rule in first {
            match self.without(&[rule]) {
                Left::Nothing => sets.push(vec![rule]),
                Left::Way(rules) => rest.push((rule, rules)),
            }
        }
        if !sets.is_empty() {
            return self.cut(sets);
        }
        // No one rule: of a pair that cuts, one decides on the first way, the other on a way without that one.
        let mut tried: BTreeSet<[RuleId; 2]> = BTreeSet::new();
        for (one, rules) in rest {
            for other in rules {
                let mut pair = [one, other];
                pair.sort_unstable();
                if tried.contains(&pair) {
                    continue;
                }
                if tried.len() == self.tries {
                    let found = self.cut(sets);
                    return Cut { complete: false, at_least: 2, ..found };
                }
                tried.insert(pair);
                if matches!(self.without(&pair), Left::Nothing) {
                    sets.push(pair.to_vec());
                }
            }
        }
        if sets.is_empty() {
            return Cut { at_least: 3, complete: true, ..Cut::default() };
        }
        self.cut(sets)
    }

    fn cut(&mut self, mut sets: Vec<Vec<RuleId>>) -> Cut {
        sets.sort();
        let set = self.input.policies;
        let sets: Vec<Vec<RuleRef>> =
            sets.into_iter().map(|s| s.into_iter().filter_map(|r| rule_ref(set, r)).collect()).collect();
        Cut { sets, complete: true, ..Cut::default() }
    }

    fn without(&self, removed: &[RuleId]) -> Left {
        self.evaluate(removed, |e, cells, graph, way| {
            if way.is_empty() {
                return Left::Nothing;
            }
            let teller = Teller { e, cells };
            let mut all = BTreeSet::new();
            for (from, to, hub) in way {
                all.extend(teller.behind(*from, *to, &graph.ports(*hub)).0);
            }
            Left::Way(all.into_iter().collect())
        })
    }

    fn hops_without(&self, removed: &[RuleId]) -> Vec<Hop> {
        self.evaluate(removed, |e, cells, graph, way| Teller { e, cells }.hops(graph, way))
    }

    /// Evaluates the policies without some rules and looks for a way.
    fn evaluate<T>(
        &self,
        removed: &[RuleId],
        then: impl FnOnce(&Evaluation<'_>, &Cells<'_, '_>, &Graph, &[(NodeId, NodeId, NodeIndex)]) -> T,
    ) -> T {
        let mut policies: PolicySet = self.input.policies.clone();
        for id in removed {
            if let Some(rule) = policies.rules.get_mut(id.0 as usize) {
                // A rule about nobody, in its place: the others keep their numbers.
                rule.peers = Peers::Of(Box::default());
            }
        }
        let input = Input { policies: &policies, ..self.input };
        let e = Evaluation::new(&[input], &[]);
        debug_assert_eq!(e.universe.len(), self.e.universe.len(), "the peers are those of all rules");
        let cells = Cells::new(&e);
        let graph = Graph::new(&e, &cells, &self.pods(), &self.sources, &self.destinations);
        let found = graph.from(&self.sources);
        let way = found.way(&self.destinations);
        then(&e, &cells, &graph, &way)
    }

    /// Pods that a way may pass.
    fn pods(&self) -> FixedBitSet {
        let mut out = self.live.clone();
        out.set_range(self.e.universe.groups.., false);
        out
    }
}

fn node(n: usize) -> NodeId {
    NodeId(u32::try_from(n).unwrap_or(u32::MAX))
}

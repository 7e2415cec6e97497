//! Each side of a comparison, with every selector evaluated once over the universe.

use crate::index::LabelIndex;
use crate::outside::Outside;
use crate::row::{Fallback, Meaning};
use crate::universe::{Input, NodeId, NodeKind, Universe};
use fixedbitset::FixedBitSet;
use portcullis_ir::cluster::NamedPort;
use portcullis_ir::intern::Interner;
use portcullis_ir::peer::PeerTerm;
use portcullis_ir::{
    Direction, EnforcementId, EnforcementMode, LabelSet, Peers, PortTerm, Ports, Reserved, RuleId, Subject,
};
use std::net::IpAddr;

/// What the rules that select a group mean in one direction: groups with equal classes have equal
/// cells, on one side or across both.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SubjectClass {
    /// Meanings of the rules that select it, sorted and distinct.
    pub rules: Vec<u32>,
    /// What decides where no rule does.
    pub fallback: Fallback,
    /// Its own named ports, where an ingress rule asks for one.
    pub names: Option<Vec<NamedPort>>,
    /// The side, where an egress rule asks for named ports and those of the peers differ by side.
    pub side: Option<usize>,
}

/// One side, evaluated.
#[derive(Debug)]
pub struct Side<'a> {
    /// What it was made from.
    pub input: Input<'a>,
    /// The meaning of each rule.
    pub meaning_of: Vec<u32>,
    /// Rules that select each group, by direction (ingress, egress).
    pub rules_of: [Vec<Vec<RuleId>>; 2],
    /// Enforcements that turn default deny on for each group, by direction.
    pub denied_by: [Vec<Vec<EnforcementId>>; 2],
    /// The class of each group, by direction; `None` where the group does not exist on this side.
    pub class_of: [Vec<Option<u32>>; 2],
    /// Groups that a subject selector matches, by selector id; empty for selectors of peers only.
    pub subjects: Vec<FixedBitSet>,
}

/// Every side over one universe, with what they share.
#[derive(Debug)]
pub struct Evaluation<'a> {
    /// The universe.
    pub universe: Universe,
    /// The sides.
    pub sides: Vec<Side<'a>>,
    /// Distinct sets of peers.
    pub peer_sets: Interner<FixedBitSet>,
    /// Distinct meanings of rules.
    pub meanings: Interner<Meaning>,
    /// Distinct subject classes.
    pub classes: Interner<SubjectClass>,
}

/// Index of a direction in the pairs above.
pub const fn slot(d: Direction) -> usize {
    match d {
        Direction::Ingress => 0,
        Direction::Egress => 1,
    }
}

impl<'a> Evaluation<'a> {
    /// Evaluates one or two sides.
    pub fn new(inputs: &[Input<'a>], addresses: &[(IpAddr, Vec<smol_str::SmolStr>)]) -> Self {
        let universe = Universe::new(inputs, addresses);
        let mut out = Self {
            universe,
            sides: Vec::with_capacity(inputs.len()),
            peer_sets: Interner::default(),
            meanings: Interner::default(),
            classes: Interner::default(),
        };
        for (i, input) in inputs.iter().enumerate() {
            let side = out.evaluate(i, *input);
            out.sides.push(side);
        }
        let tables_differ = out.tables_differ();
        for i in 0..inputs.len() {
            for d in Direction::BOTH {
                out.classify(i, d, tables_differ);
            }
        }
        out
    }

    fn evaluate(&mut self, at: usize, input: Input<'a>) -> Side<'a> {
        let groups = self.universe.groups;
        let nodes = self.universe.len();
        // Labels of each group on this side, then of each node beyond the groups.
        let empty = LabelSet::default();
        let world = [Reserved::WorldIpv4.labels(), Reserved::WorldIpv6.labels()];
        let reserved: Vec<LabelSet> = Reserved::ALL.iter().map(|r| r.labels()).collect();
        let mut exists = FixedBitSet::with_capacity(nodes);
        let sets: Vec<&LabelSet> = self
            .universe
            .iter()
            .map(|(id, n)| {
                let set = match n {
                    NodeKind::Group(g) => {
                        g.on.get(at)
                            .copied()
                            .flatten()
                            .and_then(|(identity, _)| input.cluster.labels(identity))
                    }
                    NodeKind::Reserved(r) => reserved.get(*r as usize - 1),
                    NodeKind::Region(r) => world.get(usize::from(r.example.is_ipv6())),
                    NodeKind::Name(_) => world.first(),
                    NodeKind::Address(ip, _) => world.get(usize::from(ip.is_ipv6())),
                };
                if set.is_some() {
                    exists.insert(id.index());
                }
                set.unwrap_or(&empty)
            })
            .collect();
        let index = LabelIndex::new(sets.iter().copied());
        let mut selected: Vec<Option<FixedBitSet>> = vec![None; input.policies.selectors.len()];
        let mut select = |id: u32| -> FixedBitSet {
            let Some(slot) = selected.get_mut(id as usize) else { return FixedBitSet::with_capacity(nodes) };
            if slot.is_none() {
                let mut bits = input.policies.selectors.get(id).map(|s| index.select(s)).unwrap_or_default();
                bits.grow(nodes);
                bits.intersect_with(&exists);
                *slot = Some(bits);
            }
            slot.clone().unwrap_or_default()
        };
        let outside = Outside::new(&self.universe);
        let terms: Vec<FixedBitSet> = input
            .policies
            .peers
            .iter()
            .map(|t| match t {
                PeerTerm::Labels(s) => select(*s),
                PeerTerm::Nodes(_) => FixedBitSet::with_capacity(nodes),
                other => {
                    let mut bits = outside.select(&self.universe, other);
                    bits.intersect_with(&exists);
                    bits
                }
            })
            .collect();
        let mut subjects: Vec<FixedBitSet> = vec![FixedBitSet::default(); input.policies.selectors.len()];
        let mut groups_of = |subject: Subject| -> FixedBitSet {
            let Subject::Endpoints(id) = subject else { return FixedBitSet::default() };
            let Some(slot) = subjects.get_mut(id as usize) else { return FixedBitSet::default() };
            if slot.is_empty() {
                let mut bits = select(id);
                if groups < nodes {
                    bits.set_range(groups..nodes, false);
                }
                *slot = bits;
            }
            slot.clone()
        };
        let mut meaning_of = Vec::with_capacity(input.policies.rules.len());
        let mut rules_of = [vec![Vec::new(); groups], vec![Vec::new(); groups]];
        for (id, rule) in input.policies.rules() {
            let mut peers = FixedBitSet::with_capacity(nodes);
            match &rule.peers {
                // "Every peer" means every peer there is, on whichever side it exists.
                Peers::All => peers.insert_range(..),
                Peers::Of(ids) => {
                    ids.iter().filter_map(|t| terms.get(*t as usize)).for_each(|t| peers.union_with(t));
                }
            }
            let meaning = Meaning {
                precedence: rule.precedence(),
                peers: self.peer_sets.intern(peers),
                ports: rule.ports.clone(),
                l7: rule.l7.as_ref().map(|l| l.text()),
                authenticates: rule.authentication.is_some_and(|a| a != portcullis_ir::AuthMode::Disabled),
            };
            meaning_of.push(self.meanings.intern(meaning));
            for g in groups_of(rule.subject).ones() {
                if let Some(list) = rules_of.get_mut(slot(rule.direction)).and_then(|r| r.get_mut(g)) {
                    list.push(id);
                }
            }
        }
        let mut denied_by = [vec![Vec::new(); groups], vec![Vec::new(); groups]];
        for (id, e) in input.policies.enforcements() {
            if e.default_deny {
                for g in groups_of(e.subject).ones() {
                    if let Some(list) = denied_by.get_mut(slot(e.direction)).and_then(|r| r.get_mut(g)) {
                        list.push(id);
                    }
                }
            }
        }
        Side {
            input,
            meaning_of,
            rules_of,
            denied_by,
            class_of: [vec![None; groups], vec![None; groups]],
            subjects,
        }
    }

    /// Whether some group has other named ports on one side than on the other.
    fn tables_differ(&self) -> bool {
        self.universe.groups().any(|(id, _)| {
            let mut tables = (0..self.sides.len()).map(|s| self.named_ports(s, id));
            let first = tables.next();
            tables.any(|t| Some(t) != first)
        })
    }

    /// The named ports of a group on a side.
    pub fn named_ports(&self, side: usize, id: NodeId) -> &[NamedPort] {
        self.universe
            .group(id)
            .and_then(|g| g.on.get(side).copied().flatten())
            .and_then(|(_, table)| self.sides.get(side)?.input.cluster.port_tables.get(table.0))
            .map_or(&[], Vec::as_slice)
    }

    fn classify(&mut self, at: usize, d: Direction, tables_differ: bool) {
        let Some(side) = self.sides.get(at) else { return };
        let mode = side.input.options.enforcement;
        let mut class_of = Vec::with_capacity(self.universe.groups);
        for (id, group) in self.universe.groups() {
            if group.on.get(at).copied().flatten().is_none() {
                class_of.push(None);
                continue;
            }
            let list = |lists: &[Vec<RuleId>]| lists.get(id.index()).cloned().unwrap_or_default();
            let mut rules: Vec<u32> = list(side.rules_of.get(slot(d)).map_or(&[], Vec::as_slice))
                .iter()
                .filter_map(|r| side.meaning_of.get(r.0 as usize).copied())
                .collect();
            rules.sort_unstable();
            rules.dedup();
            let denied =
                side.denied_by.get(slot(d)).and_then(|l| l.get(id.index())).is_some_and(|l| !l.is_empty());
            let named = rules.iter().filter_map(|m| self.meanings.get(*m)).any(asks_for_names);
            let is_init = group
                .on
                .get(at)
                .copied()
                .flatten()
                .and_then(|(i, _)| side.input.cluster.labels(i))
                .is_some_and(|l| l.with_key("init").any(|l| l.source == "reserved"));
            let (rules, fallback) = match mode {
                EnforcementMode::Never => (Vec::new(), Fallback::Open),
                EnforcementMode::Always => (rules, Fallback::DefaultDeny),
                EnforcementMode::Default if denied || is_init => (rules, Fallback::DefaultDeny),
                EnforcementMode::Default => (rules, Fallback::Open),
            };
            class_of.push(Some(SubjectClass {
                rules,
                fallback,
                names: (named && d == Direction::Ingress).then(|| self.named_ports(at, id).to_vec()),
                side: (named && d == Direction::Egress && tables_differ).then_some(at),
            }));
        }
        let ids = class_of.into_iter().map(|c| c.map(|c| self.classes.intern(c))).collect();
        if let Some(slot) = self.sides.get_mut(at).and_then(|s| s.class_of.get_mut(slot(d))) {
            *slot = ids;
        }
    }

    /// The class of a group on a side.
    pub fn class(&self, side: usize, d: Direction, group: NodeId) -> Option<u32> {
        self.sides.get(side)?.class_of.get(slot(d))?.get(group.index()).copied().flatten()
    }

    /// Rules of a side with a meaning that select a group.
    pub fn rules_with(&self, side: usize, d: Direction, group: NodeId, meanings: &[u32]) -> Vec<RuleId> {
        let Some(s) = self.sides.get(side) else { return Vec::new() };
        s.rules_of
            .get(slot(d))
            .and_then(|r| r.get(group.index()))
            .map(|list| {
                list.iter()
                    .copied()
                    .filter(|r| s.meaning_of.get(r.0 as usize).is_some_and(|m| meanings.contains(m)))
                    .collect()
            })
            .unwrap_or_default()
    }

    /// Enforcements of a side that turn default deny on for a group.
    pub fn default_deny(&self, side: usize, d: Direction, group: NodeId) -> &[EnforcementId] {
        self.sides
            .get(side)
            .and_then(|s| s.denied_by.get(slot(d)))
            .and_then(|l| l.get(group.index()))
            .map_or(&[], Vec::as_slice)
    }
}

/// Whether a rule's ports depend on the named ports of whoever receives the flow.
pub(crate) fn asks_for_names(m: &Meaning) -> bool {
    matches!(&m.ports, Ports::Of(terms) if terms.iter().any(|t| matches!(t, PortTerm::Named(..))))
}

//! Each side of a comparison, with every selector evaluated once over the universe.

use crate::cells::CellCache;
use crate::row::{Fallback, Meaning};
use crate::select::{Select, Selected};
use crate::universe::{Input, NodeId, Universe};
use fixedbitset::FixedBitSet;
use portcullis_ir::cluster::NamedPort;
use portcullis_ir::intern::Interner;
use portcullis_ir::peer::PeerTerm;
use portcullis_ir::{
    AuthMode, Direction, Enforcement, EnforcementId, EnforcementMode, IdentityId, LabelSet, PolicyId,
    PortTerm, Ports, Rule, RuleId,
};
use rustc_hash::FxHashMap;
use std::net::IpAddr;
use std::rc::Rc;

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
    pub subjects: Vec<Rc<FixedBitSet>>,
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
    /// What selectors and other terms take in, and the index that tells it.
    selected: Selected,
    /// What policies mean, by version.
    versions: FxHashMap<u64, Meant>,
    /// The prefixes and names that the universe was cut by.
    named: Vec<PeerTerm>,
    /// Rows and parts that were computed from these classes.
    pub(crate) cells: Rc<CellCache>,
    /// The tables above were empty before: ids of earlier evaluations are not theirs.
    pub began_anew: bool,
}

/// What one evaluation leaves for the next one of the same cluster and settings, with one side: nothing
/// in it depends on which policies there are, so whatever has not changed is not computed again.
#[derive(Debug, Default)]
pub struct Memo {
    universe: Option<Universe>,
    /// The prefixes and names that the universe was cut by.
    named: Vec<PeerTerm>,
    peer_sets: Interner<FixedBitSet>,
    meanings: Interner<Meaning>,
    classes: Interner<SubjectClass>,
    selected: Selected,
    versions: FxHashMap<u64, Meant>,
    cells: Rc<CellCache>,
}

impl Memo {
    /// A group of the last evaluation with these named ports that no peer term of its policies tells from pods
    /// with these labels: as peers, those pods have that group's verdicts. `None` where there is none.
    pub fn twin(&self, input: Input<'_>, labels: &LabelSet, ports: &[NamedPort]) -> Option<NodeId> {
        let universe = self.universe.as_ref()?;
        let mut left = FixedBitSet::with_capacity(universe.len());
        for (id, group) in universe.groups() {
            let table = group.on.first().copied().flatten().map(|(_, table)| table)?;
            if input.cluster.port_tables.get(table.0).is_some_and(|own| own == ports) {
                left.insert(id.index());
            }
        }
        for term in input.policies.peers.iter() {
            // Every other kind of term takes all pods in, or none.
            let PeerTerm::Labels(selector) = term else { continue };
            let selector = input.policies.selectors.get(*selector)?;
            let taken_in = self.selected.selectors.get(selector)?;
            if selector.matches(labels) {
                left.intersect_with(taken_in);
            } else {
                left.difference_with(taken_in);
            }
        }
        left.minimum().and_then(|at| u32::try_from(at).ok()).map(NodeId)
    }
}

/// What a policy means to one universe: the meaning of each rule with the groups that it selects, and the
/// groups that each enforcement turns default deny on for.
#[derive(Debug, Default)]
struct Meant {
    rules: Vec<(u32, Rc<FixedBitSet>)>,
    enforcements: Vec<Rc<FixedBitSet>>,
}

/// Entries of one memo's tables beyond which it begins anew: what no policy uses any more is never
/// removed one by one.
const MEMO: usize = 1 << 17;

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
        Self::over(Universe::new(inputs, addresses), inputs, Memo::default())
    }

    /// Evaluates one side with what the last evaluation left. The cluster and the settings must be
    /// those of every evaluation that the memo came from.
    pub fn with_memo(input: Input<'a>, mut memo: Memo) -> Self {
        let named: Vec<PeerTerm> = input
            .policies
            .peers
            .iter()
            .filter(|t| matches!(t, PeerTerm::Cidr { .. } | PeerTerm::Fqdn(_)))
            .cloned()
            .collect();
        let Some(old) = memo.universe.take() else {
            memo.named = named;
            return Self::over(Universe::new(&[input], &[]), &[input], memo);
        };
        // The world outside the pods is cut by these terms, and by nothing else.
        let same = named == memo.named;
        let universe = if same { old } else { old.again(&[input], &[]) };
        let large = memo.peer_sets.len() + memo.classes.len() + memo.selected.selectors.len() > MEMO;
        let anew = !same || large;
        if anew {
            memo = Memo { named, ..Memo::default() };
        }
        Self { began_anew: anew, ..Self::over(universe, &[input], memo) }
    }

    /// What the next evaluation may use.
    pub fn into_memo(self) -> Memo {
        Memo {
            universe: Some(self.universe),
            named: self.named,
            peer_sets: self.peer_sets,
            meanings: self.meanings,
            classes: self.classes,
            selected: self.selected,
            versions: self.versions,
            cells: self.cells,
        }
    }

    fn over(universe: Universe, inputs: &[Input<'a>], memo: Memo) -> Self {
        let mut out = Self {
            universe,
            sides: Vec::with_capacity(inputs.len()),
            peer_sets: memo.peer_sets,
            meanings: memo.meanings,
            classes: memo.classes,
            selected: memo.selected,
            named: memo.named,
            versions: memo.versions,
            cells: memo.cells,
            began_anew: true,
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
        // Each side has labels of its own: what one knows of selectors is nothing to another.
        let mut known = std::mem::take(&mut self.selected);
        if at > 0 {
            known = Selected::default();
        }
        let mut select = Select::new(&self.universe, at, input, &mut known);
        let mut meaning_of = Vec::with_capacity(input.policies.rules.len());
        let mut rules_of = [vec![Vec::new(); groups], vec![Vec::new(); groups]];
        let mut denied_by = [vec![Vec::new(); groups], vec![Vec::new(); groups]];
        let mut rules = input.policies.rules().peekable();
        let mut enforcements = input.policies.enforcements().peekable();
        let mut versions = FxHashMap::default();
        for (policy, of) in (0u32..).map(PolicyId).zip(&input.policies.policies) {
            let mine = std::iter::from_fn(|| rules.next_if(|(_, r)| r.policy == policy));
            let own = std::iter::from_fn(|| enforcements.next_if(|(_, e)| e.policy == policy));
            let mine: Vec<(RuleId, &Rule)> = mine.collect();
            let own: Vec<(EnforcementId, &Enforcement)> = own.collect();
            // What a policy means to this universe is known, or is worked out and kept.
            let meant = self.versions.remove(&of.version).unwrap_or_else(|| Meant {
                rules: mine
                    .iter()
                    .map(|(_, rule)| {
                        let meaning = Meaning {
                            precedence: rule.precedence(),
                            peers: self.peer_sets.intern(select.peers(&rule.peers)),
                            ports: rule.ports.clone(),
                            l7: rule.l7.as_ref().map(|l| l.text()),
                            authenticates: rule.authentication.is_some_and(|a| a != AuthMode::Disabled),
                        };
                        (self.meanings.intern(meaning), select.groups_of(rule.subject))
                    })
                    .collect(),
                enforcements: own
                    .iter()
                    .map(|(_, e)| if e.default_deny { select.groups_of(e.subject) } else { Rc::default() })
                    .collect(),
            });
            for ((id, rule), (meaning, groups)) in mine.into_iter().zip(&meant.rules) {
                meaning_of.push(*meaning);
                for g in groups.ones() {
                    if let Some(list) = rules_of.get_mut(slot(rule.direction)).and_then(|r| r.get_mut(g)) {
                        list.push(id);
                    }
                }
            }
            for ((id, e), groups) in own.into_iter().zip(&meant.enforcements) {
                for g in groups.ones() {
                    if let Some(list) = denied_by.get_mut(slot(e.direction)).and_then(|r| r.get_mut(g)) {
                        list.push(id);
                    }
                }
            }
            if of.version != 0 {
                versions.insert(of.version, meant);
            }
        }
        let subjects = select.into_subjects();
        self.selected = known;
        self.versions = versions;
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
        let of_names: Vec<bool> = self.meanings.iter().map(asks_for_names).collect();
        let is_init = |identity: IdentityId| {
            let labels = side.input.cluster.labels(identity);
            labels.is_some_and(|l| l.with_key("init").any(|l| l.source == "reserved"))
        };
        let (rules_of, denied_by) = (side.rules_of.get(slot(d)), side.denied_by.get(slot(d)));
        let mut class_of = Vec::with_capacity(self.universe.groups);
        for (id, group) in self.universe.groups() {
            let Some((identity, _)) = group.on.get(at).copied().flatten() else {
                class_of.push(None);
                continue;
            };
            let mut rules: Vec<u32> = rules_of
                .and_then(|r| r.get(id.index()))
                .into_iter()
                .flatten()
                .filter_map(|r| side.meaning_of.get(r.0 as usize).copied())
                .collect();
            rules.sort_unstable();
            rules.dedup();
            let denied = denied_by.and_then(|l| l.get(id.index())).is_some_and(|l| !l.is_empty());
            let named = rules.iter().any(|m| of_names.get(*m as usize).copied().unwrap_or(false));
            let (rules, fallback) = match mode {
                EnforcementMode::Never => (Vec::new(), Fallback::Open),
                EnforcementMode::Always => (rules, Fallback::DefaultDeny),
                EnforcementMode::Default if denied || is_init(identity) => (rules, Fallback::DefaultDeny),
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

//! What selectors and other terms take in, each worked out once and when it is first asked for.

use crate::index::LabelIndex;
use crate::outside::Outside;
use crate::universe::{Input, NodeKind, Universe};
use fixedbitset::FixedBitSet;
use portcullis_ir::peer::PeerTerm;
use portcullis_ir::{LabelSet, Peers, PolicySet, Reserved, Selector, Subject};
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// What is known of selectors and terms over one universe, whatever the policies.
#[derive(Debug, Default)]
pub(crate) struct Selected {
    labels: Option<(LabelIndex, FixedBitSet)>,
    pub(crate) selectors: FxHashMap<Selector, FixedBitSet>,
    /// Terms that are not about labels.
    terms: FxHashMap<PeerTerm, FixedBitSet>,
}

/// The same for the ids of one policy set.
pub(crate) struct Select<'s> {
    universe: &'s Universe,
    policies: &'s PolicySet,
    index: &'s LabelIndex,
    exists: &'s FixedBitSet,
    by_selector: &'s mut FxHashMap<Selector, FixedBitSet>,
    by_term: &'s mut FxHashMap<PeerTerm, FixedBitSet>,
    outside: Outside<'s>,
    selectors: Vec<Option<FixedBitSet>>,
    terms: Vec<Option<FixedBitSet>>,
    subjects: Vec<Option<Rc<FixedBitSet>>>,
}

impl<'s> Select<'s> {
    pub(crate) fn new(universe: &'s Universe, at: usize, input: Input<'s>, known: &'s mut Selected) -> Self {
        let Selected { labels, selectors: by_selector, terms: by_term } = known;
        let (index, exists) = labels.get_or_insert_with(|| labels_of(universe, at, input));
        Self {
            universe,
            policies: input.policies,
            index,
            exists,
            by_selector,
            by_term,
            outside: Outside::new(universe),
            selectors: vec![None; input.policies.selectors.len()],
            terms: vec![None; input.policies.peers.len()],
            subjects: vec![None; input.policies.selectors.len()],
        }
    }

    /// The nodes that a selector matches.
    fn selector(&mut self, id: u32) -> FixedBitSet {
        if let Some(Some(known)) = self.selectors.get(id as usize) {
            return known.clone();
        }
        let Some(selector) = self.policies.selectors.get(id) else { return self.nobody() };
        let bits = if let Some(known) = self.by_selector.get(selector) {
            known.clone()
        } else {
            let mut bits = self.index.select(selector);
            bits.grow(self.universe.len());
            bits.intersect_with(self.exists);
            self.by_selector.insert(selector.clone(), bits.clone());
            bits
        };
        if let Some(slot) = self.selectors.get_mut(id as usize) {
            *slot = Some(bits.clone());
        }
        bits
    }

    /// The nodes that a term takes in.
    fn term(&mut self, id: u32) -> FixedBitSet {
        if let Some(Some(known)) = self.terms.get(id as usize) {
            return known.clone();
        }
        let bits = match self.policies.peers.get(id) {
            None | Some(PeerTerm::Nodes(_)) => self.nobody(),
            Some(PeerTerm::Labels(s)) => self.selector(*s),
            Some(other) => {
                if let Some(known) = self.by_term.get(other) {
                    known.clone()
                } else {
                    let mut bits = self.outside.select(self.universe, other);
                    bits.intersect_with(self.exists);
                    self.by_term.insert(other.clone(), bits.clone());
                    bits
                }
            }
        };
        if let Some(slot) = self.terms.get_mut(id as usize) {
            *slot = Some(bits.clone());
        }
        bits
    }

    /// The nodes that a rule is about.
    pub(crate) fn peers(&mut self, peers: &Peers) -> FixedBitSet {
        let mut bits = self.nobody();
        match peers {
            // "Every peer" means every peer there is, on whichever side it exists.
            Peers::All => bits.insert_range(..),
            Peers::Of(ids) => ids.iter().for_each(|id| bits.union_with(&self.term(*id))),
        }
        bits
    }

    /// The groups that a rule selects.
    pub(crate) fn groups_of(&mut self, subject: Subject) -> Rc<FixedBitSet> {
        let Subject::Endpoints(id) = subject else { return Rc::default() };
        if let Some(Some(known)) = self.subjects.get(id as usize) {
            return Rc::clone(known);
        }
        let mut bits = self.selector(id);
        let (groups, nodes) = (self.universe.groups, self.universe.len());
        if groups < nodes {
            bits.set_range(groups..nodes, false);
        }
        let bits = Rc::new(bits);
        if let Some(slot) = self.subjects.get_mut(id as usize) {
            *slot = Some(Rc::clone(&bits));
        }
        bits
    }

    /// Groups by selector, as far as they were asked for.
    pub(crate) fn into_subjects(self) -> Vec<Rc<FixedBitSet>> {
        self.subjects.into_iter().map(Option::unwrap_or_default).collect()
    }

    fn nobody(&self) -> FixedBitSet {
        FixedBitSet::with_capacity(self.universe.len())
    }
}

/// An index of the labels of every node on a side, and the nodes that exist there.
fn labels_of(universe: &Universe, at: usize, input: Input<'_>) -> (LabelIndex, FixedBitSet) {
    let empty = LabelSet::default();
    let world = [Reserved::WorldIpv4.labels(), Reserved::WorldIpv6.labels()];
    let reserved: Vec<LabelSet> = Reserved::ALL.iter().map(|r| r.labels()).collect();
    let mut exists = FixedBitSet::with_capacity(universe.len());
    let sets: Vec<&LabelSet> = universe
        .iter()
        .map(|(id, n)| {
            let set = match n {
                NodeKind::Group(g) => {
                    let on = g.on.get(at).copied().flatten();
                    on.and_then(|(identity, _)| input.cluster.labels(identity))
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
    (LabelIndex::new(sets), exists)
}

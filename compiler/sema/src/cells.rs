//! Cells: for a subject class, the peers split into parts that have the same row.

use crate::row::{Fallback, Meaning, Row};
use crate::side::{Evaluation, SubjectClass, asks_for_names, slot};
use crate::universe::NodeId;
use fixedbitset::FixedBitSet;
use portcullis_ir::cluster::NamedPort;
use portcullis_ir::{Direction, FlowPort, Reserved, Verdict};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::rc::Rc;

/// Peers of a subject class that share a row.
#[derive(Clone, Debug)]
pub struct Part {
    /// The peers.
    pub peers: FixedBitSet,
    /// Their row.
    pub row: Rc<Row>,
}

/// What makes a row: the rules, the receiver's named ports if asked for, and the fallback.
type RowKey = (Vec<u32>, Option<Vec<NamedPort>>, Fallback);

/// Side, direction and class.
type PartsKey = (usize, Direction, u32);

/// Rows and parts, computed once.
#[derive(Debug)]
pub struct Cells<'e, 'a> {
    /// What they are computed from.
    pub evaluation: &'e Evaluation<'a>,
    cache: Rc<CellCache>,
    host: Option<NodeId>,
}

/// What is computed once. Its keys are ids of an evaluation's own tables, so it goes with them.
#[derive(Debug, Default)]
pub(crate) struct CellCache {
    rows: RefCell<FxHashMap<RowKey, Rc<Row>>>,
    parts: RefCell<FxHashMap<PartsKey, Rc<Vec<Part>>>>,
    /// Rows by class and by which of its rules take in the peer, one bit a rule.
    masks: RefCell<FxHashMap<(u32, u64, Fallback), Rc<Row>>>,
}

/// Rules of a class up to which its peers are split rule by rule.
const FEW: usize = 128;

/// Rules that fit one mask.
const MASKED: usize = 64;

impl<'e, 'a> Cells<'e, 'a> {
    /// Nothing is computed before it is asked for.
    pub fn new(evaluation: &'e Evaluation<'a>) -> Self {
        let host = evaluation.universe.reserved(Reserved::Host);
        Self { evaluation, cache: Rc::clone(&evaluation.cells), host }
    }

    /// The parts of a class, disjoint, together every node, in order of their first peer.
    pub fn parts(&self, side: usize, d: Direction, class: u32) -> Rc<Vec<Part>> {
        let key = (side, d, class);
        if let Some(found) = self.cache.parts.borrow().get(&key) {
            return Rc::clone(found);
        }
        let made = Rc::new(self.partition(side, d, class));
        self.cache.parts.borrow_mut().insert(key, Rc::clone(&made));
        made
    }

    /// Forgets the parts, which are large; rows are small and stay.
    pub fn forget_parts(&self) {
        self.cache.parts.borrow_mut().clear();
    }

    fn partition(&self, side: usize, d: Direction, class: u32) -> Vec<Part> {
        let e = self.evaluation;
        let Some(class) = e.classes.get(class) else { return Vec::new() };
        let parts = if class.rules.len() <= FEW { self.split(class) } else { self.gather(class) };
        let mut out = Vec::with_capacity(parts.len());
        for (bits, rules) in parts {
            self.finish(side, d, class, bits, &rules, &mut out);
        }
        out.sort_by_key(|p: &Part| p.peers.minimum());
        out
    }

    /// Splits all peers by one rule after the other: bit sets all the way, for the usual few rules.
    fn split(&self, class: &SubjectClass) -> Vec<(FixedBitSet, Vec<u32>)> {
        let e = self.evaluation;
        let nodes = e.universe.len();
        let mut all = FixedBitSet::with_capacity(nodes);
        all.insert_range(..);
        let mut parts: Vec<(FixedBitSet, Vec<u32>)> = vec![(all, Vec::new())];
        for id in &class.rules {
            let Some(peers) = e.meanings.get(*id).and_then(|m| e.peer_sets.get(m.peers)) else { continue };
            let mut next = Vec::with_capacity(parts.len() + 1);
            for (bits, rules) in parts {
                let mut inside = bits.clone();
                inside.intersect_with(peers);
                if inside.is_clear() {
                    next.push((bits, rules));
                    continue;
                }
                let mut outside = bits;
                outside.difference_with(peers);
                let mut with = rules.clone();
                with.push(*id);
                next.push((inside, with));
                if !outside.is_clear() {
                    next.push((outside, rules));
                }
            }
            parts = next;
        }
        parts
    }

    /// Notes at each peer which rules take it in, and gathers peers with equal notes: for a subject of
    /// very many rules, most of which are about few peers.
    fn gather(&self, class: &SubjectClass) -> Vec<(FixedBitSet, Vec<u32>)> {
        let e = self.evaluation;
        let nodes = e.universe.len();
        let mut rules_at: Vec<Vec<u32>> = vec![Vec::new(); nodes];
        for id in &class.rules {
            let Some(peers) = e.meanings.get(*id).and_then(|m| e.peer_sets.get(m.peers)) else { continue };
            for n in peers.ones() {
                if let Some(rules) = rules_at.get_mut(n) {
                    rules.push(*id);
                }
            }
        }
        let mut index: FxHashMap<Vec<u32>, usize> = FxHashMap::default();
        let mut parts: Vec<(FixedBitSet, Vec<u32>)> = Vec::new();
        for (n, rules) in rules_at.into_iter().enumerate() {
            let at = *index.entry(rules.clone()).or_insert_with(|| {
                parts.push((FixedBitSet::with_capacity(nodes), rules));
                parts.len() - 1
            });
            if let Some((bits, _)) = parts.get_mut(at) {
                bits.insert(n);
            }
        }
        parts
    }

    /// Splits off what differs within a part for reasons other than rules: the host's own fallback,
    /// and named ports of the peers.
    fn finish(
        &self,
        side: usize,
        d: Direction,
        class: &SubjectClass,
        mut bits: FixedBitSet,
        rules: &[u32],
        out: &mut Vec<Part>,
    ) {
        let e = self.evaluation;
        if let Some(host) = self.host.filter(|h| bits.contains(h.index())) {
            let fallback = self.fallback(side, d, class, host);
            if fallback != class.fallback {
                bits.set(host.index(), false);
                let mut alone = FixedBitSet::with_capacity(e.universe.len());
                alone.insert(host.index());
                out.push(Part { peers: alone, row: self.row(rules, class.names.clone(), fallback) });
            }
        }
        let by_peer =
            d == Direction::Egress && rules.iter().filter_map(|m| e.meanings.get(*m)).any(asks_for_names);
        if !by_peer {
            if !bits.is_clear() {
                out.push(Part { peers: bits, row: self.row(rules, class.names.clone(), class.fallback) });
            }
            return;
        }
        let mut by_table: std::collections::BTreeMap<&[NamedPort], FixedBitSet> =
            std::collections::BTreeMap::new();
        for n in bits.ones() {
            let table = e.named_ports(side, NodeId(u32::try_from(n).unwrap_or(u32::MAX)));
            by_table.entry(table).or_insert_with(|| FixedBitSet::with_capacity(e.universe.len())).insert(n);
        }
        for (table, peers) in by_table {
            out.push(Part { peers, row: self.row(rules, Some(table.to_vec()), class.fallback) });
        }
    }

    fn fallback(&self, side: usize, d: Direction, class: &SubjectClass, peer: NodeId) -> Fallback {
        let localhost = self.evaluation.sides.get(side).is_some_and(|s| s.input.options.allow_localhost);
        if class.fallback == Fallback::DefaultDeny
            && d == Direction::Ingress
            && Some(peer) == self.host
            && localhost
        {
            Fallback::Localhost // SEM-5.5
        } else {
            class.fallback
        }
    }

    fn row(&self, rules: &[u32], names: Option<Vec<NamedPort>>, fallback: Fallback) -> Rc<Row> {
        let key = (rules.to_vec(), names, fallback);
        if let Some(row) = self.cache.rows.borrow().get(&key) {
            return Rc::clone(row);
        }
        let meanings: Vec<(u32, &Meaning)> =
            rules.iter().filter_map(|id| self.evaluation.meanings.get(*id).map(|m| (*id, m))).collect();
        let row = Rc::new(Row::new(&meanings, key.1.as_deref().unwrap_or(&[]), fallback));
        self.cache.rows.borrow_mut().insert(key, Rc::clone(&row));
        row
    }

    /// The row of one group about one peer.
    pub fn row_of(&self, side: usize, d: Direction, group: NodeId, peer: NodeId) -> Option<Rc<Row>> {
        let e = self.evaluation;
        let id = e.class(side, d, group)?;
        let class = e.classes.get(id)?;
        let takes_in = |m: &u32| {
            e.meanings
                .get(*m)
                .and_then(|m| e.peer_sets.get(m.peers))
                .is_some_and(|p| p.contains(peer.index()))
        };
        let fallback = self.fallback(side, d, class, peer);
        // This is asked for pairs of groups: no allocation where the row is known.
        let mask = (class.rules.len() <= MASKED).then(|| {
            class
                .rules
                .iter()
                .enumerate()
                .filter(|(_, m)| takes_in(m))
                .fold(0u64, |mask, (i, _)| mask | 1 << i)
        });
        if let Some(found) = mask.and_then(|m| self.cache.masks.borrow().get(&(id, m, fallback)).cloned()) {
            return Some(found);
        }
        let rules: Vec<u32> = class.rules.iter().copied().filter(|m| takes_in(m)).collect();
        let by_peer =
            d == Direction::Egress && rules.iter().filter_map(|m| e.meanings.get(*m)).any(asks_for_names);
        let names = if by_peer { Some(e.named_ports(side, peer).to_vec()) } else { class.names.clone() };
        let row = self.row(&rules, names, fallback);
        if let Some(mask) = mask.filter(|_| !by_peer) {
            self.cache.masks.borrow_mut().insert((id, mask, fallback), Rc::clone(&row));
        }
        Some(row)
    }

    /// The verdict of one group about one peer's flow, as the class engine sees it.
    pub fn verdict(
        &self,
        side: usize,
        d: Direction,
        group: NodeId,
        peer: NodeId,
        port: FlowPort,
    ) -> Option<Verdict> {
        let e = self.evaluation;
        let class = e.class(side, d, group)?;
        let parts = self.parts(side, d, class);
        let part = parts.iter().find(|p| p.peers.contains(peer.index()))?;
        part.row.at(crate::ports::coordinate(port)).map(|c| c.verdict)
    }

    /// Whether a group lets all its traffic through in a direction, whatever the peer: no rule
    /// selects it and nothing turned default deny on.
    pub fn is_open(&self, side: usize, d: Direction, group: NodeId) -> bool {
        let e = self.evaluation;
        e.sides.get(side).and_then(|s| s.class_of.get(slot(d))).is_some()
            && e.class(side, d, group)
                .and_then(|c| e.classes.get(c))
                .is_some_and(|c| c.rules.is_empty() && c.fallback == Fallback::Open)
    }
}

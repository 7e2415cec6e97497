//! Every stretch of every cell that differs between the sides, with what the other end says to it.
//!
//! Subjects are taken by their pair of classes (before, after): groups with equal pairs have equal
//! cells. Pairs of equal classes are skipped unseen, so the work follows the change and not the
//! size of the cluster. A flow between pods has two cells; one whose ingress cell differs is found
//! at its destination, one of which only the egress cell differs at its source, none twice.

use super::cause::{Source, source};
use super::model::FindingKind;
use super::{BASE, HEAD};
use crate::cells::{Cells, Part};
use crate::describe::is_shown;
use crate::ports::PortSet;
use crate::row::{Cell, Row};
use crate::side::Evaluation;
use crate::universe::NodeId;
use fixedbitset::FixedBitSet;
use portcullis_ir::{Direction, Verdict};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::rc::Rc;

/// One side's cells before and after. The side at which a change is found is told with its places;
/// the far side only by its verdicts, or every peer with a policy of its own would be a finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum SideKey {
    /// That end has no policy.
    Absent,
    /// Verdict and proxy rules stay as they are.
    Same(Verdict),
    /// They change, at the far side.
    Changes(Verdict, Verdict),
    /// They change: the places before and after, and the proxies' rules.
    Differs(Box<Differs>),
}

/// A side that changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Differs {
    pub(super) verdicts: (Verdict, Verdict),
    pub(super) sources: (Source, Source),
    pub(super) l7: (Option<String>, Option<String>),
}

/// Changes that a report says in one sentence, but for their ends and ports.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) kind: FindingKind,
    /// The direction whose cell was found to differ: the subject's side.
    pub(super) found: Direction,
    pub(super) ingress: SideKey,
    pub(super) egress: SideKey,
}

/// Peers and ports of one subject under one key.
pub(super) type Hits = BTreeMap<(NodeId, PortSet), FixedBitSet>;

/// One example for a key: subject, peer, and the four cells.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) subject: NodeId,
    pub(super) peer: NodeId,
    pub(super) near: (Cell, Cell),
    pub(super) far: Option<(Cell, Cell)>,
}

/// Everything that differs.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) found: BTreeMap<Key, (Sample, Hits)>,
    /// Workload pairs of which one side changes under the other side's steady denial.
    pub(super) masked: u64,
}

/// Parts of a pair of classes whose rows differ: peers, row before, row after.
type Differing = Vec<(FixedBitSet, Rc<Row>, Rc<Row>)>;

/// Finds every change.
pub(super) fn find(cells: &Cells<'_, '_>) -> Changes {
    let e = cells.evaluation;
    let mut out = Changes::default();
    let shown = shown(e);
    for d in [Direction::Ingress, Direction::Egress] {
        let mut pairs: BTreeMap<(u32, u32), Vec<NodeId>> = BTreeMap::new();
        for (id, _) in e.universe.groups() {
            if let (Some(b), Some(h)) = (e.class(BASE, d, id), e.class(HEAD, d, id))
                && b != h
            {
                pairs.entry((b, h)).or_default().push(id);
            }
        }
        for ((b, h), subjects) in pairs {
            let differing = compare(cells, d, b, h, &shown);
            cells.forget_parts();
            for subject in subjects {
                for (peers, before, after) in &differing {
                    Finder { cells, e, d, subject, out: &mut out }.part(peers, before, after);
                }
            }
        }
    }
    out
}

/// Nodes worth a word: shown ones, and groups that exist on both sides.
fn shown(e: &Evaluation<'_>) -> FixedBitSet {
    let mut bits = FixedBitSet::with_capacity(e.universe.len());
    for (id, node) in e.universe.iter() {
        let both = e.universe.group(id).is_none_or(|g| g.on.iter().all(Option::is_some));
        if is_shown(node) && both {
            bits.insert(id.index());
        }
    }
    bits
}

fn compare(cells: &Cells<'_, '_>, d: Direction, base: u32, head: u32, shown: &FixedBitSet) -> Differing {
    let before = cells.parts(BASE, d, base);
    let after = cells.parts(HEAD, d, head);
    // Peers by their pair of parts, each peer looked at once.
    let mut pairs: FxHashMap<(usize, usize), usize> = FxHashMap::default();
    let mut out: Vec<(usize, usize, FixedBitSet)> = Vec::new();
    let nodes = cells.evaluation.universe.len();
    let (part_before, part_after) = (part_of(&before, nodes), part_of(&after, nodes));
    for n in shown.ones() {
        let (Some(b), Some(h)) = (part_before.get(n), part_after.get(n)) else { continue };
        let at = *pairs.entry((*b, *h)).or_insert_with(|| {
            out.push((*b, *h, FixedBitSet::with_capacity(nodes)));
            out.len() - 1
        });
        if let Some((_, _, peers)) = out.get_mut(at) {
            peers.insert(n);
        }
    }
    out.into_iter()
        .filter_map(|(b, h, peers)| {
            let (b, h) = (&before.get(b)?.row, &after.get(h)?.row);
            (!same_effect(b, h)).then(|| (peers, Rc::clone(b), Rc::clone(h)))
        })
        .collect()
}

/// The part of each node.
fn part_of(parts: &[Part], nodes: usize) -> Vec<usize> {
    let mut of = vec![usize::MAX; nodes];
    for (at, part) in parts.iter().enumerate() {
        for n in part.peers.ones() {
            if let Some(slot) = of.get_mut(n) {
                *slot = at;
            }
        }
    }
    of
}

fn same_effect(a: &Rc<Row>, b: &Rc<Row>) -> bool {
    Rc::ptr_eq(a, b) || stretches(a, b).iter().all(|(_, _, x, y)| same_cell(x, y))
}

fn same_cell(a: &Cell, b: &Cell) -> bool {
    a.verdict == b.verdict && a.l7 == b.l7 && a.authenticates == b.authenticates
}

/// Both rows cut at each other's boundaries.
fn stretches<'r>(a: &'r Row, b: &'r Row) -> Vec<(u32, u32, &'r Cell, &'r Cell)> {
    let mut out = Vec::new();
    let mut rest = b.stretches().peekable();
    for (start, end, cell) in a.stretches() {
        let mut at = start;
        while let Some((_, other_end, other)) = rest.peek().copied() {
            let stop = end.min(other_end);
            if at < stop {
                out.push((at, stop, cell, other));
            }
            at = stop;
            if other_end <= end {
                rest.next();
            }
            if other_end >= end {
                break;
            }
        }
    }
    out
}

/// A stretch of coordinates with the far cells before and after, if there is a far end.
type Piece<'c> = (u32, u32, Option<(&'c Cell, &'c Cell)>);

struct Finder<'f, 'e, 'a> {
    cells: &'f Cells<'e, 'a>,
    e: &'e Evaluation<'a>,
    d: Direction,
    subject: NodeId,
    out: &'f mut Changes,
}

impl Finder<'_, '_, '_> {
    /// One part of the subject's peers whose rows differ.
    fn part(&mut self, peers: &FixedBitSet, before: &Row, after: &Row) {
        let groups = self.e.universe.groups;
        let near = stretches(before, after);
        let mut beyond = peers.clone();
        beyond.set_range(..groups.min(beyond.len()), false);
        if !beyond.is_clear() {
            self.record(&beyond, &near, None);
        }
        // Peers with one pair of classes at the far end have one pair of far rows.
        let mut far: FxHashMap<(Option<u32>, Option<u32>), FixedBitSet> = FxHashMap::default();
        let mut order: Vec<(Option<u32>, Option<u32>)> = Vec::new();
        let other = self.d.other();
        for n in peers.ones().take_while(|n| *n < groups) {
            let peer = node(n);
            let key = (self.e.class(BASE, other, peer), self.e.class(HEAD, other, peer));
            far.entry(key)
                .or_insert_with(|| {
                    order.push(key);
                    FixedBitSet::with_capacity(peers.len())
                })
                .insert(n);
        }
        // Many classes say the same of one subject: they are taken together by their rows.
        let mut by_rows: FxHashMap<(*const Row, *const Row), usize> = FxHashMap::default();
        let mut together: Vec<(Rc<Row>, Rc<Row>, FixedBitSet)> = Vec::new();
        for key in order {
            let Some(bits) = far.remove(&key) else { continue };
            let Some(first) = bits.minimum().map(node) else { continue };
            let rows = (
                self.cells.row_of(BASE, other, first, self.subject),
                self.cells.row_of(HEAD, other, first, self.subject),
            );
            let (Some(b), Some(h)) = rows else { continue };
            let at = *by_rows.entry((Rc::as_ptr(&b), Rc::as_ptr(&h))).or_insert(together.len());
            if let Some((_, _, all)) = together.get_mut(at) {
                all.union_with(&bits);
            } else {
                together.push((b, h, bits));
            }
        }
        for (b, h, bits) in together {
            self.record(&bits, &near, Some((&b, &h)));
        }
    }

    /// Combines the near cells with the far ones and files what changes.
    fn record(
        &mut self,
        peers: &FixedBitSet,
        near: &[(u32, u32, &Cell, &Cell)],
        far: Option<(&Rc<Row>, &Rc<Row>)>,
    ) {
        let Some(peer) = peers.minimum().map(node) else { return };
        let mut by_key: BTreeMap<Key, (PortSet, Sample)> = BTreeMap::new();
        let mut masked = false;
        for (start, end, nb, nh) in near {
            if same_cell(nb, nh) {
                continue;
            }
            let pieces: Vec<Piece<'_>> = match far {
                None => vec![(*start, *end, None)],
                Some((b, h)) => stretches(b, h)
                    .into_iter()
                    .filter(|(s, e, ..)| *s < *end && *e > *start)
                    .map(|(s, e, x, y)| (s.max(*start), e.min(*end), Some((x, y))))
                    .collect(),
            };
            for (s, e, far_cells) in pieces {
                // A flow whose ingress cell differs is found at its destination only.
                if self.d == Direction::Egress && far_cells.is_some_and(|(x, y)| !same_cell(x, y)) {
                    continue;
                }
                let allowed = |near: &Cell, far: Option<&Cell>| {
                    near.verdict == Verdict::Allowed && far.is_none_or(|f| f.verdict == Verdict::Allowed)
                };
                let before = allowed(nb, far_cells.map(|f| f.0));
                let after = allowed(nh, far_cells.map(|f| f.1));
                let kind = match (before, after) {
                    (true, false) => FindingKind::Denied,
                    (false, true) => FindingKind::Allowed,
                    (true, true) => FindingKind::L7,
                    (false, false) => {
                        masked = true;
                        continue;
                    }
                };
                let key = self.key(kind, (nb, nh), far_cells);
                let entry = by_key.entry(key).or_insert_with(|| {
                    let sample = Sample {
                        subject: self.subject,
                        peer,
                        near: ((*nb).clone(), (*nh).clone()),
                        far: far_cells.map(|(x, y)| (x.clone(), y.clone())),
                    };
                    (PortSet::default(), sample)
                });
                entry.0.push(s, e);
            }
        }
        if masked {
            self.out.masked += self.pairs(peers);
        }
        for (key, (ports, sample)) in by_key {
            let (_, hits) = self.out.found.entry(key).or_insert_with(|| (sample, Hits::new()));
            hits.entry((self.subject, ports))
                .or_insert_with(|| FixedBitSet::with_capacity(peers.len()))
                .union_with(peers);
        }
    }

    fn pairs(&self, peers: &FixedBitSet) -> u64 {
        let workloads = |id: NodeId| self.e.universe.group(id).map_or(1, |g| g.workloads.len() as u64);
        peers.ones().map(|n| workloads(node(n))).sum::<u64>() * workloads(self.subject)
    }

    fn key(&self, kind: FindingKind, near: (&Cell, &Cell), far: Option<(&Cell, &Cell)>) -> Key {
        let near_key = self.near_key(near);
        let far_key = far.map_or(SideKey::Absent, |(b, h)| {
            if same_cell(b, h) { SideKey::Same(b.verdict) } else { SideKey::Changes(b.verdict, h.verdict) }
        });
        let (ingress, egress) = match self.d {
            Direction::Ingress => (near_key, far_key),
            Direction::Egress => (far_key, near_key),
        };
        Key { kind, found: self.d, ingress, egress }
    }

    fn near_key(&self, (b, h): (&Cell, &Cell)) -> SideKey {
        let (d, subject) = (self.d, self.subject);
        SideKey::Differs(Box::new(Differs {
            verdicts: (b.verdict, h.verdict),
            sources: (source(self.e, BASE, d, subject, b), source(self.e, HEAD, d, subject, h)),
            l7: (b.asks(), h.asks()),
        }))
    }
}

pub(super) fn node(n: usize) -> NodeId {
    NodeId(u32::try_from(n).unwrap_or(u32::MAX))
}

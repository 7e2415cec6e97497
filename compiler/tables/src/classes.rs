//! Peer classes and subject classes of the image.
//!
//! Subject classes are finer here than for a review: a cell names its cause, so endpoints whose rules
//! or default come from other places are told apart even where their verdicts agree. Peer classes are
//! as coarse as the image allows: identities that stand in the same part of every subject class.

use fixedbitset::FixedBitSet;
use portcullis_ir::{Direction, EnforcementId, RuleId};
use portcullis_sema::cells::{Cells, Part};
use portcullis_sema::side::slot;
use portcullis_sema::universe::NodeId;
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// What makes a subject class: direction, the class that decides, and the places behind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    direction: usize,
    class: u32,
    rules: Vec<RuleId>,
    denied_by: Vec<EnforcementId>,
}

/// One subject class.
#[derive(Clone, Debug)]
pub struct SubjectClass {
    /// Ingress or egress.
    pub direction: Direction,
    /// The first endpoint group of it: its rules and enforcements are those of all.
    pub example: NodeId,
    /// The parts of its peers, the largest first.
    pub parts: Vec<Part>,
}

/// Every class of an image.
#[derive(Clone, Debug, Default)]
pub struct Classes {
    /// In order of direction and first endpoint group.
    pub subjects: Vec<SubjectClass>,
    /// By endpoint group: ingress and egress subject class, as indices of `subjects`.
    pub subject_of: Vec<[Option<usize>; 2]>,
    /// By identity.
    pub peer_class: Vec<usize>,
    /// The first identity of each peer class.
    pub peers: Vec<NodeId>,
}

impl Classes {
    /// The classes of side 0; `wanted` groups only (a node's own endpoints), all if not given.
    pub fn new(cells: &Cells<'_, '_>, wanted: Option<&FixedBitSet>) -> Self {
        let e = cells.evaluation;
        let mut out = Self { subject_of: vec![[None; 2]; e.universe.groups], ..Self::default() };
        for d in Direction::BOTH {
            let mut index: FxHashMap<Key, usize> = FxHashMap::default();
            for (id, _) in e.universe.groups().filter(|(id, _)| wanted.is_none_or(|w| w.contains(id.index())))
            {
                let Some(class) = e.class(0, d, id) else { continue };
                let rules = e
                    .sides
                    .first()
                    .and_then(|s| s.rules_of.get(slot(d))?.get(id.index()).cloned())
                    .unwrap_or_default();
                let key =
                    Key { direction: slot(d), class, rules, denied_by: e.default_deny(0, d, id).to_vec() };
                let at = *index.entry(key).or_insert_with(|| {
                    out.subjects.push(SubjectClass {
                        direction: d,
                        example: id,
                        parts: parts(cells, d, class),
                    });
                    out.subjects.len() - 1
                });
                if let Some(slot) = out.subject_of.get_mut(id.index()).and_then(|s| s.get_mut(slot(d))) {
                    *slot = Some(at);
                }
            }
        }
        out.refine(e.universe.len());
        out
    }

    /// Splits identities by every part but the largest of each subject class, which is what remains.
    fn refine(&mut self, identities: usize) {
        let mut class = vec![0usize; identities];
        let mut sizes = vec![identities];
        for subject in &self.subjects {
            for part in subject.parts.iter().skip(1) {
                let mut inside: FxHashMap<usize, Vec<usize>> = FxHashMap::default();
                let mut order = Vec::new();
                for n in part.peers.ones() {
                    let Some(c) = class.get(n).copied() else { continue };
                    inside
                        .entry(c)
                        .or_insert_with(|| {
                            order.push(c);
                            Vec::new()
                        })
                        .push(n);
                }
                for c in order {
                    let Some(members) = inside.remove(&c) else { continue };
                    let Some(size) = sizes.get_mut(c) else { continue };
                    if members.len() == *size {
                        continue;
                    }
                    *size -= members.len();
                    sizes.push(members.len());
                    for n in members {
                        if let Some(slot) = class.get_mut(n) {
                            *slot = sizes.len() - 1;
                        }
                    }
                }
            }
        }
        // Numbers in order of the first identity.
        let mut number: FxHashMap<usize, usize> = FxHashMap::default();
        for (n, c) in (0u32..).zip(&mut class) {
            let next = number.len();
            *c = *number.entry(*c).or_insert_with(|| {
                self.peers.push(NodeId(n));
                next
            });
        }
        self.peer_class = class;
    }
}

/// The parts of a class, the largest first, so that most of an image's pages are zero.
fn parts(cells: &Cells<'_, '_>, d: Direction, class: u32) -> Vec<Part> {
    let mut parts: Vec<Part> = Rc::unwrap_or_clone(cells.parts(0, d, class));
    parts.sort_by_key(|p| (std::cmp::Reverse(p.peers.count_ones(..)), p.peers.minimum()));
    parts
}

//! Peer classes and subject classes of the image.
//!
//! Subject classes are finer here than for a review: a cell names its cause, so endpoints whose rules
//! or default come from other places are told apart even where their verdicts agree. Peer classes are
//! as coarse as the image allows: identities that stand in the same part of every subject class.

use crate::memo::{Known, Memo};
use crate::rows::{Behind, Place, Places, placed};
use crate::writer::to_u32;
use fixedbitset::FixedBitSet;
use portcullis_ir::Direction;
use portcullis_sema::cells::{Cells, Part};
use portcullis_sema::side::slot;
use portcullis_sema::universe::NodeId;
use rustc_hash::FxHashMap;
use std::cell::Cell;
use std::rc::Rc;

/// What makes a subject class: direction, the class that decides, and the places behind it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    direction: usize,
    class: u32,
    rules: Vec<(Place, u32)>,
    denied_by: Vec<Place>,
}

/// One subject class.
#[derive(Clone, Debug)]
pub struct SubjectClass {
    /// Ingress or egress.
    pub direction: Direction,
    /// Its parts and rows.
    pub(crate) known: Rc<Known>,
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
    pub(crate) fn new(
        cells: &Cells<'_, '_>,
        wanted: Option<&FixedBitSet>,
        places: &Places,
        memo: &mut Memo,
    ) -> Self {
        let e = cells.evaluation;
        let mut out = Self { subject_of: vec![[None; 2]; e.universe.groups], ..Self::default() };
        let Some(side) = e.sides.first() else { return out };
        for d in Direction::BOTH {
            let mut index: FxHashMap<Key, usize> = FxHashMap::default();
            for (id, _) in e.universe.groups().filter(|(id, _)| wanted.is_none_or(|w| w.contains(id.index())))
            {
                let Some(class) = e.class(0, d, id) else { continue };
                let rules = side.rules_of.get(slot(d)).and_then(|r| r.get(id.index())).into_iter().flatten();
                let key = Key {
                    direction: slot(d),
                    class,
                    rules: rules
                        .map(|r| {
                            let meaning = side.meaning_of.get(r.0 as usize).copied();
                            (places.rule(*r), meaning.unwrap_or(u32::MAX))
                        })
                        .collect(),
                    denied_by: e.default_deny(0, d, id).iter().map(|n| places.enforcement(*n)).collect(),
                };
                let at = index.get(&key).copied().unwrap_or_else(|| {
                    out.subjects.push(subject(cells, d, class, &key, memo));
                    index.insert(key, out.subjects.len() - 1);
                    out.subjects.len() - 1
                });
                if let Some(slot) = out.subject_of.get_mut(id.index()).and_then(|s| s.get_mut(slot(d))) {
                    *slot = Some(at);
                }
            }
        }
        memo.subjects = std::mem::take(&mut memo.used);
        // The memo has them in the order that images want.
        cells.forget_parts();
        out.refine(e.universe.len(), memo);
        out
    }

    /// Splits identities by every part but the largest of each subject class, which is what remains.
    fn refine(&mut self, identities: usize, memo: &Memo) {
        let mut class = vec![0usize; identities];
        let mut sizes = vec![identities];
        // By class: how many of its members the part at hand has, then the class that those go to.
        let mut inside: Vec<usize> = vec![0];
        let mut touched: Vec<usize> = Vec::new();
        // Many subject classes have parts in common.
        let mut seen = FixedBitSet::with_capacity(memo.members.len());
        let parts = self.subjects.iter().flat_map(|s| &s.known.parts).filter(|p| !seen.put(**p as usize));
        for members in parts.filter_map(|p| memo.members.get(*p)) {
            for n in members {
                let Some(c) = class.get(*n as usize) else { continue };
                let Some(count) = inside.get_mut(*c) else { continue };
                if *count == 0 {
                    touched.push(*c);
                }
                *count += 1;
            }
            let mut splits = false;
            for c in &touched {
                let (Some(count), Some(size)) = (inside.get_mut(*c), sizes.get_mut(*c)) else { continue };
                let here = std::mem::replace(count, *c);
                if here < *size {
                    *size -= here;
                    *count = sizes.len();
                    sizes.push(here);
                    inside.push(0);
                    splits = true;
                }
            }
            // Most parts split nothing that earlier ones have not.
            if splits {
                for n in members {
                    let Some(c) = class.get_mut(*n as usize) else { continue };
                    *c = inside.get(*c).copied().unwrap_or(*c);
                }
            }
            for c in touched.drain(..) {
                if let Some(count) = inside.get_mut(c) {
                    *count = 0;
                }
            }
        }
        // Numbers in order of the first identity.
        let mut number: Vec<Option<usize>> = vec![None; sizes.len()];
        for (n, c) in (0u32..).zip(&mut class) {
            let Some(slot) = number.get_mut(*c) else { continue };
            *c = *slot.get_or_insert_with(|| {
                self.peers.push(NodeId(n));
                self.peers.len() - 1
            });
        }
        self.peer_class = class;
    }
}

/// A subject class, as the memo knows it or from its cells.
fn subject(cells: &Cells<'_, '_>, d: Direction, class: u32, key: &Key, memo: &mut Memo) -> SubjectClass {
    if let Some((key, known)) = memo.subjects.remove_entry(key) {
        let out = SubjectClass { direction: d, known: Rc::clone(&known) };
        memo.used.insert(key, known);
        return out;
    }
    let parts = cells.parts(0, d, class);
    let mut parts: Vec<&Part> = parts.iter().collect();
    parts.sort_by_key(|p| (std::cmp::Reverse(p.peers.count_ones(..)), p.peers.minimum()));
    let behind = Behind { rules: &key.rules, denied_by: &key.denied_by };
    let mut rows: Vec<u32> = Vec::new();
    let mut row_of = Vec::with_capacity(parts.len());
    for part in &parts {
        let row = placed(&part.row, &behind, memo);
        let row = memo.rows.intern(row);
        row_of.push(rows.iter().position(|r| *r == row).unwrap_or_else(|| {
            rows.push(row);
            rows.len() - 1
        }));
    }
    let members = |p: &&Part| p.peers.ones().map(to_u32).collect::<Box<[u32]>>();
    let known = Rc::new(Known {
        parts: parts.iter().skip(1).map(|p| memo.members.intern(members(p))).collect(),
        rows,
        row_of: row_of.split_off(1.min(row_of.len())),
        array: Cell::new(None),
    });
    memo.used.insert(key.clone(), Rc::clone(&known));
    SubjectClass { direction: d, known }
}

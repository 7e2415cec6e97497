//! What the compiler says an addition opens, held against the bound.

use crate::bound::Bound;
use portcullis_ir::{Direction, IdentityId, Verdict};
use portcullis_sema::cells::{Cells, Part};
use portcullis_sema::ports::PortSet;
use portcullis_sema::row::Row;
use portcullis_sema::side::Evaluation;
use portcullis_sema::universe::{Group, Input, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// What changes on the sides of pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Pairs of a group of pods and a peer between which a side allows more than before.
    pub wider: u64,
    /// Those of them that are not within the bound. An addition with one is not to be shown.
    pub beyond: u64,
    /// Those between which a side allows less, or asks other things of a proxy where no addition says so.
    pub other: u64,
    /// Those between which a proxy lets more requests through, as additions say.
    pub requests: u64,
}

/// Compares policies before and after additions, side by side, in every direction and about every peer and port.
pub fn opened(before: Input<'_>, after: Input<'_>, bound: &Bound) -> Opened {
    let evaluation = Evaluation::new(&[before, after], &[]);
    let cells = Cells::new(&evaluation);
    let mut out = Opened::default();
    let identity = |g: &Group| -> Option<IdentityId> { g.on.first().copied().flatten().map(|(i, _)| i) };
    for d in Direction::BOTH {
        // Groups of one pair of classes change alike.
        let mut pairs: BTreeMap<(u32, u32), Vec<IdentityId>> = BTreeMap::new();
        for (id, group) in evaluation.universe.groups() {
            let (Some(a), Some(b)) = (evaluation.class(0, d, id), evaluation.class(1, d, id)) else {
                continue;
            };
            if a != b
                && let Some(subject) = identity(group)
            {
                pairs.entry((a, b)).or_default().push(subject);
            }
        }
        for ((a, b), subjects) in pairs {
            let (old, new) = (cells.parts(0, d, a), cells.parts(1, d, b));
            for (x, y) in old.iter().flat_map(|x| new.iter().map(move |y| (x, y))) {
                let Some(change) = Change::of(x, y) else { continue };
                for n in x.peers.intersection(&y.peers) {
                    let Some(node) = evaluation.universe.node(NodeId(u32::try_from(n).unwrap_or(u32::MAX)))
                    else {
                        continue;
                    };
                    for subject in &subjects {
                        let said = |(of, whom): &(Direction, BTreeSet<IdentityId>)| {
                            *of == d && whom.contains(subject)
                        };
                        if change.l7 && !change.less && bound.requests.iter().any(said) {
                            out.requests += 1;
                        } else {
                            out.other += u64::from(change.less || change.l7);
                        }
                        if change.wider.is_empty() {
                            continue;
                        }
                        out.wider += 1;
                        let mut left = change.wider.clone();
                        for p in &bound.products {
                            if p.direction == d
                                && p.subjects.contains(subject)
                                && p.peers.has_node(node, identity)
                            {
                                left = left.minus(&p.ports);
                            }
                        }
                        out.beyond += u64::from(!left.is_empty());
                    }
                }
            }
            cells.forget_parts();
        }
    }
    out
}

struct Change {
    wider: PortSet,
    /// Something is allowed no more.
    less: bool,
    /// Of something that is allowed before and after, a proxy is asked another thing.
    l7: bool,
}

impl Change {
    fn of(before: &Part, after: &Part) -> Option<Self> {
        if before.row == after.row || before.peers.is_disjoint(&after.peers) {
            return None;
        }
        let (old, new) = (before.row.allowed(), after.row.allowed());
        let wider = new.minus(&old);
        let less = !old.minus(&new).is_empty();
        let l7 = proxies_differ(&before.row, &after.row);
        (less || l7 || !wider.is_empty()).then_some(Self { wider, less, l7 })
    }
}

/// Whether what a proxy is asked differs somewhere that is allowed before and after.
fn proxies_differ(a: &Row, b: &Row) -> bool {
    a.stretches().any(|(start, end, x)| {
        b.stretches().any(|(from, to, y)| {
            start.max(from) < end.min(to)
                && x.verdict == Verdict::Allowed
                && y.verdict == Verdict::Allowed
                && x.asks() != y.asks()
        })
    })
}

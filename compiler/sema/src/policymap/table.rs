//! One direction of one policy map: what its rules would write, and what of it is written.

use super::key::PortKey;
use fixedbitset::FixedBitSet;
use portcullis_ir::{Action, RuleId, Tier};
use std::collections::BTreeMap;
use std::rc::Rc;

/// How an entry weighs against others of its order; lower wins (SEM-6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strength {
    /// Drops.
    Deny,
    /// Lets through to a proxy.
    Redirect,
    /// Lets through.
    Allow,
    /// Leaves it to the next tier; never written.
    Pass,
}

/// One step on the way to an entry's precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// A rule of this tier, order and strength.
    Rule(Tier, (i32, u32), Strength),
    /// The node's own host reaches its pods (SEM-5.5).
    Localhost,
    /// Nothing turned default deny on.
    Open,
    /// Default deny: what has no entry is dropped, so it is written only where a pass leads to it.
    DefaultDeny,
}

/// Precedence, lower first: the passes that lead to a rule (SEM-6.4), then the rule.
pub type Precedence = Vec<Step>;

/// Whether entries of this precedence drop.
pub(super) fn denies(p: &[Step]) -> bool {
    matches!(p.last(), Some(Step::Rule(_, _, Strength::Deny) | Step::DefaultDeny))
}

/// Whom entries of one key and precedence are about.
#[derive(Clone, Debug, Default)]
pub(super) struct Whom {
    /// Every identity, by the wildcard.
    pub(super) any: bool,
    /// These, by their own numbers.
    pub(super) ids: FixedBitSet,
}

impl Whom {
    fn is_nobody(&self) -> bool {
        !self.any && self.ids.is_clear()
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.any |= other.any;
        self.ids.union_with(&other.ids);
    }
}

/// What one rule (or none: an implicit entry) would write at one key.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) rule: Option<RuleId>,
    pub(super) key: PortKey,
    pub(super) precedence: Precedence,
    pub(super) whom: Rc<Whom>,
}

/// Entries by key and precedence.
pub(super) type Table = BTreeMap<PortKey, BTreeMap<Precedence, Whom>>;

/// The strength of a rule's entries.
pub(super) const fn strength(action: Action, redirects: bool) -> Strength {
    match (action, redirects) {
        (Action::Deny, _) => Strength::Deny,
        (Action::Allow, true) => Strength::Redirect,
        (Action::Allow, false) => Strength::Allow,
        (Action::Pass, _) => Strength::Pass,
    }
}

fn tier(p: &[Step]) -> Option<Tier> {
    match p.first() {
        Some(Step::Rule(t, ..)) => Some(*t),
        _ => None,
    }
}

fn passes(p: &[Step]) -> bool {
    matches!(p.last(), Some(Step::Rule(_, _, Strength::Pass)))
}

/// Raises what passes lead to (SEM-6.4): the part of a wish that a pass of an earlier tier takes in is
/// written under that pass's precedence, at the narrower of both keys. The passes themselves are left out, and
/// so is default deny where no pass leads to it.
pub(super) fn resolve_passes(wishes: Vec<Wish>) -> Vec<Wish> {
    let (mut passing, others): (Vec<Wish>, Vec<Wish>) =
        wishes.into_iter().partition(|w| passes(&w.precedence));
    passing.sort_by(|a, b| (&a.precedence, a.key).cmp(&(&b.precedence, b.key)));
    let mut out = others;
    // The later tier first: what it raises is then raised once more by the earlier one.
    for at in [Tier::Baseline, Tier::Admin] {
        let of_tier: Vec<&Wish> = passing.iter().filter(|p| tier(&p.precedence) == Some(at)).collect();
        if !of_tier.is_empty() {
            out = out.into_iter().flat_map(|w| raise(w, at, &of_tier)).collect();
        }
    }
    out.retain(|w| w.precedence != [Step::DefaultDeny]);
    out
}

/// One wish under the passes of one tier.
fn raise(wish: Wish, at: Tier, passing: &[&Wish]) -> Vec<Wish> {
    if tier(&wish.precedence).is_some_and(|t| t <= at) {
        return vec![wish];
    }
    // Every place at which the wish and some passes meet; one that passes raise in full is not its own.
    let mut places: BTreeMap<PortKey, Whom> = BTreeMap::from([(wish.key, (*wish.whom).clone())]);
    loop {
        let mut more: Vec<(PortKey, Whom)> = Vec::new();
        for (key, whom) in &places {
            for p in passing {
                let Some(narrow) = key.meet(p.key) else { continue };
                let both = meet(whom, &p.whom);
                let known = places.get(&narrow);
                let news = Whom {
                    any: both.any && !known.is_some_and(|k| k.any),
                    ids: match known {
                        Some(k) => both.ids.difference(&k.ids).collect(),
                        None => both.ids,
                    },
                };
                if !news.is_nobody() {
                    more.push((narrow, news));
                }
            }
        }
        if more.is_empty() {
            break;
        }
        for (key, whom) in more {
            places.entry(key).or_default().add(&whom);
        }
    }
    let mut out = Vec::new();
    for (key, mut left) in places {
        for p in passing.iter().filter(|p| p.key.covers(key)) {
            let taken = Whom {
                any: left.any && p.whom.any,
                ids: if p.whom.any { left.ids.clone() } else { left.ids.intersection(&p.whom.ids).collect() },
            };
            if taken.is_nobody() {
                continue;
            }
            left.any &= !taken.any;
            left.ids.difference_with(&taken.ids);
            let step = p.precedence.first().copied();
            let precedence: Precedence = step.into_iter().chain(wish.precedence.iter().copied()).collect();
            out.push(Wish { rule: wish.rule, key, precedence, whom: Rc::new(taken) });
        }
        if key == wish.key && !left.is_nobody() {
            out.push(Wish { whom: Rc::new(left), precedence: wish.precedence.clone(), ..wish });
        }
    }
    out
}

/// Whom both are about.
fn meet(a: &Whom, b: &Whom) -> Whom {
    let ids = match (a.any, b.any) {
        (true, true) => a.ids.union(&b.ids).collect(),
        (true, false) => b.ids.clone(),
        (false, true) => a.ids.clone(),
        (false, false) => a.ids.intersection(&b.ids).collect(),
    };
    Whom { any: a.any && b.any, ids }
}

/// What is written of the wishes: no entry stays that another covers, with an equal or broader key for the
/// same or every identity, if the other decides before it or denies beside it.
pub(super) fn written(wishes: &[Wish]) -> Table {
    let mut wished = Table::new();
    for w in wishes {
        wished.entry(w.key).or_default().entry(w.precedence.clone()).or_default().add(&w.whom);
    }
    let mut out = Table::new();
    for (key, levels) in &wished {
        for (precedence, whom) in levels {
            let mut left = whom.clone();
            for broad in key.covering() {
                for (other, by) in wished.get(&broad).into_iter().flatten() {
                    let beside = other == precedence && denies(other);
                    if other > precedence || (other == precedence && !beside) {
                        continue;
                    }
                    let same_key = broad == *key && beside;
                    if by.any {
                        // At the same key the wildcard stands for itself.
                        left.any &= same_key;
                        left.ids.clear();
                    } else if !same_key {
                        left.ids.difference_with(&by.ids);
                    }
                }
            }
            if !left.is_nobody() {
                out.entry(*key).or_default().insert(precedence.clone(), left);
            }
        }
    }
    trim(&mut out);
    out
}

/// Leaves out default deny where no entry lets through what it drops.
fn trim(table: &mut Table) {
    let is_default = |p: &[Step]| p.last() == Some(&Step::DefaultDeny);
    let default: Vec<(PortKey, Precedence)> = table
        .iter()
        .flat_map(|(key, levels)| levels.keys().map(move |p| (*key, p.clone())))
        .filter(|(_, p)| is_default(p))
        .collect();
    for (key, precedence) in default {
        let mut let_through = Whom::default();
        for broad in key.covering() {
            for (p, whom) in table.get(&broad).into_iter().flatten() {
                if !denies(p) {
                    let_through.add(whom);
                }
            }
        }
        let Some(levels) = table.get_mut(&key) else { continue };
        let Some(whom) = levels.get_mut(&precedence) else { continue };
        whom.any &= !let_through.is_nobody();
        if !let_through.any {
            whom.ids.intersect_with(&let_through.ids);
        }
        if whom.is_nobody() {
            levels.remove(&precedence);
        }
        if levels.is_empty() {
            table.remove(&key);
        }
    }
}

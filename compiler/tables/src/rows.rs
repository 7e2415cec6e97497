//! Rows in terms that outlive one image: which rules stand behind each stretch of ports, by names that
//! stay the same while other policies come and go.

use crate::cause::Cause;
use crate::memo::Memo;
use portcullis_diag::ObjectRef;
use portcullis_ir::intern::Interner;
use portcullis_ir::{EnforcementId, PolicySet, RuleId, Verdict};
use portcullis_sema::row::{Cell, Fallback, Row, Why};
use rustc_hash::FxHashMap;

/// A policy's number, and the place of a rule or enforcement among the policy's own.
pub(crate) type Place = (u32, u32);

/// Rules and enforcements by places, and back.
#[derive(Debug, Default)]
pub(crate) struct Places {
    rules: Vec<Place>,
    enforcements: Vec<Place>,
    rule_at: FxHashMap<Place, RuleId>,
    enforcement_at: FxHashMap<Place, EnforcementId>,
}

impl Places {
    /// The places in one policy set; policies keep the numbers they have.
    pub(crate) fn new(set: &PolicySet, numbers: &mut Interner<ObjectRef>) -> Self {
        let of: Vec<u32> = set.policies.iter().map(|p| numbers.intern(p.object.clone())).collect();
        let mut out = Self::default();
        let place = |list: &mut Vec<Place>, policy: u32| {
            let number = of.get(policy as usize).copied().unwrap_or(u32::MAX);
            let at = match list.last() {
                Some((last, at)) if *last == number => at + 1,
                _ => 0,
            };
            list.push((number, at));
            (number, at)
        };
        for (id, rule) in set.rules() {
            let at = place(&mut out.rules, rule.policy.0);
            out.rule_at.insert(at, id);
        }
        for (id, e) in set.enforcements() {
            let at = place(&mut out.enforcements, e.policy.0);
            out.enforcement_at.insert(at, id);
        }
        out
    }

    pub(crate) fn rule(&self, id: RuleId) -> Place {
        self.rules.get(id.0 as usize).copied().unwrap_or_default()
    }

    pub(crate) fn enforcement(&self, id: EnforcementId) -> Place {
        self.enforcements.get(id.0 as usize).copied().unwrap_or_default()
    }

    /// The cause with the ids of this policy set.
    pub(crate) fn cause(&self, cause: &PlacedCause) -> Cause {
        match cause {
            PlacedCause::NotEnforced => Cause::NotEnforced,
            PlacedCause::Localhost => Cause::Localhost,
            PlacedCause::DefaultDeny(at) => {
                Cause::DefaultDeny(at.iter().filter_map(|p| self.enforcement_at.get(p).copied()).collect())
            }
            PlacedCause::Rules(at) => {
                Cause::Rules(at.iter().filter_map(|p| self.rule_at.get(p).copied()).collect())
            }
        }
    }
}

/// [`Cause`] by places, in the order of the policy set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PlacedCause {
    NotEnforced,
    Localhost,
    DefaultDeny(Vec<Place>),
    Rules(Vec<Place>),
}

/// A verdict word before it has a number: its flags and its cause in the memo's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PlacedWord {
    pub(crate) flags: u32,
    pub(crate) cause: u32,
}

/// Words, in the memo's table, by the first coordinate of their stretch; no two neighbours are equal, so that
/// equal rows are equal lists.
pub(crate) type PlacedRow = Vec<(u32, u32)>;

/// Rules that select a subject and their meanings; enforcements that turn default deny on for it.
pub(crate) struct Behind<'b> {
    pub(crate) rules: &'b [(Place, u32)],
    pub(crate) denied_by: &'b [Place],
}

/// The row of one part of one subject.
pub(crate) fn placed(row: &Row, behind: &Behind<'_>, memo: &mut Memo) -> PlacedRow {
    let mut out = PlacedRow::new();
    for (start, _, cell) in row.stretches() {
        let word = word(cell, behind, &mut memo.causes);
        let word = memo.words.intern(word);
        if out.last().is_none_or(|(_, last)| *last != word) {
            out.push((start, word));
        }
    }
    out
}

fn word(cell: &Cell, behind: &Behind<'_>, causes: &mut Interner<PlacedCause>) -> PlacedWord {
    use portcullis_abi::word;
    let cause = match &cell.why {
        Why::Rules(meanings) => PlacedCause::Rules(
            behind.rules.iter().filter(|(_, m)| meanings.contains(m)).map(|(at, _)| *at).collect(),
        ),
        Why::Fallback(Fallback::Open) => PlacedCause::NotEnforced,
        Why::Fallback(Fallback::Localhost) => PlacedCause::Localhost,
        Why::Fallback(Fallback::DefaultDeny) => PlacedCause::DefaultDeny(behind.denied_by.to_vec()),
    };
    let mut flags = 0;
    if cell.verdict == Verdict::Allowed {
        flags |= word::ALLOW;
        if cell.l7.is_some() {
            flags |= word::REDIRECT;
        }
        if cell.authenticates && matches!(cell.why, Why::Rules(_)) {
            flags |= word::AUTHENTICATE;
        }
    }
    PlacedWord { flags, cause: causes.intern(cause) }
}

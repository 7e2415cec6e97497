//! From a cell to the rules and lines behind it.

use super::model::{Cause, PolicyRef, RuleRef, SideVerdict};
use crate::row::{Cell, Fallback, Why};
use crate::side::Evaluation;
use crate::universe::NodeId;
use portcullis_ir::{Direction, EnforcementId, PolicySet, RuleId, Subject};

/// A rule with its policy and place.
pub fn rule_ref(set: &PolicySet, id: RuleId) -> Option<RuleRef> {
    let rule = set.rule(id)?;
    let policy = set.policy(rule.policy)?;
    Some(RuleRef {
        policy: policy.object.clone(),
        span: rule.span,
        entry: rule.entry,
        action: rule.action,
        tier: rule.tier,
    })
}

/// The policy behind an enforcement, with the line that selects.
pub fn policy_ref(set: &PolicySet, id: EnforcementId) -> Option<PolicyRef> {
    let e = set.enforcement(id)?;
    let policy = set.policy(e.policy)?;
    Some(PolicyRef { policy: policy.object.clone(), span: e.span, name_span: policy.span })
}

/// What makes two cells of a subject the same in a report: the verdict and the places behind it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Source {
    Rules(Vec<RuleId>),
    DefaultDeny(Vec<EnforcementId>),
    Localhost,
    NotEnforced,
}

/// The places behind a cell of one subject on one side.
pub(super) fn source(e: &Evaluation<'_>, side: usize, d: Direction, subject: NodeId, cell: &Cell) -> Source {
    match &cell.why {
        Why::Rules(meanings) => Source::Rules(e.rules_with(side, d, subject, meanings)),
        Why::Fallback(Fallback::DefaultDeny) => {
            Source::DefaultDeny(e.default_deny(side, d, subject).to_vec())
        }
        Why::Fallback(Fallback::Localhost) => Source::Localhost,
        Why::Fallback(Fallback::Open) => Source::NotEnforced,
    }
}

/// How many groups an enforcement selects.
fn breadth(e: &Evaluation<'_>, side: usize, id: EnforcementId) -> usize {
    e.sides
        .get(side)
        .and_then(|s| match s.input.policies.enforcement(id)?.subject {
            Subject::Endpoints(selector) => s.subjects.get(selector as usize),
            Subject::Host(_) => None,
        })
        .map_or(0, |groups| groups.count_ones(..))
}

/// A cell as a report says it.
pub(super) fn side_verdict(e: &Evaluation<'_>, side: usize, cell: &Cell, source: &Source) -> SideVerdict {
    let set = e.sides.get(side).map(|s| s.input.policies);
    let cause = match source {
        Source::Rules(ids) => {
            Cause::Rules(ids.iter().filter_map(|id| set.and_then(|s| rule_ref(s, *id))).collect())
        }
        Source::DefaultDeny(ids) => {
            // The policy that is about the fewest endpoints is the one to look at first.
            let mut ids = ids.clone();
            ids.sort_by_key(|id| breadth(e, side, *id));
            Cause::DefaultDeny(ids.iter().filter_map(|id| set.and_then(|s| policy_ref(s, *id))).collect())
        }
        Source::Localhost => Cause::Localhost,
        Source::NotEnforced => Cause::NotEnforced,
    };
    SideVerdict { verdict: cell.verdict, cause, l7: cell.asks() }
}

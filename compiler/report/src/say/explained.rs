//! One flow explained.

use super::names::{object, policies};
use super::verdict::{Evidence, cause_lines};
use crate::model::{ExplainedSide, Explanation};
use crate::words::{cut, one_line};
use portcullis_ir::{Direction, Verdict};
use portcullis_sema::diff::{Cause, RuleRef, SideVerdict};

/// Where a cause leads, for a side that is explained alone: its lines, deciding ones first.
pub(crate) fn explained(side: &ExplainedSide) -> Vec<Evidence> {
    let lines = |cause: Cause, l7: Option<String>| {
        cause_lines(&SideVerdict { verdict: side.verdict, cause, l7 }, side.direction, false)
    };
    let Cause::Rules(rules) = &side.cause else {
        return lines(side.cause.clone(), side.l7.clone());
    };
    // A rule that asks nothing of a proxy sends nothing there.
    let one = |r: &RuleRef| {
        let l7 = side.l7.clone().filter(|_| !side.plain.contains(r));
        lines(Cause::Rules(vec![r.clone()]), l7)
    };
    rules.iter().flat_map(one).collect()
}

/// The verdict, then the flow: `DENIED: shop/cron → payments/api on TCP 8080`.
pub(crate) fn explanation(e: &Explanation) -> String {
    let verdict = match e.verdict {
        Verdict::Allowed => "ALLOWED",
        Verdict::Denied => "DENIED",
    };
    let on = if e.port.is_empty() { String::new() } else { format!(" on {}", one_line(&e.port)) };
    format!("{verdict}: {} → {}{on}", one_line(&e.from), one_line(&e.to))
}

/// An end without what is said of it in brackets, for the middle of a sentence.
pub(crate) fn name(end: &str) -> String {
    let end = one_line(end);
    end.split(" (").next().unwrap_or_default().to_owned()
}

/// What would let a denied flow through, side by side.
pub(crate) fn ways_out(e: &Explanation) -> Vec<String> {
    let mut out = Vec::new();
    for side in e.sides.iter().filter(|s| s.verdict == Verdict::Denied) {
        let section = side.direction;
        let on = if e.port.is_empty() { String::new() } else { format!(" on {}", one_line(&e.port)) };
        let peer = match section {
            Direction::Ingress => name(&e.from),
            Direction::Egress => name(&e.to),
        };
        match &side.cause {
            Cause::DefaultDeny(by) => {
                let policy = by.first().map_or("a policy".to_owned(), |p| object(&p.policy));
                let word = if section == Direction::Ingress { "from" } else { "to" };
                out.push(format!(
                    "to allow it, give {policy}, or another policy that selects {}, an {section} rule {word} {peer}{on}",
                    name(&side.subject)
                ));
            }
            Cause::Rules(rules) => {
                let names = policies(rules.iter().map(|r| &r.policy));
                out.push(format!(
                    "narrow or remove the {section} deny rule of {}: no allow rule of its tier overrides it",
                    cut(&names, 2)
                ));
            }
            Cause::Localhost | Cause::NotEnforced => {}
        }
    }
    out
}

//! What a change of policies, or of the cluster, does to flows.
//!
//! `changes` finds every cell that differs, class by class, and what the other end of the flow says
//! to it; `findings` gathers them into groups with one cause; `cause` resolves cells to rules and
//! lines; `transitions` says whose default changes; `policies` which objects changed; `advice` the
//! way out.

mod advice;
mod cause;
mod changes;
mod findings;
pub mod model;
mod placed;
mod policies;
mod transitions;

pub use model::{
    Cause, Example, Finding, FindingKind, PolicyChanges, PolicyRef, Review, RuleRef, SideChange, SideVerdict,
    Totals, Transition,
};

use crate::cells::Cells;
use crate::describe::Describer;
use crate::side::Evaluation;
use crate::universe::Input;
use portcullis_ir::Workload;
use std::collections::BTreeSet;

/// The base side of an evaluation.
pub const BASE: usize = 0;
/// The head side.
pub const HEAD: usize = 1;

pub use placed::{Ask, Told};

/// Compares two sides. Pods that exist on one side only are listed, not compared.
pub fn review(base: Input<'_>, head: Input<'_>) -> Review {
    review_with(base, head, &[]).0
}

/// The same, and what becomes of single flows: their verdicts, and which of the findings they are part of.
pub fn review_with(base: Input<'_>, head: Input<'_>, flows: &[Ask]) -> (Review, Vec<Told>) {
    let evaluation = Evaluation::new(&[base, head], &placed::addresses(base, head, flows));
    let cells = Cells::new(&evaluation);
    let describer = Describer::new(&evaluation.universe);
    let policies = policies::compare(base, head);
    let changes = changes::find(&cells);
    let (gathered, totals) = findings::gather(&evaluation, &describer, &changes, &policies);
    let transitions = transitions::find(&evaluation, &describer, &changes, &gathered);
    let told = placed::place(&cells, &gathered, flows);
    let findings: Vec<Finding> = gathered.into_iter().map(|g| g.finding).collect();
    let (added, removed) = workloads(base, head);
    let review = Review {
        totals: Totals {
            newly_default_deny: transitions
                .iter()
                .filter(|t| t.on)
                .map(|t| t.endpoints.workloads.len() as u64)
                .sum(),
            ..totals
        },
        findings,
        transitions,
        added,
        removed,
        masked_flows: changes.masked,
        policies,
    };
    (review, told)
}

/// Resolves why a decision was taken to the places that made it so; for callers with a decision
/// from elsewhere.
pub use cause::{policy_ref, rule_ref};

fn workloads(base: Input<'_>, head: Input<'_>) -> (Vec<Workload>, Vec<Workload>) {
    if std::ptr::eq(base.cluster, head.cluster) {
        return (Vec::new(), Vec::new());
    }
    let b: BTreeSet<&Workload> = base.cluster.workloads.iter().collect();
    let h: BTreeSet<&Workload> = head.cluster.workloads.iter().collect();
    (h.difference(&b).map(|w| (*w).clone()).collect(), b.difference(&h).map(|w| (*w).clone()).collect())
}

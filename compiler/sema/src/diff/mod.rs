//! What a change of policies, or of the cluster, does to flows.

pub mod model;

pub use model::{
    Cause, Example, Finding, FindingKind, PolicyChanges, PolicyRef, Review, RuleRef, SideChange, SideVerdict,
    Totals, Transition,
};

//! Policies in audit: what they alone would deny is reported and let through.
//!
//! Only the policies that decide are looked at. A denial of a lower tier, or a default deny, that would
//! have come next is not asked: the flow is let through all the same.

use portcullis_diag::ObjectRef;
use portcullis_ir::{PolicyId, PolicySet};
use smol_str::SmolStr;
use std::collections::BTreeSet;

/// Which policies are in audit: those that are named, and all of the namespaces that are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// By kind, namespace and name.
    pub policies: BTreeSet<ObjectRef>,
    /// By namespace. A clusterwide policy is in none.
    pub namespaces: BTreeSet<SmolStr>,
}

impl Audit {
    /// Whether a policy is in audit.
    pub fn covers(&self, policies: &PolicySet, id: PolicyId) -> bool {
        policies.policy(id).is_some_and(|p| {
            let namespace = p.object.namespace.as_deref();
            namespace.is_some_and(|n| self.namespaces.contains(n)) || self.policies.contains(&p.object)
        })
    }

    /// Whether every policy behind a denial is in audit, and there is one: a single other policy
    /// denies all the same.
    pub fn covers_all(&self, policies: &PolicySet, denying: impl IntoIterator<Item = PolicyId>) -> bool {
        let mut denying = denying.into_iter().peekable();
        denying.peek().is_some() && denying.all(|id| self.covers(policies, id))
    }

    /// Whether no policy is in audit.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.namespaces.is_empty()
    }
}

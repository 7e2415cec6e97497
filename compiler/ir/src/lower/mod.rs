//! From syntax to the normal form: one module a kind of policy.
//!
//! Only objects with the fate `Accepted` are lowered: the cluster does not enforce the others.

mod cilium;
mod cluster_policy;
mod link;
mod network;
mod peers;
mod ports;

use crate::cluster::Cluster;
use crate::fqdn::Fqdn;
use crate::options::Options;
use crate::peer::{PeerTerm, Peers};
use crate::rule::{Enforcement, Policy, PolicyId, PolicySet, Rule};
use crate::selector::Selector;
use portcullis_diag::{Fate, ObjectRef};
use portcullis_front::ast::{Body, FqdnSelector, Object};
use std::collections::BTreeMap;

pub use link::link;
pub use peers::{cidr_group_matches, service_matches};

/// What lowering needs to know besides the policy itself.
pub(crate) struct Context<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) options: &'a Options,
}

/// Lowers every policy among `objects`. Of two objects with one kind, namespace and name the later
/// wins, as with `kubectl apply`; the order has no other effect on the result.
pub fn lower<'a>(
    objects: impl IntoIterator<Item = &'a Object>,
    cluster: &Cluster,
    options: &Options,
) -> PolicySet {
    let mut latest: BTreeMap<ObjectRef, &Object> = BTreeMap::new();
    for o in objects {
        if o.fate == Fate::Accepted && is_policy(o) {
            latest.insert(o.reference(), o);
        }
    }
    let mut out = Builder { set: PolicySet::default(), context: Context { cluster, options } };
    for (object, o) in latest {
        out.policy(object, o);
    }
    debug_assert_eq!(crate::verify::verify(&out.set), Vec::<String>::new(), "lowering broke the normal form");
    out.set
}

/// Lowers one policy by itself, for [`link()`]; `None` for an object that is none or that the
/// cluster does not enforce.
pub fn lower_one(o: &Object, cluster: &Cluster, options: &Options) -> Option<PolicySet> {
    if o.fate != Fate::Accepted || !is_policy(o) {
        return None;
    }
    let mut out = Builder { set: PolicySet::default(), context: Context { cluster, options } };
    out.policy(o.reference(), o);
    Some(out.set)
}

/// Whether an object is a policy of any kind.
pub fn is_policy(o: &Object) -> bool {
    matches!(o.body, Body::Cilium(_) | Body::Network(_) | Body::Cluster(_))
}

/// The normal form of an FQDN selector; `None` if it has neither field (SEM-2.10).
pub fn fqdn_of(f: &FqdnSelector) -> Option<Fqdn> {
    match (&f.match_name, &f.match_pattern) {
        (Some(n), _) => Some(Fqdn::Name(n.value.clone())),
        (None, Some(p)) => Some(Fqdn::Pattern(p.value.clone())),
        (None, None) => None,
    }
}

/// A policy set under construction.
pub(crate) struct Builder<'a> {
    pub(crate) set: PolicySet,
    pub(crate) context: Context<'a>,
}

impl Builder<'_> {
    fn policy(&mut self, object: ObjectRef, o: &Object) {
        let id = PolicyId(u32::try_from(self.set.policies.len()).unwrap_or(u32::MAX));
        self.set.policies.push(Policy { object, span: o.meta.name.span, description: None, version: 0 });
        match &o.body {
            Body::Cilium(p) => self.cilium(id, o, p),
            Body::Network(p) => self.network(id, o, p),
            Body::Cluster(p) => self.cluster_policy(id, p),
            _ => {}
        }
    }

    pub(crate) fn selector(&mut self, s: Selector) -> u32 {
        self.set.selectors.intern(s)
    }

    pub(crate) fn term(&mut self, t: PeerTerm) -> u32 {
        self.set.peers.intern(t)
    }

    pub(crate) fn union(terms: Vec<u32>) -> Peers {
        let mut terms = terms;
        terms.sort_unstable();
        terms.dedup();
        Peers::Of(terms.into())
    }

    pub(crate) fn rule(&mut self, rule: Rule) {
        self.set.rules.push(rule);
    }

    pub(crate) fn enforce(&mut self, e: Enforcement) {
        self.set.enforcements.push(e);
    }
}

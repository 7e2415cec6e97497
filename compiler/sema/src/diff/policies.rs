//! Which policy objects changed, by what they mean and not by how they are written.

use super::model::PolicyChanges;
use crate::universe::Input;
use portcullis_diag::ObjectRef;
use portcullis_ir::{Cluster, Peers, PolicySet, Subject};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Compares two sides object by object; CIDR groups count, since policies take prefixes from them.
pub(super) fn compare(base: Input<'_>, head: Input<'_>) -> PolicyChanges {
    let mut before: BTreeMap<ObjectRef, u64> =
        digests(base.policies).into_iter().map(|(o, d)| (o.clone(), d)).collect();
    let mut after: BTreeMap<ObjectRef, u64> =
        digests(head.policies).into_iter().map(|(o, d)| (o.clone(), d)).collect();
    if !std::ptr::eq(base.cluster, head.cluster) {
        before.extend(groups(base.cluster));
        after.extend(groups(head.cluster));
    }
    let mut out = PolicyChanges::default();
    for (object, digest) in &after {
        match before.get(object) {
            None => out.added.push(object.clone()),
            Some(d) if d != digest => out.changed.push(object.clone()),
            Some(_) => {}
        }
    }
    out.removed = before.into_keys().filter(|o| !after.contains_key(o)).collect();
    out
}

/// A digest of each CIDR group.
fn groups(cluster: &Cluster) -> impl Iterator<Item = (ObjectRef, u64)> {
    cluster.cidr_groups.iter().map(|g| {
        let object =
            ObjectRef { kind: "CiliumCIDRGroup".to_owned(), namespace: None, name: g.name.to_string() };
        (object, digest(&(&g.labels, &g.cidrs)))
    })
}

/// A digest of what each policy means: two policies with one meaning have one digest.
fn digests(set: &PolicySet) -> BTreeMap<&ObjectRef, u64> {
    let selectors: Vec<u64> = set.selectors.iter().map(digest).collect();
    let of = |id: u32| selectors.get(id as usize).copied().unwrap_or_default();
    let terms: Vec<u64> = set
        .peers
        .iter()
        .map(|t| match t {
            portcullis_ir::PeerTerm::Labels(id) => digest(&("labels", of(*id))),
            portcullis_ir::PeerTerm::Nodes(id) => digest(&("nodes", of(*id))),
            other => digest(other),
        })
        .collect();
    let subject = |s: Subject| match s {
        Subject::Endpoints(id) => (0, of(id)),
        Subject::Host(id) => (1, of(id)),
    };
    let mut parts: Vec<Vec<u64>> = vec![Vec::new(); set.policies.len()];
    for r in &set.rules {
        let peers = match &r.peers {
            Peers::All => None,
            Peers::Of(ids) => {
                let mut all: Vec<u64> =
                    ids.iter().map(|id| terms.get(*id as usize).copied().unwrap_or_default()).collect();
                all.sort_unstable();
                Some(all)
            }
        };
        let authentication = r.authentication.map(|a| a as u8);
        let what = (
            subject(r.subject),
            r.direction,
            r.precedence(),
            peers,
            &r.ports,
            r.l7.as_ref().map(|l| l.text()),
            authentication,
        );
        if let Some(p) = parts.get_mut(r.policy.0 as usize) {
            p.push(digest(&what));
        }
    }
    for e in &set.enforcements {
        if let Some(p) = parts.get_mut(e.policy.0 as usize) {
            p.push(digest(&(subject(e.subject), e.direction, e.default_deny)));
        }
    }
    set.policies
        .iter()
        .zip(parts)
        .map(|(p, mut all)| {
            all.sort_unstable();
            (&p.object, digest(&all))
        })
        .collect()
}

/// SipHash with fixed keys: the same on every machine and in every run.
fn digest(what: &impl Hash) -> u64 {
    let mut h = DefaultHasher::new();
    what.hash(&mut h);
    h.finish()
}

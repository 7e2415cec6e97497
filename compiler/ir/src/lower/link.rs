//! Policies that were lowered one by one, put together: what changes alone is lowered alone.

use crate::peer::{PeerTerm, Peers};
use crate::rule::{Enforcement, PolicyId, PolicySet, Rule, Subject};

/// The set that lowering all policies at once would give. The parts must be in order of their policies'
/// kind, namespace and name.
pub fn link<'a>(parts: impl IntoIterator<Item = &'a PolicySet>) -> PolicySet {
    let mut out = PolicySet::default();
    for part in parts {
        let first = u32::try_from(out.policies.len()).unwrap_or(u32::MAX);
        let policy = |id: PolicyId| PolicyId(first.saturating_add(id.0));
        out.policies.extend(part.policies.iter().cloned());
        // In order of first use, as if the part had been lowered into `out`.
        let selectors: Vec<u32> = part.selectors.iter().map(|s| out.selectors.intern(s.clone())).collect();
        let selector = |id: u32| selectors.get(id as usize).copied().unwrap_or(u32::MAX);
        let subject = |s: Subject| match s {
            Subject::Endpoints(id) => Subject::Endpoints(selector(id)),
            Subject::Host(id) => Subject::Host(selector(id)),
        };
        let terms: Vec<u32> = part
            .peers
            .iter()
            .map(|t| {
                out.peers.intern(match t {
                    PeerTerm::Labels(id) => PeerTerm::Labels(selector(*id)),
                    PeerTerm::Nodes(id) => PeerTerm::Nodes(selector(*id)),
                    other => other.clone(),
                })
            })
            .collect();
        let peers = |p: &Peers| match p {
            Peers::All => Peers::All,
            Peers::Of(ids) => {
                let mut ids: Vec<u32> =
                    ids.iter().map(|id| terms.get(*id as usize).copied().unwrap_or(u32::MAX)).collect();
                ids.sort_unstable();
                ids.dedup();
                Peers::Of(ids.into())
            }
        };
        out.rules.extend(part.rules.iter().map(|r| Rule {
            policy: policy(r.policy),
            subject: subject(r.subject),
            peers: peers(&r.peers),
            ..r.clone()
        }));
        out.enforcements.extend(part.enforcements.iter().map(|e| Enforcement {
            policy: policy(e.policy),
            subject: subject(e.subject),
            ..e.clone()
        }));
    }
    out
}

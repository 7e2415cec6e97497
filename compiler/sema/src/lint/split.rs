//! Policies taken apart: each peer selector in an entry of its own, so that lowering gives it the
//! defaults it gives it where it stands, and what it alone matches can be asked.

use portcullis_diag::Span;
use portcullis_front::ast::{
    Body, CiliumPolicy, CiliumRule, ClusterPeer, ClusterPeerKind, ClusterPolicy, ClusterRule, ClusterSubject,
    Entry, LabelSelector, NetworkPolicy, NetworkRule, Object, Spanned,
};
use smol_str::SmolStr;

/// A policy with each of its peer selectors in an entry of its own and with nothing else; `places`
/// gets one line for each, in the order of the rules it will become.
pub(super) fn split_peers<'a>(
    object: &'a Object,
    places: &mut Vec<(&'a Object, Span, Option<&'a LabelSelector>)>,
) -> Object {
    let mut copy = Object {
        api_version: SmolStr::default(),
        kind: object.kind.clone(),
        meta: object.meta.clone(),
        span: object.span,
        fate: object.fate,
        body: Body::Namespace,
    };
    copy.body = match &object.body {
        Body::Cilium(policy) => {
            let mut policy_copy = CiliumPolicy { clusterwide: policy.clusterwide, rules: Vec::new() };
            for rule in &policy.rules {
                let mut split = |section: &'a Option<Spanned<Vec<Entry>>>| {
                    let mut entries = Vec::new();
                    for s in section
                        .iter()
                        .flat_map(|s| &s.value)
                        .flat_map(|e| &e.endpoints)
                        .flat_map(|l| &l.value)
                    {
                        places.push((object, s.span, Some(s)));
                        let endpoints = Some(Spanned::new(vec![s.clone()], s.span));
                        entries.push(Entry { span: s.span, endpoints, ..Entry::default() });
                    }
                    Some(Spanned::new(entries, Span::default()))
                };
                policy_copy.rules.push(CiliumRule {
                    span: rule.span,
                    subject: rule.subject.clone(),
                    ingress: split(&rule.ingress),
                    ingress_deny: split(&rule.ingress_deny),
                    egress: split(&rule.egress),
                    egress_deny: split(&rule.egress_deny),
                    default_deny_ingress: None,
                    default_deny_egress: None,
                    description: None,
                    log: None,
                });
            }
            Body::Cilium(policy_copy)
        }
        Body::Network(policy) => {
            let mut split = |section: &'a Option<Spanned<Vec<NetworkRule>>>| {
                let mut rules = Vec::new();
                for peer in section.iter().flat_map(|s| &s.value).flat_map(|r| &r.peers) {
                    if peer.ip_block.is_none() {
                        places.push((object, peer.span, peer.pod_selector.as_ref()));
                        rules.push(NetworkRule {
                            span: peer.span,
                            peers: vec![peer.clone()],
                            ports: Vec::new(),
                        });
                    }
                }
                Some(Spanned::new(rules, Span::default()))
            };
            Body::Network(NetworkPolicy {
                span: policy.span,
                pod_selector: policy.pod_selector.clone(),
                ingress: split(&policy.ingress),
                egress: split(&policy.egress),
                policy_types: policy.policy_types.clone(),
            })
        }
        Body::Cluster(policy) => {
            let mut split = |rules: &'a [ClusterRule]| {
                let mut out = Vec::new();
                for rule in rules {
                    for peer in &rule.peers {
                        if let ClusterPeerKind::Pods(s) = &peer.what {
                            places.push((object, peer.span, pod_selector(s)));
                            out.push(one_peer(rule, peer));
                        }
                    }
                }
                out
            };
            let (ingress, egress) = (split(&policy.ingress), split(&policy.egress));
            Body::Cluster(ClusterPolicy { ingress, egress, ..policy.clone() })
        }
        _ => Body::Namespace,
    };
    copy
}

fn pod_selector(s: &ClusterSubject) -> Option<&LabelSelector> {
    match s {
        ClusterSubject::Pods { pod_selector, .. } => Some(pod_selector),
        ClusterSubject::Namespaces(_) => None,
    }
}

fn one_peer(rule: &ClusterRule, peer: &ClusterPeer) -> ClusterRule {
    ClusterRule { name: None, peers: vec![peer.clone()], ports: None, ..rule.clone() }
}

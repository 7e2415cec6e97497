//! Kubernetes NetworkPolicy, as Cilium enforces it (SEM-5.4).

use super::peers::{is, namespace_requirements, requirements};
use super::{Builder, ports};
use crate::label;
use crate::peer::{PeerTerm, Peers};
use crate::port::Ports;
use crate::rule::{Action, Direction, Enforcement, PolicyId, Rule, Subject, Tier};
use crate::selector::Selector;
use portcullis_front::ast::{NetworkPeer, NetworkPolicy, NetworkRule, Object};

impl Builder<'_> {
    pub(super) fn network(&mut self, id: PolicyId, object: &Object, policy: &NetworkPolicy) {
        let namespace = object.meta.namespace.as_ref().map_or("default", |n| n.value.as_str());
        let mut all = requirements(&policy.pod_selector, Some("k8s"));
        all.push(is(label::POD_NAMESPACE, namespace));
        let subject = Subject::Endpoints(self.selector(Selector::new(all)));
        for direction in Direction::BOTH {
            let section = match direction {
                Direction::Ingress => &policy.ingress,
                Direction::Egress => &policy.egress,
            };
            let rules: &[NetworkRule] = section.as_ref().map_or(&[], |s| &s.value);
            for rule in rules {
                self.network_rule(id, subject, direction, rule, namespace);
            }
            // Named by policyTypes, or it has rules; without policyTypes ingress always counts.
            let named = policy.policy_types.as_ref().map(|t| match direction {
                Direction::Ingress => t.value.0,
                Direction::Egress => t.value.1,
            });
            let enforced = named.unwrap_or(direction == Direction::Ingress) || !rules.is_empty();
            if enforced {
                let span = section
                    .as_ref()
                    .map(|s| s.span)
                    .or(policy.policy_types.as_ref().map(|t| t.span))
                    .unwrap_or(policy.span);
                self.enforce(Enforcement { policy: id, subject, direction, default_deny: true, span });
            }
        }
    }

    fn network_rule(
        &mut self,
        policy: PolicyId,
        subject: Subject,
        direction: Direction,
        rule: &NetworkRule,
        namespace: &str,
    ) {
        let peers = if rule.peers.is_empty() {
            Peers::All
        } else {
            let terms = rule.peers.iter().flat_map(|p| self.network_peer(p, namespace)).collect();
            Self::union(terms)
        };
        let ports = if rule.ports.is_empty() {
            Ports::All
        } else {
            Ports::of(rule.ports.iter().flat_map(ports::network))
        };
        self.rule(Rule {
            policy,
            subject,
            direction,
            tier: Tier::Normal,
            order: (0, 0),
            action: Action::Allow,
            peers,
            ports,
            l7: None,
            authentication: None,
            log: None,
            span: rule.span,
            entry: rule.span,
        });
    }

    fn network_peer(&mut self, peer: &NetworkPeer, namespace: &str) -> Vec<u32> {
        if let Some(block) = &peer.ip_block {
            return self.cidr_rule(block);
        }
        let mut all = Vec::new();
        match &peer.namespace_selector {
            Some(ns) => all.extend(namespace_requirements(ns)),
            None => all.push(is(label::POD_NAMESPACE, namespace)),
        }
        if let Some(pods) = &peer.pod_selector {
            all.extend(requirements(pods, Some("k8s")));
        }
        if !all.iter().any(|r| r.key == label::CLUSTER) {
            all.push(is(label::CLUSTER, &self.context.options.cluster_name));
        }
        let id = self.selector(Selector::new(all));
        vec![self.term(PeerTerm::Labels(id))]
    }
}

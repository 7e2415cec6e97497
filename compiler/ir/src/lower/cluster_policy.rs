//! ClusterNetworkPolicy and its older forms (SEM-1.3, SEM-6).

use super::peers::{is, namespace_requirements, requirements};
use super::{Builder, ports};
use crate::fqdn::Fqdn;
use crate::label;
use crate::peer::{PeerTerm, Peers};
use crate::port::{L4, PortTerm, Ports};
use crate::rule::{Action, Direction, Enforcement, L7, PolicyId, Rule, Subject, Tier};
use crate::selector::{Requirement, Selector};
use portcullis_front::ast::{
    ClusterAction, ClusterPeerKind, ClusterPolicy, ClusterRule, ClusterSubject, ClusterTier, Operator,
};

impl Builder<'_> {
    pub(super) fn cluster_policy(&mut self, id: PolicyId, policy: &ClusterPolicy) {
        let all = subject_requirements(&policy.subject);
        let subject = Subject::Endpoints(self.selector(Selector::new(all)));
        let tier = match policy.tier.value {
            ClusterTier::Admin => Tier::Admin,
            ClusterTier::Baseline => Tier::Baseline,
        };
        for (rules, direction) in [(&policy.ingress, Direction::Ingress), (&policy.egress, Direction::Egress)]
        {
            for (index, rule) in (0u32..).zip(rules) {
                let order = (policy.priority.value, index);
                self.cluster_rule(id, subject, direction, tier, order, rule);
            }
            if !rules.is_empty() {
                // It takes part, and never switches default deny on (SEM-5.6).
                let span = policy.span;
                self.enforce(Enforcement { policy: id, subject, direction, default_deny: false, span });
            }
        }
    }

    fn cluster_rule(
        &mut self,
        policy: PolicyId,
        subject: Subject,
        direction: Direction,
        tier: Tier,
        order: (i32, u32),
        rule: &ClusterRule,
    ) {
        let action = match rule.action.value {
            ClusterAction::Accept => Action::Allow,
            ClusterAction::Deny => Action::Deny,
            ClusterAction::Pass => Action::Pass,
        };
        let mut names: Vec<Fqdn> = Vec::new();
        let mut terms = Vec::new();
        for peer in &rule.peers {
            match &peer.what {
                ClusterPeerKind::Pods(s) => {
                    let mut all = subject_requirements(s);
                    if matches!(s, ClusterSubject::Pods { .. })
                        && !all.iter().any(|r| r.key == label::CLUSTER)
                    {
                        all.push(is(label::CLUSTER, &self.context.options.cluster_name));
                    }
                    let sel = self.selector(Selector::new(all));
                    terms.push(self.term(PeerTerm::Labels(sel)));
                }
                ClusterPeerKind::Networks(nets) => {
                    for n in nets {
                        terms.push(self.cidr(n.value));
                    }
                }
                ClusterPeerKind::Nodes(s) => {
                    let sel = self.selector(Selector::new(requirements(s, Some("node"))));
                    terms.push(self.term(PeerTerm::Nodes(sel)));
                }
                ClusterPeerKind::DomainNames(list) => {
                    for n in list {
                        let f = domain(&n.value);
                        terms.push(self.term(PeerTerm::Fqdn(f.clone())));
                        names.push(f);
                    }
                }
            }
        }
        let peers = if rule.peers.is_empty() { Peers::All } else { Self::union(terms) };
        let ports = match &rule.ports {
            Some(list) if !list.value.is_empty() => Ports::of(list.value.iter().flat_map(ports::spec)),
            _ => Ports::All,
        };
        let base = Rule {
            policy,
            subject,
            direction,
            tier,
            order,
            action,
            peers,
            ports,
            l7: None,
            authentication: None,
            log: None,
            span: rule.span,
            entry: rule.span,
        };
        if !names.is_empty() {
            let dns = self.dns_access(&base, names);
            self.rule(dns);
        }
        self.rule(base);
    }

    /// Domain names come with access to the cluster's DNS, which teaches Cilium their addresses.
    fn dns_access(&mut self, base: &Rule, names: Vec<Fqdn>) -> Rule {
        let dns = Requirement::new(None, "k8s-app", Operator::In, ["kube-dns".into()]);
        let sel = self.selector(Selector::new([dns]));
        let terms = vec![self.term(PeerTerm::Labels(sel))];
        let ports = L4::ALL
            .into_iter()
            .flat_map(|l4| [PortTerm::Named(l4, "dns".into()), PortTerm::Named(l4, "dns-tcp".into())]);
        Rule {
            peers: Self::union(terms),
            ports: Ports::of(ports),
            l7: Some(Box::new(L7 {
                http: Vec::new(),
                dns: Some(names),
                server_names: Vec::new(),
                listener: None,
            })),
            ..base.clone()
        }
    }
}

/// `*.example.com` is recursive in this kind.
fn domain(text: &str) -> Fqdn {
    let text = text.to_ascii_lowercase();
    let text = text.strip_suffix('.').unwrap_or(&text);
    if text.starts_with("**") {
        Fqdn::Pattern(text.into())
    } else if text.starts_with('*') {
        Fqdn::Pattern(format!("*{text}").into())
    } else {
        Fqdn::Name(text.into())
    }
}

fn subject_requirements(s: &ClusterSubject) -> Vec<Requirement> {
    match s {
        ClusterSubject::Namespaces(ns) => namespace_requirements(ns),
        ClusterSubject::Pods { namespace_selector, pod_selector } => {
            let mut all = namespace_requirements(namespace_selector);
            all.extend(requirements(pod_selector, Some("k8s")));
            all
        }
    }
}

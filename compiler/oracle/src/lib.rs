//! The verdict of one flow, slowly and obviously, straight from docs/semantics.md.
//!
//! This crate is the arbiter in tests: it shares no code with the engines it judges beyond the
//! normal form itself, keeps no state, and prefers a loop over every rule to anything clever.

use ipnet::IpNet;
use portcullis_ir::peer::{PeerTerm, Reserved, entity_has_external, entity_has_pods, entity_has_reserved};
use portcullis_ir::{
    Action, Cluster, Decision, Direction, EnforcementId, EnforcementMode, Flow, FlowPort, Options, PeerRef,
    PolicySet, PortTerm, Ports, Reason, Rule, RuleId, Selector, Subject, Tier, Verdict,
};
use portcullis_ir::{Endpoint, EndpointId, LabelSet, Peers};
use std::net::IpAddr;

/// Both sides of one flow. A side is `None` where that end is not a pod: it has no policy (SEM-7.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The flow is one of a pod to itself, which passes whatever its sides say (SEM-7.2).
    pub same_pod: bool,
    /// The source's egress.
    pub egress: Option<Decision>,
    /// The destination's ingress.
    pub ingress: Option<Decision>,
}

impl Outcome {
    /// A flow passes when both sides allow it (SEM-7.1).
    pub fn verdict(&self) -> Verdict {
        let denied = |d: &Option<Decision>| d.as_ref().is_some_and(|d| d.verdict == Verdict::Denied);
        if self.same_pod {
            Verdict::Allowed
        } else if denied(&self.egress) || denied(&self.ingress) {
            Verdict::Denied
        } else {
            Verdict::Allowed
        }
    }
}

/// What one answer is computed from.
#[derive(Clone, Copy, Debug)]
pub struct Oracle<'a> {
    /// The policies.
    pub policies: &'a PolicySet,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The cluster's settings.
    pub options: &'a Options,
}

impl Oracle<'_> {
    /// The verdict of a flow on both of its sides.
    pub fn judge(&self, flow: &Flow) -> Outcome {
        let side = |subject: &PeerRef, direction, peer: &PeerRef| match subject {
            PeerRef::Endpoint(id) => Some(self.decide(*id, direction, peer, flow.port)),
            PeerRef::Reserved(_) | PeerRef::External { .. } => None,
        };
        let one_pod = |p: &PeerRef| match p {
            // A template stands for many pods; only a single pod is surely itself.
            PeerRef::Endpoint(id) => self.cluster.endpoint(*id).is_some_and(|e| e.pods == 1),
            PeerRef::Reserved(_) | PeerRef::External { .. } => false,
        };
        Outcome {
            same_pod: flow.from == flow.to && one_pod(&flow.from),
            egress: side(&flow.from, Direction::Egress, &flow.to),
            ingress: side(&flow.to, Direction::Ingress, &flow.from),
        }
    }

    /// The decision of one endpoint about a flow with `peer` in one direction.
    pub fn decide(
        &self,
        subject: EndpointId,
        direction: Direction,
        peer: &PeerRef,
        port: FlowPort,
    ) -> Decision {
        let selecting: Vec<(RuleId, &Rule)> = self
            .policies
            .rules()
            .filter(|(_, r)| r.direction == direction && self.selects(r.subject, subject))
            .collect();
        let matched: Vec<(RuleId, &Rule)> = selecting
            .into_iter()
            .filter(|(_, r)| self.peers_take_in(&r.peers, peer))
            .filter(|(_, r)| self.ports_take_in(&r.ports, subject, direction, peer, port))
            .collect();
        let denying: Vec<EnforcementId> = self
            .policies
            .enforcements()
            .filter(|(_, e)| e.direction == direction && e.default_deny && self.selects(e.subject, subject))
            .map(|(id, _)| id)
            .collect();
        self.conclude(subject, direction, peer, &matched, denying)
    }

    /// What follows once it is known which rules take in a flow, in order of their ids, and which
    /// enforcements turn default deny on for the subject in that direction.
    pub fn conclude(
        &self,
        subject: EndpointId,
        direction: Direction,
        peer: &PeerRef,
        matched: &[(RuleId, &Rule)],
        denying: Vec<EnforcementId>,
    ) -> Decision {
        if self.options.enforcement == EnforcementMode::Never {
            return allowed(Reason::NotEnforced, Vec::new()); // SEM-5.7
        }
        let ids: Vec<RuleId> = matched.iter().map(|(id, _)| *id).collect();

        // SEM-6.1: tiers in order.
        for tier in [Tier::Admin, Tier::Normal, Tier::Baseline] {
            let in_tier: Vec<_> = matched.iter().filter(|(_, r)| r.tier == tier).collect();
            // SEM-6.2: the lowest priority decides.
            let Some(order) = in_tier.iter().map(|(_, r)| r.order).min() else { continue };
            let at_order: Vec<_> = in_tier.into_iter().filter(|(_, r)| r.order == order).collect();
            let doing = |action: Action| -> Vec<RuleId> {
                at_order.iter().filter(|(_, r)| r.action == action).map(|(id, _)| *id).collect()
            };
            // SEM-6.3: deny beats allow, whatever the breadth.
            let deny = doing(Action::Deny);
            if !deny.is_empty() {
                let reason = Reason::Rules(deny);
                return Decision { verdict: Verdict::Denied, reason, matched: ids, redirect: false };
            }
            let allow = doing(Action::Allow);
            if !allow.is_empty() {
                let redirect = at_order.iter().any(|(_, r)| r.redirects()); // SEM-6.8
                let reason = Reason::Rules(allow);
                return Decision { verdict: Verdict::Allowed, reason, matched: ids, redirect };
            }
            // SEM-6.4: only passes; the next tier decides.
        }

        // SEM-5.5: below every explicit rule, the node's host reaches its pods.
        if direction == Direction::Ingress
            && *peer == PeerRef::Reserved(Reserved::Host)
            && self.options.allow_localhost
        {
            return allowed(Reason::AllowLocalhost, ids);
        }
        // SEM-5.1, SEM-6.5.
        if !denying.is_empty() || self.always_enforced(subject) {
            let reason = Reason::DefaultDeny(denying);
            return Decision { verdict: Verdict::Denied, reason, matched: ids, redirect: false };
        }
        allowed(Reason::NotEnforced, ids)
    }

    /// Whether default deny is on with no policy's help (SEM-5.7): mode `always`, and endpoints with the reserved:init label.
    pub fn always_enforced(&self, id: EndpointId) -> bool {
        self.options.enforcement == EnforcementMode::Always
            || self.labels(id).is_some_and(|l| l.with_key("init").any(|l| l.source == "reserved"))
    }

    fn labels(&self, id: EndpointId) -> Option<&LabelSet> {
        self.cluster.endpoint(id).and_then(|e| self.cluster.labels(e.identity))
    }

    fn selector_matches(&self, id: u32, labels: &LabelSet) -> bool {
        self.policies.selectors.get(id).is_some_and(|s: &Selector| s.matches(labels))
    }

    /// Whether a subject takes in an endpoint.
    pub fn selects(&self, subject: Subject, endpoint: EndpointId) -> bool {
        match subject {
            Subject::Endpoints(selector) => {
                self.labels(endpoint).is_some_and(|l| self.selector_matches(selector, l))
            }
            Subject::Host(_) => false, // SEM-2.1: never a pod
        }
    }

    fn peers_take_in(&self, peers: &Peers, peer: &PeerRef) -> bool {
        match peers {
            Peers::All => true, // SEM-6.6
            Peers::Of(terms) => {
                terms.iter().filter_map(|t| self.policies.peers.get(*t)).any(|t| self.term_takes_in(t, peer))
            }
        }
    }

    /// Whether a peer term takes in a peer (SEM-4).
    #[expect(clippy::match_same_arms, reason = "one arm a rule, in the order of docs/semantics.md")]
    pub fn term_takes_in(&self, term: &PeerTerm, peer: &PeerRef) -> bool {
        match (term, peer) {
            (PeerTerm::Labels(s), PeerRef::Endpoint(id)) => {
                self.labels(*id).is_some_and(|l| self.selector_matches(*s, l))
            }
            (PeerTerm::Labels(s), PeerRef::Reserved(r)) => self.selector_matches(*s, &r.labels()),
            (PeerTerm::Labels(s), PeerRef::External { ip, .. }) => {
                self.selector_matches(*s, &world_of(*ip).labels())
            }
            (PeerTerm::Entity(e), PeerRef::Endpoint(_)) => entity_has_pods(*e),
            (PeerTerm::Entity(e), PeerRef::Reserved(r)) => entity_has_reserved(*e, *r),
            (PeerTerm::Entity(e), PeerRef::External { ip, .. }) => entity_has_external(*e, ip.is_ipv6()),
            // SEM-4.5: a CIDR never matches a pod; the family's world is its /0 (SEM-4.4).
            (PeerTerm::Cidr { .. }, PeerRef::Endpoint(_)) => false,
            (PeerTerm::Cidr { net, .. }, PeerRef::Reserved(r)) => match r {
                Reserved::WorldIpv4 => net.prefix_len() == 0 && matches!(net, IpNet::V4(_)),
                Reserved::WorldIpv6 => net.prefix_len() == 0 && matches!(net, IpNet::V6(_)),
                _ => false,
            },
            (PeerTerm::Cidr { net, except }, PeerRef::External { ip, .. }) => {
                net.contains(ip) && !except.iter().any(|e| e.contains(ip))
            }
            (PeerTerm::Fqdn(f), PeerRef::External { names, .. }) => names.iter().any(|n| f.matches(n)), // SEM-4.6
            (PeerTerm::Fqdn(_), _) => false,
            (PeerTerm::Nodes(_), _) => false, // SEM-4.7: needs node labels, which flows do not carry
        }
    }

    /// Whether a rule's ports take in what a flow carries (SEM-2.6 to SEM-2.8, SEM-7.4).
    pub fn ports_take_in(
        &self,
        ports: &Ports,
        subject: EndpointId,
        direction: Direction,
        peer: &PeerRef,
        port: FlowPort,
    ) -> bool {
        let Ports::Of(terms) = ports else { return true };
        // SEM-7.4: a named port is one of the endpoint that receives the flow.
        let receiver = match (direction, peer) {
            (Direction::Ingress, _) => Some(subject),
            (Direction::Egress, PeerRef::Endpoint(id)) => Some(*id),
            (Direction::Egress, _) => None,
        };
        let receiver: Option<&Endpoint> = receiver.and_then(|id| self.cluster.endpoint(id));
        terms.iter().any(|t| match (t, port) {
            (PortTerm::Range(l4, low, high), FlowPort::L4(p, n)) => *l4 == p && (*low..=*high).contains(&n),
            (PortTerm::Named(l4, name), FlowPort::L4(p, n)) => {
                *l4 == p
                    && receiver.is_some_and(|e| {
                        self.cluster
                            .named_ports(e)
                            .iter()
                            .any(|(has, proto, number)| has == name && *proto == p && *number == n)
                    })
            }
            (PortTerm::Icmp(v6, t), FlowPort::Icmp(f6, ty)) => *v6 == f6 && t.is_none_or(|t| t == ty), // SEM-2.8
            (PortTerm::Protocol(a), FlowPort::Protocol(b)) => *a == b,
            _ => false,
        })
    }
}

fn allowed(reason: Reason, matched: Vec<RuleId>) -> Decision {
    Decision { verdict: Verdict::Allowed, reason, matched, redirect: false }
}

fn world_of(ip: IpAddr) -> Reserved {
    if ip.is_ipv6() { Reserved::WorldIpv6 } else { Reserved::WorldIpv4 }
}

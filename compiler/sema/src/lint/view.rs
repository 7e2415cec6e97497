//! What the lints look at, lined up once.

use super::Context;
use super::matcher::Matcher;
use super::signatures::{self, Signature};
use super::sites::{CidrSite, EntrySite, NetworkSite, PeerSite, RuleSite, SubjectSite};
use super::split::split_peers;
use portcullis_diag::Span;
use portcullis_front::ast::{
    Body, CidrRule, CidrSource, CiliumRule, ClusterPeerKind, ClusterPolicy, Entry, LabelSelector,
    NetworkPolicy, Object, Spanned,
};
use portcullis_ir::{Action, Direction, PeerTerm, Peers, PolicyId, RuleId, Selector, Subject, lower};
use std::collections::{BTreeSet, HashMap};

/// Everything the lints walk, each list in order of the policies.
pub(super) struct View<'a> {
    /// What was given.
    pub(super) cx: Context<'a>,
    /// Rules of CNPs and CCNPs.
    pub(super) rules: Vec<RuleSite<'a>>,
    /// Their entries.
    pub(super) entries: Vec<EntrySite<'a>>,
    /// Kubernetes NetworkPolicies.
    pub(super) networks: Vec<NetworkSite<'a>>,
    /// Whom policies select.
    pub(super) subjects: Vec<SubjectSite<'a>>,
    /// Peer selectors, each by itself.
    pub(super) peers: Vec<PeerSite<'a>>,
    /// Address ranges, each by itself.
    pub(super) cidrs: Vec<CidrSite<'a>>,
    /// Groups of pods with the rules that select them.
    pub(super) signatures: Vec<Signature>,
    /// Finds pods by label.
    pub(super) matcher: Matcher<'a>,
}

impl<'a> View<'a> {
    /// Lines everything up.
    pub(super) fn new(cx: Context<'a>) -> Self {
        let mut view = Self {
            cx,
            rules: Vec::new(),
            entries: Vec::new(),
            networks: Vec::new(),
            subjects: Vec::new(),
            peers: Vec::new(),
            cidrs: Vec::new(),
            signatures: signatures::all(&cx),
            matcher: Matcher::new(cx.cluster, cx.options, cx.has_cluster),
        };
        let objects = in_force(&cx);
        let subjects = subjects_of(&cx);
        let mut at = 0;
        for (id, object) in &objects {
            at = view.policy(*id, object, &subjects, at);
        }
        view.add_peers(&objects);
        view
    }

    /// Walks one policy. `at` is its first rule among all; returns the first one after it.
    fn policy(
        &mut self,
        id: PolicyId,
        object: &'a Object,
        subjects: &HashMap<PolicyId, Subject>,
        at: usize,
    ) -> usize {
        let rules = &self.cx.policies.rules;
        let from = at + rules.iter().skip(at).take_while(|r| r.policy < id).count();
        let mut at = from;
        match &object.body {
            Body::Cilium(policy) => {
                for rule in &policy.rules {
                    at = self.cilium_rule(id, object, rule, at);
                }
            }
            Body::Network(policy) => {
                self.networks.push(NetworkSite { object, policy });
                let s = &policy.pod_selector;
                self.subject(object, s.span, Some(s), subjects.get(&id).copied());
                self.network_cidrs(object, policy);
            }
            Body::Cluster(policy) => {
                self.subject(object, object.meta.name.span, None, subjects.get(&id).copied());
                self.cluster_cidrs(object, policy);
            }
            _ => {}
        }
        from + rules.iter().skip(from).take_while(|r| r.policy == id).count()
    }

    fn subject(
        &mut self,
        object: &'a Object,
        span: Span,
        written: Option<&'a LabelSelector>,
        subject: Option<Subject>,
    ) {
        let Some(subject) = subject else { return };
        let Subject::Endpoints(selector) = subject else { return };
        let namespace = object.meta.namespace.as_ref().map(|n| n.value.as_str());
        let trouble =
            self.cx.policies.selectors.get(selector).and_then(|s| self.matcher.trouble(s, namespace));
        self.subjects.push(SubjectSite { object, span, written, trouble });
    }

    fn cilium_rule(
        &mut self,
        policy: PolicyId,
        object: &'a Object,
        rule: &'a CiliumRule,
        at: usize,
    ) -> usize {
        let mut at = at;
        let Some(subject) = self.cx.policies.rules.get(at).map(|r| r.subject) else { return at };
        let site = RuleSite { object, policy, rule };
        self.rules.push(site);
        if let portcullis_front::ast::Subject::Endpoints(s) = &rule.subject {
            self.subject(object, s.span, Some(s), Some(subject));
        }
        for (section, direction, action) in sections(rule) {
            let Some(section) = section else { continue };
            for entry in &section.value {
                // One rule for each item of `toPorts`, one for `icmps`, one for neither.
                let items = entry.to_ports.as_ref().map_or(0, |l| l.value.len());
                let count = (items + usize::from(entry.icmps.is_some())).max(1);
                self.cilium_cidrs(object, direction, entry);
                self.entries.push(EntrySite {
                    at: site,
                    direction,
                    action,
                    entry,
                    siblings: section.value.len(),
                    rules: at..at + count,
                });
                at += count;
            }
        }
        at
    }

    fn cilium_cidrs(&mut self, object: &'a Object, direction: Direction, entry: &'a Entry) {
        for c in entry.cidr.iter().flat_map(|l| &l.value) {
            self.cidrs.push(CidrSite { object, direction, span: c.span, net: c.value, rule: None });
        }
        for rule in entry.cidr_set.iter().flat_map(|l| &l.value) {
            self.cidr_rule(object, direction, rule);
        }
    }

    fn cidr_rule(&mut self, object: &'a Object, direction: Direction, rule: &'a CidrRule) {
        if let CidrSource::Cidr(c) = &rule.source {
            self.cidrs.push(CidrSite { object, direction, span: c.span, net: c.value, rule: Some(rule) });
        }
    }

    fn network_cidrs(&mut self, object: &'a Object, policy: &'a NetworkPolicy) {
        for (section, direction) in
            [(&policy.ingress, Direction::Ingress), (&policy.egress, Direction::Egress)]
        {
            for rule in section.iter().flat_map(|s| &s.value) {
                for block in rule.peers.iter().filter_map(|p| p.ip_block.as_ref()) {
                    self.cidr_rule(object, direction, block);
                }
            }
        }
    }

    fn cluster_cidrs(&mut self, object: &'a Object, policy: &'a ClusterPolicy) {
        for (rules, direction) in [(&policy.ingress, Direction::Ingress), (&policy.egress, Direction::Egress)]
        {
            for peer in rules.iter().flat_map(|r| &r.peers) {
                if let ClusterPeerKind::Networks(nets) = &peer.what {
                    for n in nets {
                        self.cidrs.push(CidrSite {
                            object,
                            direction,
                            span: n.span,
                            net: n.value,
                            rule: None,
                        });
                    }
                }
            }
        }
    }

    /// Lowers every peer selector again, each in an entry of its own: so it gets the defaults that
    /// lowering gives it, and none of them is written down twice.
    fn add_peers(&mut self, objects: &[(PolicyId, &'a Object)]) {
        let mut split = Vec::new();
        let mut places = Vec::new();
        for (_, object) in objects {
            split.push(split_peers(object, &mut places));
        }
        let set = lower::lower(split.iter(), self.cx.cluster, self.cx.options);
        for ((object, span, written), rule) in places.into_iter().zip(&set.rules) {
            let Some(selector) = only_selector(&set, &rule.peers) else { continue };
            let namespace = object.meta.namespace.as_ref().map(|n| n.value.as_str());
            let trouble = self.matcher.trouble(selector, namespace);
            self.peers.push(PeerSite { object, span, written, action: rule.action, trouble });
        }
    }

    /// The policy a rule comes from, in words.
    pub(super) fn policy_name(&self, id: RuleId) -> String {
        let policy = self.cx.policies.rule(id).and_then(|r| self.cx.policies.policy(r.policy));
        policy.map(|p| p.object.to_string()).unwrap_or_default()
    }

    /// The workloads of groups of pods, `namespace/name`, sorted.
    pub(super) fn workloads(&self, groups: &[crate::NodeId]) -> Vec<String> {
        let universe = &self.cx.evaluation.universe;
        let all: BTreeSet<String> = groups
            .iter()
            .filter_map(|g| universe.group(*g))
            .flat_map(|g| g.workloads.iter().map(|(w, _)| format!("{}/{}", w.namespace, w.name)))
            .collect();
        all.into_iter().collect()
    }
}

/// A section with its direction and what it does.
type Section<'a> = (Option<&'a Spanned<Vec<Entry>>>, Direction, Action);

/// The four sections of a rule, in the order in which lowering takes them.
pub(super) fn sections(rule: &CiliumRule) -> [Section<'_>; 4] {
    [
        (rule.ingress.as_ref(), Direction::Ingress, Action::Allow),
        (rule.ingress_deny.as_ref(), Direction::Ingress, Action::Deny),
        (rule.egress.as_ref(), Direction::Egress, Action::Allow),
        (rule.egress_deny.as_ref(), Direction::Egress, Action::Deny),
    ]
}

/// The objects that policies were lowered from, in order of the policies.
fn in_force<'a>(cx: &Context<'a>) -> Vec<(PolicyId, &'a Object)> {
    let by_place: HashMap<Span, &'a Object> =
        cx.objects.iter().filter(|o| lower::is_policy(o)).map(|o| (o.meta.name.span, *o)).collect();
    (0u32..)
        .map(PolicyId)
        .zip(&cx.policies.policies)
        .filter_map(|(id, p)| by_place.get(&p.span).map(|o| (id, *o)))
        .collect()
}

/// Whom policies of one selector select.
fn subjects_of(cx: &Context<'_>) -> HashMap<PolicyId, Subject> {
    let enforcements = cx.policies.enforcements.iter().map(|e| (e.policy, e.subject));
    enforcements.chain(cx.policies.rules.iter().map(|r| (r.policy, r.subject))).collect()
}

fn only_selector<'s>(set: &'s portcullis_ir::PolicySet, peers: &Peers) -> Option<&'s Selector> {
    let Peers::Of(terms) = peers else { return None };
    match terms.as_ref() {
        [one] => match set.peers.get(*one) {
            Some(PeerTerm::Labels(s)) => set.selectors.get(*s),
            _ => None,
        },
        _ => None,
    }
}

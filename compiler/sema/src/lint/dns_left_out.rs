//! SEM-8.6: egress is default-deny, something is allowed, and DNS is not. Pods that may reach
//! nothing at all are locked down on purpose and are left alone.

use super::Context;
use super::signatures::{Signature, peer_bits};
use super::view::View;
use super::words::few;
use crate::row::Fallback;
use crate::universe::{NodeId, NodeKind};
use fixedbitset::FixedBitSet;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::DNS_LEFT_OUT as CODE;
use portcullis_ir::{Action, Direction, EnforcementId, L4, LabelSet, PortTerm, Ports, Reserved, Rule};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    let dns = Dns::new(&view.cx);
    for (source, groups) in blamed(view, |s| dns.is_left_out(&view.cx, s), |g| !dns.pods.contains(g.index()))
    {
        let who = few(&view.workloads(&groups));
        let message = format!("{who} cannot resolve names: egress is default-deny and DNS is not allowed");
        if let Some(finding) = at_source(view, source, CODE, message) {
            out.push(
                finding
                    .label("turns default deny on")
                    .help("allow UDP and TCP 53 to the pods `k8s-app: kube-dns` of namespace kube-system"),
            );
        }
    }
}

/// The pods with default-deny egress for which `wrong` holds, by the enforcement to blame: the first
/// whose policy allows something, else the first.
pub(super) fn blamed(
    view: &View<'_>,
    wrong: impl Fn(&Signature) -> bool,
    counts: impl Fn(NodeId) -> bool,
) -> BTreeMap<EnforcementId, Vec<NodeId>> {
    let cx = &view.cx;
    let mut out: BTreeMap<EnforcementId, Vec<NodeId>> = BTreeMap::new();
    for s in view.signatures.iter().filter(|s| s.direction == Direction::Egress) {
        if s.fallback != Some(Fallback::DefaultDeny) || s.sources.is_empty() {
            continue;
        }
        let allowing: BTreeSet<_> =
            s.rules(cx).filter(|(id, r)| opens(cx, *id, r)).map(|(_, r)| r.policy).collect();
        let groups: Vec<NodeId> = s.groups.iter().copied().filter(|g| counts(*g)).collect();
        if allowing.is_empty() || groups.is_empty() || !wrong(s) {
            continue;
        }
        let by_policy =
            |id: &&EnforcementId| cx.policies.enforcement(**id).is_some_and(|e| allowing.contains(&e.policy));
        if let Some(source) = s.sources.iter().find(by_policy).or(s.sources.first()) {
            out.entry(*source).or_default().extend(groups);
        }
    }
    out
}

/// A finding at the line that turns default deny on.
pub(super) fn at_source(
    view: &View<'_>,
    source: EnforcementId,
    code: portcullis_diag::Code,
    message: String,
) -> Option<Diagnostic> {
    let e = view.cx.policies.enforcement(source)?;
    let policy = view.cx.policies.policy(e.policy)?;
    Some(Diagnostic::new(code, message, e.span).object(policy.object.clone()))
}

/// Whether a rule allows anybody anything.
fn opens(cx: &Context<'_>, id: portcullis_ir::RuleId, r: &Rule) -> bool {
    r.action == Action::Allow && !r.ports.is_none() && peer_bits(cx, id).is_some_and(|p| !p.is_clear())
}

/// Who answers DNS here, and on which ports.
struct Dns {
    pods: FixedBitSet,
    /// The pods, and the nodes, where a cache of the node may answer.
    answers: FixedBitSet,
    ports: BTreeSet<u16>,
}

impl Dns {
    fn new(cx: &Context<'_>) -> Self {
        let universe = &cx.evaluation.universe;
        let mut pods = FixedBitSet::with_capacity(universe.len());
        for (id, g) in universe.groups() {
            let labels = g.on.first().copied().flatten().and_then(|(i, _)| cx.cluster.labels(i));
            if labels.is_some_and(is_dns) {
                pods.insert(id.index());
            }
        }
        let mut answers = pods.clone();
        for (id, n) in universe.iter() {
            if matches!(n, NodeKind::Reserved(Reserved::Host | Reserved::RemoteNode)) {
                answers.insert(id.index());
            }
        }
        let mut ports: BTreeSet<u16> = [53].into();
        for service in &cx.cluster.services {
            for p in service.spec.ports.iter().filter(|p| p.port == 53) {
                if let portcullis_front::ast::PortValue::Number(n) = p.target {
                    ports.insert(n);
                }
            }
        }
        Self { pods, answers, ports }
    }

    fn is_left_out(&self, cx: &Context<'_>, s: &Signature) -> bool {
        !s.rules(cx).filter(|(_, r)| r.action == Action::Allow).any(|(id, r)| {
            // Where no such pod is known, a rule for pods in its place may well be about them.
            let reaches =
                self.pods.is_clear() || peer_bits(cx, id).is_some_and(|p| !p.is_disjoint(&self.answers));
            self.named(&r.ports) || (reaches && self.takes_in(&r.ports))
        })
    }

    /// Whether a DNS port is among the ports.
    fn takes_in(&self, ports: &Ports) -> bool {
        match ports {
            Ports::All => true,
            Ports::Of(terms) => terms.iter().any(|t| match t {
                PortTerm::Range(L4::Udp | L4::Tcp, low, high) => {
                    self.ports.range(low..=high).next().is_some()
                }
                PortTerm::Named(..) => true,
                _ => false,
            }),
        }
    }

    /// Whether a DNS port is named as such: then DNS was thought of, whoever answers.
    fn named(&self, ports: &Ports) -> bool {
        matches!(ports, Ports::Of(terms) if terms.iter().any(|t| {
            matches!(t, PortTerm::Range(L4::Udp | L4::Tcp, low, high) if low == high && self.ports.contains(low))
        }))
    }
}

fn is_dns(labels: &LabelSet) -> bool {
    let value = |key: &str| labels.k8s(key);
    matches!(value("k8s-app"), Some("kube-dns" | "coredns" | "node-local-dns"))
        || matches!(value("app.kubernetes.io/name"), Some("kube-dns" | "coredns" | "node-local-dns"))
        || value("dns.operator.openshift.io/daemonset-dns").is_some()
}

/// The service account of a group's pods.
pub(super) fn service_account<'a>(cx: &Context<'a>, g: NodeId) -> Option<&'a str> {
    let identity = cx.evaluation.universe.group(g)?.on.first().copied().flatten()?.0;
    cx.cluster.labels(identity)?.k8s(portcullis_ir::label::SERVICE_ACCOUNT)
}

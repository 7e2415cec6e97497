//! The way out of a finding: what to change to keep flows, or not to open them.

use super::model::{Cause, Finding, FindingKind, PolicyChanges, PolicyRef, RuleRef, SideChange};
use crate::describe::PeerGroup;
use crate::ports::PortSet;
use crate::side::Evaluation;
use crate::universe::Group;
use portcullis_diag::ObjectRef;
use portcullis_ir::{Action, Direction, FlowPort, L4, Verdict, Workload};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Sources or destinations named in a patch; more are left to the reader.
const NAMED: usize = 4;

/// Help in words, and YAML to add if there is a simple one.
pub(super) fn advise(e: &Evaluation<'_>, f: &Finding, policies: &PolicyChanges) -> (String, String) {
    match f.kind {
        FindingKind::Denied => denied(e, f, policies),
        FindingKind::Allowed => (opened(f), String::new()),
        FindingKind::L7 => (
            "the flows stay open at L4; check that the proxy's rules let every request through that is still needed"
                .to_owned(),
            String::new(),
        ),
    }
}

/// The side that denies now and did not before.
fn denying(f: &Finding) -> Option<&SideChange> {
    [&f.ingress, &f.egress]
        .into_iter()
        .flatten()
        .find(|s| s.head.verdict == Verdict::Denied && s.base.verdict == Verdict::Allowed)
}

fn denied(e: &Evaluation<'_>, f: &Finding, policies: &PolicyChanges) -> (String, String) {
    let Some(side) = denying(f) else { return (String::new(), String::new()) };
    match &side.head.cause {
        Cause::Rules(rules) => (deny_help(rules), String::new()),
        Cause::DefaultDeny(by) => {
            let Some(policy) = to_edit(by, policies) else {
                return (
                    "policy is enforced on every endpoint here; allow these flows in a policy of their own"
                        .to_owned(),
                    String::new(),
                );
            };
            let patch = patch(e, f, side.direction, &policy.policy);
            let end = match side.direction {
                Direction::Ingress => "sources",
                Direction::Egress => "destinations",
            };
            (format!("to keep these flows, allow their {end} in {}", policy.policy), patch)
        }
        Cause::Localhost | Cause::NotEnforced => (String::new(), String::new()),
    }
}

fn deny_help(rules: &[RuleRef]) -> String {
    match rules.first() {
        Some(r) if r.action == Action::Deny => format!(
            "a deny beats every allow of its tier and priority: narrow the peers or ports of the deny rule in {}",
            r.policy
        ),
        _ => "narrow the rules that decide".to_owned(),
    }
}

/// Of the policies that turned default deny on, the one that the change brought or touched.
fn to_edit<'p>(by: &'p [PolicyRef], policies: &PolicyChanges) -> Option<&'p PolicyRef> {
    by.iter()
        .find(|p| policies.added.contains(&p.policy) || policies.changed.contains(&p.policy))
        .or_else(|| by.first())
}

fn opened(f: &Finding) -> String {
    let rules = [&f.ingress, &f.egress].into_iter().flatten().find_map(|s| match &s.head.cause {
        Cause::Rules(r) if s.base.verdict == Verdict::Denied => r.first(),
        _ => None,
    });
    let fallback = [&f.ingress, &f.egress]
        .into_iter()
        .flatten()
        .any(|s| s.base.verdict == Verdict::Denied && s.head.cause == Cause::NotEnforced);
    match rules {
        Some(r) => {
            format!("if this is wider than meant, narrow the peers or ports of the rule in {}", r.policy)
        }
        None if fallback => {
            "nothing enforces policy here any more; to keep it closed, keep a policy that selects these pods"
                .to_owned()
        }
        None => "if this is wider than meant, keep the rule that denied it".to_owned(),
    }
}

/// A rule to add under `ingress:` or `egress:` of the policy.
fn patch(e: &Evaluation<'_>, f: &Finding, d: Direction, policy: &ObjectRef) -> String {
    let peers = match d {
        Direction::Ingress => &f.sources,
        Direction::Egress => &f.destinations,
    };
    if peers.workloads.len() > NAMED {
        return String::new();
    }
    match policy.kind.as_str() {
        "CiliumNetworkPolicy" | "CiliumClusterwideNetworkPolicy" => cilium_patch(e, f, d, policy, peers),
        _ => String::new(),
    }
}

fn cilium_patch(
    e: &Evaluation<'_>,
    f: &Finding,
    d: Direction,
    policy: &ObjectRef,
    peers: &PeerGroup,
) -> String {
    let (section, verb) = match d {
        Direction::Ingress => ("ingress", "from"),
        Direction::Egress => ("egress", "to"),
    };
    // What the destinations declare is what is worth keeping of "every port".
    let ports = port_lines(if f.declared.is_empty() { &f.ports } else { &f.declared });
    let mut out = format!("{section}:\n");
    if !peers.workloads.is_empty() {
        let _ = writeln!(out, "- {verb}Endpoints:");
        let mut seen = BTreeSet::new();
        for (w, _) in &peers.workloads {
            let Some(labels) = labels_of(e, w) else { return String::new() };
            if !seen.insert((w.namespace.clone(), labels.clone())) {
                continue;
            }
            let _ = writeln!(out, "  - matchLabels:");
            for (k, v) in labels {
                let _ = writeln!(out, "      {k}: {}", quoted(&v));
            }
            if policy.namespace.as_deref() != Some(w.namespace.as_str()) {
                let _ = writeln!(out, "      k8s:io.kubernetes.pod.namespace: {}", quoted(&w.namespace));
            }
        }
        out.push_str(&ports);
    }
    let entities: Vec<&String> = peers.others.iter().filter(|o| is_entity(o)).collect();
    if !entities.is_empty() && peers.workloads.is_empty() {
        let _ = writeln!(
            out,
            "- {verb}Entities: [{}]",
            entities.iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", ")
        );
        out.push_str(&ports);
    }
    if out.lines().count() > 1 { out } else { String::new() }
}

fn is_entity(text: &str) -> bool {
    matches!(text, "world" | "host" | "remote-node" | "kube-apiserver" | "health" | "ingress")
}

/// The labels by which people tell a workload from others of its namespace: one if one is enough,
/// else all that are given of the usual ones, if those are enough. A patch must not open more.
fn labels_of(e: &Evaluation<'_>, w: &Workload) -> Option<Vec<(String, String)>> {
    const TELLING: [&str; 7] = [
        "app",
        "app.kubernetes.io/name",
        "k8s-app",
        "name",
        "component",
        "app.kubernetes.io/component",
        "tier",
    ];
    let side = e.sides.last()?;
    let labels_in = |g: &Group| {
        let (identity, _) = g.on.last().copied().flatten()?;
        side.input.cluster.labels(identity)
    };
    let of_namespace = |g: &&Group| g.workloads.iter().any(|(x, _)| x.namespace == w.namespace);
    let mine = |g: &Group| g.workloads.iter().any(|(x, _)| x == w);
    let labels = e.universe.groups().map(|(_, g)| g).find(|g| mine(g)).and_then(labels_in)?;
    let given: Vec<(&str, &str)> = TELLING.iter().filter_map(|k| labels.k8s(k).map(|v| (*k, v))).collect();
    let tell = |wanted: &[(&str, &str)]| {
        e.universe
            .groups()
            .map(|(_, g)| g)
            .filter(of_namespace)
            .filter(|g| !mine(g))
            .filter_map(labels_in)
            .all(|l| wanted.iter().any(|(k, v)| l.k8s(k) != Some(*v)))
    };
    let chosen = match given.iter().find(|l| tell(std::slice::from_ref(l))) {
        Some(one) => vec![*one],
        None if tell(&given) => given,
        None => return None,
    };
    let owned: Vec<_> = chosen.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    (!owned.is_empty()).then_some(owned)
}

/// `toPorts` lines, or none where every port is meant.
fn port_lines(ports: &PortSet) -> String {
    let mut lines = String::new();
    let mut count = 0;
    for (start, end) in ports.intervals() {
        let (low, high) = (crate::ports::flow_port(*start), crate::ports::flow_port(end - 1));
        let (FlowPort::L4(p, a), FlowPort::L4(q, b)) = (low, high) else { return String::new() };
        if p != q || (a <= 1 && b == u16::MAX) {
            return String::new();
        }
        count += 1;
        let _ = write!(lines, "    - port: \"{a}\"\n      protocol: {}\n", name(p));
        if b > a {
            let _ = writeln!(lines, "      endPort: {b}");
        }
    }
    if count == 0 || count > 8 { String::new() } else { format!("  toPorts:\n  - ports:\n{lines}") }
}

fn name(p: L4) -> &'static str {
    p.name()
}

/// A YAML scalar that stays a string.
fn quoted(text: &str) -> String {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "null"
        );
    if plain { text.to_owned() } else { format!("\"{text}\"") }
}

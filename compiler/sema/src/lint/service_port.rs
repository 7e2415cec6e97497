//! SEM-7.3: a rule names the port of a service, or its node port, where policy sees the pods' own port.

use super::backends::{self, l4, target};
use super::signatures::peer_bits;
use super::view::View;
use crate::universe::NodeId;
use fixedbitset::FixedBitSet;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::SERVICE_PORT_IN_RULE as CODE;
use portcullis_ir::{Action, Direction, L4, Peers, PortTerm, Ports, Rule, RuleId};
use std::collections::{BTreeMap, BTreeSet};

/// A port that clients of a service use and its pods do not.
struct Outer {
    service: usize,
    node_port: bool,
    inner: BTreeSet<u16>,
}

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    let cx = &view.cx;
    if !cx.has_cluster || !cx.has_services {
        return;
    }
    let universe = &cx.evaluation.universe;
    let services = backends::all(cx);
    let mut outer: BTreeMap<(L4, u16), Vec<Outer>> = BTreeMap::new();
    let mut inner: BTreeMap<(L4, u16), FixedBitSet> = BTreeMap::new();
    for (at, b) in services.iter().enumerate() {
        for port in &b.service.spec.ports {
            let Some(protocol) = l4(port) else { continue };
            let targets: Vec<(NodeId, u16)> =
                b.groups.iter().filter_map(|g| target(cx, *g, port).map(|(_, n)| (*g, n))).collect();
            for (group, n) in &targets {
                let bits =
                    inner.entry((protocol, *n)).or_insert_with(|| FixedBitSet::with_capacity(universe.len()));
                bits.insert(group.index());
            }
            let numbers: BTreeSet<u16> = targets.iter().map(|(_, n)| *n).collect();
            if numbers.is_empty() {
                continue;
            }
            // The pods of a headless service are reached by their own address and port.
            let visible = if b.service.spec.headless { None } else { Some(port.port) };
            for (n, node_port) in [(visible, false), (port.node_port, true)] {
                if let Some(n) = n.filter(|n| !numbers.contains(n)) {
                    let one = Outer { service: at, node_port, inner: numbers.clone() };
                    outer.entry((protocol, n)).or_default().push(one);
                }
            }
        }
    }
    // What pods declare, they listen on.
    let group_of = universe.group_of.first().map_or(&[][..], Vec::as_slice);
    for (endpoint, group) in cx.cluster.endpoints.iter().zip(group_of) {
        for port in cx.cluster.declared(endpoint).iter().filter(|p| outer.contains_key(*p)) {
            let bits = inner.entry(*port).or_insert_with(|| FixedBitSet::with_capacity(universe.len()));
            bits.insert(NodeId(*group).index());
        }
    }
    let mut seen = BTreeSet::new();
    for (rule, receivers) in receivers(view) {
        let Ports::Of(terms) = &rule.ports else { continue };
        for term in terms.iter() {
            let PortTerm::Range(protocol, low, high) = term else { continue };
            let Some(candidates) = outer.get(&(*protocol, *low)).filter(|_| low == high) else { continue };
            if inner.get(&(*protocol, *low)).is_some_and(|bits| !bits.is_disjoint(&receivers)) {
                continue;
            }
            let meant = candidates.iter().find(|o| {
                let own = services.get(o.service).map_or(&[][..], |b| &b.groups);
                own.iter().any(|g| receivers.contains(g.index())) && !takes(&rule.ports, *protocol, &o.inner)
            });
            let (Some(o), Some(policy)) = (meant, cx.policies.policy(rule.policy)) else { continue };
            let Some(b) = services.get(o.service) else { continue };
            if !seen.insert((rule.span.file.0, rule.span.start, *protocol, *low)) {
                continue;
            }
            let what = if o.node_port { "node port" } else { "port" };
            let inner: Vec<String> = o.inner.iter().map(ToString::to_string).collect();
            let does = if rule.action == Action::Deny { "denies" } else { "allows" };
            let message = format!(
                "{} {low} {does} nothing that goes to service {}: policy sees the pods' own port, {}",
                protocol.name(),
                b.name(),
                inner.join(" or ")
            );
            out.push(
                Diagnostic::new(CODE, message, rule.span)
                    .object(policy.object.clone())
                    .label(format!("{low} is the {what} of a service"))
                    .help(format!("name port {} instead", inner.join(" or "))),
            );
        }
    }
}

/// Rules that allow or deny some pods, each with the pods that receive.
fn receivers<'v>(view: &'v View<'_>) -> Vec<(&'v Rule, FixedBitSet)> {
    let cx = &view.cx;
    let universe = &cx.evaluation.universe;
    let mut found: BTreeMap<RuleId, FixedBitSet> = BTreeMap::new();
    for s in &view.signatures {
        for (id, rule) in s.rules(cx).filter(|(_, r)| r.action != Action::Pass) {
            let bits = found.entry(id).or_insert_with(|| FixedBitSet::with_capacity(universe.len()));
            if s.direction == Direction::Ingress {
                bits.extend(s.groups.iter().map(|g| g.index()));
            } else if rule.peers != Peers::All
                && let Some(peers) = peer_bits(cx, id)
            {
                bits.union_with(peers);
            }
        }
    }
    found.into_iter().filter_map(|(id, bits)| Some((cx.policies.rule(id)?, bits))).collect()
}

/// Whether a rule takes in one of the ports besides.
fn takes(ports: &Ports, protocol: L4, wanted: &BTreeSet<u16>) -> bool {
    match ports {
        Ports::All => true,
        Ports::Of(terms) => terms.iter().any(|t| match t {
            PortTerm::Range(l4, low, high) => *l4 == protocol && wanted.range(low..=high).next().is_some(),
            PortTerm::Named(l4, _) => *l4 == protocol,
            _ => false,
        }),
    }
}

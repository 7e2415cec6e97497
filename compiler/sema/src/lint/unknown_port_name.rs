//! SEM-7.4: a named port that none of the pods that would receive the traffic has.

use super::signatures::{meaning, peer_bits};
use super::view::View;
use super::words::nearest;
use crate::universe::NodeId;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::UNKNOWN_PORT_NAME as CODE;
use portcullis_front::ast::{Body, PortValue};
use portcullis_ir::{Action, Direction, PortTerm, Ports, Rule, RuleId, Subject};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    if !view.cx.has_cluster {
        return;
    }
    let places = places(view);
    for (id, rule) in view.cx.policies.rules() {
        let Ports::Of(terms) = &rule.ports else { continue };
        let names: BTreeSet<&str> = terms
            .iter()
            .filter_map(|t| match t {
                PortTerm::Named(_, name) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        for name in names {
            let Some(known) = receivers(view, id, rule) else { continue };
            let wanted =
                |l4| terms.iter().any(|t| matches!(t, PortTerm::Named(p, n) if *p == l4 && n == name));
            if known.iter().any(|(n, l4)| *n == name && wanted(*l4)) {
                continue;
            }
            let Some(policy) = view.cx.policies.policy(rule.policy) else { continue };
            let Some(span) = places.get(&(id, name)) else { continue };
            let verb = if rule.action == Action::Deny { "denies" } else { "allows" };
            let who = if rule.direction == Direction::Ingress {
                "pod that the policy selects"
            } else {
                "pod among the peers"
            };
            let message = format!("this {verb} nothing: no {who} has a port named `{name}`");
            let finding =
                Diagnostic::new(CODE, message, *span).object(policy.object.clone()).label("no such port");
            let mut all: Vec<&str> = known.iter().map(|(n, _)| *n).collect();
            all.dedup();
            out.push(finding.help(match (known.iter().any(|(n, _)| *n == name), nearest(name, all)) {
                (true, _) => "the port has another protocol there".to_owned(),
                (false, Some(like)) => format!("did you mean `{like}`?"),
                (false, None) => "name a port of those pods, or give the number".to_owned(),
            }));
        }
    }
}

/// Named ports of the pods that receive what a rule is about; `None` if there is no such pod.
fn receivers<'a>(view: &View<'a>, id: RuleId, rule: &Rule) -> Option<BTreeSet<(&'a str, portcullis_ir::L4)>> {
    let e = view.cx.evaluation;
    meaning(&view.cx, id)?;
    let bits = match (rule.direction, rule.subject) {
        (Direction::Ingress, Subject::Endpoints(s)) => e.sides.first()?.subjects.get(s as usize)?,
        (Direction::Ingress, Subject::Host(_)) => return None,
        (Direction::Egress, _) => peer_bits(&view.cx, id)?,
    };
    let mut tables = BTreeSet::new();
    let mut any = false;
    for n in bits.ones().take_while(|n| *n < e.universe.groups) {
        any = true;
        let group = e.universe.group(NodeId(u32::try_from(n).ok()?))?;
        if let Some((_, table)) = group.on.first().copied().flatten() {
            tables.insert(table.0);
        }
    }
    let named = tables.into_iter().filter_map(|t| view.cx.cluster.port_tables.get(t)).flatten();
    any.then(|| named.map(|(n, l4, _)| (n.as_str(), *l4)).collect())
}

/// Where each rule names each port.
fn places<'a>(view: &View<'a>) -> BTreeMap<(RuleId, &'a str), portcullis_diag::Span> {
    let mut out = BTreeMap::new();
    for site in &view.entries {
        let items = site.entry.to_ports.iter().flat_map(|l| &l.value);
        for (at, item) in site.rules.clone().zip(items) {
            for p in &item.ports {
                if let (PortValue::Name(name), Ok(at)) = (&p.port, u32::try_from(at)) {
                    out.insert((RuleId(at), name.as_str()), p.span);
                }
            }
        }
    }
    // Of the other kinds the whole rule is one place; ports are looked up in it.
    let by_entry: std::collections::HashMap<_, _> =
        view.cx.policies.rules().map(|(id, r)| (r.entry, id)).collect();
    for site in &view.networks {
        let Body::Network(policy) = &site.object.body else { continue };
        for rule in policy.ingress.iter().chain(&policy.egress).flat_map(|s| &s.value) {
            let Some(id) = by_entry.get(&rule.span) else { continue };
            for p in &rule.ports {
                if let Some(PortValue::Name(name)) = &p.port {
                    out.insert((*id, name.as_str()), p.span);
                }
            }
        }
    }
    out
}

//! SEM-7.3: a rule lets everybody outside the cluster reach pods behind a node port.

use super::backends::{self, target};
use super::view::View;
use crate::cells::Cells;
use crate::ports::coordinate;
use crate::row::Why;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::NODE_PORT_OPEN as CODE;
use portcullis_ir::{Direction, FlowPort, Reserved, Verdict};
use std::collections::BTreeSet;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    let cx = &view.cx;
    if !cx.has_cluster {
        return;
    }
    let universe = &cx.evaluation.universe;
    let worlds: Vec<_> = [Reserved::World, Reserved::WorldIpv4, Reserved::WorldIpv6]
        .into_iter()
        .filter_map(|r| universe.reserved(r))
        .collect();
    let cells = Cells::new(cx.evaluation);
    let mut seen = BTreeSet::new();
    for b in backends::all(cx).iter().filter(|b| b.service.spec.kind == "NodePort") {
        for port in &b.service.spec.ports {
            let Some(node_port) = port.node_port else { continue };
            let opened = b.groups.iter().find_map(|g| {
                let (l4, n) = target(cx, *g, port)?;
                worlds.iter().find_map(|world| {
                    let row = cells.row_of(0, Direction::Ingress, *g, *world)?;
                    let cell = row.at(coordinate(FlowPort::L4(l4, n)))?;
                    let Why::Rules(meanings) = &cell.why else { return None };
                    let rules = cx.evaluation.rules_with(0, Direction::Ingress, *g, meanings);
                    let rule = rules.first().filter(|_| cell.verdict == Verdict::Allowed)?;
                    Some((*rule, n))
                })
            });
            let Some((rule, n)) = opened.and_then(|(id, n)| Some((cx.policies.rule(id)?, n))) else {
                continue;
            };
            let Some(policy) = cx.policies.policy(rule.policy) else { continue };
            if !seen.insert((rule.entry.file.0, rule.entry.start, b.name(), node_port)) {
                continue;
            }
            let message = format!(
                "whoever reaches a node reaches the pods of service {} on port {n}, by node port {node_port}",
                b.name()
            );
            out.push(
                Diagnostic::new(CODE, message, rule.entry)
                    .object(policy.object.clone())
                    .label("lets the whole world in")
                    .also(port.span, "opens a port on every node")
                    .help(
                        "name the addresses that need it with `fromCIDRSet`, or make the service a ClusterIP",
                    ),
            );
        }
    }
}

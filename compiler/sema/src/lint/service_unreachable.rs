//! SEM-5.1, SEM-7.3: a service whose pods are all default-deny, and no policy lets anybody reach any of its ports.

use super::backends::{self, Backends, target};
use super::dns_left_out::at_source;
use super::view::View;
use crate::cells::Cells;
use crate::ports::coordinate;
use crate::universe::{NodeId, NodeKind};
use fixedbitset::FixedBitSet;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::SERVICE_UNREACHABLE as CODE;
use portcullis_ir::{Direction, FlowPort, Reserved, Verdict};
use std::collections::BTreeMap;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    let cx = &view.cx;
    if !cx.has_cluster {
        return;
    }
    let universe = &cx.evaluation.universe;
    let cells = Cells::new(cx.evaluation);
    // The node's own host may always come in (SEM-5.5), which makes no client of it.
    let mut others = FixedBitSet::with_capacity(universe.len());
    others.extend(
        universe.iter().filter(|(_, n)| **n != NodeKind::Reserved(Reserved::Host)).map(|(id, _)| id.index()),
    );
    let mut memo: BTreeMap<(NodeId, u32), bool> = BTreeMap::new();
    for b in backends::all(cx) {
        let ports: Vec<(NodeId, u32)> = b
            .groups
            .iter()
            .flat_map(|g| b.service.spec.ports.iter().map(move |p| (*g, p)))
            .filter_map(|(g, p)| target(cx, g, p).map(|(l4, n)| (g, coordinate(FlowPort::L4(l4, n)))))
            .collect();
        let mut reached =
            |at: &(NodeId, u32)| *memo.entry(*at).or_insert_with(|| is_reached(&cells, &others, at.0, at.1));
        if ports.is_empty() || ports.iter().any(&mut reached) {
            continue;
        }
        out.extend(finding(view, &b));
    }
}

fn is_reached(cells: &Cells<'_, '_>, others: &FixedBitSet, group: NodeId, at: u32) -> bool {
    let Some(class) = cells.evaluation.class(0, Direction::Ingress, group) else { return true };
    cells.parts(0, Direction::Ingress, class).iter().any(|part| {
        part.row.at(at).is_some_and(|c| c.verdict == Verdict::Allowed)
            && part.peers.ones().any(|p| p != group.index() && others.contains(p))
    })
}

fn finding(view: &View<'_>, b: &Backends<'_>) -> Option<Diagnostic> {
    let denied = |g: &NodeId| view.cx.evaluation.default_deny(0, Direction::Ingress, *g).first().copied();
    let source = b.groups.iter().find_map(denied)?;
    let message =
        format!("nobody can reach service {}: no policy allows ingress to its pods' ports", b.name());
    let span = b.service.spec.span;
    Some(
        at_source(view, source, CODE, message)?
            .label("turns default deny on")
            .also(span, "leads to these pods")
            .help("allow its clients with `fromEndpoints` on the pods' ports, or remove the service"),
    )
}

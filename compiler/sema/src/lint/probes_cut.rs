//! SEM-8.6, SEM-5.5: the kubelet's probes come from the node's own host, and a rule denies them.

use super::signatures::peer_bits;
use super::view::View;
use super::words::few;
use crate::cells::Cells;
use crate::ports::coordinate;
use crate::row::Why;
use crate::universe::NodeId;
use portcullis_diag::codes::meaning::PROBES_CUT as CODE;
use portcullis_diag::{Diagnostic, ObjectRef, Severity, Span};
use portcullis_front::ast::PortValue;
use portcullis_ir::{Action, Direction, Endpoint, FlowPort, L4, Ports, Reserved, RuleId, Tier, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// What denies: the place, and whether it is a rule rather than default deny.
type Culprit = (u32, u32, u32, bool);

/// What one culprit denies.
struct Cut {
    span: Span,
    object: ObjectRef,
    groups: BTreeSet<NodeId>,
    ports: BTreeSet<u16>,
}

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    let cx = &view.cx;
    let universe = &cx.evaluation.universe;
    let Some(host) = universe.reserved(Reserved::Host) else { return };
    let cells = Cells::new(cx.evaluation);
    let mut seen: BTreeSet<(NodeId, u16)> = BTreeSet::new();
    let mut cuts: BTreeMap<Culprit, Cut> = BTreeMap::new();
    let group_of = universe.group_of.first().map_or(&[][..], Vec::as_slice);
    for (endpoint, group) in cx.cluster.endpoints.iter().zip(group_of) {
        let group = NodeId(*group);
        for port in cx.cluster.probes(endpoint).iter().filter_map(|p| number(view, endpoint, p)) {
            if !seen.insert((group, port)) || cells.is_open(0, Direction::Ingress, group) {
                continue;
            }
            let Some(row) = cells.row_of(0, Direction::Ingress, group, host) else { continue };
            let Some(cell) = row.at(coordinate(FlowPort::L4(L4::Tcp, port))) else { continue };
            if cell.verdict == Verdict::Allowed {
                continue;
            }
            let Some((span, object, by_rule)) = culprit(view, group, &cell.why) else { continue };
            let cut = cuts.entry((span.file.0, span.start, span.end, by_rule)).or_insert_with(|| Cut {
                span,
                object,
                groups: BTreeSet::new(),
                ports: BTreeSet::new(),
            });
            cut.groups.insert(group);
            cut.ports.insert(port);
        }
    }
    cut_without_probes(view, host, &seen, out);
    for ((.., by_rule), cut) in cuts {
        let groups: Vec<NodeId> = cut.groups.into_iter().collect();
        let ports: Vec<String> = cut.ports.iter().map(ToString::to_string).collect();
        let who = few(&view.workloads(&groups));
        let message =
            format!("the kubelet takes {who} for dead: its probes on TCP {} are denied", few(&ports));
        let finding = Diagnostic::new(CODE, message, cut.span).object(cut.object);
        out.push(if by_rule {
            finding
                .label("denies the node's host")
                .help("leave the host out of the deny, or deny other ports")
        } else {
            finding.label("turns default deny on").help("allow `fromEntities: [host]` on the probes' ports")
        });
    }
}

/// A note where a deny cuts the host off from pods of which no probe is known: snapshots leave them
/// out, and a probe may be added later.
fn cut_without_probes(
    view: &View<'_>,
    host: NodeId,
    probed: &BTreeSet<(NodeId, u16)>,
    out: &mut Vec<Diagnostic>,
) {
    let cx = &view.cx;
    let mut cut: BTreeMap<RuleId, Vec<NodeId>> = BTreeMap::new();
    for s in view.signatures.iter().filter(|s| s.direction == Direction::Ingress) {
        let denies = s.rules(cx).find(|(id, r)| {
            r.action == Action::Deny
                && r.tier == Tier::Normal
                && r.ports == Ports::All
                && peer_bits(cx, *id).is_some_and(|p| p.contains(host.index()))
        });
        if let Some((id, _)) = denies {
            let quiet = |g: &NodeId| probed.range((*g, 0)..=(*g, u16::MAX)).next().is_none();
            cut.entry(id).or_default().extend(s.groups.iter().copied().filter(quiet));
        }
    }
    for (id, groups) in cut.into_iter().filter(|(_, g)| !g.is_empty()) {
        let Some(rule) = cx.policies.rule(id) else { continue };
        let Some(policy) = cx.policies.policy(rule.policy) else { continue };
        let message = format!(
            "the node's host cannot reach {}: probes of the kubelet would fail",
            few(&view.workloads(&groups))
        );
        let finding =
            Diagnostic::new(CODE, message, rule.entry).object(policy.object.clone()).severity(Severity::Note);
        out.push(
            finding
                .label("denies the node's host")
                .help("deny pods with an endpoint selector, which never takes the host in"),
        );
    }
}

fn number(view: &View<'_>, endpoint: &Endpoint, port: &PortValue) -> Option<u16> {
    match port {
        PortValue::Number(n) => Some(*n),
        PortValue::Name(name) => view
            .cx
            .cluster
            .named_ports(endpoint)
            .iter()
            .find(|(n, l4, _)| n == name && *l4 == L4::Tcp)
            .map(|p| p.2),
    }
}

fn culprit(view: &View<'_>, group: NodeId, why: &Why) -> Option<(Span, ObjectRef, bool)> {
    let cx = &view.cx;
    let (span, policy, by_rule) = match why {
        Why::Rules(meanings) => {
            let rules = cx.evaluation.rules_with(0, Direction::Ingress, group, meanings);
            let rule = cx.policies.rule(*rules.first()?)?;
            (rule.entry, rule.policy, true)
        }
        Why::Fallback(_) => {
            let source = cx.evaluation.default_deny(0, Direction::Ingress, group).first()?;
            let e = cx.policies.enforcement(*source)?;
            (e.span, e.policy, false)
        }
    };
    Some((span, cx.policies.policy(policy)?.object.clone(), by_rule))
}

//! SEM-4.6: Cilium learns which addresses a name has from the DNS traffic that passes its proxy,
//! and only an egress rule with `rules.dns` sends traffic there.

use super::view::View;
use portcullis_diag::codes::meaning::FQDN_WITHOUT_DNS as CODE;
use portcullis_diag::{Diagnostic, Severity};
use portcullis_ir::{Action, Direction, RuleId};
use std::collections::BTreeSet;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    let asks = |s: &super::signatures::Signature| {
        s.rules(&view.cx).any(|(_, r)| r.l7.as_ref().is_some_and(|l| l.dns.is_some()))
    };
    let egress = || view.signatures.iter().filter(|s| s.direction == Direction::Egress);
    // Without pods it is not known which other rules select the same ones.
    if !view.cx.has_cluster && egress().any(asks) {
        return;
    }
    let taught: BTreeSet<RuleId> =
        egress().filter(|s| asks(s)).flat_map(|s| s.rules.iter().copied()).collect();
    let selecting: BTreeSet<RuleId> = egress().flat_map(|s| s.rules.iter().copied()).collect();
    for site in view.entries.iter().filter(|s| s.action == Action::Allow) {
        let Some(list) = site.entry.fqdns.as_ref().filter(|l| !l.value.is_empty()) else { continue };
        let mut ids = site.rules.clone().filter_map(|i| u32::try_from(i).ok()).map(RuleId);
        if ids.all(|id| selecting.contains(&id) && !taught.contains(&id)) {
            let why = "no rule sends the pods' DNS traffic through the proxy that learns their addresses";
            let finding = if view.cx.has_cluster {
                site.finding(CODE, format!("these names never match: {why}"), list.span).label("never learnt")
            } else {
                let message = format!("these names never match unless another policy covers DNS: here {why}");
                site.finding(CODE, message, list.span).severity(Severity::Note)
            };
            out.push(finding.help("allow port 53 to kube-dns with `rules: {dns: [{matchPattern: \"*\"}]}`"));
        }
    }
}

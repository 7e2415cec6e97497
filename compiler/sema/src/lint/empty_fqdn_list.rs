//! SEM-3.9: `toFQDNs: []` is as good as none, so with ports every peer is allowed on them.

use super::view::View;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::EMPTY_FQDN_LIST as CODE;
use portcullis_ir::{Action, Peers};

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    for site in view.entries.iter().filter(|s| s.action == Action::Allow && s.has_ports()) {
        let Some(list) = site.entry.fqdns.as_ref().filter(|l| l.value.is_empty()) else { continue };
        let open = view
            .cx
            .policies
            .rules
            .get(site.rules.clone())
            .is_some_and(|r| r.iter().any(|r| r.peers == Peers::All));
        if open {
            let message = "every peer is allowed on these ports: an empty `toFQDNs` is as good as none";
            let finding = site.finding(CODE, message, list.span).label("names nobody");
            out.push(finding.help("name domain names, or remove the entry"));
        }
    }
}

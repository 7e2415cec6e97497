//! SEM-8.2: `egressDeny.toServices` is never resolved. With ports everyone is denied on them.

use super::view::View;
use portcullis_diag::codes::meaning::DENY_TO_SERVICES as CODE;
use portcullis_diag::{Diagnostic, Severity};
use portcullis_ir::Action;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    for site in view.entries.iter().filter(|s| s.action == Action::Deny) {
        let Some(list) = &site.entry.services else { continue };
        let (message, severity) = if site.has_ports() {
            ("every peer is denied on these ports, not only the services", Severity::Error)
        } else {
            ("nothing is denied: services are not looked up in a deny rule", Severity::Warning)
        };
        let finding =
            site.finding(CODE, message, list.span).severity(severity).label("never resolved in a deny rule");
        out.push(finding.help("select the services' backends with `toEndpoints`"));
    }
}

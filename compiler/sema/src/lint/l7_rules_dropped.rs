//! SEM-8.4: `rules.kafka`, `rules.l7` and `rules.l7proto` are gone, and deny rules never had `rules`.
//! They are dropped; what is left is a plain port, or the other rules of the item.

use super::view::View;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::L7_RULES_DROPPED as CODE;
use portcullis_ir::Action;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    for site in &view.entries {
        for item in site.entry.to_ports.iter().flat_map(|l| &l.value) {
            let Some(field) = item.dropped_rules.first() else { continue };
            let message = if site.action == Action::Deny {
                "all traffic on these ports is denied, whatever it carries"
            } else if item.http.is_some() || item.dns.is_some() {
                "these rules filter nothing: only the other rules of the item are left"
            } else {
                "all traffic on these ports is allowed, whatever it carries"
            };
            let help = match field.value.as_str() {
                "rules" => "deny rules have no L7 rules: allow with `http` rules what may pass",
                _ => "restrict the ports or the peers, or match requests in the application",
            };
            let finding =
                site.finding(CODE, message, field.span).label(format!("`{}` is dropped", field.value));
            out.push(finding.help(help));
        }
    }
}

//! SEM-8.12: `egressDeny: [{}]` denies nothing by itself; it turns default deny on.

use super::view::View;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::EMPTY_DENY_ENTRY as CODE;
use portcullis_ir::{Action, Direction};

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    for site in view.entries.iter().filter(|s| s.action == Action::Deny && s.is_empty()) {
        let (switch, all) = match site.direction {
            Direction::Ingress => (&site.at.rule.default_deny_ingress, "fromEntities: [all]"),
            Direction::Egress => (&site.at.rule.default_deny_egress, "toEntities: [all]"),
        };
        let message = if switch.as_ref().is_none_or(|s| s.value) {
            "this denies nothing that a rule allows: an empty deny entry only turns default deny on"
        } else {
            "this denies nothing: an empty deny entry names nobody"
        };
        let finding = site.finding(CODE, message, site.entry.span).label("names no peer and no port");
        let section = site.direction;
        out.push(
            finding.help(format!(
                "deny everything with `{all}`, or turn default deny on with `{section}: [{{}}]`"
            )),
        );
    }
}

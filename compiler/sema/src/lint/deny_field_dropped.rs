//! SEM-8.3: a peer field that its section does not have, such as `egressDeny.toFQDNs`, is dropped.
//! What is left means something else.

use super::sites::EntrySite;
use super::view::View;
use portcullis_diag::codes::meaning::DENY_FIELD_DROPPED as CODE;
use portcullis_diag::{Diagnostic, Severity};
use portcullis_ir::{Action, Peers};

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    for site in &view.entries {
        let Some(field) = site.entry.dropped.iter().find(|f| f.value != "authentication") else { continue };
        let rules = view.cx.policies.rules.get(site.rules.clone()).unwrap_or(&[]);
        let open = rules.iter().any(|r| r.peers == Peers::All);
        let (message, severity) = effect(site, open);
        let finding = site.finding(CODE, message, field.span).severity(severity);
        let help = if field.value == "toFQDNs" {
            "a deny rule cannot name DNS names: allow what is needed with `egress.toFQDNs`, or deny addresses with `toCIDRSet`"
        } else {
            "use the peer field of this direction"
        };
        out.push(finding.label(format!("{} has no such field", site.section())).help(help));
    }
}

fn effect(site: &EntrySite<'_>, open: bool) -> (String, Severity) {
    let direction = site.direction;
    match (open, site.action) {
        (true, Action::Deny) => ("every peer is denied on these ports".to_owned(), Severity::Error),
        (true, _) => ("every peer is allowed on these ports".to_owned(), Severity::Error),
        (false, Action::Deny) => {
            (format!("all {direction} that nothing allows becomes denied, and nothing else"), Severity::Error)
        }
        (false, _) => ("this entry allows nothing".to_owned(), Severity::Warning),
    }
}

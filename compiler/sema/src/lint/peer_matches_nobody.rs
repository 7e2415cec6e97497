//! SEM-8.6: a peer selector that matches nobody.

use super::matcher::{Trouble, names_dns};
use super::sites::finding;
use super::view::View;
use portcullis_diag::codes::meaning::PEER_MATCHES_NOBODY as CODE;
use portcullis_diag::{Diagnostic, Severity};
use portcullis_ir::Action;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    for site in &view.peers {
        let Some(Trouble::Nobody(why)) = &site.trouble else { continue };
        let verb = match site.action {
            Action::Allow => "allows",
            Action::Deny => "denies",
            Action::Pass => "passes",
        };
        let message = format!("this peer {verb} nobody: {why}");
        let mut finding = finding(site.object, CODE, message, site.span).label("matches nobody");
        if site.written.is_some_and(names_dns) {
            finding.severity = Severity::Note;
        }
        out.push(finding.help("select labels that the pods and their namespace carry, or remove the peer"));
    }
}

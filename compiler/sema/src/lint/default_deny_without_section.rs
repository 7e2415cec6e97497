//! SEM-8.11: `enableDefaultDeny` is true for a direction in which the rule has no entry.

use super::sites::finding;
use super::view::{View, sections};
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::DEFAULT_DENY_WITHOUT_SECTION as CODE;
use portcullis_ir::Direction;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    for site in &view.rules {
        let switches = [
            (&site.rule.default_deny_ingress, Direction::Ingress),
            (&site.rule.default_deny_egress, Direction::Egress),
        ];
        for (switch, direction) in switches {
            let Some(on) = switch.as_ref().filter(|s| s.value) else { continue };
            let filled = sections(site.rule)
                .into_iter()
                .any(|(s, d, _)| d == direction && s.is_some_and(|s| !s.value.is_empty()));
            if !filled {
                let message = format!("{direction} stays as it is: the rule has no {direction} entry");
                let finding = finding(site.object, CODE, message, on.span).label("has no effect");
                out.push(finding.help(format!("add `{direction}: [{{}}]` to deny what nothing allows")));
            }
        }
    }
}

//! SEM-5.4: rules of a direction that `policyTypes` leaves out are enforced by Cilium all the same.

use super::sites::finding;
use super::view::View;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::POLICY_TYPES_TRAP as CODE;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    for site in &view.networks {
        let Some(types) = &site.policy.policy_types else { continue };
        let (ingress, egress) = types.value;
        for (section, named, direction, word) in [
            (&site.policy.ingress, ingress, "ingress", "Ingress"),
            (&site.policy.egress, egress, "egress", "Egress"),
        ] {
            let Some(rules) = section.as_ref().filter(|s| !named && !s.value.is_empty()) else { continue };
            let message = format!("{direction} becomes default-deny although `policyTypes` does not name it");
            let finding = finding(site.object, CODE, message, rules.span)
                .label("enforced by Cilium, ignored by Kubernetes");
            out.push(
                finding
                    .also(types.span, format!("without {word}"))
                    .help(format!("add {word} to `policyTypes`, or remove the {direction} rules")),
            );
        }
    }
}

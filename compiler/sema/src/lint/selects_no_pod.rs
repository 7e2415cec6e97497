//! SEM-8.6: a policy that selects no pod does nothing.

use super::matcher::Trouble;
use super::sites::finding;
use super::view::View;
use super::words::few;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::SELECTS_NO_POD as CODE;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    for site in &view.subjects {
        let (message, help) = match &site.trouble {
            Some(Trouble::Nobody(why)) => (
                format!("the policy does nothing: {why}"),
                "select labels that the pods carry, or remove the policy".to_owned(),
            ),
            Some(Trouble::Elsewhere(namespaces)) => (
                format!("the policy does nothing: such pods are only in {}", few(namespaces)),
                "put the policy into the namespace of the pods".to_owned(),
            ),
            _ => continue,
        };
        out.push(finding(site.object, CODE, message, site.span).label("selects no pod").help(help));
    }
}

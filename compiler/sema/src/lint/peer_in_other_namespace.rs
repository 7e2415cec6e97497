//! SEM-8.6, SEM-3.4: a peer selector without a namespace is held to the policy's own namespace, and
//! such pods exist only in others.

use super::matcher::Trouble;
use super::sites::finding;
use super::view::View;
use super::words::few;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::PEER_IN_OTHER_NAMESPACE as CODE;
use portcullis_front::ast::Body;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    for site in &view.peers {
        let Some(Trouble::Elsewhere(namespaces)) = &site.trouble else { continue };
        let own = site.object.meta.namespace.as_ref().map_or("", |n| n.value.as_str());
        let message = format!("this peer matches nobody: such pods are in {}, not in {own}", few(namespaces));
        let example = match namespaces.as_slice() {
            [one] => one.as_str(),
            _ => "<namespace>",
        };
        let help = match site.object.body {
            Body::Cilium(_) => format!(
                "if pods there are meant, add `k8s:io.kubernetes.pod.namespace: {example}` to the labels"
            ),
            _ => format!(
                "if pods there are meant, add a `namespaceSelector` for `kubernetes.io/metadata.name: {example}`"
            ),
        };
        out.push(
            finding(site.object, CODE, message, site.span)
                .label(format!("held to namespace {own}"))
                .help(help),
        );
    }
}

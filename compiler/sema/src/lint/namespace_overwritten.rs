//! SEM-3.3: a namespace in a CNP's endpointSelector is overwritten by the policy's own.

use super::sites::finding;
use super::view::View;
use portcullis_diag::Diagnostic;
use portcullis_diag::codes::meaning::NAMESPACE_OVERWRITTEN as CODE;
use portcullis_front::ast::{Body, Subject};
use portcullis_ir::label::{POD_NAMESPACE, split_key};

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    for site in &view.rules {
        let (Body::Cilium(policy), Subject::Endpoints(s)) = (&site.object.body, &site.rule.subject) else {
            continue;
        };
        let Some(own) = site.object.meta.namespace.as_ref().filter(|_| !policy.clusterwide) else { continue };
        for (key, value) in &s.match_labels {
            if split_key(&key.value) == (Some("k8s"), POD_NAMESPACE) && value.value != own.value {
                let message = format!("pods of {} are selected, not of {}", own.value, value.value);
                let finding = finding(site.object, CODE, message, value.span).label("overwritten");
                out.push(finding.help(format!(
                    "put the policy into namespace {}, or use a CiliumClusterwideNetworkPolicy",
                    value.value
                )));
            }
        }
    }
}

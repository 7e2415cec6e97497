//! SEM-4.3: Cilium leaves some labels out of identities; a selector on one of them matches nobody.

use super::sites::finding;
use super::view::View;
use portcullis_diag::codes::meaning::NOT_AN_IDENTITY_LABEL as CODE;
use portcullis_diag::{Diagnostic, Span};
use portcullis_front::ast::{LabelSelector, Object, Operator};
use portcullis_ir::cluster::is_identity_label;
use portcullis_ir::label::{POD_NAMESPACE, SOURCE_K8S, split_key};

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    for site in &view.subjects {
        if let Some(s) = site.written {
            selector(site.object, s, "selects no pod", out);
        }
    }
    for site in &view.peers {
        if let Some(s) = site.written {
            selector(site.object, s, "matches nobody", out);
        }
    }
}

fn selector(object: &Object, s: &LabelSelector, nobody: &str, out: &mut Vec<Diagnostic>) {
    let mut report = |key: &str, span: Span, absent: bool| {
        let (source, key) = split_key(key);
        if source.is_some_and(|s| s != SOURCE_K8S) || key == POD_NAMESPACE || is_identity_label(key) {
            return;
        }
        let message = if absent {
            format!("this condition always holds: label `{key}` is never part of an identity")
        } else {
            format!("the selector {nobody}: label `{key}` is never part of an identity")
        };
        let help = if key == "kubernetes.io/metadata.name" {
            "name the namespace with `k8s:io.kubernetes.pod.namespace`"
        } else {
            "select by a label that the pods carry for this purpose, such as `app`"
        };
        out.push(finding(object, CODE, message, span).label("left out of identities").help(help));
    };
    for (key, _) in &s.match_labels {
        report(&key.value, key.span, false);
    }
    for e in &s.match_expressions {
        let absent = matches!(e.operator, Operator::NotIn | Operator::DoesNotExist);
        report(&e.key.value, e.key.span, absent);
    }
}

//! SEM-8.6: a policy or a peer in a namespace that does not exist.

use super::matcher::{Trouble, names_dns};
use super::sites::finding;
use super::view::View;
use portcullis_diag::codes::meaning::NAMESPACE_MISSING as CODE;
use portcullis_diag::{Diagnostic, Severity, Span};
use portcullis_front::ast::LabelSelector;
use std::collections::BTreeSet;

pub(super) fn check(view: &View<'_>, out: &mut Vec<Diagnostic>) {
    let mut said = BTreeSet::new();
    for site in &view.subjects {
        let Some(Trouble::NoNamespace(name, like)) = &site.trouble else { continue };
        let own = site.object.meta.namespace.as_ref().filter(|n| n.value == *name);
        let span = own.map_or(site.span, |n| n.span);
        if said.insert((span.file, span.start)) {
            let message = format!("the policy does nothing: there is no namespace {name}");
            out.push(
                finding(site.object, CODE, message, span).label("does not exist").help(help(like.as_deref())),
            );
        }
    }
    for site in &view.peers {
        let Some(Trouble::NoNamespace(name, like)) = &site.trouble else { continue };
        // The policy's own namespace was named above already.
        if site.object.meta.namespace.as_ref().is_some_and(|n| n.value == *name) {
            continue;
        }
        let span = site.written.and_then(|s| value_place(s, name)).unwrap_or(site.span);
        let message = format!("this peer matches nobody: there is no namespace {name}");
        let mut finding =
            finding(site.object, CODE, message, span).label("does not exist").help(help(like.as_deref()));
        if site.written.is_some_and(names_dns) {
            finding.severity = Severity::Note;
        }
        out.push(finding);
    }
}

fn help(like: Option<&str>) -> String {
    match like {
        Some(like) => format!("did you mean `{like}`?"),
        None => "name a namespace that exists, or give its Namespace object with the cluster".to_owned(),
    }
}

fn value_place(s: &LabelSelector, value: &str) -> Option<Span> {
    let labels = s.match_labels.iter().map(|(_, v)| v);
    let expressions = s.match_expressions.iter().flat_map(|e| &e.values);
    labels.chain(expressions).find(|v| v.value == value).map(|v| v.span)
}

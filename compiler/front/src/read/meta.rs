//! `metadata`.

use super::fields::{Map, Reader, refused};
use super::names;
use crate::ast::{Meta, Spanned, Text};
use crate::tree::{Node, Value};
use portcullis_diag::codes::schema;
use portcullis_diag::{Diagnostic, Span};
use smol_str::SmolStr;

/// The fields of `metadata`.
const KNOWN: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

/// Annotations that say something about policy, by prefix.
const ANNOTATIONS: &[&str] =
    &["service.cilium.io/", "policy.cilium.io/", "policy.portcullis.dev/", "kustomize."];

/// Reads what there is, without a word about what is wrong: for objects that are not policies, and
/// for naming an object before it is checked.
pub(super) fn lenient(root: &Node, namespaced: bool) -> Meta {
    let meta = root.get("metadata");
    let text = |key: &str| -> Option<Text> {
        let node = meta?.get(key)?;
        node.as_str().map(|s| Spanned::new(SmolStr::new(s), node.span))
    };
    let span = meta.map_or(root.span, |m| m.span);
    let name = text("name").unwrap_or_else(|| Spanned::new(SmolStr::default(), span));
    let namespace = namespaced.then(|| {
        let given = text("namespace").filter(|n| !n.value.is_empty());
        given.unwrap_or_else(|| Spanned::new(SmolStr::new_static("default"), name.span))
    });
    let annotations = string_map(meta.and_then(|m| m.get("annotations")))
        .into_iter()
        .filter(|(key, _)| ANNOTATIONS.iter().any(|p| key.starts_with(p)))
        .collect();
    Meta { name, namespace, labels: string_map(meta.and_then(|m| m.get("labels"))), annotations }
}

/// The string entries of a mapping; an entry without a value is an empty string, as Go decodes it.
pub(super) fn string_map(node: Option<&Node>) -> Vec<(SmolStr, SmolStr)> {
    let entries = node.and_then(Node::as_map).unwrap_or_default();
    entries
        .iter()
        .filter_map(|e| match &e.value.value {
            Value::Str(s) => Some((e.key.clone(), s.clone())),
            Value::Null => Some((e.key.clone(), SmolStr::default())),
            _ => None,
        })
        .collect()
}

/// Reports labels of an object that is otherwise unchecked whose values are no strings: the API server
/// refuses the object, so the pods it stands for will not be (SEM-8.7).
pub(super) fn strings_only(r: &mut Reader<'_>, labels: Option<&Node>) {
    let entries = labels.and_then(Node::as_map).unwrap_or_default();
    for entry in entries.iter().filter(|e| !matches!(e.value.value, Value::Str(_) | Value::Null)) {
        r.text(&entry.value, &entry.key);
    }
}

/// Checks the metadata of a policy object as the API server does.
pub(super) fn check(r: &mut Reader<'_>, root: &Map<'_>, namespaced: bool) {
    let Some(node) = root.get("metadata") else {
        let finding = refused(schema::BAD_NAME, root.span, "it has no `metadata.name`").label("no metadata");
        return r.report(finding);
    };
    let Some(meta) = r.strict(node, "metadata", KNOWN) else { return };
    name(r, &meta);
    if let Some(text) = meta.get("namespace").and_then(|n| r.text(n, "namespace")) {
        namespace(r, &text, namespaced);
    }
    labels(r, &meta, "labels");
    labels(r, &meta, "annotations");
}

fn name(r: &mut Reader<'_>, meta: &Map<'_>) {
    let Some(node) = meta.get("name") else {
        if meta.get("generateName").is_none() {
            let finding =
                refused(schema::BAD_NAME, meta.span, "it has no `metadata.name`").label("no name here");
            r.report(finding);
        }
        return;
    };
    let Some(name) = r.text(node, "name") else { return };
    if !names::is_dns_subdomain(&name.value) {
        let finding = refused(schema::BAD_NAME, name.span, format!("`{}` cannot be a name", name.value))
            .label("not a lower-case DNS name")
            .help("use lower-case letters, digits, `-` and `.`, beginning and ending with a letter or digit");
        r.report(finding);
    }
}

fn namespace(r: &mut Reader<'_>, text: &Text, namespaced: bool) {
    if !namespaced {
        let finding = Diagnostic::new(
            schema::IGNORED_NAMESPACE,
            "the namespace has no effect: this kind is cluster-scoped and applies everywhere",
            text.span,
        );
        r.report(finding.label("dropped by the API server").help("remove it, or use the namespaced kind"));
    } else if !text.value.is_empty() && !names::is_dns_label(&text.value) {
        let finding = refused(schema::BAD_NAME, text.span, format!("`{}` cannot be a namespace", text.value))
            .label("not a lower-case DNS label");
        r.report(finding);
    }
}

fn labels(r: &mut Reader<'_>, meta: &Map<'_>, field: &str) {
    let Some(map) = meta.get(field).and_then(|n| r.map(n, field)) else { return };
    for entry in map.entries() {
        // Annotation keys are compared in lower case; label keys are not.
        let key = if field == "labels" { entry.key.to_string() } else { entry.key.to_ascii_lowercase() };
        if !names::is_label_key(&key) {
            bad_label(r, entry.key_span, &format!("`{}` cannot be a key in `{field}`", entry.key));
        }
        if entry.value.is_null() {
            continue;
        }
        let Some(value) = r.text(&entry.value, &entry.key) else { continue };
        if field == "labels" && !names::is_label_value(&value.value) {
            bad_label(r, value.span, &format!("`{}` cannot be the value of a label", value.value));
        }
    }
}

fn bad_label(r: &mut Reader<'_>, span: Span, why: &str) {
    let finding = refused(schema::BAD_LABEL, span, why)
        .help("at most 63 letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit");
    r.report(finding);
}

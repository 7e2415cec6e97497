//! Label selectors (SEM-3.1, SEM-3.2).

use super::fields::{Dialect, Map, Reader, inert, refused};
use super::names;
use crate::ast::{Expression, LabelSelector, Operator, Spanned, Text};
use crate::tree::{Entry, Node};
use portcullis_diag::codes::schema;
use portcullis_diag::{Code, Diagnostic, Span};
use smol_str::SmolStr;

const OPERATORS: &[(&str, Operator)] = &[
    ("In", Operator::In),
    ("NotIn", Operator::NotIn),
    ("Exists", Operator::Exists),
    ("DoesNotExist", Operator::DoesNotExist),
];

/// Reads one selector.
pub(super) fn read(r: &mut Reader<'_>, node: &Node, what: &str) -> Option<LabelSelector> {
    let map = r.strict(node, what, &["matchLabels", "matchExpressions"])?;
    let labels = map.get("matchLabels").and_then(|n| r.map(n, "matchLabels"));
    let match_labels =
        labels.map_or_else(Vec::new, |m| m.entries().iter().filter_map(|e| label(r, e)).collect());
    let expressions =
        map.get("matchExpressions").and_then(|n| r.list(n, "matchExpressions")).unwrap_or_default();
    let match_expressions = expressions.iter().filter_map(|n| expression(r, n)).collect();
    Some(LabelSelector { span: node.span, match_labels, match_expressions })
}

/// Reads a list of selectors.
pub(super) fn list(r: &mut Reader<'_>, node: &Node, what: &str) -> Option<Spanned<Vec<LabelSelector>>> {
    let items = r.list(node, what)?;
    let selectors = items.iter().filter_map(|item| read(r, item, what)).collect();
    Some(Spanned::new(selectors, node.span))
}

fn label(r: &mut Reader<'_>, entry: &Entry) -> Option<(Text, Text)> {
    let key_text = Spanned::new(entry.key.clone(), entry.key_span);
    key(r, &key_text);
    if entry.value.is_null() {
        // A CRD's map loses its null entries; Go decodes them to empty strings for built-in kinds.
        if r.dialect() == Dialect::Kubernetes {
            return Some((key_text, Spanned::new(SmolStr::default(), entry.key_span)));
        }
        let message =
            format!("the selector is wider than it looks: `{}` has no value and is dropped", entry.key);
        let finding = Diagnostic::new(schema::NULL_LABEL, message, entry.key_span)
            .label("not part of the selector")
            .help("write \"\" for the empty value, or matchExpressions with Exists for any value");
        r.report(finding);
        return None;
    }
    let value = r.text(&entry.value, &entry.key)?;
    let why = if value.value.len() > 63 {
        format!("the value of `{}` is longer than 63 bytes", entry.key)
    } else if names::is_label_value_shape(&value.value) {
        return Some((key_text, value));
    } else {
        format!("no label can have the value `{}`", value.value)
    };
    // The CRD of Cilium's kinds checks the values of matchLabels, and of matchLabels only.
    let finding = match r.dialect() {
        Dialect::Cilium | Dialect::Kubernetes => refused(schema::BAD_SELECTOR_VALUE, value.span, why),
        Dialect::ClusterPolicy => inert(schema::BAD_SELECTOR_VALUE, value.span, why),
    };
    r.report(finding.help(VALUE_HELP));
    None
}

const VALUE_HELP: &str =
    "a value has at most 63 letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit";

fn key(r: &mut Reader<'_>, key: &Text) {
    let good = match r.dialect() {
        Dialect::Cilium => names::is_cilium_key(&key.value),
        Dialect::Kubernetes | Dialect::ClusterPolicy => names::is_label_key(&key.value),
    };
    if !good {
        let why = if key.value.is_empty() {
            "a selector key is empty".to_owned()
        } else {
            format!("no label can have the key `{}`", key.value)
        };
        let finding = fault(r.dialect(), schema::BAD_SELECTOR_KEY, key.span, why)
            .label("not a label key")
            .help("a key is a name, or a DNS prefix, `/` and a name; in Cilium's kinds a source such as `k8s:` may stand before it");
        r.report(finding);
    }
}

/// Refused where the API server checks selectors itself, inert where only the engine does.
fn fault(dialect: Dialect, code: Code, span: Span, why: impl std::fmt::Display) -> Diagnostic {
    if dialect == Dialect::Kubernetes { refused(code, span, why) } else { inert(code, span, why) }
}

fn expression(r: &mut Reader<'_>, node: &Node) -> Option<Expression> {
    let map = r.strict(node, "matchExpressions", &["key", "operator", "values"])?;
    let key_text = required(r, &map, "key").and_then(|n| r.text(n, "key"));
    if let Some(text) = &key_text {
        key(r, text);
    }
    let operator = required(r, &map, "operator").and_then(|n| operator(r, n));
    let values = map.get("values").map_or_else(Vec::new, |n| r.texts(n, "values"));
    let given = map.get("values").and_then(Node::as_seq).map_or(0, <[Node]>::len);
    let span = map.get("values").map_or(node.span, |n| n.span);
    match operator? {
        Operator::In | Operator::NotIn if given == 0 => {
            let finding = fault(r.dialect(), schema::SELECTOR_VALUES, span, "In and NotIn need values")
                .label("no values");
            r.report(finding.help("list the values, or use Exists or DoesNotExist"));
        }
        Operator::Exists | Operator::DoesNotExist if given > 0 => {
            let why = "Exists and DoesNotExist take no values";
            let finding = fault(r.dialect(), schema::SELECTOR_VALUES, span, why).label("values too many");
            r.report(finding.help("remove the values, or use In or NotIn"));
        }
        _ => {
            for value in values.iter().filter(|v| !names::is_label_value(&v.value)) {
                let why = format!("no label can have the value `{}`", value.value);
                let finding = fault(r.dialect(), schema::BAD_SELECTOR_VALUE, value.span, why);
                r.report(finding.help(VALUE_HELP));
            }
        }
    }
    Some(Expression { span: node.span, key: key_text?, operator: operator?, values })
}

fn operator(r: &mut Reader<'_>, node: &Node) -> Option<Operator> {
    if r.dialect() != Dialect::ClusterPolicy {
        return r.choice(node, "operator", OPERATORS, schema::UNKNOWN_OPERATOR).map(|o| o.value);
    }
    let text = r.text(node, "operator")?;
    let known = OPERATORS.iter().find(|(name, _)| *name == text.value).map(|(_, o)| *o);
    if known.is_none() {
        let finding =
            inert(schema::UNKNOWN_OPERATOR, text.span, format!("there is no operator `{}`", text.value));
        r.report(finding.help("use one of: In, NotIn, Exists, DoesNotExist"));
    }
    known
}

fn required<'n>(r: &mut Reader<'_>, map: &Map<'n>, field: &str) -> Option<&'n Node> {
    let node = map.get(field);
    if node.is_none() {
        r.missing(map.span, field, "matchExpressions");
    }
    node
}

//! Reading one field at a time: types, unknown fields, and the words of the verdicts.
//!
//! A [`Reader`] collects what is wrong with one object. Whoever reads a field gets `None` when it is
//! absent, null, or of a wrong type (which has then been reported), so readers go on after a fault
//! and report the next one too.

use super::names;
use crate::ast::{Spanned, Text};
use crate::tree::{Entry, Node, Value};
use portcullis_diag::codes::schema;
use portcullis_diag::{Code, Diagnostic, Fate, ObjectRef, Span};
use std::collections::BTreeMap;
use std::fmt::Display;

/// Whose rules a value is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// CiliumNetworkPolicy and its kin: the CRD refuses some faults, the engine the others.
    Cilium,
    /// Kubernetes NetworkPolicy: the API server checks everything.
    Kubernetes,
    /// ClusterNetworkPolicy: a CRD without the selector's finer rules, which the engine has.
    ClusterPolicy,
}

/// The findings about one object.
pub(super) struct Reader<'o> {
    out: &'o mut Vec<Diagnostic>,
    object: ObjectRef,
    fate: Fate,
    dialect: Dialect,
}

/// A finding for which the API server refuses the object.
pub(super) fn refused(code: Code, span: Span, why: impl Display) -> Diagnostic {
    Diagnostic::new(code, format!("the API server refuses this object: {why}"), span).fate(Fate::Refused)
}

/// A finding for which Cilium's engine refuses an object that the API server took.
pub(super) fn inert(code: Code, span: Span, why: impl Display) -> Diagnostic {
    let message = format!(
        "this object will lie in the cluster and do nothing, since Cilium refuses it as a whole: {why}"
    );
    Diagnostic::new(code, message, span).fate(Fate::Inert)
}

/// A mapping whose type has been checked.
#[derive(Clone, Copy)]
pub(super) struct Map<'n> {
    /// The whole mapping.
    pub(super) span: Span,
    entries: &'n [Entry],
}

impl<'n> Map<'n> {
    /// The entry of a field that is neither absent nor null.
    pub(super) fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|e| e.key == key && !e.value.is_null())
    }

    /// The value of a field that is neither absent nor null.
    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|e| &e.value)
    }

    /// Every entry.
    pub(super) fn entries(&self) -> &'n [Entry] {
        self.entries
    }

    /// Those of `keys` that are given, in the order of `keys`.
    pub(super) fn given<'k>(&self, keys: &[&'k str]) -> Vec<(&'k str, &'n Entry)> {
        keys.iter().filter_map(|k| self.entry(k).map(|e| (*k, e))).collect()
    }
}

impl<'o> Reader<'o> {
    /// A reader for one object.
    pub(super) fn new(out: &'o mut Vec<Diagnostic>, object: ObjectRef, dialect: Dialect) -> Self {
        Self { out, object, fate: Fate::Accepted, dialect }
    }

    /// Whose rules apply.
    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The worst fate so far.
    pub(super) fn fate(&self) -> Fate {
        self.fate
    }

    /// Takes a finding down.
    pub(super) fn report(&mut self, finding: Diagnostic) {
        self.fate = self.fate.max(finding.fate);
        self.out.push(finding.object(self.object.clone()));
    }

    /// A mapping, its fields not checked.
    pub(super) fn map<'n>(&mut self, node: &'n Node, what: &str) -> Option<Map<'n>> {
        match &node.value {
            Value::Map(entries) => Some(Map { span: node.span, entries }),
            _ => self.wrong_type(node, what, "object"),
        }
    }

    /// A mapping that may have the `known` fields only.
    pub(super) fn strict<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Option<Map<'n>> {
        self.strict_but(node, what, known, &[])
    }

    /// Like [`Self::strict`]; fields in `left_to_caller` are unknown too, but the caller reports them.
    pub(super) fn strict_but<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        known: &[&str],
        left_to_caller: &[&str],
    ) -> Option<Map<'n>> {
        let map = self.map(node, what)?;
        for entry in map.entries {
            let key = entry.key.as_str();
            if !known.contains(&key) && !left_to_caller.contains(&key) {
                self.unknown(entry, what, known);
            }
        }
        Some(map)
    }

    /// Reports a field that the API server drops (SEM-8.5).
    pub(super) fn unknown(&mut self, entry: &Entry, what: &str, known: &[&str]) {
        let message = format!("`{}` has no effect: the API server drops it without a word", entry.key);
        let finding = Diagnostic::new(schema::UNKNOWN_FIELD, message, entry.key_span)
            .label(format!("no field of {what}"));
        let finding = match hint(&entry.key, known).or_else(|| names::nearest(&entry.key, known)) {
            Some(near) => finding.help(format!("did you mean `{near}`?")),
            None => finding.help(format!("{what} may have: {}", known.join(", "))),
        };
        self.report(finding);
    }

    /// A sequence.
    pub(super) fn list<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        match &node.value {
            Value::Seq(items) => Some(items),
            _ => self.wrong_type(node, what, "array"),
        }
    }

    /// A string.
    pub(super) fn text(&mut self, node: &Node, what: &str) -> Option<Text> {
        match &node.value {
            Value::Str(s) => Some(Spanned::new(s.clone(), node.span)),
            _ => self.wrong_type(node, what, "string"),
        }
    }

    /// A boolean.
    pub(super) fn boolean(&mut self, node: &Node, what: &str) -> Option<Spanned<bool>> {
        match node.value {
            Value::Bool { value, .. } => Some(Spanned::new(value, node.span)),
            _ => self.wrong_type(node, what, "boolean"),
        }
    }

    /// An integer.
    pub(super) fn integer(&mut self, node: &Node, what: &str) -> Option<Spanned<i128>> {
        match node.value {
            Value::Int(value) => Some(Spanned::new(value, node.span)),
            // kubectl sends 80.0 as 80; beyond 2^53 a float is no integer to speak of.
            Value::Float(value) if value.fract() == 0.0 && value.abs() < 9.0e15 => {
                #[expect(clippy::cast_possible_truncation, reason = "integral and below 2^53")]
                let whole = value as i128;
                Some(Spanned::new(whole, node.span))
            }
            _ => self.wrong_type(node, what, "integer"),
        }
    }

    /// A list of strings.
    pub(super) fn texts(&mut self, node: &Node, what: &str) -> Vec<Text> {
        let items = self.list(node, what).unwrap_or_default();
        items.iter().filter_map(|item| self.text(item, what)).collect()
    }

    /// A string that must be one of `allowed`.
    pub(super) fn choice<T: Copy>(
        &mut self,
        node: &Node,
        what: &str,
        allowed: &[(&str, T)],
        code: Code,
    ) -> Option<Spanned<T>> {
        let text = self.text(node, what)?;
        if let Some((_, value)) = allowed.iter().find(|(name, _)| *name == text.value) {
            return Some(Spanned::new(*value, text.span));
        }
        let names: Vec<&str> = allowed.iter().map(|(name, _)| *name).collect();
        let finding =
            refused(code, text.span, format!("there is no {what} `{}`", text.value)).label("not known");
        self.report(match names::nearest(&text.value, &names) {
            Some(near) => finding.help(format!("did you mean `{near}`? there are: {}", names.join(", "))),
            None => finding.help(format!("use one of: {}", names.join(", "))),
        });
        None
    }

    /// Reports a required field that is absent or null.
    pub(super) fn missing(&mut self, span: Span, field: &str, what: &str) {
        let finding = refused(schema::MISSING_FIELD, span, format!("{what} has no `{field}`"))
            .label(format!("`{field}` is required here"));
        self.report(finding);
    }

    /// Reports a list that is longer than `max`.
    pub(super) fn at_most(&mut self, items: &[Node], max: usize, span: Span, what: &str) {
        if items.len() > max {
            let why = format!("`{what}` has {} items and may have {max}", items.len());
            let finding = refused(schema::TOO_MANY_ITEMS, items.get(max).map_or(span, |n| n.span), why)
                .label("the first one too many")
                .help("spread them over several entries, or use a range");
            self.report(finding);
        }
    }

    /// Reports a list that has no item and needs one.
    pub(super) fn at_least_one(&mut self, items: &[Node], span: Span, what: &str, help: &str) {
        if items.is_empty() {
            let finding =
                refused(schema::EMPTY_LIST, span, format!("`{what}` is empty")).label("needs an item");
            self.report(finding.help(help));
        }
    }

    /// Reports items that occur twice in a list of strings that is a set.
    pub(super) fn distinct(&mut self, items: &[Node], what: &str) {
        let mut seen = BTreeMap::new();
        for item in items {
            let Some(text) = item.as_str() else { continue };
            if let Some(first) = seen.insert(text, item.span) {
                let finding =
                    refused(schema::DUPLICATE_ITEM, item.span, format!("`{text}` occurs twice in `{what}`"));
                self.report(finding.label("again").also(first, "already here").help("remove one of them"));
            }
        }
    }

    /// Reports a value of a wrong type. Always `None`, so that it can end a match.
    pub(super) fn wrong_type<T>(&mut self, node: &Node, what: &str, wanted: &str) -> Option<T> {
        let found = node.value.type_name();
        if let (Value::Bool { value, plain: false }, "string") = (&node.value, wanted) {
            let why = format!("`{what}` is the boolean {value} and must be a string");
            let finding = refused(schema::BOOLEAN_WORD, node.span, why)
                .label("YAML 1.1 takes this word for a boolean")
                .help("put it in quotes");
            self.report(finding);
            return None;
        }
        let article = |name: &str| match name {
            "null" => "null".to_owned(),
            "array" | "object" | "integer" => format!("an {name}"),
            _ => format!("a {name}"),
        };
        let why = format!("`{what}` must be {}, not {}", article(wanted), article(found));
        let finding = refused(schema::WRONG_TYPE, node.span, why).label(format!("{} here", article(found)));
        self.report(match (wanted, &node.value) {
            ("string", Value::Bool { .. } | Value::Int(_) | Value::Float(_)) => {
                finding.help("put it in quotes")
            }
            ("array", Value::Null | Value::Seq(_)) => finding,
            ("array", _) => finding.help("make it a list: begin each item with `- `"),
            ("integer", Value::Str(_)) => finding.help("take the quotes away"),
            ("object", Value::Null) => finding.help("write `{}` for one that is empty, or remove the dash"),
            _ => finding,
        });
        None
    }
}

/// Fields that people bring along from the other kinds, which no edit distance finds.
fn hint<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let pairs: &[(&str, &str)] = &[
        ("podSelector", "endpointSelector"),
        ("selector", "endpointSelector"),
        ("from", "fromEndpoints"),
        ("to", "toEndpoints"),
        ("ports", "toPorts"),
        ("fromEndpoints", "from"),
        ("toEndpoints", "to"),
        ("toPorts", "ports"),
        ("fromPorts", "toPorts"),
        ("endpointSelector", "podSelector"),
        ("ipBlock", "fromCIDRSet"),
        ("ipBlock", "toCIDRSet"),
        ("toDNS", "toFQDNs"),
        ("icmp", "icmps"),
        ("auth", "authentication"),
        ("fromService", "fromEndpoints"),
        ("labels", "matchLabels"),
    ];
    pairs
        .iter()
        .filter(|(wrong, _)| *wrong == key)
        .find_map(|(_, right)| known.iter().find(|k| *k == right).copied())
}

//! A document as a tree, written as block YAML or as JSON. Only what generated objects need: no anchors, no
//! comments, no folding.

use std::borrow::Cow;
use std::fmt::Write as _;

/// One value of an object.
#[derive(Debug, Clone)]
pub(crate) enum Doc {
    /// A string; quoted where YAML would take the plain form for something else.
    Text(Cow<'static, str>),
    /// A string that is always quoted, as people write the ports of Cilium policies.
    Quoted(String),
    /// A number.
    Int(u64),
    /// `true` or `false`.
    Bool(bool),
    /// A mapping, in the order given.
    Map(Vec<(Cow<'static, str>, Doc)>),
    /// A sequence.
    List(Vec<Doc>),
}

impl From<&'static str> for Doc {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Doc {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<&String> for Doc {
    fn from(text: &String) -> Self {
        Self::Text(Cow::Owned(text.clone()))
    }
}

impl From<bool> for Doc {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u16> for Doc {
    fn from(value: u16) -> Self {
        Self::Int(u64::from(value))
    }
}

/// A mapping.
pub(crate) fn map<const N: usize>(entries: [(&'static str, Doc); N]) -> Doc {
    Doc::Map(entries.into_iter().map(|(key, value)| (Cow::Borrowed(key), value)).collect())
}

/// A sequence.
pub(crate) fn list<T: Into<Doc>>(items: impl IntoIterator<Item = T>) -> Doc {
    Doc::List(items.into_iter().map(Into::into).collect())
}

impl Doc {
    /// Adds an entry to a mapping; anything else stays as it is.
    pub(crate) fn with(mut self, key: &'static str, value: impl Into<Doc>) -> Self {
        if let Self::Map(entries) = &mut self {
            entries.push((Cow::Borrowed(key), value.into()));
        }
        self
    }

    /// Appends the value as block YAML, ending with a line break.
    pub(crate) fn write_yaml(&self, out: &mut String) {
        match self {
            Self::Map(entries) if !entries.is_empty() => yaml_map(entries, 0, false, out),
            Self::List(items) if !items.is_empty() => yaml_list(items, 0, out),
            scalar => {
                yaml_scalar(scalar, out);
                out.push('\n');
            }
        }
    }

    /// Appends the value as JSON on one line, without a line break.
    pub(crate) fn write_json(&self, out: &mut String) {
        match self {
            Self::Map(entries) => {
                out.push('{');
                for (index, (key, value)) in entries.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    quote(key, out);
                    out.push(':');
                    value.write_json(out);
                }
                out.push('}');
            }
            Self::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write_json(out);
                }
                out.push(']');
            }
            Self::Text(text) => quote(text, out),
            Self::Quoted(text) => quote(text, out),
            scalar => yaml_scalar(scalar, out),
        }
    }
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

/// Writes the entries; the first without indentation when it follows a list's dash.
fn yaml_map(entries: &[(Cow<'static, str>, Doc)], depth: usize, after_dash: bool, out: &mut String) {
    for (index, (key, value)) in entries.iter().enumerate() {
        if index > 0 || !after_dash {
            indent(depth, out);
        }
        yaml_text(key, out);
        out.push(':');
        match value {
            Doc::Map(inner) if !inner.is_empty() => {
                out.push('\n');
                yaml_map(inner, depth + 1, false, out);
            }
            Doc::List(items) if !items.is_empty() => {
                out.push('\n');
                yaml_list(items, depth, out);
            }
            scalar => {
                out.push(' ');
                yaml_scalar(scalar, out);
                out.push('\n');
            }
        }
    }
}

fn yaml_list(items: &[Doc], depth: usize, out: &mut String) {
    for item in items {
        indent(depth, out);
        out.push('-');
        match item {
            Doc::Map(inner) if !inner.is_empty() => {
                out.push(' ');
                yaml_map(inner, depth + 1, true, out);
            }
            Doc::List(inner) if !inner.is_empty() => {
                out.push('\n');
                yaml_list(inner, depth + 1, out);
            }
            scalar => {
                out.push(' ');
                yaml_scalar(scalar, out);
                out.push('\n');
            }
        }
    }
}

fn yaml_scalar(value: &Doc, out: &mut String) {
    match value {
        Doc::Text(text) => yaml_text(text, out),
        Doc::Quoted(text) => quote(text, out),
        Doc::Int(number) => {
            // Writing to a string cannot fail.
            let _ = write!(out, "{number}");
        }
        Doc::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Doc::Map(_) => out.push_str("{}"),
        Doc::List(_) => out.push_str("[]"),
    }
}

fn yaml_text(text: &str, out: &mut String) {
    if plain(text) {
        out.push_str(text);
    } else {
        quote(text, out);
    }
}

/// Whether YAML 1.1, which `kubectl` speaks, reads the plain text as this very string. Cautious: what is
/// quoted without need is still right.
fn plain(text: &str) -> bool {
    const RESERVED: &[&str] = &["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let mut chars = text.chars();
    let first_is_safe = chars.next().is_some_and(|first| first.is_ascii_alphabetic() || text.contains('/'))
        && text.starts_with(|first: char| first.is_ascii_alphanumeric());
    first_is_safe
        && !text.ends_with(':')
        && !text.contains(": ")
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./: ".contains(c))
        && !RESERVED.contains(&text.to_ascii_lowercase().as_str())
}

/// A double-quoted string; the escapes are those that YAML and JSON share.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(doc: &Doc) -> String {
        let mut out = String::new();
        doc.write_yaml(&mut out);
        out
    }

    #[test]
    fn lists_stand_under_their_key_and_maps_beside_their_dash() {
        let doc = map([("a", list([map([("b", "c".into()), ("d", map([]))])])), ("e", list(["f"]))]);
        assert_eq!(yaml(&doc), "a:\n- b: c\n  d: {}\ne:\n- f\n");
    }

    #[test]
    fn what_yaml_would_misread_is_quoted() {
        for text in ["no", "Yes", "1.5", "*", "", "::/0", "a: b", "10.0.0.1", "a:", "-x", "a#b"] {
            assert!(!plain(text), "{text:?}");
        }
        for text in ["web", "v1.4.2", "10.0.0.0/8", "2001:db8::/32", "k8s:app", "allow the web tier"] {
            assert!(plain(text), "{text:?}");
        }
    }

    #[test]
    fn the_json_form_holds_the_same_values() {
        let doc =
            map([("a", Doc::Quoted("80".to_owned())), ("b", list(["x", "y\"z"])), ("c", Doc::Bool(true))])
                .with("d", 7_u16);
        let mut out = String::new();
        doc.write_json(&mut out);
        assert_eq!(out, r#"{"a":"80","b":["x","y\"z"],"c":true,"d":7}"#);
    }
}

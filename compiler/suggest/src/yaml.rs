//! What is to be written: values, and how they look as block YAML, flow YAML or JSON.

use crate::style::Style;
use portcullis_front::tree::{Node, Value};
use std::fmt::Write as _;

/// A value to write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Yaml {
    /// A mapping in this order.
    Map(Vec<(String, Yaml)>),
    /// A sequence.
    Seq(Vec<Yaml>),
    /// A string; quoted where it would be something else without.
    Text(String),
    /// A string that people quote though it would not need it if it were no number: a port.
    Quoted(String),
    /// A number.
    Number(u32),
    /// A boolean.
    Flag(bool),
}

impl Yaml {
    /// A mapping.
    pub fn map<const N: usize>(entries: [(&str, Self); N]) -> Self {
        Self::Map(entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
    }

    /// Whether a tree that was read is this value, wherever it stands.
    pub fn is(&self, node: &Node) -> bool {
        match (self, &node.value) {
            (Self::Map(mine), Value::Map(theirs)) => {
                mine.len() == theirs.len()
                    && mine.iter().zip(theirs).all(|((k, v), e)| *k == e.key && v.is(&e.value))
            }
            (Self::Seq(mine), Value::Seq(theirs)) => {
                mine.len() == theirs.len() && mine.iter().zip(theirs).all(|(a, b)| a.is(b))
            }
            (Self::Text(a) | Self::Quoted(a), Value::Str(b)) => a == b,
            (Self::Number(a), Value::Int(b)) => i128::from(*a) == *b,
            (Self::Flag(a), Value::Bool { value, .. }) => a == value,
            _ => false,
        }
    }

    fn is_leaf(&self) -> bool {
        match self {
            Self::Map(m) => m.is_empty(),
            Self::Seq(s) => s.is_empty(),
            _ => true,
        }
    }
}

/// Items of a block sequence whose dashes stand in column `column`; every line ends with a line feed.
pub fn block_items(items: &[Yaml], key: &str, column: usize, style: &Style) -> String {
    let mut out = String::new();
    for item in items {
        let pad = " ".repeat(column);
        match item {
            Yaml::Map(entries) if !entries.is_empty() && !style.is_flow(&format!("{key}[]")) => {
                let text = block_entries(entries, column + 2, style);
                // The first key stands behind the dash.
                out.push_str(&pad);
                out.push_str("- ");
                out.push_str(text.get(column + 2..).unwrap_or_default());
            }
            _ => {
                let _ = writeln!(out, "{pad}- {}", flow(item, style));
            }
        }
    }
    out
}

/// Entries of a block mapping whose keys stand in column `column`.
pub fn block_entries(entries: &[(String, Yaml)], column: usize, style: &Style) -> String {
    let mut out = String::new();
    let pad = " ".repeat(column);
    for (key, value) in entries {
        let name = scalar(key, style, false);
        if value.is_leaf() || style.is_flow(key) {
            let _ = writeln!(out, "{pad}{name}: {}", flow(value, style));
            continue;
        }
        let _ = writeln!(out, "{pad}{name}:");
        match value {
            Yaml::Map(inner) => out.push_str(&block_entries(inner, column + style.step, style)),
            Yaml::Seq(items) => out.push_str(&block_items(items, key, column + style.dash, style)),
            _ => {}
        }
    }
    out
}

/// A value on one line.
pub fn flow(value: &Yaml, style: &Style) -> String {
    match value {
        Yaml::Map(entries) => {
            let inner: Vec<String> = entries
                .iter()
                .map(|(k, v)| format!("{}: {}", scalar(k, style, true), flow(v, style)))
                .collect();
            format!("{{{}}}", inner.join(", "))
        }
        Yaml::Seq(items) => {
            format!("[{}]", items.iter().map(|i| flow(i, style)).collect::<Vec<_>>().join(", "))
        }
        Yaml::Text(text) => scalar(text, style, true),
        Yaml::Quoted(text) => quote(text, style),
        Yaml::Number(n) => n.to_string(),
        Yaml::Flag(b) => b.to_string(),
    }
}

/// A value over several lines as pretty printers of JSON write it, the first line not indented.
pub fn pretty(value: &Yaml, indent: usize, style: &Style) -> String {
    let (inside, end) = (" ".repeat(indent + style.step), " ".repeat(indent));
    match value {
        Yaml::Map(entries) if !entries.is_empty() => {
            let inner: Vec<String> = entries
                .iter()
                .map(|(k, v)| {
                    format!("{inside}{}: {}", scalar(k, style, true), pretty(v, indent + style.step, style))
                })
                .collect();
            format!("{{\n{}\n{end}}}", inner.join(",\n"))
        }
        Yaml::Seq(items) if !items.is_empty() => {
            let inner: Vec<String> =
                items.iter().map(|i| format!("{inside}{}", pretty(i, indent + style.step, style))).collect();
            format!("[\n{}\n{end}]", inner.join(",\n"))
        }
        _ => flow(value, style),
    }
}

/// A string as a YAML or JSON scalar.
fn scalar(text: &str, style: &Style, in_flow: bool) -> String {
    if style.json || !is_plain(text, in_flow) { quote(text, style) } else { text.to_owned() }
}

/// Whether a text without quotes is the string that it looks like, in YAML 1.1 and 1.2.
fn is_plain(text: &str, in_flow: bool) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b) || (b == b':' && !in_flow);
    let starts = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    // A prefix of IPv4 is never taken for anything else.
    let prefix = text.contains('/') && text.parse::<ipnet::Ipv4Net>().is_ok();
    let special = matches!(
        text.to_ascii_lowercase().as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "null"
    );
    (starts || prefix) && !special && !text.ends_with(':') && text.bytes().all(word)
}

fn quote(text: &str, style: &Style) -> String {
    let simple = text.chars().all(|c| !c.is_control() && c != '\\');
    if style.quote == '\'' && simple && !style.json {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

//! How a file is written: indents, quotes, line ends, and what stands on one line.

use portcullis_front::tree::{Node, Value};
use std::collections::{BTreeMap, BTreeSet};

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Style {
    /// Columns from a key to the dashes of its list.
    pub dash: usize,
    /// Columns from a key to the keys below it.
    pub step: usize,
    /// The quote sign of strings.
    pub quote: char,
    /// JSON: every key and string is quoted.
    pub json: bool,
    /// Keys whose value stands on one line, and with `[]` those whose items do.
    flow: BTreeSet<String>,
}

impl Default for Style {
    fn default() -> Self {
        Self { dash: 0, step: 2, quote: '"', json: false, flow: BTreeSet::new() }
    }
}

/// What was counted of a text.
#[derive(Default)]
struct Counts {
    dash: BTreeMap<usize, usize>,
    step: BTreeMap<usize, usize>,
    quote: BTreeMap<char, usize>,
    flow: BTreeMap<String, (usize, usize)>,
}

impl Style {
    /// The style of documents of one text.
    pub fn of<'n>(text: &str, roots: impl IntoIterator<Item = &'n Node>) -> Self {
        let mut counts = Counts::default();
        for root in roots {
            counts.node(text, root);
        }
        let most = |m: &BTreeMap<usize, usize>, default| {
            // Of two that are as frequent, the smaller.
            m.iter().max_by_key(|(k, n)| (**n, std::cmp::Reverse(**k))).map_or(default, |(k, _)| *k)
        };
        let quote = counts.quote.iter().max_by_key(|(_, n)| **n).map_or('"', |(q, _)| *q);
        let flow = counts.flow.into_iter().filter(|(_, (on, off))| on > off).map(|(k, _)| k).collect();
        Self {
            dash: most(&counts.dash, 0),
            step: most(&counts.step, 2).clamp(1, 16),
            quote,
            json: false,
            flow,
        }
    }

    /// The same as JSON.
    #[must_use]
    pub fn as_json(&self, step: usize) -> Self {
        Self { json: true, step, ..self.clone() }
    }

    pub(crate) fn is_flow(&self, key: &str) -> bool {
        self.flow.contains(key)
    }
}

/// The column of a byte, or `None` if something else than white space and dashes stands before it.
fn column(text: &str, at: usize) -> Option<usize> {
    let head = text.get(..at)?;
    let start = head.rfind('\n').map_or(0, |n| n + 1);
    let before = head.get(start..)?;
    before.bytes().all(|b| b == b' ' || b == b'-').then_some(before.len())
}

fn first(text: &str, node: &Node) -> Option<u8> {
    text.as_bytes().get(node.span.start as usize).copied()
}

impl Counts {
    fn node(&mut self, text: &str, node: &Node) {
        match &node.value {
            Value::Map(entries) => {
                for e in entries {
                    self.entry(text, e.key.as_str(), e.key_span.start as usize, &e.value);
                    self.node(text, &e.value);
                }
            }
            Value::Seq(items) => items.iter().for_each(|i| self.node(text, i)),
            Value::Str(_) => {
                if let Some(q @ (b'"' | b'\'')) = first(text, node) {
                    *self.quote.entry(char::from(q)).or_insert(0) += 1;
                }
            }
            _ => {}
        }
    }

    fn entry(&mut self, text: &str, key: &str, at: usize, value: &Node) {
        // A block list begins where its first item does.
        let bracket = if value.as_map().is_some() { b'{' } else { b'[' };
        let is_flow = first(text, value) == Some(bracket);
        let own = column(text, at);
        match &value.value {
            Value::Map(inner) if !inner.is_empty() => {
                self.flow(key, is_flow);
                let below = inner.first().and_then(|e| column(text, e.key_span.start as usize));
                if let (false, Some(own), Some(below)) = (is_flow, own, below)
                    && below > own
                {
                    *self.step.entry(below - own).or_insert(0) += 1;
                }
            }
            Value::Seq(items) if !items.is_empty() => {
                self.flow(key, is_flow);
                let item = items.first();
                let below = item.and_then(|i| column(text, i.span.start as usize));
                if let (false, Some(own), Some(below)) = (is_flow, own, below) {
                    // The item stands two columns behind its dash.
                    if let Some(dash) = below.checked_sub(own + 2).filter(|d| *d <= 8) {
                        *self.dash.entry(dash).or_insert(0) += 1;
                    }
                }
                if !is_flow {
                    let maps = items.iter().filter(|i| matches!(&i.value, Value::Map(m) if !m.is_empty()));
                    for item in maps {
                        self.flow(&format!("{key}[]"), first(text, item) == Some(b'{'));
                    }
                }
            }
            _ => {}
        }
    }

    fn flow(&mut self, key: &str, is_flow: bool) {
        let (on, off) = self.flow.entry(key.to_owned()).or_insert((0, 0));
        *(if is_flow { on } else { off }) += 1;
    }
}

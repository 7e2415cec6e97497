//! Items added to a list in the middle of a file, every other byte of which stays.
//!
//! The text is looked at where the parser says the list stands; what comes out is parsed again, and counts only if it is
//! the old tree with the items at the end of that list. Whatever does not come out so (anchors that others use, merge
//! keys, block scalars that take in blank lines) is refused, and the caller writes a policy of its own instead.

use crate::style::Style;
use crate::yaml::{self, Yaml};
use portcullis_diag::{FileId, Span};
use portcullis_front::text;
use portcullis_front::tree::{Node, Value};
use std::fmt::Write as _;

/// A mapping of a file: the chunk of the text, the root in it, and the way down.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    chunk: usize,
    root: usize,
    way: Vec<usize>,
}

/// The roots of one chunk.
fn roots(name: &str, text: &str, chunk: usize) -> Option<Vec<Node>> {
    let range = text::split(name, text).into_iter().nth(chunk)?;
    Some(text::tree(FileId(0), name, text, range).roots)
}

/// Finds the mapping that stands at a span; of several (an alias is the tree of its anchor) the outermost.
pub fn find(name: &str, text: &str, span: Span) -> Option<Target> {
    let chunk = text::split(name, text).iter().position(|c| c.contains(&(span.start as usize)))?;
    for (root, node) in roots(name, text, chunk)?.iter().enumerate() {
        let mut way = Vec::new();
        if walk(node, span, &mut way) {
            return Some(Target { chunk, root, way });
        }
    }
    None
}

fn walk(node: &Node, span: Span, way: &mut Vec<usize>) -> bool {
    if (node.span.start, node.span.end) == (span.start, span.end) && node.as_map().is_some() {
        return true;
    }
    if span.start < node.span.start || span.end > node.span.end {
        return false;
    }
    let below: Vec<&Node> = match &node.value {
        Value::Map(entries) => entries.iter().map(|e| &e.value).collect(),
        Value::Seq(items) => items.iter().collect(),
        _ => return false,
    };
    for (at, child) in below.into_iter().enumerate() {
        way.push(at);
        if walk(child, span, way) {
            return true;
        }
        way.pop();
    }
    false
}

impl Target {
    /// An item of the list under a key of this mapping, if it is a mapping itself.
    pub fn item(&self, name: &str, text: &str, key: &str, item: usize) -> Option<Self> {
        let roots = roots(name, text, self.chunk)?;
        let at = self.node(&roots)?.as_map()?.iter().position(|e| e.key == key)?;
        let mut out = self.clone();
        out.way.extend([at, item]);
        out.node(&roots)?.as_map()?;
        Some(out)
    }

    /// The items of the list under a key of this mapping.
    pub fn items(&self, name: &str, text: &str, key: &str) -> Vec<Node> {
        let roots = roots(name, text, self.chunk).unwrap_or_default();
        let list = self.node(&roots).and_then(|n| n.get(key)).and_then(Node::as_seq);
        list.map(<[Node]>::to_vec).unwrap_or_default()
    }

    /// The mapping under a key of this one.
    pub fn under(&self, name: &str, text: &str, key: &str) -> Option<Self> {
        let roots = roots(name, text, self.chunk)?;
        let at = self.node(&roots)?.as_map()?.iter().position(|e| e.key == key)?;
        let mut out = self.clone();
        out.way.push(at);
        out.node(&roots)?.as_map()?;
        Some(out)
    }

    fn node<'n>(&self, roots: &'n [Node]) -> Option<&'n Node> {
        let mut node = roots.get(self.root)?;
        for at in &self.way {
            node = match &node.value {
                Value::Map(entries) => &entries.get(*at)?.value,
                Value::Seq(items) => items.get(*at)?,
                _ => return None,
            };
        }
        Some(node)
    }
}

/// Adds items at the end of the list under `section` of a mapping, which gets that key if it has none. `None` if the
/// text cannot be edited so that exactly this is its new meaning.
pub fn add(name: &str, text: &str, target: &Target, section: &str, items: &[Yaml]) -> Option<String> {
    let before = roots(name, text, target.chunk)?;
    let rule = target.node(&before)?;
    let style = Style::of(text, &before);
    let edited = match rule.entry(section) {
        Some(e) => match &e.value.value {
            Value::Seq(list) if !list.is_empty() => {
                let from = after_key(text, e.key_span.end as usize)?;
                match text.as_bytes().get(from)? {
                    b'[' => into_flow(text, section, list, items, &style)?,
                    b'-' => into_block(text, section, from, e.value.span.end as usize, items, &style)?,
                    _ => return None,
                }
            }
            Value::Seq(_) | Value::Null => fill(text, rule, e.key_span, &e.value, section, items, &style)?,
            _ => return None,
        },
        None => new_key(text, rule, section, items, &style)?,
    };
    let after = roots(name, &edited, target.chunk)?;
    let meant = before.len() == after.len()
        && before.iter().zip(&after).enumerate().all(|(root, (old, new))| {
            if root == target.root { grown(old, new, &target.way, section, items) } else { same(old, new) }
        });
    (meant && others_stay(name, text, &edited, target.chunk)).then_some(edited)
}

/// Where a value begins: behind the key's colon, white space and comments.
fn after_key(text: &str, key_end: usize) -> Option<usize> {
    let colon = text.get(key_end..)?.find(':')? + key_end + 1;
    let mut at = colon;
    loop {
        let rest = text.get(at..)?;
        let trimmed = rest.trim_start();
        at += rest.len() - trimmed.len();
        if !trimmed.starts_with('#') {
            return (!trimmed.is_empty()).then_some(at);
        }
        at += trimmed.find('\n')?;
    }
}

fn line_start(text: &str, at: usize) -> usize {
    text.get(..at).and_then(|t| t.rfind('\n')).map_or(0, |n| n + 1)
}

/// One past the line feed of the line, or the end of the text.
fn line_end(text: &str, at: usize) -> usize {
    text.get(at..).and_then(|t| t.find('\n')).map_or(text.len(), |n| at + n + 1)
}

/// Puts a text in the place of another; its lines end as those of the file.
fn splice(text: &str, at: std::ops::Range<usize>, with: &str) -> Option<String> {
    let crlf = text.find('\n').is_some_and(|n| text.get(..n).is_some_and(|t| t.ends_with('\r')));
    let with = if crlf { with.replace('\n', "\r\n") } else { with.to_owned() };
    Some([text.get(..at.start)?, &with, text.get(at.end..)?].concat())
}

/// Puts whole lines behind the line in which something ends, and behind comments that belong to it by their indent.
fn lines_behind(text: &str, end: usize, column: usize, lines: &str) -> Option<String> {
    let mut at = line_end(text, end);
    loop {
        let next = line_end(text, at);
        let line = text.get(at..next)?;
        let indent = line.len() - line.trim_start().len();
        if next == at || !line.trim_start().starts_with('#') || indent <= column {
            break;
        }
        at = next;
    }
    let ended = at == 0 || text.get(..at)?.ends_with('\n');
    if ended {
        splice(text, at..at, lines)
    } else {
        splice(text, at..at, &format!("\n{}", lines.trim_end_matches('\n')))
    }
}

fn into_block(
    text: &str,
    section: &str,
    dash: usize,
    end: usize,
    items: &[Yaml],
    style: &Style,
) -> Option<String> {
    let start = line_start(text, dash);
    let pad = text.get(start..dash)?;
    if !pad.bytes().all(|b| b == b' ') {
        return None;
    }
    lines_behind(text, end, pad.len(), &yaml::block_items(items, section, pad.len(), style))
}

/// Behind the last item of a list in brackets, on a line of its own if that item has one.
fn into_flow(text: &str, section: &str, list: &[Node], items: &[Yaml], style: &Style) -> Option<String> {
    let last = list.last()?.span;
    let (start, end) = (last.start as usize, last.end as usize);
    let style = in_brackets(text, style, section);
    let line = line_start(text, start);
    let pad = text.get(line..start)?;
    let mut new = String::new();
    if line > 0 && pad.bytes().all(|b| b == b' ') {
        for item in items {
            let written =
                if style.json { yaml::pretty(item, pad.len(), &style) } else { yaml::flow(item, &style) };
            let _ = write!(new, ",\n{pad}{written}");
        }
    } else {
        for item in items {
            let _ = write!(new, ", {}", yaml::flow(item, &style));
        }
    }
    splice(text, end..end, &new)
}

/// JSON where the keys are quoted.
fn in_brackets(text: &str, style: &Style, section: &str) -> Style {
    if text.contains(&format!("\"{section}\"")) || text.trim_start().starts_with(['{', '[']) {
        style.as_json(json_step(text))
    } else {
        style.clone()
    }
}

/// The indent of the first line that has one.
fn json_step(text: &str) -> usize {
    let indents = text.lines().map(|l| l.len() - l.trim_start_matches(' ').len());
    indents.into_iter().find(|n| *n > 0).unwrap_or(2).min(8)
}

/// A list that is empty, or a key without a value.
fn fill(
    text: &str,
    rule: &Node,
    key: Span,
    value: &Node,
    section: &str,
    items: &[Yaml],
    style: &Style,
) -> Option<String> {
    let written = text.get(value.span.start as usize..value.span.end as usize).unwrap_or_default();
    let (start, end) = (key.start as usize, key.end as usize);
    let is_value = match &value.value {
        Value::Null => matches!(written, "" | "null" | "~" | "Null" | "NULL"),
        _ => written.starts_with('['),
    };
    if !is_value {
        return None;
    }
    let colon = text.get(end..)?.find(':')? + end + 1;
    // A key without a value: the place of nothing is not told apart from that of its neighbours.
    let span =
        if written.is_empty() { colon..colon } else { value.span.start as usize..value.span.end as usize };
    let in_flow = first_byte(text, rule) == Some(b'{');
    let column = start - line_start(text, start);
    if in_flow || !text.get(line_start(text, start)..start)?.bytes().all(|b| b == b' ' || b == b'-') {
        let style = in_brackets(text, style, section);
        let list = Yaml::Seq(items.to_vec());
        let line = text.get(line_start(text, start)..start)?;
        let alone = style.json && line.bytes().all(|b| b == b' ') && text.contains('\n');
        let list = if alone { yaml::pretty(&list, line.len(), &style) } else { yaml::flow(&list, &style) };
        let list = if span.is_empty() { format!(" {list}") } else { list };
        return splice(text, span, &list);
    }
    // What stood there goes, with the blanks before it; comments on the line stay.
    let head = text.get(colon..span.start)?;
    let cleared = splice(text, span.start - (head.len() - head.trim_end().len())..span.end, "")?;
    let dash = column + style.dash;
    let lines = yaml::block_items(items, section, dash, style);
    lines_behind(&cleared, colon, dash, &lines)
}

fn first_byte(text: &str, node: &Node) -> Option<u8> {
    text.as_bytes().get(node.span.start as usize).copied()
}

/// A key that the mapping does not have yet, behind its last one.
fn new_key(text: &str, rule: &Node, section: &str, items: &[Yaml], style: &Style) -> Option<String> {
    let entries = rule.as_map()?;
    let (head, last) = (entries.first()?, entries.last()?);
    let end = rule.span.end as usize;
    if first_byte(text, rule) == Some(b'{') {
        let quoted = text.as_bytes().get(head.key_span.start as usize) == Some(&b'"');
        let style = if quoted { style.as_json(json_step(text)) } else { style.clone() };
        let entry = Yaml::Seq(items.to_vec());
        let at = last.value.span.end as usize;
        let line = line_start(text, last.key_span.start as usize);
        let pad = text.get(line..last.key_span.start as usize)?;
        let name = if style.json { format!("\"{section}\"") } else { section.to_owned() };
        let new = if line > 0 && pad.bytes().all(|b| b == b' ') && style.json {
            format!(",\n{pad}{name}: {}", yaml::pretty(&entry, pad.len(), &style))
        } else {
            format!(", {name}: {}", yaml::flow(&entry, &style))
        };
        return splice(text, at..at, &new);
    }
    let start = head.key_span.start as usize;
    let column = start - line_start(text, start);
    if !text.get(line_start(text, start)..start)?.bytes().all(|b| b == b' ' || b == b'-') {
        return None;
    }
    let entry = [(section.to_owned(), Yaml::Seq(items.to_vec()))];
    lines_behind(text, end, column, &yaml::block_entries(&entry, column, style))
}

/// Whether every other chunk is what it was, byte for byte.
fn others_stay(name: &str, before: &str, after: &str, chunk: usize) -> bool {
    let (old, new) = (text::split(name, before), text::split(name, after));
    old.len() == new.len()
        && old.into_iter().zip(new).enumerate().all(|(n, (a, b))| n == chunk || before.get(a) == after.get(b))
}

/// Equal but for places.
fn same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Map(x), Value::Map(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(a, b)| a.key == b.key && same(&a.value, &b.value))
        }
        (Value::Seq(x), Value::Seq(y)) => x.len() == y.len() && x.iter().zip(y).all(|(a, b)| same(a, b)),
        (Value::Float(x), Value::Float(y)) => x.to_bits() == y.to_bits(),
        (a, b) => a == b,
    }
}

fn grown(old: &Node, new: &Node, way: &[usize], section: &str, items: &[Yaml]) -> bool {
    let Some((at, rest)) = way.split_first() else { return list_grown(old, new, section, items) };
    match (&old.value, &new.value) {
        (Value::Map(x), Value::Map(y)) => {
            x.len() == y.len()
                && x.iter().zip(y).enumerate().all(|(n, (a, b))| {
                    a.key == b.key
                        && if n == *at {
                            grown(&a.value, &b.value, rest, section, items)
                        } else {
                            same(&a.value, &b.value)
                        }
                })
        }
        (Value::Seq(x), Value::Seq(y)) => {
            x.len() == y.len()
                && x.iter()
                    .zip(y)
                    .enumerate()
                    .all(|(n, (a, b))| if n == *at { grown(a, b, rest, section, items) } else { same(a, b) })
        }
        _ => false,
    }
}

fn list_grown(old: &Node, new: &Node, section: &str, items: &[Yaml]) -> bool {
    let (Some(x), Some(y)) = (old.as_map(), new.as_map()) else { return false };
    let others = |m: &[portcullis_front::tree::Entry]| -> Vec<(String, Node)> {
        m.iter().filter(|e| e.key != section).map(|e| (e.key.to_string(), e.value.clone())).collect()
    };
    let (x, y) = (others(x), others(y));
    let kept = old.get(section).and_then(Node::as_seq).unwrap_or_default();
    let Some(list) = new.get(section).and_then(Node::as_seq) else { return false };
    x.len() == y.len()
        && x.iter().zip(&y).all(|((k, a), (l, b))| k == l && same(a, b))
        && list.len() == kept.len() + items.len()
        && kept.iter().zip(list).all(|(a, b)| same(a, b))
        && items.iter().zip(list.iter().skip(kept.len())).all(|(item, node)| item.is(node))
}

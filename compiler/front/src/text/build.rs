//! Events to a tree. YAML and JSON both end here; the stack is on the heap, so no document can
//! overflow the real one.

use super::{errors, limits};
use crate::tree::{Entry, Node, Value};
use portcullis_diag::{Diagnostic, Fate, Span};
use smol_str::SmolStr;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What came of one chunk.
pub(super) struct Built {
    /// The roots of readable documents.
    pub(super) roots: Vec<Node>,
    /// What is wrong.
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Whether some document could not be read.
    pub(super) unreadable: bool,
    /// Documents seen, empty ones not counted.
    pub(super) documents: usize,
    /// Whether a scalar shows that this is a template.
    pub(super) template: bool,
}

/// Builds the trees of one chunk from events.
pub(super) struct Builder {
    stack: Vec<Frame>,
    built: Built,
    /// Whether the document under construction is spoiled.
    spoiled: bool,
    root: Option<Node>,
    anchors: BTreeMap<usize, Anchor>,
    /// Nodes made so far in this document, those of aliases included.
    nodes: usize,
    /// Nodes that aliases may still add.
    budget: usize,
}

/// A finished anchored node.
struct Anchor {
    node: Node,
    nodes: usize,
    height: usize,
}

/// A mapping or sequence that is not closed yet.
struct Frame {
    /// The opening bracket; empty for a block collection.
    span: Span,
    /// What its keys and values cover in the text, aliases at their own place.
    cover: Option<Span>,
    items: Items,
    /// Levels below this one, so that an alias cannot exceed the depth either.
    height: usize,
    anchor: usize,
    nodes_before: usize,
    /// Stands where a key should be, and is dropped when it closes.
    as_key: bool,
}

pub(super) enum Items {
    Seq(Vec<Node>),
    Map(Fields),
}

/// A mapping under construction.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) entries: Vec<Entry>,
    index: Option<HashMap<SmolStr, usize>>,
    key: Pending,
    /// Ranks of the entries that a merge brought.
    merged: BTreeSet<usize>,
}

/// The key that waits for its value.
#[derive(Default)]
enum Pending {
    #[default]
    None,
    Key(SmolStr, Span),
    Merge(Span),
    /// A key that cannot be one; its value is dropped.
    Bad,
}

impl Fields {
    /// Where `key` is among the entries.
    pub(super) fn find(&mut self, key: &str) -> Option<usize> {
        if self.entries.len() < limits::LINEAR_KEYS {
            return self.entries.iter().position(|e| e.key == key);
        }
        let entries = &self.entries;
        let index = self
            .index
            .get_or_insert_with(|| entries.iter().enumerate().map(|(i, e)| (e.key.clone(), i)).collect());
        index.get(key).copied()
    }

    /// Sets a key, from a merge or as written. Returns the place of the entry it replaces if that one
    /// was written in this mapping. The new entry takes the rank of the old.
    pub(super) fn set(&mut self, entry: Entry, by_merge: bool) -> Option<Span> {
        let found = self.find(&entry.key);
        let rank = found.unwrap_or(self.entries.len());
        let was_merged = !self.merged.is_empty() && self.merged.remove(&rank);
        if by_merge {
            self.merged.insert(rank);
        }
        if let Some(slot) = found.and_then(|i| self.entries.get_mut(i)) {
            let before = slot.key_span;
            *slot = entry;
            return (!was_merged).then_some(before);
        }
        if let Some(index) = &mut self.index {
            index.insert(entry.key.clone(), rank);
        }
        self.entries.push(entry);
        None
    }
}

impl Builder {
    /// A builder for a chunk of so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            stack: Vec::new(),
            built: Built {
                roots: Vec::new(),
                diagnostics: Vec::new(),
                unreadable: false,
                documents: 0,
                template: false,
            },
            spoiled: false,
            root: None,
            anchors: BTreeMap::new(),
            nodes: 0,
            budget: limits::alias_nodes(bytes),
        }
    }

    /// Looks at a scalar that may show the document to be a template.
    pub(super) fn suspect(&mut self, text: &str, quoted: bool) {
        let path = self.stack.iter().filter_map(|frame| match &frame.items {
            Items::Map(Fields { key: Pending::Key(key, _), .. }) => Some(key.as_str()),
            _ => None,
        });
        self.built.template = self.built.template || super::skip::template_scalar(text, quoted, path);
    }

    /// Adds an error that makes the document unreadable.
    pub(super) fn fail(&mut self, diagnostic: Diagnostic) {
        self.spoiled = true;
        self.report(diagnostic.fate(Fate::Unreadable));
    }

    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        if self.built.diagnostics.len() < limits::FINDINGS {
            self.built.diagnostics.push(diagnostic);
        }
    }

    /// Whether the next node is a mapping's key.
    pub(super) fn wants_key(&self) -> bool {
        matches!(self.stack.last(), Some(Frame { items: Items::Map(Fields { key: Pending::None, .. }), .. }))
    }

    /// Takes a key; `None` if it has no JSON form.
    pub(super) fn key(&mut self, key: Option<SmolStr>, span: Span) {
        let pending = if let Some(key) = key {
            Pending::Key(key, span)
        } else {
            self.fail(errors::bad_key(span));
            Pending::Bad
        };
        self.set_key(pending, span);
    }

    /// Takes a merge key, `<<`.
    pub(super) fn merge_key(&mut self, span: Span) {
        self.set_key(Pending::Merge(span), span);
    }

    fn set_key(&mut self, pending: Pending, place: Span) {
        if let Some(frame) = self.stack.last_mut()
            && let Items::Map(fields) = &mut frame.items
        {
            fields.key = pending;
            frame.cover = Some(frame.cover.map_or(place, |c| c.to(place)));
        }
    }

    /// Opens a mapping or sequence. False if it would be too deep: stop reading then.
    pub(super) fn open(&mut self, items: Items, span: Span, anchor: usize) -> bool {
        let as_key = self.wants_key();
        if as_key {
            self.fail(errors::bad_key(span));
        }
        if self.stack.len() >= limits::DEPTH {
            self.fail(errors::too_deep(span));
            return false;
        }
        self.stack.push(Frame {
            span,
            cover: None,
            items,
            height: 1,
            anchor,
            nodes_before: self.nodes,
            as_key,
        });
        true
    }

    /// Closes the innermost mapping or sequence. `end` counts where its own sign ends it (`]`, `}`);
    /// otherwise it ends with its last value.
    pub(super) fn close(&mut self, end: Option<Span>) {
        let Some(frame) = self.stack.pop() else { return };
        let span = match (end, frame.cover) {
            (Some(end), _) => frame.span.to(end),
            (None, Some(cover)) => cover,
            (None, None) => frame.span,
        };
        let value = match frame.items {
            Items::Seq(items) => Value::Seq(items),
            Items::Map(fields) => Value::Map(fields.entries),
        };
        let node = Node { span, value };
        if frame.as_key {
            self.set_key(Pending::Bad, span);
            return;
        }
        self.nodes += 1;
        let nodes = self.nodes - frame.nodes_before;
        self.put(node, span, frame.height, frame.anchor, nodes);
    }

    /// Takes a scalar as a value.
    pub(super) fn scalar(&mut self, value: Value, span: Span, anchor: usize) {
        self.nodes += 1;
        self.put(Node { span, value }, span, 0, anchor, 1);
    }

    /// Takes an alias of an anchor.
    pub(super) fn alias(&mut self, id: usize, span: Span) {
        let Some(anchor) = self.anchors.get(&id) else {
            // The parser knows the name, so the node is one of those still open.
            self.fail(errors::anchor_in_itself(span));
            return self.null(span);
        };
        let (nodes, height) = (anchor.nodes, anchor.height);
        if self.wants_key() {
            let key = key_of(&anchor.node.value);
            return self.key(key, span);
        }
        if self.stack.len() + height > limits::DEPTH {
            self.fail(errors::too_deep(span));
            return self.null(span);
        }
        if nodes > self.budget {
            // Said once: every further alias would say the same.
            if self.budget > 0 {
                self.fail(errors::too_many_nodes(span));
            }
            self.budget = 0;
            return self.null(span);
        }
        self.budget -= nodes;
        self.nodes += nodes;
        let node = anchor.node.clone();
        self.put(node, span, height, 0, nodes);
    }

    /// Puts null where something went wrong, to read on.
    pub(super) fn null(&mut self, span: Span) {
        if self.wants_key() {
            self.set_key(Pending::Bad, span);
        } else {
            self.put(Node { span, value: Value::Null }, span, 0, 0, 1);
        }
    }

    /// Adds a finished node of `nodes` nodes, `height` levels high, that the text has at `place`.
    fn put(&mut self, node: Node, place: Span, height: usize, anchor: usize, nodes: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, Anchor { node: node.clone(), nodes, height });
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return;
        };
        frame.height = frame.height.max(height + 1);
        frame.cover = Some(frame.cover.map_or(place, |c| c.to(place)));
        let mut findings = Vec::new();
        match &mut frame.items {
            Items::Seq(items) => items.push(node),
            Items::Map(fields) => match std::mem::take(&mut fields.key) {
                Pending::Key(key, key_span) => {
                    if let Some(before) = fields.set(Entry { key: key.clone(), key_span, value: node }, false)
                    {
                        findings.push(errors::duplicate_key(&key, key_span, before));
                    }
                }
                Pending::Merge(span) => super::merge::merge(fields, node, span, &mut findings),
                Pending::Bad | Pending::None => {}
            },
        }
        for finding in findings {
            if finding.fate == Fate::Unreadable {
                self.fail(finding);
            } else {
                self.report(finding);
            }
        }
    }

    /// Ends a document.
    pub(super) fn end_document(&mut self) {
        self.stack.clear();
        self.anchors.clear();
        self.nodes = 0;
        let root = self.root.take();
        if std::mem::take(&mut self.spoiled) {
            self.built.unreadable = true;
            self.built.documents += 1;
        } else if let Some(root) = root
            && !root.is_null()
        {
            self.built.documents += 1;
            self.built.roots.push(root);
        }
    }

    /// Forgets the document under construction.
    pub(super) fn abandon(&mut self) {
        self.spoiled = false;
        self.root = None;
        self.end_document();
    }

    /// Makes one document of all that was read: kubectl reads no second one without `---`, so an
    /// error behind the first spoils it.
    pub(super) fn one_document(&mut self) {
        if self.spoiled || self.root.is_some() {
            self.end_document();
        }
        if self.built.unreadable {
            self.built.roots.clear();
        }
        self.built.documents = self.built.documents.min(1);
    }

    /// Ends the chunk.
    pub(super) fn finish(mut self) -> Built {
        if self.spoiled || self.root.is_some() {
            self.end_document();
        }
        self.built
    }
}

/// The JSON key of an aliased scalar.
fn key_of(value: &Value) -> Option<SmolStr> {
    use super::scalar::{Scalar, key};
    match value {
        Value::Str(s) => Some(s.clone()),
        Value::Bool { value, plain } => key(Scalar::Bool { value: *value, plain: *plain }, ""),
        Value::Int(i) => key(Scalar::Int(*i), ""),
        Value::Float(f) => key(Scalar::Float(*f), ""),
        Value::Null | Value::Seq(_) | Value::Map(_) => None,
    }
}

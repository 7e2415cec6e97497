//! The syntax tree: a document as kubectl would send it to the API server, every key and scalar
//! with its place in the file.
//!
//! YAML and JSON both become this tree. Scalars are already resolved by kubectl's rules (YAML 1.1
//! booleans, octal numbers, merge keys), so what reads the tree sees what the API server sees.

use portcullis_diag::Span;
use smol_str::SmolStr;

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it stands. For a mapping or sequence: from its first key or item to its last value.
    pub span: Span,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, `~`, or nothing at all.
    Null,
    /// A boolean. `plain` is false where the text was neither `true` nor `false` but a YAML 1.1
    /// word for it (`yes`, `on`, `n` …), which is seldom what the author meant.
    Bool {
        /// The value kubectl sends.
        value: bool,
        /// Written `true` or `false` (any case) rather than a YAML 1.1 alias.
        plain: bool,
    },
    /// An integer.
    Int(i128),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// A string.
    Str(SmolStr),
    /// A sequence.
    Seq(Vec<Node>),
    /// A mapping in the order of the text. Duplicate keys are already gone: the last one won.
    Map(Vec<Entry>),
}

/// One key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key as a JSON string (`80:` is "80", `yes:` is "true").
    pub key: SmolStr,
    /// Where the key stands.
    pub key_span: Span,
    /// Its value.
    pub value: Node,
}

impl Value {
    /// The JSON name of the type, as the API server says it in its errors.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool { .. } => "boolean",
            Self::Int(_) => "integer",
            Self::Float(_) => "number",
            Self::Str(_) => "string",
            Self::Seq(_) => "array",
            Self::Map(_) => "object",
        }
    }
}

impl Node {
    /// The value under `key`, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|e| &e.value)
    }

    /// The entry of `key`, if this is a mapping that has it.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|e| e.key == key),
            _ => None,
        }
    }

    /// The string, if this is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Str(s) => Some(s),
            _ => None,
        }
    }

    /// The items, if this is a sequence.
    pub fn as_seq(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Seq(items) => Some(items),
            _ => None,
        }
    }

    /// The entries, if this is a mapping.
    pub fn as_map(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// Whether this is null. The API server treats a null field as an absent one.
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }
}

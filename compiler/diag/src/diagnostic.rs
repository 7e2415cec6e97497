//! One finding about the user's YAML.

use crate::code::Code;
use crate::source::Span;
use std::fmt;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Something was left out or may interest the reader; never affects the exit code.
    Note,
    /// The object means something other than it seems to.
    Warning,
    /// The object does not do what it says, or cannot be read.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// What happens to an object on its way into the cluster. Ordered from best to worst to judge:
/// the worst fate among an object's diagnostics is the object's fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// The API server stores it and Cilium enforces it.
    #[default]
    Accepted,
    /// The API server stores it, Cilium's policy engine refuses it: it lies in the cluster and does nothing.
    Inert,
    /// The API server refuses it: it never reaches the cluster.
    Refused,
    /// The text could not be read as an object at all.
    Unreadable,
}

/// The object a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectRef {
    /// E.g. `CiliumNetworkPolicy`.
    pub kind: String,
    /// The namespace; `None` for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// `metadata.name`, possibly empty.
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(ns) => write!(f, "{} {}/{}", self.kind, ns, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// A place, and what that place does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The bytes to underline.
    pub span: Span,
    /// What they do, in a few words; may be empty.
    pub text: String,
}

/// A finding about the user's YAML: one lower-case clause, places, a way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Which finding it is.
    pub code: Code,
    /// How bad it is here.
    pub severity: Severity,
    /// One lower-case clause without a full stop: the consequence first.
    pub message: String,
    /// Where; the first label is the primary place. Empty when no place exists (a missing folder).
    pub labels: Vec<Label>,
    /// The way out.
    pub help: Option<String>,
    /// What this finding alone makes of its object.
    pub fate: Fate,
    /// The object it is about.
    pub object: Option<ObjectRef>,
}

impl Diagnostic {
    /// A finding of `code` with the registry's severity, at `span`.
    pub fn new(code: Code, message: impl Into<String>, span: Span) -> Self {
        Self {
            code,
            severity: code.info().map_or(Severity::Error, |i| i.severity),
            message: message.into(),
            labels: vec![Label { span, text: String::new() }],
            help: None,
            fate: Fate::Accepted,
            object: None,
        }
    }

    /// A finding without a place in a file.
    pub fn without_place(code: Code, message: impl Into<String>) -> Self {
        let mut d = Self::new(code, message, Span::default());
        d.labels.clear();
        d
    }

    /// Says what the primary place does.
    #[must_use]
    pub fn label(mut self, text: impl Into<String>) -> Self {
        if let Some(first) = self.labels.first_mut() {
            first.text = text.into();
        }
        self
    }

    /// Adds a second place.
    #[must_use]
    pub fn also(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Says the way out.
    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Says what this finding makes of its object.
    #[must_use]
    pub fn fate(mut self, fate: Fate) -> Self {
        self.fate = fate;
        self
    }

    /// Overrides the registry's severity.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// Says which object it is about.
    #[must_use]
    pub fn object(mut self, object: ObjectRef) -> Self {
        self.object = Some(object);
        self
    }

    /// The primary place.
    pub fn span(&self) -> Option<Span> {
        self.labels.first().map(|l| l.span)
    }
}

//! Policies that are templates or kustomize patches: nobody knows what they say before they are
//! rendered, so a change of one cannot be judged.

use crate::load::File;
use crate::session::objects;
use portcullis_diag::codes::syntax;
use portcullis_diag::{Diagnostic, ObjectRef, Severity, SourceMap, Span};
use portcullis_front::{SkipReason, Skipped};
use std::collections::BTreeMap;

/// What the two sides leave unrendered.
#[derive(Debug, Default)]
pub(in crate::commands) struct Unrendered {
    /// Errors: documents that hold a policy and that the other side has not as they are.
    pub(in crate::commands) changed: Vec<Diagnostic>,
    /// Where they stand.
    spans: Vec<Span>,
    /// How many documents that hold a policy are the same on both sides.
    same: usize,
}

impl Unrendered {
    /// Looks at what was skipped on the side that is to be and on the one that was.
    pub(in crate::commands) fn of(head: &[File], base: &[File], sources: &SourceMap) -> Self {
        let mut unmatched: BTreeMap<&str, Vec<&Skipped>> = BTreeMap::new();
        for (s, text) in policies(base, sources) {
            unmatched.entry(text).or_default().push(s);
        }
        let mut out = Self::default();
        let mut differ: Vec<(&Skipped, &str)> = Vec::new();
        for (s, text) in policies(head, sources) {
            if unmatched.get_mut(text).and_then(Vec::pop).is_some() {
                out.same += 1;
            } else {
                differ.push((s, text));
            }
        }
        for (text, list) in unmatched {
            differ.extend(list.into_iter().map(|s| (s, text)));
        }
        let known: Vec<ObjectRef> =
            objects(head).chain(objects(base)).map(portcullis_front::ast::Object::reference).collect();
        for (s, text) in differ {
            let object = object(s, text, &known);
            out.spans.push(s.span);
            // A template that both sides have, in two forms, is one thing to render.
            let before =
                object.is_some().then(|| out.changed.iter_mut().find(|d| d.object == object)).flatten();
            match before {
                Some(d) => d.labels.push(portcullis_diag::Label {
                    span: first_line(s.span, text),
                    text: "on the other side".to_owned(),
                }),
                None => out.changed.push(diagnostic(s, text, object)),
            }
        }
        out
    }

    /// Whether a finding is the note that one of these was skipped, which the error replaces.
    pub(in crate::commands) fn replaces(&self, d: &Diagnostic) -> bool {
        let skipped = d.code == syntax::TEMPLATE_SKIPPED || d.code == syntax::PATCH_SKIPPED;
        let within = |s: Span, w: &Span| w.file == s.file && w.start <= s.start && s.end <= w.end;
        skipped && d.span().is_some_and(|s| self.spans.iter().any(|w| within(s, w)))
    }

    /// What both sides leave out alike; a whole sentence.
    pub(super) fn note(&self) -> Option<String> {
        match self.same {
            0 => None,
            1 => Some("1 template that holds a policy is skipped on both sides.".to_owned()),
            n => Some(format!("{n} templates that hold policies are skipped on both sides.")),
        }
    }
}

/// Skipped documents that speak of policy, with their texts.
fn policies<'f>(files: &'f [File], sources: &'f SourceMap) -> impl Iterator<Item = (&'f Skipped, &'f str)> {
    let all = files.iter().flat_map(|f| &f.parsed.skipped);
    all.filter(|s| matches!(s.reason, SkipReason::Template | SkipReason::Kustomize)).filter_map(|s| {
        let file = sources.get(s.span.file)?;
        let text = file.text.get(s.span.start as usize..s.span.end as usize)?.trim_end();
        (text.contains("NetworkPolicy") || text.contains("CIDRGroup")).then_some((s, text))
    })
}

fn diagnostic(s: &Skipped, text: &str, object: Option<ObjectRef>) -> Diagnostic {
    let (code, what, help) = if s.reason == SkipReason::Kustomize {
        (
            syntax::PATCH_SKIPPED,
            "this policy is a kustomize patch, so nobody knows what it says: build it first",
            "compare what kustomize makes of both sides: kubectl kustomize … | portcullis diff base.yaml -",
        )
    } else {
        (
            syntax::TEMPLATE_SKIPPED,
            "this policy is a template, so nobody knows what it says: render it first",
            "compare what Helm makes of both sides: helm template … | portcullis diff base.yaml -",
        )
    };
    let mut d = Diagnostic::new(code, what, first_line(s.span, text))
        .severity(Severity::Error)
        .label("skipped, and not the same on the other side")
        .help(help);
    d.object = object;
    d
}

/// A whole document underlined helps nobody.
fn first_line(span: Span, text: &str) -> Span {
    let line = text.lines().next().map_or(0, str::len);
    Span::new(
        span.file,
        span.start,
        span.start.saturating_add(u32::try_from(line).unwrap_or(0)).min(span.end),
    )
}

/// The object that a document will become, as far as its text tells: an object of either side that it
/// names, or what it names itself.
fn object(s: &Skipped, text: &str, known: &[ObjectRef]) -> Option<ObjectRef> {
    let kind = if s.kind.is_empty() { field(text, "kind")? } else { s.kind.clone() };
    let from = text.find("metadata:")?;
    let metadata = text.get(from + "metadata:".len()..)?;
    // What stands below `spec` names something else.
    let metadata = metadata.split("\nspec").next().unwrap_or(metadata);
    let name = field(metadata, "name")?;
    let namespace = field(metadata, "namespace");
    let agrees = |o: &&ObjectRef| {
        o.kind == kind && o.name == name && (namespace.is_none() || o.namespace == namespace)
    };
    let found = known.iter().find(agrees).cloned();
    Some(found.unwrap_or(ObjectRef { kind, namespace, name }))
}

/// The plain value of the first `key:` in a text; none where a template fills it in.
fn field(text: &str, key: &str) -> Option<String> {
    let mut rest = text;
    loop {
        let at = rest.find(key)?;
        let bounded =
            rest.get(..at).is_none_or(|b| !b.ends_with(|c: char| c.is_alphanumeric() || "-_./".contains(c)));
        rest = rest.get(at + key.len()..)?;
        if let Some(value) = rest.strip_prefix(':').filter(|_| bounded) {
            let line = value.lines().next().unwrap_or("").trim_start();
            let end = line.find([',', '}', ' ', '#']).unwrap_or(line.len());
            let word = line.get(..end)?.trim().trim_matches(['"', '\'']);
            return (!word.is_empty() && !word.contains('{')).then(|| word.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_read_as_far_as_it_is_plain() {
        let text = " {name: p, namespace: 'pay'}";
        assert_eq!(field(text, "name").as_deref(), Some("p"));
        assert_eq!(field(text, "namespace").as_deref(), Some("pay"));
        assert_eq!(field("\n  name: {{ .Values.name }}", "name"), None);
        assert_eq!(field("\n  app-name: x", "name"), None);
    }
}

//! The wording of everything that can be wrong with a text.

use portcullis_diag::codes::syntax as codes;
use portcullis_diag::{Diagnostic, Fate, Span};

use super::limits;

fn unreadable(code: portcullis_diag::Code, message: impl Into<String>, span: Span) -> Diagnostic {
    Diagnostic::new(code, message, span).fate(Fate::Unreadable)
}

/// `--- something`.
pub(super) fn after_marker(span: Span) -> Diagnostic {
    unreadable(codes::YAML_SYNTAX, "kubectl cannot read a document that begins on the `---` line", span)
        .label("only a comment may stand here")
        .help("put it on the line after `---`")
}

pub(super) fn bad_key(span: Span) -> Diagnostic {
    unreadable(codes::BAD_KEY, "the mapping has a key that cannot be a JSON key", span)
        .label("a key must be a word, a number or a boolean")
        .help("quote the key, or put quotes around the whole `{{ … }}` if a template should stand here")
}

pub(super) fn too_deep(span: Span) -> Diagnostic {
    unreadable(
        codes::TOO_DEEP,
        format!("the document is nested more than {} levels deep", limits::DEPTH),
        span,
    )
    .label("one level too many")
    .help("no policy needs so many levels: look for a bracket or an alias too much")
}

pub(super) fn too_many_nodes(span: Span) -> Diagnostic {
    unreadable(codes::TOO_MANY_NODES, "aliases make the document many times larger than its text", span)
        .label("this alias goes beyond the limit")
        .help("write the repeated parts out, or split the document")
}

pub(super) fn unknown_anchor(name: &str, span: Span) -> Diagnostic {
    unreadable(codes::UNKNOWN_ANCHOR, format!("the alias `*{name}` refers to nothing"), span)
        .label("no such anchor above in this document")
        .help(format!("define it with `&{name}` before it is used: anchors end at `---`; quote the text if it is no alias"))
}

pub(super) fn anchor_in_itself(span: Span) -> Diagnostic {
    unreadable(codes::UNKNOWN_ANCHOR, "the alias refers to the value that contains it", span)
        .label("inside its own anchor")
        .help("refer to an anchor that is complete before this place")
}

pub(super) fn bad_merge(span: Span, what: &str) -> Diagnostic {
    let what = match what {
        "null" => "nothing".to_owned(),
        "array" | "integer" => format!("an {what}"),
        _ => format!("a {what}"),
    };
    unreadable(codes::BAD_MERGE, format!("the merge key `<<` cannot merge {what}"), span)
        .label("a mapping or a list of mappings is needed")
        .help("name an anchor of a mapping, e.g. `<<: *defaults`")
}

pub(super) fn duplicate_key(key: &str, again: Span, before: Span) -> Diagnostic {
    Diagnostic::new(
        codes::DUPLICATE_KEY,
        format!("the first `{key}` is ignored: the key occurs twice"),
        again,
    )
    .label("this one wins")
    .also(before, "ignored without a word by kubectl")
    .help("remove one of them, or join their values under one key")
}

pub(super) fn overridden_by_merge(key: &str, before: Span, merge: Span) -> Diagnostic {
    Diagnostic::new(codes::DUPLICATE_KEY, format!("`{key}` is overridden by the merge key below it"), before)
        .label("ignored")
        .also(merge, "brings the same key, and later keys win")
        .help("put `<<` first in the mapping: the keys after it then override what it brings")
}

pub(super) fn unsupported_scalar(text: &str, span: Span) -> Diagnostic {
    unreadable(codes::UNSUPPORTED_SCALAR, format!("`{}` has no JSON form", short(text)), span)
        .label("kubectl cannot send this")
        .help("quote it if it is meant as text")
}

pub(super) fn wrong_tag(tag: &str, text: &str, span: Span) -> Diagnostic {
    unreadable(
        codes::UNSUPPORTED_SCALAR,
        format!("`{}` is not what its tag `!!{tag}` says", short(text)),
        span,
    )
    .label("kubectl refuses this value")
    .help("remove the tag, or change the value")
}

/// Long texts are cut: the span shows the rest.
fn short(text: &str) -> String {
    let mut s: String = text.chars().take(40).collect();
    if s.len() < text.len() {
        s.push('…');
    }
    s
}

//! The YAML library's errors in our words, at the place they are about.

use super::{Chunk, errors};
use granit_parser::{ErrorKind, ScanError};
use portcullis_diag::codes::syntax as codes;
use portcullis_diag::{Diagnostic, Fate};

const TABS: &str = "indent with spaces: YAML does not allow tabs there";

/// A syntax error with a way out.
pub(super) fn syntax(chunk: &Chunk<'_>, error: &ScanError) -> Diagnostic {
    use ErrorKind as E;
    let at = error.marker().byte_offset().unwrap_or(chunk.text.len()).min(chunk.text.len());
    let span = place(chunk, at);
    if matches!(error.kind(), E::RecursionLimitExceeded) {
        return errors::too_deep(span);
    }
    if let Some(tab) = tab_before(chunk.text, at) {
        return finding("a tab stands in the indentation", "this tab", TABS, chunk.span(tab..tab + 1));
    }
    let (message, label, help) = match error.kind() {
        E::TabNotAllowed
        | E::TabInBlockIndentation
        | E::TabInIndentation
        | E::TabAtBlockScalarStart
        | E::TabInPlainScalar => ("a tab stands where YAML allows only spaces", "here", TABS),
        E::MappingValueNotAllowed | E::MappingKeyNotAllowed | E::SimpleKeyExpected | E::InvalidSimpleKey => (
            "a key and its value do not fit here",
            "unexpected key or `:`",
            "check the indentation of this line and the one above; quote a text that contains `: `",
        ),
        E::ExpectedBlockMappingKey => (
            "a `key: value` line is expected here",
            "not a key of the mapping around it",
            "check the indentation: keys of one mapping start in the same column",
        ),
        E::ExpectedBlockSequenceEntry | E::BlockSequenceEntryNotAllowed => (
            "a list item does not fit here",
            "unexpected here",
            "check the indentation: the items of one list start with `-` in the same column",
        ),
        E::InvalidIndentation
        | E::InvalidBlockScalarIndent
        | E::InvalidQuotedScalarIndent
        | E::InvalidFlowScalarIndent => {
            ("the indentation fits no level above", "wrong column", "align this line with its siblings")
        }
        E::UnclosedQuotedScalar => ("a quote is never closed", "opened here", "add the closing quote"),
        E::UnclosedFlowCollection { .. }
        | E::ExpectedFlowMappingSeparator
        | E::ExpectedFlowSequenceSeparator
        | E::UnexpectedEofFlowMapping
        | E::UnexpectedEofFlowSequence
        | E::UnexpectedEofImplicitFlowMapping
        | E::MisplacedFlowCollectionEnd
        | E::MismatchedFlowCollectionEnd { .. } => (
            "brackets do not match",
            "here",
            "look for a missing or extra `[`, `]`, `{`, `}` or `,`; quote a text that begins with a bracket",
        ),
        E::InvalidTrailingSingleQuotedScalar | E::InvalidTrailingDoubleQuotedScalar => (
            "something follows a closing quote",
            "unexpected here",
            "quote the whole text; inside single quotes write '' for a quote",
        ),
        E::UnknownQuotedScalarEscape => (
            "the text between double quotes has an escape that YAML does not know",
            "unknown escape",
            "write \\\\ for a backslash, or use single quotes, which know no escapes",
        ),
        E::UnexpectedCharacter { .. } => {
            ("a text cannot begin with this character", "here", "quote the text")
        }
        E::MissingAnchorOrAliasName => (
            "a name is missing after `*` or `&`",
            "here",
            "quote the text if it is no alias or anchor, e.g. '*'",
        ),
        E::ExpectedDocumentStart | E::MissingDocumentEndBeforeDirective => (
            "something follows the end of the document",
            "unexpected here",
            "check the indentation, or begin a new document with `---`; kubectl reads no `%` directives",
        ),
        E::DocumentIndicatorInQuotedScalar => {
            ("the document ends inside quotes", "here", "add the closing quote")
        }
        other => {
            let message = format!("the document is not valid YAML: {other}");
            return Diagnostic::new(codes::YAML_SYNTAX, message, span)
                .label("here")
                .help("correct the text here, or just above")
                .fate(Fate::Unreadable);
        }
    };
    finding(message, label, help, span)
}

/// A control character at byte `at`.
pub(super) fn control_character(chunk: &Chunk<'_>, at: usize) -> Diagnostic {
    let byte = chunk.text.as_bytes().get(at).copied().unwrap_or_default();
    Diagnostic::new(
        codes::YAML_SYNTAX,
        format!("the text holds the control character U+{byte:04X}"),
        chunk.span(at..at + 1),
    )
    .label("here")
    .help("remove it; between double quotes it can be written as an escape")
    .fate(Fate::Unreadable)
}

/// Text after `...`, which kubectl passes over.
pub(super) fn after_end(chunk: &Chunk<'_>, at: usize) -> Diagnostic {
    Diagnostic::new(
        codes::AFTER_END,
        "kubectl ignores what follows the end of the document",
        place(chunk, at),
    )
    .label("never read")
    .help("begin the next document with `---` at the start of a line")
}

fn finding(message: &str, label: &str, help: &str, span: portcullis_diag::Span) -> Diagnostic {
    Diagnostic::new(codes::YAML_SYNTAX, message, span).label(label).help(help).fate(Fate::Unreadable)
}

/// From byte `at` to the end of its word; the last character of the text where `at` is its end.
fn place(chunk: &Chunk<'_>, at: usize) -> portcullis_diag::Span {
    let text = chunk.text;
    let at = (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    let rest = text.get(at..).unwrap_or("");
    let word = rest.find(char::is_whitespace).unwrap_or(rest.len());
    if word > 0 {
        return chunk.span(at..at + word);
    }
    if !rest.trim().is_empty() {
        return chunk.span(at..at);
    }
    let shown = text.get(..at).unwrap_or("").trim_end();
    let last = shown.chars().next_back().map_or(0, char::len_utf8);
    chunk.span(shown.len() - last..shown.len())
}

/// The first tab in the indentation of the line `at` stands on, or of the line before it.
fn tab_before(text: &str, at: usize) -> Option<usize> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |i| i + 1);
    let previous = text.get(..start.saturating_sub(1))?.rfind('\n').map_or(0, |i| i + 1);
    [start, previous].into_iter().find_map(|line| {
        let rest = text.get(line..)?;
        let indent = rest.len() - rest.trim_start_matches([' ', '\t']).len();
        rest.get(..indent)?.find('\t').map(|i| line + i)
    })
}

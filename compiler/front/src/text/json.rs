//! Strict JSON, several values in one text allowed.
//!
//! The library's scanner gives tokens with their places; the grammar is here, without recursion, so
//! that no nesting can overflow the stack. What JSON with comments would allow is refused.

use super::build::{Builder, Fields, Items};
use super::{Chunk, errors, scalar};
use crate::tree::Value;
use jsonc_parser::tokens::Token;
use jsonc_parser::{ParseStringErrorKind, Scanner, ScannerOptions};
use portcullis_diag::codes::syntax as codes;
use portcullis_diag::{Diagnostic, Fate, Span};
use smol_str::SmolStr;

/// What may come next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Value,
    /// A value, or `]` of an empty array.
    ValueOrClose,
    Key,
    /// A key, or `}` of an empty object.
    KeyOrClose,
    Colon,
    /// `,` or the bracket that closes.
    Next,
}

/// Where and why reading stopped.
pub(super) struct Stop {
    /// What is not JSON.
    pub(super) problem: Diagnostic,
    /// Byte of the chunk up to which whole values were read.
    pub(super) whole: usize,
}

/// Reads the chunk's values into `builder`, up to the end or to what is not JSON.
pub(super) fn read(chunk: &Chunk<'_>, builder: &mut Builder) -> Result<(), Box<Stop>> {
    let mut whole = 0;
    values(chunk, builder, &mut whole).map_err(|problem| Box::new(Stop { problem: *problem, whole }))
}

fn values(chunk: &Chunk<'_>, b: &mut Builder, whole: &mut usize) -> Result<(), Box<Diagnostic>> {
    let options = ScannerOptions {
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let mut scanner = Scanner::new(chunk.text, &options);
    let mut want = Want::Value;
    // Which brackets are open: true for an object.
    let mut open: Vec<bool> = Vec::new();
    let mut end = 0;
    loop {
        let token = scanner.scan().map_err(|e| Box::new(scan_error(chunk, &e)))?;
        let start = scanner.token_start();
        only_json_space(chunk, end..start)?;
        end = scanner.token_end();
        let span = chunk.span(start..end);
        let Some(token) = token else { break };
        match (want, token) {
            (Want::Value | Want::ValueOrClose, Token::OpenBrace) => {
                if !b.open(Items::Map(Fields::default()), span, 0) {
                    return Ok(());
                }
                open.push(true);
                want = Want::KeyOrClose;
                continue;
            }
            (Want::Value | Want::ValueOrClose, Token::OpenBracket) => {
                if !b.open(Items::Seq(Vec::new()), span, 0) {
                    return Ok(());
                }
                open.push(false);
                want = Want::ValueOrClose;
                continue;
            }
            (Want::Value | Want::ValueOrClose, Token::String(text)) => {
                no_control(chunk, &text, start)?;
                b.scalar(Value::Str(SmolStr::new(&text)), span, 0);
            }
            (Want::Value | Want::ValueOrClose, Token::Number(text)) => number(b, text, span),
            (Want::Value | Want::ValueOrClose, Token::Boolean(value)) => {
                b.scalar(Value::Bool { value, plain: true }, span, 0);
            }
            (Want::Value | Want::ValueOrClose, Token::Null) => b.scalar(Value::Null, span, 0),
            (Want::Key | Want::KeyOrClose, Token::String(text)) => {
                no_control(chunk, &text, start)?;
                b.key(Some(SmolStr::new(&text)), span);
                want = Want::Colon;
                continue;
            }
            (Want::Colon, Token::Colon) => {
                want = Want::Value;
                continue;
            }
            (Want::Next, Token::Comma) => {
                want = if open.last() == Some(&true) { Want::Key } else { Want::Value };
                continue;
            }
            (Want::KeyOrClose | Want::Next, Token::CloseBrace) if open.last() == Some(&true) => {
                open.pop();
                b.close(Some(span));
            }
            (Want::ValueOrClose | Want::Next, Token::CloseBracket) if open.last() == Some(&false) => {
                open.pop();
                b.close(Some(span));
            }
            (want, token) => return Err(Box::new(unexpected(want, &token, open.last().copied(), span))),
        }
        want = if open.is_empty() {
            b.end_document();
            *whole = end;
            Want::Value
        } else {
            Want::Next
        };
    }
    if open.is_empty() {
        return Ok(());
    }
    let at = chunk.text.trim_end().len();
    let problem =
        problem("the text ends before its last bracket is closed", chunk.span(at.saturating_sub(1)..at))
            .label("the text ends here")
            .help("add the missing `}` or `]`");
    Err(Box::new(problem))
}

fn number(b: &mut Builder, text: &str, span: Span) {
    let integer =
        text.parse::<i128>().ok().filter(|i| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(i));
    let value = integer.map(Value::Int).or_else(|| text.parse().ok().and_then(scalar::json_float));
    if let Some(value) = value {
        b.scalar(value, span, 0);
    } else {
        b.fail(errors::unsupported_scalar(text, span));
        b.null(span);
    }
}

fn problem(message: impl Into<String>, span: Span) -> Diagnostic {
    Diagnostic::new(codes::JSON_SYNTAX, message, span).fate(Fate::Unreadable)
}

/// The scanner also skips what other dialects call white space.
fn only_json_space(chunk: &Chunk<'_>, gap: std::ops::Range<usize>) -> Result<(), Box<Diagnostic>> {
    let text = chunk.text.get(gap.clone()).unwrap_or("");
    match text.char_indices().find(|(_, c)| !matches!(c, ' ' | '\t' | '\n' | '\r')) {
        None => Ok(()),
        Some((i, c)) => {
            let at = gap.start + i;
            let found = problem("JSON does not allow this white space", chunk.span(at..at + c.len_utf8()));
            Err(Box::new(found.label("not a space, tab or line break").help("replace it with a space")))
        }
    }
}

/// Raw control characters in the string at byte `start`, which the scanner lets pass. A text that
/// was decoded may hold some that were written as escapes, so then the source is asked.
fn no_control(chunk: &Chunk<'_>, text: &str, start: usize) -> Result<(), Box<Diagnostic>> {
    if text.bytes().all(|b| b >= 0x20) {
        return Ok(());
    }
    let mut escaped = false;
    for (i, byte) in chunk.text.bytes().enumerate().skip(start + 1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => break,
            0..0x20 => {
                let found = problem(
                    "the text between quotes holds a control character or a line break",
                    chunk.span(i..i + 1),
                );
                return Err(Box::new(found.label("here").help("write it as an escape, e.g. \\n")));
            }
            _ => {}
        }
    }
    Ok(())
}

fn scan_error(chunk: &Chunk<'_>, error: &jsonc_parser::errors::ParseError) -> Diagnostic {
    use jsonc_parser::errors::ParseErrorKind as E;
    let range = error.range();
    let span = chunk.span(range.start..range.end.min(chunk.text.len()));
    let (message, help) = match error.kind() {
        E::String(ParseStringErrorKind::UnterminatedStringLiteral) => {
            ("a quote is never closed".to_owned(), "add the closing quote")
        }
        E::String(ParseStringErrorKind::InvalidUnicodeEscapeSequence(_)) => (
            "the text holds half a character".to_owned(),
            "a \\uD800–\\uDBFF escape must be followed by a \\uDC00–\\uDFFF one",
        ),
        E::String(_) => (
            "the text between quotes has an escape that JSON does not know".to_owned(),
            "JSON knows \\\" \\\\ \\/ \\b \\f \\n \\r \\t and \\u with four digits",
        ),
        E::SingleQuotedStringsNotAllowed => {
            ("JSON does not know single quotes".to_owned(), "use double quotes")
        }
        E::CommentsNotAllowed | E::UnterminatedCommentBlock => {
            ("JSON does not know comments".to_owned(), "remove the comment, or name the file .yaml")
        }
        E::HexadecimalNumbersNotAllowed
        | E::UnaryPlusNumbersNotAllowed
        | E::BareDecimalPointNumbersNotAllowed
        | E::ExpectedDigit
        | E::ExpectedDigitFollowingNegativeSign
        | E::ExpectedPlusMinusOrDigitInNumberLiteral => (
            "JSON does not know this way to write a number".to_owned(),
            "write it in decimal, e.g. 8080 or 0.5",
        ),
        _ => ("the text is not valid JSON here".to_owned(), "texts and keys need double quotes"),
    };
    problem(message, span).label("here").help(help)
}

fn unexpected(want: Want, token: &Token<'_>, in_object: Option<bool>, span: Span) -> Diagnostic {
    let closing = matches!(token, Token::CloseBrace | Token::CloseBracket);
    let (message, help) = match (want, token) {
        (_, Token::CommentLine(_) | Token::CommentBlock(_)) => {
            ("JSON does not know comments", "remove the comment, or name the file .yaml")
        }
        (Want::Value | Want::ValueOrClose, Token::Word(_)) => {
            ("a text without quotes is not JSON", "put it between double quotes, or name the file .yaml")
        }
        (Want::Key | Want::KeyOrClose, _) if !closing => {
            ("a key must be a text between double quotes", "put it between double quotes")
        }
        (Want::Key, _) => {
            ("JSON does not allow a comma before a closing bracket", "remove the comma before it")
        }
        (Want::Value, _) if closing && in_object == Some(false) => {
            ("JSON does not allow a comma before a closing bracket", "remove the comma before it")
        }
        (Want::Value | Want::ValueOrClose, _) => {
            ("a value is expected here", "add a value, or remove what is too much")
        }
        (Want::Colon, _) => ("a colon is expected after the key", "write \"key\": value"),
        (Want::Next, _) if closing => ("brackets do not match", "look for a missing or extra bracket above"),
        _ => ("a comma is expected here", "separate values by commas"),
    };
    problem(message, span).label("unexpected here").help(help)
}

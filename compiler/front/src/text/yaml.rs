//! YAML events to builder calls.

use super::build::{Builder, Fields, Items};
use super::scalar::{self, Scalar};
use super::{Chunk, errors, yaml_errors};
use granit_parser::{Event, Parser, ScalarStyle, Tag};
use portcullis_diag::Span;

/// What an explicit tag asks for.
enum Ask<'a> {
    /// A type of YAML's own: `str`, `int` …
    Core(&'a str),
    /// `!`: what the text would be without quotes.
    Plain,
    /// A tag of somebody's own: the text is passed on as it stands.
    Text,
}

/// Reads the chunk's document into `builder`.
pub(super) fn read(chunk: &Chunk<'_>, builder: &mut Builder) {
    events(chunk, builder);
    builder.one_document();
}

fn events(chunk: &Chunk<'_>, builder: &mut Builder) {
    if let Some(at) = chunk.text.bytes().position(is_control) {
        builder.fail(yaml_errors::control_character(chunk, at));
        return;
    }
    let mut options = granit_parser::options! {
        block_scalar_eof_without_line_feed: true,
        emit_unresolved_aliases: true,
    };
    options.set_emit_comments(false);
    let braces = chunk.text.contains("{{");
    let mut documents = 0usize;
    let mut deep = false;
    for event in Parser::new_from_str_with_options(chunk.text, options) {
        let (event, at) = match event {
            Ok(ok) => ok,
            Err(error) => {
                builder.fail(yaml_errors::syntax(chunk, &error));
                return;
            }
        };
        let start = at.start.byte_offset().unwrap_or(0);
        let end = at.end.byte_offset().unwrap_or(start);
        let span = chunk.span(start..end);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if braces && !matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
                    builder.suspect(&text, style != ScalarStyle::Plain);
                }
                let span = if matches!(style, ScalarStyle::Literal | ScalarStyle::Folded) {
                    block_span(chunk, start, end)
                } else {
                    span
                };
                put_scalar(builder, &text, style, tag.as_deref(), span, anchor);
            }
            Event::MappingStart(_, anchor, _) => {
                deep = !builder.open(Items::Map(Fields::default()), span, anchor);
            }
            Event::SequenceStart(_, anchor, _) => deep = !builder.open(Items::Seq(Vec::new()), span, anchor),
            // A block collection ends without a sign of its own: the event is empty.
            Event::MappingEnd | Event::SequenceEnd => builder.close((end > start).then_some(span)),
            Event::Alias(id) => builder.alias(id, span),
            Event::UnresolvedAlias(name) => {
                builder.fail(errors::unknown_anchor(&name, span));
                builder.null(span);
            }
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    builder.report(yaml_errors::after_end(chunk, start));
                    return;
                }
            }
            Event::DocumentEnd => builder.end_document(),
            _ => {}
        }
        if deep {
            return;
        }
    }
}

/// Control characters that neither YAML nor kubectl takes.
fn is_control(byte: u8) -> bool {
    (byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r')) || byte == 0x7f
}

/// A block scalar's place without the line breaks after it.
fn block_span(chunk: &Chunk<'_>, start: usize, end: usize) -> Span {
    let text = chunk.text.get(start..end).unwrap_or("");
    chunk.span(start..start + text.trim_end().len())
}

fn put_scalar(b: &mut Builder, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span, anchor: usize) {
    let plain = style == ScalarStyle::Plain;
    let resolved = match tag.map(ask) {
        None | Some(Ask::Core("merge")) if text == "<<" && b.wants_key() && (plain || tag.is_some()) => {
            b.merge_key(span);
            return;
        }
        None if plain => scalar::plain(text),
        None | Some(Ask::Text) => Scalar::Str,
        Some(Ask::Plain) => scalar::plain(text),
        Some(Ask::Core(name)) => {
            if let Some(scalar) = tagged(name, text) {
                scalar
            } else {
                b.fail(errors::wrong_tag(name, text, span));
                b.null(span);
                return;
            }
        }
    };
    if b.wants_key() {
        b.key(scalar::key(resolved, text), span);
    } else if let Some(value) = scalar::value(resolved, text) {
        b.scalar(value, span, anchor);
    } else {
        b.fail(errors::unsupported_scalar(text, span));
        b.null(span);
    }
}

fn ask(tag: &Tag) -> Ask<'_> {
    match tag.parts() {
        ("tag:yaml.org,2002:", suffix) => Ask::Core(suffix),
        ("", "!") | ("!", "") => Ask::Plain,
        (_, suffix) => match suffix.strip_prefix("tag:yaml.org,2002:") {
            Some(core) => Ask::Core(core),
            None => Ask::Text,
        },
    }
}

/// The scalar under a tag of YAML's own; `None` if kubectl refuses the pair.
fn tagged(tag: &str, text: &str) -> Option<Scalar> {
    let found = scalar::plain(text);
    Some(match (tag, found) {
        ("int", Scalar::Int(_))
        | ("bool", Scalar::Bool { .. })
        | ("null", Scalar::Null)
        | ("float", Scalar::Float(_)) => found,
        #[expect(clippy::cast_precision_loss, reason = "the tag asks for a float")]
        ("float", Scalar::Int(i)) => Scalar::Float(i as f64),
        ("int" | "bool" | "null" | "float" | "binary", _) => return None,
        ("timestamp", other) if other != Scalar::Str => return None,
        // A date is passed on as text, and so is what has `str` or a tag nobody resolves.
        _ => Scalar::Str,
    })
}

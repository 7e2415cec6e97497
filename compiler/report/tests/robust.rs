//! Reports whose places do not exist, whose names are empty or hostile, on any width.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    dead_code,
    reason = "tests"
)]

mod common;

use portcullis_diag::{Diagnostic, FileId, ObjectRef, SourceMap, Span, codes};
use portcullis_report::{CheckReport, DiffReport, Explanation, Format, ReachReport, Render, Style};
use portcullis_sema::diff::{Cause, Finding, PolicyRef};

const FORMATS: [Format; 8] = [
    Format::Terminal,
    Format::Json,
    Format::Markdown,
    Format::Sarif,
    Format::Github,
    Format::Junit,
    Format::Dot,
    Format::Html,
];

/// Every format, on silly widths, with and without colour and detail.
fn everywhere(report: &dyn Render, sources: &SourceMap) -> Vec<(Format, String)> {
    let mut out = Vec::new();
    for format in FORMATS {
        for width in [0, 1, 41, 80, usize::MAX] {
            for (colour, verbose) in [(false, true), (true, false)] {
                let text = report.render(sources, format, &Style { colour, width, verbose });
                assert!(text.ends_with('\n'), "{format:?} ends its last line");
                out.push((format, text));
            }
        }
    }
    out
}

#[test]
fn places_outside_every_file_are_left_off() {
    let (_, diff) = common::diff();
    let (_, check) = common::check();
    let (_, explanation) = common::explanation();
    let (_, reach) = common::reach();
    let mut short = SourceMap::new();
    short.add("a.yaml", "é");
    short.add("b.yaml", "");
    for sources in [SourceMap::new(), short] {
        everywhere(&diff, &sources);
        everywhere(&check, &sources);
        everywhere(&explanation, &sources);
        everywhere(&reach, &sources);
    }
    everywhere(&DiffReport::default(), &SourceMap::new());
    everywhere(&CheckReport::default(), &SourceMap::new());
    everywhere(&ReachReport::default(), &SourceMap::new());
}

#[test]
fn spans_that_are_empty_or_reach_the_end_of_a_file_are_shown() {
    let mut sources = SourceMap::new();
    let text = "a: 1\r\n\tb: é\u{1F600}\n\nc";
    let f = sources.add("a.yaml", text);
    let end = text.len() as u32;
    let mut diagnostics = Vec::new();
    for start in 0..=end {
        for stop in start..=end {
            let span = Span::new(f, start, stop);
            let whole = Span::new(f, 0, end);
            diagnostics.push(Diagnostic::new(codes::syntax::YAML_SYNTAX, "m", span).also(whole, "x"));
        }
    }
    diagnostics.push(Diagnostic::new(codes::syntax::YAML_SYNTAX, "", Span::new(FileId(7), 3, 1)));
    everywhere(&CheckReport { diagnostics, ..CheckReport::default() }, &sources);
}

#[test]
fn names_cannot_steer_a_terminal_or_break_out_of_their_format() {
    let evil = "x\u{1b}[2J\r\n::error::y\u{202e}</script><b>|`@team\"'&";
    let mut sources = SourceMap::new();
    let f = sources.add(format!("a{evil}.yaml"), format!("# {evil}\n"));
    let (_, mut diff) = common::diff();
    let object = ObjectRef { kind: String::new(), namespace: Some(evil.to_owned()), name: String::new() };
    let span = Span::new(f, 0, 5);
    for finding in &mut diff.review.findings {
        poison(finding, evil, &object, span);
    }
    diff.base = evil.to_owned();
    diff.blocking = vec![Diagnostic::new(codes::schema::UNKNOWN_FIELD, evil, span).help(evil).object(object)];
    diff.diagnostics.clone_from(&diff.blocking);
    diff.coverage.notes.push(evil.to_owned());
    for (format, text) in everywhere(&diff, &sources) {
        assert!(!text.contains("[2J") || !text.contains("\u{1b}[2J"), "{format:?}");
        if !matches!(format, Format::Json | Format::Sarif) {
            assert!(!text.contains('\u{202e}'), "{format:?}:\n{text}");
        }
        match format {
            Format::Github => assert!(text.lines().all(|l| l.starts_with("::")), "{text}"),
            Format::Junit => assert!(!text.contains("<b>"), "{text}"),
            Format::Markdown => {
                let prose = text.split("```").step_by(2).collect::<String>();
                assert!(!prose.lines().any(|l| l.starts_with("::error")), "{text}");
            }
            _ => {}
        }
    }
    let (_, mut reach) = common::reach();
    for e in &mut reach.reach.edges {
        evil.clone_into(&mut e.sources.summary);
        e.destinations.others.push(evil.to_owned());
    }
    for (format, text) in everywhere(&reach, &sources) {
        if format == Format::Html {
            assert_eq!(text.matches("</script>").count(), 1, "{text}");
        }
    }
    let (_, mut e): (_, Explanation) = common::explanation();
    evil.clone_into(&mut e.from);
    e.sides.iter_mut().for_each(|s| evil.clone_into(&mut s.subject));
    for (format, text) in everywhere(&e, &sources) {
        assert!(!text.contains("\u{1b}[2J"), "{format:?}");
    }
}

fn poison(f: &mut Finding, evil: &str, object: &ObjectRef, span: Span) {
    evil.clone_into(&mut f.sources.summary);
    f.destinations.others.push(evil.to_owned());
    evil.clone_into(&mut f.help);
    evil.clone_into(&mut f.patch);
    evil.clone_into(&mut f.example.from);
    if let Some(c) = &mut f.ingress {
        c.head.cause =
            Cause::DefaultDeny(vec![PolicyRef { policy: object.clone(), span, name_span: Span::default() }]);
        c.head.l7 = Some(evil.to_owned());
    }
}

#[test]
fn a_comment_on_ten_thousand_findings_fits() {
    let (files, mut diff) = common::diff();
    let one = diff.review.findings[1].clone();
    diff.review.findings = vec![one; 10_000];
    let style = Style { colour: false, width: 80, verbose: true };
    let text = diff.render(&files.sources, Format::Markdown, &style);
    assert!(text.chars().count() <= 65_536);
    assert!(text.contains("parts left out"));
    let style = Style { verbose: false, ..style };
    let text = diff.render(&files.sources, Format::Terminal, &style);
    assert!(text.contains("+9,990 more groups of flows"), "{text}");
}

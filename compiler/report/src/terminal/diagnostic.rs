//! Diagnostics, drawn by miette.

use super::{Ink, Page};
use crate::place::{LONG, Part, Places};
use crate::words::{clean, count_of, one_line};
use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode,
    SourceSpan, SpanContents, ThemeCharacters, ThemeStyles,
};
use portcullis_diag::{Code, Diagnostic, FileId, Severity, Span};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// How many notes of one code have a line each unless all are asked for.
const NOTES: usize = 3;
/// Lines around the labels that miette may look at; it shows one of them.
const CONTEXT: u32 = 3;
/// Stands for what is cut off a line.
const MARK: &str = "…";

/// The lines around the labels, under their file's name: miette walks a text from its beginning for
/// each label, and a file may be a cluster.
#[derive(Debug)]
struct Text<'s> {
    name: String,
    lines: Cow<'s, str>,
    /// Lines of the file before these.
    before: usize,
    /// What is kept of lines that are cut, in their order.
    cuts: Vec<Cut>,
}

/// A line that is too long to be shown.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// Where the line begins and ends among the lines as they are in the file.
    line: (usize, usize),
    /// What is kept of it, there.
    kept: (usize, usize),
    /// Where what is kept begins among the lines as they are shown.
    shown: usize,
    /// Its number among the lines, from 0.
    number: usize,
}

impl Text<'_> {
    /// Where a byte of the lines in the file is shown; `None` if it is cut off.
    fn shown(&self, at: usize) -> Option<usize> {
        match self.cuts.iter().rfind(|c| c.line.0 <= at) {
            None => Some(at),
            Some(c) if at > c.line.1 => Some(c.end() + (at - c.line.1)),
            Some(c) => (c.kept.0 <= at && at <= c.kept.1).then(|| c.shown + (at - c.kept.0)),
        }
    }
}

impl Cut {
    /// Where its line ends as it is shown.
    const fn end(&self) -> usize {
        let mark = if self.kept.1 < self.line.1 { MARK.len() } else { 0 };
        self.shown + (self.kept.1 - self.kept.0) + mark
    }
}

impl SourceCode for Text<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let inner = self.lines.as_ref().read_span(span, before, after)?;
        // The column is that of the file, whatever is shown of the line.
        let cut = self.cuts.iter().find(|c| c.number == inner.line() && inner.column() > 0);
        let cut_off = cut.map_or(0, |c| (c.kept.0 - c.line.0).saturating_sub(MARK.len()));
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            inner.data(),
            *inner.span(),
            inner.line() + self.before,
            inner.column() + cut_off,
            inner.line_count(),
        )))
    }
}

/// A diagnostic as miette wants it: one text, labels in it, a help.
#[derive(Debug)]
struct Drawn<'s> {
    head: String,
    message: String,
    severity: miette::Severity,
    source: Option<Text<'s>>,
    labels: Vec<LabeledSpan>,
    help: Option<String>,
}

impl fmt::Display for Drawn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Drawn<'_> {}

impl miette::Diagnostic for Drawn<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.head))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|h| Box::new(h) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|s| s as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if self.labels.is_empty() { None } else { Some(Box::new(self.labels.iter().cloned())) }
    }
}

/// The part of a span on its first line, as far as that is shown, counted from the byte `from`: a whole
/// rule underlined is a wall. `None` if it begins where the line is cut off.
fn first_line(text: &Text<'_>, span: Span, from: usize) -> Option<SourceSpan> {
    let start = text.shown((span.start as usize).saturating_sub(from))?;
    let rest = text.lines.get(start..).unwrap_or("");
    let under = rest.get(..(span.end.saturating_sub(span.start)) as usize).unwrap_or(rest);
    let length = under.lines().next().unwrap_or("").trim_end().len();
    Some((start, length).into())
}

/// The lines around every label that stands in the primary label's file.
fn window<'s>(d: &Diagnostic, file: FileId, places: &Places<'s>) -> Option<(usize, Text<'s>)> {
    let here = d.labels.iter().filter(|l| l.span.file == file).filter_map(|l| places.at(l.span));
    let lines: Vec<_> = here.map(|p| (p.file, p.start.line)).collect();
    let name = lines.first().map(|(name, _)| one_line(name))?;
    let first = lines.iter().map(|(_, n)| *n).min()?.saturating_sub(CONTEXT).max(1);
    let last = lines.iter().map(|(_, n)| *n).max()?.saturating_add(CONTEXT);
    let (from, text) = places.window(file, first, last)?;
    let marks: Vec<usize> = d
        .labels
        .iter()
        .filter(|l| l.span.file == file)
        .map(|l| (l.span.start as usize).saturating_sub(from))
        .collect();
    let (lines, cuts) = cut(text, &marks);
    Some((from, Text { name, lines, before: first as usize - 1, cuts }))
}

/// The lines, of long ones what stands around the first of `marks` in them.
fn cut<'s>(text: &'s str, marks: &[usize]) -> (Cow<'s, str>, Vec<Cut>) {
    if text.len() <= LONG || text.lines().all(|l| l.len() <= LONG) {
        return (clean(text), Vec::new());
    }
    let mut out = String::new();
    let mut cuts = Vec::new();
    let mut from = 0;
    for (number, whole) in text.split_inclusive('\n').enumerate() {
        let line = whole.trim_end_matches(['\n', '\r']);
        let end = from + line.len();
        let mark = marks.iter().find(|m| (from..=end).contains(*m)).map_or(0, |m| m - from);
        let part = Part::of(line, mark, LONG);
        if line.len() > LONG {
            let start = from + part.before;
            cuts.push(Cut {
                line: (from, end),
                kept: (start, start + part.text.len()),
                shown: out.len() + if part.before > 0 { MARK.len() } else { 0 },
                number,
            });
        }
        out.push_str(&part.marked());
        out.push_str(&clean(whole.get(line.len()..).unwrap_or("")));
        from += whole.len();
    }
    (Cow::Owned(out), cuts)
}

/// The finding for miette, and the labels that stand in other files.
fn drawn<'s>(d: &Diagnostic, places: &Places<'s>) -> (Drawn<'s>, Vec<String>) {
    let slug = d.code.info().map_or("", |i| i.slug);
    let of = d.object.as_ref().map_or(String::new(), |o| format!(" in {}", crate::say::object(o)));
    let head = format!("{}[{}] {slug}{of}", d.severity, d.code);
    let mut labels = Vec::new();
    let mut elsewhere = Vec::new();
    let mut source = None;
    let primary = d.labels.first().map(|l| l.span);
    let known = primary.filter(|s| places.file(*s).is_some());
    if let Some((from, text)) = known.and_then(|s| window(d, s.file, places)) {
        for (i, label) in d.labels.iter().enumerate() {
            let words = Some(one_line(&label.text)).filter(|t| !t.is_empty());
            let here = Some(label.span.file) == primary.map(|s| s.file) && places.file(label.span).is_some();
            let Some(span) = Some(label.span).filter(|_| here).and_then(|s| first_line(&text, s, from))
            else {
                if let Some(at) = places.locate(label.span) {
                    elsewhere.push(words.map_or(at.clone(), |w| format!("{at}: {w}")));
                }
                continue;
            };
            labels.push(if i == 0 {
                LabeledSpan::new_primary_with_span(words, span)
            } else {
                LabeledSpan::new_with_span(words, span)
            });
        }
        source = Some(text);
    } else {
        elsewhere.extend(d.labels.iter().filter_map(|l| places.locate(l.span)));
    }
    let severity = match d.severity {
        Severity::Error => miette::Severity::Error,
        Severity::Warning => miette::Severity::Warning,
        Severity::Note => miette::Severity::Advice,
    };
    let message = clean(&d.message).into_owned();
    let help = d.help.as_ref().map(|h| clean(h).into_owned());
    (Drawn { head, message, severity, source, labels, help }, elsewhere)
}

impl Page<'_> {
    /// One finding with its lines.
    pub(crate) fn diagnostic(&mut self, d: &Diagnostic) {
        let mut styles = if self.paint.0 { ThemeStyles::ansi() } else { ThemeStyles::none() };
        // Every place of a finding is underlined in the colour of its weight.
        styles.highlights = vec![match d.severity {
            Severity::Error => styles.error,
            Severity::Warning => styles.warning,
            Severity::Note => styles.advice,
        }];
        let theme = GraphicalTheme { characters: ThemeCharacters::unicode(), styles };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_links(false)
            .with_width(self.width)
            .with_context_lines(1)
            .with_break_words(false);
        let (drawn, elsewhere) = drawn(d, &self.places);
        let mut text = String::new();
        if handler.render_report(&mut text, &drawn).is_err() {
            text = format!("{}: {}\n", drawn.head, drawn.message);
        }
        self.gap();
        // The blank line that miette leaves between the code and the clause says nothing.
        let mut lines = text.lines();
        if let Some(head) = lines.next() {
            self.raw(head);
        }
        for line in lines.skip_while(|l| l.trim().is_empty()) {
            self.raw(line);
        }
        for at in elsewhere {
            self.led(2, "see also ", Ink::Dim, Ink::Plain, &at);
        }
    }

    /// Findings in their order: every error and warning drawn, notes in a line each, and many notes of
    /// one code in one line where the first of them stands.
    pub(crate) fn diagnostics(&mut self, all: &[Diagnostic]) {
        let mut notes: BTreeMap<Code, usize> = BTreeMap::new();
        for d in all.iter().filter(|d| d.severity == Severity::Note && !self.verbose) {
            *notes.entry(d.code).or_insert(0) += 1;
        }
        let mut after_note = false;
        for d in all {
            if d.severity != Severity::Note || self.verbose {
                self.diagnostic(d);
                after_note = false;
                continue;
            }
            let of_code = notes.get(&d.code).copied().unwrap_or(0);
            if of_code == 0 {
                // Its code was summed up.
                continue;
            }
            if !after_note {
                self.gap();
            }
            after_note = true;
            self.note(d, of_code);
            if of_code > NOTES {
                notes.insert(d.code, 0);
            }
        }
    }

    /// A note in one line; with how many of its code it stands for, if they are many.
    fn note(&mut self, d: &Diagnostic, of_code: usize) {
        let at = d.span().and_then(|s| self.places.locate(s)).map_or(String::new(), |at| format!("{at}: "));
        let text = one_line(&format!("{at}{}", d.message));
        let text = if of_code > NOTES {
            let slug = d.code.info().map_or("", |i| i.slug);
            format!("{} {slug} (--verbose lists them), the first at {text}", count_of(of_code, "note"))
        } else {
            text
        };
        self.led(0, &format!("note[{}] ", d.code), Ink::Cyan, Ink::Dim, &text);
    }

    /// Where to read on.
    pub(crate) fn pages(&mut self, all: &[Diagnostic]) {
        let mut codes: Vec<_> = all.iter().filter(|d| d.severity > Severity::Note).map(|d| d.code).collect();
        codes.sort_unstable();
        codes.dedup();
        let Some(first) = codes.first() else { return };
        self.gap();
        let code = if codes.len() == 1 { first.to_string() } else { "CODE".to_owned() };
        let text = format!("portcullis explain-code {code}");
        self.led(0, "for the meaning, an example and the fix: ", Ink::Dim, Ink::Plain, &text);
    }
}

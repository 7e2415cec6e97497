//! GitHub workflow commands: annotations on the lines of a pull request.
//!
//! GitHub shows the first ten errors and ten warnings of a step, so the worst come first.

use crate::model::{CheckReport, DiffReport};
use crate::place::Places;
use crate::say;
use crate::words::{clean, one_line};
use portcullis_diag::{Diagnostic, Severity, SourceMap, Span};
use std::fmt::Write as _;

struct Writer<'s> {
    places: Places<'s>,
    /// Names of revisions that file names may begin with.
    revisions: Vec<String>,
    out: String,
}

impl Writer<'_> {
    fn command(&mut self, severity: Severity, span: Option<Span>, title: &str, message: &str) {
        let name = match severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "notice",
        };
        let mut properties = Vec::new();
        if let Some(place) = span.and_then(|s| self.places.at(s)) {
            let revisions: Vec<&str> = self.revisions.iter().map(String::as_str).collect();
            properties.push(format!("file={}", property(say::path(place.file, &revisions))));
            properties.push(format!("line={}", place.start.line));
            // Columns are taken only where the place does not leave its line.
            if place.start.line == place.end.line {
                properties.push(format!("col={}", place.start.column));
                properties.push(format!("endLine={}", place.end.line));
                properties.push(format!("endColumn={}", place.end.column));
            } else {
                properties.push(format!("endLine={}", place.end.line));
            }
        }
        if !title.is_empty() {
            properties.push(format!("title={}", property(title)));
        }
        let _ = writeln!(self.out, "::{name} {}::{}", properties.join(","), data(message));
    }

    fn diagnostics(&mut self, all: &[Diagnostic], before: &str) {
        let mut sorted: Vec<&Diagnostic> = all.iter().collect();
        sorted.sort_by_key(|d| std::cmp::Reverse(d.severity));
        for d in sorted {
            let slug = d.code.info().map_or("", |i| i.slug);
            let mut text = format!("{before}{}", one_line(&d.message));
            if let Some(help) = &d.help {
                let _ = write!(text, "\nhelp: {}", one_line(help));
            }
            self.command(d.severity, d.span(), &format!("{} {slug}", d.code), &text);
        }
    }
}

pub(crate) fn check(report: &CheckReport, sources: &SourceMap) -> String {
    let mut w = Writer { places: Places::new(sources), revisions: Vec::new(), out: String::new() };
    w.diagnostics(&report.diagnostics, "");
    w.command(Severity::Note, None, "portcullis check", &say::tally(&report.diagnostics));
    w.out
}

pub(crate) fn diff(report: &DiffReport, sources: &SourceMap) -> String {
    let revisions = vec![report.head.clone(), report.base.clone()];
    let mut w = Writer { places: Places::new(sources), revisions, out: String::new() };
    if let Some(text) = say::blocked(say::UNSAFE_CHANGE, &report.blocking) {
        w.command(Severity::Error, None, "portcullis diff", &text);
        w.diagnostics(&report.blocking, "");
        let left_out = say::left_out(report).unwrap_or_default();
        w.command(Severity::Warning, None, "portcullis diff", &left_out);
    }
    for (at, f) in report.review.findings.iter().enumerate() {
        let evidence = say::evidence(f);
        // Lines of the base side are no lines of the pull request's files.
        let span = evidence.iter().find(|e| !e.before).map(|e| e.span);
        let mut lines = vec![say::flow(f)];
        lines.extend(say::seen(report, at));
        lines.extend(say::declared(f));
        lines.extend(say::sides(f));
        if !f.help.is_empty() {
            lines.push(format!("help: {}", one_line(&f.help)));
        }
        lines.extend(say::explain_command(f, &report.explain_with));
        w.command(say::kind_severity(f.kind), span, &say::effect(f), &lines.join("\n"));
    }
    for t in &report.review.transitions {
        let mut text = say::transition(t);
        let effect = say::transition_effect(t);
        if !effect.is_empty() {
            text = format!("{text}\n{effect}");
        }
        // A default that ends was turned on by lines of the base side.
        let span = t.by.first().filter(|_| t.on).map(|p| p.span);
        w.command(Severity::Warning, span, "default deny", &text);
    }
    w.diagnostics(&report.diagnostics, "");
    for (_, text) in say::headline(report) {
        w.command(Severity::Note, None, "portcullis diff", &text);
    }
    w.out
}

/// The text of a command.
fn data(text: &str) -> String {
    clean(text).replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_command_is_escaped() {
        assert_eq!(data("100%\n::error::x"), "100%25%0A::error::x");
        assert_eq!(property("a,b:c%"), "a%2Cb%3Ac%25");
    }
}
